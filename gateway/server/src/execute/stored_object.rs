//! Opens a stored object for reading: asks the store, verifies the header, learns the layout.
//!
//! What lives here: the conversation with the store that every read needs (GET, HEAD, the source of a
//! copy). What must not: the client's answer. Invariant: what leaves here has an authentic header for
//! exactly this bucket and key, and lengths that agree with it.

mod described;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sceau_envelope::open::{Extent, Opener};
use sceau_envelope::size::{self, PlainRange};
use sceau_envelope::trailer::{FOOTER_BYTES, Footer, Layout, Manifest, Suffix};
use sceau_envelope::{ObjectHeader, SealedHeader};
use sceau_kms::Reason;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::range::{self, RangeSpec};

use crate::app::Gateway;
use crate::crypt::layout_cache::LearntLayout;
use crate::crypt::open_body::{PlainBody, Rest};
use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::execute::etag_to_client;
use crate::execute::sealing::SealedBucket;
use crate::limits;
use crate::plan::customer_key::{self, CustomerKey};
use crate::plan::fault;
use crate::plan::read::{self, Ask, Sent};
use crate::upstream::{StoreRequest, StoreResponse, StoreResponseBody};

pub use described::{describe, trailing_manifest};

/// Name of the metadata header that carries the sealed header.
pub const HEADER_METADATA: &str = "x-amz-meta-sceauh1";

const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// Which object, and under which conditions.
pub struct ObjectQuery<'a> {
    /// The bucket it is in.
    pub bucket: &'a SealedBucket,
    /// Its key.
    pub key: &'a str,
    /// The version asked for; `None` for the current one.
    pub version: Option<&'a str>,
    /// Conditions in the store's form.
    pub conditions: &'a HeaderMap,
    /// Why its key is used.
    pub reason: Reason,
    /// Who reads it.
    pub reader: Reader<'a>,
}

/// Who reads an object.
#[derive(Clone, Copy)]
pub enum Reader<'a> {
    /// A client, which must show the customer's key where the object is bound to one.
    Client(Option<&'a CustomerKey>),
    /// Nobody is told its plaintext or metadata: the operator looks after it, or a client after its tags,
    /// which S3 serves without the key.
    NoPlaintext,
}

/// An object whose header is authentic.
pub struct StoredObject {
    /// What the header says.
    pub header: ObjectHeader,
    /// The sealed header as stored.
    pub header_value: String,
    /// The store's response headers.
    pub store_headers: HeaderMap,
    /// Authenticated plaintext length.
    pub plain_len: u64,
    /// Stored length, which agrees with it.
    pub stored_len: u64,
    /// Parts and checksum from the trailer, where the trailer was read.
    pub manifest: Option<Arc<LearntLayout>>,
}

/// An object together with the plaintext that was asked for.
pub struct OpenedObject {
    /// The object.
    pub object: StoredObject,
    /// First and last plaintext byte, when a range was asked for.
    pub range: Option<(u64, u64)>,
    /// The plaintext; already primed.
    pub body: PlainBody,
}

/// A response whose header was opened, before the layout is known.
struct Answered {
    header: ObjectHeader,
    header_value: String,
    sent: Sent,
    store_headers: HeaderMap,
    body: StoreResponseBody,
}

impl Answered {
    fn into_object(
        self,
        layout: &Layout,
        manifest: Option<Arc<LearntLayout>>,
    ) -> (StoredObject, StoreResponseBody, Sent) {
        let object = StoredObject {
            header: self.header,
            header_value: self.header_value,
            store_headers: self.store_headers,
            plain_len: layout.plain_len(),
            stored_len: self.sent.stored_len,
            manifest,
        };
        (object, self.body, self.sent)
    }
}

