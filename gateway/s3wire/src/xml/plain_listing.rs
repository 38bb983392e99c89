//! Listings of the plain form that stores write, rewritten in one pass.
//!
//! What lives here: a recogniser of one narrow form, and the same edits as in [`super::rewrite`]. What must
//! not: an opinion on documents of any other form, or an error. Invariant: where this has an answer, it is
//! the one that the full reader would have led to; everything else is left to that reader.
//!
//! The form: at most the usual declaration, names of ASCII letters and digits, no attribute but the root's
//! namespace, no reference but quotes around an entity tag, no comment, no CDATA.

use super::read::LISTING_BYTES_MAX;
use super::rewrite::{ListRewrite, UNSIZED_KEYS_REPORTED_MAX};
use super::write::escape_text;
use crate::etag;

/// Deepest nesting; the full reader takes more.
const DEPTH_MAX: usize = 6;

/// Longest text and longest namespace, bytes; the full reader takes more.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The declarations that are recognised.
const DECLARATIONS: [&[u8]; 2] = [
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    b"<?xml version=\"1.0\" encoding=\"utf-8\"?>",
];

/// Ways to write a quote.
const QUOTES: [&[u8]; 3] = [b"&quot;", b"&#34;", b"\""];

/// The rewritten listing; `None` when it is not of the plain form.
pub(super) fn rewrite(document: &[u8], plain_size: impl Fn(u64) -> Option<u64>) -> Option<ListRewrite> {
    if document.len() > LISTING_BYTES_MAX || document.contains(&0) {
        return None;
    }
    std::str::from_utf8(document).ok()?;
    let mut scan = Scan { rest: document };
    scan.skip_space();
    let document = scan.rest;
    if let Some(rest) = DECLARATIONS.iter().find_map(|text| scan.rest.strip_prefix(*text)) {
        scan.rest = rest;
    }
    scan.skip_space();
    let root = scan.root()?;
    let entry: &[u8] = match root {
        b"ListBucketResult" => b"Contents",
        b"ListVersionsResult" => b"Version",
        _ => return None,
    };
    let mut out = Output {
        xml: Vec::with_capacity(document.len().saturating_add(document.len() / 16)),
        pending: document,
    };
    let mut report = ListRewrite {
        xml: Vec::new(),
        unsized_count: 0,
        unsized_keys: Vec::new(),
    };
    loop {
        scan.skip_space();
        match scan.tag()? {
            Tag::Open(name) if name == entry => {
                if let Some(key) = entry_edits(&mut scan, entry, &mut out, &plain_size)? {
                    report.unsized_count = report.unsized_count.saturating_add(1);
                    if report.unsized_keys.len() < UNSIZED_KEYS_REPORTED_MAX {
                        report.unsized_keys.push(String::from_utf8(key.to_vec()).ok()?);
                    }
                }
            }
            Tag::Open(name) => scan.leave(name)?,
            Tag::Empty(name) if name == entry => return None,
            Tag::Empty(_) => {}
            Tag::Close(name) if name == root => break,
            Tag::Close(_) => return None,
        }
    }
    scan.skip_space();
    if !scan.rest.is_empty() {
        return None;
    }
    out.keep_to(scan.rest);
    report.xml = out.xml;
    Some(report)
}

/// Edits one entry; its key when its size is not one the gateway writes.
fn entry_edits<'x>(
    scan: &mut Scan<'x>,
    entry: &[u8],
    out: &mut Output<'x>,
    plain_size: &impl Fn(u64) -> Option<u64>,
) -> Option<Option<&'x [u8]>> {
    let mut key: &[u8] = b"";
    let mut is_unsized = false;
    loop {
        scan.skip_space();
        let start = scan.rest;
        match scan.tag()? {
            Tag::Close(name) => return (name == entry).then_some(is_unsized.then_some(key)),
            Tag::Open(b"Key") => key = scan.leaf(b"Key")?,
            Tag::Open(b"Size") => {
                let content = scan.rest;
                let size = number(scan.leaf(b"Size")?)?;
                match plain_size(size) {
                    Some(plain) => {
                        out.replace(content, scan.rest, b"</Size>", plain.to_string().as_bytes())?
                    }
                    None => is_unsized = true,
                }
            }
            Tag::Open(b"ETag") => {
                let content = scan.rest;
                let tag = scan.etag()?;
                if !tag.is_empty() {
                    out.replace(content, scan.rest, b"</ETag>", &tag)?;
                }
            }
            Tag::Open(name @ (b"ChecksumAlgorithm" | b"ChecksumType")) => {
                scan.leave(name)?;
                out.keep_to(start);
                out.pending = scan.rest;
            }
            Tag::Open(name) => scan.leave(name)?,
            // Rare in an entry, and a matter of positions: left to the full reader.
            Tag::Empty(_) => return None,
        }
    }
}

