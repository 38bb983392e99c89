//! What a request is about: its path and query, and the bucket and key they name.
//!
//! What lives here: percent decoding (once), strict re-encoding, the query parser, path-style and
//! virtual-host-style addressing. What must not: operations (the router's) and signatures.
//! Invariant: nothing is normalised; `//`, `.` and `..` are ordinary parts of a key, and the
//! bytes that were received stay available for signing.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::error::ErrorCode;

/// Longest object key in bytes, after decoding (S3's limit).
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;
/// Longest bucket name in bytes: 255 is S3's limit for names from before 2018.
pub const BUCKET_NAME_BYTES_MAX: usize = 255;
/// Shortest bucket name in bytes.
pub const BUCKET_NAME_BYTES_MIN: usize = 3;
/// Most query parameters in one request. S3 operations have fewer than thirty.
pub const QUERY_PARAMETERS_MAX: usize = 256;

/// A path, query or host that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// The bucket's name is not one.
    BucketName,
    /// A percent escape is not two hexadecimal digits.
    Escape,
    /// The key is longer than [`OBJECT_KEY_BYTES_MAX`].
    KeyTooLong,
    /// The target does not start with a slash.
    NotAPath,
    /// The decoded path or query is not UTF-8.
    NotUtf8,
    /// More than [`QUERY_PARAMETERS_MAX`] query parameters.
    TooManyParameters,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketName => "the specified bucket is not valid",
            Self::Escape => "the path or query has a malformed percent escape",
            Self::KeyTooLong => "the key is longer than 1024 bytes",
            Self::NotAPath => "the request target does not start with a slash",
            Self::NotUtf8 => "the path or query is not UTF-8",
            Self::TooManyParameters => "the query has too many parameters",
        })
    }
}

impl std::error::Error for TargetError {}

impl TargetError {
    /// The S3 error that the client gets.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::BucketName => ErrorCode::InvalidBucketName,
            Self::KeyTooLong => ErrorCode::KeyTooLong,
            Self::Escape | Self::NotAPath | Self::NotUtf8 | Self::TooManyParameters => ErrorCode::InvalidUri,
        }
    }
}

/// Path and query of a request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget {
    raw_path: Vec<u8>,
    path: String,
    query: RawQuery,
}

impl RequestTarget {
    /// Parses `path?query` as received, for instance `uri.path_and_query()`. A lone `?` is an
    /// empty query.
    ///
    /// ```
    /// let target = sceau_s3wire::target::RequestTarget::parse(b"/b/a//%2E+?prefix=x+y&acl").unwrap();
    /// assert_eq!(target.path(), "/b/a//.+");
    /// assert_eq!(target.query().get("prefix"), Some("x+y"));
    /// assert_eq!(target.canonical_path(), "/b/a//.%2B");
    /// ```
    pub fn parse(raw: &[u8]) -> Result<Self, TargetError> {
        let mut halves = raw.splitn(2, |byte| *byte == b'?');
        let raw_path = halves.next().unwrap_or_default();
        if raw_path.first() != Some(&b'/') {
            return Err(TargetError::NotAPath);
        }
        Ok(Self {
            raw_path: raw_path.to_vec(),
            path: decode_text(raw_path)?,
            query: RawQuery::parse(halves.next().unwrap_or_default())?,
        })
    }

    /// The path exactly as received.
    pub fn raw_path(&self) -> &[u8] {
        &self.raw_path
    }

    /// The path, decoded once.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query.
    pub fn query(&self) -> &RawQuery {
        &self.query
    }

    /// The path, decoded once and encoded strictly: the form that is signed and forwarded.
    pub fn canonical_path(&self) -> String {
        encode_path(&self.path)
    }
}

/// One query parameter, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPair {
    /// Name, case preserved.
    pub name: String,
    /// Value; empty for `name=` and for `name` alone.
    pub value: String,
}

/// The query in the order received, decoded once; `+` is a plus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawQuery {
    pairs: Vec<QueryPair>,
}

