//! UploadPart, UploadPartCopy, ListParts.
//!
//! What lives here: one part into the store, or into the stash where the store would refuse it in the
//! middle of an upload. What must not: the life of the upload (`multipart`). Invariant: each attempt at a
//! part has its own random IV, and the ticket in its ETag pins that attempt.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use sceau_envelope::etag::join_part_etag;
use sceau_envelope::multipart::stash_name;
use sceau_envelope::open::{Extent, Need, Opener};
use sceau_envelope::secrets::PartNumber;
use sceau_envelope::size;
use sceau_envelope::ticket::{Ticket, encode_checksum};
use sceau_envelope::trailer::{Layout, PartEntry};
use sceau_kms::Reason;
use sceau_s3wire::checksum::{Algorithm, Value};
use sceau_s3wire::copy_source::CopySource;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::range::RangeSpec;
use sceau_s3wire::xml::{CopyOutcome, ListPage, ListedPart, PartList};
use std::ops::Range;
use std::sync::Arc;

use crate::app::Gateway;
use crate::auth::Upload;
use crate::crypt::seal_body::{PlainSource, SealInput, SealSource, SealedBody, SealedFacts, Tail};
use crate::crypt::upload_cache::OpenUpload;
use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::execute::copy::failed_condition;
use crate::execute::folders;
use crate::execute::multipart::open_upload;
use crate::execute::put::echo_checksums;
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, plain_etag, send, success};
use crate::execute::stored_object::{self, ObjectQuery, Reader};
use crate::limits;
use crate::plan::customer_key::{self, CustomerKey};
use crate::plan::fault;
use crate::plan::metadata;
use crate::plan::request::UploadRef;
use crate::plan::sse;
use crate::respond::Answer;
use crate::upstream::{StoreBody, StoreRequest};

/// Where a stored part has its FLOE IV (format, section 6.1).
const PART_IV: Range<usize> = 10..42;

/// Whether a part of this plaintext length waits in the stash: a store refuses it anywhere but at the end,
/// and the end is the trailer's.
pub fn is_stashed(plain_len: u64) -> bool {
    plain_len < size::PART_PLAIN_MIN
}

/// UploadPart.
pub async fn upload(
    gateway: &Gateway,
    upload: UploadRef,
    part: PartNumber,
    customer: Option<&CustomerKey>,
    body: Upload,
) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &upload.name.bucket).await?;
    let opened = open_upload(gateway, &bucket, &upload).await?;
    customer_key::check_part(&opened.state.metadata, customer)?;
    let plain_len = body.plain_len();
    let plain = body.into_source(gateway);
    let sealed = seal_part(
        gateway,
        &bucket,
        &upload,
        &opened,
        SealPart {
            part,
            plain,
            plain_len,
        },
    )
    .await?;
    let mut answer = Answer::empty(StatusCode::OK);
    if let Ok(etag) = HeaderValue::try_from(sceau_s3wire::etag::quoted(&sealed.etag)) {
        answer.headers.insert(http::header::ETAG, etag);
    }
    echo_checksums(&sealed.facts.checksums, &mut answer.headers);
    echo_checksums(sealed.facts.announced.as_slice(), &mut answer.headers);
    answer.headers.remove("x-amz-checksum-type");
    sse::echo(&opened.state.metadata, &mut answer.headers);
    Ok(answer)
}

/// What a part is copied from.
pub struct PartCopy {
    /// The object.
    pub source: CopySource,
    /// First and last byte, if not all.
    pub range: Option<(u64, u64)>,
    /// Conditions as conditions of a read.
    pub conditions: HeaderMap,
    /// The customer's own keys of the upload and of the source, where they were shown.
    pub customers: [Option<CustomerKey>; 2],
}

