//! The framing of an aws-chunked body.
//!
//! What lives here: chunk lines and chunk boundaries. What must not: digests and signatures, which
//! the reader checks. Invariant: bounded state; a chunk is never held, only its header line.

use super::error::PayloadError;

/// Longest chunk line in bytes, its end excluded.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// A parsed chunk line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkLine {
    /// Bytes of data in the chunk; zero ends the data.
    pub(super) length: u64,
    /// The chunk's signature; `Some` in signed framing.
    pub(super) signature: Option<[u8; 32]>,
}

/// Parses a chunk line without its CRLF: `size` or `size;chunk-signature=hex`.
pub(super) fn parse_chunk_line(line: &[u8], is_signed: bool) -> Result<ChunkLine, PayloadError> {
    let malformed = PayloadError::MalformedFraming;
    let text = std::str::from_utf8(line).map_err(|_| malformed("a chunk line is not text"))?;
    let (size, extension) = match text.split_once(';') {
        Some((size, extension)) => (size, Some(extension)),
        None => (text, None),
    };
    let is_hex = !size.is_empty() && size.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex {
        return Err(malformed("a chunk size is not hexadecimal"));
    }
    let length = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk size is too large"))?;
    let signature = match (extension, is_signed) {
        (None, false) => None,
        (Some(extension), true) => Some(parse_signature(extension)?),
        (None, true) => return Err(malformed("a chunk has no signature")),
        (Some(_), false) => return Err(malformed("a chunk has an extension")),
    };
    Ok(ChunkLine { length, signature })
}

fn parse_signature(extension: &str) -> Result<[u8; 32], PayloadError> {
    let text = extension
        .strip_prefix("chunk-signature=")
        .ok_or(PayloadError::MalformedFraming("a chunk has an unknown extension"))?;
    let digest = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
    digest
        .and_then(|digest| digest.try_into().ok())
        .ok_or(PayloadError::ChunkSignatureMismatch)
}

/// A line that arrives in pieces, ended by CRLF.
#[derive(Default)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
}

impl LineBuffer {
    /// Takes bytes from the front of `input` up to and with the line's end. Gives the line without
    /// its CRLF once it is complete; the caller clears it with [`Self::clear`].
    pub(super) fn take(&mut self, input: &[u8]) -> (usize, Result<bool, PayloadError>) {
        let end = input.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(input.len(), |at| at.saturating_add(1));
        let piece = input.get(..used).unwrap_or_default();
        if self.bytes.len().saturating_add(piece.len()) > CHUNK_LINE_BYTES_MAX.saturating_add(2) {
            return (
                used,
                Err(PayloadError::MalformedFraming("a chunk line is too long")),
            );
        }
        self.bytes.extend_from_slice(piece);
        if end.is_none() {
            return (used, Ok(false));
        }
        if !self.bytes.ends_with(b"\r\n") {
            return (
                used,
                Err(PayloadError::MalformedFraming("a line does not end in CRLF")),
            );
        }
        self.bytes.truncate(self.bytes.len().saturating_sub(2));
        (used, Ok(true))
    }

    /// The complete line.
    pub(super) fn line(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts the next line.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}
