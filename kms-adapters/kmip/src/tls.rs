//! Who we are and whom we trust.
//!
//! What lives here: the TLS configuration of one connection, from three files. What must not: sockets.
//! Invariant: the server's certificate is always checked against the customer's own authority, never the
//! system's list, and a key file that others can open is refused before it is read.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sceau_kms::KeyError;
use sceau_kms::secret_file::is_private;
use zeroize::Zeroizing;

/// Longest key or certificate file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The three files, PEM.
pub(crate) struct Identity {
    pub(crate) ca_file: PathBuf,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

fn operator(path: &Path, what: &str) -> KeyError {
    KeyError::NeedsOperator {
        what: format!("{}: {what}", path.display()),
    }
}

fn read(path: &Path, is_secret: bool) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = File::open(path).map_err(|_| operator(path, "the file cannot be opened"))?;
    let facts = file
        .metadata()
        .map_err(|_| operator(path, "the file cannot be inspected"))?;
    if is_secret && !is_private(&facts) {
        return Err(operator(
            path,
            "a private key must be a plain file that only its owner may read (mode 0600, or 0640 if root owns it)",
        ));
    }
    if facts.len() > FILE_BYTES_MAX {
        return Err(operator(path, "the file is too large"));
    }
    let capacity = usize::try_from(FILE_BYTES_MAX).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|_| operator(path, "the file cannot be read"))?;
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let read = read(path, false)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| operator(path, "the file holds no certificate"))
}

impl Identity {
    /// TLS 1.2 and 1.3, X25519MLKEM768 preferred. Read for each connection, so that a certificate that was
    /// renewed is taken without a restart.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, KeyError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_file)? {
            roots
                .add(certificate)
                .map_err(|_| operator(&self.ca_file, "a certificate is no authority"))?;
        }
        let chain = certificates(&self.cert_file)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key_file, true)?)
            .map_err(|_| operator(&self.key_file, "the file holds no private key"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|_| KeyError::Internal)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|_| {
                operator(
                    &self.cert_file,
                    "certificate and private key do not belong together",
                )
            })?;
        Ok(Arc::new(config))
    }
}
