//! Metadata between its three forms: request headers, the sealed header, response headers.
//!
//! What lives here: the conversions. What must not: limits of the store. Invariant: what a client set
//! comes back under the same name with the same bytes, and nothing else does: what the gateway seals among the
//! user metadata has names that clients cannot use, and is not shown.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sceau_envelope::metadata::DeclaredChecksum;
use sceau_envelope::{Checksum, ChecksumAlgorithm, Metadata};
use sceau_s3wire::checksum::{Algorithm, ChecksumType, Composite, HeaderMeaning, Value};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers::{RESERVED_METADATA_PREFIX, SealedMetadata};

use crate::error::{GatewayError, Result};

/// Start of the reserved names that keep checksums for which the format has no code; the algorithm's own
/// name follows, in lower case. The value is the digest.
const KEPT_CHECKSUM: &str = "sceau-checksum-";

/// Reserved name that remembers an announced algorithm for which the format has no code; composite.
const ANNOUNCED: &str = "sceau-announced";

/// What S3 calls the type of an object that has none.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The form that is sealed.
pub fn to_sealed(client: SealedMetadata) -> Metadata {
    Metadata {
        content_type: client.content_type,
        cache_control: client.cache_control,
        content_disposition: client.content_disposition,
        content_encoding: client.content_encoding,
        content_language: client.content_language,
        expires: client.expires,
        website_redirect: client.website_redirect,
        user: client.user,
        ..Metadata::default()
    }
}

/// The headers a read shows.
pub fn to_headers(metadata: &Metadata, headers: &mut HeaderMap) {
    let client = SealedMetadata {
        content_type: metadata.content_type.clone(),
        cache_control: metadata.cache_control.clone(),
        content_disposition: metadata.content_disposition.clone(),
        content_encoding: metadata.content_encoding.clone(),
        content_language: metadata.content_language.clone(),
        expires: metadata.expires.clone(),
        website_redirect: metadata.website_redirect.clone(),
        user: metadata
            .user
            .iter()
            .filter(|(name, _)| !name.starts_with(RESERVED_METADATA_PREFIX))
            .cloned()
            .collect(),
    };
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(DEFAULT_CONTENT_TYPE),
    );
    for (name, value) in client.response_headers() {
        // Both came out of a header when they were sealed; what cannot be one again is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    }
}

/// A checksum of a whole object, as the front shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WholeChecksum {
    /// Of the object's bytes.
    Full(Value),
    /// Of its parts' checksums.
    Composite(Composite),
}

impl WholeChecksum {
    /// The value; of a composite one without the number of parts.
    pub fn value(&self) -> Value {
        match self {
            Self::Full(value) => *value,
            Self::Composite(composite) => composite.value,
        }
    }

    /// What it covers.
    pub fn kind(&self) -> ChecksumType {
        match self {
            Self::Full(_) => ChecksumType::FullObject,
            Self::Composite(_) => ChecksumType::Composite,
        }
    }

    /// The value as headers carry it, with `-` and the number of parts where it is composite.
    pub fn text(&self) -> String {
        match self {
            Self::Full(value) => value.to_base64(),
            Self::Composite(composite) => composite.to_string(),
        }
    }

    /// The form that a manifest keeps; none for an algorithm without a code in the format.
    pub fn to_sealed(&self) -> Option<Checksum> {
        let algorithm = sealed_algorithm(self.value().algorithm())?;
        match self {
            Self::Full(value) => Checksum::full(algorithm, value.bytes()),
            Self::Composite(composite) => Checksum::composite(algorithm, composite.value.bytes()),
        }
    }

    /// A kept checksum; `parts` is the number of the object's parts.
    pub fn from_sealed(checksum: &Checksum, parts: usize) -> Option<Self> {
        let value = Value::from_bytes(wire_algorithm(checksum.algorithm()), checksum.value())?;
        Some(if checksum.is_composite() {
            Self::Composite(Composite { value, parts })
        } else {
            Self::Full(value)
        })
    }

