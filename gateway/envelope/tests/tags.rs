//! Promise: a sealed tag set opens for its object and name only, whole and unchanged, and shows a store
//! nothing but one of three sizes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use proptest::prelude::*;
use sceau_envelope::error::{SealError, TagsError};
use sceau_envelope::tags::{self, Form, SET_BYTES_MAX, TAGS_MAX, TagPair};
use sceau_envelope::*;
use sceau_keys::{Oid, SecretKey};
use support::*;

fn pair(key: &str, value: &str) -> TagPair {
    (key.to_owned(), value.to_owned())
}

fn sample() -> Vec<TagPair> {
    vec![
        pair("classification", "secret"),
        pair("z", ""),
        pair("équipe", "зелёный 緑"),
    ]
}

fn sealed(tags: &[TagPair]) -> Vec<TagPair> {
    tags::seal(&Engine::fastest(), &secrets(), &context(), tags).unwrap()
}

fn opened(stored: &[TagPair]) -> Result<Vec<TagPair>, TagsError> {
    tags::open(&Engine::fastest(), &secrets(), &context(), stored)
}

/// A set whose encoding has exactly `bytes` bytes.
fn of_length(bytes: usize) -> Vec<TagPair> {
    let mut left = bytes - 1;
    let mut set = Vec::new();
    while left > 0 {
        let value = (left - 5).min(400);
        set.push(pair(
            &char::from(b'a' + u8::try_from(set.len()).unwrap()).to_string(),
            &"v".repeat(value),
        ));
        left -= value + 5;
        assert!(left == 0 || left >= 5, "choose another length");
    }
    set
}

proptest! {
    #[test]
    fn every_set_that_fits_comes_back_sorted(
        set in proptest::collection::btree_map("\\PC{1,20}", "\\PC{0,20}", 0..=10),
        engine in prop_oneof![Just(EngineKind::AwsLc), Just(EngineKind::Reference)],
    ) {
        let sorted: Vec<TagPair> = set.into_iter().collect();
        let mut given = sorted.clone();
        given.reverse();
        let stored = tags::seal(&Engine::pinned(engine), &secrets(), &context(), &given).unwrap();
        prop_assert_eq!(opened(&stored).unwrap(), sorted);
    }
}