impl RawQuery {
    /// Parses the bytes after the question mark. Empty pieces (`a&&b`) name nothing and are dropped.
    pub fn parse(raw: &[u8]) -> Result<Self, TargetError> {
        let mut pairs = Vec::new();
        for piece in raw.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == QUERY_PARAMETERS_MAX {
                return Err(TargetError::TooManyParameters);
            }
            let mut halves = piece.splitn(2, |byte| *byte == b'=');
            pairs.push(QueryPair {
                name: decode_text(halves.next().unwrap_or_default())?,
                value: decode_text(halves.next().unwrap_or_default())?,
            });
        }
        Ok(Self { pairs })
    }

    /// All parameters in the order received.
    pub fn pairs(&self) -> &[QueryPair] {
        &self.pairs
    }

    /// Value of the first parameter called exactly `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|pair| pair.name == name)
            .map(|pair| pair.value.as_str())
    }

    /// Whether a parameter is called exactly `name`, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many parameters are called exactly `name`.
    pub fn count(&self, name: &str) -> usize {
        self.pairs.iter().filter(|pair| pair.name == name).count()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Bucket and key that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Bucket; `None` for the service itself (`GET /`).
    pub bucket: Option<String>,
    /// Object key, not empty; `None` for the bucket itself.
    pub key: Option<String>,
}

/// How bucket and key are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressing;

impl Addressing {
    /// Splits `host` (as received, with or without a port) and `raw_path` into bucket and key.
    ///
    /// A host that is a bucket label in front of one of `domains` is virtual-host style; any other
    /// host (the domain itself, an unknown name, an address literal) is path style.
    ///
    /// ```
    /// use sceau_s3wire::target::Addressing;
    /// let domains = ["s3.example.com".to_owned()];
    /// let at = Addressing::split("photos.s3.example.com:9000", b"/a/b", &domains).unwrap();
    /// assert_eq!((at.bucket.as_deref(), at.key.as_deref()), (Some("photos"), Some("a/b")));
    /// let at = Addressing::split("127.0.0.1:9000", b"/photos/a/b", &domains).unwrap();
    /// assert_eq!((at.bucket.as_deref(), at.key.as_deref()), (Some("photos"), Some("a/b")));
    /// ```
    pub fn split(host: &str, raw_path: &[u8], domains: &[String]) -> Result<Target, TargetError> {
        let rest = raw_path.strip_prefix(b"/").ok_or(TargetError::NotAPath)?;
        if let Some(bucket) = bucket_of_host(host, domains) {
            check_bucket(&bucket)?;
            return Ok(Target {
                bucket: Some(bucket),
                key: decode_key(rest)?,
            });
        }
        if rest.is_empty() {
            return Ok(Target {
                bucket: None,
                key: None,
            });
        }
        // The split is made on the raw bytes: an escaped slash never separates bucket from key.
        let mut halves = rest.splitn(2, |byte| *byte == b'/');
        let bucket = decode_text(halves.next().unwrap_or_default())?;
        check_bucket(&bucket)?;
        Ok(Target {
            bucket: Some(bucket),
            key: decode_key(halves.next().unwrap_or_default())?,
        })
    }
}

fn bucket_of_host(host: &str, domains: &[String]) -> Option<String> {
    let name = host_name(host).to_ascii_lowercase();
    // The name of the root, written out: it is the same host.
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    if domains.iter().any(|domain| domain.eq_ignore_ascii_case(name)) {
        return None;
    }
    // The longest domain wins, so that one domain may lie below another.
    domains
        .iter()
        .filter_map(|domain| {
            let label = name
                .strip_suffix(&domain.to_ascii_lowercase())?
                .strip_suffix('.')?;
            Some((domain.len(), label))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, label)| label.to_owned())
}

/// The host without its port and without the brackets of an IPv6 literal.
fn host_name(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn check_bucket(name: &str) -> Result<(), TargetError> {
    let length_fits = (BUCKET_NAME_BYTES_MIN..=BUCKET_NAME_BYTES_MAX).contains(&name.len());
    let bytes_fit = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let only_dots = name.bytes().all(|byte| byte == b'.');
    if length_fits && bytes_fit && !only_dots {
        Ok(())
    } else {
        Err(TargetError::BucketName)
    }
}

fn decode_key(raw: &[u8]) -> Result<Option<String>, TargetError> {
    let key = decode_text(raw)?;
    match key.len() {
        0 => Ok(None),
        1..=OBJECT_KEY_BYTES_MAX => Ok(Some(key)),
        _ => Err(TargetError::KeyTooLong),
    }
}

fn decode_text(raw: &[u8]) -> Result<String, TargetError> {
    let bytes = percent_decode(raw)?.into_owned();
    String::from_utf8(bytes).map_err(|_| TargetError::NotUtf8)
}

/// Decodes percent escapes once; every other byte, `+` included, stands for itself.
pub fn percent_decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, TargetError> {
    if !raw.contains(&b'%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>().ok_or(TargetError::Escape)?;
        let value = digits.iter().try_fold(0_u8, |value, digit| {
            let digit = char::from(*digit)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())?;
            Some((value << 4) | digit)
        });
        decoded.push(value.ok_or(TargetError::Escape)?);
        rest = after;
    }
    Ok(Cow::Owned(decoded))
}

