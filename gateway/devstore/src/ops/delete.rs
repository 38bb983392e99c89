//! DeleteObject and DeleteObjects.
//!
//! What lives here: removal by key. What must not: prefixes or patterns. Invariant: an object that
//! is not there is removed already.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::write::XmlWriter;

use crate::condition::WriteCondition;
use crate::document::deletion;
use crate::request::{Head, RequestBody};
use crate::response::{Answer, document, empty};
use crate::state::State;

/// Most keys of one request, S3's limit.
const KEYS_MAX: usize = 1000;

pub(super) async fn one(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let condition = WriteCondition::from_headers(&head.headers)?;
    let (bucket, key) = (head.bucket.clone(), head.key.clone());
    state
        .change(move |state| state.delete(&bucket, &key, &condition))
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn many(state: &Arc<State>, head: &Head, body: RequestBody) -> Result<Answer, ErrorCode> {
    let wanted = deletion(&body.document(head).await?)?;
    if wanted.objects.is_empty() || wanted.objects.len() > KEYS_MAX {
        return Err(ErrorCode::MalformedXml);
    }
    if !state.read().contains_key(&head.bucket) {
        return Err(ErrorCode::NoSuchBucket);
    }
    let mut xml = XmlWriter::document();
    xml.open_root("DeleteResult");
    for doomed in wanted.objects {
        let condition = condition(doomed.etag.as_deref())?;
        let (bucket, key) = (head.bucket.clone(), doomed.key.clone());
        let outcome = state
            .change(move |state| state.delete(&bucket, &key, &condition))
            .await;
        match outcome {
            Ok(()) if wanted.quiet => {}
            Ok(()) => {
                xml.open("Deleted");
                xml.element("Key", &doomed.key);
                xml.close("Deleted");
            }
            Err(code) => {
                xml.open("Error");
                xml.element("Key", &doomed.key);
                xml.element("Code", code.code());
                xml.element("Message", code.default_message());
                xml.close("Error");
            }
        }
    }
    xml.close("DeleteResult");
    Ok(document(xml.finish()))
}

fn condition(etag: Option<&str>) -> Result<WriteCondition, ErrorCode> {
    let mut headers = HeaderMap::new();
    if let Some(etag) = etag {
        let value = HeaderValue::from_str(etag).map_err(|_| ErrorCode::MalformedXml)?;
        headers.insert("if-match", value);
    }
    WriteCondition::from_headers(&headers)
}
