//! The headers of one part of a form.
//!
//! What lives here: `Content-Disposition` with its parameters. What must not: values of fields.
//! Invariant: a part whose headers can be read in two ways is refused.

use super::error::PostError;
use crate::target::percent_decode;

/// White space of headers. What else Unicode counts as white space is part of a value: another reader may
/// not skip it.
const BLANKS: [char; 2] = [' ', '\t'];

/// What a part's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartHeaders {
    /// The field's name, lower case.
    pub(super) name: String,
    /// The last component of the file's name, if there is one.
    pub(super) file_name: Option<String>,
}

/// Reads the header block of a part, without its last line break.
pub(super) fn parse(block: &[u8]) -> Result<PartHeaders, PostError> {
    let text =
        std::str::from_utf8(block).map_err(|_| PostError::Malformed("a part's headers are not UTF-8"))?;
    let mut disposition = None;
    for line in text.split("\r\n") {
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or(PostError::Malformed("a part has a line that is not a header"))?;
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(PostError::Malformed("a part's header has a control character"));
        }
        if name.eq_ignore_ascii_case("content-disposition") {
            if disposition.replace(parse_disposition(value)?).is_some() {
                return Err(PostError::Malformed("a part has two Content-Disposition headers"));
            }
        } else if name.eq_ignore_ascii_case("content-transfer-encoding")
            && !["binary", "8bit", "7bit"]
                .iter()
                .any(|plain| value.trim_matches(BLANKS).eq_ignore_ascii_case(plain))
        {
            return Err(PostError::Malformed("a part has a transfer encoding"));
        }
    }
    disposition.ok_or(PostError::Malformed("a part has no Content-Disposition header"))
}

fn parse_disposition(value: &str) -> Result<PartHeaders, PostError> {
    let malformed = PostError::Malformed("a Content-Disposition header cannot be read");
    let value = value.trim_matches(BLANKS);
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim_matches(BLANKS).eq_ignore_ascii_case("form-data") {
        return Err(malformed);
    }
    let (mut name, mut file_name, mut extended) = (None, None, None);
    while !rest.trim_matches(BLANKS).is_empty() {
        let (parameter, after) = rest.split_once('=').ok_or_else(|| malformed.clone())?;
        let (text, after) = parameter_value(after).ok_or_else(|| malformed.clone())?;
        let slot = match parameter.trim_matches(BLANKS).to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            "filename*" => &mut extended,
            _ => return Err(malformed),
        };
        if slot.replace(text).is_some() {
            return Err(malformed);
        }
        rest = after;
    }
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| malformed.clone())?;
    let extended = extended
        .map(|text| decode_extended(&text).ok_or(malformed))
        .transpose()?;
    let file_name = file_name.or(extended);
    Ok(PartHeaders {
        name: name.to_ascii_lowercase(),
        file_name: file_name.map(|path| last_component(&path).to_owned()),
    })
}

/// A token or a quoted text, and what follows the next semicolon. Within quotes only `\"` is an escape:
/// some browsers send whole Windows paths.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches(BLANKS);
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, after) = text.split_once(';').unwrap_or((text, ""));
        let token = token.trim_end_matches(BLANKS);
        return (!token.contains(['"', ' ', '\t'])).then(|| (token.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if characters.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            '"' => {
                let after = quoted.get(at.saturating_add(1)..)?.trim_start_matches(BLANKS);
                let after = match after.strip_prefix(';') {
                    Some(after) => after,
                    None if after.is_empty() => "",
                    None => return None,
                };
                return Some((value, after));
            }
            _ => value.push(character),
        }
    }
    None
}

/// `UTF-8''percent-encoded` (RFC 5987), as some libraries write names that are not ASCII.
fn decode_extended(text: &str) -> Option<String> {
    let mut pieces = text.splitn(3, '\'');
    let (charset, _language, encoded) = (pieces.next()?, pieces.next()?, pieces.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    String::from_utf8(percent_decode(encoded.as_bytes()).ok()?.into_owned()).ok()
}

/// What follows the last slash or backslash: a browser may send a path, and only the name counts.
fn last_component(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(String, Option<String>)> {
        let found = parse(format!("Content-Disposition: {line}").as_bytes()).ok()?;
        Some((found.name, found.file_name))
    }

    #[test]
    fn names_are_read_as_browsers_write_them() {
        let file = |name: &str| Some(("file".to_owned(), Some(name.to_owned())));
        assert_eq!(read("form-data; name=\"Key\""), Some(("key".to_owned(), None)));
        assert_eq!(read("form-data; name=Key"), Some(("key".to_owned(), None)));
        assert_eq!(
            read("form-data; name=\"file\"; filename=\"a b.txt\""),
            file("a b.txt")
        );
        assert_eq!(
            read("form-data;name=\"file\";filename=\"C:\\dir\\a.txt\""),
            file("a.txt")
        );
        assert_eq!(
            read("form-data; name=\"file\"; filename=\"../../etc/x\""),
            file("x")
        );
        assert_eq!(
            read("form-data; name=\"file\"; filename=\"a;\\\"b\""),
            file("a;\"b")
        );
        assert_eq!(
            read("form-data; name=\"file\"; filename*=UTF-8''%E2%82%AC%2Fx"),
            file("x")
        );
        assert_eq!(
            read("form-data; name=\"file\"; filename=\"é\"; filename*=UTF-8''y"),
            file("é")
        );
        assert_eq!(read("form-data; name=\"file\"; filename=\"\""), file(""));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for line in [
            "attachment; name=\"a\"",
            "form-data",
            "form-data; name=\"\"",
            "form-data; name=\"a\"; name=\"b\"",
            "form-data; name=\"a\"b",
            "form-data; name=\"a",
            "form-data; name=a b",
            "form-data; name=\"a\"; other=\"b\"",
            "form-data; name=\"file\"; filename*=latin1''x",
            "form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
            "form-data; name=\"a\"\r\n folded",
            "form-data; name=\"a\"\nb: c",
            "form-data; name=\"a\"\u{b}",
            "form-data; name=\"a\"\u{a0}",
            "form-data; name=\u{b}\"a\"",
            "form-data; name=\u{2003}\"a\"",
            "form-data; \u{a0}name=\"a\"",
            "form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64",
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
    }
}
