//! What a request without credentials may be at all, before the policy is asked.
//!
//! What lives here: the operations, parameters and headers that an anonymous request can have. What must
//! not: rules. Invariant: an operation that is not named here is refused to the anonymous, whatever a
//! policy says.
//!
//! Attacks considered. The store is called with the gateway's own identity, so a header that is passed on
//! (`x-amz-acl`, `x-amz-grant-*`, `x-amz-object-lock-*`, a storage class) would be obeyed as the
//! gateway's wish: none is taken from somebody unknown. A part, an upload id or a list of uploads would let
//! a stranger meddle with a named principal's upload. A version may be one that was replaced because it
//! should not have been public. A copy's source is asked for as `anonymous` by `authorize`.

use http::HeaderMap;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers::{RequestTreatment, request_treatment};
use sceau_s3wire::op::Operation;

use crate::auth::RawRequest;
use crate::error::{GatewayError, Result};

/// Headers that are passed on and can only make a request fail.
const HARMLESS: [&str; 2] = [
    "x-amz-expected-bucket-owner",
    "x-amz-source-expected-bucket-owner",
];

/// A request that tries to authenticate and fails is never anonymous.
pub fn check_head(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key("x-amz-security-token") {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "A security token needs a signature.",
        ));
    }
    Ok(())
}

/// Refuses what nobody may do without credentials.
pub fn check(request: &RawRequest, operation: Operation) -> Result<()> {
    if !is_open(operation) {
        return Err(GatewayError::code(ErrorCode::AccessDenied));
    }
    let query = request.target.query();
    if query
        .pairs()
        .iter()
        .any(|pair| pair.name.starts_with("response-"))
    {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    if query.contains("versionId") {
        return Err(GatewayError::code(ErrorCode::AccessDenied));
    }
    // Tags can decide at the store how long an object lives.
    // Encryption headers are sent on where the bucket's settings say so.
    let is_passed_on = |name: &str| match request_treatment(name) {
        _ if name.starts_with("x-amz-tagging") => true,
        RequestTreatment::Forwarded => true,
        RequestTreatment::Mapped => name.starts_with("x-amz-server-side-encryption"),
        RequestTreatment::Consumed
        | RequestTreatment::SealedMetadata
        | RequestTreatment::Dropped
        | RequestTreatment::Refused(_) => false,
    };
    let mut names = request.headers.keys().map(http::HeaderName::as_str);
    match names.find(|name| is_passed_on(name) && !HARMLESS.contains(name)) {
        Some(name) => Err(GatewayError::client(
            ErrorCode::AccessDenied,
            format!("Anonymous users cannot send the header {name}. Please authenticate."),
        )),
        None => Ok(()),
    }
}

fn is_open(operation: Operation) -> bool {
    match operation {
        Operation::GetObject
        | Operation::HeadObject
        | Operation::GetObjectAttributes
        | Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::HeadBucket
        | Operation::GetBucketLocation
        | Operation::PutObject
        | Operation::PostObject
        | Operation::CopyObject => true,
        Operation::ListBuckets
        | Operation::CreateBucket
        | Operation::DeleteBucket
        | Operation::ListObjectVersions
        | Operation::ListMultipartUploads
        | Operation::DeleteObjects
        | Operation::DeleteObject
        | Operation::GetObjectTagging
        | Operation::PutObjectTagging
        | Operation::DeleteObjectTagging
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload
        | Operation::AbortMultipartUpload
        | Operation::ListParts
        | Operation::Document(_) => false,
    }
}
