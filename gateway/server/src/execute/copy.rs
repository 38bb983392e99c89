//! CopyObject.
//!
//! What lives here: a copy by the store with the header sealed anew for the new name. What must not:
//! payload bytes; none passes through the gateway. Invariant: the copied bytes are those of the very
//! object whose header was opened: the store is told its ETag,
//! and its version where it has one.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use sceau_envelope::ObjectHeader;
use sceau_kms::Reason;
use sceau_s3wire::copy_source;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::CopyOutcome;
use sceau_s3wire::{etag, headers};

use crate::app::Gateway;
use crate::authorize::Authorized;
use crate::crypt::seal_body::PlainSource;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::folders::{self, Writing};
use crate::execute::put::{self, Plaintext, insert_sealed, seal_header, split_conditions};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{self, CopyRange, StoreUpload};
use crate::execute::stored_object::{self, ObjectQuery, Reader, StoredObject};
use crate::execute::tagging;
use crate::plan::metadata;
use crate::plan::request::{CopyPlan, PutPlan};
use crate::plan::sse;
use crate::plan::tagging::TAGGING_DIRECTIVE;
use crate::respond::Answer;
use crate::upstream::StoreRequest;

/// Largest object that the store copies in one request, in bytes (S3: 5 GiB).
const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// Stored bytes per copied part above that.
const COPY_PART_BYTES: u64 = 1024 * 1024 * 1024;

/// Copies an object.
pub async fn copy(gateway: &Gateway, request: &Authorized, plan: CopyPlan) -> Result<Answer> {
    let from = SealedBucket::find(gateway, &plan.source.bucket).await?;
    let to = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let query = ObjectQuery {
        bucket: &from,
        key: &plan.source.key,
        version: plan.source.version_id.as_deref(),
        conditions: &plan.source_conditions,
        reason: Reason::Copy,
        reader: Reader::Client(plan.source_customer.as_ref()),
    };
    let writing = folders::writing(gateway, &plan.name.key).await?;
    if folders::find(gateway, &query).await?.is_some() {
        return copy_nothing(gateway, &to, plan, writing).await;
    }
    if writing == Writing::Marker {
        return Err(folders::refused());
    }
    let source = stored_object::head(gateway, &query)
        .await
        .map_err(failed_condition)?;
    let mut header = ObjectHeader {
        secrets: Arc::clone(&source.header.secrets),
        metadata: match plan.metadata {
            // The plaintext is the same, so are its checksums.
            Some(mut replaced) => {
                metadata::inherit_checksums(&source.header.metadata, &mut replaced);
                replaced
            }
            None => source.header.metadata.clone(),
        },
        write_time_ms: gateway.now_ms(),
        writer_id: gateway.writer.id(),
        writer_seq: gateway.writer.next(),
        ..source.header.clone()
    };
    plan.sse.seal_into(&mut header.metadata);
    let keys = to.seal_keys(gateway, &plan.name.key, Reason::Copy).await?;
    let value = seal_header(gateway, &to, &plan.name.key, &header, &keys)?;
    let mut store_headers = plan.store_headers;
    insert_sealed(&mut store_headers, &value)?;
    let inherits_tags = plan.tags.is_none();
    let tags = match plan.tags {
        Some(tags) => tags.pairs().to_vec(),
        None => tagging::of_source(gateway, &from, &plan.source.key, query.version, &source).await?,
    };
    if inherits_tags && !tags.is_empty() && !request.may_copy_tags(&plan.source) {
        return Err(GatewayError::code(ErrorCode::AccessDenied));
    }
    tagging::insert(
        gateway,
        &to,
        &plan.name.key,
        &header.secrets,
        &tags,
        &mut store_headers,
    )?;
    let etag = source
        .store_headers
        .get(http::header::ETAG)
        .cloned()
        .ok_or_else(|| GatewayError::new(Kind::StoreProtocol, "the store sent no ETag"))?;
    let encoded = copy_source::encode(
        from.name(),
        &plan.source.key,
        query.version.or(stored_object::version(&source.store_headers)),
    );
    let copied = if source.stored_len <= COPY_BYTES_MAX {
        copy_once(gateway, &to, &plan.name.key, store_headers, &encoded, &etag).await?
    } else {
        copy_in_parts(
            gateway,
            &to,
            &plan.name.key,
            store_headers,
            &source,
            encoded,
            &etag,
        )
        .await?
    };
    let outcome = CopyOutcome {
        etag: sceau_s3wire::etag::to_client(&copied.outcome.etag).into_owned(),
        last_modified: copied.outcome.last_modified,
    };
    let mut answer = Answer::xml(outcome.to_object_xml());
    answer.headers.extend(headers::passed_headers(&copied.headers));
    sse::echo(&header.metadata, &mut answer.headers);
    Ok(answer)
}

