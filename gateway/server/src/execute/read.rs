//! GetObject and HeadObject.
//!
//! What lives here: from an opened object to the client's answer. What must not: how the object is
//! opened. Invariant: length, range, type and metadata of the answer are the authenticated ones; of the
//! store's headers only those pass that the table of `sceau-s3wire` names.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sceau_kms::Reason;
use sceau_s3wire::headers;

use crate::app::Gateway;
use crate::error::Result;
use crate::execute::etag_to_client;
use crate::execute::sealing::SealedBucket;
use crate::execute::stored_object::{self, ObjectQuery, StoredObject};
use crate::plan::metadata;
use crate::plan::request::ReadPlan;
use crate::respond::{Answer, AnswerBody};

/// Reads an object or a range of it.
pub async fn get(gateway: &Gateway, plan: &ReadPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let reason = if plan.range.is_some() {
        Reason::RangeRead
    } else {
        Reason::ClientRead
    };
    let query = ObjectQuery {
        bucket: &bucket,
        key: &plan.name.key,
        version: plan.version.as_deref(),
        conditions: &plan.conditions,
        reason,
    };
    let mut opened = stored_object::open(gateway, &query, plan.range).await?;
    if lacks_checksum(&opened.object, plan) {
        opened.object.manifest = stored_object::trailing_manifest(gateway, &query, &opened.object).await?;
    }
    let mut headers = object_headers(&opened.object, plan);
    let mut status = StatusCode::OK;
    if let Some((first, last)) = opened.range {
        status = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {first}-{last}/{}", opened.object.plain_len);
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(Answer {
        status,
        headers,
        body: AnswerBody::Plain(Box::new(opened.body)),
    })
}

/// Reads an object's headers.
pub async fn head(gateway: &Gateway, plan: &ReadPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let query = ObjectQuery {
        bucket: &bucket,
        key: &plan.name.key,
        version: plan.version.as_deref(),
        conditions: &plan.conditions,
        reason: Reason::ClientRead,
    };
    let object = if plan.wants_checksum && plan.range.is_none() {
        stored_object::describe(gateway, &query).await?
    } else {
        stored_object::head(gateway, &query).await?
    };
    let range = sceau_s3wire::range::resolve(plan.range, object.plain_len)
        .map_err(|_| stored_object::unsatisfiable(object.plain_len))?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = object_headers(&object, plan);
    let mut length = object.plain_len;
    if let Some((first, last)) = range {
        answer.status = StatusCode::PARTIAL_CONTENT;
        length = last.saturating_sub(first).saturating_add(1);
        if let Ok(value) = HeaderValue::try_from(format!("bytes {first}-{last}/{}", object.plain_len)) {
            answer.headers.insert(header::CONTENT_RANGE, value);
        }
    }
    answer
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(answer)
}

/// Whether the checksum that was asked for can only be in a trailer that was not read: the head of the
/// answer is sent before the body ends, so that costs a request of its own.
fn lacks_checksum(object: &StoredObject, plan: &ReadPlan) -> bool {
    plan.wants_checksum
        && plan.range.is_none()
        && object.header.metadata.checksums.is_empty()
        && object.manifest.is_none()
}

/// The headers that describe an object.
fn object_headers(object: &StoredObject, plan: &ReadPlan) -> HeaderMap {
    let mut answer = headers::passed_headers(&object.store_headers);
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = object.store_headers.get(header::ETAG).and_then(etag_to_client) {
        answer.insert(header::ETAG, etag);
    }
    metadata::to_headers(&object.header.metadata, &mut answer);
    if plan.wants_checksum && plan.range.is_none() {
        let sealed = object.header.metadata.checksums.first();
        let learnt = || {
            object
                .manifest
                .as_ref()
                .and_then(|learnt| learnt.manifest.checksum())
        };
        if let Some(checksum) = sealed.or_else(learnt) {
            metadata::checksum_headers(checksum, &mut answer);
        }
    }
    for (name, value) in &plan.overrides {
        answer.insert(name.clone(), value.clone());
    }
    answer
}
