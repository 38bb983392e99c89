//! ListObjects, both versions, and the walk they share with ListMultipartUploads.
//!
//! What lives here: prefixes, delimiters and pages. What must not: changes. Invariant: keys come in
//! the order of their UTF-8 bytes, each key or common prefix on exactly one page.

use std::collections::BTreeMap;
use std::ops::Bound;

use data_encoding::BASE64URL_NOPAD;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::encode_path;
use sceau_s3wire::xml::write::XmlWriter;

use super::{iso8601, quoted};
use crate::record::{Object, total_bytes};
use crate::request::Head;
use crate::response::{Answer, document};
use crate::state::State;

/// Most entries of one page, S3's limit.
const PAGE_ENTRIES_MAX: u32 = 1000;

/// Which names to list.
pub(super) struct Walk<'a> {
    pub prefix: &'a str,
    pub delimiter: &'a str,
    /// Names up to and including this one were listed before.
    pub after: &'a str,
    pub entries_max: usize,
}

/// One page.
pub(super) struct Page<'a, T> {
    pub items: Vec<(&'a str, &'a T)>,
    pub common_prefixes: Vec<String>,
    /// The last name or common prefix of the page, when there are more.
    pub last: Option<String>,
}

/// Walks names in byte order.
pub(super) fn walk<'a, T>(all: &'a BTreeMap<String, T>, walk: &Walk<'_>) -> Page<'a, T> {
    let mut page = Page {
        items: Vec::new(),
        common_prefixes: Vec::new(),
        last: None,
    };
    let mut newest: Option<String> = None;
    let mut entries = 0_usize;
    let start = if walk.after >= walk.prefix && !walk.after.is_empty() {
        Bound::Excluded(walk.after.to_owned())
    } else {
        Bound::Included(walk.prefix.to_owned())
    };
    for (name, item) in all.range::<String, _>((start, Bound::Unbounded)) {
        let Some(rest) = name.strip_prefix(walk.prefix) else {
            break;
        };
        let common = common_prefix(walk, rest);
        // The rest of a common prefix that was listed, on this page or the one before.
        if let Some(common) = &common
            && (common == walk.after || newest.as_ref() == Some(common))
        {
            continue;
        }
        if entries == walk.entries_max {
            page.last = newest;
            return page;
        }
        entries = entries.saturating_add(1);
        match common {
            Some(common) => {
                newest = Some(common.clone());
                page.common_prefixes.push(common);
            }
            None => {
                newest = Some(name.clone());
                page.items.push((name, item));
            }
        }
    }
    page
}

fn common_prefix(walk: &Walk<'_>, rest: &str) -> Option<String> {
    if walk.delimiter.is_empty() {
        return None;
    }
    let (component, _) = rest.split_once(walk.delimiter)?;
    Some(format!("{}{component}{}", walk.prefix, walk.delimiter))
}

/// Writes names as the client asked for.
pub(super) struct Names {
    url: bool,
}

impl Names {
    pub fn asked(head: &Head) -> Result<Names, ErrorCode> {
        match head.query.get("encoding-type") {
            None => Ok(Names { url: false }),
            Some("url") => Ok(Names { url: true }),
            Some(_) => Err(ErrorCode::InvalidArgument),
        }
    }

    pub fn write(&self, xml: &mut XmlWriter, element: &str, name: &str) {
        if self.url {
            xml.element(element, &encode_path(name));
        } else {
            xml.element(element, name);
        }
    }

    pub fn finish(&self, xml: &mut XmlWriter) {
        if self.url {
            xml.element("EncodingType", "url");
        }
    }

    pub fn common(&self, xml: &mut XmlWriter, prefixes: &[String]) {
        for prefix in prefixes {
            xml.open("CommonPrefixes");
            self.write(xml, "Prefix", prefix);
            xml.close("CommonPrefixes");
        }
    }
}

/// The size of a page, as the client asked and S3 allows.
pub(super) fn page_entries(head: &Head, name: &str) -> Result<(u32, usize), ErrorCode> {
    let asked = head.number(name, PAGE_ENTRIES_MAX)?.min(PAGE_ENTRIES_MAX);
    Ok((asked, usize::try_from(asked).unwrap_or_default()))
}

pub(super) fn objects(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    match head.query.get("list-type") {
        None | Some("1") => version_1(state, head),
        Some("2") => version_2(state, head),
        Some(_) => Err(ErrorCode::InvalidArgument),
    }
}

fn version_1(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    let ask = |name: &str| head.query.get(name).unwrap_or_default();
    let names = Names::asked(head)?;
    let (asked, entries_max) = page_entries(head, "max-keys")?;
    let query = Walk {
        prefix: ask("prefix"),
        delimiter: ask("delimiter"),
        after: ask("marker"),
        entries_max,
    };
    let index = state.read();
    let bucket = index.get(&head.bucket).ok_or(ErrorCode::NoSuchBucket)?;
    let page = walk(&bucket.objects, &query);
    let mut xml = open(head, &names, &query, asked, page.last.is_some());
    names.write(&mut xml, "Marker", query.after);
    // S3 gives a next marker only with a delimiter; it is harmless without, and saves the guess.
    if let Some(last) = &page.last {
        names.write(&mut xml, "NextMarker", last);
    }
    Ok(close(xml, &names, &page, true))
}

