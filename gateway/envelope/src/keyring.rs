//! The keyring document: every key record and every bucket's policy, under one authenticator (§10).
//!
//! What lives here: content, its JSON text, its canonical bytes for the MAC. What must not: files,
//! the store, unwrapping. Invariant: nothing in a keyring decides anything before it is a
//! [`Keyring`], which exists only after the MAC and the generation were checked.

mod canonical;
mod document;
mod domain;

use std::collections::BTreeSet;

use sceau_keys::{BucketId, KEY_BYTES, Krid, Purpose, SecretKey, TenantId, WRAP_BLOB_BYTES_MAX, WrapScheme};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

pub use self::domain::{DOMAIN_PREFIX_BYTES_MAX, is_domain_prefix, prefix_domain};
use crate::error::KeyringError;
use crate::prf::hmac_sha384;
use crate::record::{IV_BYTES_MAX, KeyRecord, TEXT_BYTES_MAX};

/// Longest keyring document in bytes.
pub const KEYRING_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Most records.
pub const RECORDS_MAX: usize = 8_192;
/// Most bucket entries, removed ones included.
pub const BUCKETS_MAX: usize = 4_096;
/// Most enrolled key-encryption keys.
pub const KEKS_MAX: usize = 64;
/// Largest metadata padding multiple in bytes.
pub const METADATA_PADDING_MAX: u16 = 1_024;

/// Begins the derivation of [`session_root`]. Everything else that is computed with the MAC key begins
/// with `sof1/`, so no input is shared.
const SESSION_ROOT_LABEL: &[u8] = b"sceau/session-root/1\0";

/// Begins the derivation of [`audit_root`]: shared with nothing else that is computed with the MAC key.
const AUDIT_ROOT_LABEL: &[u8] = b"sceau/audit-root/1\0";

/// Begins the input of [`statement_mac`]: shared with nothing else that is computed with the MAC key.
const STATEMENT_LABEL: &[u8] = b"sceau/statement/1\0";

/// Begins the input of [`enrolment_mac`]: shared with nothing else that is computed with the MAC key.
const ENROLMENT_LABEL: &[u8] = b"sceau/enrolment/1\0";

/// Authenticates the record of how keys were enrolled: not part of the stored format.
pub fn enrolment_mac(mac_key: &SecretKey, record: &[u8]) -> [u8; 48] {
    *hmac_sha384(mac_key.expose(), &[ENROLMENT_LABEL, record])
}

/// Authenticates a statement about the keyring, such as what was destroyed: not part of the stored format.
pub fn statement_mac(mac_key: &SecretKey, statement: &[u8]) -> [u8; 48] {
    *hmac_sha384(mac_key.expose(), &[STATEMENT_LABEL, statement])
}

/// The key that checkpoints of audit trails are authenticated with and names in them masked: not part of the
/// stored format. Every gateway of the keyring can derive it, and nobody else can who lacks the MAC key.
pub fn audit_root(mac_key: &SecretKey) -> SecretKey {
    derived_root(mac_key, AUDIT_ROOT_LABEL)
}

/// The key that temporary credentials are sealed under: not part of the stored format, but every
/// gateway of the keyring can derive it, and it changes when the MAC key does.
pub fn session_root(mac_key: &SecretKey) -> SecretKey {
    derived_root(mac_key, SESSION_ROOT_LABEL)
}

fn derived_root(mac_key: &SecretKey, label: &[u8]) -> SecretKey {
    let derived = hmac_sha384(mac_key.expose(), &[label]);
    let mut root = [0; KEY_BYTES];
    for (to, from) in root.iter_mut().zip(derived.iter()) {
        *to = *from;
    }
    SecretKey::new(root)
}

/// Whether plaintext objects in the backing bucket are tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EncryptionMode {
    /// Only sealed objects are served.
    EncryptedOnly = 1,
    /// Plaintext objects found there are served too, while they are being migrated.
    Migration = 2,
}

/// How object names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum NameMode {
    /// As they are.
    Clear = 1,
    /// Sealed per component.
    Hidden = 2,
}

/// How much of an object's age is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum FreshnessLevel {
    /// Nothing.
    R0 = 0,
    /// Recent writes of this replica.
    R1 = 1,
    /// Explicit version ids.
    R2 = 2,
    /// A consistent register on the customer's side.
    R3 = 3,
    /// R3 as a signed log.
    R4 = 4,
}

/// Whether uploads may be completed with parts whose attempt is not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Pinning {
    /// Every part needs its ticket.
    Strict = 1,
    /// A part list rebuilt from ListParts is accepted.
    Tolerant = 2,
}

/// What of an object's metadata the store may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum MetadataExposure {
    /// Nothing; object tags found in clear are refused.
    Sealed = 1,
    /// Object tags, in clear.
    TagsClear = 2,
    /// Object tags that were stored in clear before; new ones are sealed.
    TagsOnceClear = 3,
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
    /// Sealed metadata is padded to a multiple of this many bytes, 1 to [`METADATA_PADDING_MAX`].
    pub metadata_padding: u16,
}