/// UploadPartCopy: the source has other keys and other segment boundaries, so its bytes are opened and
/// sealed again here.
pub async fn copy(gateway: &Gateway, upload: UploadRef, part: PartNumber, copy: PartCopy) -> Result<Answer> {
    let from = SealedBucket::find(gateway, &copy.source.bucket).await?;
    let bucket = SealedBucket::find(gateway, &upload.name.bucket).await?;
    let opened = open_upload(gateway, &bucket, &upload).await?;
    let [own, of_source] = &copy.customers;
    customer_key::check_part(&opened.state.metadata, own.as_ref())?;
    let query = ObjectQuery {
        bucket: &from,
        key: &copy.source.key,
        version: copy.source.version_id.as_deref(),
        conditions: &copy.conditions,
        reason: Reason::Copy,
        reader: Reader::Client(of_source.as_ref()),
    };
    let spec = copy.range.map(|(first, last)| RangeSpec::Bounded { first, last });
    let plain = if folders::find(gateway, &query).await?.is_some() {
        if copy.range.is_some() {
            return Err(outside_of_source());
        }
        PlainSource::Empty
    } else {
        let source = stored_object::open(gateway, &query, spec)
            .await
            .map_err(|error| wrong_range(failed_condition(error)))?;
        if let (Some((_, last)), Some((_, got))) = (copy.range, source.range)
            && last != got
        {
            return Err(outside_of_source());
        }
        PlainSource::Stored(Box::new(source.body))
    };
    let plain_len = match &plain {
        PlainSource::Stored(body) => body.remaining(),
        PlainSource::Client(_) | PlainSource::Empty => 0,
    };
    let sealed = seal_part(
        gateway,
        &bucket,
        &upload,
        &opened,
        SealPart {
            part,
            plain,
            plain_len,
        },
    )
    .await?;
    let outcome = CopyOutcome {
        etag: sealed.etag,
        last_modified: gateway.now_iso8601(),
    };
    let mut answer = Answer::xml(outcome.to_part_xml());
    sse::echo(&opened.state.metadata, &mut answer.headers);
    Ok(answer)
}

/// A range of a copy that the source does not have is a wrong argument, not a read that cannot be satisfied.
fn wrong_range(error: GatewayError) -> GatewayError {
    if error.kind.code() == ErrorCode::InvalidRange {
        outside_of_source()
    } else {
        error
    }
}

fn outside_of_source() -> GatewayError {
    let message = "Range specified is not valid for source object.";
    GatewayError::client(ErrorCode::InvalidArgument, message)
}

struct SealPart {
    part: PartNumber,
    plain: PlainSource,
    plain_len: u64,
}

struct SealedPart {
    facts: SealedFacts,
    /// The part's ETag as the client sees it, without quotes.
    etag: String,
}

async fn seal_part(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
    opened: &OpenUpload,
    what: SealPart,
) -> Result<SealedPart> {
    let SealPart {
        part,
        plain,
        plain_len,
    } = what;
    let secrets = Arc::clone(&opened.state.secrets);
    let input = SealInput {
        plain,
        plain_len,
        secrets,
        part,
        tail: Tail::Nothing,
        announced: announced(opened),
    };
    let source = SealSource::new(&gateway.engine, input)?;
    let length =
        size::part_stored_len(plain_len).ok_or_else(|| GatewayError::code(ErrorCode::EntityTooLarge))?;
    let (sealing, iv) = (source.sealing(), source.iv());
    let body = StoreBody::Stream {
        length,
        body: SealedBody::whole(source, length).boxed(),
    };
    let mut request = if is_stashed(plain_len) {
        StoreRequest::new(Method::PUT)
            .bucket(gateway.control_bucket())
            .key(stash_name(&opened.state_name, part))
    } else {
        StoreRequest::new(Method::PUT)
            .bucket(bucket.name())
            .key(upload.name.key.as_str())
            .query("partNumber", part.get().to_string())
            .query("uploadId", upload.upload_id.as_str())
    };
    request.body = body;
    let answered = gateway.send(request).await;
    if let Some(error) = sealing.error() {
        return Err(error);
    }
    let response = answered.map_err(|error| fault::store_error(&error))?;
    if response.head.status != StatusCode::OK {
        return Err(stored_object::refusal(response).await);
    }
    let facts = sealing.facts()?;
    let store_etag = plain_etag(&response.head.headers)?;
    let ticket = Ticket {
        iv,
        plain_len,
        crc64: crc_bytes(&facts.crc64),
    };
    let ticket = ticket.encode(&opened.state.secrets, part, &store_etag);
    let ticket = ticket.ok_or_else(|| GatewayError::new(Kind::Internal, "a part has no ticket"))?;
    let mut etag = join_part_etag(&store_etag, Some(&ticket));
    if let Some(value) = &facts.announced {
        let checksum = encode_checksum(&opened.state.secrets, part, &etag, value.bytes());
        etag = format!("{checksum}.{etag}");
    }
    Ok(SealedPart { facts, etag })
}

