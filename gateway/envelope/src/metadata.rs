//! Sealed object metadata: typed fields as TLVs (§5.3).
//!
//! What lives here: the field list and its canonical encoding. What must not: HTTP, S3 header
//! names. Invariant: one value has exactly one encoding; whatever decodes encodes to the same bytes
//! up to padding.

use crate::bytes_io::Cursor;
use crate::error::SealError;

/// Most user metadata pairs of one object.
pub const USER_PAIRS_MAX: usize = 1_000;
/// Longest single value in bytes.
pub const VALUE_BYTES_MAX: usize = 8_192;
/// Default padding multiple in bytes: hides the exact length of sealed metadata.
pub const PADDING_DEFAULT: u16 = 32;

/// Algorithm of a plaintext checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32 = 1,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c = 2,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme = 3,
    /// SHA-1, 20 bytes.
    Sha1 = 4,
    /// SHA-256, 32 bytes.
    Sha256 = 5,
    /// MD5, 16 bytes.
    Md5 = 6,
    /// SHA-512, 64 bytes.
    Sha512 = 7,
}

impl ChecksumAlgorithm {
    /// The algorithm with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Self::Crc32,
            Self::Crc32c,
            Self::Crc64Nvme,
            Self::Sha1,
            Self::Sha256,
            Self::Md5,
            Self::Sha512,
        ]
        .into_iter()
        .find(|algorithm| *algorithm as u8 == code)
    }

    /// Length of its value in bytes.
    pub fn value_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Md5 => 16,
            Self::Sha512 => 64,
        }
    }
}

/// A checksum of the plaintext, as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    composite: bool,
    value: Vec<u8>,
}

