//! PutObject.
//!
//! What lives here: one client PUT, sealed into one store PUT, or into a store upload where the sealed
//! object is too large for one request. What must not: framing, checksums (they are behind the source).
//! Invariant: the store is promised the sealed length and gets the last bytes only when every promise of
//! the client held, so a refused PUT leaves nothing behind.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use sceau_envelope::header::{HeaderLimit, ObjectHeader};
use sceau_envelope::secrets::{ObjectSecrets, PartNumber};
use sceau_envelope::size;
use sceau_kms::Reason;
use sceau_s3wire::checksum::Value;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;

use crate::app::Gateway;
use crate::auth::Upload;
use crate::crypt::seal_body::{PlainSource, SealInput, SealSource, SealedBody, SealedFacts, Tail};
use crate::error::{GatewayError, Kind, Result};
use crate::execute::folders::{self, Writing};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::StoreUpload;
use crate::execute::stored_object::{self, HEADER_METADATA};
use crate::execute::{etag_to_client, insert_text, tagging};
use crate::limits;
use crate::plan::request::PutPlan;
use crate::plan::{fault, metadata, sse};
use crate::respond::Answer;
use crate::upstream::{StoreBody, StoreRequest};

/// What the store sees as the type of every object.
pub const STORED_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Writes an object.
pub async fn put(gateway: &Gateway, plan: PutPlan, upload: Upload) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    if folders::writing(gateway, &plan.name.key).await? == Writing::Marker {
        return folders::put(gateway, &bucket, plan, upload).await;
    }
    let plain = Plaintext {
        length: upload.plain_len(),
        declared: upload.declared_checksum(),
        source: upload.into_source(gateway),
    };
    write(gateway, &bucket, plan, plain).await
}

/// What becomes an object.
pub struct Plaintext {
    /// Its length in bytes.
    pub length: u64,
    /// The checksum that its sender declared before it.
    pub declared: Option<Value>,
    /// Where it comes from.
    pub source: PlainSource,
}

/// Seals an object and gives it to the store.
pub async fn write(
    gateway: &Gateway,
    bucket: &SealedBucket,
    plan: PutPlan,
    plain: Plaintext,
) -> Result<Answer> {
    let keys = bucket
        .seal_keys(gateway, &plan.name.key, Reason::ClientWrite)
        .await?;
    let (plain_len, declared) = (plain.length, plain.declared);
    let stored_len =
        size::stored_len(plain_len).ok_or_else(|| GatewayError::code(ErrorCode::EntityTooLarge))?;
    let secrets = Arc::new(ObjectSecrets::generate(&gateway.engine).map_err(fault::seal_error)?);
    let source = SealSource::new(
        &gateway.engine,
        SealInput {
            plain: plain.source,
            plain_len,
            secrets: Arc::clone(&secrets),
            part: PartNumber::SINGLE,
            announced: None,
            tail: Tail::SingleTrailer {
                is_checksum_in_header: declared.is_some(),
            },
        },
    )?;
    let mut sealed_metadata = plan.metadata;
    if let Some(declared) = &declared {
        metadata::keep_checksum(declared, &mut sealed_metadata);
    }
    let object = ObjectHeader {
        secrets,
        is_multi: false,
        is_name_hidden: false,
        plain_len: Some(plain_len),
        write_time_ms: gateway.now_ms(),
        writer_id: gateway.writer.id(),
        writer_seq: gateway.writer.next(),
        iv0: source.iv(),
        metadata: sealed_metadata,
    };
    let value = seal_header(gateway, bucket, &plan.name.key, &object, &keys)?;
    let mut store_headers = plan.store_headers;
    insert_sealed(&mut store_headers, &value)?;
    tagging::insert(
        gateway,
        bucket,
        &plan.name.key,
        &object.secrets,
        plan.tags.pairs(),
        &mut store_headers,
    )?;
    let (facts, answered) = if plain_len <= size::SINGLE_PLAIN_MAX {
        put_once(gateway, bucket, &plan.name.key, store_headers, source, stored_len).await?
    } else {
        put_split(gateway, bucket, &plan.name.key, store_headers, source, stored_len).await?
    };
    let mut answer = written(&facts, &answered);
    sse::echo(&object.metadata, &mut answer.headers);
    Ok(answer)
}

