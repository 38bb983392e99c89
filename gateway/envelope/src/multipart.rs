//! The sealed state of an open upload (§8.1, §8.2).
//!
//! What lives here: the state object and the names in the control bucket. What must not: tickets,
//! the store. Invariant: a state opens only for the key, bucket, name and upload id it was made for.

use std::sync::Arc;

use crate::context::Context;
use crate::engine::Engine;
use crate::epoch::EpochKeys;
use crate::error::{SealError, StateError};
use crate::metadata::Metadata;
use crate::secrets::{ObjectSecrets, PartNumber};

/// Longest state object in bytes.
pub const STATE_BYTES_MAX: usize = 16_384;
/// Longest upload id in bytes.
pub const UPLOAD_ID_BYTES_MAX: usize = 4_096;

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

/// A state object as the store returned it: parsed, nothing verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedState {
    bytes: Vec<u8>,
    krid: sceau_keys::Krid,
}

/// Name of the state object in the control bucket: `mpu/` and 32 hexadecimal digits.
pub fn state_name(keys: &EpochKeys, context: &Context, upload_id: &[u8]) -> String {
    let _ = (keys, context, upload_id);
    String::new()
}

/// Name of a stashed part in the control bucket, beside its state: `mpu/<hex>/<part number>`.
pub fn stash_name(state_name: &str, part: PartNumber) -> String {
    format!("{state_name}/{}", part.get())
}

impl UploadState {
    /// Seals it for one upload.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
        upload_id: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let _ = (engine, keys, context, upload_id);
        Err(SealError::Engine)
    }
}

impl SealedState {
    /// Parses a state object, without any key.
    ///
    /// # Errors
    /// [`StateError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let _ = bytes;
        Err(StateError::Malformed)
    }

    /// The key record it names.
    pub fn krid(&self) -> sceau_keys::Krid {
        self.krid
    }

    /// Opens it for one upload.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
        upload_id: &[u8],
    ) -> Result<UploadState, StateError> {
        let _ = (engine, keys, context, upload_id);
        Err(StateError::Malformed)
    }
}
