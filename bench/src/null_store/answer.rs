//! What each request means to the null store.
//!
//! What lives here: the operations of S3 that a gateway asks of its store. What must not: memory of bodies.
//! Invariant: what is not understood is refused with 501, never answered with success.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use sceau_s3wire::amztime::{format_http_date, format_iso8601};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::{Addressing, RawQuery, RequestTarget};
use sceau_s3wire::xml::write::XmlWriter;
use sceau_s3wire::xml::{
    CompletedUpload, CopyOutcome, DeleteOutcome, DeleteRequest, DeletedEntry, InitiatedUpload, ListedPart,
    PartList, parse_completed_parts, write_location,
};
use sceau_s3wire::{copy_source, etag, range};

use super::receive::{self, Content, Unreceived};
use super::reply::{Answer, Pieces, document, empty, error};
use super::shelf::{Condition, Object, Page, Pending, Shelf, tag};

/// Where the numbers of requests are read; no bucket has so short a name.
const COUNTS_PATH: &str = "/-/requests";
/// Most entries of one page, S3's limit.
const PAGE_ENTRIES_MAX: usize = 1000;
/// Headers of a write that come back with reads, besides `x-amz-meta-`.
const KEPT: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
    "x-amz-storage-class",
];

/// Answers one request.
pub async fn respond(shelf: &Shelf, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let is_head = head.method == Method::HEAD;
    match answer(shelf, head, body).await {
        Ok(answer) => answer,
        Err(code) => error(code, &path, is_head),
    }
}

/// The name that a request is about.
struct Named {
    bucket: String,
    key: String,
    query: RawQuery,
}

impl Named {
    fn query(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }
}

/// The kind of a request, as it is counted.
fn kind(head: &Parts, named: &Named) -> &'static str {
    let is_object = !named.key.is_empty();
    match (head.method.as_str(), is_object) {
        ("GET", true) => "GET object",
        ("GET", false) => "GET bucket",
        ("HEAD", true) => "HEAD object",
        ("HEAD", false) => "HEAD bucket",
        ("PUT", true) if head.headers.contains_key("x-amz-copy-source") => "PUT copy",
        ("PUT", true) if named.query.contains("uploadId") => "PUT part",
        ("PUT", true) => "PUT object",
        ("PUT", false) => "PUT bucket",
        ("POST", true) => "POST object",
        ("POST", false) => "POST bucket",
        ("DELETE", true) => "DELETE object",
        ("DELETE", false) => "DELETE bucket",
        (_, _) => "other",
    }
}

