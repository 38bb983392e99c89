//! GetObject and HeadObject.
//!
//! What lives here: from an opened object to the client's answer. What must not: how the object is
//! opened. Invariant: length, range, type and metadata of the answer are the authenticated ones; of the
//! store's headers only those pass that the table of `sceau-s3wire` names.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sceau_kms::Reason;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::range::RangeSpec;

use crate::app::Gateway;
use crate::crypt::layout_cache::LearntLayout;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::sealing::SealedBucket;
use crate::execute::stored_object::{self, ObjectQuery, Reader, StoredObject};
use crate::execute::{etag_to_client, folders, tagging};
use crate::limits;
use crate::plan::attributes::{self, PartPlace};
use crate::plan::metadata::{self, WholeChecksum};
use crate::plan::request::ReadPlan;
use crate::plan::sse;
use crate::plan::tagging::TAGGING_COUNT;
use crate::respond::{Answer, AnswerBody};

/// Reads an object, a range or a part of it.
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
        reader: Reader::Client(plan.customer.as_ref()),
    };
    if let Some(marker) = folders::find(gateway, &query).await? {
        return folders::answer(&marker, plan);
    }
    if let Some(number) = plan.part {
        return get_part(gateway, &bucket, plan, number).await;
    }
    let mut opened = stored_object::open(gateway, &query, plan.range).await?;
    if lacks_checksum(&opened.object, plan) {
        opened.object.manifest = match opened.body.manifest() {
            Some(manifest) => Some(Arc::new(LearntLayout {
                header_value: opened.object.header_value.clone(),
                stored_len: opened.object.stored_len,
                manifest: manifest.clone(),
            })),
            None => stored_object::trailing_manifest(gateway, &query, &opened.object).await?,
        };
    }
    let mut headers = object_headers(&bucket, &opened.object, plan);
    let mut status = StatusCode::OK;
    if let Some((first, last)) = opened.range {
        status = StatusCode::PARTIAL_CONTENT;
        insert_range(&mut headers, first, last, opened.object.plain_len);
    }
    Ok(Answer {
        status,
        headers,
        body: AnswerBody::Plain(Box::new(opened.body)),
    })
}

/// Reads one part: first where it lies, then its bytes, of the very object that said so.
async fn get_part(gateway: &Gateway, bucket: &SealedBucket, plan: &ReadPlan, number: u16) -> Result<Answer> {
    for _ in 0..limits::READ_ATTEMPTS_MAX {
        let query = ObjectQuery {
            bucket,
            key: &plan.name.key,
            version: plan.version.as_deref(),
            conditions: &plan.conditions,
            reason: Reason::RangeRead,
            reader: Reader::Client(plan.customer.as_ref()),
        };
        let object = stored_object::describe(gateway, &query).await?;
        let (mut answer, place) = part_answer(bucket, &object, plan, number)?;
        let PartPlace::Bytes(first, last) = place else {
            return Ok(answer);
        };
        let mut pinned = HeaderMap::new();
        if let Some(etag) = object.store_headers.get(header::ETAG) {
            pinned.insert(header::IF_MATCH, etag.clone());
        }
        let query = ObjectQuery {
            conditions: &pinned,
            ..query
        };
        let range = RangeSpec::Bounded { first, last };
        match stored_object::open(gateway, &query, Some(range)).await {
            // Replaced in between: start again with what is there now.
            Err(error) if error.kind == Kind::Answer(ErrorCode::PreconditionFailed) => {}
            Err(error) => return Err(error),
            Ok(opened) => {
                answer.body = AnswerBody::Plain(Box::new(opened.body));
                return Ok(answer);
            }
        }
    }
    Err(GatewayError::new(
        Kind::StoreUnavailable,
        "the object changed during each attempt to read a part",
    ))
}

