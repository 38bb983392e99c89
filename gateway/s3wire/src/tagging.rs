//! The tags of an object, as S3 allows them.
//!
//! What lives here: the rules for a set of tags, and its URL-encoded form in the header `x-amz-tagging`.
//! What must not: the XML form (`xml`), how a set is stored. Invariant: a [`TagSet`] keeps every rule of
//! S3 and has its tags in ascending order of the bytes of their keys.

use std::borrow::Cow;

use crate::error::ErrorCode;
use crate::target::{encode_component, percent_decode};

/// Tags of one object.
pub const TAGS_MAX: usize = 10;
/// Longest key, in UTF-16 code units, as S3 counts.
pub const KEY_UNITS_MAX: usize = 128;
/// Longest value, in UTF-16 code units.
pub const VALUE_UNITS_MAX: usize = 256;

/// A set of tags that keeps S3's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSet(Vec<(String, String)>);

/// Why a set of tags is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// More than [`TAGS_MAX`] tags.
    TooMany,
    /// A key is empty, too long, or has a character that is not allowed.
    Key,
    /// A value is too long, or has a character that is not allowed.
    Value,
    /// A key begins with `aws:`, which is the service's own.
    SystemKey,
    /// A key occurs twice in a document.
    RepeatedKey,
    /// The header is not URL-encoded UTF-8, or repeats a key.
    Header,
    /// The document is not one of tags.
    Document(ErrorCode),
}

impl TagError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooMany => ErrorCode::BadRequest,
            Self::Key | Self::Value | Self::SystemKey | Self::RepeatedKey => ErrorCode::InvalidTag,
            Self::Header => ErrorCode::InvalidArgument,
            Self::Document(code) => code,
        }
    }

    /// What to tell the client.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooMany => "Object tags cannot be greater than 10",
            Self::Key => "The TagKey you have provided is invalid",
            Self::Value => "The TagValue you have provided is invalid",
            Self::SystemKey => "System tags cannot be added/updated by requester",
            Self::RepeatedKey => "Cannot provide multiple Tags with the same key",
            Self::Header => {
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag \
                 name duplicates."
            }
            Self::Document(code) => code.default_message(),
        }
    }
}

impl TagSet {
    /// Checks tags in whatever order.
    ///
    /// # Errors
    ///
    /// [`TagError`], but neither `Header` nor `Document`.
    pub fn new(mut tags: Vec<(String, String)>) -> Result<Self, TagError> {
        if tags.len() > TAGS_MAX {
            return Err(TagError::TooMany);
        }
        for (key, value) in &tags {
            check(key, value)?;
        }
        tags.sort_unstable();
        let is_repeated = tags
            .iter()
            .zip(tags.iter().skip(1))
            .any(|(one, next)| one.0 == next.0);
        if is_repeated {
            return Err(TagError::RepeatedKey);
        }
        Ok(Self(tags))
    }

    /// Reads the header `x-amz-tagging`: `key=value` pairs between `&`, percent-encoded, `+` for a space.
    /// A pair without `=` has an empty value; empty pairs are left out.
    ///
    /// # Errors
    ///
    /// [`TagError`], but not `Document`.
    pub fn from_encoded(encoded: &[u8]) -> Result<Self, TagError> {
        let mut tags = Vec::new();
        for pair in encoded
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            if tags.len() == TAGS_MAX {
                return Err(TagError::TooMany);
            }
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (key, value) = pair.split_at_checked(at).ok_or(TagError::Header)?;
            tags.push((decode(key)?, decode(value.strip_prefix(b"=").unwrap_or(value))?));
        }
        Self::new(tags).map_err(|error| {
            if error == TagError::RepeatedKey {
                TagError::Header
            } else {
                error
            }
        })
    }

    /// The form of the header `x-amz-tagging`.
    #[must_use]
    pub fn to_encoded(&self) -> String {
        encode(&self.0)
    }

    /// The tags.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Any tags in the form of the header `x-amz-tagging`.