async fn answer(shelf: &Shelf, head: Parts, body: Incoming) -> Result<Answer, ErrorCode> {
    if head.uri.path() == COUNTS_PATH {
        let counts = serde_json::to_vec(&shelf.counts()).map_err(|_| ErrorCode::InternalError)?;
        return Ok(document(StatusCode::OK, counts));
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = RequestTarget::parse(target.as_bytes()).map_err(|error| error.code())?;
    let at = Addressing::split("", target.raw_path(), &[]).map_err(|error| error.code())?;
    let named = Named {
        bucket: at.bucket.unwrap_or_default(),
        key: at.key.unwrap_or_default(),
        query: target.query().clone(),
    };
    shelf.count(kind(&head, &named));
    match (named.bucket.is_empty(), named.key.is_empty()) {
        (true, _) => Ok(buckets(shelf)),
        (_, true) => bucket(shelf, &head, &named, body).await,
        (_, false) => object(shelf, &head, &named, body).await,
    }
}

fn buckets(shelf: &Shelf) -> Answer {
    let mut xml = XmlWriter::document();
    xml.open_root("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.element("ID", "null");
    xml.close("Owner");
    xml.open("Buckets");
    for name in shelf.names() {
        xml.open("Bucket");
        xml.element("Name", &name);
        xml.element("CreationDate", &format_iso8601(0));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.close("ListAllMyBucketsResult");
    document(StatusCode::OK, xml.finish())
}

async fn bucket(shelf: &Shelf, head: &Parts, named: &Named, body: Incoming) -> Result<Answer, ErrorCode> {
    let asks = |name: &str| named.query.contains(name);
    match head.method {
        Method::PUT if named.query.is_empty() => {
            shelf.create(&named.bucket);
            Ok(empty(StatusCode::OK))
        }
        Method::HEAD => shelf.check(&named.bucket).map(|()| empty(StatusCode::OK)),
        Method::DELETE if named.query.is_empty() => {
            shelf.remove_bucket(&named.bucket)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Method::POST if asks("delete") => {
            let asked = receive::document(body).await.map_err(unreceived)?;
            delete_many(shelf, &named.bucket, &asked)
        }
        Method::GET if asks("location") => {
            shelf.check(&named.bucket)?;
            Ok(document(StatusCode::OK, write_location(None)))
        }
        Method::GET if asks("versioning") => {
            shelf.check(&named.bucket)?;
            let mut xml = XmlWriter::document();
            xml.open_root("VersioningConfiguration");
            xml.close("VersioningConfiguration");
            Ok(document(StatusCode::OK, xml.finish()))
        }
        Method::GET if asks("uploads") => uploads(shelf, named),
        Method::GET if asks("list-type") || listing_only(&named.query) => list(shelf, named),
        _ => Err(ErrorCode::NotImplemented),
    }
}

/// Whether a query has nothing but what a listing of the first version takes.
fn listing_only(query: &RawQuery) -> bool {
    let known = ["prefix", "delimiter", "marker", "max-keys", "encoding-type"];
    query
        .pairs()
        .iter()
        .all(|pair| known.contains(&pair.name.as_str()))
}

fn delete_many(shelf: &Shelf, bucket: &str, asked: &[u8]) -> Result<Answer, ErrorCode> {
    let asked = DeleteRequest::parse(asked)?;
    let mut outcome = DeleteOutcome::default();
    for object in asked.objects {
        shelf.delete(bucket, &object.key)?;
        if !asked.quiet {
            outcome.deleted.push(DeletedEntry {
                key: object.key,
                ..DeletedEntry::default()
            });
        }
    }
    Ok(document(StatusCode::OK, outcome.to_xml()))
}

fn uploads(shelf: &Shelf, named: &Named) -> Result<Answer, ErrorCode> {
    let mut xml = XmlWriter::document();
    xml.open_root("ListMultipartUploadsResult");
    xml.element("Bucket", &named.bucket);
    xml.element("IsTruncated", "false");
    for (id, key) in shelf.uploads(&named.bucket, named.query("prefix"))? {
        xml.open("Upload");
        xml.element("Key", &key);
        xml.element("UploadId", &id);
        xml.element("Initiated", &format_iso8601(0));
        xml.close("Upload");
    }
    xml.close("ListMultipartUploadsResult");
    Ok(document(StatusCode::OK, xml.finish()))
}

fn list(shelf: &Shelf, named: &Named) -> Result<Answer, ErrorCode> {
    let is_second = named.query("list-type") == "2";
    let after = if !is_second {
        named.query("marker")
    } else if named.query.contains("continuation-token") {
        named.query("continuation-token")
    } else {
        named.query("start-after")
    };
    let max = match named.query.get("max-keys") {
        None => PAGE_ENTRIES_MAX,
        Some(text) => text.parse().map_err(|_| ErrorCode::InvalidArgument)?,
    };
    let max = usize::min(max, PAGE_ENTRIES_MAX);
    let page = shelf.list(
        &named.bucket,
        named.query("prefix"),
        named.query("delimiter"),
        after,
        max,
    )?;
    Ok(document(StatusCode::OK, listing(named, &page, is_second, max)))
}

fn listing(named: &Named, page: &Page, is_second: bool, max: usize) -> Vec<u8> {
    let is_encoded = named.query("encoding-type") == "url";
    let name = |xml: &mut XmlWriter, element: &str, text: &str| match is_encoded {
        true => xml.element(element, &sceau_s3wire::target::encode_path(text)),
        false => xml.element(element, text),
    };
    let mut xml = XmlWriter::document();
    xml.open_root("ListBucketResult");
    xml.element("Name", &named.bucket);
    name(&mut xml, "Prefix", named.query("prefix"));
    if named.query.contains("delimiter") {
        name(&mut xml, "Delimiter", named.query("delimiter"));
    }
    xml.element("MaxKeys", &max.to_string());
    if is_encoded {
        xml.element("EncodingType", "url");
    }
    xml.element("IsTruncated", if page.next.is_some() { "true" } else { "false" });
    if is_second {
        let count = page.objects.len().saturating_add(page.prefixes.len());
        xml.element("KeyCount", &count.to_string());
        xml.optional("NextContinuationToken", page.next.as_deref());
    } else if let Some(next) = &page.next {
        name(&mut xml, "NextMarker", next);
    }
    for (key, object) in &page.objects {
        xml.open("Contents");
        name(&mut xml, "Key", key);
        xml.element("LastModified", &format_iso8601(object.modified));
        xml.element("ETag", &object.etag);
        xml.element("Size", &object.content.length.to_string());
        xml.element("StorageClass", "STANDARD");
        xml.close("Contents");
    }
    for prefix in &page.prefixes {
        xml.open("CommonPrefixes");
        name(&mut xml, "Prefix", prefix);
        xml.close("CommonPrefixes");
    }
    xml.close("ListBucketResult");
    xml.finish()
}

async fn object(shelf: &Shelf, head: &Parts, named: &Named, body: Incoming) -> Result<Answer, ErrorCode> {
    let is_part = named.query.contains("uploadId");
    // Parameters that ask for something else than the object.
    if [
        "tagging",
        "acl",
        "attributes",
        "versionId",
        "retention",
        "legal-hold",
    ]
    .iter()
    .any(|name| named.query.contains(name))
    {
        return Err(ErrorCode::NotImplemented);
    }
    match head.method {
        Method::GET if is_part => parts(shelf, named),
        Method::GET => read(shelf, head, named, true),
        Method::HEAD => read(shelf, head, named, false),
        Method::PUT if is_part => put_part(shelf, head, named, body).await,
        Method::PUT if head.headers.contains_key("x-amz-copy-source") => copy(shelf, head, named),
        Method::PUT => put(shelf, head, named, body).await,
        Method::POST if named.query.contains("uploads") => start(shelf, head, named),
        Method::POST if is_part => complete(shelf, head, named, body).await,
        Method::DELETE if is_part => {
            shelf.end(&named.bucket, named.query("uploadId"))?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Method::DELETE => {
            shelf.delete(&named.bucket, &named.key)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(ErrorCode::NotImplemented),
    }
}

fn read(shelf: &Shelf, head: &Parts, named: &Named, with_body: bool) -> Result<Answer, ErrorCode> {
    let object = shelf.object(&named.bucket, &named.key)?;
    let header = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    if header(IF_MATCH)
        .is_some_and(|wanted| wanted != "*" && etag::opaque(wanted) != etag::opaque(&object.etag))
    {
        return Err(ErrorCode::PreconditionFailed);
    }
    if header(IF_NONE_MATCH).is_some_and(|known| etag::opaque(known) == etag::opaque(&object.etag)) {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    let length = object.content.length;
    let asked = header(RANGE).and_then(|value| range::parse(value.as_bytes()));
    let cut = range::resolve(asked, length).map_err(|_| ErrorCode::InvalidRange)?;
    let is_dropped = length > 0 && object.content.pieces.is_empty();
    if with_body && is_dropped {
        return Err(ErrorCode::NoSuchKey);
    }
    let content = match cut {
        _ if !with_body => Content::default(),
        None => object.content.clone(),
        Some((first, last)) => object.content.cut(first, last),
    };
    let mut answer = Answer::new(Pieces::from(content));
    let headers = answer.headers_mut();
    headers.extend(object.headers.iter().cloned());
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(ETAG, object.etag.clone());
    set(LAST_MODIFIED, format_http_date(object.modified));
    set(HeaderName::from_static("accept-ranges"), "bytes".to_owned());
    match cut {
        None => set(CONTENT_LENGTH, length.to_string()),
        Some((first, last)) => {
            set(CONTENT_RANGE, format!("bytes {first}-{last}/{length}"));
            let sent = last.saturating_sub(first).saturating_add(1);
            set(CONTENT_LENGTH, sent.to_string());
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
    Ok(answer)
}

/// Headers of a write that are to come back.
fn kept(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let is_kept =
        |name: &HeaderName| name.as_str().starts_with("x-amz-meta-") || KEPT.contains(&name.as_str());
    let mut kept = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
        // `aws-chunked` is how the body travelled, not what it is.
        if name != CONTENT_ENCODING || value != "aws-chunked" {
            kept.push((name.clone(), value.clone()));
        }
    }
    kept
}

fn condition(headers: &HeaderMap) -> Result<Condition, ErrorCode> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some(tag), None) => Ok(Condition::Tag(etag::quoted(etag::opaque(tag)))),
        (_, Some(_)) => Err(ErrorCode::NotImplemented),
    }
}

async fn put(shelf: &Shelf, head: &Parts, named: &Named, body: Incoming) -> Result<Answer, ErrorCode> {
    let condition = condition(&head.headers)?;
    let content = receive::content(&head.headers, body, &shelf.blocks, shelf.object_bytes_max());
    let object = Object {
        content: content.await.map_err(unreceived)?,
        headers: kept(&head.headers),
        ..Object::default()
    };
    let etag = shelf.put(&named.bucket, &named.key, object, &condition)?;
    tagged(&etag)
}

fn tagged(etag: &str) -> Result<Answer, ErrorCode> {
    let mut answer = empty(StatusCode::OK);
    let value = HeaderValue::from_str(etag).map_err(|_| ErrorCode::InternalError)?;
    answer.headers_mut().insert(ETAG, value);
    Ok(answer)
}

fn source(shelf: &Shelf, headers: &HeaderMap) -> Result<Arc<Object>, ErrorCode> {
    let value = headers
        .get("x-amz-copy-source")
        .ok_or(ErrorCode::InvalidArgument)?;
    let source = copy_source::parse(value.as_bytes())?;
    let object = shelf.object(&source.bucket, &source.key)?;
    let wanted = headers.get("x-amz-copy-source-if-match");
    if wanted
        .is_some_and(|wanted| etag::opaque(wanted.to_str().unwrap_or_default()) != etag::opaque(&object.etag))
    {
        return Err(ErrorCode::PreconditionFailed);
    }
    Ok(object)
}

fn copy(shelf: &Shelf, head: &Parts, named: &Named) -> Result<Answer, ErrorCode> {
    let from = source(shelf, &head.headers)?;
    let replace = head
        .headers
        .get("x-amz-metadata-directive")
        .is_some_and(|directive| directive == "REPLACE");
    let object = Object {
        content: from.content.clone(),
        headers: if replace {
            kept(&head.headers)
        } else {
            from.headers.clone()
        },
        ..Object::default()
    };
    let etag = shelf.put(&named.bucket, &named.key, object, &condition(&head.headers)?)?;
    let done = shelf.object(&named.bucket, &named.key)?;
    let outcome = CopyOutcome {
        etag: etag::opaque(&etag).to_owned(),
        last_modified: format_iso8601(done.modified),
    };
    Ok(document(StatusCode::OK, outcome.to_object_xml()))
}

fn start(shelf: &Shelf, head: &Parts, named: &Named) -> Result<Answer, ErrorCode> {
    let pending = Pending {
        key: named.key.clone(),
        headers: kept(&head.headers),
        parts: BTreeMap::new(),
    };
    let started = InitiatedUpload {
        upload_id: shelf.start(&named.bucket, pending)?,
        bucket: named.bucket.clone(),
        key: named.key.clone(),
    };
    Ok(document(StatusCode::OK, started.to_xml()))
}

async fn put_part(shelf: &Shelf, head: &Parts, named: &Named, body: Incoming) -> Result<Answer, ErrorCode> {
    let number: u16 = named
        .query("partNumber")
        .parse()
        .map_err(|_| ErrorCode::InvalidArgument)?;
    let is_copy = head.headers.contains_key("x-amz-copy-source");
    let content = if is_copy {
        let from = source(shelf, &head.headers)?;
        match head.headers.get("x-amz-copy-source-range") {
            None => from.content.clone(),
            Some(range) => {
                let (first, last) = copy_source::parse_range(range.as_bytes())?;
                from.content.cut(first, last)
            }
        }
    } else {
        let received = receive::content(&head.headers, body, &shelf.blocks, shelf.object_bytes_max());
        received.await.map_err(unreceived)?
    };
    let etag = tag(shelf.number());
    let part = Arc::new(Object {
        content,
        etag: etag.clone(),
        ..Object::default()
    });
    shelf.upload(&named.bucket, named.query("uploadId"), |pending| {
        pending.parts.insert(number, part);
        Ok(())
    })?;
    if is_copy {
        let outcome = CopyOutcome {
            etag: etag::opaque(&etag).to_owned(),
            last_modified: format_iso8601(0),
        };
        return Ok(document(StatusCode::OK, outcome.to_part_xml()));
    }
    tagged(&etag)
}

fn parts(shelf: &Shelf, named: &Named) -> Result<Answer, ErrorCode> {
    let number = |name: &str| named.query.get(name).and_then(|text| text.parse::<u64>().ok());
    let after = number("part-number-marker").unwrap_or(0);
    let max = number("max-parts").unwrap_or(1000).min(1000);
    let mut list = PartList {
        bucket: named.bucket.clone(),
        key: named.key.clone(),
        upload_id: named.query("uploadId").to_owned(),
        part_number_marker: after,
        max_parts: max,
        ..PartList::default()
    };
    shelf.upload(&named.bucket, named.query("uploadId"), |pending| {
        for (number, part) in pending
            .parts
            .iter()
            .filter(|(number, _)| u64::from(**number) > after)
        {
            if list.parts.len() as u64 == max {
                list.is_truncated = true;
                list.next_part_number_marker = list.parts.last().map(|part| u64::from(part.number));
                break;
            }
            list.parts.push(ListedPart {
                number: *number,
                last_modified: format_iso8601(0),
                etag: etag::opaque(&part.etag).to_owned(),
                size: part.content.length,
            });
        }
        Ok(())
    })?;
    Ok(document(StatusCode::OK, list.to_xml()))
}

async fn complete(shelf: &Shelf, head: &Parts, named: &Named, body: Incoming) -> Result<Answer, ErrorCode> {
    let asked = receive::document(body).await.map_err(unreceived)?;
    let asked = parse_completed_parts(&asked)?;
    let id = named.query("uploadId");
    let (content, headers) = shelf.upload(&named.bucket, id, |pending| {
        let mut content = Content::default();
        for part in &asked {
            let found = pending.parts.get(&part.number).ok_or(ErrorCode::InvalidPart)?;
            if etag::opaque(&part.etag) != etag::opaque(&found.etag) {
                return Err(ErrorCode::InvalidPart);
            }
            content.append(&found.content);
        }
        Ok((content, pending.headers.clone()))
    })?;
    let number = tag(shelf.number());
    let object = Object {
        content,
        headers,
        etag: format!("\"{}-{}\"", etag::opaque(&number), asked.len()),
        ..Object::default()
    };
    let etag = shelf.put(&named.bucket, &named.key, object, &condition(&head.headers)?)?;
    shelf.end(&named.bucket, id)?;
    let done = CompletedUpload {
        location: format!("/{}/{}", named.bucket, named.key),
        bucket: named.bucket.clone(),
        key: named.key.clone(),
        etag: etag::opaque(&etag).to_owned(),
        checksum: None,
    };
    Ok(document(StatusCode::OK, done.to_xml()))
}

fn unreceived(reason: Unreceived) -> ErrorCode {
    match reason {
        Unreceived::Broken => ErrorCode::IncompleteBody,
        Unreceived::TooLarge => ErrorCode::MalformedXml,
    }
}
