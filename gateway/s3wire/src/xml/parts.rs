//! Parts of an upload: the client's list at completion, and the list of those written.
//!
//! What lives here: reading and writing both. What must not: part tickets, sizes of stored parts.
//! Invariant: a completion's parts are in strictly ascending order, each number once.

use super::read::{CONTROL_DOCUMENT_BYTES_MAX, Reader, XmlError};
use super::write::XmlWriter;
use crate::error::ErrorCode;
use crate::etag;

/// Parts in one completion.
pub const PARTS_MAX: usize = 10_000;

/// Prefix of the elements that carry a part's checksum.
const CHECKSUM_PREFIX: &str = "Checksum";

/// One part of a completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number, from 1.
    pub number: u16,
    /// Its entity tag as the client sent it, without quotes.
    pub etag: String,
    /// Its checksums: the element's name without `Checksum` (`CRC32`, `SHA256`, ...) and the base64 value.
    pub checksums: Vec<(String, String)>,
}

/// Reads the body of CompleteMultipartUpload.
///
/// # Errors
///
/// `MalformedXml` when it is not one of 1 to [`PARTS_MAX`] parts, `InvalidPartOrder` when numbers
/// do not ascend, `InvalidArgument` for a number that no part can have.
pub fn parse_completed_parts(document: &[u8]) -> Result<Vec<CompletedPart>, ErrorCode> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX).map_err(XmlError::code)?;
    reader
        .expect_root("CompleteMultipartUpload")
        .map_err(XmlError::code)?;
    let mut parts: Vec<CompletedPart> = Vec::new();
    while let Some(name) = reader.child().map_err(XmlError::code)? {
        if name != "Part" || parts.len() == PARTS_MAX {
            return Err(ErrorCode::MalformedXml);
        }
        let part = read_completed(&mut reader)?;
        if parts.last().is_some_and(|last| last.number >= part.number) {
            return Err(ErrorCode::InvalidPartOrder);
        }
        parts.push(part);
    }
    reader.finish().map_err(XmlError::code)?;
    if parts.is_empty() {
        Err(ErrorCode::MalformedXml)
    } else {
        Ok(parts)
    }
}

/// A text that is no number is a matter of the document, a number that no part can have one of the argument.
fn completed_number(text: &str) -> Result<u16, ErrorCode> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorCode::MalformedXml);
    }
    crate::router::part_number(text).map_err(|error| error.code)
}

fn read_completed(reader: &mut Reader<'_>) -> Result<CompletedPart, ErrorCode> {
    let mut part = CompletedPart::default();
    while let Some(name) = reader.child().map_err(XmlError::code)? {
        let text = reader.text().map_err(XmlError::code)?;
        match name.strip_prefix(CHECKSUM_PREFIX) {
            Some(algorithm) if !text.is_empty() => part.checksums.push((algorithm.to_owned(), text)),
            Some(_) => {}
            None if name == "PartNumber" => {
                part.number = completed_number(text.trim())?;
            }
            None if name == "ETag" => part.etag = etag::opaque(text.trim()).to_owned(),
            None => return Err(ErrorCode::MalformedXml),
        }
    }
    if part.number == 0 || part.etag.is_empty() {
        Err(ErrorCode::MalformedXml)
    } else {
        Ok(part)
    }
}

/// The body of CompleteMultipartUpload for the store: numbers and the store's own entity tags.
#[must_use]
pub fn write_completed_parts<'p>(parts: impl Iterator<Item = (u16, &'p str)>) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    xml.open_root("CompleteMultipartUpload");
    for (number, etag) in parts {
        xml.open("Part");
        xml.element("PartNumber", &number.to_string());
        xml.element("ETag", &etag::quoted(etag));
        xml.close("Part");
    }
    xml.close("CompleteMultipartUpload");
    xml.finish()
}

/// Who owns an object, a bucket or an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The account's identifier.
    pub id: String,
    /// The account's name.
    pub display_name: Option<String>,
}

impl Owner {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut owner = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "ID" => owner.id = reader.text()?,
                "DisplayName" => owner.display_name = Some(reader.text()?),
                _ => reader.skip()?,
            }
        }
        Ok(owner)
    }

    pub(super) fn write(&self, xml: &mut XmlWriter, name: &str) {
        xml.open(name);
        xml.element("ID", &self.id);
        xml.optional("DisplayName", self.display_name.as_deref());
        xml.close(name);
    }
}

