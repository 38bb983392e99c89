//! Tickets: what one upload part's ETag carries to Complete (§8.3).
//!
//! What lives here: encoding and verification. What must not: the list of parts. Invariant: a
//! ticket verifies only for the upload, part number, length and store ETag it was made for.

use crate::error::TicketError;
use crate::secrets::{FloeIv, ObjectSecrets, PartNumber};

/// Length of a ticket in characters.
pub const TICKET_CHARS: usize = 82;

/// What a verified ticket says about an uploaded part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// FLOE IV of the attempt.
    pub iv: FloeIv,
    /// Plaintext length.
    pub plain_len: u64,
    /// CRC-64/NVME of the plaintext, big-endian; zero if not computed.
    pub crc64: [u8; 8],
}

impl Ticket {
    /// Encodes it for a part that the store answered with `store_etag`. `None` for a length of 2⁴⁰
    /// or more.
    pub fn encode(&self, secrets: &ObjectSecrets, part: PartNumber, store_etag: &str) -> Option<String> {
        let _ = (secrets, part, store_etag);
        None
    }

    /// Verifies a ticket against the part and store ETag it came with.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn verify(
        text: &str,
        secrets: &ObjectSecrets,
        part: PartNumber,
        store_etag: &str,
    ) -> Result<Self, TicketError> {
        let _ = (text, secrets, part, store_etag);
        Err(TicketError::Malformed)
    }
}
