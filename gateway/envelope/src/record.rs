//! Key records: how an epoch key is kept (§9).
//!
//! What lives here: the canonical binary form and the check value. What must not: unwrapping.
//! Invariant: an unwrapped key counts only after [`KeyRecord::check_key`] agreed.

use sceau_keys::{
    BucketId, DomainId, Epoch, Krid, Purpose, SecretKey, TenantId, WRAP_BLOB_BYTES_MAX, Wrap, WrapContext,
    WrapScheme,
};
use subtle::ConstantTimeEq;

use crate::bytes_io::{Cursor, put_lp};
use crate::error::RecordError;
use crate::prf::prf_bytes;

/// Most wraps in one record.
pub const WRAPS_MAX: usize = 16;
/// Longest provider name or key label in bytes.
pub const TEXT_BYTES_MAX: usize = 255;
/// Longest wrap IV in bytes.
pub const IV_BYTES_MAX: usize = 64;
/// Longest encoded record in bytes.
pub const RECORD_BYTES_MAX: usize = 32_768;

const VERSION: u8 = 1;
/// Bytes from KRID to suite mask.
const RECORD_FIXED: usize = 16 + 1 + 1 + 3 * 16 + 4 + 4;

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
        self.check = self.expected_check(key);
    }

    fn expected_check(&self, key: &SecretKey) -> [u8; 32] {
        prf_bytes(key.expose(), "record", &[&self.immutable_fields()])
    }

    /// KRID to suite mask: what the check value covers and nobody may change.
    fn immutable_fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_FIXED);
        out.extend_from_slice(&self.krid.0);
        out.extend_from_slice(&[VERSION, self.purpose as u8]);
        out.extend_from_slice(&self.tenant.0);
        out.extend_from_slice(&self.bucket.0);
        out.extend_from_slice(&self.domain.0);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.suite_mask.to_be_bytes());
        out
    }

    /// Whether `key`, freshly unwrapped, is this record's key and the immutable fields are those it
    /// was made with.
    ///
    /// # Errors
    /// [`RecordError::CheckFailed`].
    pub fn check_key(&self, key: &SecretKey) -> Result<(), RecordError> {
        if self.expected_check(key).ct_eq(&self.check).into() {
            Ok(())
        } else {
            Err(RecordError::CheckFailed)
        }
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
        let count = u8::try_from(self.wraps.len()).map_err(|_| RecordError::TooLarge)?;
        if self.wraps.len() > WRAPS_MAX {
            return Err(RecordError::TooLarge);
        }
        let mut out = self.immutable_fields();
        out.push(self.state as u8);
        out.extend_from_slice(&self.not_before_ms.to_be_bytes());
        out.extend_from_slice(&self.not_after_ms.to_be_bytes());
        out.push(count);
        for wrap in &self.wraps {
            encode_wrap(&mut out, wrap).ok_or(RecordError::TooLarge)?;
        }
        out.extend_from_slice(&self.check);
        Ok(out)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::Malformed);
        }
        let mut cursor = Cursor::new(bytes);
        let record = Self::read(&mut cursor).ok_or(RecordError::Malformed)?;
        if cursor.is_empty() {
            Ok(record)
        } else {
            Err(RecordError::Malformed)
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let krid = Krid(cursor.array()?);
        if cursor.u8()? != VERSION {
            return None;
        }
        Some(Self {
            krid,
            purpose: Purpose::from_code(cursor.u8()?)?,
            tenant: TenantId(cursor.array()?),
            bucket: BucketId(cursor.array()?),
            domain: DomainId(cursor.array()?),
            epoch: cursor.u32()?,
            suite_mask: cursor.u32()?,
            state: RecordState::from_code(cursor.u8()?)?,
            not_before_ms: cursor.u64()?,
            not_after_ms: cursor.u64()?,
            wraps: read_wraps(cursor)?,
            check: cursor.array()?,
        })
    }
}

fn read_wraps(cursor: &mut Cursor<'_>) -> Option<Vec<Wrap>> {
    let count = usize::from(cursor.u8()?);
    if count > WRAPS_MAX {
        return None;
    }
    (0..count).map(|_| read_wrap(cursor)).collect()
}

fn read_wrap(cursor: &mut Cursor<'_>) -> Option<Wrap> {
    let text = |cursor: &mut Cursor<'_>| {
        let bytes = cursor.lp(TEXT_BYTES_MAX)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    };
    Some(Wrap {
        provider: text(cursor)?,
        key_label: text(cursor)?,
        key_version: cursor.u32()?,
        scheme: WrapScheme::from_code(cursor.u32()?)?,
        iv: cursor.lp(IV_BYTES_MAX)?.to_vec(),
        blob: cursor.lp(WRAP_BLOB_BYTES_MAX)?.to_vec(),
    })
}

/// Appends a wrap; `None` if one of its fields is too long to be read back.
fn encode_wrap(out: &mut Vec<u8>, wrap: &Wrap) -> Option<()> {
    let put =
        |out: &mut Vec<u8>, bytes: &[u8], max: usize| (bytes.len() <= max).then(|| put_lp(out, bytes))?;
    put(out, wrap.provider.as_bytes(), TEXT_BYTES_MAX)?;
    put(out, wrap.key_label.as_bytes(), TEXT_BYTES_MAX)?;
    out.extend_from_slice(&wrap.key_version.to_be_bytes());
    out.extend_from_slice(&wrap.scheme.code().to_be_bytes());
    put(out, &wrap.iv, IV_BYTES_MAX)?;
    put(out, &wrap.blob, WRAP_BLOB_BYTES_MAX)
}
