//! The encoding by the standard's own examples, by random messages, and by what a hostile server may send.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing
)]

use proptest::prelude::*;
use sceau_kms_ttlv::{
    DEPTH_MAX, ITEMS_MAX, Item, MESSAGE_BYTES_MAX, TtlvError, Value, decode, encode, message_bytes,
};
use zeroize::Zeroizing;

const TAG: u32 = 0x42_0020;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// KMIP 1.4, section 9.1.2 (Examples).
#[test]
fn the_examples_of_the_standard_hold() {
    let big = hex("0000000003FD35EB6BC2DF4618080000");
    let examples = [
        (
            "42 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 00",
            Value::Integer(8),
        ),
        (
            "42 00 20 | 03 | 00 00 00 08 | 01 B6 9B 4B A5 74 92 00",
            Value::LongInteger(123_456_789_000_000_000),
        ),
        (
            "42 00 20 | 04 | 00 00 00 10 | 00 00 00 00 03 FD 35 EB 6B C2 DF 46 18 08 00 00",
            Value::BigInteger(Zeroizing::new(big)),
        ),
        (
            "42 00 20 | 05 | 00 00 00 04 | 00 00 00 FF 00 00 00 00",
            Value::Enumeration(255),
        ),
        (
            "42 00 20 | 06 | 00 00 00 08 | 00 00 00 00 00 00 00 01",
            Value::Boolean(true),
        ),
        (
            "42 00 20 | 07 | 00 00 00 0B | 48 65 6C 6C 6F 20 57 6F 72 6C 64 00 00 00 00 00",
            Value::Text("Hello World".to_owned()),
        ),
        (
            "42 00 20 | 08 | 00 00 00 03 | 01 02 03 00 00 00 00 00",
            Value::Bytes(Zeroizing::new(vec![1, 2, 3])),
        ),
        (
            "42 00 20 | 09 | 00 00 00 08 | 00 00 00 00 47 DA 67 F8",
            Value::DateTime(1_205_495_800),
        ),
        (
            "42 00 20 | 0A | 00 00 00 04 | 00 0D 2F 00 00 00 00 00",
            Value::Interval(864_000),
        ),
        (
            "42 00 20 | 01 | 00 00 00 20 | 42 00 04 | 05 | 00 00 00 04 | 00 00 00 FE 00 00 00 00 \
             | 42 00 05 | 02 | 00 00 00 04 | 00 00 00 FF 00 00 00 00",
            Value::Structure(vec![
                Item::of(0x42_0004, Value::Enumeration(254)),
                Item::of(0x42_0005, Value::Integer(255)),
            ]),
        ),
    ];
    for (text, value) in examples {
        let item = Item::of(TAG, value);
        assert_eq!(*encode(&item).unwrap(), hex(text), "{item:?}");
        assert_eq!(decode(&hex(text)), Ok(item));
    }
}

#[test]
fn what_is_shown_of_an_item_holds_none_of_its_bytes() {
    let item = Item::structure(
        TAG,
        vec![
            Item::of(TAG, Value::Bytes(Zeroizing::new(vec![0xc5; 32]))),
            Item::of(TAG, Value::Text("secret".to_owned())),
        ],
    );
    let shown = format!("{item:?}");
    assert!(
        shown.contains("32 bytes") && !shown.contains("c5") && !shown.contains("197"),
        "{shown}"
    );
    assert!(!shown.contains("secret"), "{shown}");
}

fn nested(depth: usize) -> Item {
    (1..depth).fold(Item::structure(TAG, Vec::new()), |inner, _| {
        Item::structure(TAG, vec![inner])
    })
}

/// The bytes of structures within each other, made without the writer, which would refuse them.
fn nested_bytes(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for level in 0..depth {
        bytes.extend([0x42, 0, 0x20, 1]);
        bytes.extend(u32::try_from((depth - 1 - level) * 8).unwrap().to_be_bytes());
    }
    bytes
}

#[test]
fn limits_hold_on_both_ways() {
    assert_eq!(decode(&nested_bytes(DEPTH_MAX)), Ok(nested(DEPTH_MAX)));
    assert_eq!(decode(&nested_bytes(DEPTH_MAX + 1)), Err(TtlvError::TooDeep));
    assert_eq!(
        decode(&nested_bytes(MESSAGE_BYTES_MAX / 8)),
        Err(TtlvError::TooDeep)
    );
    assert_eq!(encode(&nested(DEPTH_MAX + 1)).err(), Some(TtlvError::TooDeep));

    let many = |items: usize| {
        Item::structure(
            TAG,
            (1..items).map(|_| Item::structure(TAG, Vec::new())).collect(),
        )
    };
    let most = encode(&many(ITEMS_MAX)).unwrap();
    assert_eq!(decode(&most), Ok(many(ITEMS_MAX)));
    assert_eq!(encode(&many(ITEMS_MAX + 1)).err(), Some(TtlvError::TooMany));
    let mut more = vec![0x42, 0, 0x20, 1];
    more.extend(u32::try_from(ITEMS_MAX * 8).unwrap().to_be_bytes());
    more.extend([0x42, 0, 0x20, 1, 0, 0, 0, 0].repeat(ITEMS_MAX));
    assert_eq!(decode(&more), Err(TtlvError::TooMany));

    let long = |length| Item::of(TAG, Value::Bytes(Zeroizing::new(vec![7; length])));
    let most = encode(&long(MESSAGE_BYTES_MAX - 8)).unwrap();
    assert_eq!(decode(&most), Ok(long(MESSAGE_BYTES_MAX - 8)));
    assert_eq!(encode(&long(MESSAGE_BYTES_MAX)).err(), Some(TtlvError::TooLong));
    assert_eq!(decode(&vec![0; MESSAGE_BYTES_MAX + 1]), Err(TtlvError::TooLong));
}