/// The checksum that the upload announced, where a ticket has no place for it.
pub fn announced(opened: &OpenUpload) -> Option<Algorithm> {
    let (algorithm, _) = metadata::remembered(&opened.state.metadata)?;
    Some(algorithm).filter(|algorithm| *algorithm != Algorithm::Crc64Nvme)
}

fn crc_bytes(value: &Value) -> [u8; 8] {
    value.bytes().try_into().unwrap_or_default()
}

/// A part that the store or the stash holds.
pub struct KnownPart {
    /// Its number.
    pub number: PartNumber,
    /// Its plaintext length, as the stored length says.
    pub plain_len: u64,
    /// The store's ETag, without quotes.
    pub store_etag: String,
    /// When it was written, as the store wrote it.
    pub last_modified: String,
}

/// The parts in the stash of an upload, ascending.
pub async fn stashed(gateway: &Gateway, state_name: &str) -> Result<Vec<KnownPart>> {
    let prefix = format!("{state_name}/");
    let mut parts = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut list = StoreRequest::new(Method::GET)
            .bucket(gateway.control_bucket())
            .query("list-type", "2")
            .query("prefix", prefix.as_str());
        if let Some(token) = token.take() {
            list = list.query("continuation-token", token);
        }
        let (_, body) = success(send(gateway, list).await?).await?;
        let page = ListPage::parse(&body).map_err(odd_answer)?;
        for object in page.objects {
            let number = object
                .key
                .strip_prefix(&prefix)
                .and_then(|number| number.parse().ok());
            let plain_len = size::part_plain_len(object.size);
            if let (Some(number), Some(plain_len)) = (number.and_then(PartNumber::upload), plain_len) {
                let (store_etag, last_modified) = (object.etag, object.last_modified);
                parts.push(KnownPart {
                    number,
                    plain_len,
                    store_etag,
                    last_modified,
                });
            }
        }
        token = page.next_continuation_token.filter(|_| page.is_truncated);
        if token.is_none() || parts.len() > limits::STASH_PARTS_MAX {
            break;
        }
    }
    parts.sort_by_key(|part| part.number);
    Ok(parts)
}

/// The sealed bytes of a stashed part; another attempt than the one named is refused.
pub async fn read_stash(
    gateway: &Gateway,
    opened: &OpenUpload,
    part: PartNumber,
    store_etag: &str,
) -> Result<Bytes> {
    let name = stash_name(&opened.state_name, part);
    let stored = gateway
        .control
        .get(&name)
        .await
        .map_err(|error| fault::store_error(&error))?;
    match stored {
        Some((bytes, etag)) if sceau_s3wire::etag::opaque(&etag) == store_etag => Ok(bytes),
        Some(_) | None => Err(GatewayError::code(ErrorCode::InvalidPart)),
    }
}

/// Verifies a stashed part like any other before it is joined with the trailer (format, section 8.2).
///
/// Attack considered: a store that answers other bytes under the ETag of the part, so that a completion
/// is acknowledged of an object that nobody can read.
pub fn check_stash(
    gateway: &Gateway,
    opened: &OpenUpload,
    entry: &PartEntry,
    mut stored: BytesMut,
) -> Result<()> {
    let refused = || GatewayError::integrity(Integrity::Length, "a stashed part has another length");
    if size::part_stored_len(entry.plain_len) != Some(stored.len() as u64) {
        return Err(refused());
    }
    let own = || stored.get(PART_IV).and_then(|iv| iv.try_into().ok());
    let iv = entry.iv.or_else(own).ok_or_else(refused)?;
    let layout = Layout::stash(entry.number, entry.plain_len, iv).ok_or_else(refused)?;
    let secrets = &opened.state.secrets;
    let opener = Opener::new(&gateway.engine, secrets, &layout, Extent::Whole);
    let mut opener = opener.map_err(fault::open_error)?;
    while let Need::Exactly(bytes) = opener.need() {
        if bytes > stored.len() {
            return Err(refused());
        }
        opener.supply(stored.split_to(bytes)).map_err(fault::open_error)?;
    }
    Ok(())
}

