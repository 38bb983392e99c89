//! The form in front of the file, read as it arrives.
//!
//! What lives here: the boundary, the delimiters, fields with their values. What must not: the file's
//! bytes, the meaning of fields. Invariant: what comes out does not depend on how the body is cut, and at
//! most [`FORM_HEAD_BYTES_MAX`] bytes are held.

use std::fmt;

use bytes::Bytes;

use super::disposition::{self, PartHeaders};
use super::error::PostError;

/// Most bytes of a form in front of the file's content: S3's 20 KB.
pub const FORM_HEAD_BYTES_MAX: usize = 20 * 1024;
/// Most fields in front of the file.
pub const FIELDS_MAX: usize = 100;
/// Longest boundary (RFC 2046 section 5.1.1), characters.
const BOUNDARY_CHARACTERS_MAX: usize = 70;
/// Name of the field that is the file.
const FILE: &str = "file";

/// What separates the parts of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// The boundary in a `Content-Type`; `None` if the type is not `multipart/form-data`.
    ///
    /// # Errors
    ///
    /// A form without a boundary that RFC 2046 allows.
    pub fn of_content_type(value: &[u8]) -> Option<Result<Self, PostError>> {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        kind.trim()
            .eq_ignore_ascii_case("multipart/form-data")
            .then(|| Self::of_parameters(parameters))
    }

    fn of_parameters(parameters: &str) -> Result<Self, PostError> {
        let malformed = || PostError::Malformed("the boundary in Content-Type is missing or not allowed");
        let mut found = None;
        for parameter in parameters.split(';').filter(|piece| !piece.trim().is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(malformed)?;
            if !name.trim().eq_ignore_ascii_case("boundary") {
                continue;
            }
            let value = value.trim();
            let bare = value
                .strip_prefix('"')
                .map_or(Some(value), |rest| rest.strip_suffix('"'));
            if found.replace(bare.ok_or_else(malformed)?).is_some() {
                return Err(malformed());
            }
        }
        let text = found.ok_or_else(malformed)?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        let fits = (1..=BOUNDARY_CHARACTERS_MAX).contains(&text.len());
        if fits && text.bytes().all(is_allowed) && !text.ends_with(' ') {
            Ok(Self(text.to_owned()))
        } else {
            Err(malformed())
        }
    }

    /// The delimiter between two parts: line break, two dashes, boundary.
    pub(super) fn delimiter(&self) -> Vec<u8> {
        [b"\r\n--", self.0.as_bytes()].concat()
    }
}

/// One field in front of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Name, lower case.
    pub name: String,
    /// Value as sent.
    pub value: String,
}

/// The name only: values may be tokens or signatures.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Everything in front of the file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormHead {
    /// The fields in the order sent; each name once.
    pub fields: Vec<Field>,
    /// The file's name without its path, empty if there is none.
    pub file_name: String,
    /// Where in the body the file's content begins, bytes.
    pub file_offset: u64,
    /// What was pushed behind it.
    pub rest: Bytes,
}

enum Stage {
    /// At the first delimiter.
    Opening,
    /// Behind a delimiter.
    AfterDelimiter,
    /// In a part's headers.
    Headers,
    /// In a field's value; its name.
    Value(String),
}

/// Reads the form in front of the file.
///
/// ```
/// use sceau_s3wire::post::{Boundary, FormReader};
/// let boundary = Boundary::of_content_type(b"multipart/form-data; boundary=x").unwrap().unwrap();
/// let mut reader = FormReader::new(&boundary);
/// let form = b"--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x\r\n";
/// assert!(reader.push(form).unwrap().is_none());
/// let file = b"Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncontent";
/// let head = reader.push(file).unwrap().unwrap();
/// assert_eq!((&*head.fields[0].value, &*head.rest), ("k", &b"content"[..]));
/// ```
pub struct FormReader {
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    /// How much of the buffer is dealt with.
    done: usize,
    /// How much of it was searched for the end of what is being read.
    searched: usize,
    stage: Stage,
    fields: Vec<Field>,
}

impl FormReader {
    /// Starts with the first byte of a body.
    pub fn new(boundary: &Boundary) -> Self {
        Self {
            delimiter: boundary.delimiter(),
            buffer: Vec::new(),
            done: 0,
            searched: 0,
            stage: Stage::Opening,
            fields: Vec::new(),
        }
    }

