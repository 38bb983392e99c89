//! CreateMultipartUpload, CompleteMultipartUpload, AbortMultipartUpload.
//!
//! What lives here: the life of an upload, whose state is one sealed object in the control bucket, so
//! that any replica can serve any of its requests. What must not: parts' bytes (`parts`). Invariants: no
//! upload is acknowledged without its state; a completed object's manifest pins the very attempts whose
//! tickets the client presented.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use sceau_envelope::etag::{PartEtag, UNPINNED_SUFFIX, split_checksum, split_part_etag};
use sceau_envelope::keyring::Pinning;
use sceau_envelope::multipart::{self, SealedState};
use sceau_envelope::secrets::{ObjectSecrets, PartNumber};
use sceau_envelope::ticket::{Ticket, verify_checksum};
use sceau_envelope::trailer::{Manifest, PartEntry};
use sceau_envelope::{ObjectHeader, UploadState, size};
use sceau_kms::Reason;
use sceau_s3wire::checksum::{self, Algorithm, ChecksumType, HeaderMeaning, Value};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::xml::{self, CompletedPart, CompletedUpload, InitiatedUpload};

use crate::app::Gateway;
use crate::auth::Upload;
use crate::authorize::Authorized;
use crate::crypt::upload_cache::{OpenUpload, UploadName};
use crate::error::{GatewayError, Kind, Result};
use crate::execute::folders::{self, Writing};
use crate::execute::put::{insert_sealed, seal_header};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::StoreUpload;
use crate::execute::{completed, parts, tagging};
use crate::limits;
use crate::plan::fault;
use crate::plan::metadata::{self, WholeChecksum};
use crate::plan::request::{PutPlan, UploadRef};
use crate::plan::sse;
use crate::respond::Answer;
use crate::upstream::{Condition, PutOutcome, StoreBody};

/// CreateMultipartUpload.
pub async fn create(gateway: &Gateway, request: &Authorized, plan: PutPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    if folders::writing(gateway, &plan.name.key).await? == Writing::Marker {
        return Err(folders::refused());
    }
    let keys = bucket
        .seal_keys(gateway, &plan.name.key, Reason::Multipart)
        .await?;
    let secrets = Arc::new(ObjectSecrets::generate(&gateway.engine).map_err(fault::seal_error)?);
    let header = ObjectHeader {
        secrets: Arc::clone(&secrets),
        is_multi: true,
        is_name_hidden: false,
        plain_len: None,
        write_time_ms: gateway.now_ms(),
        writer_id: gateway.writer.id(),
        writer_seq: gateway.writer.next(),
        iv0: [0; 32],
        metadata: plan.metadata.clone(),
    };
    let value = seal_header(gateway, &bucket, &plan.name.key, &header, &keys)?;
    let kind = metadata::remembered(&plan.metadata).map(|(_, kind)| kind);
    let mut store_headers = plan.store_headers;
    insert_sealed(&mut store_headers, &value)?;
    // The store keeps them with the upload, and gives them to the object.
    tagging::insert(
        gateway,
        &bucket,
        &plan.name.key,
        &secrets,
        plan.tags.pairs(),
        &mut store_headers,
    )?;
    let upload = StoreUpload::create(gateway, bucket.name(), &plan.name.key, store_headers).await?;
    let state = UploadState {
        secrets,
        created_ms: header.write_time_ms,
        metadata: plan.metadata,
    };
    let context = bucket.context(&plan.name.key);
    let upload_id = upload.upload_id().as_bytes();
    let state_name = multipart::state_name(&keys, &context, upload_id);
    let kept = match state.seal(&gateway.engine, &keys, &context, upload_id) {
        Ok(sealed) => keep_state(gateway, &state_name, sealed).await,
        Err(error) => Err(fault::seal_error(error)),
    };
    if let Err(error) = kept {
        upload.abort().await;
        return Err(error);
    }
    let initiated = InitiatedUpload {
        bucket: plan.name.bucket.clone(),
        key: plan.name.key.clone(),
        upload_id: upload.upload_id().to_owned(),
    };
    let mut answer = Answer::xml(initiated.to_xml());
    answer.headers.extend(headers::passed_headers(&upload.created));
    sse::echo(&state.metadata, &mut answer.headers);
    let asked = &request.authenticated.request.headers;
    if let Some(value) = asked.get("x-amz-checksum-algorithm") {
        answer.headers.insert("x-amz-checksum-algorithm", value.clone());
    }
    if let Some(kind) = kind {
        let kind = HeaderValue::from_static(kind.name());
        answer.headers.insert("x-amz-checksum-type", kind);
    }
    Ok(answer)
}

