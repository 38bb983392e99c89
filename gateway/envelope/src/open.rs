//! Opening stored bytes, whole or by range, segment by segment, in place (§6.3).
//!
//! What lives here: [`Opener`], which says what to read and verifies what was read. What must not:
//! I/O. Invariant: plaintext leaves only as [`VerifiedSegment`], whose only constructor is behind
//! the tag check; where a segment stands and whether it is final come from the layout.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq;

use crate::engine::Engine;
use crate::error::OpenError;
use crate::floe::{Floe, HEADER_BYTES, Parameters, SEGMENT_PREFIX};
use crate::layout::{Layout, PartEntry};
use crate::secrets::ObjectSecrets;
use crate::size::{self, PlainRange, StoredRange};
use crate::trailer::{FOOTER_BYTES, Footer, Manifest};

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
    /// Nothing: everything asked for has been verified. Never the answer after a refusal.
    Done,
}

/// Plaintext that passed verification.
pub struct VerifiedSegment(Bytes);

impl VerifiedSegment {
    /// The wanted plaintext of the segment: one byte at least.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    PartHeader,
    Segment(u64),
    Pad(u64),
    Manifest,
    Footer,
    Done,
    Failed,
}

/// Verifies one contiguous stored range.
///
/// Ask the store for [`Opener::stored_range`], then supply what [`Opener::need`] asks for until it
/// answers [`Need::Done`]. To go on after a broken connection, make a new opener for the plaintext
/// not yet delivered.
pub struct Opener {
    engine: Engine,
    secrets: Arc<ObjectSecrets>,
    layout: Layout,
    stored: StoredRange,
    wanted: PlainRange,
    wanted_len: u64,
    has_trailer: bool,
    /// Part and segment where the payload ends.
    end: (usize, u64),
    part: usize,
    step: Step,
    floe: Option<Floe>,
    /// Plaintext offset of the next segment.
    at: u64,
    part_header: Option<StoredRange>,
    manifest: Option<Manifest>,
}

impl Opener {
    /// Prepares to read `extent` of an object with a proven layout.
    ///
    /// # Errors
    /// [`OpenError::OutOfRange`] if the range is empty or leaves the object, or a trailer is asked of
    /// a stashed part.
    pub fn new(
        engine: &Engine,
        secrets: &Arc<ObjectSecrets>,
        layout: &Layout,
        extent: Extent,
    ) -> Result<Self, OpenError> {
        let plan = match extent {
            Extent::Range(range) => Plan::slice(layout, range),
            Extent::Whole => Plan::whole(layout, false),
            Extent::WholeAndTrailer => Plan::whole(layout, true),
        };
        let plan = plan.ok_or(OpenError::OutOfRange)?;
        let mut opener = Self {
            engine: engine.clone(),
            secrets: Arc::clone(secrets),
            layout: layout.clone(),
            stored: plan.stored,
            wanted: plan.wanted,
            wanted_len: plan.wanted_len,
            has_trailer: extent == Extent::WholeAndTrailer,
            end: plan.end,
            part: plan.part,
            step: plan.step,
            floe: None,
            at: plan.at,
            part_header: plan.part_header,
            manifest: None,
        };
        if opener.step != Step::PartHeader {
            opener.floe = opener.pinned_floe();
        }
        Ok(opener)
    }

    /// The stored bytes to ask the store for.
    pub fn stored_range(&self) -> StoredRange {
        self.stored
    }

    /// How many bytes of plaintext will come out.
    pub fn plain_len(&self) -> u64 {
        self.wanted_len
    }

    /// For a range that begins inside a part whose IV is not pinned: that part's stored header, to
    /// be read separately and given to [`Opener::supply_part_header`] first.
    pub fn needs_part_header(&self) -> Option<StoredRange> {
        self.part_header
    }

    /// Gives the bytes that [`Opener::needs_part_header`] asked for.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`]; [`OpenError::Finished`] if none is needed.
    pub fn supply_part_header(&mut self, header: &[u8; HEADER_BYTES]) -> Result<(), OpenError> {
        if self.part_header.take().is_none() || self.step == Step::Failed {
            return Err(OpenError::Finished);
        }
        let opened = self.open_part_header(header);
        self.fail_on(&opened);
        opened
    }

    /// What to supply next.
    pub fn need(&self) -> Need {
        match self.step {
            Step::PartHeader => Need::Exactly(HEADER_BYTES),
            Step::Segment(index) => Need::Exactly(self.segment_len(index).1),
            Step::Pad(left) => {
                let chunk = left.min(size::SEGMENT_STORED);
                Need::Exactly(usize::try_from(chunk).unwrap_or(usize::MAX))
            }
            Step::Manifest => Need::Exactly(self.manifest_len()),
            Step::Footer => Need::Exactly(FOOTER_BYTES),
            Step::Done => Need::Done,
            // Not `Done`: a caller that overlooked the error must not take the object for complete.
            Step::Failed => Need::Exactly(1),
        }
    }