impl Checksum {
    /// A checksum over the whole object; `None` if `value` has not the algorithm's length.
    pub fn full(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Self> {
        (value.len() == algorithm.value_bytes()).then(|| Self {
            algorithm,
            composite: false,
            value: value.to_vec(),
        })
    }

    /// A checksum over the parts' checksums, which S3 shows with `-` and the number of parts.
    pub fn composite(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Self> {
        Self::full(algorithm, value).map(|checksum| Self {
            composite: true,
            ..checksum
        })
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Whether it covers the parts' checksums and not the bytes.
    pub fn is_composite(&self) -> bool {
        self.composite
    }

    /// Its value, raw.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// The checksum that a client announced for an upload at its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredChecksum {
    /// Its algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Whether it will cover the parts' checksums and not the bytes.
    pub composite: bool,
}

/// Everything about an object that its client may read back and the store may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Content-Type.
    pub content_type: Option<Vec<u8>>,
    /// Cache-Control.
    pub cache_control: Option<Vec<u8>>,
    /// Content-Disposition.
    pub content_disposition: Option<Vec<u8>>,
    /// Content-Encoding.
    pub content_encoding: Option<Vec<u8>>,
    /// Content-Language.
    pub content_language: Option<Vec<u8>>,
    /// Expires, as the client wrote it.
    pub expires: Option<Vec<u8>>,
    /// Website redirect location.
    pub website_redirect: Option<Vec<u8>>,
    /// User metadata in the client's order: lower-case name without prefix, and value.
    pub user: Vec<(String, Vec<u8>)>,
    /// Checksums known before the body, one per algorithm, in ascending order of algorithm.
    pub checksums: Vec<Checksum>,
    /// ETag to show instead of the store's.
    pub client_etag: Option<Vec<u8>>,
    /// Digest of the header that this one replaces.
    pub previous_digest: Option<[u8; 32]>,
    /// For uploads: the checksum announced at their creation.
    pub declared_checksum: Option<DeclaredChecksum>,
}

mod kind {
    pub(super) const PADDING: u8 = 0;
    pub(super) const CONTENT_TYPE: u8 = 1;
    pub(super) const CACHE_CONTROL: u8 = 2;
    pub(super) const CONTENT_DISPOSITION: u8 = 3;
    pub(super) const CONTENT_ENCODING: u8 = 4;
    pub(super) const CONTENT_LANGUAGE: u8 = 5;
    pub(super) const EXPIRES: u8 = 6;
    pub(super) const WEBSITE_REDIRECT: u8 = 7;
    pub(super) const USER: u8 = 8;
    pub(super) const CHECKSUM: u8 = 9;
    pub(super) const CLIENT_ETAG: u8 = 10;
    pub(super) const PREVIOUS_DIGEST: u8 = 11;
    pub(super) const DECLARED_CHECKSUM: u8 = 12;
}

impl Metadata {
    /// Encodes without padding.
    ///
    /// # Errors
    /// [`SealError::MetadataInvalid`] for a value that is too long, a name that is not lower-case
    /// printable ASCII, or checksums out of order; [`SealError::MetadataTooLarge`] for too many pairs.
    pub fn encode(&self) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        for (code, value) in [
            (kind::CONTENT_TYPE, &self.content_type),
            (kind::CACHE_CONTROL, &self.cache_control),
            (kind::CONTENT_DISPOSITION, &self.content_disposition),
            (kind::CONTENT_ENCODING, &self.content_encoding),
            (kind::CONTENT_LANGUAGE, &self.content_language),
            (kind::EXPIRES, &self.expires),
            (kind::WEBSITE_REDIRECT, &self.website_redirect),
        ] {
            if let Some(value) = value {
                put(&mut out, code, &[value])?;
            }
        }
        self.encode_user(&mut out)?;
        self.encode_checksums(&mut out)?;
        if let Some(etag) = &self.client_etag {
            put(&mut out, kind::CLIENT_ETAG, &[etag])?;
        }
        if let Some(digest) = &self.previous_digest {
            put(&mut out, kind::PREVIOUS_DIGEST, &[digest])?;
        }
        if let Some(declared) = self.declared_checksum {
            let fields = [declared.algorithm as u8, u8::from(declared.composite)];
            put(&mut out, kind::DECLARED_CHECKSUM, &[&fields])?;
        }
        Ok(out)
    }

    fn encode_user(&self, out: &mut Vec<u8>) -> Result<(), SealError> {
        if self.user.len() > USER_PAIRS_MAX {
            return Err(SealError::MetadataTooLarge);
        }
        for (name, value) in &self.user {
            if !is_user_name(name.as_bytes()) {
                return Err(SealError::MetadataInvalid);
            }
            let length = u16::try_from(name.len()).map_err(|_| SealError::MetadataInvalid)?;
            put(out, kind::USER, &[&length.to_be_bytes(), name.as_bytes(), value])?;
        }
        Ok(())
    }

    fn encode_checksums(&self, out: &mut Vec<u8>) -> Result<(), SealError> {
        let mut above = 0;
        for checksum in &self.checksums {
            let code = checksum.algorithm as u8;
            if code <= above {
                return Err(SealError::MetadataInvalid);
            }
            above = code;
            put(
                out,
                kind::CHECKSUM,
                &[&[code, u8::from(checksum.composite)], &checksum.value],
            )?;
        }
        Ok(())
    }

    /// Decodes fields followed by any number of zero bytes; `None` unless canonical.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut metadata = Self::default();
        let mut cursor = Cursor::new(bytes);
        let mut last = kind::PADDING;
        while !cursor.is_empty() {
            let code = cursor.u8()?;
            if code == kind::PADDING {
                return cursor.rest().iter().all(|byte| *byte == 0).then_some(metadata);
            }
            let repeats = code == last && (code == kind::USER || code == kind::CHECKSUM);
            if code <= last && !repeats {
                return None;
            }
            last = code;
            let length = usize::from(cursor.u16()?);
            metadata.accept(code, cursor.take(length)?)?;
        }
        Some(metadata)
    }

    fn accept(&mut self, code: u8, value: &[u8]) -> Option<()> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let text = || Some(value.to_vec());
        match code {
            kind::CONTENT_TYPE => self.content_type = text(),
            kind::CACHE_CONTROL => self.cache_control = text(),
            kind::CONTENT_DISPOSITION => self.content_disposition = text(),
            kind::CONTENT_ENCODING => self.content_encoding = text(),
            kind::CONTENT_LANGUAGE => self.content_language = text(),
            kind::EXPIRES => self.expires = text(),
            kind::WEBSITE_REDIRECT => self.website_redirect = text(),
            kind::USER => self.accept_user(value)?,
            kind::CHECKSUM => self.accept_checksum(value)?,
            kind::CLIENT_ETAG => self.client_etag = text(),
            kind::PREVIOUS_DIGEST => self.previous_digest = Some(value.try_into().ok()?),
            kind::DECLARED_CHECKSUM => {
                let [algorithm, composite @ (0 | 1)] = value else {
                    return None;
                };
                let algorithm = ChecksumAlgorithm::from_code(*algorithm)?;
                self.declared_checksum = Some(DeclaredChecksum {
                    algorithm,
                    composite: *composite == 1,
                });
            }
            _ => return None,
        }
        Some(())
    }

    fn accept_user(&mut self, value: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(value);
        let length = usize::from(cursor.u16()?);
        let name = cursor.take(length).filter(|name| is_user_name(name))?;
        if self.user.len() >= USER_PAIRS_MAX {
            return None;
        }
        self.user
            .push((String::from_utf8(name.to_vec()).ok()?, cursor.rest().to_vec()));
        Some(())
    }

    fn accept_checksum(&mut self, value: &[u8]) -> Option<()> {
        let [algorithm, composite @ (0 | 1), value @ ..] = value else {
            return None;
        };
        let algorithm = ChecksumAlgorithm::from_code(*algorithm)?;
        if self
            .checksums
            .last()
            .is_some_and(|last| last.algorithm >= algorithm)
        {
            return None;
        }
        let checksum = Checksum::full(algorithm, value)?;
        self.checksums.push(Checksum {
            composite: *composite == 1,
            ..checksum
        });
        Some(())
    }
}

