//! One GET of one small document.
//!
//! What lives here: the client for issuers. What must not: what the document means. Invariant: nothing
//! goes over a network in the clear, redirects are not followed, and a document is bounded in bytes and
//! in time.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use crate::config::is_fetchable;
use crate::limits;
use crate::upstream::{StoreConnector, tls_config};

/// Fetches from one issuer.
#[derive(Clone)]
pub struct Fetcher {
    tls: Arc<ClientConfig>,
}

impl Fetcher {
    /// A client that trusts `ca_file`, or the system's authorities without one.
    ///
    /// # Errors
    /// What is wrong with the trust anchors.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        tls_config(ca_file)
            .map(|tls| Self { tls })
            .map_err(|error| error.to_string())
    }

    /// Fetches `uri`.
    ///
    /// # Errors
    /// Why there is no document, for the log.
    pub async fn get(&self, uri: Uri) -> Result<Bytes, String> {
        // Discovery documents name further places: those are held to the same rule.
        if !is_fetchable(&uri) {
            return Err(format!("{uri}: neither https nor on this host"));
        }
        tokio::time::timeout(limits::ISSUER_WAIT, self.exchange(uri.clone()))
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|why| format!("{uri}: {why}"))
    }

    async fn exchange(&self, uri: Uri) -> Result<Bytes, String> {
        let is_tls = uri.scheme_str() == Some("https");
        let connector = StoreConnector::new(is_tls.then(|| Arc::clone(&self.tls)), limits::ISSUER_WAIT);
        // Asked for a few times in an hour: a pool would only keep dead connections.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build::<_, Empty<Bytes>>(connector);
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .header(header::USER_AGENT, HeaderValue::from_static("sceau"))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), limits::ISSUER_DOCUMENT_BYTES_MAX);
        body.collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|_| "the document is cut short or too large".to_owned())
    }
}
