//! The `x-amz-checksum-*` family: names, values, computation and combination.
//!
//! What lives here: the algorithms of S3. What must not: where a checksum came from (payload) and XML.
//! Invariant: a checksum that this module does not compute is reported as such, never taken as absent.

use std::fmt;
use std::hash::Hasher as _;

use crc_fast::CrcAlgorithm;
use data_encoding::BASE64;
use sha2::Digest as _;
use subtle::ConstantTimeEq;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// Longest digest of an algorithm, in bytes (SHA-512).
const DIGEST_BYTES_MAX: usize = 64;
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
    /// SHA-512.
    Sha512,
    /// MD5.
    Md5,
    /// XXH64 without a seed.
    XxHash64,
    /// XXH3 of 64 bits without a seed.
    XxHash3,
    /// XXH3 of 128 bits without a seed.
    XxHash128,
}

/// What a header or trailer name means for checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMeaning {
    /// The name does not carry a checksum value (any other header, `x-amz-checksum-type`, …).
    NotAValue,
    /// An `x-amz-checksum-` name nobody knows.
    Unknown,
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
    /// All algorithms.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::XxHash64,
        Self::XxHash3,
        Self::XxHash128,
    ];

    /// The name in `x-amz-checksum-algorithm`, `x-amz-sdk-checksum-algorithm` and XML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
            Self::XxHash64 => "XXHASH64",
            Self::XxHash3 => "XXHASH3",
            Self::XxHash128 => "XXHASH128",
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
            Self::Sha512 => "x-amz-checksum-sha512",
            Self::Md5 => "x-amz-checksum-md5",
            Self::XxHash64 => "x-amz-checksum-xxhash64",
            Self::XxHash3 => "x-amz-checksum-xxhash3",
            Self::XxHash128 => "x-amz-checksum-xxhash128",
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
            Self::Sha512 => "ChecksumSHA512",
            Self::Md5 => "ChecksumMD5",
            Self::XxHash64 => "ChecksumXXHASH64",
            Self::XxHash3 => "ChecksumXXHASH3",
            Self::XxHash128 => "ChecksumXXHASH128",
        }
    }

    /// Reads an algorithm's name (any case, as S3 does).
    pub fn from_name(name: &str) -> HeaderMeaning {
        Self::ALL
            .into_iter()
            .find(|it| it.name().eq_ignore_ascii_case(name))
            .map_or(HeaderMeaning::Unknown, HeaderMeaning::Value)
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
            Self::Crc64Nvme | Self::XxHash64 | Self::XxHash3 => 8,
            Self::Md5 | Self::XxHash128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Whether S3 offers this kind of multipart checksum for the algorithm.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match self {
            Self::Crc32 | Self::Crc32c => true,
            Self::Crc64Nvme => kind == ChecksumType::FullObject,
            // No value of the whole follows from those of its parts.
            Self::Sha1
            | Self::Sha256
            | Self::Sha512
            | Self::Md5
            | Self::XxHash64
            | Self::XxHash3
            | Self::XxHash128 => kind == ChecksumType::Composite,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1
            | Self::Sha256
            | Self::Sha512
            | Self::Md5
            | Self::XxHash64
            | Self::XxHash3
            | Self::XxHash128 => None,
        }
    }
}

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
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
    XxHash64(XxHash64),
    XxHash3(Box<XxHash3_64>),
    XxHash128(Box<XxHash3_128>),
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
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::default()),
            Algorithm::Md5 => State::Md5(md5::Md5::default()),
            Algorithm::XxHash64 => State::XxHash64(XxHash64::with_seed(0)),
            Algorithm::XxHash3 => State::XxHash3(Box::new(XxHash3_64::new())),
            Algorithm::XxHash128 => State::XxHash128(Box::new(XxHash3_128::new())),
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
            State::Sha512(digest) => digest.update(data),
            State::Md5(digest) => digest.update(data),
            State::XxHash64(digest) => digest.write(data),
            State::XxHash3(digest) => digest.write(data),
            State::XxHash128(digest) => digest.write(data),
        }
    }

    /// The checksum of all bytes taken.
    pub fn finish(self) -> Value {
        let algorithm = self.algorithm;
        let value = match self.state {
            State::Crc(digest) => Value::from_u64(algorithm, digest.finalize()),
            State::Sha1(digest) => Value::from_bytes(algorithm, &digest.finalize()),
            State::Sha256(digest) => Value::from_bytes(algorithm, &digest.finalize()),
            State::Sha512(digest) => Value::from_bytes(algorithm, &digest.finalize()),
            State::Md5(digest) => Value::from_bytes(algorithm, &digest.finalize()),
            // The canonical form of an XXH value is big-endian.
            State::XxHash64(digest) => Value::from_u64(algorithm, digest.finish()),
            State::XxHash3(digest) => Value::from_u64(algorithm, digest.finish()),
            State::XxHash128(digest) => Value::from_bytes(algorithm, &digest.finish_128().to_be_bytes()),
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
/// combination (all but the CRCs).
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
        // FIPS 180, RFC 1321, and the values that xxhsum prints.
        for (algorithm, data, expected) in [
            (
                Algorithm::Sha512,
                &b"abc"[..],
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (Algorithm::Md5, b"abc", "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::XxHash64, b"", "ef46db3751d8e999"),
            (Algorithm::XxHash64, b"abc", "44bc2cf5ad770999"),
            (Algorithm::XxHash3, b"", "2d06800538d394c2"),
            (Algorithm::XxHash3, b"abc", "78af5f94892f3950"),
            (Algorithm::XxHash128, b"", "99aa06d3014798d86001c324468d497f"),
            (Algorithm::XxHash128, b"abc", "06b05ab6733a618578af5f94892f3950"),
        ] {
            let value = Hasher::of(algorithm, data);
            assert_eq!(
                data_encoding::HEXLOWER.encode(value.bytes()),
                expected,
                "{algorithm}"
            );
        }
    }

    #[test]
    fn values_do_not_depend_on_how_the_data_came() {
        let data: Vec<u8> = (0..5_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            data.chunks(37).for_each(|piece| hasher.update(piece));
            let value = hasher.finish();
            assert_eq!(value, Hasher::of(algorithm, &data), "{algorithm}");
            assert_eq!(value.bytes().len(), algorithm.digest_bytes());
            assert_ne!(value, Hasher::of(algorithm, &data[1..]));
        }
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
    fn algorithms_and_unknown_names_are_told_apart_from_other_headers() {
        for algorithm in Algorithm::ALL {
            assert_eq!(
                Algorithm::of_header(algorithm.header_name()),
                HeaderMeaning::Value(algorithm)
            );
            assert_eq!(algorithm.element_name(), format!("Checksum{}", algorithm.name()));
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
