//! Listings on their way from the store to a client.
//!
//! What lives here: edits by position. What must not: values of documents. Invariant: every byte
//! outside an edited element reaches the client as the store wrote it.

use std::ops::Range;

use super::read::{LISTING_BYTES_MAX, Reader, XmlError, parse_number};
use super::write::escape_text;
use crate::etag;

/// Keys reported by name when their size is not one the gateway writes.
pub const UNSIZED_KEYS_REPORTED_MAX: usize = 16;

/// A rewritten listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRewrite {
    /// The document for the client.
    pub xml: Vec<u8>,
    /// Entries whose stored size no object of the gateway has; they show the stored size.
    pub unsized_count: usize,
    /// The first [`UNSIZED_KEYS_REPORTED_MAX`] of them, as the store wrote their keys.
    pub unsized_keys: Vec<String>,
}

/// Rewrites the answer to ListObjects, ListObjectsV2 or ListObjectVersions: sizes through `plain_size`, entity tags to
/// the client's form, checksum elements removed.
///
/// # Errors
///
/// [`XmlError`] when the document is not a listing.
pub fn rewrite_listing(
    document: &[u8],
    plain_size: impl Fn(u64) -> Option<u64>,
) -> Result<ListRewrite, XmlError> {
    let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
    let entry = match reader.root()? {
        "ListBucketResult" => "Contents",
        // Its other entries, delete markers, have neither size nor entity tag.
        "ListVersionsResult" => "Version",
        _ => return Err(XmlError::Unexpected),
    };
    let mut edits = Edits::default();
    let mut report = ListRewrite {
        xml: Vec::new(),
        unsized_count: 0,
        unsized_keys: Vec::new(),
    };
    while let Some(name) = reader.child()? {
        if name != entry {
            reader.skip()?;
            continue;
        }
        if let Some(key) = rewrite_entry(&mut reader, &mut edits, &plain_size)? {
            report.unsized_count = report.unsized_count.saturating_add(1);
            if report.unsized_keys.len() < UNSIZED_KEYS_REPORTED_MAX {
                report.unsized_keys.push(key);
            }
        }
    }
    reader.finish()?;
    report.xml = edits.apply(reader.document());
    Ok(report)
}

/// Rewrites one entry; returns its key when its size is not one the gateway writes.
fn rewrite_entry(
    reader: &mut Reader<'_>,
    edits: &mut Edits,
    plain_size: &impl Fn(u64) -> Option<u64>,
) -> Result<Option<String>, XmlError> {
    let mut key = String::new();
    let mut is_unsized = false;
    while let Some(name) = reader.child()? {
        match name {
            "Key" => key = reader.text()?,
            "Size" => {
                let size = reader.located_text()?;
                match plain_size(parse_number(&size.value)?) {
                    Some(plain) => edits.replace(size.content, &plain.to_string()),
                    None => is_unsized = true,
                }
            }
            "ETag" => {
                let tag = reader.located_text()?;
                if !tag.value.is_empty() {
                    edits.replace(tag.content, &etag::to_client(&tag.value));
                }
            }
            "ChecksumAlgorithm" | "ChecksumType" => edits.remove_current(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok(is_unsized.then_some(key))
}

/// Rewrites the answer to ListMultipartUploads: checksum elements are removed.
///
/// # Errors
///
/// [`XmlError`] when the document is not one.
pub fn rewrite_upload_listing(document: &[u8]) -> Result<Vec<u8>, XmlError> {
    let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
    reader.expect_root("ListMultipartUploadsResult")?;
    let mut edits = Edits::default();
    while let Some(name) = reader.child()? {
        if name != "Upload" {
            reader.skip()?;
            continue;
        }
        while let Some(name) = reader.child()? {
            match name {
                "ChecksumAlgorithm" | "ChecksumType" => edits.remove_current(&mut reader)?,
                _ => reader.skip()?,
            }
        }
    }
    reader.finish()?;
    Ok(edits.apply(reader.document()))
}

/// Removes from the answer to ListBuckets every bucket whose name `keep` refuses.
///
/// # Errors
///
/// [`XmlError`] when the document is not one.
pub fn filter_buckets(document: &[u8], keep: impl Fn(&str) -> bool) -> Result<Vec<u8>, XmlError> {
    let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
    reader.expect_root("ListAllMyBucketsResult")?;
    let mut edits = Edits::default();
    while let Some(name) = reader.child()? {
        if name != "Buckets" {
            reader.skip()?;
            continue;
        }
        while let Some(name) = reader.child()? {
            if name != "Bucket" {
                reader.skip()?;
                continue;
            }
            let start = reader.step_start();
            let is_kept = read_bucket_name(&mut reader)?.is_some_and(|name| keep(&name));
            if !is_kept {
                edits.replace(start..reader.position(), "");
            }
        }
    }
    reader.finish()?;
    Ok(edits.apply(reader.document()))
}

fn read_bucket_name(reader: &mut Reader<'_>) -> Result<Option<String>, XmlError> {
    let mut bucket = None;
    while let Some(name) = reader.child()? {
        match name {
            "Name" => bucket = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(bucket)
}

/// Replacements by position, in ascending order and without overlap.
#[derive(Default)]
struct Edits(Vec<(Range<usize>, Vec<u8>)>);

impl Edits {
    fn replace(&mut self, place: Range<usize>, text: &str) {
        let mut escaped = Vec::with_capacity(text.len());
        escape_text(text, &mut escaped);
        self.0.push((place, escaped));
    }

    /// Removes the element that was just entered, and leaves it.
    fn remove_current(&mut self, reader: &mut Reader<'_>) -> Result<(), XmlError> {
        let start = reader.step_start();
        reader.skip()?;
        self.replace(start..reader.position(), "");
        Ok(())
    }

    fn apply(&self, document: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(document.len());
        let mut copied = 0;
        for (place, text) in &self.0 {
            out.extend_from_slice(document.get(copied..place.start).unwrap_or_default().as_bytes());
            out.extend_from_slice(text);
            copied = place.end;
        }
        out.extend_from_slice(document.get(copied..).unwrap_or_default().as_bytes());
        out
    }
}
