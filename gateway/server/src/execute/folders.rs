//! Objects whose names end in a slash, which many programs write to mark a folder.
//!
//! What lives here: whether such a name can be written, and, where the operator said that the store keeps
//! nothing under such names (`store.folder_markers = "plain"`), empty objects that are not sealed. What must
//! not: objects of any other name. Invariants: no write under such a name is acknowledged that cannot be
//! read; nothing is served without a seal but the absence of bytes, under such a name, with that setting.
//!
//! Attack considered: a store that puts an empty object in the place of a sealed one. With `plain` it is
//! believed for names that end in a slash, as 404 is believed for all names, and so nothing else may be
//! written there: what is sealed under such a name was so before the setting. Of such an answer nothing is passed
//! on that a sealed object's seal would vouch for: type and metadata of the store are not shown.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::{headers, range};

use crate::app::Gateway;
use crate::auth::Upload;
use crate::error::{GatewayError, Result};
use crate::execute::etag_to_client;
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{send, success};
use crate::execute::stored_object::{self, HEADER_METADATA, ObjectQuery};
use crate::plan::request::{PutPlan, ReadPlan};
use crate::respond::Answer;
use crate::upstream::{FolderMarkers, StoreRequest};

/// The type of every marker, at the store and for clients: the one that programs for folders use.
const MARKER_TYPE: HeaderValue = HeaderValue::from_static("application/x-directory");

/// How a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// As a sealed object.
    Sealed,
    /// As a marker: empty, and not sealed.
    Marker,
}

/// An empty object without a seal, under a name that ends in a slash.
pub struct Marker {
    /// The store's response headers.
    pub store_headers: HeaderMap,
}

fn is_folder(key: &str) -> bool {
    key.ends_with('/')
}

fn are_plain(gateway: &Gateway) -> bool {
    gateway.store.capabilities().folder_markers == FolderMarkers::Plain
}

/// How this name is to be written. Asked before anything of the object is sent: SeaweedFS stores content
/// under `a/` as `a/a`, in the place of another object.
///
/// # Errors
///
/// `NotImplemented` where a sealed object would not be kept.
pub async fn writing(gateway: &Gateway, key: &str) -> Result<Writing> {
    if !is_folder(key) {
        return Ok(Writing::Sealed);
    }
    check_root(gateway, key).await?;
    if are_plain(gateway) {
        return Ok(Writing::Marker);
    }
    if gateway.keeps_folder_objects().await? {
        return Ok(Writing::Sealed);
    }
    Err(GatewayError::client(
        ErrorCode::NotImplemented,
        "The store behind this gateway does not keep objects whose names end in a slash. Its operator can set \
         store.folder_markers = \"plain\", for empty ones.",
    ))
}

/// Refuses a name of slashes only where the store makes folders of such names: there it is the bucket
/// itself, and SeaweedFS takes its deletion for DeleteBucket, which `delete` in the policy does not allow.
///
/// # Errors
///
/// `NotImplemented`.
pub async fn check_root(gateway: &Gateway, key: &str) -> Result<()> {
    let is_root = key.bytes().all(|byte| byte == b'/');
    if is_root && (are_plain(gateway) || !gateway.keeps_folder_objects().await?) {
        return Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "The store behind this gateway has no objects whose names are slashes only.",
        ));
    }
    Ok(())
}

/// The refusal of what a marker cannot be.
pub fn refused() -> GatewayError {
    GatewayError::client(
        ErrorCode::NotImplemented,
        "Under names that end in a slash only empty objects can be written here, without tags, by PutObject \
         or as copies of such objects: the store behind this gateway keeps nothing else there.",
    )
}

/// PutObject of a marker. User metadata and content headers are dropped, as such stores do themselves.
pub async fn put(gateway: &Gateway, bucket: &SealedBucket, plan: PutPlan, upload: Upload) -> Result<Answer> {
    if upload.plain_len() != 0 || !plan.tags.pairs().is_empty() {
        return Err(refused());
    }
    // The signature and the checksums of nothing must hold too.
    upload.collect(gateway, 0).await?;
    write(gateway, bucket, &plan.name.key, plan.store_headers).await
}

