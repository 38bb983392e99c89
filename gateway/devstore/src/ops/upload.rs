//! Multipart uploads.
//!
//! What lives here: create, parts, listings, complete and abort. What must not: copies of parts.
//! Invariant: nothing of an upload is visible as an object before Complete, and all of it after.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::encode_path;
use sceau_s3wire::xml::write::XmlWriter;

use super::list::{Names, Page, Walk, page_entries, walk};
use super::write::pieces;
use super::{attributes, iso8601, quoted};
use crate::condition::WriteCondition;
use crate::document::completed_parts;
use crate::multipart::PART_NUMBER_MAX;
use crate::record::{Bucket, Upload, total_bytes};
use crate::request::{Head, RequestBody};
use crate::response::{Answer, document, empty, set};
use crate::state::{State, UploadName};

pub(super) fn upload_name(head: &Head) -> UploadName {
    let id = head.query.get("uploadId").unwrap_or_default().to_owned();
    UploadName {
        bucket: head.bucket.clone(),
        key: head.key.clone(),
        id,
    }
}

pub(super) fn part_number(head: &Head) -> Result<u32, ErrorCode> {
    let number = head.number("partNumber", 0)?;
    if (1..=PART_NUMBER_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(ErrorCode::InvalidArgument)
    }
}

pub(super) async fn create(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let attributes = attributes(head)?;
    let (bucket, key) = (head.bucket.clone(), head.key.clone());
    let id = state
        .change(move |state| state.create_upload(&bucket, &key, attributes))
        .await?;
    let mut xml = XmlWriter::document();
    xml.open_root("InitiateMultipartUploadResult");
    xml.element("Bucket", &head.bucket);
    xml.element("Key", &head.key);
    xml.element("UploadId", &id);
    xml.close("InitiateMultipartUploadResult");
    Ok(document(xml.finish()))
}

pub(super) async fn part(state: &Arc<State>, head: &Head, body: RequestBody) -> Result<Answer, ErrorCode> {
    let (name, number) = (upload_name(head), part_number(head)?);
    state.upload(&name)?;
    let received = body.receive(head, state).await?;
    let (etag, pieces) = (received.etag(), pieces(&received));
    let part = state
        .change(move |state| state.put_part(&name, number, etag, pieces))
        .await?;
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "etag", &quoted(&part.etag))?;
    Ok(answer)
}

pub(super) async fn complete(
    state: &Arc<State>,
    head: &Head,
    body: RequestBody,
) -> Result<Answer, ErrorCode> {
    let name = upload_name(head);
    let condition = WriteCondition::from_headers(&head.headers)?;
    let parts = completed_parts(&body.document(head).await?)?;
    let object = state
        .change(move |state| state.complete(&name, &parts, condition))
        .await?;
    let mut xml = XmlWriter::document();
    xml.open_root("CompleteMultipartUploadResult");
    xml.element(
        "Location",
        &format!("/{}/{}", head.bucket, encode_path(&head.key)),
    );
    xml.element("Bucket", &head.bucket);
    xml.element("Key", &head.key);
    xml.element("ETag", &quoted(&object.etag));
    xml.close("CompleteMultipartUploadResult");
    Ok(document(xml.finish()))
}

