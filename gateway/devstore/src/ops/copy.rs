//! CopyObject and UploadPartCopy.
//!
//! What lives here: copies, which share the bytes of their source. What must not: reading bodies.
//! Invariant: a copy is as independent as a rewritten object: later changes of the source never show.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::{Addressing, percent_decode};
use sceau_s3wire::xml::write::XmlWriter;

use super::upload::{part_number, upload_name};
use super::{attributes, find, iso8601, quoted, tagging};
use crate::blob::{Piece, select, stream};
use crate::condition::{Span, WriteCondition, check_read, span};
use crate::record::{Attributes, Object, total_bytes};
use crate::request::{Head, refused_target};
use crate::response::{Answer, document};
use crate::state::{NewObject, State, failed};

/// Prefix of conditions on the source.
const SOURCE_CONDITIONS: &str = "x-amz-copy-source-";

pub(super) async fn object(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let (same, source) = source(state, head)?;
    let replace = match head.header("x-amz-metadata-directive") {
        None | Some("COPY") => false,
        Some("REPLACE") => true,
        Some(_) => return Err(ErrorCode::InvalidArgument),
    };
    if same && !replace {
        // S3 refuses a copy onto itself that changes nothing.
        return Err(ErrorCode::InvalidRequest);
    }
    let tags = tagging::of_copy(head, &source.attributes.tags)?;
    let kept = if replace {
        attributes(head)?
    } else {
        source.attributes.clone()
    };
    let new = NewObject {
        bucket: head.bucket.clone(),
        key: head.key.clone(),
        etag: whole_etag(&source).await?,
        attributes: Attributes { tags, ..kept },
        pieces: source.pieces,
        condition: WriteCondition::from_headers(&head.headers)?,
    };
    let object = state.change(move |state| state.put(new)).await?;
    Ok(result("CopyObjectResult", &object.etag, object.modified_ms))
}

pub(super) async fn part(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let (_, source) = source(state, head)?;
    let (name, number) = (upload_name(head), part_number(head)?);
    state.upload(&name)?;
    let size = total_bytes(&source.pieces);
    let range = head.header("x-amz-copy-source-range");
    let pieces = match span(range, size)? {
        Span::Whole if range.is_some() => return Err(ErrorCode::InvalidArgument),
        Span::Whole => source.pieces,
        Span::Part { offset, bytes } => select(&source.pieces, offset, bytes),
    };
    let etag = md5_of(&pieces).await?;
    let part = state
        .change(move |state| state.put_part(&name, number, etag, pieces))
        .await?;
    Ok(result("CopyPartResult", &part.etag, part.modified_ms))
}

/// The source, and whether it is the target itself.
fn source(state: &State, head: &Head) -> Result<(bool, Object), ErrorCode> {
    let raw = head
        .header("x-amz-copy-source")
        .ok_or(ErrorCode::InvalidArgument)?;
    if raw.contains("?versionId=") {
        return Err(ErrorCode::NotImplemented);
    }
    // As on AWS S3, a plus sign is a space here.
    let raw = raw.replace('+', " ");
    let decoded = percent_decode(raw.as_bytes()).map_err(|error| refused_target(&error))?;
    let decoded = std::str::from_utf8(&decoded).map_err(|_| ErrorCode::InvalidArgument)?;
    let path = format!("/{}", decoded.strip_prefix('/').unwrap_or(decoded));
    let encoded = sceau_s3wire::target::encode_path(&path);
    let at = Addressing::split("", encoded.as_bytes(), &[]).map_err(|error| refused_target(&error))?;
    let (Some(bucket), Some(key)) = (at.bucket, at.key) else {
        return Err(ErrorCode::InvalidArgument);
    };
    let object = find(state, &bucket, &key)?;
    check_read(&head.headers, SOURCE_CONDITIONS, &object)?;
    Ok((bucket == head.bucket && key == head.key, object))
}

/// The entity tag of a copy: as if its bytes had been put at once.
async fn whole_etag(source: &Object) -> Result<String, ErrorCode> {
    if source.etag.contains('-') {
        md5_of(&source.pieces).await
    } else {
        Ok(source.etag.clone())
    }
}

async fn md5_of(pieces: &[Piece]) -> Result<String, ErrorCode> {
    let mut hash = Md5::new();
    let mut steps = stream(pieces.to_vec());
    while let Some(step) = steps.recv().await {
        let bytes: Bytes = step.map_err(|error| failed(&error))?;
        hash.update(&bytes);
    }
    Ok(HEXLOWER.encode(&hash.finalize()))
}

fn result(root: &str, etag: &str, modified_ms: u64) -> Answer {
    let mut xml = XmlWriter::document();
    xml.open_root(root);
    xml.element("LastModified", &iso8601(modified_ms));
    xml.element("ETag", &quoted(etag));
    xml.close(root);
    document(xml.finish())
}