/// Whether a bucket is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum BucketState {
    /// In use.
    Active = 1,
    /// Deleted by its owner; the entry remains so that its identity is never used again.
    Removed = 2,
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

impl EnrolledKek {
    fn fits(&self) -> bool {
        let module = self.module_sha256.as_bytes();
        let is_digest = module.len() == 64
            && module
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        self.version > 0
            && self.provider.len() <= TEXT_BYTES_MAX
            && self.label.len() <= TEXT_BYTES_MAX
            && self.canary_iv.len() <= IV_BYTES_MAX
            && self.canary_blob.len() <= WRAP_BLOB_BYTES_MAX
            && (module.is_empty() || is_digest)
    }
}

impl BucketEntry {
    fn fits(&self) -> bool {
        (1..=TEXT_BYTES_MAX).contains(&self.name.len())
            && self.bucket != BucketId([0; 16])
            && (1..=METADATA_PADDING_MAX).contains(&self.policy.metadata_padding)
    }
}

/// Whether no item occurs twice. Ordered, not hashed: the items may be hostile.
fn are_distinct<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    let mut items = items;
    items.all(|item| seen.insert(item))
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
        let (content, mac) = document::read(document)?;
        content.check()?;
        Ok(Self { content, mac })
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
    /// [`KeyringError::NotAuthentic`], also if the key is not the one of [`Self::mac_record`];
    /// [`KeyringError::Rollback`].
    pub fn verify(self, mac_key: &SecretKey, generation_min: u64) -> Result<Keyring, KeyringError> {
        let expected = self.content.mac(mac_key)?;
        if !bool::from(expected.ct_eq(&self.mac)) {
            return Err(KeyringError::NotAuthentic);
        }
        let record = self.content.mac_record().ok_or(KeyringError::Inconsistent)?;
        record
            .check_key(mac_key)
            .map_err(|_| KeyringError::NotAuthentic)?;
        if self.content.generation < generation_min {
            return Err(KeyringError::Rollback);
        }
        Ok(Keyring {
            content: self.content,
        })
    }
}

impl KeyringContent {
    /// The record of the MAC key.
    pub fn mac_record(&self) -> Option<&KeyRecord> {
        self.records
            .iter()
            .find(|record| record.purpose == Purpose::KeyringMac)
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

    /// The record that seals new objects of a bucket now whose names belong to no shred domain of a prefix.
    pub fn sealing_record(&self, bucket: BucketId, now_ms: u64) -> Option<&KeyRecord> {
        self.sealing_record_of(bucket, self.own_domain(bucket)?, now_ms)
    }

    /// Writes the document, authenticated under the MAC key.
    ///
    /// # Errors
    /// [`KeyringError::Inconsistent`], [`KeyringError::Malformed`] beyond a limit.
    pub fn encode(&self, mac_key: &SecretKey) -> Result<String, KeyringError> {
        self.check()?;
        let mac = self.mac(mac_key)?;
        document::write(self, &mac)
    }

    fn mac(&self, mac_key: &SecretKey) -> Result<[u8; 48], KeyringError> {
        let canonical = canonical::encode(self).ok_or(KeyringError::Malformed)?;
        Ok(*hmac_sha384(mac_key.expose(), &[&canonical]))
    }

    /// The rules that hold in every keyring, verified or not (§10.3).
    fn check(&self) -> Result<(), KeyringError> {
        let fits = self.records.len() <= RECORDS_MAX
            && self.buckets.len() <= BUCKETS_MAX
            && self.keks.len() <= KEKS_MAX
            && self.keks.iter().all(EnrolledKek::fits)
            && self.buckets.iter().all(BucketEntry::fits);
        if !fits {
            return Err(KeyringError::Malformed);
        }
        let macs = self
            .records
            .iter()
            .filter(|record| record.purpose == Purpose::KeyringMac);
        let active = self
            .buckets
            .iter()
            .filter(|entry| entry.state == BucketState::Active);
        let holds = self.generation > 0
            && macs.count() == 1
            && self.records.iter().all(|record| self.suits(record))
            && are_distinct(self.records.iter().map(|record| record.krid))
            && are_distinct(
                self.records
                    .iter()
                    .map(|r| (r.bucket, r.domain, r.purpose as u8, r.epoch)),
            )
            && are_distinct(self.buckets.iter().map(|entry| entry.bucket))
            && are_distinct(active.map(|entry| &entry.name))
            && are_distinct(
                self.keks
                    .iter()
                    .map(|kek| (&kek.provider, &kek.label, kek.version)),
            );
        if holds {
            Ok(())
        } else {
            Err(KeyringError::Inconsistent)
        }
    }

    /// Whether a record belongs into this keyring.
    fn suits(&self, record: &KeyRecord) -> bool {
        let is_placed = match record.purpose {
            Purpose::KeyringMac => record.bucket == BucketId([0; 16]),
            Purpose::Data | Purpose::Names => self.buckets.iter().any(|entry| entry.bucket == record.bucket),
        };
        is_placed && record.tenant == self.tenant && record.epoch > 0
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
