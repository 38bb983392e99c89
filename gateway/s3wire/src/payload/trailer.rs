//! The trailer of an aws-chunked body.
//!
//! What lives here: its lines, what may and what must be in them, and the bytes its signature
//! covers. What must not: the comparison with the body. Invariant: exactly the announced checksum
//! and, in signed framing, exactly one signature.

use super::error::PayloadError;
use super::plan::Trailer;
use crate::checksum::Value;

/// Longest trailer in bytes, line ends included.
pub const TRAILER_BYTES_MAX: usize = 16 * 1024;

const SIGNATURE: &str = "x-amz-trailer-signature";

/// Collects a trailer that arrives in pieces.
pub(super) struct TrailerReader {
    rule: Trailer,
    is_signed: bool,
    bytes_taken: usize,
    line: Vec<u8>,
    checksum: Option<Value>,
    signature: Option<[u8; 32]>,
    canonical: Vec<u8>,
    /// The empty line came.
    is_ended: bool,
    /// Bytes after the end: one CRLF is tolerated there.
    surplus: usize,
}

/// A complete trailer.
pub(super) struct ReadTrailer {
    pub(super) checksum: Option<Value>,
    pub(super) signature: Option<[u8; 32]>,
    /// What the signature covers: `name:value` lines.
    pub(super) canonical: Vec<u8>,
}

impl TrailerReader {
    pub(super) fn new(rule: Trailer, is_signed: bool) -> Self {
        Self {
            rule,
            is_signed,
            bytes_taken: 0,
            line: Vec::new(),
            checksum: None,
            signature: None,
            canonical: Vec::new(),
            is_ended: false,
            surplus: 0,
        }
    }

    /// Takes all of `input`: nothing may follow a trailer.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<(), PayloadError> {
        self.bytes_taken = self.bytes_taken.saturating_add(input.len());
        if self.bytes_taken > TRAILER_BYTES_MAX {
            return Err(PayloadError::MalformedTrailer("the trailer is too long"));
        }
        for byte in input {
            if self.is_ended {
                self.take_surplus(*byte)?;
            } else if *byte == b'\n' {
                self.end_line()?;
            } else {
                self.line.push(*byte);
            }
        }
        Ok(())
    }

    /// A widespread client writes one CRLF more than the framing has.
    fn take_surplus(&mut self, byte: u8) -> Result<(), PayloadError> {
        let expected = b"\r\n".get(self.surplus);
        self.surplus = self.surplus.saturating_add(1);
        if expected == Some(&byte) {
            Ok(())
        } else {
            Err(PayloadError::MalformedTrailer("bytes follow the trailer"))
        }
    }

    fn end_line(&mut self) -> Result<(), PayloadError> {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.is_empty() {
            // The same client separates the signature from the checksum by an empty line, as an
            // example in the S3 documentation does; so only the signature makes the end final.
            self.is_ended = !self.is_signed || self.signature.is_some();
            return Ok(());
        }
        self.take_field(&line)
    }

    fn take_field(&mut self, line: &[u8]) -> Result<(), PayloadError> {
        let malformed = PayloadError::MalformedTrailer;
        let text = std::str::from_utf8(line).map_err(|_| malformed("a trailer line is not text"))?;
        let (name, value) = text
            .split_once(':')
            .ok_or(malformed("a trailer line is not of the form name:value"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim_matches([' ', '\t']));
        if self.signature.is_some() {
            return Err(malformed("a trailer field follows the trailer signature"));
        }
        if name == SIGNATURE && self.is_signed {
            let digest = data_encoding::HEXLOWER.decode(value.as_bytes()).ok();
            let digest = digest.and_then(|digest| digest.try_into().ok());
            self.signature = Some(digest.ok_or(PayloadError::ChunkSignatureMismatch)?);
            return Ok(());
        }
        let announced = self
            .rule
            .announced
            .filter(|algorithm| algorithm.header_name() == name);
        let algorithm = announced.ok_or(malformed("the trailer has a field that was not announced"))?;
        let value = Value::from_base64(algorithm, value.as_bytes());
        let value = value.ok_or(PayloadError::InvalidChecksum(algorithm))?;
        if self.checksum.replace(value).is_some() {
            return Err(malformed("the trailer repeats a field"));
        }
        self.canonical = format!("{name}:{}\n", value.to_base64()).into_bytes();
        Ok(())
    }

    /// Ends the trailer; everything announced must have come.
    pub(super) fn finish(self) -> Result<ReadTrailer, PayloadError> {
        if !self.is_ended || !matches!(self.surplus, 0 | 2) {
            return Err(PayloadError::Incomplete);
        }
        if self.rule.announced.is_some() && self.checksum.is_none() {
            return Err(PayloadError::MalformedTrailer(
                "the trailer lacks the announced checksum",
            ));
        }
        Ok(ReadTrailer {
            checksum: self.checksum,
            signature: self.signature,
            canonical: self.canonical,
        })
    }
}
