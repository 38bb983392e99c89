//! The reader: HTTP body bytes in, payload bytes out, and a verdict at the end.
//!
//! What lives here: running digests, the chunk-signature chain, the decision at the end. What must
//! not: waiting, buffering of payload. Invariant: payload slices are handed out before the verdict,
//! so the caller must hold back the end of what it makes of them until [`PayloadReader::finish`].

use bytes::{Buf, Bytes};
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::PayloadError;
use super::frame::{LineBuffer, parse_chunk_line};
use super::plan::{Framing, PayloadPlan, Trailer};
use super::trailer::{ReadTrailer, TrailerReader};
use crate::checksum::{Algorithm, Hasher, Value};
use crate::post::FormEnd;
use crate::sigv4::ChunkChain;

/// Where a checksum came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumOrigin {
    /// Computed at the caller's wish; the client sent none.
    Computed,
    /// The client sent it in a header, and it is right.
    Header,
    /// The client sent it in a trailer, and it is right.
    Trailer,
}

/// A checksum of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedChecksum {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: ChecksumOrigin,
}

/// A payload that arrived whole, with every promise of the request kept.
#[derive(Debug)]
pub struct VerifiedPayload {
    length: u64,
    checksums: Vec<VerifiedChecksum>,
}

impl VerifiedPayload {
    /// Payload length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// All checksums: the client's, then those asked for with [`PayloadPlan::compute_also`].
    pub fn checksums(&self) -> &[VerifiedChecksum] {
        &self.checksums
    }

    /// The checksum of one algorithm.
    pub fn checksum(&self, algorithm: Algorithm) -> Option<&VerifiedChecksum> {
        self.checksums
            .iter()
            .find(|checksum| checksum.value.algorithm() == algorithm)
    }
}

/// Reads one body.
pub struct PayloadReader {
    input: Bytes,
    stage: Stage,
    remaining: u64,
    decoded_length: u64,
    chain: Option<ChunkChain>,
    is_signed: bool,
    /// Hash of the current chunk (signed framing) or of the whole body (signed hash).
    sha256: Option<Sha256>,
    expected_sha256: Option<[u8; 32]>,
    md5: Option<(Md5, [u8; 16])>,
    hashers: Vec<Hasher>,
    header_checksum: Option<Value>,
    trailer_rule: Option<Trailer>,
    failed: Option<PayloadError>,
}

enum Stage {
    /// Payload bytes up to the end of the body.
    Plain,
    /// In a chunk line.
    ChunkLine(LineBuffer),
    /// In a chunk's data: bytes left, and the signature to find at its end.
    ChunkData { left: u64, signature: Option<[u8; 32]> },
    /// At the CRLF after a chunk's data; how much of it came.
    ChunkEnd { seen: usize },
    /// At the CRLF after the last chunk of a body without a trailer; how much of it came.
    LastEnd { seen: usize },
    /// In the trailer.
    Trailer(Box<TrailerReader>),
    /// In the file of a form, or behind it.
    Form(Box<FormEnd>),
}

impl PayloadReader {
    pub(super) fn new(plan: PayloadPlan) -> Self {
        let PayloadPlan {
            decoded_length,
            framing,
            sha256,
            md5,
            header_checksum,
            mut computed,
        } = plan;
        let mut input = Bytes::new();
        let (stage, chain, trailer_rule) = match framing {
            Framing::Plain => (Stage::Plain, None, None),
            Framing::Form(file) => {
                input = file.received;
                (Stage::Form(Box::new(file.end)), None, None)
            }
            Framing::Chunked { chain, trailer } => (
                Stage::ChunkLine(LineBuffer::default()),
                chain.map(ChunkChain::new),
                trailer,
            ),
        };
        let client = header_checksum.map(|value| value.algorithm());
        let client = client.or(trailer_rule.and_then(|rule| rule.announced));
        computed.retain(|algorithm| Some(*algorithm) != client);
        let is_signed = chain.is_some();
        Self {
            input,
            stage,
            remaining: decoded_length,
            decoded_length,
            chain,
            is_signed,
            sha256: (is_signed || sha256.is_some()).then(Sha256::new),
            expected_sha256: sha256,
            md5: md5.map(|expected| (Md5::new(), expected)),
            hashers: client.into_iter().chain(computed).map(Hasher::new).collect(),
            header_checksum,
            trailer_rule,
            failed: None,
        }
    }