/// Extends `encoded` with zeros to a multiple of `multiple`, but not beyond `limit` bytes: padding
/// never makes metadata too large that would fit without it.
pub(crate) fn pad(encoded: &mut Vec<u8>, multiple: u16, limit: usize) {
    let multiple = usize::from(multiple.max(1));
    let padded = encoded
        .len()
        .checked_next_multiple_of(multiple)
        .unwrap_or(encoded.len())
        .min(limit);
    if padded > encoded.len() {
        encoded.resize(padded, 0);
    }
}

fn is_user_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
}

fn put(out: &mut Vec<u8>, code: u8, pieces: &[&[u8]]) -> Result<(), SealError> {
    let length = pieces
        .iter()
        .fold(0usize, |sum, piece| sum.saturating_add(piece.len()));
    if length > VALUE_BYTES_MAX {
        return Err(SealError::MetadataTooLarge);
    }
    let length = u16::try_from(length).map_err(|_| SealError::MetadataTooLarge)?;
    out.push(code);
    out.extend_from_slice(&length.to_be_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60))
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let texts = proptest::array::uniform8(value());
        let user = proptest::collection::vec(
            (
                "[a-z0-9_.!#-]{1,30}",
                proptest::collection::vec(any::<u8>(), 0..60),
            ),
            0..20,
        );
        let checksums = proptest::collection::btree_map(1u8..=7, (any::<bool>(), any::<u8>()), 0..4);
        let rest = (
            proptest::option::of(any::<[u8; 32]>()),
            proptest::option::of((1u8..=7, any::<bool>())),
        );
        (texts, user, checksums, rest).prop_map(|(texts, user, checksums, (previous, declared))| {
            let [a, b, c, d, e, f, g, h] = texts;
            let checksums = checksums.into_iter().map(|(code, (composite, fill))| {
                let algorithm = ChecksumAlgorithm::from_code(code).unwrap();
                let value = vec![fill; algorithm.value_bytes()];
                Checksum {
                    algorithm,
                    composite,
                    value,
                }
            });
            Metadata {
                content_type: a,
                cache_control: b,
                content_disposition: c,
                content_encoding: d,
                content_language: e,
                expires: f,
                website_redirect: g,
                user,
                checksums: checksums.collect(),
                client_etag: h,
                previous_digest: previous,
                declared_checksum: declared.map(|(code, composite)| DeclaredChecksum {
                    algorithm: ChecksumAlgorithm::from_code(code).unwrap(),
                    composite,
                }),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_with_any_padding(metadata in any_metadata(), multiple in 0u16..300) {
            let mut bytes = metadata.encode().unwrap();
            pad(&mut bytes, multiple, 1 << 16);
            prop_assert_eq!(Metadata::decode(&bytes), Some(metadata));
        }

        #[test]
        fn whatever_decodes_is_canonical(bytes in proptest::collection::vec(0u8..14, 0..40)) {
            if let Some(metadata) = Metadata::decode(&bytes) {
                let encoded = metadata.encode().unwrap();
                prop_assert!(bytes.starts_with(&encoded));
                prop_assert!(bytes[encoded.len()..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn disorder_duplicates_and_strangers_are_refused() {
        for bad in [
            &[2, 0, 0, 1, 0, 0][..],
            &[1, 0, 0, 1, 0, 0],
            &[13, 0, 0],
            &[1, 0, 5, 1],
            &[1, 0],
            &[0, 0, 1],
            &[8, 0, 3, 0, 1, b'A'],
            &[8, 0, 2, 0, 0],
            &[9, 0, 6, 1, 2, 0, 0, 0, 0],
            &[9, 0, 5, 1, 0, 0, 0, 0],
            &[9, 0, 6, 1, 0, 0, 0, 0, 0, 9, 0, 6, 1, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Metadata::decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn padding_stops_at_the_limit() {
        let mut bytes = vec![1; 40];
        pad(&mut bytes, 32, 50);
        assert_eq!(bytes.len(), 50);
        pad(&mut bytes, 32, 40);
        assert_eq!(bytes.len(), 50);
    }
}