async fn keep_state(gateway: &Gateway, name: &str, sealed: Vec<u8>) -> Result<()> {
    let kept = gateway
        .control
        .put(name, Bytes::from(sealed), Condition::IfAbsent)
        .await;
    match kept.map_err(|error| fault::store_error(&error))? {
        PutOutcome::Written { .. } => Ok(()),
        // The name is derived from the store's upload id: the store gave the same one twice.
        PutOutcome::Conflict => Err(GatewayError::new(
            Kind::StoreProtocol,
            "the store repeated an upload id",
        )),
    }
}

/// The opened state of an upload. The state's name depends on the epoch that was present at creation, so
/// each epoch that may still open and can have sealed this name is tried, newest first.
pub async fn open_upload(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
) -> Result<Arc<OpenUpload>> {
    let name = UploadName {
        bucket: upload.name.bucket.clone(),
        key: upload.name.key.clone(),
        upload_id: upload.upload_id.clone(),
    };
    if let Some(found) = gateway.uploads.find(&name).filter(|_| bucket.may_hold()) {
        return Ok(found);
    }
    let opening = gateway.uploads.opening();
    let context = bucket.context(&upload.name.key);
    let records = gateway
        .keyring
        .opening_records(bucket.entry().bucket, upload.name.key.as_bytes());
    for krid in records {
        let keys = bucket.open_keys(gateway, krid, Reason::Multipart).await?;
        let state_name = multipart::state_name(&keys, &context, upload.upload_id.as_bytes());
        let stored = gateway
            .control
            .get(&state_name)
            .await
            .map_err(|error| fault::store_error(&error))?;
        let Some((bytes, _)) = stored else { continue };
        let sealed = SealedState::parse(&bytes).map_err(fault::state_error)?;
        if sealed.krid() != krid {
            return Err(fault::state_error(
                sceau_envelope::error::StateError::NotForThisUpload,
            ));
        }
        let state = sealed
            .open(&gateway.engine, &keys, &context, upload.upload_id.as_bytes())
            .map_err(fault::state_error)?;
        let opened = Arc::new(OpenUpload { state, state_name });
        if bucket.may_hold() {
            gateway.uploads.keep(opening, name, Arc::clone(&opened));
        }
        return Ok(opened);
    }
    Err(GatewayError::code(ErrorCode::NoSuchUpload))
}

/// AbortMultipartUpload.
pub async fn abort(gateway: &Gateway, upload: &UploadRef) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &upload.name.bucket).await?;
    let opened = open_upload(gateway, &bucket, upload).await;
    let store = StoreUpload::existing(gateway, bucket.name(), &upload.name.key, &upload.upload_id);
    // An upload whose state is gone can still be given up at the store.
    store.try_abort().await?;
    if let Ok(opened) = opened {
        forget(gateway, upload, &opened).await;
    }
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Removes what the control bucket holds of an upload that ended. Best effort: an expiry rule removes
/// what is left.
async fn forget(gateway: &Gateway, upload: &UploadRef, opened: &OpenUpload) {
    gateway.uploads.forget(&UploadName {
        bucket: upload.name.bucket.clone(),
        key: upload.name.key.clone(),
        upload_id: upload.upload_id.clone(),
    });
    let stashed = parts::stashed(gateway, &opened.state_name)
        .await
        .unwrap_or_default();
    let names = stashed
        .iter()
        .map(|part| multipart::stash_name(&opened.state_name, part.number));
    for name in names.chain([opened.state_name.clone()]) {
        if let Err(error) = gateway.control.delete(&name).await {
            tracing::warn!(object = name, %error, "a left-over of an upload was not removed");
        }
    }
}

/// A part of a completion, verified.
struct Chosen {
    entry: PartEntry,
    store_etag: String,
    /// The value of the checksum that the upload announced, where the ETag vouches for it.
    checksum: Option<Value>,
}