    /// Puts it into the headers of an answer.
    pub fn insert(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.text()) {
            headers.insert(self.value().algorithm().header_name(), value);
            headers.insert(
                "x-amz-checksum-type",
                HeaderValue::from_static(self.kind().name()),
            );
        }
    }
}

/// Keeps a checksum that is known before the body: it commits only if the body agrees.
pub fn keep_checksum(value: &Value, metadata: &mut Metadata) {
    match WholeChecksum::Full(*value).to_sealed() {
        Some(checksum) => metadata.checksums.push(checksum),
        None => metadata
            .user
            .push((kept_name(value.algorithm()), value.bytes().to_vec())),
    }
}

/// The checksum that an object's header keeps.
pub fn kept_checksum(metadata: &Metadata) -> Option<WholeChecksum> {
    // A composite one is in the manifest, beside the parts that it counts.
    let mut coded = metadata
        .checksums
        .iter()
        .filter(|checksum| !checksum.is_composite());
    coded
        .next()
        .and_then(|checksum| WholeChecksum::from_sealed(checksum, 0))
        .or_else(|| uncoded_checksum(metadata).map(WholeChecksum::Full))
}

fn uncoded_checksum(metadata: &Metadata) -> Option<Value> {
    // Most objects have none, and this is asked for each that is read.
    let is_kept = |(own, _): &(String, Vec<u8>)| own.starts_with(KEPT_CHECKSUM);
    if !metadata.user.iter().any(is_kept) {
        return None;
    }
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let name = kept_name(algorithm);
        let kept = metadata.user.iter().find(|(own, _)| *own == name)?;
        Value::from_bytes(algorithm, &kept.1)
    })
}

/// Takes over what `source` says of the same plaintext.
pub fn inherit_checksums(source: &Metadata, target: &mut Metadata) {
    target.checksums.clone_from(&source.checksums);
    let kept = |(name, _): &&(String, Vec<u8>)| name.starts_with(KEPT_CHECKSUM);
    target.user.extend(source.user.iter().filter(kept).cloned());
}

fn kept_name(algorithm: Algorithm) -> String {
    format!("{KEPT_CHECKSUM}{}", algorithm.name().to_ascii_lowercase())
}

