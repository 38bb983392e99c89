//! Connections: a bounded pool, one request at a time on each.
//!
//! What lives here: [`Pool`]. What must not: the meaning of messages. Invariant: no call outlives its
//! deadline, and a connection whose exchange did not end is closed: the next request never reads the answer
//! to another one.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use rustls_pki_types::ServerName;
use sceau_kms::KeyError;
use sceau_kms_ttlv::{HEAD_BYTES, Item, decode, encode, message_bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::tls::Identity;

/// How long an idle connection is kept.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// When to come back after a lost connection.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Stream = TlsStream<TcpStream>;

struct Idle {
    stream: Stream,
    since: Instant,
}

/// Connections to one server.
pub(crate) struct Pool {
    host: String,
    port: u16,
    name: ServerName<'static>,
    identity: Identity,
    connect_timeout: Duration,
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

fn lost() -> KeyError {
    KeyError::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

/// What a failed connection or exchange means.
fn fault(error: &io::Error) -> KeyError {
    let what = match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "the certificate of the KMIP server is not valid for its name and the authority in ca_file"
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        )) => "the KMIP server refuses the client certificate",
        Some(_) | None => return lost(),
    };
    KeyError::NeedsOperator {
        what: what.to_owned(),
    }
}

impl Pool {
    /// A pool of at most `connections`; further calls wait within their deadlines. `connect_timeout` is for TCP
    /// and TLS together.
    pub(crate) fn new(
        host: String,
        port: u16,
        identity: Identity,
        connections: usize,
        connect_timeout: Duration,
    ) -> Result<Self, KeyError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare.clone()).map_err(|_| KeyError::Misconfigured {
            what: "the address of the KMIP server is HOST or HOST:PORT".to_owned(),
        })?;
        // Said at the start, not at the first connection.
        identity.config()?;
        Ok(Self {
            host: bare,
            port,
            name,
            identity,
            connect_timeout,
            slots: Semaphore::new(connections),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The server's address.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Sends a request and reads its answer. What lost a connection from the pool, which the server may have
    /// closed long ago, is sent once more on a new one: callers send only what may be carried out twice.
    ///
    /// # Errors
    /// [`KeyError::Timeout`] at `deadline`; [`KeyError::Unavailable`] without an answer;
    /// [`KeyError::NeedsOperator`] where certificates are refused; [`KeyError::Internal`] for no KMIP.
    pub(crate) async fn call(&self, request: &Item, deadline: Instant) -> Result<Item, KeyError> {
        // Asked first: a timer may let a future that is ready pass.
        if Instant::now() >= deadline {
            return Err(KeyError::Timeout);
        }
        let bytes = encode(request).map_err(|_| KeyError::Internal)?;
        let late = |_| {
            // Where one connection leads nowhere, so may the others: each would cost a deadline.
            self.forget();
            Err(KeyError::Timeout)
        };
        tokio::time::timeout_at(deadline.into(), self.attempts(&bytes))
            .await
            .unwrap_or_else(late)
    }

    async fn attempts(&self, request: &[u8]) -> Result<Item, KeyError> {
        let _slot = self.slots.acquire().await.map_err(|_| KeyError::Internal)?;
        if let Some(stream) = self.take() {
            match self.exchange(stream, request).await {
                // The others are as old.
                Err(KeyError::Unavailable { .. }) => self.forget(),
                answered => return answered,
            }
        }
        let stream = tokio::time::timeout(self.connect_timeout, self.connect())
            .await
            .unwrap_or(Err(lost()))?;
        self.exchange(stream, request).await
    }

    async fn connect(&self) -> Result<Stream, KeyError> {
        let tls = TlsConnector::from(self.identity.config()?);
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|_| lost())?;
        // Without it a request waits for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|_| lost())?;
        tls.connect(self.name.clone(), stream)
            .await
            .map_err(|error| fault(&error))
    }

    async fn exchange(&self, mut stream: Stream, request: &[u8]) -> Result<Item, KeyError> {
        let failed = |error: io::Error| fault(&error);
        stream.write_all(request).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(failed)?;
        let length = message_bytes(&head).map_err(|_| KeyError::Internal)?;
        let mut message = Zeroizing::new(vec![0; length]);
        let (first, rest) = message
            .split_at_mut_checked(HEAD_BYTES)
            .ok_or(KeyError::Internal)?;
        first.copy_from_slice(&head);
        stream.read_exact(rest).await.map_err(failed)?;
        let item = decode(&message).map_err(|_| KeyError::Internal)?;
        self.give_back(stream);
        Ok(item)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Stream> {
        let mut idle = self.held();
        idle.retain(|connection| connection.since.elapsed() < IDLE_TIME);
        idle.pop().map(|connection| connection.stream)
    }

    /// Never more than there are slots: who gives back holds one.
    fn give_back(&self, stream: Stream) {
        let since = Instant::now();
        self.held().push(Idle { stream, since });
    }

    fn forget(&self) {
        self.held().clear();
    }
}
