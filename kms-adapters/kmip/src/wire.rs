//! Requests and answers as items.
//!
//! What lives here: tags and numbers of the standard, one request with one batch item, what an answer says.
//! What must not: connections. Invariant: an answer is taken only as the answer to the operation asked for.

use std::fmt;

use sceau_kms::KeyError;
use sceau_kms_ttlv::{Item, MESSAGE_BYTES_MAX, Value};
use zeroize::Zeroizing;

/// Tags (KMIP 1.4, section 9.1.3.1; 2.1, section 11.60).
pub(crate) mod tag {
    pub(crate) const ATTRIBUTE: u32 = 0x42_0008;
    pub(crate) const ATTRIBUTE_NAME: u32 = 0x42_000a;
    pub(crate) const ATTRIBUTE_VALUE: u32 = 0x42_000b;
    pub(crate) const BATCH_COUNT: u32 = 0x42_000d;
    pub(crate) const BATCH_ITEM: u32 = 0x42_000f;
    pub(crate) const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
    pub(crate) const CRYPTOGRAPHIC_ALGORITHM: u32 = 0x42_0028;
    pub(crate) const CRYPTOGRAPHIC_LENGTH: u32 = 0x42_002a;
    pub(crate) const CRYPTOGRAPHIC_PARAMETERS: u32 = 0x42_002b;
    pub(crate) const CRYPTOGRAPHIC_USAGE_MASK: u32 = 0x42_002c;
    pub(crate) const INITIAL_DATE: u32 = 0x42_0039;
    pub(crate) const IV_COUNTER_NONCE: u32 = 0x42_003d;
    pub(crate) const MAXIMUM_ITEMS: u32 = 0x42_004f;
    pub(crate) const MAXIMUM_RESPONSE_SIZE: u32 = 0x42_0050;
    pub(crate) const NAME: u32 = 0x42_0053;
    pub(crate) const NAME_TYPE: u32 = 0x42_0054;
    pub(crate) const NAME_VALUE: u32 = 0x42_0055;
    pub(crate) const OBJECT_TYPE: u32 = 0x42_0057;
    pub(crate) const OPERATION: u32 = 0x42_005c;
    pub(crate) const PADDING_METHOD: u32 = 0x42_005f;
    pub(crate) const PROTOCOL_VERSION: u32 = 0x42_0069;
    pub(crate) const PROTOCOL_VERSION_MAJOR: u32 = 0x42_006a;
    pub(crate) const PROTOCOL_VERSION_MINOR: u32 = 0x42_006b;
    pub(crate) const QUERY_FUNCTION: u32 = 0x42_0074;
    pub(crate) const REQUEST_HEADER: u32 = 0x42_0077;
    pub(crate) const REQUEST_MESSAGE: u32 = 0x42_0078;
    pub(crate) const REQUEST_PAYLOAD: u32 = 0x42_0079;
    pub(crate) const RESPONSE_HEADER: u32 = 0x42_007a;
    pub(crate) const RESPONSE_MESSAGE: u32 = 0x42_007b;
    pub(crate) const RESPONSE_PAYLOAD: u32 = 0x42_007c;
    pub(crate) const RESULT_REASON: u32 = 0x42_007e;
    pub(crate) const RESULT_STATUS: u32 = 0x42_007f;
    pub(crate) const STATE: u32 = 0x42_008d;
    pub(crate) const UNIQUE_IDENTIFIER: u32 = 0x42_0094;
    pub(crate) const VENDOR_IDENTIFICATION: u32 = 0x42_009d;
    pub(crate) const DATA: u32 = 0x42_00c2;
    pub(crate) const DATA_LENGTH: u32 = 0x42_00c4;
    pub(crate) const TAG_LENGTH: u32 = 0x42_00ce;
    pub(crate) const AEAD_ADDITIONAL_DATA: u32 = 0x42_00fe;
    pub(crate) const AEAD_TAG: u32 = 0x42_00ff;
    pub(crate) const SENSITIVE: u32 = 0x42_0120;
    pub(crate) const EXTRACTABLE: u32 = 0x42_0122;
    pub(crate) const ATTRIBUTES: u32 = 0x42_0125;
}

/// The operations that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Operation {
    Locate = 0x08,
    GetAttributes = 0x0b,
    Query = 0x18,
    DiscoverVersions = 0x1e,
    Encrypt = 0x1f,
    Decrypt = 0x20,
    RngRetrieve = 0x25,
}

impl Operation {
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Locate => "Locate",
            Self::GetAttributes => "Get Attributes",
            Self::Query => "Query",
            Self::DiscoverVersions => "Discover Versions",
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
            Self::RngRetrieve => "RNG Retrieve",
        }
    }
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
}

impl Version {
    /// The versions spoken here, best first.
    pub const ALL: [Self; 5] = [
        Self::new(2, 1),
        Self::new(2, 0),
        Self::new(1, 4),
        Self::new(1, 3),
        Self::new(1, 2),
    ];
    /// The first one with associated data and tags as fields of their own.
    pub const AEAD_LEAST: Self = Self::new(1, 4);
    /// The first one that gives attributes tags of their own.
    pub(crate) const TAGGED_LEAST: Self = Self::new(2, 0);
    /// The version that asks for the others.
    pub(crate) const LEAST: Self = Self::new(1, 2);