enum Tag<'x> {
    Open(&'x [u8]),
    Empty(&'x [u8]),
    Close(&'x [u8]),
}

/// What is left of the document.
struct Scan<'x> {
    rest: &'x [u8],
}

impl<'x> Scan<'x> {
    fn skip_space(&mut self) {
        while let Some((b' ' | b'\t' | b'\r' | b'\n', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn name(&mut self) -> Option<&'x [u8]> {
        let length = self.rest.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        let (name, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        name.first()?.is_ascii_alphabetic().then_some(name)
    }

    fn take(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn tag(&mut self) -> Option<Tag<'x>> {
        self.take(b"<")?;
        if self.take(b"/").is_some() {
            let name = self.name()?;
            self.take(b">")?;
            return Some(Tag::Close(name));
        }
        let name = self.name()?;
        if self.take(b">").is_some() {
            return Some(Tag::Open(name));
        }
        self.take(b"/>")?;
        Some(Tag::Empty(name))
    }

    /// The root's start tag, which may have a namespace.
    fn root(&mut self) -> Option<&'x [u8]> {
        self.take(b"<")?;
        let name = self.name()?;
        if self.take(b" xmlns=\"").is_some() {
            let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'&');
            let length = self.rest.iter().take(TEXT_BYTES_MAX / 8).position(is_end)?;
            self.rest = self.rest.get(length..)?;
            self.take(b"\"")?;
        }
        self.take(b">")?;
        Some(name)
    }

    /// Text up to the next tag, without any reference.
    fn text(&mut self) -> Option<&'x [u8]> {
        let is_special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | b'\r');
        let length = self.rest.iter().position(is_special)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        (rest.first() == Some(&b'<')).then_some(text)
    }

    fn close(&mut self, name: &[u8]) -> Option<()> {
        self.take(b"</")?;
        self.take(name)?;
        self.take(b">")
    }

    /// The text of the element that was just entered, which has nothing else.
    fn leaf(&mut self, name: &[u8]) -> Option<&'x [u8]> {
        let text = self.text()?;
        self.close(name)?;
        (text.len() <= TEXT_BYTES_MAX).then_some(text)
    }

    /// The element `ETag`, as a client shall see its content.
    fn etag(&mut self) -> Option<Vec<u8>> {
        let quote = QUOTES.iter().find(|quote| self.rest.starts_with(quote));
        if let Some(quote) = quote {
            self.take(quote)?;
        }
        let is_other = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte == b'-');
        let length = self.rest.iter().take(TEXT_BYTES_MAX).position(is_other)?;
        let (opaque, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        if let Some(quote) = quote {
            self.take(quote)?;
        }
        self.close(b"ETag")?;
        let shown = etag::to_client(std::str::from_utf8(opaque).ok()?);
        let mut content = Vec::with_capacity(shown.len().saturating_add(12));
        if quote.is_some() {
            content.extend_from_slice(b"&quot;");
        }
        escape_text(&shown, &mut content);
        if quote.is_some() {
            content.extend_from_slice(b"&quot;");
        }
        Some(content)
    }

    /// Leaves the element that was just entered.
    fn leave(&mut self, name: &'x [u8]) -> Option<()> {
        // Nearly all hold nothing but a text.
        self.text()?;
        if self.close(name).is_some() {
            return Some(());
        }
        let mut open = vec![name];
        while let Some(inner) = open.last() {
            self.text()?;
            match self.tag()? {
                Tag::Open(_) if open.len() >= DEPTH_MAX => return None,
                Tag::Open(name) => open.push(name),
                Tag::Empty(_) => {}
                Tag::Close(name) if name == *inner => {
                    open.pop();
                }
                Tag::Close(_) => return None,
            }
        }
        Some(())
    }
}

/// The document for the client.
struct Output<'x> {
    xml: Vec<u8>,
    /// The document from where nothing was copied yet.
    pending: &'x [u8],
}

impl<'x> Output<'x> {
    /// Copies what lies in front of `rest`, a tail of the document.
    fn keep_to(&mut self, rest: &'x [u8]) {
        let length = self.pending.len().saturating_sub(rest.len());
        self.xml
            .extend_from_slice(self.pending.get(..length).unwrap_or_default());
        self.pending = rest;
    }

    /// Puts `text` between `content` and the closing tag `end` in front of `rest`.
    fn replace(&mut self, content: &'x [u8], rest: &'x [u8], end: &[u8], text: &[u8]) -> Option<()> {
        self.keep_to(content);
        self.xml.extend_from_slice(text);
        let behind = rest.len().checked_add(end.len())?;
        let skipped = content.len().checked_sub(behind)?;
        self.pending = content.get(skipped..)?;
        Some(())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
