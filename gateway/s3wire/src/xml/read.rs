//! A bounded reader of XML documents.
//!
//! What lives here: a walk over elements by local name, with limits. What must not: knowledge of
//! any document. Invariant: attributes are never looked at, document types and entities of their
//! own are refused, and the walk is one pass.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::{BytesRef, Event};

use crate::error::ErrorCode;

/// Longest request or answer that is not a listing, bytes: 10 000 parts with checksums fit.
pub const CONTROL_DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest listing, bytes: 1000 keys of 1024 bytes, percent-encoded, fit.
pub const LISTING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Deepest nesting; S3's own documents reach five.
const DEPTH_MAX: usize = 12;

/// Longest start tag, bytes: a name, and namespace declarations that are skipped.
const TAG_BYTES_MAX: usize = 2_048;

/// Longest text of one element that is read, bytes: a key with every byte as `&#x00;`, and room.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Why a document cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Longer, deeper or with larger elements than any document of the interface.
    TooLarge,
    /// Not well-formed, or with a document type or an entity of its own.
    NotWellFormed,
    /// Well-formed, but not the document that was expected.
    Unexpected,
}

impl XmlError {
    /// The code to answer with when the document came from a client.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::MaxMessageLengthExceeded,
            Self::NotWellFormed | Self::Unexpected => ErrorCode::MalformedXml,
        }
    }
}

impl std::fmt::Display for XmlError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::TooLarge => "the XML document is too large or too deep",
            Self::NotWellFormed => "the XML document is not well-formed",
            Self::Unexpected => "the XML document is not of the expected form",
        })
    }
}

impl std::error::Error for XmlError {}

/// One step of the walk.
enum Step<'x> {
    Open(&'x str),
    Text(Cow<'x, str>),
    Close,
    End,
}

/// An element's text and the place of its content in the document.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) content: Range<usize>,
}

/// Walks one document.
pub(super) struct Reader<'x> {
    document: &'x str,
    inner: quick_xml::Reader<&'x [u8]>,
    depth: usize,
    /// Where the last step began in the document.
    step_start: usize,
}

impl<'x> Reader<'x> {
    /// A reader of a whole document, which may have white space in front of it.
    pub(super) fn new(document: &'x [u8], bytes_max: usize) -> Result<Self, XmlError> {
        if document.len() > bytes_max {
            return Err(XmlError::TooLarge);
        }
        let document = std::str::from_utf8(document).map_err(|_| XmlError::NotWellFormed)?;
        if document.contains('\0') {
            // No XML has it, the parser does not look, and a key must not change on the way.
            return Err(XmlError::NotWellFormed);
        }
        let document = document.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        let mut inner = quick_xml::Reader::from_str(document);
        inner.config_mut().expand_empty_elements = true;
        Ok(Self {
            document,
            inner,
            depth: 0,
            step_start: 0,
        })
    }

