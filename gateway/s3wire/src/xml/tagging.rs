//! `Tagging`: the document of an object's tags.
//!
//! What lives here: reading it from clients and from stores, writing it for both. What must not: how
//! tags are stored. Invariant: what a client sent is a [`TagSet`] or refused whole.

use super::read::{CONTROL_DOCUMENT_BYTES_MAX, Reader, XmlError};
use super::write::XmlWriter;
use crate::tagging::{TAGS_MAX, TagError, TagSet};

/// Most tags that are read from a store's answer: buckets, whose documents look the same, have fifty.
const STORED_TAGS_MAX: usize = 50;

/// Reads a client's document.
///
/// # Errors
///
/// [`TagError`], but not `Header`.
pub fn parse_tagging(document: &[u8]) -> Result<TagSet, TagError> {
    // One more than allowed is read, so that the refusal is the one for too many.
    let tags = read(document, TAGS_MAX.saturating_add(1), Unknown::Refused);
    TagSet::new(tags.map_err(|error| TagError::Document(error.code()))?)
}

/// Reads a store's answer: any keys and values, in the store's order.
///
/// # Errors
///
/// [`XmlError`] when it is not one, or has more than fifty tags.
pub fn parse_stored_tags(document: &[u8]) -> Result<Vec<(String, String)>, XmlError> {
    read(document, STORED_TAGS_MAX, Unknown::Skipped)
}

/// The document of these tags.
#[must_use]
pub fn write_tagging(tags: &[(String, String)]) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    xml.open_root("Tagging");
    xml.open("TagSet");
    for (key, value) in tags {
        xml.open("Tag");
        xml.element("Key", key);
        xml.element("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml.close("Tagging");
    xml.finish()
}

/// What becomes of elements that the document should not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refused,
    Skipped,
}

impl Unknown {
    fn meet(self, reader: &mut Reader<'_>) -> Result<(), XmlError> {
        match self {
            Self::Refused => Err(XmlError::Unexpected),
            Self::Skipped => reader.skip(),
        }
    }
}

/// Tags up to `tags_max`; what comes after them is not looked at when a client sent it.
fn read(document: &[u8], tags_max: usize, unknown: Unknown) -> Result<Vec<(String, String)>, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    reader.expect_root("Tagging")?;
    let mut tags = None;
    while let Some(name) = reader.child()? {
        match name {
            "TagSet" if tags.is_none() => tags = Some(read_set(&mut reader, tags_max, unknown)?),
            "TagSet" => return Err(XmlError::Unexpected),
            _ => unknown.meet(&mut reader)?,
        }
    }
    reader.finish()?;
    // Some stores leave the set out when it is empty.
    match (tags, unknown) {
        (Some(tags), _) => Ok(tags),
        (None, Unknown::Skipped) => Ok(Vec::new()),
        (None, Unknown::Refused) => Err(XmlError::Unexpected),
    }
}

fn read_set(
    reader: &mut Reader<'_>,
    tags_max: usize,
    unknown: Unknown,
) -> Result<Vec<(String, String)>, XmlError> {
    let mut tags = Vec::new();
    while let Some(name) = reader.child()? {
        match name {
            "Tag" if tags.len() < tags_max => tags.push(read_tag(reader, unknown)?),
            // One too many is enough to know.
            "Tag" if unknown == Unknown::Refused => reader.skip()?,
            "Tag" => return Err(XmlError::TooLarge),
            _ => unknown.meet(reader)?,
        }
    }
    Ok(tags)
}