/// Writes a marker.
pub async fn write(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    store_headers: HeaderMap,
) -> Result<Answer> {
    let mut request = StoreRequest::new(Method::PUT).bucket(bucket.name()).key(key);
    request.headers = store_headers;
    request.headers.insert(header::CONTENT_TYPE, MARKER_TYPE);
    let (store, _) = success(send(gateway, request).await?).await?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(&store);
    if let Some(etag) = store.get(header::ETAG).and_then(etag_to_client) {
        answer.headers.insert(header::ETAG, etag);
    }
    Ok(answer)
}

/// Looks for a marker; `None` where the object is to be read like any other, whatever is there.
pub async fn find(gateway: &Gateway, query: &ObjectQuery<'_>) -> Result<Option<Marker>> {
    if !is_folder(query.key) || !are_plain(gateway) {
        return Ok(None);
    }
    let mut request = StoreRequest::new(Method::HEAD)
        .bucket(query.bucket.name())
        .key(query.key);
    if let Some(version) = query.version {
        request = request.query("versionId", version);
    }
    request.headers = query.conditions.clone();
    let response = send(gateway, request).await?;
    if response.head.status != StatusCode::OK || !is_marker(&response.head.headers) {
        return Ok(None);
    }
    let store_headers = response.head.headers;
    stored_object::check_version(query, &store_headers)?;
    Ok(Some(Marker { store_headers }))
}

/// Whether these are the headers of an empty object without a seal.
fn is_marker(store: &HeaderMap) -> bool {
    let mut lengths = store.get_all(header::CONTENT_LENGTH).iter();
    let is_empty = lengths.next().is_some_and(|length| length.as_bytes() == b"0");
    is_empty && lengths.next().is_none() && !store.contains_key(HEADER_METADATA)
}

/// The answer to GetObject and HeadObject.
pub fn answer(marker: &Marker, plan: &ReadPlan) -> Result<Answer> {
    if let Some(number) = plan.part.filter(|number| *number != 1) {
        let mut error = GatewayError::code(ErrorCode::InvalidPartNumber);
        error.extra.push(("PartNumberRequested", number.to_string()));
        error.extra.push(("ActualPartCount", "1".to_owned()));
        return Err(error);
    }
    range::resolve(plan.range, 0).map_err(|_| stored_object::unsatisfiable(0))?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(&marker.store_headers);
    let told = [
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
        (header::CONTENT_TYPE, MARKER_TYPE),
    ];
    answer.headers.extend(told);
    if let Some(etag) = marker.store_headers.get(header::ETAG).and_then(etag_to_client) {
        answer.headers.insert(header::ETAG, etag);
    }
    for (name, value) in &plan.overrides {
        answer.headers.insert(name.clone(), value.clone());
    }
    Ok(answer)
}

/// Whether a listed entry that no sealed object can be is expected: one of these.
pub fn is_expected(gateway: &Gateway, listed_key: &str) -> bool {
    are_plain(gateway) && (is_folder(listed_key) || listed_key.ends_with("%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn store(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = headers.iter().cloned();
        pairs.fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, HeaderValue::from_static(value));
            map
        })
    }

    #[test]
    fn only_an_empty_object_without_a_seal_is_a_marker() {
        let length = || (header::CONTENT_LENGTH, "0");
        let seal = HeaderName::from_static(HEADER_METADATA);
        assert!(is_marker(&store(&[length()])));
        assert!(is_marker(&store(&[
            length(),
            (header::CONTENT_TYPE, "text/html")
        ])));
        for other in [
            store(&[]),
            store(&[(header::CONTENT_LENGTH, "1")]),
            store(&[(header::CONTENT_LENGTH, "00")]),
            store(&[length(), length()]),
            store(&[length(), (seal.clone(), "")]),
            store(&[length(), (seal, "abc")]),
        ] {
            assert!(!is_marker(&other), "{other:?}");
        }
    }
}
