//! Where requests go.
//!
//! What lives here: endpoint URLs, connecting, TLS on both sides. What must not: requests. Invariant: an
//! `https` endpoint is reached over a verified connection or not at all.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where requests go.
pub struct Endpoint {
    /// `host:port`, for connecting.
    pub address: String,
    /// The `host` header.
    pub host: HeaderValue,
    /// Bucket in the URL, if there is one.
    pub bucket: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What a connection is for those who use it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Endpoint {
    /// Reads `http[s]://host[:port][/bucket]`; `trust` makes the TLS settings when they are needed.
    pub fn parse(
        url: &str,
        trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{url} must start with http:// or https://")),
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'));
        let authority = authority.ok_or_else(|| format!("{url} must name a host, and no user"))?;
        let bucket = uri.path().trim_matches('/');
        if uri.query().is_some() || bucket.contains('/') {
            return Err(format!("{url} must have no query and no path but a bucket"));
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let tls = match is_tls {
            false => None,
            true => {
                let name = ServerName::try_from(name.to_owned());
                let name = name.map_err(|_| format!("{url} has no host name for TLS"))?;
                Some((TlsConnector::from(trust()?), name))
            }
        };
        Ok(Self {
            address: format!("{}:{port}", authority.host()),
            host: HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?,
            bucket: (!bucket.is_empty()).then(|| bucket.to_owned()),
            tls,
        })
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection.
    pub async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }
}

/// TLS settings of a client that trusts the certificates of one file, or the system's.
pub fn client_tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there is no certificate to trust; name a file with --ca".to_owned());
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// TLS settings of a server.
pub fn server_tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain = certificates(certificate)?;
    let text = fs::read(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let secret =
        PrivateKeyDer::from_pem_slice(&text).map_err(|_| format!("{}: no private key", key.display()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| error.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{}: no certificates", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, String> {
        Endpoint::parse(url, || Err("no trust".to_owned()))
    }

    #[test]
    fn endpoints_have_a_host_and_perhaps_a_bucket() {
        let plain = parse("http://store.example").unwrap();
        assert_eq!((plain.address.as_str(), plain.bucket), ("store.example:80", None));
        assert_eq!(parse("http://[::1]:9000/").unwrap().address, "[::1]:9000");
        let named = parse("http://127.0.0.1:9000/demo/").unwrap();
        assert_eq!(named.host.as_bytes(), b"127.0.0.1:9000");
        assert_eq!(named.bucket.as_deref(), Some("demo"));
        for bad in [
            "ftp://h",
            "h:9000",
            "http://h/a/b",
            "http://h/?a",
            "http://u:p@h",
            "http://",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn https_needs_something_to_trust() {
        assert_eq!(parse("https://h").err().unwrap(), "no trust");
    }
}