/// Seals a header for one name under the bucket's present epoch.
pub fn seal_header(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    object: &ObjectHeader,
    keys: &sceau_envelope::EpochKeys,
) -> Result<String> {
    let padding = bucket.entry().policy.metadata_padding;
    object
        .seal(
            &gateway.engine,
            keys,
            &bucket.context(key),
            HeaderLimit::S3,
            padding,
        )
        .map_err(fault::seal_error)
}

/// Puts the sealed header, and the one type that every object has, into the headers for the store.
pub fn insert_sealed(store_headers: &mut HeaderMap, value: &str) -> Result<()> {
    let value =
        HeaderValue::from_str(value).map_err(|_| GatewayError::new(Kind::Internal, "sealed header text"))?;
    store_headers.insert(HEADER_METADATA, value);
    store_headers.insert(header::CONTENT_TYPE, STORED_CONTENT_TYPE);
    Ok(())
}

async fn put_once(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    store_headers: HeaderMap,
    source: SealSource,
    stored_len: u64,
) -> Result<(SealedFacts, HeaderMap)> {
    let sealing = source.sealing();
    let body = SealedBody::whole(source, stored_len).boxed();
    let mut request = StoreRequest::new(Method::PUT)
        .bucket(bucket.name())
        .key(key)
        .body(StoreBody::Stream {
            length: stored_len,
            body,
        });
    request.headers = store_headers;
    let answered = gateway.send(request).await;
    if let Some(error) = sealing.error() {
        return Err(error);
    }
    let response = answered.map_err(|error| fault::store_error(&error))?;
    if response.head.status != StatusCode::OK {
        return Err(stored_object::refusal(response).await);
    }
    let facts = sealing.facts()?;
    Ok((facts, response.head.headers))
}

/// The sealed object exceeds one store request: the same bytes go up in several. Readers do not notice,
/// the format knows nothing of the store's parts.
async fn put_split(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    store_headers: HeaderMap,
    source: SealSource,
    stored_len: u64,
) -> Result<(SealedFacts, HeaderMap)> {
    let (conditions, create_headers) = split_conditions(store_headers);
    let upload = StoreUpload::create(gateway, bucket.name(), key, create_headers).await?;
    let sent = put_stretches(&upload, source, stored_len, conditions).await;
    if sent.is_err() {
        upload.abort().await;
    }
    sent
}

async fn put_stretches(
    upload: &StoreUpload<'_>,
    source: SealSource,
    stored_len: u64,
    conditions: HeaderMap,
) -> Result<(SealedFacts, HeaderMap)> {
    let sealing = source.sealing();
    let shared = SealedBody::share(source);
    let mut parts = Vec::new();
    let mut left = stored_len;
    let mut number = 1_u16;
    while left > 0 {
        let length = left.min(limits::SPLIT_PART_BYTES);
        let body = SealedBody::stretch(&shared, length).boxed();
        let etag = upload.put_part(number, StoreBody::Stream { length, body }).await;
        if let Some(error) = sealing.error() {
            return Err(error);
        }
        parts.push((number, etag?));
        number = number.saturating_add(1);
        left = left.saturating_sub(length);
    }
    let facts = sealing.facts()?;
    let completed = upload.complete(&parts, conditions).await?;
    Ok((facts, completed.into_headers()))
}

/// Conditions belong to the request that commits, everything else to the one that creates.
pub fn split_conditions(headers: HeaderMap) -> (HeaderMap, HeaderMap) {
    let is_condition = |name: &http::HeaderName| *name == header::IF_MATCH || *name == header::IF_NONE_MATCH;
    let mut conditions = HeaderMap::new();
    let mut others = HeaderMap::new();
    for (name, value) in &headers {
        let map = if is_condition(name) {
            &mut conditions
        } else {
            &mut others
        };
        map.append(name.clone(), value.clone());
    }
    (conditions, others)
}

fn written(facts: &SealedFacts, store: &HeaderMap) -> Answer {
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(store);
    if let Some(etag) = store.get(header::ETAG).and_then(etag_to_client) {
        answer.headers.insert(header::ETAG, etag);
    }
    echo_checksums(&facts.checksums, &mut answer.headers);
    answer
}

/// Tells the client the checksums that it sent and that were verified.
pub fn echo_checksums(checksums: &[Value], headers: &mut HeaderMap) {
    for value in checksums {
        insert_text(headers, value.algorithm().header_name(), &value.to_base64());
        headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
    }
}
