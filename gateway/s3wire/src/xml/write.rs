//! A writer for the small XML documents of S3.
//!
//! What lives here: escaping and element nesting. What must not: knowledge of any operation.
//! Invariant: whatever text goes in, what comes out is well-formed XML 1.0.

/// The declaration in front of every document.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The namespace of S3's documents.
pub const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Builds one XML document in memory.
///
/// Element names are the caller's constants and are written as they are.
pub struct XmlWriter {
    out: Vec<u8>,
}

impl XmlWriter {
    /// A document that starts with the XML declaration.
    #[must_use]
    pub fn document() -> Self {
        Self {
            out: DECLARATION.as_bytes().to_vec(),
        }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &str) {
        self.raw(&["<", name, ">"]);
    }

    /// Opens a root element in S3's namespace.
    pub fn open_root(&mut self, name: &str) {
        self.raw(&["<", name, " xmlns=\"", S3_NAMESPACE, "\">"]);
    }

    /// Opens a root element in another namespace; the namespace is the caller's constant.
    pub fn open_root_in(&mut self, name: &str, namespace: &str) {
        self.raw(&["<", name, " xmlns=\"", namespace, "\">"]);
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.raw(&["</", name, ">"]);
    }

    /// Writes one element with text in it.
    pub fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_text(text, &mut self.out);
        self.close(name);
    }

    /// Writes one element with a key in it, losing nothing: characters that XML 1.0 cannot carry
    /// become character references, as S3 itself writes them.
    pub fn key_element(&mut self, name: &str, key: &str) {
        self.open(name);
        escape(key, &mut self.out, Invalid::AsReference);
        self.close(name);
    }

    /// Writes text into the element that is open.
    pub fn text(&mut self, text: &str) {
        escape_text(text, &mut self.out);
    }

    /// Writes one element when there is a value.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.element(name, text);
        }
    }

    /// The document's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn raw(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.out.extend_from_slice(piece.as_bytes());
        }
    }
}

/// Appends `text` escaped for element content.
///
/// A carriage return is written as `&#xD;`, because a parser turns a bare one into a line feed.
/// Characters that XML 1.0 cannot carry at all become U+FFFD.
pub fn escape_text(text: &str, out: &mut Vec<u8>) {
    escape(text, out, Invalid::Replaced);
}

/// What becomes of a character that XML 1.0 cannot carry.
#[derive(Clone, Copy)]
enum Invalid {
    /// U+FFFD: the document stays readable for every parser.
    Replaced,
    /// A character reference: the text stays exact for parsers that accept one.
    AsReference,
}

fn escape(text: &str, out: &mut Vec<u8>, invalid: Invalid) {
    // Most texts need nothing.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"');
    if text.bytes().all(is_plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut utf8 = [0_u8; 4];
    for character in text.chars() {
        match (character, invalid) {
            ('&', _) => out.extend_from_slice(b"&amp;"),
            ('<', _) => out.extend_from_slice(b"&lt;"),
            ('>', _) => out.extend_from_slice(b"&gt;"),
            ('"', _) => out.extend_from_slice(b"&quot;"),
            ('\r', _) => out.extend_from_slice(b"&#xD;"),
            (valid, _) if is_xml_char(valid) => {
                out.extend_from_slice(valid.encode_utf8(&mut utf8).as_bytes());
            }
            ('\0', _) | (_, Invalid::Replaced) => out.extend_from_slice("\u{fffd}".as_bytes()),
            (control, Invalid::AsReference) => {
                out.extend_from_slice(format!("&#x{:X};", u32::from(control)).as_bytes());
            }
        }
    }
}

/// Whether XML 1.0 can carry this character (production `Char`).
#[must_use]
pub fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}