#[test]
fn bytes_that_no_writer_makes_are_refused() {
    let refusals = [
        ("", TtlvError::Length),
        ("420020", TtlvError::Length),
        ("410020 02 00000004 0000000800000000", TtlvError::Tag),
        ("420020 00 00000000", TtlvError::Type),
        ("420020 0C 00000000", TtlvError::Type),
        // A length beyond the message, of one value and of one within another.
        ("420020 08 FFFFFFFF", TtlvError::Length),
        ("420020 01 00000008 420020 08 00000008", TtlvError::Length),
        // Padding that is missing, or says something.
        ("420020 02 00000004 00000008", TtlvError::Length),
        ("420020 02 00000004 0000000800000001", TtlvError::Value),
        // Numbers of other lengths.
        ("420020 02 00000008 0000000000000008", TtlvError::Length),
        ("420020 04 00000000", TtlvError::Length),
        ("420020 04 00000004 0000000800000000", TtlvError::Length),
        ("420020 06 00000008 0000000000000002", TtlvError::Value),
        ("420020 07 00000001 FF00000000000000", TtlvError::Value),
        // Something after the end.
        ("420020 01 00000000 00", TtlvError::Length),
    ];
    for (text, refusal) in refusals {
        assert_eq!(decode(&hex(text)), Err(refusal), "{text}");
    }
}

#[test]
fn a_message_tells_its_length_at_once() {
    let head = |text: &str| message_bytes(&hex(text).try_into().unwrap());
    assert_eq!(head("42007B 01 00000010"), Ok(24));
    assert_eq!(head("42007B 01 0000FFF8"), Ok(MESSAGE_BYTES_MAX));
    assert_eq!(head("42007B 01 00010000"), Err(TtlvError::TooLong));
    assert_eq!(head("42007B 01 FFFFFFF8"), Err(TtlvError::TooLong));
    assert_eq!(head("42007B 01 00000009"), Err(TtlvError::Length));
    assert_eq!(head("42007B 08 00000010"), Err(TtlvError::Type));
    // An answer of something that speaks HTTP, or TLS.
    assert_eq!(head("485454502F312E31"), Err(TtlvError::Tag));
    assert_eq!(head("1503030002022A00"), Err(TtlvError::Tag));
}

#[test]
fn what_is_said_twice_is_not_said() {
    let yes = || Item::of(0x42_0001, Value::Boolean(true));
    assert_eq!(Item::structure(TAG, vec![yes()]).one(0x42_0001), Some(&yes()));
    assert_eq!(Item::structure(TAG, vec![yes(), yes()]).one(0x42_0001), None);
    assert_eq!(Item::structure(TAG, Vec::new()).one(0x42_0001), None);
}

/// The messages that the fuzzer starts from are messages.
#[test]
fn the_first_inputs_of_the_fuzzer_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/kmip_ttlv");
    for name in ["request", "answer"] {
        let item = decode(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        assert_eq!(item.items().len(), 2, "{name}");
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<i32>().prop_map(Value::Integer),
        any::<i64>().prop_map(Value::LongInteger),
        prop::collection::vec(any::<[u8; 8]>(), 1..4)
            .prop_map(|words| Value::BigInteger(Zeroizing::new(words.concat()))),
        any::<u32>().prop_map(Value::Enumeration),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::Text),
        bytes().prop_map(|bytes| Value::Bytes(Zeroizing::new(bytes))),
        any::<i64>().prop_map(Value::DateTime),
        any::<u32>().prop_map(Value::Interval),
        any::<i64>().prop_map(Value::DateTimeExtended),
    ]
}

fn tag() -> impl Strategy<Value = u32> {
    (prop_oneof![Just(0x42_u32), Just(0x54)], any::<u16>())
        .prop_map(|(range, low)| range << 16 | u32::from(low))
}

fn message() -> impl Strategy<Value = Item> {
    let item = (tag(), leaf()).prop_map(|(tag, value)| Item::of(tag, value));
    item.prop_recursive(6, 64, 6, |inner| {
        (tag(), prop::collection::vec(inner, 0..6)).prop_map(|(tag, items)| Item::structure(tag, items))
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(item in message()) {
        let bytes = encode(&item).unwrap();
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(bytes.capacity(), bytes.len(), "the buffer grew, or was larger than needed");
        let read = decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&item));
        for end in 0..bytes.len() {
            prop_assert!(decode(&bytes[..end]).is_err(), "cut to {} bytes", end);
        }
    }

    #[test]
    fn what_is_read_is_written_the_same(item in message(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = encode(&item).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(&*encode(&read).unwrap(), &bytes);
            prop_assert!(read != item);
        }
    }
}