    /// Takes exactly what [`Opener::need`] asked for; answers the plaintext it proved, if any.
    ///
    /// # Errors
    /// [`OpenError`]. After an error every further call is refused.
    pub fn supply(&mut self, stored: BytesMut) -> Result<Option<VerifiedSegment>, OpenError> {
        let outcome = self.accept(stored);
        self.fail_on(&outcome);
        outcome
    }

    /// After [`Extent::WholeAndTrailer`] is done: the manifest at the object's end.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().filter(|_| self.step == Step::Done)
    }

    fn fail_on<T>(&mut self, outcome: &Result<T, OpenError>) {
        if outcome.is_err() {
            self.step = Step::Failed;
            self.floe = None;
        }
    }

    fn accept(&mut self, stored: BytesMut) -> Result<Option<VerifiedSegment>, OpenError> {
        if matches!(self.step, Step::Done | Step::Failed) {
            return Err(OpenError::Finished);
        }
        if self.part_header.is_some() {
            return Err(OpenError::PartHeaderMissing);
        }
        if self.need() != Need::Exactly(stored.len()) {
            return Err(OpenError::WrongLength);
        }
        match self.step {
            Step::PartHeader => {
                let header = stored.first_chunk().ok_or(OpenError::WrongLength)?;
                self.open_part_header(header)?;
                self.step = Step::Segment(0);
            }
            Step::Segment(index) => return self.open_segment(index, stored),
            Step::Pad(left) => self.check_pad(left, &stored)?,
            Step::Manifest => self.check_manifest(&stored)?,
            Step::Footer => self.check_footer(&stored)?,
            Step::Done | Step::Failed => return Err(OpenError::Finished),
        }
        Ok(None)
    }

    fn entry(&self) -> Result<PartEntry, OpenError> {
        self.layout
            .parts()
            .get(self.part)
            .copied()
            .ok_or(OpenError::Finished)
    }

    /// The keys of the current part, if its IV is pinned.
    fn pinned_floe(&self) -> Option<Floe> {
        let entry = self.entry().ok()?;
        let aad = self.secrets.body_aad(entry.number);
        let key = self.secrets.part_key(entry.number);
        Some(Floe::new(&self.engine, Parameters::SOF1, &key, entry.iv?, &aad))
    }

    fn open_part_header(&mut self, header: &[u8; HEADER_BYTES]) -> Result<(), OpenError> {
        let floe = match self.pinned_floe() {
            Some(floe) => {
                floe.check_header(header)?;
                floe
            }
            None => {
                let number = self.entry()?.number;
                let (key, aad) = (self.secrets.part_key(number), self.secrets.body_aad(number));
                Floe::from_header(&self.engine, Parameters::SOF1, &key, header, &aad)?
            }
        };
        self.floe = Some(floe);
        Ok(())
    }

    /// Plaintext and stored length of a segment of the current part.
    fn segment_len(&self, index: u64) -> (u64, usize) {
        let whole = self.entry().map_or(0, |entry| entry.plain_len);
        let plain = whole
            .saturating_sub(index.saturating_mul(size::SEGMENT_PLAIN))
            .min(size::SEGMENT_PLAIN);
        let stored = plain.saturating_add(size::SEGMENT_OVERHEAD);
        (plain, usize::try_from(stored).unwrap_or(usize::MAX))
    }

    fn open_segment(
        &mut self,
        index: u64,
        mut stored: BytesMut,
    ) -> Result<Option<VerifiedSegment>, OpenError> {
        let (plain, _) = self.segment_len(index);
        let next = index.checked_add(1).ok_or(OpenError::Finished)?;
        let is_final = next == size::segments(self.entry()?.plain_len);
        let floe = self.floe.as_mut().ok_or(OpenError::PartHeaderMissing)?;
        floe.open_segment(index, is_final, &mut stored)?;
        let segment = self.trim(stored, plain)?;
        self.at = self.at.saturating_add(plain);
        self.advance(index, next, is_final);
        Ok(segment)
    }

    /// Cuts an opened segment down to its wanted plaintext, without copying.
    fn trim(&self, mut opened: BytesMut, plain: u64) -> Result<Option<VerifiedSegment>, OpenError> {
        let end = self
            .at
            .saturating_add(plain)
            .min(self.wanted.last.saturating_add(1));
        let start = self.at.max(self.wanted.first);
        let Some(length) = end
            .checked_sub(start)
            .filter(|length| *length > 0 && self.wanted_len > 0)
        else {
            return Ok(None);
        };
        let skip = usize::try_from(start.saturating_sub(self.at)).map_err(|_| OpenError::WrongLength)?;
        let length = usize::try_from(length).map_err(|_| OpenError::WrongLength)?;
        let before = SEGMENT_PREFIX.saturating_add(skip);
        if before.saturating_add(length) > opened.len() {
            return Err(OpenError::WrongLength);
        }
        drop(opened.split_to(before));
        opened.truncate(length);
        Ok(Some(VerifiedSegment(opened.freeze())))
    }

    fn advance(&mut self, index: u64, next: u64, is_final: bool) {
        if (self.part, index) == self.end {
            self.floe = None;
            self.step = match self.layout.pad().filter(|_| self.has_trailer) {
                Some(pad) => Step::Pad(pad),
                None => Step::Done,
            };
        } else if is_final {
            self.floe = None;
            self.part = self.part.saturating_add(1);
            self.step = Step::PartHeader;
        } else {
            self.step = Step::Segment(next);
        }
    }

    fn check_pad(&mut self, left: u64, stored: &[u8]) -> Result<(), OpenError> {
        if stored.iter().any(|byte| *byte != 0) {
            return Err(OpenError::Corrupted);
        }
        let left = left.saturating_sub(stored.len() as u64);
        self.step = if left == 0 {
            Step::Manifest
        } else {
            Step::Pad(left)
        };
        Ok(())
    }

    fn manifest_len(&self) -> usize {
        let footer = Footer::of(&self.layout);
        footer
            .and_then(|footer| usize::try_from(footer.manifest_len()).ok())
            .unwrap_or(usize::MAX)
    }

    fn check_manifest(&mut self, stored: &[u8]) -> Result<(), OpenError> {
        let footer = Footer::of(&self.layout).ok_or(OpenError::Corrupted)?;
        let is_multi = self.layout.is_multi();
        let manifest = Manifest::open_under(&self.engine, &self.secrets, is_multi, &footer, stored)
            .map_err(|_| OpenError::Corrupted)?;
        if !manifest.layout().is_same_as(&self.layout) {
            return Err(OpenError::Corrupted);
        }
        self.manifest = Some(manifest);
        self.step = Step::Footer;
        Ok(())
    }

    fn check_footer(&mut self, stored: &[u8]) -> Result<(), OpenError> {
        let footer = Footer::of(&self.layout).ok_or(OpenError::Corrupted)?;
        if !bool::from(footer.encode(&self.secrets).as_slice().ct_eq(stored)) {
            return Err(OpenError::Corrupted);
        }
        self.step = Step::Done;
        Ok(())
    }
}

