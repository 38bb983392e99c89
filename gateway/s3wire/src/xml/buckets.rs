//! Documents about buckets: their list, their location, their creation.
//!
//! What lives here: reading and writing. What must not: which buckets are shown. Invariant: a
//! creation that asks for anything but a location is refused.

use super::parts::Owner;
use super::read::{CONTROL_DOCUMENT_BYTES_MAX, LISTING_BYTES_MAX, Reader, XmlError};
use super::write::XmlWriter;
use crate::error::ErrorCode;

/// `ListAllMyBucketsResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketList {
    /// Who owns them.
    pub owner: Owner,
    /// The buckets.
    pub buckets: Vec<BucketEntry>,
    /// Where the next page starts.
    pub continuation_token: Option<String>,
    /// The prefix that was asked for.
    pub prefix: Option<String>,
}

/// One bucket of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketEntry {
    /// Its name.
    pub name: String,
    /// When it was created, as the store wrote it.
    pub creation_date: String,
    /// Its region.
    pub region: Option<String>,
}

impl BucketList {
    /// Reads a store's answer to ListBuckets.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is not one.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut reader = Reader::new(document, LISTING_BYTES_MAX)?;
        reader.expect_root("ListAllMyBucketsResult")?;
        let mut list = Self::default();
        while let Some(name) = reader.child()? {
            match name {
                "Owner" => list.owner = Owner::read(&mut reader)?,
                "Buckets" => {
                    while let Some(name) = reader.child()? {
                        match name {
                            "Bucket" => list.buckets.push(read_bucket(&mut reader)?),
                            _ => reader.skip()?,
                        }
                    }
                }
                "ContinuationToken" => list.continuation_token = Some(reader.text()?),
                "Prefix" => list.prefix = Some(reader.text()?),
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(list)
    }

    /// The document for a client.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("ListAllMyBucketsResult");
        self.owner.write(&mut xml, "Owner");
        xml.open("Buckets");
        for bucket in &self.buckets {
            xml.open("Bucket");
            xml.element("Name", &bucket.name);
            xml.element("CreationDate", &bucket.creation_date);
            xml.optional("BucketRegion", bucket.region.as_deref());
            xml.close("Bucket");
        }
        xml.close("Buckets");
        xml.optional("ContinuationToken", self.continuation_token.as_deref());
        xml.optional("Prefix", self.prefix.as_deref());
        xml.close("ListAllMyBucketsResult");
        xml.finish()
    }
}

fn read_bucket(reader: &mut Reader<'_>) -> Result<BucketEntry, XmlError> {
    let mut bucket = BucketEntry::default();
    while let Some(name) = reader.child()? {
        match name {
            "Name" => bucket.name = reader.text()?,
            "CreationDate" => bucket.creation_date = reader.text()?,
            "BucketRegion" => bucket.region = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(bucket)
}

/// Reads the body of CreateBucket and returns the location asked for. An empty body asks for none.
///
/// # Errors
///
/// `NotImplemented` when the body asks for anything else (directory buckets, tags), else the code
/// of the [`XmlError`].
pub fn parse_bucket_configuration(document: &[u8]) -> Result<Option<String>, ErrorCode> {
    if document.trim_ascii().is_empty() {
        return Ok(None);
    }
    let parse = || -> Result<Result<Option<String>, ErrorCode>, XmlError> {
        let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
        reader.expect_root("CreateBucketConfiguration")?;
        let mut location = None;
        while let Some(name) = reader.child()? {
            match name {
                "LocationConstraint" => location = Some(reader.text()?.trim().to_owned()),
                _ => return Ok(Err(ErrorCode::NotImplemented)),
            }
        }
        reader.finish()?;
        Ok(Ok(location.filter(|location| !location.is_empty())))
    };
    parse().map_err(XmlError::code)?
}

/// Reads a store's answer to GetBucketLocation; `None` is the store's default region.
///
/// # Errors
///
/// [`XmlError`] when it is not one.
pub fn parse_location(document: &[u8]) -> Result<Option<String>, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    // Some stores answer in the form of the request, with the location one level down.
    let location = match reader.root()? {
        "LocationConstraint" => Some(reader.text()?),
        "CreateBucketConfiguration" => configured_location(&mut reader)?,
        _ => return Err(XmlError::Unexpected),
    };
    reader.finish()?;
    Ok(location.filter(|location| !location.is_empty()))
}

fn configured_location(reader: &mut Reader<'_>) -> Result<Option<String>, XmlError> {
    let mut location = None;
    while let Some(name) = reader.child()? {
        match name {
            "LocationConstraint" => location = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(location)
}

/// The answer to GetBucketLocation; `None` is written as S3 writes its default region.
#[must_use]
pub fn write_location(location: Option<&str>) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    xml.open_root("LocationConstraint");
    xml.text(location.unwrap_or_default());
    xml.close("LocationConstraint");
    xml.finish()
}