/// Status and headers of a read of one part, and where the part lies.
fn part_answer(
    bucket: &SealedBucket,
    object: &StoredObject,
    plan: &ReadPlan,
    number: u16,
) -> Result<(Answer, PartPlace)> {
    let learnt = object.manifest.as_ref();
    let layout = learnt
        .map(|learnt| learnt.manifest.layout())
        .ok_or_else(|| GatewayError::new(Kind::Internal, "an object was described without its parts"))?;
    let place =
        attributes::part_place(layout, number).ok_or_else(|| attributes::no_such_part(number, layout))?;
    let mut answer = Answer::empty(StatusCode::PARTIAL_CONTENT);
    answer.headers = object_headers(bucket, object, plan);
    if layout.is_multi() {
        let count = HeaderValue::from(layout.parts().len());
        answer.headers.insert("x-amz-mp-parts-count", count);
    }
    match place {
        PartPlace::Bytes(first, last) => insert_range(&mut answer.headers, first, last, object.plain_len),
        // No range of bytes is empty; an empty object is answered as a whole.
        PartPlace::Empty if object.plain_len == 0 => answer.status = StatusCode::OK,
        PartPlace::Empty => {}
    }
    Ok((answer, place))
}

fn insert_range(headers: &mut HeaderMap, first: u64, last: u64, plain_len: u64) {
    if let Ok(value) = HeaderValue::try_from(format!("bytes {first}-{last}/{plain_len}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
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
        reader: Reader::Client(plan.customer.as_ref()),
    };
    if let Some(marker) = folders::find(gateway, &query).await? {
        return folders::answer(&marker, plan);
    }
    if let Some(number) = plan.part {
        let object = stored_object::describe(gateway, &query).await?;
        let (mut answer, place) = part_answer(&bucket, &object, plan, number)?;
        let length = match place {
            PartPlace::Bytes(first, last) => last.saturating_sub(first).saturating_add(1),
            PartPlace::Empty => 0,
        };
        answer
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        return Ok(answer);
    }
    let object = if plan.wants_checksum && plan.range.is_none() {
        stored_object::describe(gateway, &query).await?
    } else {
        stored_object::head(gateway, &query).await?
    };
    let range = sceau_s3wire::range::resolve(plan.range, object.plain_len)
        .map_err(|_| stored_object::unsatisfiable(object.plain_len))?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = object_headers(&bucket, &object, plan);
    let mut length = object.plain_len;
    if let Some((first, last)) = range {
        answer.status = StatusCode::PARTIAL_CONTENT;
        length = last.saturating_sub(first).saturating_add(1);
        insert_range(&mut answer.headers, first, last, object.plain_len);
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
        && metadata::kept_checksum(&object.header.metadata).is_none()
        && object.manifest.is_none()
}

/// The headers that describe an object.
fn object_headers(bucket: &SealedBucket, object: &StoredObject, plan: &ReadPlan) -> HeaderMap {
    let mut answer = headers::passed_headers(&object.store_headers);
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = object.store_headers.get(header::ETAG).and_then(etag_to_client) {
        answer.insert(header::ETAG, etag);
    }
    if let Some(count) = tagging::count(bucket, &object.store_headers) {
        answer.insert(TAGGING_COUNT, count);
    }
    metadata::to_headers(&object.header.metadata, &mut answer);
    sse::echo(&object.header.metadata, &mut answer);
    // A part of many is not what the checksum covers, and clients would compare the two.
    let is_whole = plan.range.is_none() && (plan.part.is_none() || !object.header.is_multi);
    if let Some(checksum) = whole_checksum(object).filter(|_| plan.wants_checksum && is_whole) {
        checksum.insert(&mut answer);
    }
    for (name, value) in &plan.overrides {
        answer.insert(name.clone(), value.clone());
    }
    answer
}

/// The checksum of the whole: from the header, or from the trailer where that was read.
pub fn whole_checksum(object: &StoredObject) -> Option<WholeChecksum> {
    let learnt = || {
        let manifest = &object.manifest.as_ref()?.manifest;
        WholeChecksum::from_sealed(manifest.checksum()?, manifest.layout().parts().len())
    };
    metadata::kept_checksum(&object.header.metadata).or_else(learnt)
}