/// Reads header and length only.
pub async fn head(gateway: &Gateway, query: &ObjectQuery<'_>) -> Result<StoredObject> {
    let asked = ask(gateway, query, Ask::Tail(size::FOOTER), None).await;
    let answered = asked.map_err(too_short)?;
    if answered.header.is_multi {
        let (mut parts, sent) = (answered, FOOTER_BYTES);
        let tail = collect(&mut parts.body, sent).await?;
        let footer: &[u8; FOOTER_BYTES] = tail.as_ref().try_into().map_err(|_| short_body())?;
        let footer = Footer::open(footer, &parts.header).map_err(fault::trailer_error)?;
        let plain_len = footer.plain_len();
        check_lengths(plain_len, parts.sent.stored_len)?;
        return Ok(StoredObject {
            header: parts.header,
            header_value: parts.header_value,
            store_headers: parts.store_headers,
            plain_len,
            stored_len: parts.sent.stored_len,
            manifest: None,
        });
    }
    let layout = single_layout(&answered)?;
    Ok(answered.into_object(&layout, None).0)
}

/// Opens the object, or a range of it.
pub async fn open(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    spec: Option<RangeSpec>,
) -> Result<OpenedObject> {
    for _ in 1..limits::READ_ATTEMPTS_MAX {
        if let Some(opened) = Box::pin(try_open(gateway, query, spec)).await? {
            return Ok(opened);
        }
    }
    // Replaced again and again between two requests to the store: the last try's answer stands.
    Box::pin(try_open(gateway, query, spec)).await?.ok_or_else(|| {
        GatewayError::new(
            Kind::StoreUnavailable,
            "the object changed during each attempt to read it",
        )
    })
}

/// One attempt; `None` when the object was replaced between two requests.
async fn try_open(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    spec: Option<RangeSpec>,
) -> Result<Option<OpenedObject>> {
    let learnt = gateway.layouts.find(query.bucket.name(), query.key);
    let first = match &learnt {
        Some(learnt) => learnt_ask(learnt, spec),
        None => read::first_ask(spec, false),
    };
    let answered = match ask(gateway, query, first, None).await {
        Err(error) if error.kind == Kind::Answer(ErrorCode::InvalidRange) => {
            if learnt.is_some() {
                // The belief was stale and the new object is shorter: start again without it.
                gateway.layouts.forget(query.bucket.name(), query.key);
                return Ok(None);
            }
            return Err(out_of_range(gateway, query).await);
        }
        answered => answered?,
    };
    let learnt = match learnt {
        Some(learnt)
            if learnt.header_value == answered.header_value
                && learnt.stored_len == answered.sent.stored_len =>
        {
            Some(learnt)
        }
        Some(_) | None if answered.header.is_multi => match learn(gateway, query, &answered).await? {
            Some(learnt) => Some(learnt),
            None => return Ok(None),
        },
        Some(_) | None => None,
    };
    let layout = match &learnt {
        Some(learnt) => learnt.manifest.layout().clone(),
        None => single_layout(&answered)?,
    };
    read_extent(gateway, query, spec, answered, layout, learnt).await
}

/// The question for an object whose layout is believed to be known. Belief only chooses the question.
fn learnt_ask(learnt: &LearntLayout, spec: Option<RangeSpec>) -> Ask {
    let layout = learnt.manifest.layout();
    match range::resolve(spec, layout.plain_len()) {
        Ok(None) => Ask::Whole,
        Ok(Some((first, last))) => layout
            .stored_range(PlainRange { first, last })
            .map_or_else(|| read::first_ask(spec, false), Ask::Bytes),
        // Cheap, and brings the length that the refusal must name.
        Err(range::Unsatisfiable) => Ask::Tail(size::FOOTER),
    }
}