/// Encodes a decoded path: everything but `A-Za-z0-9-._~` and `/` is escaped.
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    push_encoded(&mut encoded, path.as_bytes(), true);
    encoded
}

/// Encodes a query name or value: everything but `A-Za-z0-9-._~` is escaped.
pub fn encode_component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    push_encoded(&mut encoded, text.as_bytes(), false);
    encoded
}

fn push_encoded(encoded: &mut String, bytes: &[u8], keep_slash: bool) {
    for byte in bytes {
        if is_unreserved(*byte) || (keep_slash && *byte == b'/') {
            encoded.push(char::from(*byte));
        } else {
            encoded.push('%');
            for nibble in [byte >> 4, byte & 0x0f] {
                let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
}

/// Whether a byte never needs an escape (RFC 3986 section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(host: &str, path: &str) -> Result<(Option<String>, Option<String>), TargetError> {
        let domains = ["s3.example.com".to_owned(), "eu.s3.example.com".to_owned()];
        Addressing::split(host, path.as_bytes(), &domains).map(|target| (target.bucket, target.key))
    }

    fn names(bucket: &str, key: &str) -> Result<(Option<String>, Option<String>), TargetError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok((some(bucket), some(key)))
    }

    #[test]
    fn hosts_decide_the_style() {
        assert_eq!(split("s3.example.com", "/buck/k"), names("buck", "k"));
        assert_eq!(split("BUCK.S3.example.com:80", "/k"), names("buck", "k"));
        assert_eq!(split("a.b.s3.example.com", "/"), names("a.b", ""));
        assert_eq!(split("photos.eu.s3.example.com", "/k"), names("photos", "k"));
        assert_eq!(split("eu.s3.example.com", "/buck"), names("buck", ""));
        assert_eq!(split("buck.s3.example.com.:80", "/k"), names("buck", "k"));
        assert_eq!(split("s3.example.com.", "/buck/k"), names("buck", "k"));
        assert_eq!(split("buck.s3.example.com..", "/other/k"), names("other", "k"));
        assert_eq!(split(".s3.example.com", "/k"), Err(TargetError::BucketName));
        assert_eq!(split("[::1]:9000", "/buck/"), names("buck", ""));
        assert_eq!(split("10.0.0.1", "/"), names("", ""));
        assert_eq!(split("evils3.example.com", "/buck/k"), names("buck", "k"));
        assert_eq!(split("x/y.s3.example.com", "/k"), Err(TargetError::BucketName));
    }

    #[test]
    fn keys_are_not_normalised() {
        assert_eq!(split("h", "/buck//a/.././/b"), names("buck", "/a/.././/b"));
        assert_eq!(split("h", "/buck/a%2Fb+%2B%25"), names("buck", "a/b++%"));
        assert_eq!(split("h", "/buck/%E2%82%AC%00"), names("buck", "€\0"));
        assert_eq!(split("h", "/buck%2Fkey"), Err(TargetError::BucketName));
        assert_eq!(split("h", "//key"), Err(TargetError::BucketName));
        assert_eq!(split("h", "/../key"), Err(TargetError::BucketName));
        assert_eq!(split("h", "/.../key"), Err(TargetError::BucketName));
        assert_eq!(split("h", "/buck/%FF"), Err(TargetError::NotUtf8));
        assert_eq!(split("h", "/buck/%2"), Err(TargetError::Escape));
        assert_eq!(split("h", "/buck/%+1"), Err(TargetError::Escape));
        assert_eq!(split("h", "*"), Err(TargetError::NotAPath));
        assert!(split("h", &format!("/buck/{}", "k".repeat(1024))).is_ok());
        assert_eq!(
            split("h", &format!("/buck/{}", "k".repeat(1025))),
            Err(TargetError::KeyTooLong)
        );
    }

    #[test]
    fn queries_keep_order_case_and_plus() {
        let query = RawQuery::parse(b"b=1&&a&B=%2B+&a=").unwrap();
        let pairs: Vec<_> = query
            .pairs()
            .iter()
            .map(|pair| (&*pair.name, &*pair.value))
            .collect();
        assert_eq!(pairs, [("b", "1"), ("a", ""), ("B", "++"), ("a", "")]);
        assert_eq!(query.count("a"), 2);
        assert!(!query.contains("A"));
        assert_eq!(
            RawQuery::parse(&b"a&".repeat(257)),
            Err(TargetError::TooManyParameters)
        );
    }
}
