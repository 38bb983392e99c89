//! The `x-amz-copy-source` and `x-amz-copy-source-range` headers.
//!
//! What lives here: parsing. What must not: the decision whether the source may be read.
//! Invariant: a parsed source names one bucket and one key of at most 1024 bytes.

use crate::bucket_name;
use crate::error::ErrorCode;
use crate::target::{OBJECT_KEY_BYTES_MAX, encode_component, encode_path, percent_decode};

/// Longest header accepted: a key with every byte escaped, a bucket, a version.
const HEADER_BYTES_MAX: usize = 8_192;

const VERSION_MARK: &str = "?versionId=";

/// What a copy reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket's name.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The version asked for; without one, the current.
    pub version_id: Option<String>,
}

/// Reads an `x-amz-copy-source` value: `bucket/key` or `/bucket/key`, percent-encoded, with an
/// optional `?versionId=`. In the name a plus sign is a space, as AWS S3 reads it, and `%2B` is a plus sign;
/// in the version it is a plus sign, which identifiers of versions have.
///
/// Attack considered: two readers of one value, so that a right to `a b` reads `a+b`. There is one: the
/// policy is asked for, and the store is sent, what was decoded here, with every `+` escaped.
///
/// # Errors
///
/// `NotImplemented` for access point ARNs and directory buckets, `InvalidArgument` for anything
/// that is not a source, `InvalidBucketName` and `KeyTooLong` for names outside the rules.
pub fn parse(value: &[u8]) -> Result<CopySource, ErrorCode> {
    let text = std::str::from_utf8(value).map_err(|_| ErrorCode::InvalidArgument)?;
    if text.len() > HEADER_BYTES_MAX {
        return Err(ErrorCode::InvalidArgument);
    }
    let (path, version) = match text.split_once(VERSION_MARK) {
        Some((path, version)) => (path, Some(decode(version)?)),
        None => (text, None),
    };
    if version
        .as_deref()
        .is_some_and(|version| version.is_empty() || version.contains(char::is_control))
    {
        return Err(ErrorCode::InvalidArgument);
    }
    let path = decode(&path.replace('+', " "))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    if path.starts_with("arn:") {
        return Err(ErrorCode::NotImplemented);
    }
    let (bucket, key) = path.split_once('/').ok_or(ErrorCode::InvalidArgument)?;
    bucket_name::check(bucket)?;
    match key.len() {
        0 => Err(ErrorCode::InvalidArgument),
        1..=OBJECT_KEY_BYTES_MAX => Ok(CopySource {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id: version,
        }),
        _ => Err(ErrorCode::KeyTooLong),
    }
}

/// Reads an `x-amz-copy-source-range` value: `bytes=first-last`, both included.
///
/// # Errors
///
/// `InvalidArgument` for any other form: unlike `Range`, this header is never ignored.
pub fn parse_range(value: &[u8]) -> Result<(u64, u64), ErrorCode> {
    let text = std::str::from_utf8(value).map_err(|_| ErrorCode::InvalidArgument)?;
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or(ErrorCode::InvalidArgument)?;
    let (first, last) = (offset(first)?, offset(last)?);
    if first <= last {
        Ok((first, last))
    } else {
        Err(ErrorCode::InvalidArgument)
    }
}

/// The value to send to a store for this source; without a version, its current one. Spaces are `%20`
/// and plus signs `%2B`, so that stores that read `+` as a plus sign and those that do not agree.
#[must_use]
pub fn encode(bucket: &str, key: &str, version: Option<&str>) -> String {
    let path = ["/", bucket, "/", &encode_path(key)].concat();
    match version {
        Some(version) => [&path, VERSION_MARK, &encode_component(version)].concat(),
        None => path,
    }
}

fn offset(text: &str) -> Result<u64, ErrorCode> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorCode::InvalidArgument);
    }
    text.parse().map_err(|_| ErrorCode::InvalidArgument)
}

