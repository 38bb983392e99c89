//! The body and the answer of DeleteObjects.
//!
//! What lives here: reading and writing both, towards client and store. What must not: which keys
//! may be deleted. Invariant: a key written to the store is the key the client wrote, byte for byte.

use super::read::{CONTROL_DOCUMENT_BYTES_MAX, Reader, XmlError};
use super::write::XmlWriter;
use crate::error::ErrorCode;
use crate::etag;

/// Keys in one request.
pub const DELETE_KEYS_MAX: usize = 1_000;

/// `Delete`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Whether only failures are reported.
    pub quiet: bool,
    /// What to delete, in order.
    pub objects: Vec<DeleteEntry>,
}

/// One object to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteEntry {
    /// The key.
    pub key: String,
    /// The version to destroy.
    pub version_id: Option<String>,
    /// Delete only if the object has this entity tag: the client's form, as sent.
    pub etag: Option<String>,
}

impl DeleteRequest {
    /// Reads a client's body.
    ///
    /// # Errors
    ///
    /// `MalformedXml` when it is not a `Delete` of 1 to [`DELETE_KEYS_MAX`] keys, `KeyTooLong`,
    /// `NotImplemented` for conditions on sizes and times.
    pub fn parse(document: &[u8]) -> Result<Self, ErrorCode> {
        let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX).map_err(XmlError::code)?;
        reader.expect_root("Delete").map_err(XmlError::code)?;
        let mut request = Self::default();
        while let Some(name) = reader.child().map_err(XmlError::code)? {
            match name {
                "Object" if request.objects.len() == DELETE_KEYS_MAX => return Err(ErrorCode::MalformedXml),
                "Object" => request.objects.push(read_entry(&mut reader)?),
                "Quiet" => request.quiet = reader.flag().map_err(XmlError::code)?,
                _ => return Err(ErrorCode::MalformedXml),
            }
        }
        reader.finish().map_err(XmlError::code)?;
        if request.objects.is_empty() {
            Err(ErrorCode::MalformedXml)
        } else {
            Ok(request)
        }
    }

    /// The body for the store: entity tags in the store's form.
    #[must_use]
    pub fn to_store_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("Delete");
        for object in &self.objects {
            xml.open("Object");
            xml.key_element("Key", &object.key);
            xml.optional("VersionId", object.version_id.as_deref());
            xml.optional("ETag", object.etag.as_deref().map(etag::to_store).as_deref());
            xml.close("Object");
        }
        xml.element("Quiet", if self.quiet { "true" } else { "false" });
        xml.close("Delete");
        xml.finish()
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Result<DeleteEntry, ErrorCode> {
    let mut entry = DeleteEntry::default();
    while let Some(name) = reader.child().map_err(XmlError::code)? {
        let text = reader.text().map_err(XmlError::code)?;
        match name {
            "Key" => entry.key = text,
            "ETag" => entry.etag = Some(text).filter(|tag| !tag.is_empty()),
            "VersionId" => entry.version_id = Some(text).filter(|version| !version.is_empty()),
            "Size" | "LastModifiedTime" if text.is_empty() => {}
            "Size" | "LastModifiedTime" => return Err(ErrorCode::NotImplemented),
            _ => return Err(ErrorCode::MalformedXml),
        }
    }
    match entry.key.len() {
        0 => Err(ErrorCode::MalformedXml),
        1..=crate::target::OBJECT_KEY_BYTES_MAX => Ok(entry),
        _ => Err(ErrorCode::KeyTooLong),
    }
}

/// `DeleteResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// What was deleted.
    pub deleted: Vec<DeletedEntry>,
    /// What was not.
    pub errors: Vec<DeleteError>,
}

/// One deleted object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedEntry {
    /// The key.
    pub key: String,
    /// The version deleted.
    pub version_id: Option<String>,
    /// Whether a delete marker was made or removed.
    pub delete_marker: Option<bool>,
    /// The marker's version.
    pub delete_marker_version_id: Option<String>,
}

/// One object that was not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteError {
    /// The key.
    pub key: String,
    /// The version asked for.
    pub version_id: Option<String>,
    /// The error's code.
    pub code: String,
    /// The error's message.
    pub message: String,
}

impl DeleteOutcome {
    /// Reads a store's answer.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is not one.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
        reader.expect_root("DeleteResult")?;
        let mut outcome = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "Deleted" => outcome.deleted.push(read_deleted(&mut reader)?),
                "Error" => outcome.errors.push(read_failure(&mut reader)?),
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(outcome)
    }

    /// The document for a client.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("DeleteResult");
        for entry in &self.deleted {
            xml.open("Deleted");
            xml.key_element("Key", &entry.key);
            xml.optional("VersionId", entry.version_id.as_deref());
            xml.optional(
                "DeleteMarker",
                entry
                    .delete_marker
                    .map(|marker| if marker { "true" } else { "false" }),
            );
            xml.optional("DeleteMarkerVersionId", entry.delete_marker_version_id.as_deref());
            xml.close("Deleted");
        }
        for entry in &self.errors {
            xml.open("Error");
            xml.key_element("Key", &entry.key);
            xml.optional("VersionId", entry.version_id.as_deref());
            xml.element("Code", &entry.code);
            xml.element("Message", &entry.message);
            xml.close("Error");
        }
        xml.close("DeleteResult");
        xml.finish()
    }
}

fn read_deleted(reader: &mut Reader<'_>) -> Result<DeletedEntry, XmlError> {
    let mut entry = DeletedEntry::default();
    while let Some(name) = reader.child()? {
        match name {
            "Key" => entry.key = reader.text()?,
            "VersionId" => entry.version_id = Some(reader.text()?),
            "DeleteMarker" => entry.delete_marker = Some(reader.flag()?),
            "DeleteMarkerVersionId" => entry.delete_marker_version_id = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(entry)
}

fn read_failure(reader: &mut Reader<'_>) -> Result<DeleteError, XmlError> {
    let mut entry = DeleteError::default();
    while let Some(name) = reader.child()? {
        match name {
            "Key" => entry.key = reader.text()?,
            "VersionId" => entry.version_id = Some(reader.text()?).filter(|version| !version.is_empty()),
            "Code" => entry.code = reader.text()?,
            "Message" => entry.message = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok(entry)
}