fn version_2(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    let ask = |name: &str| head.query.get(name).unwrap_or_default();
    let names = Names::asked(head)?;
    let (asked, entries_max) = page_entries(head, "max-keys")?;
    let token = head.query.get("continuation-token").map(from_token).transpose()?;
    let after = token.as_deref().unwrap_or_else(|| ask("start-after"));
    let query = Walk {
        prefix: ask("prefix"),
        delimiter: ask("delimiter"),
        after,
        entries_max,
    };
    let index = state.read();
    let bucket = index.get(&head.bucket).ok_or(ErrorCode::NoSuchBucket)?;
    let page = walk(&bucket.objects, &query);
    let mut xml = open(head, &names, &query, asked, page.last.is_some());
    let count = page.items.len().saturating_add(page.common_prefixes.len());
    xml.element("KeyCount", &count.to_string());
    if let Some(start) = head.query.get("start-after") {
        names.write(&mut xml, "StartAfter", start);
    }
    xml.optional("ContinuationToken", head.query.get("continuation-token"));
    let next = page
        .last
        .as_ref()
        .map(|last| BASE64URL_NOPAD.encode(last.as_bytes()));
    xml.optional("NextContinuationToken", next.as_deref());
    let owner = head.query.get("fetch-owner") == Some("true");
    Ok(close(xml, &names, &page, owner))
}

fn from_token(token: &str) -> Result<String, ErrorCode> {
    let bytes = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .map_err(|_| ErrorCode::InvalidArgument)?;
    String::from_utf8(bytes).map_err(|_| ErrorCode::InvalidArgument)
}

fn open(head: &Head, names: &Names, walk: &Walk<'_>, asked: u32, is_truncated: bool) -> XmlWriter {
    let mut xml = XmlWriter::document();
    xml.open_root("ListBucketResult");
    xml.element("Name", &head.bucket);
    names.write(&mut xml, "Prefix", walk.prefix);
    if !walk.delimiter.is_empty() {
        names.write(&mut xml, "Delimiter", walk.delimiter);
    }
    xml.element("MaxKeys", &asked.to_string());
    names.finish(&mut xml);
    xml.element("IsTruncated", if is_truncated { "true" } else { "false" });
    xml
}

fn close(mut xml: XmlWriter, names: &Names, page: &Page<'_, Object>, owner: bool) -> Answer {
    for (key, object) in &page.items {
        xml.open("Contents");
        names.write(&mut xml, "Key", key);
        xml.element("LastModified", &iso8601(object.modified_ms));
        xml.element("ETag", &quoted(&object.etag));
        xml.element("Size", &total_bytes(&object.pieces).to_string());
        if owner {
            xml.open("Owner");
            xml.element("ID", "dev");
            xml.close("Owner");
        }
        xml.element("StorageClass", "STANDARD");
        xml.close("Contents");
    }
    names.common(&mut xml, &page.common_prefixes);
    xml.close("ListBucketResult");
    document(xml.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> BTreeMap<String, ()> {
        of.iter().map(|name| ((*name).to_owned(), ())).collect()
    }

    /// All pages, as lists of names and common prefixes.
    fn pages(
        all: &BTreeMap<String, ()>,
        prefix: &str,
        delimiter: &str,
        entries_max: usize,
    ) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let page = walk(
                all,
                &Walk {
                    prefix,
                    delimiter,
                    after: &after,
                    entries_max,
                },
            );
            let mut listed = page
                .items
                .iter()
                .map(|(name, ())| (*name).to_owned())
                .collect::<Vec<_>>();
            listed.extend(page.common_prefixes.iter().cloned());
            listed.sort();
            pages.push(listed);
            match page.last {
                Some(last) => after = last,
                None => return pages,
            }
        }
    }

    #[test]
    fn every_page_size_lists_everything_once() {
        let all = names(&[
            "a",
            "a/b",
            "a/c/d",
            "b!",
            "b/",
            "b/x",
            "c\u{e9}",
            "c\u{ffff}",
            "c\u{10000}",
            "z",
        ]);
        for (prefix, delimiter) in [
            ("", ""),
            ("", "/"),
            ("a", "/"),
            ("b/", "/"),
            ("a/", ""),
            ("nothing", "/"),
        ] {
            let whole = pages(&all, prefix, delimiter, 1000).concat();
            for entries_max in 1..5 {
                let pages = pages(&all, prefix, delimiter, entries_max);
                assert_eq!(pages.concat(), whole, "{prefix:?} {delimiter:?} {entries_max}");
                let last = pages.len() - 1;
                assert!(pages[..last].iter().all(|page| page.len() == entries_max));
            }
        }
        assert_eq!(pages(&all, "", "/", 2)[0], ["a", "a/"]);
    }

    #[test]
    fn a_page_of_nothing_is_not_truncated() {
        let all = names(&["a"]);
        let page = walk(
            &all,
            &Walk {
                prefix: "",
                delimiter: "",
                after: "",
                entries_max: 0,
            },
        );
        assert!(page.items.is_empty() && page.last.is_none());
    }
}
