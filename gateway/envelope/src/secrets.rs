//! The keys of one object instance (§3.1, levels 4 and 5).
//!
//! What lives here: the data key with its object identifier, what is derived from them, part
//! numbers and FLOE IVs. What must not: layouts. Invariant: a data key never travels without the
//! identifier that every derivation from it needs.

use sceau_keys::{Oid, SecretKey};

use crate::context::Context;
use crate::engine::Engine;
use crate::error::SealError;
use crate::header::Suite;
use crate::prf::{prf_bytes, prf_key};

/// Largest part number of a client; the store's 10 000th part is the trailer's.
pub const PART_NUMBER_MAX: u16 = 9_999;

/// The 32-byte IV of one FLOE ciphertext.
pub type FloeIv = [u8; 32];

/// Number of a part: 0 for an object written by a single PUT, else 1 to [`PART_NUMBER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// The only part of an object that is not a multipart upload.
    pub const SINGLE: Self = Self(0);

    /// A part number of an upload; `None` outside 1 to [`PART_NUMBER_MAX`].
    pub fn upload(number: u16) -> Option<Self> {
        (1..=PART_NUMBER_MAX).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    pub(crate) fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// Any number that the format knows, zero included.
    pub(crate) fn decode(number: u16) -> Option<Self> {
        (number <= PART_NUMBER_MAX).then_some(Self(number))
    }
}

/// Data key and object identifier of one object instance. Share it by `Arc`.
pub struct ObjectSecrets {
    dek: SecretKey,
    oid: Oid,
}

impl ObjectSecrets {
    /// Draws a new pair, for one PUT or one upload.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn generate(engine: &Engine) -> Result<Self, SealError> {
        Ok(Self {
            dek: SecretKey::new(engine.draw()?),
            oid: Oid(engine.draw()?),
        })
    }

    /// Puts a pair together again. For readers and vectors.
    pub fn from_parts(dek: SecretKey, oid: Oid) -> Self {
        Self { dek, oid }
    }

    /// The object identifier. Public.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    pub(crate) fn dek(&self) -> &SecretKey {
        &self.dek
    }

    pub(crate) fn part_key(&self, part: PartNumber) -> SecretKey {
        prf_key(self.dek.expose(), "part", &[&self.oid.0, &part.to_bytes()])
    }

    pub(crate) fn manifest_key(&self) -> SecretKey {
        prf_key(self.dek.expose(), "manifest", &[&self.oid.0])
    }

    /// The MAC over a footer's first half.
    pub(crate) fn footer_mac(&self, prefix: &[u8; 32]) -> [u8; 32] {
        let key = prf_key(self.dek.expose(), "footer", &[&self.oid.0]);
        prf_bytes(key.expose(), "footer-mac", &[prefix])
    }

    /// The MAC over a ticket's fields.
    pub(crate) fn ticket_mac(&self, fields: &[&[u8]]) -> [u8; 16] {
        let key = prf_key(self.dek.expose(), "ticket", &[&self.oid.0]);
        prf_bytes(key.expose(), "ticket-mac", fields)
    }

    /// The MAC over a part's checksum, beside its ticket.
    pub(crate) fn checksum_mac(&self, fields: &[&[u8]]) -> [u8; 16] {
        let key = prf_key(self.dek.expose(), "ticket", &[&self.oid.0]);
        prf_bytes(key.expose(), "ticket-sum", fields)
    }

    pub(crate) fn tags_key(&self) -> SecretKey {
        prf_key(self.dek.expose(), "tags", &[&self.oid.0])
    }

    /// Associated data of a tag set: `"sof1/tags" ‖ 00 ‖ version ‖ suite ‖ OID ‖ H`.
    pub(crate) fn tags_aad(&self, prefix: [u8; 2], context: &Context) -> Vec<u8> {
        let mut aad = b"sof1/tags\0".to_vec();
        aad.extend_from_slice(&prefix);
        aad.extend_from_slice(&self.oid.0);
        aad.extend_from_slice(context.as_bytes());
        aad
    }

    /// FLOE associated data of a part: `"sof1/body" ‖ 00 ‖ suite ‖ OID ‖ u16 p`.
    pub(crate) fn body_aad(&self, part: PartNumber) -> Vec<u8> {
        let mut aad = b"sof1/body\0".to_vec();
        aad.push(Suite::FloeAes256Gcm.code());
        aad.extend_from_slice(&self.oid.0);
        aad.extend_from_slice(&part.to_bytes());
        aad
    }
}
