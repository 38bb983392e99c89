//! Which parts an object consists of, and where they lie (§4.3).
//!
//! What lives here: the checked list of parts. What must not: bytes of the body. Invariant: lengths
//! agree with each other and with the size functions, so every position computed from a layout is
//! right.

use std::sync::Arc;

use crate::header::ObjectHeader;
use crate::secrets::{FloeIv, PartNumber};
use crate::size::{self, PlainRange};

/// One part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEntry {
    /// Its number.
    pub number: PartNumber,
    /// Its plaintext length.
    pub plain_len: u64,
    /// Its FLOE IV; `None` if the attempt is not pinned.
    pub iv: Option<FloeIv>,
    /// CRC-64/NVME of its plaintext, big-endian; zero if unknown.
    pub crc64: [u8; 8],
}

/// Parts in order, with consistent lengths. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Arc<[PartEntry]>,
    is_multi: bool,
    plain_len: u64,
    parts_stored: u64,
    pad: Option<u64>,
}

impl Layout {
    /// The layout of an object written by a single PUT, from its authentic header; `None` if the
    /// header says multipart: then the layout is in the manifest.
    pub fn single(header: &ObjectHeader) -> Option<Self> {
        let plain_len = header.plain_len.filter(|_| !header.is_multi)?;
        let part = PartEntry {
            number: PartNumber::SINGLE,
            plain_len,
            iv: Some(header.iv0),
            crc64: [0; 8],
        };
        Self::from_parts(false, vec![part])
    }

    /// The layout of a stashed part: one part without trailer. `None` above
    /// [`size::PART_PLAIN_MAX`].
    pub fn stash(number: PartNumber, plain_len: u64, iv: FloeIv) -> Option<Self> {
        let parts_stored = size::part_stored_len(plain_len)?;
        let part = PartEntry {
            number,
            plain_len,
            iv: Some(iv),
            crc64: [0; 8],
        };
        let is_multi = number != PartNumber::SINGLE;
        Some(Self {
            parts: Arc::from([part]),
            is_multi,
            plain_len,
            parts_stored,
            pad: None,
        })
    }

    /// Checks a list of parts: one pinned part 0, or ascending upload parts of which all but the
    /// last have at least 5 MiB.
    pub(crate) fn from_parts(is_multi: bool, parts: Vec<PartEntry>) -> Option<Self> {
        let count = u32::try_from(parts.len())
            .ok()
            .filter(|count| *count <= size::PARTS_MAX)?;
        let (last, others) = parts.split_last()?;
        let is_valid = if is_multi {
            let are_long = others.iter().all(|part| part.plain_len >= size::PART_PLAIN_MIN);
            let are_uploads = parts.iter().all(|part| part.number != PartNumber::SINGLE);
            let are_short = parts
                .iter()
                .all(|part| part.plain_len <= size::UPLOAD_PART_PLAIN_MAX);
            are_long && are_short && are_uploads && parts.is_sorted_by(|one, two| one.number < two.number)
        } else {
            others.is_empty() && last.number == PartNumber::SINGLE && last.iv.is_some()
        };
        if !is_valid {
            return None;
        }
        let mut plain_len = 0_u64;
        let mut parts_stored = 0_u64;
        for part in &parts {
            plain_len = plain_len.checked_add(part.plain_len)?;
            parts_stored = parts_stored.checked_add(size::part_stored_len(part.plain_len)?)?;
        }
        let pad = Some(size::pad_len(plain_len, count, parts_stored)?);
        Some(Self {
            parts: parts.into(),
            is_multi,
            plain_len,
            parts_stored,
            pad,
        })
    }

    /// The parts in order.
    pub fn parts(&self) -> &[PartEntry] {
        &self.parts
    }

    /// Whether it is a multipart layout.
    pub fn is_multi(&self) -> bool {
        self.is_multi
    }

    /// Plaintext length of all parts.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Stored length of all parts: where the padding begins.
    pub fn parts_stored(&self) -> u64 {
        self.parts_stored
    }

    /// Bytes of padding; `None` for a stashed part, which has no trailer.
    pub fn pad(&self) -> Option<u64> {
        self.pad
    }

    /// Where the part with this number lies in the plaintext; `None` if there is none or it is empty.
    pub fn part_range(&self, number: PartNumber) -> Option<PlainRange> {
        let mut first = 0_u64;
        for part in self.parts.iter() {
            if part.number == number {
                let last = first.checked_add(part.plain_len.checked_sub(1)?)?;
                return Some(PlainRange { first, last });
            }
            first = first.checked_add(part.plain_len)?;
        }
        None
    }

    /// Whether both have the same parts with the same lengths and IVs, whatever their checksums.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let key = |part: &PartEntry| (part.number, part.plain_len, part.iv);
        self.parts.iter().map(key).eq(other.parts.iter().map(key))
    }

    /// The part that holds a plaintext offset, and where it begins.
    pub(crate) fn locate(&self, offset: u64) -> Option<Place> {
        let mut place = Place {
            part: 0,
            plain: 0,
            stored: 0,
        };
        for part in self.parts.iter() {
            let next = place.plain.checked_add(part.plain_len)?;
            if offset < next {
                return Some(place);
            }
            place = Place {
                part: place.part.checked_add(1)?,
                plain: next,
                stored: place.stored.checked_add(size::part_stored_len(part.plain_len)?)?,
            };
        }
        None
    }
}

/// Where a part begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Its index in the layout.
    pub(crate) part: usize,
    /// Its first plaintext offset.
    pub(crate) plain: u64,
    /// Its first stored offset.
    pub(crate) stored: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u16, plain_len: u64) -> PartEntry {
        PartEntry {
            number: PartNumber::decode(number).unwrap(),
            plain_len,
            iv: Some([1; 32]),
            crc64: [0; 8],
        }
    }

    #[test]
    fn part_lists_that_break_a_rule_are_refused() {
        let long = size::PART_PLAIN_MIN;
        let accepts = |is_multi, parts: &[PartEntry]| Layout::from_parts(is_multi, parts.to_vec()).is_some();
        assert!(accepts(true, &[part(1, long), part(7, long), part(9_999, 0)]));
        assert!(accepts(true, &[part(3, 0)]));
        assert!(accepts(false, &[part(0, 0)]));
        assert!(!accepts(true, &[]));
        assert!(!accepts(true, &[part(0, 9)]));
        assert!(!accepts(false, &[part(1, 9)]));
        assert!(!accepts(false, &[part(0, 9), part(1, 9)]));
        assert!(!accepts(true, &[part(2, long), part(1, 9)]));
        assert!(!accepts(true, &[part(2, long), part(2, 9)]));
        assert!(!accepts(true, &[part(1, long - 1), part(2, 9)]));
        assert!(!accepts(true, &[part(1, size::UPLOAD_PART_PLAIN_MAX + 1)]));
        assert!(!accepts(
            false,
            &[PartEntry {
                iv: None,
                ..part(0, 9)
            }]
        ));
    }

    #[test]
    fn offsets_are_found_in_their_parts() {
        let long = size::PART_PLAIN_MIN;
        let layout = Layout::from_parts(true, vec![part(2, long), part(5, 10)]).unwrap();
        assert_eq!(layout.locate(long - 1).unwrap().part, 0);
        assert_eq!(layout.locate(long).unwrap().part, 1);
        assert!(layout.locate(long + 10).is_none());
        let range = layout.part_range(PartNumber::decode(5).unwrap()).unwrap();
        assert_eq!((range.first, range.last), (long, long + 9));
    }
}