    /// Takes the next piece of the body. The head, once the file's content begins; not to be called
    /// again after that, nor after an error.
    ///
    /// # Errors
    ///
    /// A form that cannot be read, has no file, or has more in front of it than is held.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<FormHead>, PostError> {
        let room = FORM_HEAD_BYTES_MAX.saturating_sub(self.buffer.len());
        let (held, beyond) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.buffer.extend_from_slice(held);
        while let Some(step) = self.step()? {
            if let Some(file_name) = step {
                let read = self.buffer.get(self.done..).unwrap_or_default();
                return Ok(Some(FormHead {
                    fields: std::mem::take(&mut self.fields),
                    file_name,
                    file_offset: self.done as u64,
                    rest: [read, beyond].concat().into(),
                }));
            }
        }
        if beyond.is_empty() {
            Ok(None)
        } else {
            Err(PostError::HeadTooLong)
        }
    }

    /// One step: `None` when more bytes are needed, the file's name at its content.
    fn step(&mut self) -> Result<Option<Option<String>>, PostError> {
        match &self.stage {
            Stage::Opening => self.step_opening(),
            Stage::AfterDelimiter => self.step_after_delimiter(),
            Stage::Headers => self.step_headers(),
            Stage::Value(_) => self.step_value(),
        }
    }

    fn step_opening(&mut self) -> Result<Option<Option<String>>, PostError> {
        let wanted = self.delimiter.get(2..).unwrap_or_default();
        let seen = self.buffer.get(..wanted.len()).unwrap_or(&self.buffer);
        if !wanted.starts_with(seen) {
            return Err(PostError::Malformed("it does not begin with the boundary"));
        }
        if seen.len() < wanted.len() {
            return Ok(None);
        }
        let length = wanted.len();
        self.advance(length, Stage::AfterDelimiter);
        Ok(Some(None))
    }

    fn step_after_delimiter(&mut self) -> Result<Option<Option<String>>, PostError> {
        match self.pending() {
            [b'-', b'-', ..] => Err(PostError::FileMissing),
            [b'\r', b'\n', ..] => {
                self.advance(2, Stage::Headers);
                Ok(Some(None))
            }
            [] | [b'-' | b'\r'] => Ok(None),
            [..] => Err(PostError::Malformed(
                "a delimiter is not followed by a line break",
            )),
        }
    }

    fn step_headers(&mut self) -> Result<Option<Option<String>>, PostError> {
        let Some(at) = self.find(b"\r\n\r\n") else {
            return Ok(None);
        };
        let block = self.pending().get(..at).unwrap_or_default();
        let PartHeaders { name, file_name } = disposition::parse(block)?;
        let next = at.saturating_add(4);
        if name == FILE {
            self.done = self.done.saturating_add(next);
            return Ok(Some(Some(file_name.unwrap_or_default())));
        }
        if self.fields.len() == FIELDS_MAX {
            return Err(PostError::Malformed("it has too many fields"));
        }
        if self.fields.iter().any(|field| field.name == name) {
            return Err(PostError::FieldRepeated(shown(&name)));
        }
        self.advance(next, Stage::Value(name));
        Ok(Some(None))
    }

    fn step_value(&mut self) -> Result<Option<Option<String>>, PostError> {
        let delimiter = std::mem::take(&mut self.delimiter);
        let found = self.find(&delimiter);
        let next = found.map(|at| at.saturating_add(delimiter.len()));
        self.delimiter = delimiter;
        let (Some(at), Some(next)) = (found, next) else {
            return Ok(None);
        };
        let value = self.pending().get(..at).unwrap_or_default().to_vec();
        let value = String::from_utf8(value).map_err(|_| PostError::Malformed("a field is not UTF-8"))?;
        let stage = std::mem::replace(&mut self.stage, Stage::AfterDelimiter);
        if let Stage::Value(name) = stage {
            self.fields.push(Field { name, value });
        }
        self.advance(next, Stage::AfterDelimiter);
        Ok(Some(None))
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.done..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize, stage: Stage) {
        self.done = self.done.saturating_add(bytes);
        self.searched = self.done;
        self.stage = stage;
    }

    /// Where `needle` begins in the pending bytes. Bytes are looked at once, however they arrive.
    fn find(&mut self, needle: &[u8]) -> Option<usize> {
        // It may have begun in what was searched before.
        let overlap = needle.len().saturating_sub(1);
        let from = self.searched.saturating_sub(overlap).max(self.done);
        let fresh = self.buffer.get(from..).unwrap_or_default();
        let found = fresh.windows(needle.len()).position(|window| window == needle);
        self.searched = self.buffer.len();
        let at = found?.saturating_add(from).saturating_sub(self.done);
        Some(at)
    }
}

