//! TTLV (tag, type, length, value), the encoding of KMIP messages (KMIP 1.4, section 9.1; 2.1, section 10.1).
//!
//! What lives here: [`Item`], [`encode`], [`decode`], and how long a message is by its first bytes. What must
//! not: what tags mean, sockets. Invariant: a message is read in one way only (what decodes encodes to the
//! same bytes), in bounded memory and depth, and byte strings, which may be keys, are wiped.
//!
//! The attack considered: a server, or whoever took its place, answers with lengths beyond the message, with
//! structures in structures without end, or with a million empty items. Each length is compared with what is
//! there before anything is allocated, and depth, items and bytes have limits.

mod read;
mod write;

use std::fmt;

use zeroize::Zeroizing;

pub use read::{decode, message_bytes};
pub use write::encode;

/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Structures within each other at most, the message itself counted.
pub const DEPTH_MAX: usize = 16;
/// Items of one message at most, structures counted.
pub const ITEMS_MAX: usize = 1024;
/// Bytes before an item's value: tag, type, length.
pub const HEAD_BYTES: usize = 8;

/// Why bytes are no message, or a message has no bytes. Closed: callers match every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlvError {
    /// It ends before it should, or goes on after.
    Length,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More items than [`ITEMS_MAX`].
    TooMany,
    /// A tag outside of the two ranges of the standard.
    Tag,
    /// A type that does not exist.
    Type,
    /// A value that its type does not have: padding that is not zero, text that is not UTF-8.
    Value,
}

impl fmt::Display for TtlvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "lengths of the message do not agree",
            Self::TooLong => "the message is too long",
            Self::TooDeep => "the message is too deep",
            Self::TooMany => "the message has too many items",
            Self::Tag => "a tag is neither of the standard nor an extension",
            Self::Type => "an item's type does not exist",
            Self::Value => "a value does not fit its type",
        })
    }
}

impl std::error::Error for TtlvError {}

/// One item: a tag of three bytes and its value.
#[derive(PartialEq, Eq)]
pub struct Item {
    /// `0x42____` of the standard, or `0x54____` of an extension.
    pub tag: u32,
    /// What it holds.
    pub value: Value,
}

/// What an item holds, by its type.
#[derive(PartialEq, Eq)]
pub enum Value {
    /// Items, in order.
    Structure(Vec<Item>),
    /// A number of 32 bits, also a mask.
    Integer(i32),
    /// A number of 64 bits.
    LongInteger(i64),
    /// A number of any size: two's complement, a multiple of eight bytes. May be part of a key: wiped.
    BigInteger(Zeroizing<Vec<u8>>),
    /// One of a list.
    Enumeration(u32),
    /// Yes or no.
    Boolean(bool),
    /// Text.
    Text(String),
    /// Bytes. May be a key: wiped.
    Bytes(Zeroizing<Vec<u8>>),
    /// Seconds since 1970.
    DateTime(i64),
    /// A length of time in seconds.
    Interval(u32),
    /// Microseconds since 1970, from KMIP 2.0.
    DateTimeExtended(i64),
}

/// Shows the tag and what [`Value`] shows.
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x} {:?}", self.tag, self.value)
    }
}

/// Shows numbers and lengths, never text or bytes.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Structure(items) => f.debug_list().entries(items).finish(),
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Bytes(bytes) | Self::BigInteger(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Integer(number) => write!(f, "{number}"),
            Self::LongInteger(number) | Self::DateTime(number) | Self::DateTimeExtended(number) => {
                write!(f, "{number}")
            }
            Self::Enumeration(number) | Self::Interval(number) => write!(f, "{number:#x}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

impl Item {
    /// A structure.
    pub fn structure(tag: u32, items: Vec<Self>) -> Self {
        Self::of(tag, Value::Structure(items))
    }

    /// An item with this value.
    pub fn of(tag: u32, value: Value) -> Self {
        Self { tag, value }
    }

    /// The items of a structure; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Structure(items) => items,
            Value::Integer(_)
            | Value::LongInteger(_)
            | Value::BigInteger(_)
            | Value::Enumeration(_)
            | Value::Boolean(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::DateTime(_)
            | Value::Interval(_)
            | Value::DateTimeExtended(_) => &[],
        }
    }

    /// The items with this tag.
    pub fn all(&self, tag: u32) -> impl Iterator<Item = &Self> {
        self.items().iter().filter(move |item| item.tag == tag)
    }

    /// The item with this tag. `None` where there is none, and where there are several: an answer that says a
    /// thing twice says nothing.
    pub fn one(&self, tag: u32) -> Option<&Self> {
        let mut found = self.all(tag);
        let first = found.next();
        first.filter(|_| found.next().is_none())
    }

    /// The number of an enumeration.
    pub fn enumeration(&self) -> Option<u32> {
        if let Value::Enumeration(number) = self.value {
            Some(number)
        } else {
            None
        }
    }

    /// The number of an integer.
    pub fn integer(&self) -> Option<i32> {
        if let Value::Integer(number) = self.value {
            Some(number)
        } else {
            None
        }
    }

    /// The text of a text string.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The bytes of a byte string.
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(bytes) = &self.value {
            Some(bytes)
        } else {
            None
        }
    }

    /// Yes or no.
    pub fn boolean(&self) -> Option<bool> {
        if let Value::Boolean(value) = self.value {
            Some(value)
        } else {
            None
        }
    }

    /// A date, in seconds since 1970.
    pub fn date(&self) -> Option<i64> {
        if let Value::DateTime(seconds) = self.value {
            Some(seconds)
        } else {
            None
        }
    }
}

/// Whether a tag is of the standard, or an extension.
fn is_tag(tag: u32) -> bool {
    matches!(tag >> 16, 0x42 | 0x54)
}

/// Bytes that fill a value up to a multiple of eight.
fn padding(length: usize) -> usize {
    length.wrapping_neg() & 7
}