fn decode(text: &str) -> Result<String, ErrorCode> {
    let bytes = percent_decode(text.as_bytes()).map_err(|_| ErrorCode::InvalidArgument)?;
    String::from_utf8(bytes.into_owned()).map_err(|_| ErrorCode::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bucket: &str, key: &str, version: Option<&str>) -> Result<CopySource, ErrorCode> {
        Ok(CopySource {
            bucket: bucket.into(),
            key: key.into(),
            version_id: version.map(Into::into),
        })
    }

    #[test]
    fn sources_are_decoded_once() {
        let rows = [
            ("bkt/key", source("bkt", "key", None)),
            ("/bkt/key", source("bkt", "key", None)),
            ("%2Fbkt%2Fa%2Fb", source("bkt", "a/b", None)),
            ("/bkt//a/../b", source("bkt", "/a/../b", None)),
            ("/bkt/a+b%2Bc%20d%252B", source("bkt", "a b+c d%2B", None)),
            ("/bkt/++%2b/+", source("bkt", "  +/ ", None)),
            ("/bkt/a+b?versionId=c+d", source("bkt", "a b", Some("c+d"))),
            ("/bkt/%2541", source("bkt", "%41", None)),
            ("/bkt/%C3%A9\u{e9}", source("bkt", "éé", None)),
            ("/bkt/a?b", source("bkt", "a?b", None)),
            ("/bkt/a%3FversionId=x", source("bkt", "a?versionId=x", None)),
            ("/bkt/a?versionId=3%2FL4", source("bkt", "a", Some("3/L4"))),
        ];
        for (value, expected) in rows {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_is_not_a_source_is_refused() {
        let long = format!("/bkt/{}", "k".repeat(OBJECT_KEY_BYTES_MAX + 1));
        let huge = format!("/bkt/{}", "k".repeat(HEADER_BYTES_MAX));
        let rows = [
            ("", ErrorCode::InvalidArgument),
            ("/", ErrorCode::InvalidArgument),
            ("bkt", ErrorCode::InvalidArgument),
            ("/bkt/", ErrorCode::InvalidArgument),
            ("+/bkt/key", ErrorCode::InvalidBucketName),
            ("//bkt/key", ErrorCode::InvalidBucketName),
            ("/Bkt/key", ErrorCode::InvalidBucketName),
            ("/bkt/%zz", ErrorCode::InvalidArgument),
            ("/bkt/%4", ErrorCode::InvalidArgument),
            ("/bkt/%ff", ErrorCode::InvalidArgument),
            ("/bkt/a?versionId=", ErrorCode::InvalidArgument),
            (
                "arn:aws:s3:eu-west-1:1:accesspoint/ap/object/k",
                ErrorCode::NotImplemented,
            ),
            ("arn%3Aaws%3As3:::x/k", ErrorCode::NotImplemented),
            ("/x--x-s3/k", ErrorCode::NotImplemented),
            (&long, ErrorCode::KeyTooLong),
            (&huge, ErrorCode::InvalidArgument),
        ];
        for (value, expected) in rows {
            assert_eq!(parse(value.as_bytes()), Err(expected), "{value}");
        }
    }

    #[test]
    fn a_source_range_is_strict() {
        assert_eq!(parse_range(b"bytes=0-5242879"), Ok((0, 5_242_879)));
        for value in [
            "bytes=5-4",
            "bytes=0-",
            "bytes=-5",
            "0-5",
            "bytes=0-1,2-3",
            "bytes=0-99999999999999999999",
            "bytes= 0-1",
        ] {
            assert_eq!(
                parse_range(value.as_bytes()),
                Err(ErrorCode::InvalidArgument),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let key = "a b+c/é?versionId=%41&\u{1}";
        for version in [None, Some("null"), Some("a+b/c=&?versionId=d %")] {
            let value = encode("bkt", key, version);
            assert!(!value.contains(['+', ' ']), "{value}");
            assert_eq!(parse(value.as_bytes()), source("bkt", key, version), "{value}");
        }
    }
}
