//! The `x-amz-checksum-*` family: names, values, computation and combination.
//!
//! What lives here: the five algorithms S3 clients send today, and the names of the newer ones,
//! which are refused. What must not: where a checksum came from (payload) and XML. Invariant: a
//! checksum that this module does not compute is reported as such, never taken as absent.

use std::fmt;

use crc_fast::CrcAlgorithm;
use data_encoding::BASE64;
use sha2::Digest as _;
use subtle::ConstantTimeEq;

/// Longest digest of a supported algorithm, in bytes (SHA-256).
const DIGEST_BYTES_MAX: usize = 32;
const HEADER_PREFIX: &str = "x-amz-checksum-";

/// A checksum algorithm this project computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-32 as in zlib and PNG.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a header or trailer name means for checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMeaning {
    /// The name does not carry a checksum value (any other header, `x-amz-checksum-type`, …).
    NotAValue,
    /// An `x-amz-checksum-` name nobody knows.
    Unknown,
    /// A value of an algorithm S3 has but this project does not compute; its S3 name.
    Unsupported(&'static str),
    /// A value of this algorithm.
    Value(Algorithm),
}

/// Whether a multipart object's checksum covers its bytes or its parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumType {
    /// Checksum of the parts' checksums, written `value-N`.
    Composite,
    /// Checksum of the whole object.
    FullObject,
}

impl ChecksumType {
    /// The name in `x-amz-checksum-type` and XML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Algorithm {
    /// All supported algorithms.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in `x-amz-checksum-algorithm`, `x-amz-sdk-checksum-algorithm` and XML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries a value.
    pub fn header_name(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element that carries a value in XML bodies.
    pub fn element_name(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// Reads an algorithm's name (any case, as S3 does).
    pub fn from_name(name: &str) -> HeaderMeaning {
        if let Some(found) = Self::ALL
            .into_iter()
            .find(|it| it.name().eq_ignore_ascii_case(name))
        {
            return HeaderMeaning::Value(found);
        }
        UNSUPPORTED
            .into_iter()
            .find(|it| it.eq_ignore_ascii_case(name))
            .map_or(HeaderMeaning::Unknown, HeaderMeaning::Unsupported)
    }

    /// What the header or trailer `name` (lower case) means.
    pub fn of_header(name: &str) -> HeaderMeaning {
        match name.strip_prefix(HEADER_PREFIX) {
            None | Some("algorithm" | "mode" | "type") => HeaderMeaning::NotAValue,
            Some(rest) => Self::from_name(rest),
        }
    }

    /// Length of a digest in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Whether S3 offers this kind of multipart checksum for the algorithm.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match (self, kind) {
            (Self::Crc32 | Self::Crc32c, _)
            | (Self::Crc64Nvme, ChecksumType::FullObject)
            | (Self::Sha1 | Self::Sha256, ChecksumType::Composite) => true,
            (Self::Crc64Nvme, ChecksumType::Composite)
            | (Self::Sha1 | Self::Sha256, ChecksumType::FullObject) => false,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// Algorithms S3 added in 2026.
const UNSUPPORTED: [&str; 5] = ["SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"];

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A checksum's value.
#[derive(Clone, Copy, Eq)]
pub struct Value {
    algorithm: Algorithm,
    bytes: [u8; DIGEST_BYTES_MAX],
}

impl Value {
    /// Wraps a digest; `None` unless its length is the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, digest: &[u8]) -> Option<Self> {
        if digest.len() != algorithm.digest_bytes() {
            return None;
        }
        let mut bytes = [0; DIGEST_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Some(Self { algorithm, bytes })
    }

    /// Reads the base64 form (padded, no white space); `None` for anything else.
    pub fn from_base64(algorithm: Algorithm, text: &[u8]) -> Option<Self> {
        Self::from_bytes(algorithm, &BASE64.decode(text).ok()?)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.digest_bytes())
            .unwrap_or_default()
    }

    /// The form that headers, trailers and XML carry.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.bytes())
    }

    fn to_u64(self) -> u64 {
        self.bytes()
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte))
    }

    fn from_u64(algorithm: Algorithm, value: u64) -> Option<Self> {
        let bytes = value.to_be_bytes();
        let skip = bytes.len().checked_sub(algorithm.digest_bytes())?;
        Self::from_bytes(algorithm, bytes.get(skip..)?)
    }
}

/// Compares in constant time: a digest of an object's plaintext says something about it.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && bool::from(self.bytes().ct_eq(other.bytes()))
    }
}

/// Shows the algorithm only: the value is a fingerprint of the plaintext.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.algorithm)
    }
}

/// A composite checksum: `base64-N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composite {
    /// Checksum of the parts' checksums.
    pub value: Value,
    /// Number of parts.
    pub parts: usize,
}

impl fmt::Display for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.value.to_base64(), self.parts)
    }
}

/// Computes one checksum over a stream of bytes.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Starts over no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::default()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::default()),
        };
        Self { algorithm, state }
    }

    /// The checksum of `data`.
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Value {
        let mut hasher = Self::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(data),
            State::Sha1(digest) => digest.update(data),
            State::Sha256(digest) => digest.update(data),
        }
    }

    /// The checksum of all bytes taken.
    pub fn finish(self) -> Value {
        let algorithm = self.algorithm;
        let value = match self.state {
            State::Crc(digest) => Value::from_u64(algorithm, digest.finalize()),
            State::Sha1(digest) => Value::from_bytes(algorithm, &digest.finalize()),
            State::Sha256(digest) => Value::from_bytes(algorithm, &digest.finalize()),
        };
        // Both constructors only refuse a wrong length, and each digest has its algorithm's.
        value.unwrap_or(Value {
            algorithm,
            bytes: [0; DIGEST_BYTES_MAX],
        })
    }
}

