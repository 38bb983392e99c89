//! Key records: how an epoch key is kept (§9).
//!
//! What lives here: the canonical binary form and the check value. What must not: unwrapping.
//! Invariant: an unwrapped key counts only after [`KeyRecord::check_key`] agreed.

use sceau_keys::{BucketId, DomainId, Epoch, Krid, Purpose, SecretKey, TenantId, Wrap, WrapContext};

use crate::error::RecordError;

/// Most wraps in one record.
pub const WRAPS_MAX: usize = 16;
/// Longest provider name or key label in bytes.
pub const TEXT_BYTES_MAX: usize = 255;
/// Longest wrap IV in bytes.
pub const IV_BYTES_MAX: usize = 64;
/// Longest encoded record in bytes.
pub const RECORD_BYTES_MAX: usize = 32_768;

/// What a record's key may be used for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordState {
    /// Seals and opens.
    EncryptDecrypt = 1,
    /// Only opens.
    DecryptOnly = 2,
    /// Neither, for now.
    Disabled = 3,
    /// Neither, for ever; the wraps are gone.
    Destroyed = 4,
}

impl RecordState {
    /// The state with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Self::EncryptDecrypt,
            Self::DecryptOnly,
            Self::Disabled,
            Self::Destroyed,
        ]
        .into_iter()
        .find(|state| *state as u8 == code)
    }
}

/// One key of the keyring, wrapped. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Identifier, random.
    pub krid: Krid,
    /// What the key is for.
    pub purpose: Purpose,
    /// Owner.
    pub tenant: TenantId,
    /// Bucket, all zero for a key of the keyring itself.
    pub bucket: BucketId,
    /// Shred domain.
    pub domain: DomainId,
    /// Epoch, from 1.
    pub epoch: Epoch,
    /// Suites that the key may be used with.
    pub suite_mask: u32,
    /// Present state.
    pub state: RecordState,
    /// Not used for sealing before this time, ms since 1970.
    pub not_before_ms: u64,
    /// Not used for sealing after this time, ms since 1970.
    pub not_after_ms: u64,
    /// The key, wrapped once or more.
    pub wraps: Vec<Wrap>,
    /// Proves the key and the immutable fields above.
    pub check: [u8; 32],
}

impl KeyRecord {
    /// Fills in the check value for a new key.
    pub fn set_check(&mut self, key: &SecretKey) {
        let _ = key;
    }

    /// Whether `key`, freshly unwrapped, is this record's key and the immutable fields are those it
    /// was made with.
    ///
    /// # Errors
    /// [`RecordError::CheckFailed`].
    pub fn check_key(&self, key: &SecretKey) -> Result<(), RecordError> {
        let _ = key;
        Err(RecordError::CheckFailed)
    }

    /// What its wraps are bound to.
    pub fn wrap_context(&self) -> WrapContext {
        WrapContext {
            krid: self.krid,
            tenant: self.tenant,
            bucket: self.bucket,
            epoch: self.epoch,
        }
    }

    /// Whether it may seal new objects at `now_ms`.
    pub fn may_seal(&self, now_ms: u64) -> bool {
        self.state == RecordState::EncryptDecrypt
            && (self.not_before_ms..=self.not_after_ms).contains(&now_ms)
    }

    /// Whether it may open objects.
    pub fn may_open(&self) -> bool {
        matches!(self.state, RecordState::EncryptDecrypt | RecordState::DecryptOnly)
    }

    /// Its canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Err(RecordError::TooLarge)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let _ = bytes;
        Err(RecordError::Malformed)
    }
}
