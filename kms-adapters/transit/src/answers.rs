//! The service's answers as data.
//!
//! What lives here: the parts of its JSON that are used, and what the facts of a key mean. What must not:
//! calls. Invariant: no text of an answer reaches an error of ours.

use std::collections::BTreeMap;

use sceau_kms::{Finding, KeyError, Severity};
use sceau_kms_http::Base64Secret;

/// Types of key whose wraps are 60 bytes: nonce, key, tag.
const TYPES: [&str; 2] = ["aes256-gcm96", "chacha20-poly1305"];

#[derive(serde::Deserialize)]
pub(crate) struct Reply<T> {
    pub(crate) data: T,
}

#[derive(serde::Deserialize)]
pub(crate) struct Encrypted {
    pub(crate) ciphertext: String,
}

#[derive(serde::Deserialize)]
pub(crate) struct Decrypted {
    pub(crate) plaintext: Base64Secret,
}

#[derive(serde::Deserialize)]
pub(crate) struct Drawn {
    pub(crate) random_bytes: Base64Secret,
}

/// What the service says about the key. Vault leaves out what only OpenBao knows.
#[derive(serde::Deserialize)]
pub(crate) struct KeyFacts {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) keys: BTreeMap<String, serde_json::Value>,
    pub(crate) latest_version: u32,
    #[serde(default)]
    pub(crate) min_decryption_version: u32,
    #[serde(default)]
    pub(crate) min_encryption_version: u32,
    #[serde(default)]
    pub(crate) derived: bool,
    #[serde(default)]
    pub(crate) exportable: bool,
    #[serde(default)]
    pub(crate) allow_plaintext_backup: bool,
    #[serde(default)]
    pub(crate) deletion_allowed: bool,
    #[serde(default)]
    pub(crate) imported_key: bool,
    #[serde(default)]
    pub(crate) soft_deleted: bool,
}

impl KeyFacts {
    /// Whether the service can hand the key out, or had it from elsewhere.
    pub(crate) fn is_exportable(&self) -> bool {
        self.exportable || self.allow_plaintext_backup || self.imported_key
    }

    /// When this version was made: tells a key from another one of the same name.
    pub(crate) fn made(&self, version: u32) -> Option<String> {
        self.keys.get(&version.to_string()).map(ToString::to_string)
    }

    /// Refuses a kind of key that cannot keep what wraps promise.
    pub(crate) fn check_kind(&self) -> Result<(), KeyError> {
        if TYPES.contains(&self.kind.as_str()) && !self.derived {
            return Ok(());
        }
        Err(KeyError::Misconfigured {
            what: format!(
                "the transit key must be of type {} and not derived",
                TYPES.join(" or ")
            ),
        })
    }

    /// Whether `version` may wrap and unwrap.
    pub(crate) fn is_usable(&self, version: u32) -> bool {
        !self.soft_deleted
            && version <= self.latest_version
            && version >= self.min_decryption_version
            && version >= self.min_encryption_version
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let facts = [
            (self.exportable, "the key may be exported from the service"),
            (
                self.allow_plaintext_backup,
                "the key may be backed up in clear from the service",
            ),
            (self.imported_key, "the key was imported: it existed elsewhere"),
            (
                self.deletion_allowed,
                "the service allows that the key is deleted",
            ),
        ];
        let holds = facts.into_iter().filter(|(holds, _)| *holds);
        holds
            .map(|(_, what)| Finding {
                severity: Severity::Warning,
                what: what.to_owned(),
            })
            .collect()
    }
}
