//! Opening stored bytes, whole or by range, segment by segment, in place (§6.3).
//!
//! What lives here: [`Opener`], which says what to read and verifies what was read. What must not:
//! I/O. Invariant: plaintext leaves only as [`VerifiedSegment`], whose only constructor is behind
//! the tag check; where a segment stands and whether it is final come from the layout.

use bytes::{Bytes, BytesMut};

use crate::engine::Engine;
use crate::error::OpenError;
use crate::floe::HEADER_BYTES;
use crate::secrets::ObjectSecrets;
use crate::size::{PlainRange, StoredRange};
use crate::trailer::{Layout, Manifest};

/// How much of an object to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// These plaintext bytes.
    Range(PlainRange),
    /// All plaintext.
    Whole,
    /// All plaintext, then padding, manifest and footer are verified too.
    WholeAndTrailer,
}

/// What the machine wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The next bytes of the stored range, exactly this many.
    Exactly(usize),
    /// Nothing: everything asked for has been verified.
    Done,
}

/// Plaintext that passed verification.
pub struct VerifiedSegment(Bytes);

impl VerifiedSegment {
    /// The wanted plaintext of the segment.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// Verifies one contiguous stored range.
pub struct Opener {
    range: StoredRange,
}

impl Opener {
    /// Prepares to read `extent` of an object with a proven layout.
    ///
    /// # Errors
    /// [`OpenError::OutOfRange`].
    pub fn new(
        engine: &Engine,
        secrets: &ObjectSecrets,
        layout: &Layout,
        extent: Extent,
    ) -> Result<Self, OpenError> {
        let _ = (engine, secrets, layout, extent);
        Err(OpenError::OutOfRange)
    }

    /// The stored bytes to ask the store for.
    pub fn stored_range(&self) -> StoredRange {
        self.range
    }

    /// For a range that begins inside a part whose IV is not pinned: that part's stored header, to
    /// be read separately and given to [`Opener::supply_part_header`] first.
    pub fn needs_part_header(&self) -> Option<StoredRange> {
        None
    }

    /// Gives the bytes that [`Opener::needs_part_header`] asked for.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn supply_part_header(&mut self, header: &[u8; HEADER_BYTES]) -> Result<(), OpenError> {
        let _ = header;
        Err(OpenError::Finished)
    }

    /// What to supply next.
    pub fn need(&self) -> Need {
        Need::Done
    }

    /// Takes exactly what [`Opener::need`] asked for; answers the plaintext it proved, if any.
    ///
    /// # Errors
    /// [`OpenError`]. After an error every further call is refused.
    pub fn supply(&mut self, stored: BytesMut) -> Result<Option<VerifiedSegment>, OpenError> {
        let _ = stored;
        Err(OpenError::Finished)
    }

    /// After [`Extent::WholeAndTrailer`] is done: the manifest at the object's end.
    pub fn manifest(&self) -> Option<&Manifest> {
        None
    }
}