    /// Payload length in bytes, as declared.
    pub fn decoded_length(&self) -> u64 {
        self.decoded_length
    }

    /// Gives the next piece of the HTTP body. Call [`Self::next`] until it gives `None` before the
    /// next push; what was not taken yet is kept by copying.
    pub fn push(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else if !bytes.is_empty() {
            self.input = [&*self.input, &*bytes].concat().into();
        }
    }

    /// The next piece of payload, a slice of what was pushed and never empty; `None` when more must
    /// be pushed. After an error, the same error again.
    #[expect(
        clippy::should_implement_trait,
        reason = "the iterator trait has no place for the error"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, PayloadError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|error| self.failed = Some(*error))
    }

    fn advance(&mut self) -> Result<Option<Bytes>, PayloadError> {
        while !self.input.is_empty() {
            match &mut self.stage {
                Stage::Plain => return self.take_payload(u64::MAX).map(Some),
                Stage::ChunkLine(line) => {
                    let (used, is_complete) = line.take(&self.input);
                    self.input.advance(used);
                    if is_complete? {
                        let parsed = parse_chunk_line(line.line(), self.is_signed)?;
                        line.clear();
                        self.start_chunk(parsed.length, parsed.signature)?;
                    }
                }
                Stage::ChunkData { left, .. } => {
                    let left = *left;
                    let piece = self.take_payload(left)?;
                    self.leave_data(left.saturating_sub(piece.len() as u64))?;
                    return Ok(Some(piece));
                }
                Stage::ChunkEnd { seen } => {
                    if take_crlf(&mut self.input, seen)? {
                        self.stage = Stage::ChunkLine(LineBuffer::default());
                    }
                }
                Stage::LastEnd { seen: 2 } => {
                    return Err(PayloadError::MalformedFraming("bytes follow the last chunk"));
                }
                Stage::LastEnd { seen } => {
                    take_crlf(&mut self.input, seen)?;
                }
                Stage::Trailer(trailer) => {
                    let input = std::mem::take(&mut self.input);
                    trailer.take(&input)?;
                }
                Stage::Form(end) if self.remaining == 0 => {
                    let input = std::mem::take(&mut self.input);
                    end.behind(&input)?;
                }
                Stage::Form(_) => {
                    let piece = self.take_payload(self.remaining)?;
                    if let Stage::Form(end) = &mut self.stage {
                        end.within(&piece)?;
                    }
                    return Ok(Some(piece));
                }
            }
        }
        Ok(None)
    }

    fn start_chunk(&mut self, length: u64, signature: Option<[u8; 32]>) -> Result<(), PayloadError> {
        if length > self.remaining {
            return Err(PayloadError::Incomplete);
        }
        if length > 0 {
            self.stage = Stage::ChunkData {
                left: length,
                signature,
            };
            return Ok(());
        }
        self.check_chunk(signature)?;
        self.stage = match self.trailer_rule {
            Some(rule) => Stage::Trailer(Box::new(TrailerReader::new(rule, self.is_signed))),
            None => Stage::LastEnd { seen: 0 },
        };
        Ok(())
    }

    /// Takes at most `limit` bytes of payload from the input and runs the digests over them.
    fn take_payload(&mut self, limit: u64) -> Result<Bytes, PayloadError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let piece = self.input.split_to(self.input.len().min(limit));
        self.remaining = self
            .remaining
            .checked_sub(piece.len() as u64)
            .ok_or(PayloadError::Incomplete)?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&piece);
        }
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(&piece);
        }
        self.hashers.iter_mut().for_each(|hasher| hasher.update(&piece));
        Ok(piece)
    }

    /// After a piece of a chunk's data: at the data's end, its signature is checked at once.
    fn leave_data(&mut self, still_left: u64) -> Result<(), PayloadError> {
        let Stage::ChunkData { left, signature } = &mut self.stage else {
            return Ok(());
        };
        *left = still_left;
        if still_left > 0 {
            return Ok(());
        }
        let signature = *signature;
        self.stage = Stage::ChunkEnd { seen: 0 };
        self.check_chunk(signature)
    }

    fn check_chunk(&mut self, signature: Option<[u8; 32]>) -> Result<(), PayloadError> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let digest: [u8; 32] = self
            .sha256
            .as_mut()
            .map(Sha256::finalize_reset)
            .unwrap_or_default()
            .into();
        let expected = chain.next_chunk(&digest);
        match signature {
            Some(signature) if bool::from(signature.ct_eq(&expected)) => Ok(()),
            Some(_) | None => Err(PayloadError::ChunkSignatureMismatch),
        }
    }

    /// The verdict, to be asked for when the HTTP body has ended without an error.
    pub fn finish(mut self) -> Result<VerifiedPayload, PayloadError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        // Whatever the caller left untaken would be missing from what it made of the payload.
        if !self.input.is_empty() || self.remaining > 0 {
            return Err(PayloadError::Incomplete);
        }
        let trailer = self.end_framing()?;
        self.check_digests()?;
        let sent = match (self.header_checksum, trailer.and_then(|trailer| trailer.checksum)) {
            (Some(value), _) => Some((value, ChecksumOrigin::Header)),
            (None, Some(value)) => Some((value, ChecksumOrigin::Trailer)),
            (None, None) => None,
        };
        let mut checksums = Vec::with_capacity(self.hashers.len());
        for hasher in self.hashers {
            let value = hasher.finish();
            let origin = match sent {
                Some((expected, _)) if expected.algorithm() == value.algorithm() && expected != value => {
                    return Err(PayloadError::ChecksumMismatch(value.algorithm()));
                }
                Some((expected, origin)) if expected == value => origin,
                Some(_) | None => ChecksumOrigin::Computed,
            };
            checksums.push(VerifiedChecksum { value, origin });
        }
        Ok(VerifiedPayload {
            length: self.decoded_length,
            checksums,
        })
    }

    fn end_framing(&mut self) -> Result<Option<ReadTrailer>, PayloadError> {
        match std::mem::replace(&mut self.stage, Stage::Plain) {
            Stage::Plain | Stage::LastEnd { seen: 2 } => Ok(None),
            Stage::Form(end) => end.finish().map(|()| None),
            Stage::Trailer(trailer) => {
                let trailer = trailer.finish()?;
                self.check_trailer(&trailer)?;
                Ok(Some(trailer))
            }
            Stage::ChunkLine(_)
            | Stage::ChunkData { .. }
            | Stage::ChunkEnd { .. }
            | Stage::LastEnd { .. } => Err(PayloadError::Incomplete),
        }
    }

    fn check_trailer(&mut self, trailer: &ReadTrailer) -> Result<(), PayloadError> {
        let Some(chain) = self.chain.take() else {
            return Ok(());
        };
        let expected = chain.trailer(&Sha256::digest(&trailer.canonical).into());
        match trailer.signature {
            Some(signature) if bool::from(signature.ct_eq(&expected)) => Ok(()),
            Some(_) | None => Err(PayloadError::ChunkSignatureMismatch),
        }
    }

    fn check_digests(&mut self) -> Result<(), PayloadError> {
        if let (Some(expected), Some(sha256)) = (self.expected_sha256, self.sha256.take()) {
            let digest: [u8; 32] = sha256.finalize().into();
            if !bool::from(digest.ct_eq(&expected)) {
                return Err(PayloadError::ContentSha256Mismatch);
            }
        }
        if let Some((md5, expected)) = self.md5.take() {
            let digest: [u8; 16] = md5.finalize().into();
            if !bool::from(digest.ct_eq(&expected)) {
                return Err(PayloadError::ContentMd5Mismatch);
            }
        }
        Ok(())
    }
}

/// Takes what is left of a CRLF; whether it is complete. Anything else is refused.
fn take_crlf(input: &mut Bytes, seen: &mut usize) -> Result<bool, PayloadError> {
    while *seen < 2
        && let Some(byte) = input.first()
    {
        if b"\r\n".get(*seen) != Some(byte) {
            return Err(PayloadError::MalformedFraming(
                "chunk data is not followed by CRLF",
            ));
        }
        input.advance(1);
        *seen = seen.saturating_add(1);
    }
    Ok(*seen == 2)
}