/// Full-object checksum from the checksums and lengths (in bytes) of consecutive parts.
///
/// `None` if there is no part, if a value is of another algorithm, or if the algorithm has no
/// combination (SHA-1 and SHA-256).
pub fn combine(algorithm: Algorithm, parts: &[(Value, u64)]) -> Option<Value> {
    let crc = algorithm.crc()?;
    let ((first, _), rest) = parts.split_first()?;
    if parts.iter().any(|(value, _)| value.algorithm != algorithm) {
        return None;
    }
    let whole = rest.iter().fold(first.to_u64(), |sum, (value, length)| {
        // Nothing changes when nothing is appended; the library's matrix form needs a length.
        if *length == 0 {
            sum
        } else {
            crc_fast::checksum_combine(crc, sum, value.to_u64(), *length)
        }
    });
    Value::from_u64(algorithm, whole)
}

/// Composite checksum: the checksum of the parts' digests, in part order.
///
/// `None` if there is no part or a value is of another algorithm.
pub fn composite(algorithm: Algorithm, parts: &[Value]) -> Option<Composite> {
    if parts.is_empty() || parts.iter().any(|value| value.algorithm != algorithm) {
        return None;
    }
    let mut hasher = Hasher::new(algorithm);
    parts.iter().for_each(|value| hasher.update(value.bytes()));
    Some(Composite {
        value: hasher.finish(),
        parts: parts.len(),
    })
}

/// The value of a `Content-MD5` header for a small document.
pub fn md5_base64(document: &[u8]) -> String {
    use md5::Digest;
    data_encoding::BASE64.encode(&md5::Md5::digest(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values_come_out() {
        // The catalogue's check input, and FIPS 180 for the two hashes.
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
        ] {
            let value = Hasher::of(algorithm, b"123456789");
            assert_eq!(value.to_base64(), expected, "{algorithm}");
            assert_eq!(
                Value::from_base64(algorithm, value.to_base64().as_bytes()),
                Some(value)
            );
            assert_eq!(
                Algorithm::of_header(algorithm.header_name()),
                HeaderMeaning::Value(algorithm)
            );
            assert_eq!(
                Algorithm::from_name(algorithm.name()),
                HeaderMeaning::Value(algorithm)
            );
        }
        let sha = Hasher::of(Algorithm::Sha256, b"abc");
        assert_eq!(sha.to_base64(), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        let sha = Hasher::of(Algorithm::Sha1, b"abc");
        assert_eq!(sha.to_base64(), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    }

    #[test]
    fn combination_equals_the_whole() {
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            for cuts in [
                vec![0, 1, 65_536, 100_000],
                vec![0, 0, 100_000, 100_000],
                vec![0, 99_999, 100_000],
            ] {
                let parts: Vec<_> = cuts
                    .windows(2)
                    .map(|cut| &data[cut[0]..cut[1]])
                    .map(|part| (Hasher::of(algorithm, part), part.len() as u64))
                    .collect();
                assert_eq!(
                    combine(algorithm, &parts),
                    Some(Hasher::of(algorithm, &data)),
                    "{cuts:?}"
                );
            }
        }
        let sha = Hasher::of(Algorithm::Sha1, b"");
        assert_eq!(combine(Algorithm::Sha1, &[(sha, 0)]), None);
        assert_eq!(combine(Algorithm::Crc32, &[(sha, 0)]), None);
    }

    #[test]
    fn a_composite_hashes_the_parts_digests() {
        let parts = [
            Hasher::of(Algorithm::Sha256, b"a"),
            Hasher::of(Algorithm::Sha256, b"b"),
        ];
        let whole = composite(Algorithm::Sha256, &parts).unwrap();
        let joined = [parts[0].bytes(), parts[1].bytes()].concat();
        assert_eq!(
            whole.to_string(),
            format!("{}-2", Hasher::of(Algorithm::Sha256, &joined).to_base64())
        );
        assert_eq!(composite(Algorithm::Sha256, &[]), None);
    }

    #[test]
    fn newer_and_unknown_algorithms_are_told_apart_from_other_headers() {
        for name in ["sha512", "md5", "xxhash64", "xxhash3", "xxhash128"] {
            let header = format!("x-amz-checksum-{name}");
            assert!(
                matches!(Algorithm::of_header(&header), HeaderMeaning::Unsupported(_)),
                "{name}"
            );
        }
        assert_eq!(
            Algorithm::of_header("x-amz-checksum-blake3"),
            HeaderMeaning::Unknown
        );
        assert_eq!(
            Algorithm::of_header("x-amz-checksum-mode"),
            HeaderMeaning::NotAValue
        );
        assert_eq!(
            Algorithm::of_header("x-amz-meta-checksum-crc32"),
            HeaderMeaning::NotAValue
        );
        assert_eq!(Value::from_base64(Algorithm::Crc32, b"AAAA"), None);
        assert_eq!(Value::from_base64(Algorithm::Crc32, b"AAAAAA"), None);
    }
}
