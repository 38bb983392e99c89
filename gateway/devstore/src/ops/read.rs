//! GetObject and HeadObject.
//!
//! What lives here: conditions, ranges and the headers of an object. What must not: changes.
//! Invariant: user metadata and the entity tag come with every 200 and every 206.

use std::time::{Duration, UNIX_EPOCH};

use http::{Method, StatusCode};
use sceau_s3wire::error::ErrorCode;

use super::{METADATA_PREFIX, find, quoted};
use crate::blob::{select, stream};
use crate::condition::{Span, check_read, span};
use crate::record::{Object, total_bytes};
use crate::request::Head;
use crate::response::{Answer, ResponseBody, empty, set};
use crate::state::State;

/// Query parameters that replace a header of the answer.
const OVERRIDES: &[(&str, &str)] = &[
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

pub(super) fn object(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    if head.query.contains("partNumber") {
        return Err(ErrorCode::NotImplemented);
    }
    let object = find(state, &head.bucket, &head.key)?;
    check_read(&head.headers, "", &object)?;
    let size = total_bytes(&object.pieces);
    let (status, offset, bytes) = match span(head.header("range"), size)? {
        Span::Whole => (StatusCode::OK, 0, size),
        Span::Part { offset, bytes } => (StatusCode::PARTIAL_CONTENT, offset, bytes),
    };
    let mut answer = empty(status);
    describe(&mut answer, &object)?;
    set(&mut answer, "content-length", &bytes.to_string())?;
    if status == StatusCode::PARTIAL_CONTENT {
        let last = offset.saturating_add(bytes).saturating_sub(1);
        set(
            &mut answer,
            "content-range",
            &format!("bytes {offset}-{last}/{size}"),
        )?;
    }
    for (parameter, name) in OVERRIDES {
        if let Some(value) = head.query.get(parameter) {
            set(&mut answer, name, value)?;
        }
    }
    if head.method == Method::GET && bytes > 0 {
        let steps = stream(select(&object.pieces, offset, bytes));
        *answer.body_mut() = ResponseBody::Stream { steps, left: bytes };
    }
    Ok(answer)
}

fn describe(answer: &mut Answer, object: &Object) -> Result<(), ErrorCode> {
    set(answer, "etag", &quoted(&object.etag))?;
    set(answer, "accept-ranges", "bytes")?;
    let modified = UNIX_EPOCH
        .checked_add(Duration::from_millis(object.modified_ms))
        .unwrap_or(UNIX_EPOCH);
    set(answer, "last-modified", &httpdate::fmt_http_date(modified))?;
    if !object.attributes.tags.is_empty() {
        let count = object.attributes.tags.len().to_string();
        set(answer, "x-amz-tagging-count", &count)?;
    }
    for (name, value) in &object.attributes.headers {
        set(answer, name, value)?;
    }
    for (name, value) in &object.attributes.metadata {
        set(answer, &format!("{METADATA_PREFIX}{name}"), value)?;
    }
    Ok(())
}
