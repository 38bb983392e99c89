//! Promise: a store that changes, cuts, moves or mixes stored bytes gets a refusal, never a wrong
//! byte; and no stored bytes, however hostile, panic a parser.
//! How: the honest writer writes, the test edits, the honest reader reads.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use sceau_envelope::error::{HeaderError, OpenError, StateError, TicketError};
use sceau_envelope::multipart::SealedState;
use sceau_envelope::size::PlainRange;
use sceau_envelope::trailer::Suffix;
use sceau_envelope::*;
use sceau_keys::{BucketId, Krid, TenantId};
use support::*;

const S: usize = 65_536;
const E: usize = 65_568;
const MIN: usize = 5_242_880;

/// A change made by the store.
type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);

fn engine() -> Engine {
    Engine::fastest()
}

fn fresh() -> Arc<ObjectSecrets> {
    Arc::new(ObjectSecrets::generate(&engine()).unwrap())
}

/// Every way to read: all must refuse or give exactly `data`; the complete one must refuse.
fn must_refuse(stored: &Stored, data: &[u8]) {
    assert!(read(&engine(), stored, Extent::WholeAndTrailer).is_err());
    if let Ok(plain) = read(&engine(), stored, Extent::Whole) {
        assert!(plain == data);
    }
    let Some(end) = data.len().checked_sub(1) else {
        return;
    };
    for (first, last) in [(0, end), (0, 0), (end, end), (end / 2, end)] {
        let range = PlainRange {
            first: first as u64,
            last: last as u64,
        };
        if let Ok(plain) = read(&engine(), stored, Extent::Range(range)) {
            assert!(plain == data[first..=last]);
        }
    }
}

#[test]
fn every_flipped_bit_of_small_bodies_is_refused() {
    let data = pattern(100);
    for stored in [
        write_single(&engine(), &fresh(), &data),
        write_multi(&engine(), &fresh(), &[PartInput(3, &data, true)]),
        write_multi(&engine(), &fresh(), &[PartInput(3, &data, false)]),
        write_single(&engine(), &fresh(), b""),
    ] {
        let data = if stored.body.len() == 352 {
            &[][..]
        } else {
            &data[..]
        };
        for bit in 0..stored.body.len() * 8 {
            let mut twin = stored.clone();
            twin.body[bit / 8] ^= 1 << (bit % 8);
            must_refuse(&twin, data);
        }
    }
}

