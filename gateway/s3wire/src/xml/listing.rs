//! Listings as values, for the gateway's own walks over a store.
//!
//! What lives here: reading pages of objects and of uploads. What must not: what clients see of
//! them (see [`super::rewrite`]). Invariant: sizes and tags are the store's.

use super::read::{LISTING_BYTES_MAX, Reader, XmlError};
use crate::etag;

/// One page of ListObjectsV2. Keys are as the store wrote them: percent-encoded when the request
/// asked for `encoding-type=url`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// Names rolled up under a delimiter.
    pub common_prefixes: Vec<String>,
    /// Whether there is a next page.
    pub is_truncated: bool,
    /// Where the next page starts.
    pub next_continuation_token: Option<String>,
    /// Whether keys are percent-encoded.
    pub is_url_encoded: bool,
}

/// One object of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Its stored size, bytes.
    pub size: u64,
    /// The store's entity tag, without quotes.
    pub etag: String,
    /// When it was written, as the store wrote it.
    pub last_modified: String,
}

/// One page of ListMultipartUploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<ListedUpload>,
    /// Whether there is a next page.
    pub is_truncated: bool,
    /// Where the next page starts: its key.
    pub next_key_marker: Option<String>,
    /// Where the next page starts: its upload.
    pub next_upload_id_marker: Option<String>,
}

/// One upload in progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedUpload {
    /// Its key.
    pub key: String,
    /// Its identifier.
    pub upload_id: String,
    /// When it was started, as the store wrote it.
    pub initiated: String,
}

impl ListPage {
    /// Reads a store's answer to ListObjects or ListObjectsV2.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is not one.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
        reader.expect_root("ListBucketResult")?;
        let mut page = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "Contents" => page.objects.push(read_object(&mut reader)?),
                "CommonPrefixes" => read_prefixes(&mut reader, &mut page.common_prefixes)?,
                "IsTruncated" => page.is_truncated = reader.flag()?,
                "NextContinuationToken" => page.next_continuation_token = Some(reader.text()?),
                "EncodingType" => page.is_url_encoded = reader.text()? == "url",
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(page)
    }
}

impl UploadPage {
    /// Reads a store's answer to ListMultipartUploads.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is not one.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
        reader.expect_root("ListMultipartUploadsResult")?;
        let mut page = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "Upload" => page.uploads.push(read_upload(&mut reader)?),
                "IsTruncated" => page.is_truncated = reader.flag()?,
                "NextKeyMarker" => {
                    page.next_key_marker = Some(reader.text()?).filter(|marker| !marker.is_empty())
                }
                "NextUploadIdMarker" => {
                    page.next_upload_id_marker = Some(reader.text()?).filter(|marker| !marker.is_empty());
                }
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(page)
    }
}

fn read_object(reader: &mut Reader<'_>) -> Result<ListedObject, XmlError> {
    let mut object = ListedObject::default();
    while let Some(name) = reader.child()? {
        match name {
            "Key" => object.key = reader.text()?,
            "Size" => object.size = reader.number()?,
            "ETag" => object.etag = etag::opaque(&reader.text()?).to_owned(),
            "LastModified" => object.last_modified = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok(object)
}

fn read_prefixes(reader: &mut Reader<'_>, prefixes: &mut Vec<String>) -> Result<(), XmlError> {
    while let Some(name) = reader.child()? {
        match name {
            "Prefix" => prefixes.push(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(())
}

fn read_upload(reader: &mut Reader<'_>) -> Result<ListedUpload, XmlError> {
    let mut upload = ListedUpload::default();
    while let Some(name) = reader.child()? {
        match name {
            "Key" => upload.key = reader.text()?,
            "UploadId" => upload.upload_id = reader.text()?,
            "Initiated" => upload.initiated = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok(upload)
}
