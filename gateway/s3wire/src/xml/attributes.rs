//! The answer to GetObjectAttributes.
//!
//! What lives here: writing it. What must not: where its values come from. Invariant: an attribute
//! that is not set has no element.

use super::write::XmlWriter;
use crate::checksum::{ChecksumType, Value};

/// `GetObjectAttributesResponse`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// The entity tag as clients know it, without quotes.
    pub etag: Option<String>,
    /// Checksum of the whole plaintext, and what it covers. The number of parts is not written with it.
    pub checksum: Option<(Value, ChecksumType)>,
    /// The parts of an object that was uploaded in parts.
    pub parts: Option<AttributeParts>,
    /// The storage class.
    pub storage_class: Option<String>,
    /// Plaintext size in bytes.
    pub size: Option<u64>,
}

/// A page of an object's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeParts {
    /// Number of parts of the object.
    pub total: usize,
    /// The page starts after this part.
    pub marker: u16,
    /// Most parts on a page.
    pub parts_max: usize,
    /// Whether there is a next page.
    pub is_truncated: bool,
    /// Number and plaintext size of each part on the page, ascending.
    pub parts: Vec<(u16, u64)>,
}

impl ObjectAttributes {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        const ROOT: &str = "GetObjectAttributesResponse";
        let mut xml = XmlWriter::document();
        xml.open_root(ROOT);
        xml.optional("ETag", self.etag.as_deref());
        if let Some((checksum, kind)) = &self.checksum {
            xml.open("Checksum");
            xml.element(checksum.algorithm().element_name(), &checksum.to_base64());
            xml.element("ChecksumType", kind.name());
            xml.close("Checksum");
        }
        if let Some(parts) = &self.parts {
            parts.write(&mut xml);
        }
        xml.optional("StorageClass", self.storage_class.as_deref());
        xml.optional("ObjectSize", self.size.map(|size| size.to_string()).as_deref());
        xml.close(ROOT);
        xml.finish()
    }
}

impl AttributeParts {
    fn write(&self, xml: &mut XmlWriter) {
        // Named after S3's own answers; SDKs call the element TotalPartsCount.
        xml.open("ObjectParts");
        xml.element("PartsCount", &self.total.to_string());
        xml.element("PartNumberMarker", &self.marker.to_string());
        if let Some((last, _)) = self.parts.last() {
            xml.element("NextPartNumberMarker", &last.to_string());
        }
        xml.element("MaxParts", &self.parts_max.to_string());
        xml.element("IsTruncated", if self.is_truncated { "true" } else { "false" });
        for (number, size) in &self.parts {
            xml.open("Part");
            xml.element("PartNumber", &number.to_string());
            xml.element("Size", &size.to_string());
            xml.close("Part");
        }
        xml.close("ObjectParts");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Algorithm, Hasher};

    #[test]
    fn only_what_is_set_is_written() {
        let empty = String::from_utf8(ObjectAttributes::default().to_xml()).unwrap();
        assert!(empty.ends_with(
            "<GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></GetObjectAttributesResponse>"
        ));
        let full = ObjectAttributes {
            etag: Some("abc-2".to_owned()),
            checksum: Some((
                Hasher::of(Algorithm::Crc32, b"123456789"),
                ChecksumType::FullObject,
            )),
            parts: Some(AttributeParts {
                total: 3,
                marker: 1,
                parts_max: 1,
                is_truncated: true,
                parts: vec![(7, 5_242_881)],
            }),
            storage_class: Some("STANDARD".to_owned()),
            size: Some(10),
        };
        let full = String::from_utf8(full.to_xml()).unwrap();
        assert!(full.ends_with(
            "<ETag>abc-2</ETag><Checksum><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType></Checksum>\
             <ObjectParts><PartsCount>3</PartsCount><PartNumberMarker>1</PartNumberMarker><NextPartNumberMarker>7</NextPartNumberMarker>\
             <MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><Part><PartNumber>7</PartNumber><Size>5242881</Size></Part></ObjectParts>\
             <StorageClass>STANDARD</StorageClass><ObjectSize>10</ObjectSize></GetObjectAttributesResponse>"
        ), "{full}");
    }
}
