//! The keyring document: every key record and every bucket's policy, under one authenticator (§10).
//!
//! What lives here: content, its JSON text, its canonical bytes for the MAC. What must not: files,
//! the store, unwrapping. Invariant: nothing in a keyring decides anything before it is a
//! [`Keyring`], which exists only after the MAC and the generation were checked.

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, WrapScheme};

use crate::error::KeyringError;
use crate::record::KeyRecord;

/// Longest keyring document in bytes.
pub const KEYRING_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Most records.
pub const RECORDS_MAX: usize = 8_192;
/// Most bucket entries, removed ones included.
pub const BUCKETS_MAX: usize = 4_096;
/// Most enrolled key-encryption keys.
pub const KEKS_MAX: usize = 64;

/// Whether plaintext objects in the backing bucket are tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptionMode {
    /// Only sealed objects are served.
    EncryptedOnly,
    /// Plaintext objects found there are served too, while they are being migrated.
    Migration,
}

/// How object names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameMode {
    /// As they are.
    Clear,
    /// Sealed per component.
    Hidden,
}

/// How much of an object's age is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FreshnessLevel {
    /// Nothing.
    R0,
    /// Recent writes of this replica.
    R1,
    /// Explicit version ids.
    R2,
    /// A consistent register on the customer's side.
    R3,
    /// R3 as a signed log.
    R4,
}

/// Whether uploads may be completed with parts whose attempt is not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pinning {
    /// Every part needs its ticket.
    Strict,
    /// A part list rebuilt from ListParts is accepted.
    Tolerant,
}

/// What of an object's metadata the store may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataExposure {
    /// Nothing.
    Sealed,
    /// Object tags, in clear.
    TagsClear,
}

/// A bucket's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketPolicy {
    /// Whether plaintext objects are tolerated.
    pub mode: EncryptionMode,
    /// Suites accepted: one bit each, see [`crate::Suite::mask`].
    pub suite_mask: u32,
    /// How names are stored.
    pub names: NameMode,
    /// How much of an object's age is verified.
    pub freshness: FreshnessLevel,
    /// Whether parts must be pinned.
    pub pinning: Pinning,
    /// What the store may see.
    pub exposure: MetadataExposure,
    /// Sealed metadata is padded to a multiple of this many bytes, 1 to 1 024.
    pub metadata_padding: u16,
}

/// Whether a bucket is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketState {
    /// In use.
    Active,
    /// Deleted by its owner; the entry remains so that its identity is never used again.
    Removed,
}

/// A bucket known to the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketEntry {
    /// Name of the backing bucket in the store.
    pub name: String,
    /// Its identity in every context hash.
    pub bucket: BucketId,
    /// Whether it is in use.
    pub state: BucketState,
    /// Its policy.
    pub policy: BucketPolicy,
}

/// A key-encryption key as it was enrolled, with what recognises it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKek {
    /// Key provider: the token's serial number, or another stable name.
    pub provider: String,
    /// Label of the key there.
    pub label: String,
    /// Version, from 1.
    pub version: u32,
    /// Wrap scheme chosen at enrolment, then pinned.
    pub scheme: WrapScheme,
    /// A known 32-byte value wrapped at enrolment: IV.
    pub canary_iv: Vec<u8>,
    /// A known 32-byte value wrapped at enrolment: ciphertext.
    pub canary_blob: Vec<u8>,
    /// SHA-256 of that value.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the provider's module file in lower-case hexadecimal, empty if it has none.
    pub module_sha256: String,
}

/// Everything a keyring says. Plain data: it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringContent {
    /// Owner.
    pub tenant: TenantId,
    /// Counts every change, from 1.
    pub generation: u64,
    /// Enrolled key-encryption keys.
    pub keks: Vec<EnrolledKek>,
    /// Key records.
    pub records: Vec<KeyRecord>,
    /// Buckets.
    pub buckets: Vec<BucketEntry>,
}

/// A keyring as it was read: well-formed, not verified. Only good for finding the MAC key.
pub struct UnverifiedKeyring {
    content: KeyringContent,
    mac: [u8; 48],
}

/// A keyring whose authenticator and generation were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    content: KeyringContent,
}

impl UnverifiedKeyring {
    /// Parses a document strictly.
    ///
    /// # Errors
    /// [`KeyringError::Malformed`], [`KeyringError::UnknownVersion`], [`KeyringError::Inconsistent`].
    pub fn parse(document: &[u8]) -> Result<Self, KeyringError> {
        let _ = document;
        Err(KeyringError::Malformed)
    }

    /// The record of the MAC key, to be unwrapped first.
    pub fn mac_record(&self) -> Option<&KeyRecord> {
        self.content.mac_record()
    }

    /// The key-encryption keys it claims.
    pub fn keks(&self) -> &[EnrolledKek] {
        &self.content.keks
    }

    /// The generation it claims, for messages.
    pub fn generation(&self) -> u64 {
        self.content.generation
    }

    /// Verifies it under the MAC key; `generation_min` is the highest generation seen or pinned.
    ///
    /// # Errors
    /// [`KeyringError::NotAuthentic`], [`KeyringError::Rollback`].
    pub fn verify(self, mac_key: &SecretKey, generation_min: u64) -> Result<Keyring, KeyringError> {
        let _ = (mac_key, generation_min, &self.mac);
        Err(KeyringError::NotAuthentic)
    }
}

impl KeyringContent {
    /// The record of the MAC key.
    pub fn mac_record(&self) -> Option<&KeyRecord> {
        self.records
            .iter()
            .find(|record| record.purpose == sceau_keys::Purpose::KeyringMac)
    }

    /// The record with this identifier.
    pub fn record(&self, krid: Krid) -> Option<&KeyRecord> {
        self.records.iter().find(|record| record.krid == krid)
    }

    /// The active bucket with this store name.
    pub fn active_bucket(&self, name: &str) -> Option<&BucketEntry> {
        self.buckets
            .iter()
            .find(|entry| entry.state == BucketState::Active && entry.name == name)
    }

    /// The record that seals new objects of a bucket now: its newest epoch that may.
    pub fn sealing_record(&self, bucket: BucketId, now_ms: u64) -> Option<&KeyRecord> {
        self.records
            .iter()
            .filter(|record| record.purpose == sceau_keys::Purpose::Data && record.bucket == bucket)
            .filter(|record| record.may_seal(now_ms))
            .max_by_key(|record| record.epoch)
    }

    /// Writes the document, authenticated under the MAC key.
    ///
    /// # Errors
    /// [`KeyringError::Inconsistent`], [`KeyringError::Malformed`] beyond a limit.
    pub fn encode(&self, mac_key: &SecretKey) -> Result<String, KeyringError> {
        let _ = mac_key;
        Err(KeyringError::Malformed)
    }
}

impl Keyring {
    /// What it says.
    pub fn content(&self) -> &KeyringContent {
        &self.content
    }

    /// A copy to be changed and written as the next generation.
    pub fn next_generation(&self) -> KeyringContent {
        KeyringContent {
            generation: self.content.generation.saturating_add(1),
            ..self.content.clone()
        }
    }
}
