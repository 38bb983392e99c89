//! Metadata between its three forms: request headers, the sealed header, response headers.
//!
//! What lives here: the conversions. What must not: limits of the store. Invariant: what a client set
//! comes back under the same name with the same bytes, and nothing else does.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sceau_envelope::metadata::DeclaredChecksum;
use sceau_envelope::{Checksum, ChecksumAlgorithm, Metadata};
use sceau_s3wire::checksum::{Algorithm, ChecksumType, HeaderMeaning, Value};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers::SealedMetadata;

use crate::error::{GatewayError, Result};

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
        user: metadata.user.clone(),
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

/// A verified checksum in the form that is sealed.
pub fn seal_checksum(value: &Value) -> Option<Checksum> {
    Checksum::full(sealed_algorithm(value.algorithm()), value.bytes())
}

/// A sealed checksum of the whole as the front shows it; none for a composite one and for algorithms
/// that only the format knows.
pub fn wire_checksum(checksum: &Checksum) -> Option<Value> {
    let algorithm = wire_algorithm(checksum.algorithm()).filter(|_| !checksum.is_composite())?;
    Value::from_bytes(algorithm, checksum.value())
}

/// The checksum that an upload announces at its creation.
pub fn declared_checksum(client: &HeaderMap) -> Result<Option<DeclaredChecksum>> {
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
        HeaderMeaning::Unsupported(name) => {
            return Err(GatewayError::client(
                ErrorCode::NotImplemented,
                format!("The checksum algorithm {name} is not supported."),
            ));
        }
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
    Ok(Some(DeclaredChecksum {
        algorithm: sealed_algorithm(algorithm),
        composite: kind == ChecksumType::Composite,
    }))
}

fn refused(message: &'static str) -> GatewayError {
    GatewayError::client(ErrorCode::InvalidRequest, message)
}

/// The headers of a stored whole-object checksum.
pub fn checksum_headers(checksum: &Checksum, headers: &mut HeaderMap) {
    let Some(value) = wire_checksum(checksum) else {
        return;
    };
    if let (Ok(name), Ok(value)) = (
        HeaderName::try_from(value.algorithm().header_name()),
        HeaderValue::try_from(value.to_base64()),
    ) {
        headers.insert(name, value);
        headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
    }
}

fn sealed_algorithm(algorithm: Algorithm) -> ChecksumAlgorithm {
    match algorithm {
        Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

/// The front's name of an algorithm; none for those that only the format knows.
fn wire_algorithm(algorithm: ChecksumAlgorithm) -> Option<Algorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(Algorithm::Crc32),
        ChecksumAlgorithm::Crc32c => Some(Algorithm::Crc32c),
        ChecksumAlgorithm::Crc64Nvme => Some(Algorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 => Some(Algorithm::Sha1),
        ChecksumAlgorithm::Sha256 => Some(Algorithm::Sha256),
        ChecksumAlgorithm::Md5 | ChecksumAlgorithm::Sha512 => None,
    }
}