/// `ListPartsResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartList {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's identifier.
    pub upload_id: String,
    /// Who started the upload.
    pub initiator: Option<Owner>,
    /// Who will own the object.
    pub owner: Option<Owner>,
    /// The storage class asked for.
    pub storage_class: Option<String>,
    /// The page starts after this part.
    pub part_number_marker: u64,
    /// The next page starts after this part.
    pub next_part_number_marker: Option<u64>,
    /// Most parts on a page.
    pub max_parts: u64,
    /// Whether there is a next page.
    pub is_truncated: bool,
    /// The parts, ascending.
    pub parts: Vec<ListedPart>,
}

/// One part that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPart {
    /// Its number.
    pub number: u16,
    /// When it was written, as the store wrote it.
    pub last_modified: String,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its size in bytes: stored when read from a store, plain when written to a client.
    pub size: u64,
}

impl PartList {
    /// Reads a store's answer to ListParts.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is not one.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
        // The second is moto's.
        if !matches!(reader.root()?, "ListPartsResult" | "ListPartsResponse") {
            return Err(XmlError::Unexpected);
        }
        let mut list = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "Bucket" => list.bucket = reader.text()?,
                "Key" => list.key = reader.text()?,
                "UploadId" => list.upload_id = reader.text()?,
                "Initiator" => list.initiator = Some(Owner::read(&mut reader)?),
                "Owner" => list.owner = Some(Owner::read(&mut reader)?),
                "StorageClass" => list.storage_class = Some(reader.text()?),
                "PartNumberMarker" => list.part_number_marker = optional_number(&mut reader)?.unwrap_or(0),
                "NextPartNumberMarker" => list.next_part_number_marker = optional_number(&mut reader)?,
                "MaxParts" => list.max_parts = reader.number()?,
                "IsTruncated" => list.is_truncated = reader.flag()?,
                "Part" => list.parts.push(read_listed(&mut reader)?),
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(list)
    }

    /// The document for a client. Entity tags are written as they are, in quotes.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("ListPartsResult");
        xml.element("Bucket", &self.bucket);
        xml.key_element("Key", &self.key);
        xml.element("UploadId", &self.upload_id);
        if let Some(initiator) = &self.initiator {
            initiator.write(&mut xml, "Initiator");
        }
        if let Some(owner) = &self.owner {
            owner.write(&mut xml, "Owner");
        }
        xml.optional("StorageClass", self.storage_class.as_deref());
        xml.element("PartNumberMarker", &self.part_number_marker.to_string());
        xml.optional(
            "NextPartNumberMarker",
            self.next_part_number_marker
                .map(|marker| marker.to_string())
                .as_deref(),
        );
        xml.element("MaxParts", &self.max_parts.to_string());
        xml.element("IsTruncated", if self.is_truncated { "true" } else { "false" });
        for part in &self.parts {
            xml.open("Part");
            xml.element("PartNumber", &part.number.to_string());
            xml.element("LastModified", &part.last_modified);
            xml.element("ETag", &etag::quoted(&part.etag));
            xml.element("Size", &part.size.to_string());
            xml.close("Part");
        }
        xml.close("ListPartsResult");
        xml.finish()
    }
}

fn read_listed(reader: &mut Reader<'_>) -> Result<ListedPart, XmlError> {
    let mut part = ListedPart::default();
    while let Some(name) = reader.child()? {
        match name {
            "PartNumber" => {
                part.number = u16::try_from(reader.number()?).map_err(|_| XmlError::Unexpected)?
            }
            "LastModified" => part.last_modified = reader.text()?,
            "ETag" => part.etag = etag::opaque(&reader.text()?).to_owned(),
            "Size" => part.size = reader.number()?,
            _ => reader.skip()?,
        }
    }
    Ok(part)
}

/// Some stores write an empty element where there is no marker.
fn optional_number(reader: &mut Reader<'_>) -> Result<Option<u64>, XmlError> {
    let text = reader.text()?;
    if text.trim().is_empty() {
        Ok(None)
    } else {
        super::read::parse_number(&text).map(Some)
    }
}