/// CompleteMultipartUpload. Sent again after it was carried out (its answer was lost), it is answered again.
pub async fn complete(
    gateway: &Gateway,
    request: &Authorized,
    upload: UploadRef,
    store_headers: HeaderMap,
    document: Upload,
) -> Result<Answer> {
    let document = document.collect(gateway, limits::XML_REQUEST_BYTES_MAX).await?;
    let listed = xml::parse_completed_parts(&document.bytes).map_err(GatewayError::code)?;
    let bucket = SealedBucket::find(gateway, &upload.name.bucket).await?;
    let completed = match finish(gateway, request, &bucket, &upload, store_headers, &listed).await {
        Err(error) if error.kind.code() == ErrorCode::NoSuchUpload => {
            completed::find(gateway, &bucket, &upload, &listed)
                .await
                .ok_or(error)?
        }
        finished => finished?,
    };
    // A gateway that ended between the store's completion and this left them.
    if let Ok(opened) = open_upload(gateway, &bucket, &upload).await {
        forget(gateway, &upload, &opened).await;
    }
    check_whole(
        &request.authenticated.request.headers,
        &[completed.crc, completed.checksum],
    )?;
    Ok(completed.into_answer(upload))
}

/// Completes an upload that is open.
async fn finish(
    gateway: &Gateway,
    request: &Authorized,
    bucket: &SealedBucket,
    upload: &UploadRef,
    store_headers: HeaderMap,
    listed: &[CompletedPart],
) -> Result<Completed> {
    let opened = open_upload(gateway, bucket, upload).await?;
    let chosen = choose(gateway, bucket, upload, &opened, listed).await?;
    check_sizes(&chosen)?;
    let crc = whole_crc(chosen.iter().map(|part| &part.entry)).map(WholeChecksum::Full);
    let announced = announced_whole(&opened, &chosen);
    check_whole(&request.authenticated.request.headers, &[crc, announced])?;
    let kept = announced.and_then(|whole| whole.to_sealed());
    let checksum = kept.or_else(|| crc?.to_sealed());
    let entries = chosen.iter().map(|part| part.entry).collect();
    let manifest = Manifest::multipart(entries, checksum).map_err(fault::seal_error)?;
    let trailer = manifest
        .seal_trailer(&gateway.engine, &opened.state.secrets)
        .map_err(fault::seal_error)?;
    let store = StoreUpload::existing(gateway, bucket.name(), &upload.name.key, &upload.upload_id);
    let parts = place_trailer(gateway, &store, &opened, chosen, trailer).await?;
    let (conditions, _) = super::put::split_conditions(store_headers);
    let completed = store.complete(&parts, conditions).await.map_err(|error| {
        // Another replica completed at the same time and replaced the trailer part.
        if error.kind == Kind::Answer(ErrorCode::EntityTooSmall) {
            GatewayError::new(Kind::Answer(ErrorCode::InvalidPart), error.context)
        } else {
            error
        }
    })?;
    let mut headers = HeaderMap::new();
    sse::echo(&opened.state.metadata, &mut headers);
    let etag = sceau_s3wire::etag::to_client(&completed.etag).into_owned();
    headers.extend(headers::passed_headers(&completed.into_headers()));
    Ok(Completed {
        etag,
        crc,
        checksum: announced,
        headers,
    })
}

/// What a completion made.
pub(super) struct Completed {
    /// ETag as clients see it.
    pub etag: String,
    /// CRC-64/NVME of the whole, where it is known.
    pub crc: Option<WholeChecksum>,
    /// The checksum that the upload announced, where it is known.
    pub checksum: Option<WholeChecksum>,
    /// Headers of the answer.
    pub headers: HeaderMap,
}

impl Completed {
    fn into_answer(self, upload: UploadRef) -> Answer {
        let shown = self.checksum.or(self.crc);
        let key = sceau_s3wire::target::encode_path(&upload.name.key);
        let result = CompletedUpload {
            location: format!("/{}/{key}", upload.name.bucket),
            bucket: upload.name.bucket,
            key: upload.name.key,
            etag: self.etag,
            checksum: shown.map(|whole| (whole.value().algorithm(), whole.text(), whole.kind())),
        };
        let mut answer = Answer::xml(result.to_xml());
        answer.headers.extend(self.headers);
        answer
    }
}

