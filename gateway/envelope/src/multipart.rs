//! The sealed state of an open upload (§8.1, §8.2).
//!
//! What lives here: the state object and the names in the control bucket. What must not: tickets,
//! the store. Invariant: a state opens only for the key, bucket, name and upload id it was made for.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sceau_keys::{Krid, Oid, SecretKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::bytes_io::{Cursor, put_lp};
use crate::context::Context;
use crate::engine::{Engine, TAG_BYTES};
use crate::epoch::EpochKeys;
use crate::error::{SealError, StateError};
use crate::header::Suite;
use crate::metadata::Metadata;
use crate::prf::{Lp, prf_bytes, prf_key};
use crate::secrets::{ObjectSecrets, PartNumber};

/// Longest state object in bytes.
pub const STATE_BYTES_MAX: usize = 16_384;

/// What every replica must know about an open upload. Clones share the secrets.
#[derive(Clone)]
pub struct UploadState {
    /// Data key and object identifier, the same as in the header given to the store at creation.
    pub secrets: Arc<ObjectSecrets>,
    /// Time of creation in ms since 1970.
    pub created_ms: u64,
    /// Metadata given at creation.
    pub metadata: Metadata,
}

const MAGIC: [u8; 4] = *b"SOFU";
const VERSION: u8 = 1;
/// Magic to salt: what the sealing key and the commitment cover.
const PREFIX: usize = 56;
/// Prefix and commitment: the AAD.
const AAD: usize = 88;
/// Prefix, commitment, IV, fixed sealed fields, tag.
const FIXED: usize = AAD + 12 + 32 + 16 + 8 + 4 + TAG_BYTES;

/// A state object as the store returned it: parsed, nothing verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedState {
    bytes: Vec<u8>,
    krid: Krid,
}

/// Name of the state object in the control bucket: `mpu/` and 32 hexadecimal digits.
pub fn state_name(keys: &EpochKeys, context: &Context, upload_id: &[u8]) -> String {
    let id = Lp::new(upload_id);
    let [id_length, id_bytes] = id.pieces();
    let name: [u8; 16] = prf_bytes(
        keys.multipart(),
        "mpu-name",
        &[context.as_bytes(), id_length, id_bytes],
    );
    format!("mpu/{}", HEXLOWER.encode(&name))
}

/// Name of a stashed part in the control bucket, beside its state: `mpu/<hex>/<part number>`.
pub fn stash_name(state_name: &str, part: PartNumber) -> String {
    format!("{state_name}/{}", part.get())
}

impl UploadState {
    /// Seals it for one upload.
    ///
    /// # Errors
    /// [`SealError::MetadataTooLarge`], [`SealError::MetadataInvalid`], [`SealError::Random`],
    /// [`SealError::Engine`].
    pub fn seal(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
        upload_id: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let fields = self.metadata.encode()?;
        if fields.len().saturating_add(FIXED) > STATE_BYTES_MAX {
            return Err(SealError::MetadataTooLarge);
        }
        let prefix = prefix(keys.krid(), &engine.draw()?);
        let mut aad = prefix.to_vec();
        aad.extend_from_slice(&commit(keys, &prefix, context, upload_id));
        // Allocated once at its full length: growing would leave copies of the data key behind.
        let mut payload = Zeroizing::new(Vec::with_capacity(fields.len().saturating_add(FIXED)));
        payload.extend_from_slice(self.secrets.dek().expose());
        payload.extend_from_slice(&self.secrets.oid().0);
        payload.extend_from_slice(&self.created_ms.to_be_bytes());
        put_lp(&mut payload, &fields).ok_or(SealError::MetadataTooLarge)?;
        let key = engine.key(&sealing_key(keys, &prefix, context, upload_id))?;
        let (iv, tag) = key.seal(&aad, &mut payload)?;
        Ok([&aad[..], &iv, &payload, &tag].concat())
    }
}