impl Layout {
    /// The stored bytes that a read of `range` needs, for choosing a request before the object's secrets
    /// are at hand. `None` for a range outside the object.
    pub fn stored_range(&self, range: PlainRange) -> Option<StoredRange> {
        Plan::slice(self, range).map(|plan| plan.stored)
    }
}

/// Where an opener starts and ends.
struct Plan {
    stored: StoredRange,
    wanted: PlainRange,
    wanted_len: u64,
    end: (usize, u64),
    part: usize,
    step: Step,
    at: u64,
    part_header: Option<StoredRange>,
}

impl Plan {
    fn whole(layout: &Layout, with_trailer: bool) -> Option<Self> {
        let stored_len = if with_trailer {
            layout.pad()?;
            size::stored_len(layout.plain_len())?
        } else {
            layout.parts_stored()
        };
        let part = layout.parts().len().checked_sub(1)?;
        let segments = size::segments(layout.parts().last()?.plain_len);
        Some(Self {
            stored: StoredRange {
                first: 0,
                last: stored_len.checked_sub(1)?,
            },
            wanted: PlainRange {
                first: 0,
                last: layout.plain_len().saturating_sub(1),
            },
            wanted_len: layout.plain_len(),
            end: (part, segments.checked_sub(1)?),
            part: 0,
            step: Step::PartHeader,
            at: 0,
            part_header: None,
        })
    }

    fn slice(layout: &Layout, range: PlainRange) -> Option<Self> {
        let wanted_len = range.last.checked_sub(range.first)?.checked_add(1)?;
        let (start, end) = (layout.locate(range.first)?, layout.locate(range.last)?);
        let first_segment = range.first.checked_sub(start.plain)? / size::SEGMENT_PLAIN;
        let last_segment = range.last.checked_sub(end.plain)? / size::SEGMENT_PLAIN;
        let segment_at = |part: u64, segment: u64| {
            part.checked_add(size::PART_HEADER)?
                .checked_add(segment.checked_mul(size::SEGMENT_STORED)?)
        };
        // The last wanted segment ends where the next begins, or with its part.
        let end_part = layout.parts().get(end.part)?;
        let part_end = end
            .stored
            .checked_add(size::part_stored_len(end_part.plain_len)?)?;
        let stored_end = segment_at(end.stored, last_segment.checked_add(1)?)?.min(part_end);
        let is_pinned = layout.parts().get(start.part)?.iv.is_some();
        // An unpinned part must show its header: in front of the range if that is where it is, else apart.
        let (step, stored_first) = if !is_pinned && first_segment == 0 {
            (Step::PartHeader, start.stored)
        } else {
            (
                Step::Segment(first_segment),
                segment_at(start.stored, first_segment)?,
            )
        };
        let header_last = start.stored.checked_add(size::PART_HEADER)?.checked_sub(1)?;
        Some(Self {
            stored: StoredRange {
                first: stored_first,
                last: stored_end.checked_sub(1)?,
            },
            wanted: range,
            wanted_len,
            end: (end.part, last_segment),
            part: start.part,
            step,
            at: start
                .plain
                .checked_add(first_segment.checked_mul(size::SEGMENT_PLAIN)?)?,
            part_header: (!is_pinned && first_segment != 0).then_some(StoredRange {
                first: start.stored,
                last: header_last,
            }),
        })
    }
}
