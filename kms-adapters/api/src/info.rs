//! What a provider says about itself and its key.
//!
//! What lives here: plain data for start-up checks, audit and metrics. What must not: decisions about
//! it, except which wraps a provider serves. Invariant: nothing in here is secret.

use sceau_keys::{WRAP_BLOB_BYTES_MAX, Wrap, WrapScheme};

use crate::error::KeyError;

/// Which adapter this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// Software keys in a file or in memory, development only.
    InsecureLocal,
    /// An HSM through PKCS#11.
    Pkcs11,
    /// OpenBao or Vault, transit engine.
    Transit,
    /// A KMIP server.
    Kmip,
    /// The key management service of AWS, or one with its interface.
    AwsKms,
}

impl ProviderKind {
    /// Stable name for configuration, metrics and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::InsecureLocal => "insecure-local",
            Self::Pkcs11 => "pkcs11",
            Self::Transit => "transit",
            Self::Kmip => "kmip",
            Self::AwsKms => "aws-kms",
        }
    }
}

/// Where the key-encryption key is while it is used, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Residency {
    /// In this process.
    Process,
    /// In a key service that can also hand the key out, or had it from elsewhere.
    RemoteKmsExportable,
    /// In a key service reached over the network.
    RemoteKms,
    /// In a hardware security module.
    Hsm,
}

impl Residency {
    /// Stable name for metrics and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::RemoteKmsExportable => "remote-kms-exportable",
            Self::RemoteKms => "remote-kms",
            Self::Hsm => "hsm",
        }
    }
}

/// What a provider is. Fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Which adapter.
    pub kind: ProviderKind,
    /// Which instance of it: the token's serial number, or another stable name. Goes into
    /// [`Wrap::provider`] for operators; it is not compared on unwrap, because one key may live in
    /// several tokens.
    pub instance: String,
    /// Where the key is while it is used.
    pub residency: Residency,
    /// Whether it may guard real data.
    pub is_production_grade: bool,
    /// Label of the key-encryption key.
    pub key_label: String,
    /// Version that new wraps use, counted from 1.
    pub key_version: u32,
    /// Scheme that new wraps use.
    pub scheme: WrapScheme,
}

impl ProviderInfo {
    /// Refuses a wrap that this provider cannot have made: another label, version or scheme, or a blob
    /// beyond [`WRAP_BLOB_BYTES_MAX`]. Done before any key is touched.
    ///
    /// # Errors
    /// [`KeyError::KeyNotFound`] for another key, [`KeyError::InvalidCiphertext`] for the size.
    pub fn check_names(&self, wrap: &Wrap) -> Result<(), KeyError> {
        if wrap.key_label != self.key_label
            || wrap.key_version != self.key_version
            || wrap.scheme != self.scheme
        {
            return Err(KeyError::KeyNotFound);
        }
        if wrap.blob.len() > WRAP_BLOB_BYTES_MAX {
            return Err(KeyError::InvalidCiphertext);
        }
        Ok(())
    }
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Wraps and unwraps.
    Active,
    /// Present, but the provider or its attributes forbid use.
    Disabled,
}

/// How serious a finding of the attribute audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Weaker than it should be; works.
    Warning,
    /// Breaks what this key promises.
    Error,
}

/// One result of the audit of a key's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How serious.
    pub severity: Severity,
    /// What was found, in words.
    pub what: String,
}

/// What the provider says about its key now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Whether it may be used.
    pub state: KeyState,
    /// Version that new wraps use.
    pub key_version: u32,
    /// Where it is, in words: token label, model and firmware, or a file.
    pub location: String,
    /// Findings of the attribute audit; empty is good.
    pub findings: Vec<Finding>,
}
