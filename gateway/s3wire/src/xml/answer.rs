//! Small answers: upload started, copy done, upload completed, and the error that may stand in
//! place of any of them.
//!
//! What lives here: reading them from a store, writing them to a client. What must not: HTTP
//! statuses. Invariant: an `Error` inside a 200 is never taken for success.

use super::read::{CONTROL_DOCUMENT_BYTES_MAX, Reader, XmlError};
use super::write::XmlWriter;
use crate::checksum::{Algorithm, ChecksumType};
use crate::etag;

/// What a store said: its answer, or an error in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer<T> {
    /// The operation was carried out.
    Done(T),
    /// The operation failed, whatever the HTTP status was.
    Failed(StoreError),
}

/// An `Error` document of a store. Its texts are for logs; they may hold the gateway's own
/// canonical request and must not reach a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreError {
    /// `Code`
    pub code: String,
    /// `Message`
    pub message: String,
    /// `Region`, sent with redirects and with signatures for another region.
    pub region: Option<String>,
    /// `Endpoint`, sent with redirects.
    pub endpoint: Option<String>,
    /// `RequestId`
    pub request_id: Option<String>,
}

/// `InitiateMultipartUploadResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitiatedUpload {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's identifier.
    pub upload_id: String,
}

/// `CopyObjectResult` and `CopyPartResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOutcome {
    /// The entity tag, without quotes.
    pub etag: String,
    /// The time of writing, as the store wrote it.
    pub last_modified: String,
}

/// `CompleteMultipartUploadResult`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedUpload {
    /// The object's address.
    pub location: String,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The entity tag, without quotes.
    pub etag: String,
    /// Checksum of the whole: algorithm, value as headers carry it, and what it covers.
    pub checksum: Option<(Algorithm, String, ChecksumType)>,
}

/// Reads an `Error` document.
///
/// # Errors
///
/// [`XmlError`] when the body is not one.
pub fn parse_error(document: &[u8]) -> Result<StoreError, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    reader.expect_root("Error")?;
    read_error(&mut reader)
}

fn read_error(reader: &mut Reader<'_>) -> Result<StoreError, XmlError> {
    let mut error = StoreError::default();
    while let Some(name) = reader.child()? {
        match name {
            "Code" => error.code = reader.text()?,
            "Message" => error.message = reader.text()?,
            "Region" => error.region = Some(reader.text()?),
            "Endpoint" => error.endpoint = Some(reader.text()?),
            "RequestId" => error.request_id = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    if error.code.is_empty() {
        Err(XmlError::Unexpected)
    } else {
        Ok(error)
    }
}

/// Reads a document with one of the roots, or an error in its place; `field` gets each child.
fn read_answer<T: Default>(
    document: &[u8],
    roots: &[&str],
    field: impl Fn(&mut T, &str, &mut Reader<'_>) -> Result<(), XmlError>,
) -> Result<StoreAnswer<T>, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    match reader.root()? {
        "Error" => read_error(&mut reader).map(StoreAnswer::Failed),
        root if roots.contains(&root) => {
            let mut value = T::default();
            while let Some(name) = reader.child()? {
                field(&mut value, name, &mut reader)?;
            }
            reader.finish()?;
            Ok(StoreAnswer::Done(value))
        }
        _ => Err(XmlError::Unexpected),
    }
}

impl InitiatedUpload {
    /// Reads a store's answer to CreateMultipartUpload.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is neither the answer nor an error, or has no upload identifier.
    pub fn parse(document: &[u8]) -> Result<StoreAnswer<Self>, XmlError> {
        let answer = read_answer(
            document,
            &["InitiateMultipartUploadResult"],
            |upload: &mut Self, name, reader| {
                match name {
                    "Bucket" => upload.bucket = reader.text()?,
                    "Key" => upload.key = reader.text()?,
                    "UploadId" => upload.upload_id = reader.text()?,
                    _ => reader.skip()?,
                }
                Ok(())
            },
        )?;
        match &answer {
            StoreAnswer::Done(upload) if upload.upload_id.is_empty() => Err(XmlError::Unexpected),
            StoreAnswer::Done(_) | StoreAnswer::Failed(_) => Ok(answer),
        }
    }

    /// The document for a client.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("InitiateMultipartUploadResult");
        xml.element("Bucket", &self.bucket);
        xml.key_element("Key", &self.key);
        xml.element("UploadId", &self.upload_id);
        xml.close("InitiateMultipartUploadResult");
        xml.finish()
    }
}

impl CopyOutcome {
    /// Reads a store's answer to CopyObject or UploadPartCopy.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is neither the answer nor an error, or has no entity tag.
    pub fn parse(document: &[u8]) -> Result<StoreAnswer<Self>, XmlError> {
        let roots = ["CopyObjectResult", "CopyPartResult"];
        let answer = read_answer(document, &roots, |copy: &mut Self, name, reader| {
            match name {
                "ETag" => copy.etag = etag::opaque(&reader.text()?).to_owned(),
                "LastModified" => copy.last_modified = reader.text()?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        match &answer {
            StoreAnswer::Done(copy) if copy.etag.is_empty() => Err(XmlError::Unexpected),
            StoreAnswer::Done(_) | StoreAnswer::Failed(_) => Ok(answer),
        }
    }

    /// The answer to CopyObject. The entity tag is written as it is, in quotes.
    #[must_use]
    pub fn to_object_xml(&self) -> Vec<u8> {
        self.to_xml("CopyObjectResult")
    }

    /// The answer to UploadPartCopy. The entity tag is written as it is, in quotes.
    #[must_use]
    pub fn to_part_xml(&self) -> Vec<u8> {
        self.to_xml("CopyPartResult")
    }

    fn to_xml(&self, root: &str) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root(root);
        xml.element("LastModified", &self.last_modified);
        xml.element("ETag", &etag::quoted(&self.etag));
        xml.close(root);
        xml.finish()
    }
}

impl CompletedUpload {
    /// Reads a store's answer to CompleteMultipartUpload.
    ///
    /// # Errors
    ///
    /// [`XmlError`] when it is neither the answer nor an error, or says nothing. The entity tag may be
    /// empty: Ceph before version 17 answers so when the tag is not there yet.
    pub fn parse(document: &[u8]) -> Result<StoreAnswer<Self>, XmlError> {
        let answer = read_answer(
            document,
            &["CompleteMultipartUploadResult"],
            |done: &mut Self, name, reader| {
                match name {
                    "Location" => done.location = reader.text()?,
                    "Bucket" => done.bucket = reader.text()?,
                    "Key" => done.key = reader.text()?,
                    "ETag" => done.etag = etag::opaque(&reader.text()?).to_owned(),
                    _ => reader.skip()?,
                }
                Ok(())
            },
        )?;
        match &answer {
            StoreAnswer::Done(done) if done.etag.is_empty() && done.key.is_empty() => {
                Err(XmlError::Unexpected)
            }
            StoreAnswer::Done(_) | StoreAnswer::Failed(_) => Ok(answer),
        }
    }

    /// The document for a client. The entity tag is written as it is, in quotes, unless there is none.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root("CompleteMultipartUploadResult");
        xml.element("Location", &self.location);
        xml.element("Bucket", &self.bucket);
        xml.key_element("Key", &self.key);
        if self.etag.is_empty() {
            xml.element("ETag", "");
        } else {
            xml.element("ETag", &etag::quoted(&self.etag));
        }
        if let Some((algorithm, value, kind)) = &self.checksum {
            xml.element(algorithm.element_name(), value);
            xml.element("ChecksumType", kind.name());
        }
        xml.close("CompleteMultipartUploadResult");
        xml.finish()
    }
}