pub(super) async fn abort(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let name = upload_name(head);
    state.change(move |state| state.abort(&name)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) fn parts(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    let name = upload_name(head);
    let upload = state.upload(&name)?;
    let after = head.number("part-number-marker", 0)?;
    let (asked, entries_max) = page_entries(head, "max-parts")?;
    let rest = upload.parts.range(after.saturating_add(1)..);
    let page = rest.clone().take(entries_max).collect::<Vec<_>>();
    let is_truncated = entries_max > 0 && rest.count() > page.len();
    let mut xml = XmlWriter::document();
    xml.open_root("ListPartsResult");
    xml.element("Bucket", &head.bucket);
    xml.element("Key", &head.key);
    xml.element("UploadId", &name.id);
    xml.element("PartNumberMarker", &after.to_string());
    if let Some((last, _)) = page.last().filter(|_| is_truncated) {
        xml.element("NextPartNumberMarker", &last.to_string());
    }
    xml.element("MaxParts", &asked.to_string());
    xml.element("IsTruncated", if is_truncated { "true" } else { "false" });
    xml.element("StorageClass", "STANDARD");
    for (number, part) in page {
        xml.open("Part");
        xml.element("PartNumber", &number.to_string());
        xml.element("LastModified", &iso8601(part.modified_ms));
        xml.element("ETag", &quoted(&part.etag));
        xml.element("Size", &total_bytes(&part.pieces).to_string());
        xml.close("Part");
    }
    xml.close("ListPartsResult");
    Ok(document(xml.finish()))
}

pub(super) fn list(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    let ask = |name: &str| head.query.get(name).unwrap_or_default();
    let names = Names::asked(head)?;
    let (asked, entries_max) = page_entries(head, "max-uploads")?;
    let index = state.read();
    let bucket = index.get(&head.bucket).ok_or(ErrorCode::NoSuchBucket)?;
    let (key_marker, id_marker) = (ask("key-marker"), ask("upload-id-marker"));
    let all = by_key(bucket, key_marker, id_marker);
    // Uploads of the marker's own key that come after its id have names greater than the marker.
    let after = after_marker(key_marker, id_marker);
    let query = Walk {
        prefix: ask("prefix"),
        delimiter: ask("delimiter"),
        after: &after,
        entries_max,
    };
    let page = walk(&all, &query);
    let mut xml = XmlWriter::document();
    xml.open_root("ListMultipartUploadsResult");
    xml.element("Bucket", &head.bucket);
    names.write(&mut xml, "KeyMarker", key_marker);
    xml.element("UploadIdMarker", id_marker);
    names.write(&mut xml, "Prefix", query.prefix);
    if !query.delimiter.is_empty() {
        names.write(&mut xml, "Delimiter", query.delimiter);
    }
    xml.element("MaxUploads", &asked.to_string());
    names.finish(&mut xml);
    next_markers(&mut xml, &names, &page);
    for (_, (id, upload)) in &page.items {
        xml.open("Upload");
        names.write(&mut xml, "Key", &upload.key);
        xml.element("UploadId", id);
        xml.element("StorageClass", "STANDARD");
        xml.element("Initiated", &iso8601(upload.started_ms));
        xml.close("Upload");
    }
    names.common(&mut xml, &page.common_prefixes);
    xml.close("ListMultipartUploadsResult");
    Ok(document(xml.finish()))
}

/// Uploads in the order of their keys, then their ids. The two are joined by U+0000, which sorts
/// before every other character.
fn by_key<'a>(
    bucket: &'a Bucket,
    key_marker: &str,
    id_marker: &str,
) -> BTreeMap<String, (&'a str, &'a Upload)> {
    let whole_key = id_marker.is_empty() && !key_marker.is_empty();
    let uploads = bucket
        .uploads
        .iter()
        .filter(|(_, upload)| !whole_key || upload.key != key_marker);
    uploads
        .map(|(id, upload)| (format!("{}\0{id}", upload.key), (id.as_str(), upload)))
        .collect()
}

fn after_marker(key_marker: &str, id_marker: &str) -> String {
    if id_marker.is_empty() {
        key_marker.to_owned()
    } else {
        format!("{key_marker}\0{id_marker}")
    }
}

fn next_markers(xml: &mut XmlWriter, names: &Names, page: &Page<'_, (&str, &Upload)>) {
    if let Some(last) = &page.last {
        let (key, id) = last.rsplit_once('\0').unwrap_or((last, ""));
        names.write(xml, "NextKeyMarker", key);
        xml.element("NextUploadIdMarker", id);
    }
    xml.element("IsTruncated", if page.last.is_some() { "true" } else { "false" });
}
