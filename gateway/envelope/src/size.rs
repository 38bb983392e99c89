//! Lengths and positions (§4).
//!
//! What lives here: the one pair of size functions, part lengths, and the map from plaintext
//! positions to stored ones. What must not: bytes. Invariant: every length and range of the whole
//! product is computed here; everything is checked arithmetic, so no hostile number wraps.

/// Plaintext bytes of a full segment (`S`).
pub const SEGMENT_PLAIN: u64 = 65_536;
/// Stored bytes of a full segment (`E`).
pub const SEGMENT_STORED: u64 = 65_568;
/// Stored bytes that a segment adds to its plaintext.
pub const SEGMENT_OVERHEAD: u64 = 32;
/// Bytes of a part's header.
pub const PART_HEADER: u64 = 74;
/// Bytes of the footer.
pub const FOOTER: u64 = 64;
/// Bytes of a manifest without its part entries.
pub const MANIFEST_FIXED: u64 = 108;
/// Bytes of one part entry in a manifest.
pub const MANIFEST_ENTRY: u64 = 48;
/// Most parts of one object.
pub const PARTS_MAX: u32 = 9_999;
/// Fewest plaintext bytes of a part that is not the last (5 MiB).
pub const PART_PLAIN_MIN: u64 = 5_242_880;
/// Most plaintext bytes of one part of an upload: what fits into a store part of 5 GiB.
pub const UPLOAD_PART_PLAIN_MAX: u64 = 5_366_088_854;
/// Most plaintext bytes of any part: S3's largest single PUT, 5 GiB. Only part 0 may be longer than
/// [`UPLOAD_PART_PLAIN_MAX`], because its stored bytes may be spread over several store parts.
pub const PART_PLAIN_MAX: u64 = 5_368_709_120;
/// Most plaintext bytes of an object stored by one request of 5 GiB; above it the gateway makes a
/// multipart upload of its own.
pub const SINGLE_PLAIN_MAX: u64 = 5_365_925_024;
/// Stored length of an empty object, the smallest there is.
pub const STORED_MIN: u64 = 352;

/// Bytes added per part that an object of this size could have.
const ROOM_PER_PART: u64 = 160;
/// Parts an object may have beyond the first.
const EXTRA_PARTS_MAX: u64 = 9_998;

/// An inclusive range of plaintext bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlainRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

/// An inclusive range of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