async fn read_extent(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    spec: Option<RangeSpec>,
    answered: Answered,
    layout: Layout,
    learnt: Option<Arc<LearntLayout>>,
) -> Result<Option<OpenedObject>> {
    let range = range::resolve(spec, layout.plain_len()).map_err(|_| unsatisfiable(layout.plain_len()))?;
    let extent = match range {
        Some((first, last)) => Extent::Range(PlainRange { first, last }),
        None => Extent::WholeAndTrailer,
    };
    let plain_bytes = range.map_or(layout.plain_len(), |(first, last)| {
        last.saturating_sub(first).saturating_add(1)
    });
    let mut opener =
        Opener::new(&gateway.engine, &answered.header.secrets, &layout, extent).map_err(fault::open_error)?;
    if let Some(wanted) = opener.needs_part_header() {
        let Some(bytes) = read_again(gateway, query, &answered, Ask::Bytes(wanted)).await? else {
            return Ok(None);
        };
        let header = bytes.as_ref().try_into().map_err(|_| short_body())?;
        opener.supply_part_header(header).map_err(fault::open_error)?;
    }
    let needed = opener.stored_range();
    let (object, mut body, sent) = answered.into_object(&layout, learnt);
    let mut rest = if sent.range == needed {
        Rest::Nothing
    } else {
        Rest::Ignored
    };
    if sent.range.first != needed.first || sent.range.last < needed.last {
        // Not what is needed (a multipart object, a suffix): ask for exactly that, of the same object.
        drop(body);
        match again(gateway, query, &object, Ask::Bytes(needed)).await? {
            Some((next, _)) => body = next,
            None => return Ok(None),
        }
        rest = Rest::Nothing;
    }
    let mut body = PlainBody::new(body, opener, plain_bytes, rest);
    body.prime().await?;
    Ok(Some(OpenedObject { object, range, body }))
}

/// Reads and verifies the trailer of a multipart object; `None` when the object was replaced.
async fn learn(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    answered: &Answered,
) -> Result<Option<Arc<LearntLayout>>> {
    let stored_len = answered.sent.stored_len;
    let mut tail_len = limits::TRAILER_GUESS_BYTES.min(stored_len);
    let mut manifest: Option<Manifest> = None;
    // Twice at most: the footer of the first tail says how long the manifest is.
    for _ in 0..2 {
        let Some(tail) = read_again(gateway, query, answered, Ask::Tail(tail_len)).await? else {
            return Ok(None);
        };
        match Suffix::open(&gateway.engine, &answered.header, &tail).map_err(fault::trailer_error)? {
            Suffix::Complete(_, found) => {
                manifest = Some(found);
                break;
            }
            Suffix::Need(_, bytes) => tail_len = bytes.min(stored_len),
        }
    }
    let manifest = manifest.ok_or_else(|| {
        GatewayError::integrity(Integrity::Trailer, "the manifest is longer than the footer says")
    })?;
    check_lengths(manifest.layout().plain_len(), stored_len)?;
    let learnt = Arc::new(LearntLayout {
        header_value: answered.header_value.clone(),
        stored_len,
        manifest,
    });
    gateway
        .layouts
        .learn(query.bucket.name(), query.key, Arc::clone(&learnt));
    Ok(Some(learnt))
}

/// Sends one read and opens the header of what comes back.
async fn ask(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    ask: Ask,
    if_match: Option<&HeaderValue>,
) -> Result<Answered> {
    let response = send(gateway, query, ask, if_match, query.version).await?;
    let status = response.head.status;
    if status == StatusCode::NOT_MODIFIED {
        return Err(not_modified(&response.head.headers));
    }
    if !status.is_success() {
        return Err(refusal(response).await);
    }
    let store_headers = response.head.headers;
    check_version(query, &store_headers)?;
    let header_value = header_value(&store_headers)?;
    let header = open_header(gateway, query, &header_value).await?;
    let sent = read::sent(ask, status, &store_headers)?;
    Ok(Answered {
        header,
        header_value,
        sent,
        store_headers,
        body: response.body,
    })
}

