//! The keys derived once from an epoch key (§3.1, level 2).
//!
//! What lives here: [`EpochKeys`]. What must not: objects, caches. Invariant: they carry the
//! identifier of the record they came from, so a header cannot be sealed under one key and labelled
//! with another.

use sceau_keys::{KEY_BYTES, Krid, SecretKey};

use crate::prf::prf_key;

/// The second-level keys of one epoch key that are in use; `K_ver` and `K_stash` are reserved by the format. Derived
/// for every request, so each costs every request. Share it by `Arc`.
pub struct EpochKeys {
    krid: Krid,
    header: SecretKey,
    multipart: SecretKey,
}

impl EpochKeys {
    /// Derives from the epoch key of the record `krid`.
    pub fn derive(krid: Krid, epoch_key: &SecretKey) -> Self {
        Self::derive_from(krid, epoch_key.expose())
    }

    /// As [`EpochKeys::derive`], from the bytes of a key held elsewhere; `None` if they are not 32.
    pub fn from_slice(krid: Krid, epoch_key: &[u8]) -> Option<Self> {
        epoch_key.try_into().ok().map(|key| Self::derive_from(krid, key))
    }

    fn derive_from(krid: Krid, epoch_key: &[u8; KEY_BYTES]) -> Self {
        Self {
            krid,
            header: prf_key(epoch_key, "hdr", &[]),
            multipart: prf_key(epoch_key, "mpu", &[]),
        }
    }

    /// The record these keys came from.
    pub fn krid(&self) -> Krid {
        self.krid
    }

    pub(crate) fn header(&self) -> &[u8] {
        self.header.expose()
    }

    pub(crate) fn multipart(&self) -> &[u8] {
        self.multipart.expose()
    }

    /// Reserved for sealed version ids (freshness level R2).
    pub fn version_key(epoch_key: &SecretKey) -> SecretKey {
        prf_key(epoch_key.expose(), "ver", &[])
    }

    /// Reserved: stashed parts are sealed with their object's keys.
    pub fn stash_key(epoch_key: &SecretKey) -> SecretKey {
        prf_key(epoch_key.expose(), "stash", &[])
    }
}