#[must_use]
pub fn encode(tags: &[(String, String)]) -> String {
    let pair =
        |(key, value): &(String, String)| format!("{}={}", encode_component(key), encode_component(value));
    tags.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn decode(encoded: &[u8]) -> Result<String, TagError> {
    let spaced: Cow<'_, [u8]> = if encoded.contains(&b'+') {
        let space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        encoded.iter().map(space).collect()
    } else {
        Cow::Borrowed(encoded)
    };
    let bytes = percent_decode(&spaced).map_err(|_| TagError::Header)?;
    String::from_utf8(bytes.into_owned()).map_err(|_| TagError::Header)
}

fn check(key: &str, value: &str) -> Result<(), TagError> {
    let is_valid =
        |text: &str, units_max| text.encode_utf16().count() <= units_max && text.chars().all(is_allowed);
    if key.is_empty() || !is_valid(key, KEY_UNITS_MAX) {
        return Err(TagError::Key);
    }
    if key
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
    {
        return Err(TagError::SystemKey);
    }
    if is_valid(value, VALUE_UNITS_MAX) {
        Ok(())
    } else {
        Err(TagError::Value)
    }
}

/// Letters, digits and spaces of every script, and a few signs. The signs by which scripts write their
/// vowels count as letters, as Unicode's property Alphabetic has it.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric()
        || (character.is_whitespace() && !character.is_control())
        || "+-=._:/@".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_header_is_read_as_s3_reads_it() {
        let set = TagSet::from_encoded(b"b=2&a=x+y%2Bz&&c&d=e=f&%C3%A9=%E7%B7%91&").unwrap();
        let expected = [
            pair("a", "x y+z"),
            pair("b", "2"),
            pair("c", ""),
            pair("d", "e=f"),
            pair("é", "緑"),
        ];
        assert_eq!(set.pairs(), expected);
        assert_eq!(TagSet::from_encoded(set.to_encoded().as_bytes()), Ok(set));
        assert!(TagSet::from_encoded(b"").unwrap().is_empty());
        assert!(TagSet::from_encoded(b"&&").unwrap().is_empty());
        for (text, error) in [
            ("a=1&a=2", TagError::Header),
            ("a=%zz", TagError::Header),
            ("a=%C3", TagError::Header),
            ("%", TagError::Header),
            ("=b", TagError::Key),
            ("a%21=b", TagError::Key),
            ("a=%09", TagError::Value),
            ("aws:x=1", TagError::SystemKey),
            ("a&b&c&d&e&f&g&h&i&j&k", TagError::TooMany),
        ] {
            assert_eq!(TagSet::from_encoded(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn limits_are_counted_in_utf16_units() {
        let one = |key: &str, value: &str| TagSet::new(vec![pair(key, value)]).map(drop);
        assert_eq!(one(&"é".repeat(128), &"緑".repeat(256)), Ok(()));
        assert_eq!(one(&"k".repeat(129), ""), Err(TagError::Key));
        assert_eq!(one("k", &"v".repeat(257)), Err(TagError::Value));
        // A letter outside the first plane counts twice.
        assert_eq!(one(&"𐐀".repeat(64), &"𐐀".repeat(128)), Ok(()));
        assert_eq!(one(&"𐐀".repeat(65), ""), Err(TagError::Key));
        let ten: Vec<_> = (0..10).map(|at| pair(&at.to_string(), "")).collect();
        assert!(TagSet::new(ten).is_ok());
    }

    #[test]
    fn characters_are_those_of_s3() {
        let one = |text: &str| TagSet::new(vec![pair(text, text)]).map(drop);
        for text in [
            "aZ0+-=._:/@",
            "with space",
            "no\u{a0}break",
            "हिंदी",
            "Ⅷ½",
            "緑",
            "a",
        ] {
            assert_eq!(one(text), Ok(()), "{text}");
        }
        for text in [
            "a!",
            "a\u{1f600}",
            "a\tb",
            "a\nb",
            "a\0",
            "a&b",
            "a<b",
            "\"",
            "a,b",
            "€",
            "a\u{200d}b",
        ] {
            assert_eq!(one(text), Err(TagError::Key), "{text:?}");
        }
        assert_eq!(one("AWS:x"), Err(TagError::SystemKey));
        assert_eq!(one("aws"), Ok(()));
        assert_eq!(
            TagSet::new(vec![pair("a", "1"), pair("a", "1")]),
            Err(TagError::RepeatedKey)
        );
    }
}