impl SealedState {
    /// Parses a state object, without any key.
    ///
    /// # Errors
    /// [`StateError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let mut cursor = Cursor::new(bytes);
        let fields = (
            cursor.array::<4>(),
            cursor.u8(),
            cursor.u8(),
            cursor.u16(),
            cursor.array(),
        );
        let (Some(MAGIC), Some(VERSION), Some(suite), Some(0), Some(krid)) = fields else {
            return Err(StateError::Malformed);
        };
        if Suite::from_code(suite).is_none() || !(FIXED..=STATE_BYTES_MAX).contains(&bytes.len()) {
            return Err(StateError::Malformed);
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            krid: Krid(krid),
        })
    }

    /// The key record it names.
    pub fn krid(&self) -> Krid {
        self.krid
    }

    /// Opens it for one upload.
    ///
    /// # Errors
    /// [`StateError::NotForThisUpload`] when key, bucket, name or upload id are others;
    /// [`StateError::Corrupted`] when they are right and the rest is not.
    pub fn open(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
        upload_id: &[u8],
    ) -> Result<UploadState, StateError> {
        let (prefix, commitment) = self
            .bytes
            .split_first_chunk::<PREFIX>()
            .ok_or(StateError::Malformed)?;
        let expected = commit(keys, prefix, context, upload_id);
        let matches = commitment
            .first_chunk::<32>()
            .is_some_and(|found| found.ct_eq(&expected).into());
        if self.krid != keys.krid() || !matches {
            return Err(StateError::NotForThisUpload);
        }
        let (aad, rest) = self.bytes.split_at_checked(AAD).ok_or(StateError::Malformed)?;
        let (iv, sealed) = rest.split_first_chunk().ok_or(StateError::Malformed)?;
        let mut payload = Zeroizing::new(sealed.to_vec());
        let key = sealing_key(keys, prefix, context, upload_id);
        let key = engine.key(&key).map_err(|_| StateError::Corrupted)?;
        key.open(iv, aad, &mut payload)
            .map_err(|_| StateError::Corrupted)?;
        let (payload, _tag) = payload
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(StateError::Corrupted)?;
        read_payload(payload).ok_or(StateError::Corrupted)
    }
}

fn read_payload(payload: &[u8]) -> Option<UploadState> {
    let mut cursor = Cursor::new(payload);
    let dek = SecretKey::from_slice(cursor.take(32)?)?;
    let oid = Oid(cursor.array()?);
    let created_ms = cursor.u64()?;
    let metadata = Metadata::decode(cursor.lp(STATE_BYTES_MAX)?)?;
    cursor.is_empty().then(|| UploadState {
        secrets: Arc::new(ObjectSecrets::from_parts(dek, oid)),
        created_ms,
        metadata,
    })
}

fn prefix(krid: Krid, salt: &[u8; 32]) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    // The two bytes between suite and KRID are flags, all reserved.
    let fields = MAGIC
        .into_iter()
        .chain([VERSION, Suite::FloeAes256Gcm.code(), 0, 0])
        .chain(krid.0)
        .chain(*salt);
    for (to, from) in prefix.iter_mut().zip(fields) {
        *to = from;
    }
    prefix
}

fn commit(keys: &EpochKeys, prefix: &[u8; PREFIX], context: &Context, upload_id: &[u8]) -> [u8; 32] {
    let id = Lp::new(upload_id);
    let [id_length, id_bytes] = id.pieces();
    prf_bytes(
        keys.multipart(),
        "mpu-commit",
        &[prefix, context.as_bytes(), id_length, id_bytes],
    )
}

fn sealing_key(keys: &EpochKeys, prefix: &[u8; PREFIX], context: &Context, upload_id: &[u8]) -> SecretKey {
    let id = Lp::new(upload_id);
    let [id_length, id_bytes] = id.pieces();
    prf_key(
        keys.multipart(),
        "mpu-key",
        &[prefix, context.as_bytes(), id_length, id_bytes],
    )
}