async fn send(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    ask: Ask,
    if_match: Option<&HeaderValue>,
    version: Option<&str>,
) -> Result<StoreResponse> {
    let mut request = StoreRequest::new(Method::GET)
        .bucket(query.bucket.name())
        .key(query.key);
    if let Some(version) = version {
        request = request.query("versionId", version);
    }
    match if_match {
        Some(etag) => {
            request.headers.insert(header::IF_MATCH, etag.clone());
        }
        None => request.headers = query.conditions.clone(),
    }
    if let Some(range) = ask.range_header() {
        let value =
            HeaderValue::try_from(range).map_err(|_| GatewayError::new(Kind::Internal, "range header"))?;
        request.headers.insert(header::RANGE, value);
    }
    gateway
        .send(request)
        .await
        .map_err(|error| fault::store_error(&error))
}

/// What the store's error answer to a read means. Its body is read only as far as it helps.
pub async fn refusal(response: StoreResponse) -> GatewayError {
    let status = response.head.status;
    match response.collect(limits::ERROR_ANSWER_BYTES_MAX).await {
        Ok((head, body)) => {
            let mut error = fault::store_answer(status, &body);
            // A read that meets a delete marker is refused, and told so.
            for name in [DELETE_MARKER, VERSION_ID] {
                if let Some(value) = head.headers.get(&name) {
                    error.headers.push((name, value.clone()));
                }
            }
            error
        }
        Err(error) => fault::store_error(&error),
    }
}

/// A store without versions may overlook the one asked for, and answer with the current object.
pub fn check_version(query: &ObjectQuery<'_>, store: &HeaderMap) -> Result<()> {
    let is_named = |asked| version(store) == Some(asked);
    match query.version {
        None | Some("null") => Ok(()),
        Some(asked) if is_named(asked) => Ok(()),
        Some(_) => Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "The store behind this gateway did not answer with the version asked for.",
        )),
    }
}

/// The version that the store says it answered with. `null` names no particular one: it is what an object
/// without a version is called, and what it is replaced by.
pub fn version(store: &HeaderMap) -> Option<&str> {
    let version = store.get(VERSION_ID)?.to_str().ok()?;
    (!version.is_empty() && version != "null").then_some(version)
}

/// A 304 tells which version the client holds (RFC 9110, section 15.4.5).
fn not_modified(store: &HeaderMap) -> GatewayError {
    let mut error = GatewayError::new(Kind::Answer(ErrorCode::NotModified), "");
    if let Some(etag) = store.get(header::ETAG).and_then(etag_to_client) {
        error.headers.push((header::ETAG, etag));
    }
    if let Some(modified) = store.get(header::LAST_MODIFIED) {
        error.headers.push((header::LAST_MODIFIED, modified.clone()));
    }
    error
}

/// The same object again, another range: pinned by its ETag and recognised by its header. `None` when
/// it was replaced.
async fn again(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    object: &StoredObject,
    ask: Ask,
) -> Result<Option<(StoreResponseBody, Sent)>> {
    same_object(
        gateway,
        query,
        &object.store_headers,
        &object.header_value,
        object.stored_len,
        ask,
    )
    .await
}

async fn read_again(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    answered: &Answered,
    ask: Ask,
) -> Result<Option<Bytes>> {
    let stored_len = answered.sent.stored_len;
    let found = same_object(
        gateway,
        query,
        &answered.store_headers,
        &answered.header_value,
        stored_len,
        ask,
    )
    .await?;
    match found {
        None => Ok(None),
        Some((mut body, sent)) => {
            let length = usize::try_from(sent.range.len()).map_err(|_| short_body())?;
            collect(&mut body, length).await.map(Some)
        }
    }
}

async fn same_object(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    store_headers: &HeaderMap,
    value: &str,
    stored_len: u64,
    ask: Ask,
) -> Result<Option<(StoreResponseBody, Sent)>> {
    let etag = store_headers
        .get(header::ETAG)
        .ok_or_else(|| GatewayError::new(Kind::StoreProtocol, "the store sent no ETag"))?;
    // The version that answered first: an object that is replaced between two requests of one read can
    // then be read to its end.
    let version = query.version.or(version(store_headers));
    let response = send(gateway, query, ask, Some(etag), version).await?;
    let status = response.head.status;
    if status == StatusCode::PRECONDITION_FAILED || status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !status.is_success() {
        return Err(refusal(response).await);
    }
    let sent = read::sent(ask, status, &response.head.headers)?;
    let is_same = header_value(&response.head.headers)? == value && sent.stored_len == stored_len;
    Ok(is_same.then_some((response.body, sent)))
}