/// Verifies what the client says of each part. The store is asked what it holds even where tickets pin
/// every attempt: some stores complete an upload without comparing ETags, and an object whose manifest
/// pins another attempt than the stored one could never be read.
async fn choose(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
    opened: &OpenUpload,
    listed: &[CompletedPart],
) -> Result<Vec<Chosen>> {
    let known = parts::all(gateway, bucket, upload, opened).await?;
    let is_strict = bucket.entry().policy.pinning == Pinning::Strict;
    let mut chosen = Vec::with_capacity(listed.len());
    for part in listed {
        let number =
            PartNumber::upload(part.number).ok_or_else(|| GatewayError::code(ErrorCode::InvalidPart))?;
        let (checksum, etag) = part_checksum(opened, number, &part.etag)?;
        let etag = split_part_etag(etag).ok_or_else(|| GatewayError::code(ErrorCode::InvalidPart))?;
        if etag.ticket.is_none() && is_strict {
            return Err(GatewayError::client(
                ErrorCode::InvalidPart,
                "This bucket's policy demands the entity tag that the upload of the part answered.",
            ));
        }
        let mut found = choose_one(&opened.state.secrets, number, etag, &known)?;
        found.checksum = checksum;
        check_named(part, &found)?;
        chosen.push(found);
    }
    Ok(chosen)
}

fn choose_one(
    secrets: &ObjectSecrets,
    number: PartNumber,
    etag: PartEtag<'_>,
    known: &[parts::KnownPart],
) -> Result<Chosen> {
    let mut held = known
        .iter()
        .filter(|part| part.number == number && part.store_etag == etag.store);
    let entry = match etag.ticket {
        Some(ticket) => {
            let ticket = Ticket::verify(ticket, secrets, number, etag.store).map_err(fault::ticket_error)?;
            let entry = PartEntry {
                number,
                plain_len: ticket.plain_len,
                iv: Some(ticket.iv),
                crc64: ticket.crc64,
            };
            held.any(|part| part.plain_len == ticket.plain_len)
                .then_some(entry)
        }
        None => held.next().map(|part| PartEntry {
            number,
            plain_len: part.plain_len,
            iv: None,
            crc64: [0; 8],
        }),
    };
    let entry = entry.ok_or_else(|| GatewayError::code(ErrorCode::InvalidPart))?;
    Ok(Chosen {
        entry,
        store_etag: etag.store.to_owned(),
        checksum: None,
    })
}

/// The checksum in front of a part's ETag, and the rest. Attack considered: a client, or who changes what it
/// keeps, puts in another value or another part's (the value is under the upload's own key, with part and
/// attempt).
fn part_checksum<'a>(
    opened: &OpenUpload,
    number: PartNumber,
    etag: &'a str,
) -> Result<(Option<Value>, &'a str)> {
    let Some(algorithm) = parts::announced(opened).filter(|_| !etag.ends_with(UNPINNED_SUFFIX)) else {
        return Ok((None, etag));
    };
    let (Some(text), rest) = split_checksum(etag) else {
        return Ok((None, etag));
    };
    let bytes = verify_checksum(text, &opened.state.secrets, number, rest);
    let value = bytes.and_then(|bytes| Value::from_bytes(algorithm, &bytes));
    let value = value.ok_or_else(|| GatewayError::code(ErrorCode::InvalidPart))?;
    Ok((Some(value), rest))
}

/// Compares the checksums that the client names for a part with those of what it sent.
fn check_named(part: &CompletedPart, found: &Chosen) -> Result<()> {
    let crc64 =
        Value::from_bytes(Algorithm::Crc64Nvme, &found.entry.crc64).filter(|_| found.entry.iv.is_some());
    for (name, text) in &part.checksums {
        let HeaderMeaning::Value(algorithm) = Algorithm::from_name(name) else {
            return Err(GatewayError::code(ErrorCode::MalformedXml));
        };
        let named = Value::from_base64(algorithm, text.as_bytes());
        let named = named.ok_or_else(|| GatewayError::code(ErrorCode::InvalidPart))?;
        let mut known = [crc64, found.checksum].into_iter().flatten();
        if known.any(|value| value.algorithm() == algorithm && value != named) {
            return Err(GatewayError::code(ErrorCode::InvalidPart));
        }
    }
    Ok(())
}

