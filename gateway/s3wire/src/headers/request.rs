//! Request headers.
//!
//! What lives here: one row per header name the S3 interface knows. What must not: values.
//! Invariant: an `x-amz-` header without a row is refused, because it may ask for something that
//! would be left undone, or carry something that would be stored in clear.

use http::HeaderMap;
use http::header::HeaderName;

use crate::error::ErrorCode;

/// Start of the metadata names that belong to the gateway, after `x-amz-meta-`.
pub const RESERVED_METADATA_PREFIX: &str = "sceau";

/// Start of user metadata names.
pub(super) const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// What happens to a request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestTreatment {
    /// Read by the gateway (signature, framing, checksums) and regenerated where the store needs it.
    Consumed,
    /// Goes into the object's sealed metadata; the store never sees it.
    SealedMetadata,
    /// Translated: ranges, conditions, copy sources.
    Mapped,
    /// Sent to the store as it came.
    Forwarded,
    /// Means nothing to the store.
    Dropped,
    /// The request is refused with this code.
    Refused(ErrorCode),
}

/// One row: a name, and what happens to it.
pub type HeaderRow = (&'static str, RequestTreatment);

use RequestTreatment::{Consumed, Dropped, Forwarded, Mapped, Refused};

const NOT_IMPLEMENTED: RequestTreatment = Refused(ErrorCode::NotImplemented);

/// Names that are matched whole.
const EXACT: &[HeaderRow] = &[
    // Signature and framing.
    ("authorization", Consumed),
    ("date", Consumed),
    ("host", Consumed),
    ("content-length", Consumed),
    ("content-md5", Consumed),
    ("expect", Consumed),
    ("transfer-encoding", Consumed),
    ("trailer", Consumed),
    ("x-amz-date", Consumed),
    ("x-amz-security-token", Consumed),
    ("x-amz-content-sha256", Consumed),
    ("x-amz-decoded-content-length", Consumed),
    ("x-amz-trailer", Consumed),
    ("x-amz-sdk-checksum-algorithm", Consumed),
    // The store would answer with a checksum of the ciphertext, and the SDK would fail it.
    ("x-amz-checksum-mode", Dropped),
    // The store would append an MD5 of the ciphertext to the body.
    ("x-amz-te", Dropped),
    // Sealed metadata.
    ("content-type", RequestTreatment::SealedMetadata),
    ("cache-control", RequestTreatment::SealedMetadata),
    ("content-disposition", RequestTreatment::SealedMetadata),
    ("content-encoding", RequestTreatment::SealedMetadata),
    ("content-language", RequestTreatment::SealedMetadata),
    ("expires", RequestTreatment::SealedMetadata),
    (
        "x-amz-website-redirect-location",
        RequestTreatment::SealedMetadata,
    ),
    // Translated.
    ("range", Mapped),
    ("if-match", Mapped),
    ("if-none-match", Mapped),
    ("if-modified-since", Mapped),
    ("if-unmodified-since", Mapped),
    ("x-amz-copy-source", Mapped),
    ("x-amz-copy-source-range", Mapped),
    ("x-amz-copy-source-if-match", Mapped),
    ("x-amz-copy-source-if-none-match", Mapped),
    ("x-amz-copy-source-if-modified-since", Mapped),
    ("x-amz-copy-source-if-unmodified-since", Mapped),
    ("x-amz-metadata-directive", Mapped),
    ("x-amz-mp-object-size", Mapped),
    // Sealed into tags of the store, unless the bucket's policy has them in clear.
    ("x-amz-tagging", Mapped),
    ("x-amz-tagging-directive", Mapped),
    ("x-amz-object-attributes", Consumed),
    ("x-amz-max-parts", Consumed),
    ("x-amz-part-number-marker", Consumed),
    // Sent on.
    ("x-amz-acl", Forwarded),
    ("x-amz-grant-full-control", Forwarded),
    ("x-amz-grant-read", Forwarded),
    ("x-amz-grant-read-acp", Forwarded),
    ("x-amz-grant-write", Forwarded),
    ("x-amz-grant-write-acp", Forwarded),
    ("x-amz-storage-class", Forwarded),
    ("x-amz-bucket-object-lock-enabled", Forwarded),
    ("x-amz-bypass-governance-retention", Forwarded),
    ("x-amz-mfa", Forwarded),
    ("x-amz-bucket-object-lock-token", Forwarded),
    ("x-amz-confirm-remove-self-bucket-access", Forwarded),
    ("x-amz-skip-destination-validation", Forwarded),
    ("x-amz-transition-default-minimum-object-size", Forwarded),
    ("x-amz-object-ownership", Forwarded),
    ("x-amz-request-payer", Forwarded),
    ("x-amz-expected-bucket-owner", Forwarded),
    ("x-amz-source-expected-bucket-owner", Forwarded),
    ("x-amz-optional-object-attributes", Forwarded),
    // By the bucket's settings: sealed, sent on or refused.
    ("x-amz-server-side-encryption", Mapped),
    ("x-amz-server-side-encryption-aws-kms-key-id", Mapped),
    ("x-amz-server-side-encryption-bucket-key-enabled", Mapped),
    ("x-amz-server-side-encryption-context", Mapped),
    // Keys of customers: read, never sent on.
    ("x-amz-server-side-encryption-customer-algorithm", Consumed),
    ("x-amz-server-side-encryption-customer-key", Consumed),
    ("x-amz-server-side-encryption-customer-key-md5", Consumed),
    (
        "x-amz-copy-source-server-side-encryption-customer-algorithm",
        Consumed,
    ),
    ("x-amz-copy-source-server-side-encryption-customer-key", Consumed),
    (
        "x-amz-copy-source-server-side-encryption-customer-key-md5",
        Consumed,
    ),
    // Hints of SDKs about themselves.
    ("x-amz-user-agent", Dropped),
    ("x-amz-api-version", Dropped),
    // Would reach the store in clear.
    ("x-amz-object-annotation-directive", NOT_IMPLEMENTED),
    // Conditions on stored sizes and times, and appends: not offered.
    ("x-amz-if-match-size", NOT_IMPLEMENTED),
    ("x-amz-if-match-last-modified-time", NOT_IMPLEMENTED),
    ("x-amz-if-match-initiated-time", NOT_IMPLEMENTED),
    ("x-amz-write-offset-bytes", NOT_IMPLEMENTED),
    ("x-http-method-override", NOT_IMPLEMENTED),
];

/// Beginnings, tried in order when no whole name matches.
const PREFIXES: &[HeaderRow] = &[
    (USER_METADATA_PREFIX, RequestTreatment::SealedMetadata),
    ("x-amz-checksum-", Consumed),
    ("x-amz-object-lock-", Forwarded),
    ("x-amzn-", Dropped),
    ("x-amz-", NOT_IMPLEMENTED),
    ("x-minio-", NOT_IMPLEMENTED),
    ("x-rgw-", NOT_IMPLEMENTED),
    ("x-goog-", NOT_IMPLEMENTED),
    ("x-ms-", NOT_IMPLEMENTED),
];

/// What happens to the request header of this name; names are lower case.
#[must_use]
pub fn request_treatment(name: &str) -> RequestTreatment {
    if is_reserved(name) {
        return Refused(ErrorCode::InvalidArgument);
    }
    let exact = EXACT.iter().find(|(known, _)| *known == name);
    let row = exact.or_else(|| PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)));
    // Anything else concerns the connection, a proxy or the client itself.
    row.map_or(Dropped, |(_, treatment)| *treatment)
}

