//! Promise: what was written is read, whole or by any range, by either engine, and the sizes and
//! positions announced are the real ones.
//! How: random layouts and ranges through the honest writer and reader.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use proptest::prelude::*;
use sceau_envelope::size::{self, PlainRange};
use sceau_envelope::trailer::Suffix;
use sceau_envelope::*;
use support::*;

const S: usize = 65_536;
const MIN: usize = 5_242_880;

fn engines() -> [Engine; 2] {
    [
        Engine::pinned(EngineKind::AwsLc),
        Engine::pinned(EngineKind::Reference),
    ]
}

#[test]
fn structural_lengths_round_trip_in_every_pairing_of_engines() {
    for length in [0, 1, S - 1, S, S + 1, 2 * S, 3 * S + 17] {
        let data = pattern(length);
        for writer in &engines() {
            let stored = write_single(writer, &secrets(), &data);
            assert_eq!(stored.body.len() as u64, size::stored_len(length as u64).unwrap());
            for reader in &engines() {
                assert!(read(reader, &stored, Extent::Whole).unwrap() == data);
                assert!(read(reader, &stored, Extent::WholeAndTrailer).unwrap() == data);
            }
        }
    }
}

#[test]
fn a_verified_whole_read_yields_the_checksum_of_the_trailer() {
    let engine = Engine::fastest();
    let secrets = secrets();
    let (mut body, iv) = seal_part(&engine, &secrets, PartNumber::SINGLE, b"abc");
    let checksum = Checksum::full(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]);
    let manifest = Manifest::single(3, iv, checksum.clone()).unwrap();
    body.extend_from_slice(&manifest.seal_trailer(&engine, &secrets).unwrap());
    let header = header_for(&secrets, Some(3), iv);
    let Suffix::Complete(footer, opened) = Suffix::open(&engine, &header, &body).unwrap() else {
        panic!("the whole body holds the manifest")
    };
    assert_eq!(footer.plain_len(), 3);
    assert_eq!(opened.checksum(), checksum.as_ref());
    assert_eq!(opened, manifest);
}

#[test]
fn a_tail_that_is_too_short_says_how_much_to_read() {
    let engine = Engine::fastest();
    let first = pattern(MIN);
    let stored = write_multi(
        &engine,
        &secrets(),
        &[PartInput(1, &first, true), PartInput(2, b"x", true)],
    );
    let tail = |length: usize| {
        Suffix::open(
            &engine,
            &stored.header,
            &stored.body[stored.body.len() - length..],
        )
    };
    let Ok(Suffix::Need(footer, wanted)) = tail(64) else {
        panic!("only the footer is there")
    };
    assert_eq!(
        (footer.parts(), footer.plain_len(), wanted),
        (2, MIN as u64 + 1, 64 + 108 + 96)
    );
    assert!(matches!(tail(wanted as usize - 1), Ok(Suffix::Need(..))));
    assert!(matches!(tail(wanted as usize), Ok(Suffix::Complete(..))));
    assert!(tail(63).is_err());
}

#[test]
fn the_most_parts_fit_and_their_trailer_is_bounded() {
    let engine = Engine::fastest();
    let entry = |number| PartEntry {
        number: PartNumber::upload(number).unwrap(),
        plain_len: MIN as u64,
        iv: Some([number as u8; 32]),
        crc64: [0; 8],
    };
    let manifest = Manifest::multipart((1..=9_999).map(entry).collect(), None).unwrap();
    let trailer = manifest.seal_trailer(&engine, &secrets()).unwrap();
    let layout = manifest.layout();
    let stored = size::stored_len(layout.plain_len()).unwrap();
    assert_eq!(layout.parts_stored() + trailer.len() as u64, stored);
    let header = header_for(&secrets(), None, [0; 32]);
    assert!(
        matches!(Suffix::open(&engine, &header, &trailer), Ok(Suffix::Complete(_, found)) if found == manifest)
    );
    // The fewest parts for the most padding.
    let largest = |number| PartEntry {
        plain_len: size::UPLOAD_PART_PLAIN_MAX,
        ..entry(number)
    };
    let manifest = Manifest::multipart((1..=11).map(largest).collect(), None).unwrap();
    let trailer = manifest.seal_trailer(&engine, &secrets()).unwrap();
    assert!(trailer.len() > 1_500_000 && trailer.len() <= sceau_envelope::trailer::TRAILER_BYTES_MAX);
}

#[test]
fn a_speculative_range_begins_where_the_single_layout_does() {
    let engine = Engine::fastest();
    let stored = write_single(&engine, &secrets(), &pattern(3 * S + 5));
    let layout = Layout::single(&stored.header).unwrap();
    for (first, last) in [(0, 0), (S - 1, S), (3 * S, 3 * S + 4), (70_000, 70_000)] {
        let range = PlainRange {
            first: first as u64,
            last: last as u64,
        };
        let opener = Opener::new(&engine, &stored.header.secrets, &layout, Extent::Range(range)).unwrap();
        let guess = size::speculative_range(range).unwrap();
        assert_eq!(guess.first, opener.stored_range().first);
        assert!(guess.last >= opener.stored_range().last);
    }
}