    const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// The version written `1.4`, if it is spoken here.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.to_string() == text)
    }

    pub(crate) fn item(self) -> Item {
        Item::structure(
            tag::PROTOCOL_VERSION,
            vec![
                integer(tag::PROTOCOL_VERSION_MAJOR, self.major.into()),
                integer(tag::PROTOCOL_VERSION_MINOR, self.minor.into()),
            ],
        )
    }

    pub(crate) fn read(item: &Item) -> Option<Self> {
        let number = |tag| u8::try_from(item.one(tag)?.integer()?).ok();
        Some(Self {
            major: number(tag::PROTOCOL_VERSION_MAJOR)?,
            minor: number(tag::PROTOCOL_VERSION_MINOR)?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

pub(crate) fn integer(tag: u32, number: i32) -> Item {
    Item::of(tag, Value::Integer(number))
}

pub(crate) fn enumeration(tag: u32, number: u32) -> Item {
    Item::of(tag, Value::Enumeration(number))
}

pub(crate) fn text(tag: u32, text: &str) -> Item {
    Item::of(tag, Value::Text(text.to_owned()))
}

pub(crate) fn bytes(tag: u32, bytes: &[u8]) -> Item {
    Item::of(tag, Value::Bytes(Zeroizing::new(bytes.to_vec())))
}

/// A request with one batch item.
pub(crate) fn request(version: Version, operation: Operation, payload: Vec<Item>) -> Item {
    let most = i32::try_from(MESSAGE_BYTES_MAX).unwrap_or(i32::MAX);
    let header = vec![
        version.item(),
        integer(tag::MAXIMUM_RESPONSE_SIZE, most),
        integer(tag::BATCH_COUNT, 1),
    ];
    let item = vec![
        enumeration(tag::OPERATION, operation.code()),
        Item::structure(tag::REQUEST_PAYLOAD, payload),
    ];
    Item::structure(
        tag::REQUEST_MESSAGE,
        vec![
            Item::structure(tag::REQUEST_HEADER, header),
            Item::structure(tag::BATCH_ITEM, item),
        ],
    )
}

/// Why the server did not do it: a Result Reason of the standard, 0 where it gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u32);

/// What the answer to `operation` says: its payload, or the reason of a refusal.
pub(crate) fn answer(message: Item, operation: Operation) -> Result<Result<Item, Refusal>, KeyError> {
    let is_single = message
        .one(tag::RESPONSE_HEADER)
        .and_then(|header| header.one(tag::BATCH_COUNT)?.integer())
        == Some(1);
    if message.tag != tag::RESPONSE_MESSAGE || !is_single {
        return Err(KeyError::Internal);
    }
    let item = message.one(tag::BATCH_ITEM).ok_or(KeyError::Internal)?;
    let number = |tag| item.one(tag).and_then(Item::enumeration);
    match number(tag::RESULT_STATUS) {
        Some(0) if number(tag::OPERATION) == Some(operation.code()) => {}
        // A message that could not be read is answered without its operation.
        Some(1) => return Ok(Err(Refusal(number(tag::RESULT_REASON).unwrap_or_default()))),
        // Success of something else, an answer that comes later, or one that makes no sense.
        Some(_) | None => return Err(KeyError::Internal),
    }
    let payload = take(message, tag::BATCH_ITEM).and_then(|item| take(item, tag::RESPONSE_PAYLOAD));
    payload.map(Ok).ok_or(KeyError::Internal)
}

fn take(structure: Item, tag: u32) -> Option<Item> {
    let Value::Structure(items) = structure.value else {
        return None;
    };
    items.into_iter().find(|item| item.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(count: i32, items: Vec<Item>) -> Item {
        let header = Item::structure(tag::RESPONSE_HEADER, vec![integer(tag::BATCH_COUNT, count)]);
        let mut parts = vec![header];
        parts.extend(items);
        Item::structure(tag::RESPONSE_MESSAGE, parts)
    }

    fn item(operation: Operation, status: u32) -> Item {
        let fields = vec![
            enumeration(tag::OPERATION, operation.code()),
            enumeration(tag::RESULT_STATUS, status),
            enumeration(tag::RESULT_REASON, 0x0c),
            Item::structure(tag::RESPONSE_PAYLOAD, vec![text(tag::UNIQUE_IDENTIFIER, "1")]),
        ];
        Item::structure(tag::BATCH_ITEM, fields)
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let asked = Operation::Decrypt;
        let good = answer(message(1, vec![item(asked, 0)]), asked);
        assert!(good.unwrap().unwrap().one(tag::UNIQUE_IDENTIFIER).is_some());
        let refused = answer(message(1, vec![item(asked, 1)]), asked);
        assert_eq!(refused, Ok(Err(Refusal(0x0c))));
        for nonsense in [
            message(1, vec![item(Operation::Encrypt, 0)]),
            message(1, vec![]),
            message(1, vec![item(asked, 0), item(asked, 0)]),
            message(2, vec![item(asked, 0)]),
            // Pending, undone, and a status that does not exist.
            message(1, vec![item(asked, 2)]),
            message(1, vec![item(asked, 3)]),
            message(1, vec![item(asked, 9)]),
            message(1, vec![Item::structure(tag::BATCH_ITEM, vec![])]),
            Item::structure(tag::REQUEST_MESSAGE, vec![]),
            text(tag::RESPONSE_MESSAGE, "no structure"),
        ] {
            assert_eq!(answer(nonsense, asked), Err(KeyError::Internal));
        }
    }

    #[test]
    fn versions_are_ordered_and_read_back() {
        for pair in Version::ALL.windows(2) {
            assert!(pair[0] > pair[1], "best first");
        }
        for version in Version::ALL {
            assert_eq!(Version::read(&version.item()), Some(version));
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        for text in ["1.1", "2.2", "3.0", "1.40", "", "2"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
