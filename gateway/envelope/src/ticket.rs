//! Tickets: what one upload part's ETag carries to Complete (§8.3).
//!
//! What lives here: encoding and verification. What must not: the list of parts. Invariant: a
//! ticket verifies only for the upload, part number, length and store ETag it was made for.

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;

use crate::bytes_io::{Cursor, u40_bytes};
use crate::error::TicketError;
use crate::prf::Lp;
use crate::secrets::{FloeIv, ObjectSecrets, PartNumber};

/// Encodes the checksum that an upload announced, of one part, for the ETag that the client keeps: it
/// stands in front of `etag`, the part's ETag with its ticket, and vouches for that attempt only.
pub fn encode_checksum(secrets: &ObjectSecrets, part: PartNumber, etag: &str, checksum: &[u8]) -> String {
    let mac = checksum_mac(secrets, part, etag, checksum);
    BASE64URL_NOPAD.encode(&[checksum, &mac].concat())
}

/// The checksum that [`encode_checksum`] put into `text`; `None` unless it is authentic for part and ETag.
pub fn verify_checksum(text: &str, secrets: &ObjectSecrets, part: PartNumber, etag: &str) -> Option<Vec<u8>> {
    let text = Some(text).filter(|text| text.len() <= CHECKSUM_CHARS_MAX)?;
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (checksum, mac) = bytes.split_last_chunk::<16>()?;
    let expected = checksum_mac(secrets, part, etag, checksum);
    bool::from(expected.ct_eq(mac)).then(|| checksum.to_vec())
}

fn checksum_mac(secrets: &ObjectSecrets, part: PartNumber, etag: &str, checksum: &[u8]) -> [u8; 16] {
    let (etag, checksum) = (Lp::new(etag.as_bytes()), Lp::new(checksum));
    let ([etag_length, etag_bytes], [length, bytes]) = (etag.pieces(), checksum.pieces());
    secrets.checksum_mac(&[&part.to_bytes(), etag_length, etag_bytes, length, bytes])
}

/// Most characters of a checksum in front of an ETag: a SHA-512 and its MAC.
const CHECKSUM_CHARS_MAX: usize = 108;

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
        let length = u40_bytes(self.plain_len)?;
        let mac = self.mac(secrets, part, &length, store_etag);
        Some(BASE64URL_NOPAD.encode(&[&self.iv[..], &length, &self.crc64, &mac].concat()))
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
        if text.len() != TICKET_CHARS {
            return Err(TicketError::Malformed);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| TicketError::Malformed)?;
        let mut cursor = Cursor::new(&bytes);
        let fields = (
            cursor.array(),
            cursor.array::<5>(),
            cursor.array(),
            cursor.array::<16>(),
        );
        let (Some(iv), Some(length), Some(crc64), Some(mac)) = fields else {
            return Err(TicketError::Malformed);
        };
        let plain_len = Cursor::new(&length).u40().ok_or(TicketError::Malformed)?;
        let ticket = Self { iv, plain_len, crc64 };
        let expected = ticket.mac(secrets, part, &length, store_etag);
        if expected.ct_eq(&mac).into() {
            Ok(ticket)
        } else {
            Err(TicketError::NotAuthentic)
        }
    }

    fn mac(&self, secrets: &ObjectSecrets, part: PartNumber, length: &[u8; 5], etag: &str) -> [u8; 16] {
        let etag = Lp::new(etag.as_bytes());
        let [etag_length, etag_bytes] = etag.pieces();
        secrets.ticket_mac(&[
            &part.to_bytes(),
            &self.iv,
            length,
            &self.crc64,
            etag_length,
            etag_bytes,
        ])
    }
}