impl StoredRange {
    /// How many bytes it spans; saturates for a range that is back to front.
    #[expect(clippy::len_without_is_empty, reason = "an inclusive range is never empty")]
    pub fn len(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// Segments of `plain` bytes: at least one.
pub fn segments(plain: u64) -> u64 {
    plain.div_ceil(SEGMENT_PLAIN).max(1)
}

/// Parts beyond the first that the padding leaves room for.
fn extra_parts(plain: u64) -> u64 {
    (plain / PART_PLAIN_MIN).min(EXTRA_PARTS_MAX)
}

/// `F`: stored length of an object of `plain` bytes, whatever its parts. `None` beyond 64 bits.
pub fn stored_len(plain: u64) -> Option<u64> {
    let overhead = segments(plain).checked_mul(SEGMENT_OVERHEAD)?;
    let room = extra_parts(plain).checked_add(2)?.checked_mul(ROOM_PER_PART)?;
    plain.checked_add(overhead)?.checked_add(room)
}

/// The inverse of [`stored_len`]: `None` if no object of this format has that stored length.
pub fn plain_len(stored: u64) -> Option<u64> {
    let above = stored.checked_sub(STORED_MIN)?;
    // 5 245 600 is what 5 MiB adds to F: the bytes, 80 segments and room for one more part.
    let guess = (above / 5_245_600).saturating_add(1).min(EXTRA_PARTS_MAX);
    (0..=2).find_map(|less| {
        let extra = guess.checked_sub(less)?;
        let room = extra.checked_add(2)?.checked_mul(ROOM_PER_PART)?;
        let segmented = stored.checked_sub(room)?;
        let count = segmented.div_ceil(SEGMENT_STORED).max(1);
        let plain = segmented.checked_sub(count.checked_mul(SEGMENT_OVERHEAD)?)?;
        (extra_parts(plain) == extra && stored_len(plain) == Some(stored)).then_some(plain)
    })
}

/// Stored length of one part of `plain` bytes. `None` above [`PART_PLAIN_MAX`].
pub fn part_stored_len(plain: u64) -> Option<u64> {
    if plain > PART_PLAIN_MAX {
        return None;
    }
    let overhead = segments(plain).checked_mul(SEGMENT_OVERHEAD)?;
    plain.checked_add(overhead)?.checked_add(PART_HEADER)
}

/// The inverse of [`part_stored_len`]: `None` if no part has that stored length.
pub fn part_plain_len(stored: u64) -> Option<u64> {
    let segmented = stored.checked_sub(PART_HEADER)?;
    let count = segmented.div_ceil(SEGMENT_STORED).max(1);
    let plain = segmented.checked_sub(count.checked_mul(SEGMENT_OVERHEAD)?)?;
    (part_stored_len(plain) == Some(stored)).then_some(plain)
}

/// Bytes of a manifest with `parts` entries. `None` for none or more than [`PARTS_MAX`].
pub fn manifest_len(parts: u32) -> Option<u64> {
    if parts == 0 || parts > PARTS_MAX {
        return None;
    }
    u64::from(parts)
        .checked_mul(MANIFEST_ENTRY)?
        .checked_add(MANIFEST_FIXED)
}

/// Bytes of zero padding of an object: what is left of `F` after parts, manifest and footer.
/// `None` if they do not fit, which the 5 MiB rule makes impossible.
pub fn pad_len(plain: u64, parts: u32, parts_stored: u64) -> Option<u64> {
    stored_len(plain)?
        .checked_sub(parts_stored)?
        .checked_sub(manifest_len(parts)?)?
        .checked_sub(FOOTER)
}

/// Where the segments of `range` lie if the object is not multipart: the request to send before the
/// header is known. It may reach past the payload; the store then answers with less or with trailer
/// bytes, which the opener does not ask for.
pub fn speculative_range(range: PlainRange) -> Option<StoredRange> {
    let start = |segment: u64| segment.checked_mul(SEGMENT_STORED)?.checked_add(PART_HEADER);
    let after = (range.last / SEGMENT_PLAIN).checked_add(1)?;
    Some(StoredRange {
        first: start(range.first / SEGMENT_PLAIN)?,
        last: start(after)?.checked_sub(1)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_sizes() {
        for (plain, stored) in [
            (0, 352),
            (1, 353),
            (1_024, 1_376),
            (65_536, 65_888),
            (65_537, 65_921),
            (1 << 20, 1_049_408),
            (5 << 20, 5_245_920),
            (1 << 30, 1_074_299_072),
            (5 << 30, 5_371_494_720),
            (1 << 40, 1_100_050_098_688),
        ] {
            assert_eq!(stored_len(plain), Some(stored));
            assert_eq!(plain_len(stored), Some(plain));
        }
    }

    #[test]
    fn the_largest_part_and_the_largest_single_object_fill_five_gibibytes() {
        assert!(part_stored_len(UPLOAD_PART_PLAIN_MAX).unwrap() <= 5 << 30);
        assert!(part_stored_len(UPLOAD_PART_PLAIN_MAX + 1).unwrap() > 5 << 30);
        assert_eq!(part_stored_len(PART_PLAIN_MAX + 1), None);
        let above = PART_PLAIN_MAX + 1;
        assert!(above + 32 * segments(above) + PART_HEADER > 5 << 30);
        assert!(stored_len(SINGLE_PLAIN_MAX).unwrap() <= 5 << 30);
        assert!(stored_len(SINGLE_PLAIN_MAX + 1).unwrap() > 5 << 30);
    }

    #[test]
    fn every_small_stored_length_is_in_the_image_exactly_when_some_object_has_it() {
        let mut plain = 0;
        for stored in 0..600_000 {
            let expected = (stored_len(plain) == Some(stored)).then_some(plain);
            assert_eq!(plain_len(stored), expected, "{stored}");
            plain += u64::from(expected.is_some());
        }
        assert!((0..352).all(|stored| plain_len(stored).is_none()));
    }

    #[test]
    fn gaps_follow_each_full_segment_and_each_five_mebibytes() {
        for (plain, gap) in [
            (SEGMENT_PLAIN, 32),
            (PART_PLAIN_MIN - 1, 160),
            (3 * SEGMENT_PLAIN, 32),
        ] {
            let stored = stored_len(plain).unwrap();
            assert_eq!(stored_len(plain + 1), Some(stored + 1 + gap));
            assert!((1..=gap).all(|more| plain_len(stored + more).is_none()));
        }
    }

    #[test]
    fn hostile_sizes_do_not_wrap() {
        for size in [u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 63] {
            let _ = plain_len(size);
            let _ = part_plain_len(size);
            let _ = speculative_range(PlainRange {
                first: size,
                last: size,
            });
            let _ = pad_len(size, u32::MAX, size);
        }
        assert_eq!(stored_len(u64::MAX), None);
        assert_eq!(manifest_len(0), None);
        assert_eq!(manifest_len(10_000), None);
    }

    fn any_size() -> impl Strategy<Value = u64> {
        let near =
            |step: u64| (0u64..20_000, 0u64..5).prop_map(move |(k, off)| (k * step + off).saturating_sub(2));
        prop_oneof![
            0u64..1 << 45,
            near(SEGMENT_PLAIN),
            near(PART_PLAIN_MIN),
            near(SEGMENT_PLAIN * 80)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn stored_lengths_grow_and_invert(plain in any_size()) {
            let stored = stored_len(plain).unwrap();
            prop_assert_eq!(plain_len(stored), Some(plain));
            prop_assert!(stored_len(plain + 1).unwrap() > stored);
        }

        #[test]
        fn inverse_answers_only_for_images(stored in 0u64..1 << 45) {
            if let Some(plain) = plain_len(stored) {
                prop_assert_eq!(stored_len(plain), Some(stored));
            }
        }

        #[test]
        fn part_lengths_invert(plain in 0..=PART_PLAIN_MAX) {
            let stored = part_stored_len(plain).unwrap();
            prop_assert_eq!(part_plain_len(stored), Some(plain));
        }

        // Parts but the last are at least 5 MiB: the padding then never runs out.
        #[test]
        fn there_is_always_room_for_the_trailer(
            parts in proptest::collection::vec(PART_PLAIN_MIN..PART_PLAIN_MIN + 200_000, 0..60),
            last in prop_oneof![0u64..200_000, 0u64..PART_PLAIN_MAX],
        ) {
            let all: Vec<u64> = parts.into_iter().chain([last]).collect();
            let plain = all.iter().sum();
            let stored = all.iter().map(|part| part_stored_len(*part).unwrap()).sum();
            let count = all.len() as u32;
            prop_assert!(pad_len(plain, count, stored).unwrap() >= 26);
        }
    }

    #[test]
    fn the_smallest_padding_is_twenty_six() {
        let smallest = pad_len(0, 1, part_stored_len(0).unwrap()).unwrap();
        assert_eq!(smallest, 26);
        let parts = vec![PART_PLAIN_MIN; 9_999];
        let plain = parts.iter().sum();
        let stored = parts.iter().map(|part| part_stored_len(*part).unwrap()).sum();
        assert!(pad_len(plain, 9_999, stored).unwrap() >= 26);
    }
}