fn read_tag(reader: &mut Reader<'_>, unknown: Unknown) -> Result<(String, String), XmlError> {
    let (mut key, mut value) = (None, None);
    while let Some(name) = reader.child()? {
        match name {
            "Key" if key.is_none() => key = Some(reader.text()?),
            "Value" if value.is_none() => value = Some(reader.text()?),
            "Key" | "Value" => return Err(XmlError::Unexpected),
            _ => unknown.meet(reader)?,
        }
    }
    match (key, value, unknown) {
        (Some(key), Some(value), _) => Ok((key, value)),
        (Some(key), None, Unknown::Skipped) => Ok((key, String::new())),
        (Some(_), None, Unknown::Refused) | (None, _, _) => Err(XmlError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn document(tags: &str) -> String {
        format!("<?xml version='1.0'?><Tagging xmlns='x'><TagSet>{tags}</TagSet></Tagging>")
    }

    fn tag(key: &str, value: &str) -> String {
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    }

    #[test]
    fn a_clients_document_becomes_a_set() {
        let text = document(&format!("{}\n {}", tag("z", "é 1"), tag("a", "")));
        let set = parse_tagging(text.as_bytes()).unwrap();
        assert_eq!(
            set.pairs(),
            [("a".into(), String::new()), ("z".into(), "é 1".into())]
        );
        let again = parse_tagging(&write_tagging(set.pairs())).unwrap();
        assert_eq!(again, set);
        assert!(parse_tagging(document("").as_bytes()).unwrap().is_empty());
        assert!(parse_tagging(b"<Tagging><TagSet/></Tagging>").unwrap().is_empty());
    }

    #[test]
    fn every_other_document_is_refused() {
        let malformed = [
            "".to_owned(),
            "x".to_owned(),
            "<Tagging/>".to_owned(),
            "<TagSet/>".to_owned(),
            "<Tagging><TagSet/><TagSet/></Tagging>".to_owned(),
            "<Tagging><TagSet/>".to_owned(),
            document("<Tag/>"),
            document("<Tag><Key>a</Key></Tag>"),
            document("<Tag><Value>a</Value></Tag>"),
            document("<Tag><Key>a</Key><Key>b</Key><Value>c</Value></Tag>"),
            document("<Tag><Key>a</Key><Value>c</Value><More/></Tag>"),
            document("<Other/>"),
            document("<Tag><Key><b/></Key><Value/></Tag>"),
        ];
        for text in malformed {
            assert_eq!(
                parse_tagging(text.as_bytes()),
                Err(TagError::Document(ErrorCode::MalformedXml)),
                "{text}"
            );
        }
        let many =
            |count: usize| document(&(0..count).map(|at| tag(&at.to_string(), "")).collect::<String>());
        assert_eq!(parse_tagging(many(10).as_bytes()).unwrap().pairs().len(), 10);
        for count in [11, 12, 10_000] {
            assert_eq!(
                parse_tagging(many(count).as_bytes()),
                Err(TagError::TooMany),
                "{count}"
            );
        }
        let twice = document(&tag("a", "1").repeat(2));
        assert_eq!(parse_tagging(twice.as_bytes()), Err(TagError::RepeatedKey));
        assert_eq!(
            parse_tagging(document(&tag("", "v")).as_bytes()),
            Err(TagError::Key)
        );
        assert_eq!(
            parse_tagging(document(&tag("aws:a", "")).as_bytes()),
            Err(TagError::SystemKey)
        );
    }

    #[test]
    fn a_stores_answer_is_read_leniently_and_within_bounds() {
        let text = document(&format!(
            "{}{}<Tag><Key>k</Key></Tag><X/>",
            tag("z!", "1"),
            tag("a", "2")
        ));
        let tags = parse_stored_tags(text.as_bytes()).unwrap();
        assert_eq!(
            tags,
            [
                ("z!".into(), "1".into()),
                ("a".into(), "2".into()),
                ("k".into(), String::new())
            ]
        );
        assert_eq!(parse_stored_tags(b"<Tagging/>"), Ok(Vec::new()));
        let many = document(&tag("a", "").repeat(51));
        assert_eq!(parse_stored_tags(many.as_bytes()), Err(XmlError::TooLarge));
        assert_eq!(
            parse_stored_tags(b"<ListBucketResult/>"),
            Err(XmlError::Unexpected)
        );
    }
}