/// A copy of a folder's marker: an empty object, sealed unless it is a marker as well.
async fn copy_nothing(
    gateway: &Gateway,
    to: &SealedBucket,
    plan: CopyPlan,
    writing: Writing,
) -> Result<Answer> {
    let mut put = PutPlan {
        name: plan.name,
        metadata: plan.metadata.unwrap_or_default(),
        tags: plan.tags.unwrap_or_default(),
        store_headers: plan.store_headers,
    };
    let mut written = match writing {
        Writing::Marker if !put.tags.pairs().is_empty() => return Err(folders::refused()),
        Writing::Marker => folders::write(gateway, to, &put.name.key, put.store_headers).await?,
        Writing::Sealed => {
            plan.sse.seal_into(&mut put.metadata);
            let nothing = Plaintext {
                length: 0,
                declared: None,
                source: PlainSource::Empty,
            };
            put::write(gateway, to, put, nothing).await?
        }
    };
    // The tag of a copy is told in the document only.
    let etag = written.headers.remove(header::ETAG);
    let etag = etag.as_ref().and_then(|etag| etag.to_str().ok());
    let etag = etag.ok_or_else(|| GatewayError::new(Kind::StoreProtocol, "the store sent no ETag"))?;
    let outcome = CopyOutcome {
        etag: etag::opaque(etag).to_owned(),
        last_modified: gateway.now_iso8601(),
    };
    let mut answer = Answer::xml(outcome.to_object_xml());
    answer.headers.extend(written.headers);
    Ok(answer)
}

/// What the store said of a copy.
struct Copied {
    headers: HeaderMap,
    outcome: CopyOutcome,
}

async fn copy_once(
    gateway: &Gateway,
    to: &SealedBucket,
    key: &str,
    mut store_headers: HeaderMap,
    source: &str,
    etag: &HeaderValue,
) -> Result<Copied> {
    let source =
        HeaderValue::from_str(source).map_err(|_| GatewayError::new(Kind::Internal, "copy source"))?;
    store_headers.insert("x-amz-copy-source", source);
    store_headers.insert("x-amz-copy-source-if-match", etag.clone());
    store_headers.insert("x-amz-metadata-directive", HeaderValue::from_static("REPLACE"));
    if gateway.store.capabilities().object_tags {
        // Sealed tags belong to one name.
        store_headers.insert(TAGGING_DIRECTIVE, HeaderValue::from_static("REPLACE"));
    }
    let mut request = StoreRequest::new(Method::PUT).bucket(to.name()).key(key);
    request.headers = store_headers;
    let (headers, body) = store_upload::success(store_upload::send(gateway, request).await?).await?;
    let outcome = store_upload::done(CopyOutcome::parse(&body))?;
    Ok(Copied { headers, outcome })
}

/// Above the store's limit for one copy: its own multipart copy. The format knows nothing of the store's
/// parts, so the copy reads like the original.
async fn copy_in_parts(
    gateway: &Gateway,
    to: &SealedBucket,
    key: &str,
    store_headers: HeaderMap,
    source: &StoredObject,
    encoded: String,
    etag: &HeaderValue,
) -> Result<Copied> {
    let (conditions, create_headers) = split_conditions(store_headers);
    let upload = StoreUpload::create(gateway, to.name(), key, create_headers).await?;
    let copied = copy_parts(&upload, source.stored_len, encoded, etag, conditions).await;
    if copied.is_err() {
        upload.abort().await;
    }
    let (headers, etag) = copied?;
    Ok(Copied {
        headers,
        outcome: CopyOutcome {
            etag,
            last_modified: gateway.now_iso8601(),
        },
    })
}

async fn copy_parts(
    upload: &StoreUpload<'_>,
    stored_len: u64,
    source: String,
    etag: &HeaderValue,
    conditions: HeaderMap,
) -> Result<(HeaderMap, String)> {
    let mut range = CopyRange {
        source,
        etag,
        first: 0,
        last: 0,
    };
    let mut parts = Vec::new();
    let mut number = 1_u16;
    while range.first < stored_len {
        let after = range.first.saturating_add(COPY_PART_BYTES).min(stored_len);
        range.last = after.saturating_sub(1);
        parts.push((number, upload.copy_part(number, &range).await?));
        number = number.saturating_add(1);
        range.first = after;
    }
    let completed = upload.complete(&parts, conditions).await?;
    let etag = completed.etag.clone();
    Ok((completed.into_headers(), etag))
}

/// S3 answers every failed condition on a copy's source with 412, also those that a read answers with 304.
pub fn failed_condition(error: GatewayError) -> GatewayError {
    if error.kind == Kind::Answer(ErrorCode::NotModified) {
        return GatewayError::new(
            Kind::Answer(ErrorCode::PreconditionFailed),
            "a condition on the source",
        );
    }
    error
}