/// The checksum that an upload announces at its creation.
pub fn announced(client: &HeaderMap) -> Result<Option<(Algorithm, ChecksumType)>> {
    let text = |name| {
        client
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    let Some(name) = text("x-amz-checksum-algorithm") else {
        return match text("x-amz-checksum-type") {
            None => Ok(None),
            Some(_) => Err(refused("A checksum type needs a checksum algorithm.")),
        };
    };
    let algorithm = match Algorithm::from_name(name) {
        HeaderMeaning::Value(algorithm) => algorithm,
        HeaderMeaning::Unknown | HeaderMeaning::NotAValue => {
            return Err(refused("Checksum algorithm provided is unsupported."));
        }
    };
    // What S3 takes when nothing is said.
    let usual = if algorithm == Algorithm::Crc64Nvme {
        ChecksumType::FullObject
    } else {
        ChecksumType::Composite
    };
    let kind = match text("x-amz-checksum-type") {
        None => usual,
        Some(name) => ChecksumType::from_name(name)
            .ok_or_else(|| refused("Value for x-amz-checksum-type is invalid."))?,
    };
    if !algorithm.allows(kind) {
        return Err(refused(
            "The checksum type cannot be used with the checksum algorithm.",
        ));
    }
    Ok(Some((algorithm, kind)))
}

/// Remembers what an upload announced.
pub fn remember_announced(announced: (Algorithm, ChecksumType), metadata: &mut Metadata) {
    let (algorithm, kind) = announced;
    match sealed_algorithm(algorithm) {
        Some(algorithm) => {
            let composite = kind == ChecksumType::Composite;
            metadata.declared_checksum = Some(DeclaredChecksum { algorithm, composite });
        }
        None => {
            let name = algorithm.name().as_bytes().to_vec();
            metadata.user.push((ANNOUNCED.to_owned(), name));
        }
    }
}

/// What an upload with this metadata announced.
pub fn remembered(metadata: &Metadata) -> Option<(Algorithm, ChecksumType)> {
    if let Some(declared) = metadata.declared_checksum {
        let kind = if declared.composite {
            ChecksumType::Composite
        } else {
            ChecksumType::FullObject
        };
        return Some((wire_algorithm(declared.algorithm), kind));
    }
    let (_, name) = metadata.user.iter().find(|(name, _)| name == ANNOUNCED)?;
    match Algorithm::from_name(std::str::from_utf8(name).ok()?) {
        HeaderMeaning::Value(algorithm) => Some((algorithm, ChecksumType::Composite)),
        HeaderMeaning::NotAValue | HeaderMeaning::Unknown => None,
    }
}

fn refused(message: &'static str) -> GatewayError {
    GatewayError::client(ErrorCode::InvalidRequest, message)
}

/// The format's code of an algorithm, where it has one (docs/format/, section 5.3).
fn sealed_algorithm(algorithm: Algorithm) -> Option<ChecksumAlgorithm> {
    match algorithm {
        Algorithm::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Algorithm::Crc32c => Some(ChecksumAlgorithm::Crc32c),
        Algorithm::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Algorithm::Sha1 => Some(ChecksumAlgorithm::Sha1),
        Algorithm::Sha256 => Some(ChecksumAlgorithm::Sha256),
        Algorithm::Sha512 => Some(ChecksumAlgorithm::Sha512),
        Algorithm::Md5 => Some(ChecksumAlgorithm::Md5),
        Algorithm::XxHash64 | Algorithm::XxHash3 | Algorithm::XxHash128 => None,
    }
}

fn wire_algorithm(algorithm: ChecksumAlgorithm) -> Algorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
        ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
        ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
        ChecksumAlgorithm::Md5 => Algorithm::Md5,
        ChecksumAlgorithm::Sha512 => Algorithm::Sha512,
    }
}

#[cfg(test)]
mod tests {
    use sceau_s3wire::checksum::Hasher;

    use super::*;

    #[test]
    fn every_checksum_is_kept_and_none_is_shown_as_user_metadata() {
        for algorithm in Algorithm::ALL {
            let value = Hasher::of(algorithm, b"data");
            let mut metadata = Metadata::default();
            metadata.user.push(("own".to_owned(), b"1".to_vec()));
            keep_checksum(&value, &mut metadata);
            let opened = Metadata::decode(&metadata.encode().unwrap()).unwrap();
            assert_eq!(
                kept_checksum(&opened),
                Some(WholeChecksum::Full(value)),
                "{algorithm}"
            );
            let mut copy = Metadata::default();
            inherit_checksums(&opened, &mut copy);
            assert_eq!(
                kept_checksum(&copy),
                Some(WholeChecksum::Full(value)),
                "{algorithm}"
            );
            assert!(copy.user.iter().all(|(name, _)| name != "own"));
            let mut headers = HeaderMap::new();
            to_headers(&opened, &mut headers);
            let shown: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(shown, ["content-type", "x-amz-meta-own"], "{algorithm}");
        }
    }

    #[test]
    fn a_composite_is_shown_with_the_number_of_parts() {
        let value = Hasher::of(Algorithm::Sha256, b"parts");
        let whole = WholeChecksum::Composite(Composite { value, parts: 3 });
        let sealed = whole.to_sealed().unwrap();
        assert!(sealed.is_composite());
        assert_eq!(WholeChecksum::from_sealed(&sealed, 3), Some(whole));
        let mut headers = HeaderMap::new();
        whole.insert(&mut headers);
        assert_eq!(headers["x-amz-checksum-type"], "COMPOSITE");
        assert_eq!(
            headers["x-amz-checksum-sha256"],
            format!("{}-3", value.to_base64())
        );
    }
}