/// One page of the store's own list of parts.
async fn store_page(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
    after: u16,
    parts_max: usize,
) -> Result<PartList> {
    let list = StoreRequest::new(Method::GET)
        .bucket(bucket.name())
        .key(upload.name.key.as_str())
        .query("uploadId", upload.upload_id.as_str())
        .query("part-number-marker", after.to_string())
        .query("max-parts", parts_max.to_string());
    let (_, body) = success(send(gateway, list).await?).await?;
    PartList::parse(&body).map_err(odd_answer)
}

/// All parts of an upload, from the store and the stash.
pub async fn all(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
    opened: &OpenUpload,
) -> Result<Vec<KnownPart>> {
    let mut parts = stashed(gateway, &opened.state_name).await?;
    let mut after = 0;
    loop {
        let page = store_page(gateway, bucket, upload, after, 1_000).await?;
        let is_truncated = page.is_truncated;
        let last = page.parts.last().map(|part| part.number);
        parts.extend(page.parts.into_iter().filter_map(known));
        match last {
            // A page that does not advance would be asked for again for ever.
            Some(last) if is_truncated && last > after => after = last,
            Some(_) | None => return Ok(parts),
        }
    }
}

/// A part in plaintext terms. A part whose length none of ours has is the trailer of a completion that
/// did not end; clients never sent it.
fn known(part: ListedPart) -> Option<KnownPart> {
    let number = PartNumber::upload(part.number)?;
    let plain_len = size::part_plain_len(part.size)?;
    Some(KnownPart {
        number,
        plain_len,
        store_etag: part.etag,
        last_modified: part.last_modified,
    })
}

/// ListParts.
pub async fn list(gateway: &Gateway, upload: &UploadRef, after: u16, parts_max: usize) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &upload.name.bucket).await?;
    let opened = open_upload(gateway, &bucket, upload).await?;
    let mut page = store_page(gateway, &bucket, upload, after, parts_max).await?;
    let end = page
        .parts
        .last()
        .filter(|_| page.is_truncated)
        .map_or(u16::MAX, |part| part.number);
    let mut parts: Vec<_> = std::mem::take(&mut page.parts)
        .into_iter()
        .filter_map(known)
        .collect();
    for stashed in stashed(gateway, &opened.state_name).await? {
        let number = stashed.number.get();
        if number > after && number <= end {
            merge(&mut parts, stashed);
        }
    }
    parts.sort_by_key(|part| part.number);
    if parts.len() > parts_max {
        parts.truncate(parts_max);
        // As in listings: a page of nothing has no next one.
        page.is_truncated = parts_max > 0;
    }
    page.bucket.clone_from(&upload.name.bucket);
    page.key.clone_from(&upload.name.key);
    page.max_parts = parts_max as u64;
    page.next_part_number_marker = Some(parts.last().map_or(0, |part| u64::from(part.number.get())));
    page.parts = parts.into_iter().map(listed).collect();
    Ok(Answer::xml(page.to_xml()))
}

/// A part may be in both places when it was uploaded twice with lengths on either side of 5 MiB: the later
/// attempt counts. The store writes its times in one sortable form.
fn merge(parts: &mut Vec<KnownPart>, another: KnownPart) {
    match parts.iter_mut().find(|part| part.number == another.number) {
        Some(part) if part.last_modified < another.last_modified => *part = another,
        Some(_) => {}
        None => parts.push(another),
    }
}

fn listed(part: KnownPart) -> ListedPart {
    ListedPart {
        number: part.number.get(),
        last_modified: part.last_modified,
        etag: join_part_etag(&part.store_etag, None),
        size: part.plain_len,
    }
}