    /// The document that offsets refer to.
    pub(super) fn document(&self) -> &'x str {
        self.document
    }

    /// Where the last step began.
    pub(super) fn step_start(&self) -> usize {
        self.step_start
    }

    /// Where the last step ended.
    pub(super) fn position(&self) -> usize {
        usize::try_from(self.inner.buffer_position()).unwrap_or(self.document.len())
    }

    /// Enters the root element and returns its local name.
    pub(super) fn root(&mut self) -> Result<&'x str, XmlError> {
        match self.next_markup()? {
            Step::Open(name) => Ok(name),
            Step::Text(_) | Step::Close | Step::End => Err(XmlError::Unexpected),
        }
    }

    /// Enters the root element, which must have this local name.
    pub(super) fn expect_root(&mut self, name: &str) -> Result<(), XmlError> {
        if self.root()? == name {
            Ok(())
        } else {
            Err(XmlError::Unexpected)
        }
    }

    /// Enters the next child of the current element, or leaves it when there is none.
    pub(super) fn child(&mut self) -> Result<Option<&'x str>, XmlError> {
        match self.next_markup()? {
            Step::Open(name) => Ok(Some(name)),
            Step::Close => Ok(None),
            Step::Text(_) | Step::End => Err(XmlError::Unexpected),
        }
    }

    /// Reads the current element's text and leaves it.
    pub(super) fn text(&mut self) -> Result<String, XmlError> {
        self.located_text().map(|text| text.value)
    }

    /// Reads the current element's text as a decimal number and leaves it.
    pub(super) fn number(&mut self) -> Result<u64, XmlError> {
        parse_number(&self.text()?)
    }

    /// Reads the current element's text as `true` or `false` and leaves it.
    pub(super) fn flag(&mut self) -> Result<bool, XmlError> {
        match self.text()?.trim() {
            "true" | "True" | "TRUE" | "1" => Ok(true),
            "false" | "False" | "FALSE" | "0" | "" => Ok(false),
            _ => Err(XmlError::Unexpected),
        }
    }

    /// Reads the current element's text with its place, and leaves it.
    pub(super) fn located_text(&mut self) -> Result<Text, XmlError> {
        let start = self.position();
        let mut value = String::new();
        loop {
            match self.step()? {
                Step::Text(piece) => {
                    if value.len().saturating_add(piece.len()) > TEXT_BYTES_MAX {
                        return Err(XmlError::TooLarge);
                    }
                    value.push_str(&piece);
                }
                Step::Close => {
                    return Ok(Text {
                        value,
                        content: start..self.step_start,
                    });
                }
                Step::Open(_) | Step::End => return Err(XmlError::Unexpected),
            }
        }
    }

    /// Leaves the current element without looking at what is in it.
    pub(super) fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            if matches!(self.step()?, Step::End) {
                return Err(XmlError::NotWellFormed);
            }
        }
        Ok(())
    }

    /// After the root is left: nothing but white space may follow.
    pub(super) fn finish(&mut self) -> Result<(), XmlError> {
        match self.next_markup()? {
            Step::End => Ok(()),
            Step::Open(_) | Step::Text(_) | Step::Close => Err(XmlError::Unexpected),
        }
    }

    /// The next step that is not white space.
    fn next_markup(&mut self) -> Result<Step<'x>, XmlError> {
        loop {
            match self.step()? {
                Step::Text(text) if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
                step @ (Step::Open(_) | Step::Text(_) | Step::Close | Step::End) => return Ok(step),
            }
        }
    }

    fn step(&mut self) -> Result<Step<'x>, XmlError> {
        loop {
            self.step_start = self.position();
            match self.inner.read_event().map_err(|_| XmlError::NotWellFormed)? {
                Event::Start(_) | Event::Empty(_) => return self.open(),
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Step::Close);
                }
                Event::Text(text) => return Ok(Step::Text(text.xml10_content())),
                Event::CData(text) => return Ok(Step::Text(text.xml10_content())),
                Event::GeneralRef(reference) => return resolve(&reference).map(Step::Text),
                Event::Eof if self.depth == 0 => return Ok(Step::End),
                Event::Eof | Event::DocType(_) | Event::PI(_) => return Err(XmlError::NotWellFormed),
                Event::Comment(_) | Event::Decl(_) => {}
            }
        }
    }

    fn open(&mut self) -> Result<Step<'x>, XmlError> {
        self.depth = self.depth.saturating_add(1);
        let tag = self
            .document
            .get(self.step_start..self.position())
            .ok_or(XmlError::NotWellFormed)?;
        if self.depth > DEPTH_MAX || tag.len() > TAG_BYTES_MAX {
            return Err(XmlError::TooLarge);
        }
        let inside = tag.strip_prefix('<').ok_or(XmlError::NotWellFormed)?;
        let end = inside
            .find([' ', '\t', '\r', '\n', '/', '>'])
            .unwrap_or(inside.len());
        let qualified = inside.get(..end).unwrap_or_default();
        let local = qualified.rsplit_once(':').map_or(qualified, |(_, local)| local);
        // The parser takes `< a>` for an element without a name and `<a<b>` for one: a store may not.
        if !is_name(local) || inside.contains('<') {
            return Err(XmlError::NotWellFormed);
        }
        Ok(Step::Open(local))
    }
}

/// Whether `text` can be the local name of an element. Letters outside ASCII are not told apart.
fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    text.starts_with(is_letter)
        && text
            .chars()
            .all(|c| is_letter(c) || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

/// The local name of the document's root element. What follows it is not looked at.
///
/// # Errors
///
/// [`XmlError`] when the document does not begin as XML.
pub fn root_name(document: &[u8]) -> Result<&str, XmlError> {
    Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?.root()
}

/// Whether a text of the document, whole or between colons and slashes, is `word`: a bucket's name as it
/// stands in `<Bucket>` or in an ARN.
///
/// # Errors
///
/// [`XmlError`] when the document is not XML, or has more than one root.
pub fn mentions(document: &[u8], word: &str) -> Result<bool, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    reader.root()?;
    // A text may come in pieces, around references and comments.
    let mut text = String::new();
    while reader.depth > 0 {
        match reader.step()? {
            Step::Text(piece) => text.push_str(&piece),
            Step::Open(_) | Step::Close => {
                if text.split([':', '/']).any(|part| part.trim() == word) {
                    return Ok(true);
                }
                text.clear();
            }
            Step::End => return Err(XmlError::NotWellFormed),
        }
    }
    reader.finish()?;
    Ok(false)
}

/// Reads a decimal number, with white space around it.
pub(super) fn parse_number(text: &str) -> Result<u64, XmlError> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(XmlError::Unexpected);
    }
    digits.parse().map_err(|_| XmlError::Unexpected)
}

/// The five entities of XML itself, and character references. Control characters are accepted as
/// references, which XML 1.0 forbids and S3 sends.
fn resolve<'x>(reference: &BytesRef<'x>) -> Result<Cow<'x, str>, XmlError> {
    let character = reference
        .resolve_char_ref()
        .map_err(|_| XmlError::NotWellFormed)?;
    if let Some(character) = character {
        return Ok(Cow::Owned(character.to_string()));
    }
    match &**reference {
        "amp" => Ok(Cow::Borrowed("&")),
        "lt" => Ok(Cow::Borrowed("<")),
        "gt" => Ok(Cow::Borrowed(">")),
        "quot" => Ok(Cow::Borrowed("\"")),
        "apos" => Ok(Cow::Borrowed("'")),
        _ => Err(XmlError::NotWellFormed),
    }
}
