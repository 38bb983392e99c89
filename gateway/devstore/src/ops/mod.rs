//! The operations: one request in, one answer out.
//!
//! What lives here: the table that names the operation of a request. What must not: signatures,
//! framing. Invariant: a request that the table does not name is 501.

mod bucket;
mod copy;
mod delete;
mod list;
mod read;
mod tagging;
mod upload;
mod write;

use std::sync::Arc;

use http::Method;
use sceau_s3wire::error::ErrorCode;

use crate::record::{Attributes, Object};
use crate::request::{Head, RequestBody};
use crate::response::Answer;
use crate::state::State;

/// Query parameters that select an operation; each is allowed only where the table names it.
const SELECTORS: &[&str] = &[
    "acl",
    "accelerate",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Answers one request whose signature was checked.
pub(crate) async fn answer(state: &Arc<State>, head: Head, body: RequestBody) -> Result<Answer, ErrorCode> {
    let selector = SELECTORS.iter().copied().find(|name| head.query.contains(name));
    let upload = head.query.contains("uploadId");
    let copies = head.headers.contains_key("x-amz-copy-source");
    match (&head.method, head.bucket.is_empty(), head.key.is_empty()) {
        (&Method::GET, true, _) => bucket::list(state),
        (method, false, true) => match (method, selector) {
            (&Method::PUT, None) => bucket::create(state, &head).await,
            (&Method::HEAD, None) => bucket::head(state, &head),
            (&Method::DELETE, None) => bucket::delete(state, &head).await,
            (&Method::GET, Some("location")) => bucket::location(state, &head),
            (&Method::GET, Some("versioning")) => bucket::versioning(state, &head),
            (&Method::GET, Some("uploads")) => upload::list(state, &head),
            (&Method::GET, None) => list::objects(state, &head),
            (&Method::POST, Some("delete")) => delete::many(state, &head, body).await,
            _ => Err(ErrorCode::NotImplemented),
        },
        (method, false, false) => match (method, selector, upload) {
            (&Method::GET | &Method::HEAD, None, false) => read::object(state, &head),
            (&Method::GET, None, true) => upload::parts(state, &head),
            (&Method::GET, Some("tagging"), false) => tagging::get(state, &head),
            (&Method::PUT, Some("tagging"), false) if !copies => tagging::put(state, &head, body).await,
            (&Method::DELETE, Some("tagging"), false) => tagging::delete(state, &head).await,
            (&Method::PUT, None, false) if copies => copy::object(state, &head).await,
            (&Method::PUT, None, false) => write::object(state, &head, body).await,
            (&Method::PUT, None, true) if copies => copy::part(state, &head).await,
            (&Method::PUT, None, true) => upload::part(state, &head, body).await,
            (&Method::DELETE, None, false) => delete::one(state, &head).await,
            (&Method::DELETE, None, true) => upload::abort(state, &head).await,
            (&Method::POST, Some("uploads"), false) => upload::create(state, &head).await,
            (&Method::POST, None, true) => upload::complete(state, &head, body).await,
            _ => Err(ErrorCode::NotImplemented),
        },
        _ => Err(ErrorCode::NotImplemented),
    }
}

/// Headers that are kept with an object beside its user metadata.
const KEPT_HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
/// Prefix of user metadata.
const METADATA_PREFIX: &str = "x-amz-meta-";
/// Bytes of names and values of user metadata, S3's limit.
const METADATA_BYTES_MAX: usize = 2048;

/// What a request wants to be kept with its object.
fn attributes(head: &Head) -> Result<Attributes, ErrorCode> {
    let mut attributes = Attributes::default();
    let mut metadata_bytes = 0_usize;
    for (name, value) in &head.headers {
        let kept = KEPT_HEADERS.contains(&name.as_str());
        let metadata = name.as_str().strip_prefix(METADATA_PREFIX);
        if !kept && metadata.is_none() {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| ErrorCode::InvalidArgument)?;
        let Some(short) = metadata else {
            attributes
                .headers
                .insert(name.as_str().to_owned(), value.to_owned());
            continue;
        };
        metadata_bytes = metadata_bytes
            .saturating_add(short.len())
            .saturating_add(value.len());
        let together = attributes.metadata.entry(short.to_owned()).or_default();
        if !together.is_empty() {
            together.push(',');
        }
        together.push_str(value);
    }
    if metadata_bytes > METADATA_BYTES_MAX {
        return Err(ErrorCode::MetadataTooLarge);
    }
    attributes.tags = tagging::of_write(head)?;
    attributes
        .headers
        .entry("content-type".to_owned())
        .or_insert_with(|| "binary/octet-stream".to_owned());
    Ok(attributes)
}

/// The object a request names.
fn find(state: &State, bucket: &str, key: &str) -> Result<Object, ErrorCode> {
    let index = state.read();
    let bucket = index.get(bucket).ok_or(ErrorCode::NoSuchBucket)?;
    bucket.objects.get(key).cloned().ok_or(ErrorCode::NoSuchKey)
}

/// An entity tag as it stands in headers and documents.
fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// A time as it stands in documents.
fn iso8601(ms: u64) -> String {
    sceau_s3wire::amztime::format_iso8601(ms.checked_div(1000).unwrap_or_default())
}