#[test]
fn ranges_outside_the_object_are_refused() {
    let engine = Engine::fastest();
    let layout = |length: u64| Layout::single(&header_for(&secrets(), Some(length), [1; 32])).unwrap();
    for (length, first, last) in [
        (0, 0, 0),
        (10, 10, 10),
        (10, 0, 10),
        (10, 5, 4),
        (10, 0, u64::MAX),
    ] {
        let extent = Extent::Range(PlainRange { first, last });
        assert!(Opener::new(&engine, &secrets(), &layout(length), extent).is_err());
    }
}

#[test]
fn a_sealer_takes_exactly_what_was_announced() {
    let engine = Engine::fastest();
    let buffer = |length| {
        let mut buffer = SegmentBuf::new();
        buffer.fill(&mut bytes::Bytes::from(vec![1; length]));
        buffer
    };
    let sealer = |length| BodySealer::new(&engine, &secrets(), PartNumber::SINGLE, length).unwrap();
    assert!(sealer(10).seal(buffer(9)).is_err());
    assert!(sealer(10).seal(buffer(11)).is_err());
    assert!(sealer(S as u64 + 1).seal(buffer(S - 1)).is_err());
    let mut done = sealer(0);
    assert!(done.seal(buffer(0)).is_ok());
    assert!(done.is_done() && done.seal(buffer(0)).is_err());
    let sealer = |part, length| BodySealer::new(&engine, &secrets(), part, length);
    assert!(sealer(PartNumber::SINGLE, size::PART_PLAIN_MAX).is_ok());
    assert!(sealer(PartNumber::SINGLE, size::PART_PLAIN_MAX + 1).is_err());
    let upload = PartNumber::upload(1).unwrap();
    assert!(sealer(upload, size::UPLOAD_PART_PLAIN_MAX).is_ok());
    assert!(sealer(upload, size::UPLOAD_PART_PLAIN_MAX + 1).is_err());
}

#[test]
fn a_segment_is_sealed_where_it_was_filled() {
    let engine = Engine::fastest();
    let mut sealer = BodySealer::new(&engine, &secrets(), PartNumber::SINGLE, 2 * S as u64).unwrap();
    let mut source = bytes::Bytes::from(pattern(2 * S));
    let mut buffer = SegmentBuf::new();
    assert_eq!(buffer.fill(&mut source), S);
    assert!(buffer.is_full());
    let filled_at = buffer.plaintext().as_ptr();
    let sealed = sealer.seal(buffer).unwrap();
    assert_eq!(sealed[16..].as_ptr(), filled_at);
    let mut again = SegmentBuf::reuse(sealed);
    again.fill(&mut source);
    assert_eq!(
        again.plaintext().as_ptr(),
        filled_at,
        "the allocation is used again"
    );
}

fn check_ranges(stored: &Stored, data: &[u8], cuts: &[(prop::sample::Index, prop::sample::Index)]) {
    let engine = Engine::fastest();
    assert!(read(&engine, stored, Extent::WholeAndTrailer).unwrap() == data);
    assert!(read(&engine, stored, Extent::Whole).unwrap() == data);
    for (one, two) in cuts.iter().filter(|_| !data.is_empty()) {
        let (one, two) = (one.index(data.len()), two.index(data.len()));
        let (first, last) = (one.min(two), one.max(two));
        let range = PlainRange {
            first: first as u64,
            last: last as u64,
        };
        assert!(
            read(&engine, stored, Extent::Range(range)).unwrap() == data[first..=last],
            "{first}..={last}"
        );
    }
}

fn cuts() -> impl Strategy<Value = Vec<(prop::sample::Index, prop::sample::Index)>> {
    proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_range_of_a_single_object_is_its_slice(length in 0..4 * S, cuts in cuts()) {
        let data = pattern(length);
        check_ranges(&write_single(&Engine::fastest(), &secrets(), &data), &data, &cuts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_range_of_a_multipart_object_is_its_slice(
        more in proptest::collection::vec((0..2 * S, any::<bool>()), 0..2),
        last in (0..3 * S, any::<bool>()),
        step in 1u16..4_000,
        cuts in cuts(),
    ) {
        let lengths: Vec<(usize, bool)> =
            more.into_iter().map(|(extra, pinned)| (MIN + extra, pinned)).chain([last]).collect();
        let data = pattern(lengths.iter().map(|(length, _)| length).sum());
        let mut rest = &data[..];
        let mut parts = Vec::new();
        for (index, (length, is_pinned)) in lengths.iter().enumerate() {
            let (head, tail) = rest.split_at(*length);
            parts.push(PartInput(step + step * index as u16, head, *is_pinned));
            rest = tail;
        }
        let stored = write_multi(&Engine::fastest(), &secrets(), &parts);
        prop_assert_eq!(stored.body.len() as u64, size::stored_len(data.len() as u64).unwrap());
        check_ranges(&stored, &data, &cuts);
    }
}
