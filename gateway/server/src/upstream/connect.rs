//! Connections to the store: TCP, and TLS where the endpoint says so.
//!
//! What lives here: the connector of the pools, trusted roots. What must not: requests. Invariant:
//! a TLS endpoint is never spoken to in the clear, and its certificate is always checked.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::error::{ConnectFault, StoreError};

/// Silence after which the kernel asks whether the store is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Time between two of those questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions after which the connection counts as dead.
const KEEPALIVE_PROBES: u32 = 3;

/// Opens connections.
#[derive(Clone)]
pub(crate) struct StoreConnector {
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    limit: Duration,
}

impl StoreConnector {
    /// A connector for one endpoint; `tls` must be there when its scheme is https.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_AFTER));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        tcp.set_connect_timeout(Some(limit));
        Self {
            tcp,
            tls: tls.map(TlsConnector::from),
            limit,
        }
    }
}

impl Service<Uri> for StoreConnector {
    type Response = StoreIo;
    type Error = ConnectFailed;
    type Future = Pin<Box<dyn Future<Output = Result<StoreIo, ConnectFailed>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut tcp, tls, limit) = (self.tcp.clone(), self.tls.clone(), self.limit);
        Box::pin(async move {
            let connecting = async {
                let stream = tcp
                    .call(uri.clone())
                    .await
                    .map_err(|_| ConnectFailed(ConnectFault::Tcp))?;
                match tls {
                    None => Ok(StoreIo::Plain(stream)),
                    Some(tls) => handshake(&tls, &uri, stream.into_inner()).await,
                }
            };
            tokio::time::timeout(limit, connecting)
                .await
                .unwrap_or(Err(ConnectFailed(ConnectFault::Timeout)))
        })
    }
}

async fn handshake(tls: &TlsConnector, uri: &Uri, stream: TcpStream) -> Result<StoreIo, ConnectFailed> {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectFailed(ConnectFault::Tls))?;
    let secured = tls.connect(name, stream).await.map_err(|error| {
        tracing::debug!(%error, "TLS handshake with the store");
        ConnectFailed(ConnectFault::Tls)
    })?;
    Ok(StoreIo::Tls(Box::new(TokioIo::new(secured))))
}

/// TLS 1.2 and 1.3, X25519MLKEM768 preferred, HTTP/1.1 only.
///
/// # Errors
/// [`StoreError::Config`] when there are no trusted roots.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| StoreError::Config("the TLS provider supports no known version"))?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let unreadable = |_| StoreError::Config("the CA file cannot be read");
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                let added = certificate.map(|certificate| roots.add(certificate));
                if !matches!(added, Ok(Ok(()))) {
                    return Err(StoreError::Config(
                        "the CA file holds something that is not a certificate",
                    ));
                }
            }
        }
        // System stores contain oddities; one unusable root does not make the others unusable.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(StoreError::Config(
            "there are no trusted roots for the store's certificate",
        ));
    }
    Ok(roots)
}

/// Why there is no connection; found again in the source chain of the pool's error.
#[derive(Debug)]
pub(crate) struct ConnectFailed(pub(super) ConnectFault);

impl fmt::Display for ConnectFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        StoreError::Connect(self.0).fmt(f)
    }
}

impl std::error::Error for ConnectFailed {}

/// A connection in use.
pub(crate) enum StoreIo {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for StoreIo {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for StoreIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl Write for StoreIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }
}
