//! Listings on their way from the store to a client.
//!
//! What lives here: edits by position. What must not: values of documents. Invariant: every byte
//! outside an edited element reaches the client as the store wrote it.

use std::ops::Range;

use super::plain_listing;
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
    match plain_listing::rewrite(document, &plain_size) {
        Some(rewritten) => Ok(rewritten),
        None => rewrite_any_listing(document, plain_size),
    }
}

/// As [`rewrite_listing`], for documents of every form.
fn rewrite_any_listing(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(stored: u64) -> Option<u64> {
        stored.checked_sub(352)
    }

    /// What the two readers say must be the same, where the narrow one says anything.
    fn agree(document: &[u8]) -> bool {
        match plain_listing::rewrite(document, plain) {
            Some(fast) => {
                let full = rewrite_any_listing(document, plain);
                assert_eq!(Ok(fast), full, "{}", String::from_utf8_lossy(document));
                true
            }
            None => false,
        }
    }

    /// Pieces from which documents near the plain form are made, and some far from it.
    const PIECES: [&str; 41] = [
        "<Contents>",
        "</Contents>",
        "<Key>a/b.txt</Key>",
        "<Key>ä&amp;</Key>",
        "<Key/>",
        "<Size>1000</Size>",
        "<Size>7</Size>",
        "<Size> 900 </Size>",
        "<Size></Size>",
        "<Size>99999999999999999999999</Size>",
        "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>",
        "<ETag>\"abc-2\"</ETag>",
        "<ETag>&#34;d41d8cd98f00b204e9800998ecf8427e&#34;</ETag>",
        "<ETag></ETag>",
        "<ETag>W/\"d41d8cd98f00b204e9800998ecf8427e\"</ETag>",
        "<ETag>\"d41d8cd98f00b204e9800998ecf8427e</ETag>",
        "<ETag>d41d8cd98f00b204e9800998ecf8427e</ETag>",
        "<ETag>&quot;&quot;</ETag>",
        "<ETag>\"x&quot;</ETag>",
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>",
        "<ChecksumType>FULL_OBJECT</ChecksumType>",
        "<ChecksumType><x>1</x></ChecksumType>",
        "<Owner><ID>1</ID><DisplayName>me</DisplayName></Owner>",
        "<Owner>",
        "</Owner>",
        "<StorageClass>STANDARD</StorageClass>",
        "<StorageClass/>",
        "\n  ",
        "text",
        "&lt;",
        "<!-- c -->",
        "<![CDATA[x]]>",
        "<a:Size>1000</a:Size>",
        "<Size x=\"1\">1000</Size>",
        "<Size >1000</Size>",
        "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>",
        "<KeyCount>1</KeyCount>",
        "]]>",
        "\r",
        "\u{feff}",
        "<IsTruncated>false</IsTruncated>",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn both_readers_agree(
            head in 0_usize..5,
            entries in proptest::collection::vec(proptest::collection::vec(0_usize..PIECES.len(), 0..6), 0..4),
            loose in proptest::collection::vec(0_usize..PIECES.len(), 0..2),
        ) {
            let heads = [
                "<ListBucketResult>",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3/\">",
                "\u{feff}<ListBucketResult>",
                "<ListBucketResult xmlns='x'>",
                "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"a>b\">",
            ];
            let mut document = heads[head].to_owned();
            for entry in entries {
                document.push_str("<Contents>");
                entry.iter().for_each(|piece| document.push_str(PIECES[*piece]));
                document.push_str("</Contents>");
            }
            loose.iter().for_each(|piece| document.push_str(PIECES[*piece]));
            document.push_str("</ListBucketResult>");
            agree(document.as_bytes());
            for cut in [1, document.len() / 2] {
                agree(document.as_bytes().get(..document.len().saturating_sub(cut)).unwrap());
            }
        }
    }

    #[test]
    fn what_stores_write_is_of_the_plain_form() {
        let entry = "<Contents><Key>l/ü 1</Key><LastModified>2026-11-22T06:00:00.000Z</LastModified>\
            <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
            <Size>1376</Size><Owner><ID>1</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>";
        let odd = "<Contents><Key>foreign</Key><ETag>\"x\"</ETag><Size>3</Size></Contents>";
        for (declaration, root) in [
            ("", "ListBucketResult"),
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "ListBucketResult"),
        ] {
            let document = format!(
                "{declaration}<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix/>\
                 <KeyCount>2</KeyCount>\n {entry}\n{odd}<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></{root}>\n"
            );
            assert!(agree(document.as_bytes()), "{document}");
            let rewritten = rewrite_listing(document.as_bytes(), plain).unwrap();
            assert_eq!(rewritten.unsized_keys, ["foreign"]);
        }
        let versions = entry.replace("Contents>", "Version>");
        assert!(agree(
            format!(
                "<ListVersionsResult>{versions}<DeleteMarker><Key>x</Key></DeleteMarker></ListVersionsResult>"
            )
            .as_bytes()
        ));
    }

    #[test]
    fn what_nobody_should_write_is_left_to_the_full_reader() {
        for inner in [
            "<Contents><Size>1</Size>",
            "<Contents></Version>",
            "<Contents/>",
            "<Contents><Key>a&bogus;</Key></Contents>",
            "<!DOCTYPE x>",
            "<a><b><c><d><e><f><g></g></f></e></d></c></b></a>",
        ] {
            let document = format!("<ListBucketResult>{inner}</ListBucketResult>");
            assert!(!agree(document.as_bytes()), "{document}");
        }
        assert!(!agree(b"<ListBucketResult></ListBucketResult><x/>"));
        assert!(!agree(b"<ListBucketResult>\0</ListBucketResult>"));
        assert!(!agree(b"<ListBucketResult>\xff</ListBucketResult>"));
    }
}