/// The checksum of the whole that the upload announced; none where a part's is not known.
fn announced_whole(opened: &OpenUpload, chosen: &[Chosen]) -> Option<WholeChecksum> {
    let (_, kind) = metadata::remembered(&opened.state.metadata)?;
    let algorithm = parts::announced(opened)?;
    let values: Option<Vec<_>> = chosen.iter().map(|part| part.checksum).collect();
    let values = values?;
    match kind {
        ChecksumType::Composite => checksum::composite(algorithm, &values).map(WholeChecksum::Composite),
        ChecksumType::FullObject => {
            let lengths = chosen.iter().map(|part| part.entry.plain_len);
            let parts: Vec<_> = values.into_iter().zip(lengths).collect();
            checksum::combine(algorithm, &parts).map(WholeChecksum::Full)
        }
    }
}

fn check_sizes(chosen: &[Chosen]) -> Result<()> {
    let before_last = chosen.split_last().map_or(&[][..], |(_, before)| before);
    if before_last
        .iter()
        .any(|part| part.entry.plain_len < size::PART_PLAIN_MIN)
    {
        return Err(GatewayError::code(ErrorCode::EntityTooSmall));
    }
    Ok(())
}

/// CRC-64/NVME of the whole object from those of its parts; none when a part's is not known.
pub(super) fn whole_crc<'a>(entries: impl Iterator<Item = &'a PartEntry>) -> Option<Value> {
    let mut parts = Vec::new();
    for entry in entries {
        // An unpinned part's checksum is not known.
        entry.iv?;
        parts.push((
            Value::from_bytes(Algorithm::Crc64Nvme, &entry.crc64)?,
            entry.plain_len,
        ));
    }
    checksum::combine(Algorithm::Crc64Nvme, &parts)
}

/// Checks a checksum of the whole object that the client names at completion. What cannot be checked is
/// refused: accepting it would say that it was.
fn check_whole(client: &HeaderMap, known: &[Option<WholeChecksum>]) -> Result<()> {
    for algorithm in Algorithm::ALL {
        let Some(named) = client.get(algorithm.header_name()) else {
            continue;
        };
        let is_composite = named.as_bytes().contains(&b'-');
        let mut known = known.iter().flatten();
        let found = known.find(|whole| {
            let kind = whole.kind() == ChecksumType::Composite;
            whole.value().algorithm() == algorithm && kind == is_composite
        });
        match found {
            Some(found) if found.text().as_bytes() == named.as_bytes() => {}
            Some(_) => return Err(GatewayError::code(ErrorCode::BadDigest)),
            // A checksum of checksums, which the parts' own checks cover.
            None if is_composite => {}
            None => {
                return Err(GatewayError::client(
                    ErrorCode::NotImplemented,
                    "A checksum of the whole upload is verified as CRC64NVME, or as the upload announced it.",
                ));
            }
        }
    }
    Ok(())
}

/// Uploads the trailer: behind the last part where that one is stashed, as a part of its own otherwise.
/// Answers the part list for the store.
async fn place_trailer(
    gateway: &Gateway,
    store: &StoreUpload<'_>,
    opened: &OpenUpload,
    mut chosen: Vec<Chosen>,
    trailer: Bytes,
) -> Result<Vec<(u16, String)>> {
    let is_stashed = chosen
        .last()
        .is_some_and(|part| parts::is_stashed(part.entry.plain_len));
    let (number, last) = if is_stashed {
        let last = chosen
            .pop()
            .ok_or_else(|| GatewayError::code(ErrorCode::MalformedXml))?;
        let stash = parts::read_stash(gateway, opened, last.entry.number, &last.store_etag).await?;
        parts::check_stash(gateway, opened, &last.entry, BytesMut::from(&stash[..]))?;
        let mut both = BytesMut::with_capacity(stash.len().saturating_add(trailer.len()));
        both.extend_from_slice(&stash);
        both.extend_from_slice(&trailer);
        (last.entry.number.get(), both.freeze())
    } else {
        let after = chosen.last().map_or(0, |part| part.entry.number.get());
        (after.saturating_add(1), trailer)
    };
    let etag = store.put_part(number, StoreBody::Bytes(last)).await?;
    let mut listed: Vec<_> = chosen
        .into_iter()
        .map(|part| (part.entry.number.get(), part.store_etag))
        .collect();
    listed.push((number, etag));
    Ok(listed)
}