fn header_value(headers: &HeaderMap) -> Result<String> {
    let mut values = headers.get_all(HEADER_METADATA).iter();
    let Some(value) = values.next() else {
        return Err(GatewayError::new(
            Kind::NotSealed,
            "the object has no sealed header",
        ));
    };
    let value = value.to_str().ok().filter(|_| values.next().is_none());
    value.map(str::to_owned).ok_or_else(|| {
        GatewayError::integrity(Integrity::Header, "the sealed header is repeated or not text")
    })
}

async fn open_header(gateway: &Gateway, query: &ObjectQuery<'_>, value: &str) -> Result<ObjectHeader> {
    let sealed = SealedHeader::parse(value).map_err(fault::header_error)?;
    query.bucket.check_suite(sealed.suite())?;
    let keys = query
        .bucket
        .open_keys(gateway, sealed.krid(), query.reason)
        .await?;
    let context = query.bucket.context(query.key);
    let header = sealed
        .open(&gateway.engine, &keys, &context)
        .map_err(fault::header_error)?;
    if let Reader::Client(shown) = query.reader {
        customer_key::check_read(&header.metadata, shown)?;
    }
    Ok(header)
}

fn single_layout(answered: &Answered) -> Result<Layout> {
    answered
        .header
        .check_stored_len(answered.sent.stored_len)
        .map_err(fault::header_error)?;
    Layout::single(&answered.header)
        .ok_or_else(|| GatewayError::integrity(Integrity::Header, "a single object without a length"))
}

fn check_lengths(plain_len: u64, stored_len: u64) -> Result<()> {
    if size::stored_len(plain_len) == Some(stored_len) {
        return Ok(());
    }
    Err(GatewayError::integrity(
        Integrity::Length,
        "the stored length does not belong to the sealed length",
    ))
}

fn short_body() -> GatewayError {
    GatewayError::integrity(
        Integrity::Length,
        "the store's body has another length than announced",
    )
}

/// The refusal of a range that the store could not serve, with the authenticated length.
async fn out_of_range(gateway: &Gateway, query: &ObjectQuery<'_>) -> GatewayError {
    match head(gateway, query).await {
        Ok(object) => unsatisfiable(object.plain_len),
        Err(error) => error,
    }
}

/// An object that has no last 64 bytes is none that the gateway wrote.
fn too_short(error: GatewayError) -> GatewayError {
    if error.kind == Kind::Answer(ErrorCode::InvalidRange) {
        return GatewayError::new(Kind::NotSealed, "the object is too short to be sealed");
    }
    error
}

/// The refusal of a range outside an object of this length.
pub fn unsatisfiable(plain_len: u64) -> GatewayError {
    let mut error = GatewayError::code(ErrorCode::InvalidRange);
    error.extra.push(("ActualObjectSize", plain_len.to_string()));
    if let Ok(range) = HeaderValue::try_from(format!("bytes */{plain_len}")) {
        error.headers.push((header::CONTENT_RANGE, range));
    }
    error
}

/// Gathers a small body of exactly `length` bytes.
async fn collect(body: &mut StoreResponseBody, length: usize) -> Result<Bytes> {
    use http_body_util::BodyExt;
    let mut bytes = bytes::BytesMut::with_capacity(length);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fault::store_error(&error))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len().saturating_add(data.len()) > length {
                return Err(short_body());
            }
            bytes.extend_from_slice(&data);
        }
    }
    if bytes.len() == length {
        Ok(bytes.freeze())
    } else {
        Err(short_body())
    }
}
