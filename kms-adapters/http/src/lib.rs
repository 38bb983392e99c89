//! The HTTPS client of the remote key providers.
//!
//! What lives here: connections with checked certificates, one bounded request and its bounded answer, secret text in it. What
//! must not: the meaning of answers. Invariant: keys and tokens never travel in the clear except to this very
//! host, and no call outlives its deadline.

mod connect;
mod text;

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sceau_kms::KeyError;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use connect::Connector;
pub use text::Base64Secret;

/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most calls under way at once; further ones wait within their deadline.
pub const CALLS_MAX: usize = 64;
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// When to come back after a lost connection.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status and a whole body, wiped on drop.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Body, [`ANSWER_BYTES_MAX`] at most.
    pub body: Zeroizing<Vec<u8>>,
}

/// A pooled client of one endpoint.
pub struct HttpsClient {
    client: Client<Connector, Full<Bytes>>,
    endpoint: Uri,
    slots: Semaphore,
}

impl HttpsClient {
    /// A client of `endpoint`; `ca_file` replaces the system's trust store. A connection, TLS included, must be made
    /// within `connect_timeout`.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`]: no URL of a host, HTTP to another host than this, no usable authority.
    pub fn new(endpoint: &Uri, ca_file: Option<&Path>, connect_timeout: Duration) -> Result<Self, KeyError> {
        let host = endpoint.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls = match endpoint.scheme_str() {
            Some("https") => Some(connect::tls_config(ca_file)?),
            Some("http") if is_here => None,
            Some(_) | None => {
                return Err(misconfigured(
                    "the endpoint of a remote key provider is https://HOST[:PORT]; http:// only on a loopback address",
                ));
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(CALLS_MAX)
            .build(Connector::new(tls, connect_timeout));
        Ok(Self {
            client,
            endpoint: endpoint.clone(),
            slots: Semaphore::new(CALLS_MAX),
        })
    }

    /// Scheme, host and port, without a slash at the end.
    pub fn base(&self) -> String {
        self.endpoint.to_string().trim_end_matches('/').to_owned()
    }

    /// Sends and reads the whole answer. A call that lost its connection is sent once more: callers send
    /// only what may be carried out twice.
    ///
    /// # Errors
    /// [`KeyError::Timeout`] at `deadline`; [`KeyError::Unavailable`] without an answer;
    /// [`KeyError::Internal`] for an answer beyond [`ANSWER_BYTES_MAX`].
    pub async fn send(&self, request: Request<Full<Bytes>>, deadline: Instant) -> Result<Answer, KeyError> {
        // Asked first: a timer may let a future that is ready pass.
        if Instant::now() >= deadline {
            return Err(KeyError::Timeout);
        }
        tokio::time::timeout_at(deadline.into(), self.attempts(request))
            .await
            .unwrap_or(Err(KeyError::Timeout))
    }

    async fn attempts(&self, request: Request<Full<Bytes>>) -> Result<Answer, KeyError> {
        let _slot = self.slots.acquire().await.map_err(|_| KeyError::Internal)?;
        match self.attempt(request.clone()).await {
            Err(KeyError::Unavailable { .. }) => self.attempt(request).await,
            answered => answered,
        }
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<Answer, KeyError> {
        let lost = KeyError::Unavailable {
            retry_after: RETRY_AFTER,
        };
        let response = self.client.request(request).await.map_err(|_| lost.clone())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                KeyError::Internal
            } else {
                lost
            }
        })?;
        Ok(Answer {
            status,
            body: Zeroizing::new(body.to_bytes().to_vec()),
        })
    }
}

fn misconfigured(what: &str) -> KeyError {
    KeyError::Misconfigured {
        what: what.to_owned(),
    }
}

/// A request's body that is wiped when it was sent. What the connection copied of it is not.
pub fn body(bytes: Zeroizing<Vec<u8>>) -> Full<Bytes> {
    struct Wiped(Zeroizing<Vec<u8>>);
    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Full::new(Bytes::from_owner(Wiped(bytes)))
}