#[test]
fn flipped_bytes_of_larger_bodies_are_refused() {
    let data = pattern(2 * S + 9);
    let stored = write_single(&engine(), &fresh(), &data);
    // Every structural byte, and one in 97 of the rest.
    let segments = (74..stored.body.len()).filter(|at| (at - 74) % E < 20 || (at - 74) % E > E - 20);
    let structural = (0..94).chain(segments).chain(74 + 2 * E..stored.body.len());
    for at in structural.chain((0..stored.body.len()).step_by(977)) {
        let mut twin = stored.clone();
        twin.body[at] ^= 0x10;
        must_refuse(&twin, &data);
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    let data = pattern(S + 40);
    let stored = write_single(&engine(), &fresh(), &data);
    let length = stored.body.len();
    let edges = [
        0,
        1,
        10,
        42,
        74,
        74 + E,
        74 + E + 72,
        length - 220,
        length - 156 - 64,
        length - 64,
        length,
    ];
    for cut in edges
        .iter()
        .flat_map(|edge| [edge.wrapping_sub(1), *edge, edge + 1])
        .filter(|cut| *cut < length)
    {
        let twin = Stored {
            body: stored.body[..cut].to_vec(),
            ..stored.clone()
        };
        must_refuse(&twin, &data);
        // The same cut, made up with zeros so that the length is right again.
        let mut body = twin.body;
        body.resize(length, 0);
        if body != stored.body {
            must_refuse(
                &Stored {
                    body,
                    ..stored.clone()
                },
                &data,
            );
        }
    }
    for extra in [1, 32, 160] {
        let mut twin = stored.clone();
        twin.body.extend(vec![0; extra]);
        must_refuse(&twin, &data);
    }
}

#[test]
fn moved_repeated_and_foreign_segments_are_refused() {
    let data = pattern(4 * S);
    let secrets = fresh();
    let stored = write_single(&engine(), &secrets, &data);
    let other = write_single(&engine(), &fresh(), &data);
    // Same keys, another attempt: the FLOE IV differs.
    let attempt = write_single(&engine(), &secrets, &data);
    let segment = |index: usize| 74 + index * E..74 + (index + 1) * E;
    let edits: [Edit<'_>; 6] = [
        &|body| {
            let (one, two) = (stored.body[segment(0)].to_vec(), stored.body[segment(2)].to_vec());
            body[segment(0)].copy_from_slice(&two);
            body[segment(2)].copy_from_slice(&one);
        },
        &|body| body[segment(3)].copy_from_slice(&stored.body[segment(1)]),
        &|body| body[segment(1)].copy_from_slice(&other.body[segment(1)]),
        &|body| body[segment(1)].copy_from_slice(&attempt.body[segment(1)]),
        &|body| body[segment(1)].fill(0),
        &|body| *body = attempt.body.clone(),
    ];
    for edit in edits {
        let mut twin = stored.clone();
        edit(&mut twin.body);
        assert!(read(&engine(), &twin, Extent::Whole).is_err());
        must_refuse(&twin, &data);
    }
    // Bodies of two objects exchanged, and a trailer of another object.
    must_refuse(
        &Stored {
            body: other.body.clone(),
            ..stored.clone()
        },
        &data,
    );
    let mut twin = stored.clone();
    let trailer = twin.body.len() - 220;
    twin.body[trailer..].copy_from_slice(&other.body[trailer..]);
    must_refuse(&twin, &data);
}

#[test]
fn parts_dropped_exchanged_repeated_or_mixed_are_refused() {
    let (one, two) = (pattern(MIN), pattern(MIN + 1)[1..].to_vec());
    let secrets = fresh();
    let write = |parts: &[PartInput<'_>]| write_multi(&engine(), &secrets, parts);
    let inputs = [
        PartInput(1, &one, true),
        PartInput(2, &two, true),
        PartInput(5, b"end", true),
    ];
    let stored = write(&inputs);
    let again = write(&inputs);
    let data = [&one[..], &two, b"end"].concat();
    let part = 74 + MIN + 32 * 80;
    let read_whole = |body: Vec<u8>| {
        read(
            &engine(),
            &Stored {
                body,
                ..stored.clone()
            },
            Extent::Whole,
        )
    };
    assert!(read_whole(stored.body.clone()).unwrap() == data);

    let (first, second, rest) = (
        &stored.body[..part],
        &stored.body[part..2 * part],
        &stored.body[2 * part..],
    );
    assert!(read_whole([second, first, rest].concat()).is_err(), "exchanged");
    assert!(read_whole([first, first, rest].concat()).is_err(), "repeated");
    assert!(read_whole([first, rest].concat()).is_err(), "dropped");
    assert!(
        read_whole([&again.body[..part], second, rest].concat()).is_err(),
        "an older attempt"
    );
    assert!(
        read_whole([first, second, &again.body[2 * part..]].concat()).is_err(),
        "two attempts mixed"
    );
    // Dropped with a genuine trailer of a shorter completion: that is the shorter object, or nothing.
    let shorter = write(&[PartInput(1, &one, true), PartInput(5, b"end", true)]);
    let tail = &shorter.body[part..];
    assert!(read_whole([first, tail].concat()).is_err());
}

#[test]
fn a_trailer_of_another_completion_is_refused_after_the_layout_was_read() {
    let secrets = fresh();
    let write = || write_multi(&engine(), &secrets, &[PartInput(1, b"data", true)]);
    let (stored, again) = (write(), write());
    let Ok(Suffix::Complete(_, manifest)) = Suffix::open(&engine(), &stored.header, &stored.body) else {
        panic!("the manifest is there")
    };
    let part = 74 + 36;
    let body = [&stored.body[..part], &again.body[part..]].concat();
    let mixed = Stored { body, ..stored };
    let refused = read_layout(&engine(), &mixed, manifest.layout(), Extent::WholeAndTrailer);
    assert_eq!(refused, Err(ReadError::Open(OpenError::Corrupted)));
}

#[test]
fn an_unpinned_part_may_be_another_attempt_but_nothing_else() {
    let (one, two) = (pattern(MIN), pattern(MIN + 1)[1..].to_vec());
    let secrets = fresh();
    let stored = write_multi(
        &engine(),
        &secrets,
        &[PartInput(1, &one, false), PartInput(2, b"x", true)],
    );
    let part = 74 + MIN + 32 * 80;
    let swap = |bytes: &[u8]| {
        let body = [bytes, &stored.body[part..]].concat();
        read(
            &engine(),
            &Stored {
                body,
                ..stored.clone()
            },
            Extent::Whole,
        )
    };
    let number = |number| PartNumber::upload(number).unwrap();
    let attempt = seal_part(&engine(), &secrets, number(1), &two).0;
    assert!(
        swap(&attempt).unwrap() == [&two[..], b"x"].concat(),
        "documented limit of unpinned parts"
    );
    let wrong_number = seal_part(&engine(), &secrets, number(3), &two).0;
    assert!(swap(&wrong_number).is_err());
    let foreign = seal_part(&engine(), &fresh(), number(1), &two).0;
    assert!(swap(&foreign).is_err());
    let mixed = [&attempt[..74 + E], &stored.body[74 + E..part]].concat();
    assert!(swap(&mixed).is_err());
}

#[test]
fn nothing_comes_out_after_a_refusal() {
    let stored = write_single(&engine(), &fresh(), &pattern(2 * S));
    let layout = Layout::single(&stored.header).unwrap();
    let mut opener = Opener::new(&engine(), &stored.header.secrets, &layout, Extent::Whole).unwrap();
    let bytes = |range: std::ops::Range<usize>| bytes::BytesMut::from(&stored.body[range]);
    assert_eq!(opener.supply(bytes(0..73)).err(), Some(OpenError::WrongLength));
    assert_eq!(opener.supply(bytes(0..74)).err(), Some(OpenError::Finished));
    assert_ne!(opener.need(), Need::Done);
}

#[test]
fn a_range_in_an_unpinned_part_needs_that_parts_header() {
    let data = pattern(3 * S);
    let stored = write_multi(&engine(), &fresh(), &[PartInput(1, &data, false)]);
    let Suffix::Complete(_, manifest) = Suffix::open(&engine(), &stored.header, &stored.body).unwrap() else {
        panic!("the manifest is there")
    };
    let extent = Extent::Range(PlainRange {
        first: S as u64,
        last: S as u64,
    });
    let open = || Opener::new(&engine(), &stored.header.secrets, manifest.layout(), extent).unwrap();
    assert!(open().needs_part_header().is_some());
    let segment = bytes::BytesMut::from(&stored.body[74 + E..74 + 2 * E]);
    assert_eq!(open().supply(segment).err(), Some(OpenError::PartHeaderMissing));
    let mut header: [u8; 74] = stored.body[..74].try_into().unwrap();
    header[20] ^= 1;
    assert_eq!(open().supply_part_header(&header), Err(OpenError::Corrupted));
}

fn sealed_header(context: &Context) -> String {
    let header = ObjectHeader {
        metadata: Metadata {
            content_type: Some(b"text/plain".to_vec()),
            ..Metadata::default()
        },
        ..header_for(&secrets(), Some(5), [9; 32])
    };
    header
        .seal(&engine(), &keys(), context, HeaderLimit::S3, 32)
        .unwrap()
}

fn open_header(value: &str, keys: &EpochKeys, context: &Context) -> Result<ObjectHeader, HeaderError> {
    SealedHeader::parse(value)?.open(&engine(), keys, context)
}

#[test]
fn a_header_opens_only_for_its_own_key_tenant_bucket_and_name() {
    let value = sealed_header(&context());
    let opened = open_header(&value, &keys(), &context()).unwrap();
    assert_eq!(opened.plain_len, Some(5));
    assert_eq!(opened.metadata.content_type.as_deref(), Some(&b"text/plain"[..]));
    let elsewhere = [
        Context::new(&TENANT, &BUCKET, b"folder/Name"),
        Context::new(&TENANT, &BucketId([1; 16]), b"folder/name"),
        Context::new(&TenantId([1; 16]), &BUCKET, b"folder/name"),
    ];
    for context in elsewhere {
        assert_eq!(
            open_header(&value, &keys(), &context).err(),
            Some(HeaderError::NotForThisName)
        );
    }
    let other_key = EpochKeys::derive(KRID, &sceau_keys::SecretKey::new([8; 32]));
    let other_record = EpochKeys::derive(Krid([1; 16]), &epoch_key());
    for keys in [other_key, other_record] {
        assert_eq!(
            open_header(&value, &keys, &context()).err(),
            Some(HeaderError::NotForThisName)
        );
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_refused_with_the_right_class() {
    let value = sealed_header(&context());
    let bytes = data_encoding::BASE64URL_NOPAD.decode(value.as_bytes()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut twin = bytes.clone();
        twin[bit / 8] ^= 1 << (bit % 8);
        let text = data_encoding::BASE64URL_NOPAD.encode(&twin);
        let error = open_header(&text, &keys(), &context()).err().unwrap();
        let expected = match bit / 8 {
            5 => &[HeaderError::UnknownSuite][..],
            0..=7 => &[HeaderError::Malformed, HeaderError::NotForThisName],
            8..88 => &[HeaderError::NotForThisName],
            _ => &[HeaderError::Corrupted],
        };
        assert!(expected.contains(&error), "byte {}: {error:?}", bit / 8);
    }
    for cut in 0..value.len() {
        assert!(open_header(&value[..cut], &keys(), &context()).is_err());
    }
}

#[test]
fn headers_never_repeat_and_metadata_that_is_too_large_is_refused() {
    assert_ne!(sealed_header(&context()), sealed_header(&context()));
    let header = |length: usize| ObjectHeader {
        metadata: Metadata {
            content_type: Some(vec![b'x'; length]),
            ..Metadata::default()
        },
        ..header_for(&secrets(), Some(5), [9; 32])
    };
    let seal = |length, limit| header(length).seal(&engine(), &keys(), &context(), limit, 32);
    for (limit, most) in [(HeaderLimit::S3, 1_302), (HeaderLimit::Wide, 5_910)] {
        assert_eq!(limit.metadata_bytes(), most);
        let value = seal(most - 3, limit).unwrap();
        assert!(value.len() <= limit.value_chars());
        assert!(open_header(&value, &keys(), &context()).is_ok());
        assert_eq!(
            seal(most - 2, limit).err(),
            Some(error::SealError::MetadataTooLarge)
        );
    }
    let odd = ObjectHeader {
        iv0: [1; 32],
        ..header_for(&secrets(), None, [0; 32])
    };
    assert!(
        odd.seal(&engine(), &keys(), &context(), HeaderLimit::S3, 32)
            .is_err()
    );
}

#[test]
fn a_state_opens_only_for_its_upload_and_unchanged() {
    let state = UploadState {
        secrets: secrets(),
        created_ms: 5,
        metadata: Metadata::default(),
    };
    let sealed = state.seal(&engine(), &keys(), &context(), b"upload-1").unwrap();
    let open = |bytes: &[u8], context: &Context, id: &[u8]| {
        SealedState::parse(bytes)?.open(&engine(), &keys(), context, id)
    };
    assert_eq!(open(&sealed, &context(), b"upload-1").unwrap().created_ms, 5);
    let other = Context::new(&TENANT, &BUCKET, b"other");
    assert_eq!(
        open(&sealed, &other, b"upload-1").err(),
        Some(StateError::NotForThisUpload)
    );
    assert_eq!(
        open(&sealed, &context(), b"upload-2").err(),
        Some(StateError::NotForThisUpload)
    );
    for bit in 0..sealed.len() * 8 {
        let mut twin = sealed.clone();
        twin[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&twin, &context(), b"upload-1").is_err());
    }
    for cut in 0..sealed.len() {
        assert!(open(&sealed[..cut], &context(), b"upload-1").is_err());
    }
    let name = multipart::state_name(&keys(), &context(), b"upload-1");
    assert_eq!(name.len(), 36);
    assert_ne!(name, multipart::state_name(&keys(), &other, b"upload-1"));
    assert_ne!(name, multipart::state_name(&keys(), &context(), b"upload-2"));
}

#[test]
fn a_ticket_verifies_only_for_its_part_and_store_etag() {
    let ticket = Ticket {
        iv: [7; 32],
        plain_len: MIN as u64,
        crc64: [3; 8],
    };
    let part = |number| PartNumber::upload(number).unwrap();
    let text = ticket.encode(&secrets(), part(3), "etag").unwrap();
    assert_eq!(text.len(), 82);
    assert_eq!(Ticket::verify(&text, &secrets(), part(3), "etag"), Ok(ticket));
    for refused in [
        Ticket::verify(&text, &secrets(), part(4), "etag"),
        Ticket::verify(&text, &secrets(), part(3), "etah"),
        Ticket::verify(&text, &fresh(), part(3), "etag"),
    ] {
        assert_eq!(refused, Err(TicketError::NotAuthentic));
    }
    for at in 0..82 {
        let mut twin = text.clone().into_bytes();
        twin[at] = if twin[at] == b'A' { b'B' } else { b'A' };
        assert!(Ticket::verify(std::str::from_utf8(&twin).unwrap(), &secrets(), part(3), "etag").is_err());
    }
    assert!(
        Ticket {
            plain_len: 1 << 40,
            ..ticket
        }
        .encode(&secrets(), part(3), "etag")
        .is_none()
    );
}

#[test]
fn a_part_that_was_stashed_verifies_before_it_is_merged() {
    let secrets = fresh();
    let number = PartNumber::upload(4).unwrap();
    let (body, iv) = seal_part(&engine(), &secrets, number, b"short");
    let stash = Stored {
        header: header_for(&secrets, None, [0; 32]),
        body,
    };
    let layout = |number, length, iv| Layout::stash(number, length, iv).unwrap();
    let read = |layout: Layout, extent| read_layout(&engine(), &stash, &layout, extent);
    assert_eq!(read(layout(number, 5, iv), Extent::Whole).unwrap(), b"short");
    assert!(read(layout(number, 5, [1; 32]), Extent::Whole).is_err());
    assert!(read(layout(number, 4, iv), Extent::Whole).is_err());
    assert!(read(layout(PartNumber::upload(5).unwrap(), 5, iv), Extent::Whole).is_err());
    assert!(
        read(layout(number, 5, iv), Extent::WholeAndTrailer).is_err(),
        "a stash has no trailer"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn hostile_bytes_do_not_panic_any_parser(
        start in prop::sample::select(vec![&b""[..], b"SOF1\x01\x01\0\0", b"SOFU\x01\x01\0\0", b"SOFF\x01\x01\0\0", b"{\"format\":1,"]),
        rest in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let bytes = [start, &rest].concat();
        let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        prop_assert!(open_header(&text, &keys(), &context()).is_err());
        prop_assert!(SealedHeader::parse(&String::from_utf8_lossy(&bytes)).is_err());
        prop_assert!(SealedState::parse(&bytes).and_then(|s| s.open(&engine(), &keys(), &context(), b"id")).is_err());
        prop_assert!(KeyRecord::decode(&bytes).is_err());
        prop_assert!(UnverifiedKeyring::parse(&bytes).is_err());
        let header = header_for(&secrets(), None, [0; 32]);
        prop_assert!(Suffix::open(&engine(), &header, &bytes).is_err());
        let _ = etag::split_part_etag(&String::from_utf8_lossy(&bytes));
    }
}
