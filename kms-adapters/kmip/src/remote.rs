//! One key in a server, and the two schemes of wrapping under it.
//!
//! What lives here: [`RemoteKey`]: finding and pinning the key, sealing and opening. What must not: the meaning
//! of refusals. Invariant: after it was found by name, the key is asked for by its identifier only.

use std::time::Instant;

use aws_lc_rs::rand;
use sceau_keys::{KEY_BYTES, SecretKey, WrapContext, WrapScheme};
use sceau_kms::KeyError;
use sha2::{Digest, Sha256};

use crate::derive::{Derivation, SALT_BYTES};
use crate::facts::KeyFacts;
use crate::link::Pool;
use crate::provider::KmipConfig;
use crate::server::{Fail, Server, TAG_BYTES};
use crate::tls::Identity;
use crate::wire::{Operation, Version};

/// Length of a GCM IV in bytes.
const IV_BYTES: usize = 12;
/// Length of a wrap in bytes.
const BLOB_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A wrap as it goes into a record.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) iv: Vec<u8>,
    pub(crate) blob: Vec<u8>,
}

/// How the key wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// AES-GCM in the server.
    Gcm,
    /// A derivation by AES-CBC in the server, with this Padding Method; each gives the same bytes.
    Cbc { padding: u32 },
}

impl Form {
    /// The ways to carry out a scheme, best first; none for schemes of others.
    pub(crate) fn of(scheme: WrapScheme) -> &'static [Self] {
        if scheme == WrapScheme::KmipGcm {
            &[Self::Gcm]
        } else if scheme == WrapScheme::AesCbcKdf {
            // Padding Methods: none, PKCS5.
            &[Self::Cbc { padding: 1 }, Self::Cbc { padding: 3 }]
        } else {
            &[]
        }
    }
}

pub(crate) struct RemoteKey {
    pub(crate) server: Server,
    pub(crate) id: String,
    pub(crate) form: Form,
}

/// docs/format/ section 9.1.
fn digest(iv: &[u8], context: &WrapContext) -> [u8; 32] {
    Sha256::new_with_prefix(b"sof1/wrap-bind\0")
        .chain_update(iv)
        .chain_update(context.to_bytes())
        .finalize()
        .into()
}

impl RemoteKey {
    /// Greets the server, finds the key and pins its identifier.
    pub(crate) async fn find(config: KmipConfig, deadline: Instant) -> Result<(Self, KeyFacts), KeyError> {
        let label = config.key_label;
        let misconfigured = |what: String| KeyError::Misconfigured { what };
        if !(1..=NAME_BYTES_MAX).contains(&label.len()) || label.chars().any(char::is_control) {
            return Err(misconfigured(
                "the name of a KMIP key is 1 to 255 bytes of text".to_owned(),
            ));
        }
        let identity = Identity {
            ca_file: config.ca_file,
            cert_file: config.cert_file,
            key_file: config.key_file,
        };
        let (connections, connect) = (config.connections, config.connect_timeout);
        let pool = Pool::new(config.host, config.port, identity, connections, connect)?;
        let server = Server::greet(pool, config.protocol_max, deadline).await?;
        let id = match config.key_id {
            Some(id) => id,
            None => match server.locate(&label, deadline).await?.as_slice() {
                [id] => id.clone(),
                [] => return Err(KeyError::KeyNotFound),
                [..] => {
                    return Err(misconfigured(format!(
                        "the KMIP server has several keys of the name {label}: say which by key_id"
                    )));
                }
            },
        };
        let facts = server.attributes(&id, deadline).await?;
        // Servers may ignore what Locate is asked for.
        if !facts.has_name(&label) {
            return Err(KeyError::KeyNotFound);
        }
        let remote = Self {
            server,
            id,
            form: Form::Gcm,
        };
        Ok((remote, facts))
    }

    /// What the server says, or its version implies, that the scheme cannot do without.
    pub(crate) fn lacks(&self) -> Option<String> {
        if self.form != Form::Gcm {
            return None;
        }
        if self.server.version < Version::AEAD_LEAST {
            return Some(format!(
                "KMIP {} has no associated data, which came with {}",
                self.server.version,
                Version::AEAD_LEAST
            ));
        }
        let offers = self.server.can(Operation::Decrypt);
        (!offers).then(|| "the server does not offer Decrypt".to_owned())
    }

    fn derivation(&self, padding: u32, deadline: Instant) -> Derivation<'_> {
        Derivation {
            server: &self.server,
            id: &self.id,
            padding,
            deadline,
        }
    }

    fn iv_bytes(&self) -> usize {
        match self.form {
            Form::Cbc { .. } => SALT_BYTES,
            Form::Gcm => IV_BYTES,
        }
    }

    /// Whether IV and blob have the lengths of the scheme.
    pub(crate) fn fits(&self, iv: &[u8], blob: &[u8]) -> bool {
        iv.len() == self.iv_bytes() && blob.len() == BLOB_BYTES
    }

    pub(crate) async fn seal(
        &self,
        key: &SecretKey,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<Sealed, Fail> {
        let mut iv = vec![0; self.iv_bytes()];
        rand::fill(&mut iv).map_err(|_| KeyError::Internal)?;
        let blob = match self.form {
            Form::Cbc { padding } => {
                let derivation = self.derivation(padding, deadline);
                derivation.seal(&iv, &context.to_bytes(), key).await?
            }
            Form::Gcm => {
                let aad = digest(&iv, context);
                self.server
                    .seal(&self.id, &iv, &aad, key.expose(), deadline)
                    .await?
            }
        };
        Ok(Sealed { iv, blob })
    }

    pub(crate) async fn open(
        &self,
        sealed: &Sealed,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<SecretKey, Fail> {
        let Sealed { iv, blob } = sealed;
        let plain = match self.form {
            Form::Cbc { padding } => {
                let derivation = self.derivation(padding, deadline);
                derivation.open(iv, &context.to_bytes(), blob).await?
            }
            Form::Gcm => {
                let aad = digest(iv, context);
                self.server.open(&self.id, iv, &aad, blob, deadline).await?
            }
        };
        // A well-sealed blob that holds another length was not made by us.
        Ok(SecretKey::from_slice(&plain).ok_or(KeyError::InvalidCiphertext)?)
    }
}