/// A name as it may be quoted to its sender.
fn shown(name: &str) -> String {
    name.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(text: &str) -> Result<Boundary, PostError> {
        Boundary::of_content_type(text.as_bytes()).unwrap()
    }

    fn part(name: &str, value: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--b\r\n")
    }

    fn read(body: &[u8], step: usize) -> Result<Option<FormHead>, PostError> {
        let mut reader = FormReader::new(&Boundary("b".to_owned()));
        let mut pieces = body.chunks(step.max(1));
        while let Some(piece) = pieces.next() {
            if let Some(mut head) = reader.push(piece)? {
                head.rest = [&*head.rest, &*pieces.collect::<Vec<_>>().concat()]
                    .concat()
                    .into();
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    #[test]
    fn boundaries_are_those_of_the_rfc() {
        assert_eq!(
            boundary("multipart/form-data; boundary=ab"),
            Ok(Boundary("ab".to_owned()))
        );
        assert_eq!(
            boundary("Multipart/Form-Data; charset=utf-8; Boundary=\"a b:c\""),
            Ok(Boundary("a b:c".to_owned()))
        );
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(70))).is_ok());
        assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_err());
        for text in [
            "",
            "; boundary=",
            "; boundary=a; boundary=a",
            "; boundary=\"a",
            "; boundary=a\tb",
            "; boundary=\"a \"",
        ] {
            assert!(boundary(&format!("multipart/form-data{text}")).is_err(), "{text}");
        }
        assert!(Boundary::of_content_type(b"application/x-www-form-urlencoded").is_none());
    }

    #[test]
    fn a_form_reads_the_same_however_it_is_cut() {
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
        let body = format!(
            "--b\r\n{}{}{}{file}content\r\n--b--\r\n",
            part("Key", "k"),
            part("a", ""),
            part("x", "\r\n--a\r\n\r\n")
        );
        let whole = read(body.as_bytes(), body.len()).unwrap().unwrap();
        let fields: Vec<_> = whole
            .fields
            .iter()
            .map(|field| (&*field.name, &*field.value))
            .collect();
        assert_eq!(fields, [("key", "k"), ("a", ""), ("x", "\r\n--a\r\n\r\n")]);
        assert_eq!(
            (&*whole.file_name, &*whole.rest),
            ("f", &b"content\r\n--b--\r\n"[..])
        );
        assert_eq!(whole.file_offset as usize, body.find("content").unwrap());
        for step in 1..40 {
            assert_eq!(
                read(body.as_bytes(), step),
                Ok(Some(whole.clone())),
                "pieces of {step}"
            );
        }
    }

    #[test]
    fn forms_that_are_none_are_refused() {
        let malformed = |body: &str| {
            let whole = read(body.as_bytes(), 4096);
            assert_eq!(whole, read(body.as_bytes(), 1), "{body:?}");
            whole.unwrap_err().code().code()
        };
        assert_eq!(malformed("preamble"), "MalformedPOSTRequest");
        assert_eq!(malformed("--b--\r\n"), "IncorrectNumberOfFilesInPostRequest");
        assert_eq!(malformed("--b \r\n"), "MalformedPOSTRequest");
        assert_eq!(
            malformed(&format!("--b\r\n{}x", part("a", "1")).replace("--b\r\nx", "--b--")),
            "IncorrectNumberOfFilesInPostRequest"
        );
        assert_eq!(
            malformed(&format!("--b\r\n{}{}", part("a", "1"), part("A", "1"))),
            "InvalidArgument"
        );
        assert_eq!(malformed("--b\r\nno header\r\n\r\n"), "MalformedPOSTRequest");
        assert_eq!(
            malformed("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--bc"),
            "MalformedPOSTRequest"
        );
    }

    #[test]
    fn what_stands_before_the_file_is_bounded_in_bytes_and_in_number() {
        let file = "Content-Disposition: form-data; name=\"file\"\r\n\r\n";
        let sized = |total: usize| {
            let empty = format!("--b\r\n{}{file}", part("a", ""));
            format!(
                "--b\r\n{}{file}content",
                part("a", &"x".repeat(total - empty.len()))
            )
        };
        for step in [1, 1000, usize::MAX] {
            let fits = read(sized(FORM_HEAD_BYTES_MAX).as_bytes(), step)
                .unwrap()
                .unwrap();
            assert_eq!(&*fits.rest, b"content");
            let beyond = read(sized(FORM_HEAD_BYTES_MAX + 1).as_bytes(), step);
            assert_eq!(beyond, Err(PostError::HeadTooLong));
        }
        let fields = |count: usize| {
            (0..count)
                .map(|index| part(&format!("f{index}"), ""))
                .collect::<String>()
        };
        assert!(
            read(format!("--b\r\n{}{file}", fields(FIELDS_MAX)).as_bytes(), 7)
                .unwrap()
                .is_some()
        );
        assert!(read(format!("--b\r\n{}{file}", fields(FIELDS_MAX + 1)).as_bytes(), 7).is_err());
    }
}
