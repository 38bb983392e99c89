//! Sealing one part, segment by segment, in place (§6.2).
//!
//! What lives here: [`SegmentBuf`], the only place payload is copied to, and [`BodySealer`]. What
//! must not: I/O, checksums. Invariant: exactly the announced number of bytes is sealed; the last
//! segment, and only it, is final.

use bytes::{Bytes, BytesMut};
use zeroize::Zeroize;

use crate::engine::Engine;
use crate::error::SealError;
use crate::floe::{Floe, HEADER_BYTES, Parameters, SEGMENT_PREFIX};
use crate::secrets::{FloeIv, ObjectSecrets, PartNumber};
use crate::size;

/// Bytes allocated for a segment: its stored length.
const CAPACITY: usize = Parameters::SOF1.segment_stored();
/// Room for the tag at the end.
const TAG_ROOM: usize = 16;

/// A segment being filled: one allocation with room for what sealing adds. Wiped when dropped
/// before it was sealed.
pub struct SegmentBuf {
    bytes: BytesMut,
}

impl Default for SegmentBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl SegmentBuf {
    /// An empty segment in a new allocation.
    pub fn new() -> Self {
        Self::over(BytesMut::with_capacity(CAPACITY))
    }

    /// An empty segment in the allocation of one that was sent, if nobody else holds it; in a new
    /// one otherwise.
    pub fn reuse(sealed: Bytes) -> Self {
        match sealed.try_into_mut() {
            Ok(bytes) if bytes.capacity() >= CAPACITY => Self::over(bytes),
            Ok(_) | Err(_) => Self::new(),
        }
    }

    fn over(mut bytes: BytesMut) -> Self {
        bytes.clear();
        bytes.resize(SEGMENT_PREFIX, 0);
        Self { bytes }
    }

    /// Copies as much from `source` as fits and advances it; returns how many bytes that were.
    pub fn fill(&mut self, source: &mut Bytes) -> usize {
        let taken = source.len().min(self.room());
        self.bytes.extend_from_slice(&source.split_to(taken));
        taken
    }

    /// Plaintext bytes held.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(SEGMENT_PREFIX)
    }

    /// Whether no plaintext is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Plaintext bytes that still fit.
    pub fn room(&self) -> usize {
        Parameters::SOF1.segment_plain().saturating_sub(self.len())
    }

    /// Whether no more fits.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// The plaintext held, for checksums.
    pub fn plaintext(&self) -> &[u8] {
        self.bytes.get(SEGMENT_PREFIX..).unwrap_or_default()
    }
}

impl Drop for SegmentBuf {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// Seals one part: the whole payload of a single PUT, or one part of an upload.
pub struct BodySealer {
    floe: Floe,
    plain_len: u64,
    sealed: u64,
    next_index: u64,
    segments: u64,
}

impl BodySealer {
    /// Starts a part of exactly `plain_len` bytes under a fresh IV.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`size::UPLOAD_PART_PLAIN_MAX`], for part 0 above
    /// [`size::PART_PLAIN_MAX`]; [`SealError::Random`].
    pub fn new(
        engine: &Engine,
        secrets: &ObjectSecrets,
        part: PartNumber,
        plain_len: u64,
    ) -> Result<Self, SealError> {
        let longest = if part == PartNumber::SINGLE {
            size::PART_PLAIN_MAX
        } else {
            size::UPLOAD_PART_PLAIN_MAX
        };
        if plain_len > longest {
            return Err(SealError::TooLong);
        }
        let iv = engine.draw()?;
        let key = secrets.part_key(part);
        let floe = Floe::new(engine, Parameters::SOF1, &key, iv, &secrets.body_aad(part));
        Ok(Self {
            floe,
            plain_len,
            sealed: 0,
            next_index: 0,
            segments: size::segments(plain_len),
        })
    }

    /// The part's header, to be sent first.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        self.floe.header()
    }

    /// The part's FLOE IV, for the object header (part 0), the ticket and the manifest.
    pub fn iv(&self) -> FloeIv {
        *self.floe.iv()
    }

    /// Plaintext bytes that the next segment must hold. Zero when done, and for the only segment of
    /// an empty part: see [`BodySealer::is_done`].
    pub fn next_len(&self) -> usize {
        let left = self
            .plain_len
            .saturating_sub(self.sealed)
            .min(size::SEGMENT_PLAIN);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Whether the final segment has been sealed.
    pub fn is_done(&self) -> bool {
        self.next_index == self.segments
    }

    /// Seals the next segment in place. The sealed bytes are the buffer's own allocation.
    ///
    /// # Errors
    /// [`SealError::TooShort`] or [`SealError::TooLong`] unless the buffer holds exactly
    /// [`BodySealer::next_len`] bytes; [`SealError::Random`], [`SealError::Engine`].
    pub fn seal(&mut self, mut segment: SegmentBuf) -> Result<Bytes, SealError> {
        let length = segment.len();
        if self.is_done() || length > self.next_len() {
            return Err(SealError::TooLong);
        }
        if length < self.next_len() {
            return Err(SealError::TooShort);
        }
        let after = self.next_index.saturating_add(1);
        let mut bytes = std::mem::take(&mut segment.bytes);
        bytes.extend_from_slice(&[0; TAG_ROOM]);
        if let Err(error) = self
            .floe
            .seal_segment(self.next_index, after == self.segments, &mut bytes)
        {
            bytes.zeroize();
            return Err(error);
        }
        self.next_index = after;
        self.sealed = self.sealed.saturating_add(length as u64);
        Ok(bytes.freeze())
    }
}