/// A header that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// The code to answer with.
    pub code: ErrorCode,
    /// The header's name.
    pub name: HeaderName,
}

/// Refuses a request that has a header the gateway does not carry out.
///
/// # Errors
///
/// The first refused header.
pub fn check_request(headers: &HeaderMap) -> Result<(), HeaderError> {
    for name in headers.keys() {
        match request_treatment(name.as_str()) {
            Refused(code) => {
                return Err(HeaderError {
                    code,
                    name: name.clone(),
                });
            }
            Consumed | RequestTreatment::SealedMetadata | Mapped | Forwarded | Dropped => {}
        }
    }
    Ok(())
}

/// The headers that go to the store as they came, repeated ones included.
#[must_use]
pub fn forwarded_headers(client: &HeaderMap) -> HeaderMap {
    let is_forwarded = |name: &HeaderName| request_treatment(name.as_str()) == Forwarded;
    client
        .iter()
        .filter(|(name, _)| is_forwarded(name))
        .fold(HeaderMap::new(), |mut kept, (name, value)| {
            kept.append(name.clone(), value.clone());
            kept
        })
}

fn is_reserved(name: &str) -> bool {
    name.strip_prefix(USER_METADATA_PREFIX)
        .is_some_and(|own| own.starts_with(RESERVED_METADATA_PREFIX))
}