#[test]
fn the_store_sees_full_pieces_under_neutral_names_and_one_of_three_counts() {
    let counts = [
        (1, 2),
        (354, 2),
        (355, 5),
        (930, 5),
        (931, 10),
        (SET_BYTES_MAX, 10),
    ];
    for (bytes, pieces) in counts {
        let set = if bytes == 1 { Vec::new() } else { of_length(bytes) };
        let stored = sealed(&set);
        assert_eq!(stored.len(), pieces, "{bytes} bytes");
        assert_eq!(tags::form(&stored), Form::Sealed);
        for (at, (key, value)) in stored.iter().enumerate() {
            assert_eq!(
                *key,
                format!("sceaut1{}", char::from(b'a' + u8::try_from(at).unwrap()))
            );
            assert_eq!(value.len(), 256);
            assert!(
                value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
        }
        assert_eq!(opened(&stored).unwrap(), set);
    }
    assert_eq!(SET_BYTES_MAX, 1_890);
    // The same set twice has nothing in common.
    let (one, two) = (sealed(&sample()), sealed(&sample()));
    assert!(one.iter().zip(&two).all(|(one, two)| one.1[..64] != two.1[..64]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let engine = Engine::fastest();
    let refused = |set: &[TagPair]| tags::seal(&engine, &secrets(), &context(), set).unwrap_err();
    assert_eq!(
        refused(&of_length(SET_BYTES_MAX + 1)),
        SealError::MetadataTooLarge
    );
    let many: Vec<_> = (0..=TAGS_MAX).map(|at| pair(&at.to_string(), "")).collect();
    assert_eq!(refused(&many), SealError::MetadataTooLarge);
    assert_eq!(
        refused(&[pair("a", &"v".repeat(70_000))]),
        SealError::MetadataTooLarge
    );
    assert_eq!(
        refused(&[pair("a", "1"), pair("a", "2")]),
        SealError::MetadataInvalid
    );
}

#[test]
fn the_order_in_which_a_store_answers_does_not_matter() {
    let mut stored = sealed(&of_length(900));
    stored.reverse();
    assert_eq!(opened(&stored).unwrap(), of_length(900));
}

#[test]
fn no_character_of_a_piece_can_change() {
    let stored = sealed(&sample());
    for piece in 0..stored.len() {
        for at in 0..256 {
            let mut changed = stored.clone();
            let mut bytes = changed[piece].1.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            changed[piece].1 = String::from_utf8(bytes).unwrap();
            assert!(opened(&changed).is_err(), "piece {piece}, character {at}");
        }
    }
}

#[test]
fn pieces_cannot_be_left_out_added_renamed_or_mixed() {
    let (stored, other) = (sealed(&of_length(900)), sealed(&of_length(901)));
    for at in 0..stored.len() {
        let mut less = stored.clone();
        less.remove(at);
        assert_eq!(opened(&less), Err(TagsError::Malformed));
        let mut mixed = stored.clone();
        mixed[at] = other[at].clone();
        assert_eq!(opened(&mixed), Err(TagsError::NotAuthentic));
        let mut renamed = stored.clone();
        renamed[at].0 = renamed[at].0.to_uppercase();
        assert_eq!(tags::form(&renamed), Form::Sealed);
        assert_eq!(opened(&renamed), Err(TagsError::Malformed));
        let mut twice = stored.clone();
        twice[at] = twice[(at + 1) % 5].clone();
        assert_eq!(opened(&twice), Err(TagsError::Malformed));
    }
    // Cut down to a count that occurs.
    assert!(opened(&stored[..2]).is_err());
    let mut swapped = stored.clone();
    let first = swapped[0].1.clone();
    swapped[0].1 = swapped[1].1.clone();
    swapped[1].1 = first;
    assert!(opened(&swapped).is_err());
    for more in [pair("team", "red"), pair("sceaut1f", &stored[0].1)] {
        let mut longer = stored.clone();
        longer.push(more);
        assert_eq!(opened(&longer), Err(TagsError::Malformed));
    }
    for value in [
        "",
        "x",
        &stored[0].1[..255],
        &format!("{}=", &stored[0].1[..255]),
        &"é".repeat(128),
    ] {
        let mut odd = stored.clone();
        odd[0].1 = value.to_owned();
        assert_eq!(opened(&odd), Err(TagsError::Malformed), "{value}");
    }
    assert_eq!(opened(&[]), Err(TagsError::Malformed));
}

#[test]
fn a_set_opens_for_its_own_object_and_name_only() {
    let stored = sealed(&sample());
    let engine = Engine::fastest();
    let other_oid = ObjectSecrets::from_parts(SecretKey::new([0x40; 32]), Oid([0x51; 16]));
    let other_dek = ObjectSecrets::from_parts(SecretKey::new([0x41; 32]), Oid([0x50; 16]));
    for other in [other_oid, other_dek] {
        assert_eq!(
            tags::open(&engine, &other, &context(), &stored),
            Err(TagsError::NotAuthentic)
        );
    }
    // A copy has the same data key and identifier under another name.
    let copy = Context::new(&TENANT, &BUCKET, b"folder/copy");
    assert_eq!(
        tags::open(&engine, &secrets(), &copy, &stored),
        Err(TagsError::NotAuthentic)
    );
    assert_eq!(opened(&stored).unwrap(), sample());
}

#[test]
fn names_of_clients_are_told_from_names_of_the_format() {
    for name in ["sceaut1a", "sceaut", "SceauT1a", "sceaut2z", "sceautage"] {
        assert!(tags::is_reserved(name), "{name}");
        assert_eq!(tags::form(&[pair("a", "b"), pair(name, "x")]), Form::Sealed);
    }
    for name in ["", "sceau", "sceaux", "my-sceaut1a", "équipe", "sceauté"] {
        assert_eq!(tags::is_reserved(name), name == "sceauté", "{name}");
    }
    assert_eq!(tags::form(&[]), Form::Clear);
    assert_eq!(tags::form(&sample()), Form::Clear);
}
