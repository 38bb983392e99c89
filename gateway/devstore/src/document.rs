//! The XML documents that clients send.
//!
//! What lives here: a bounded reader for CompleteMultipartUpload and Delete. What must not: other
//! documents; they are ignored. Invariant: a document that is not well formed, or not of the
//! expected shape, is refused whole.

use quick_xml::Reader;
use quick_xml::events::Event;
use sceau_s3wire::error::ErrorCode;

use crate::multipart::CompletedPart;

/// Most items of one document: S3's limit on parts; deletions stop at a thousand.
const ITEMS_MAX: usize = 10_000;
/// Deepest element of either document.
const DEPTH_MAX: usize = 8;

/// One key to delete.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Doomed {
    pub key: String,
    pub etag: Option<String>,
}

/// The document of DeleteObjects.
pub(crate) struct Deletion {
    pub quiet: bool,
    pub objects: Vec<Doomed>,
}

/// Reads the document of CompleteMultipartUpload.
pub(crate) fn completed_parts(xml: &[u8]) -> Result<Vec<CompletedPart>, ErrorCode> {
    let items = leaves(xml)?.items("Part")?;
    let part = |item: &Vec<(String, String)>| {
        let number = field(item, "PartNumber").and_then(|text| text.trim().parse().ok());
        let etag = field(item, "ETag").map(|text| text.trim().trim_matches('"').to_owned());
        Some(CompletedPart {
            number: number?,
            etag: etag?,
        })
    };
    items
        .iter()
        .map(part)
        .collect::<Option<Vec<_>>>()
        .ok_or(ErrorCode::MalformedXml)
}

/// Reads the document of DeleteObjects.
pub(crate) fn deletion(xml: &[u8]) -> Result<Deletion, ErrorCode> {
    let leaves = leaves(xml)?;
    let quiet = leaves
        .all
        .iter()
        .any(|leaf| leaf.path == ["Delete", "Quiet"] && leaf.text == "true");
    let doomed = |item: &Vec<(String, String)>| {
        let etag = field(item, "ETag").map(str::to_owned);
        Some(Doomed {
            key: field(item, "Key")?.to_owned(),
            etag,
        })
    };
    let items = leaves.items("Object")?;
    let objects = items
        .iter()
        .map(doomed)
        .collect::<Option<Vec<_>>>()
        .ok_or(ErrorCode::MalformedXml)?;
    Ok(Deletion { quiet, objects })
}

fn field<'a>(item: &'a [(String, String)], name: &str) -> Option<&'a str> {
    item.iter()
        .find(|(found, _)| found == name)
        .map(|(_, text)| text.as_str())
}

/// An element with text and no children.
struct Leaf {
    path: Vec<String>,
    text: String,
    /// Which second-level element it belongs to.
    group: usize,
}

struct Leaves {
    all: Vec<Leaf>,
}

impl Leaves {
    /// The fields of each second-level element of this name.
    fn items(&self, name: &str) -> Result<Vec<Vec<(String, String)>>, ErrorCode> {
        let mut items: Vec<Vec<(String, String)>> = Vec::new();
        let mut group = None;
        for leaf in &self.all {
            let (Some(second), Some(third)) = (leaf.path.get(1), leaf.path.get(2)) else {
                continue;
            };
            if second != name {
                continue;
            }
            if group != Some(leaf.group) {
                group = Some(leaf.group);
                items.push(Vec::new());
            }
            if items.len() > ITEMS_MAX {
                return Err(ErrorCode::MalformedXml);
            }
            if let Some(item) = items.last_mut() {
                item.push((third.clone(), leaf.text.clone()));
            }
        }
        Ok(items)
    }
}

fn leaves(xml: &[u8]) -> Result<Leaves, ErrorCode> {
    let mut reader = Reader::from_str(std::str::from_utf8(xml).map_err(|_| ErrorCode::MalformedXml)?);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut group = 0_usize;
    let mut all = Vec::new();
    loop {
        match reader.read_event().map_err(|_| ErrorCode::MalformedXml)? {
            Event::Start(start) => {
                text.clear();
                path.push(start.local_name().as_ref().to_owned());
                if path.len() == 2 {
                    group = group.saturating_add(1);
                }
                if path.len() > DEPTH_MAX {
                    return Err(ErrorCode::MalformedXml);
                }
            }
            Event::End(_) => {
                all.push(Leaf {
                    path: path.clone(),
                    text: std::mem::take(&mut text),
                    group,
                });
                path.pop();
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::GeneralRef(name) => text.push(reference(&name)?),
            Event::CData(piece) => text.push_str(&piece),
            Event::DocType(_) => return Err(ErrorCode::MalformedXml),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if path.is_empty() && !all.is_empty() => return Ok(Leaves { all }),
            Event::Eof => return Err(ErrorCode::MalformedXml),
        }
    }
}

fn reference(name: &quick_xml::events::BytesRef<'_>) -> Result<char, ErrorCode> {
    if let Some(character) = name.resolve_char_ref().map_err(|_| ErrorCode::MalformedXml)? {
        return Ok(character);
    }
    match name.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(ErrorCode::MalformedXml),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_every_character() {
        let xml = b"<Delete xmlns='x'><Object><Key> a&amp;b&#x9;&lt;c </Key></Object><Object><Key>d</Key>\
                    <ETag>\"e\"</ETag></Object><Quiet>true</Quiet></Delete>";
        let read = deletion(xml).unwrap();
        assert!(read.quiet);
        assert_eq!(read.objects[0].key, " a&b\t<c ");
        assert_eq!(
            read.objects[1],
            Doomed {
                key: "d".into(),
                etag: Some("\"e\"".into())
            }
        );
    }

    #[test]
    fn damaged_documents_are_refused() {
        for xml in [
            "",
            "<Delete>",
            "<Delete><Object></Object></Delete>",
            "<a><b></a></b>",
            "<!DOCTYPE x><Delete></Delete>",
        ] {
            let refused = deletion(xml.as_bytes()).map(|read| read.objects.len());
            // An element `Object` without a key has no fields at all and counts as no object.
            assert!(matches!(refused, Err(ErrorCode::MalformedXml) | Ok(0)), "{xml}");
        }
        assert!(completed_parts(b"<C><Part><PartNumber>1</PartNumber></Part></C>").is_err());
    }
}
