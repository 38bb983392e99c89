//! Conditional requests and byte ranges, decided from values alone.
//!
//! What lives here: `If-…` headers, their copy-source forms, and `Range`. What must not: the index.
//! Invariant: a condition this file cannot read makes the request fail, never pass.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use sceau_s3wire::error::ErrorCode;

use crate::record::Object;

/// Conditions on what a write replaces.
#[derive(Default)]
pub(crate) struct WriteCondition {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl WriteCondition {
    /// Reads `If-Match` and `If-None-Match`.
    pub fn from_headers(headers: &HeaderMap) -> Result<WriteCondition, ErrorCode> {
        let condition = WriteCondition {
            if_match: text(headers, "if-match")?,
            if_none_match: text(headers, "if-none-match")?,
        };
        if condition
            .if_none_match
            .as_deref()
            .is_some_and(|value| value != "*")
        {
            return Err(ErrorCode::NotImplemented);
        }
        Ok(condition)
    }

    /// Checks against the object in place.
    pub fn check(&self, current: Option<&Object>) -> Result<(), ErrorCode> {
        if self.if_none_match.is_some() && current.is_some() {
            return Err(ErrorCode::PreconditionFailed);
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(ErrorCode::NoSuchKey),
            (Some(wanted), Some(object)) if !lists(wanted, &object.etag) => {
                Err(ErrorCode::PreconditionFailed)
            }
            (Some(_), Some(_)) | (None, _) => Ok(()),
        }
    }
}

/// Conditions on what is read, with the prefix of copy sources or none.
pub(crate) fn check_read(headers: &HeaderMap, prefix: &str, object: &Object) -> Result<(), ErrorCode> {
    let read = |name: &str| text(headers, &format!("{prefix}{name}"));
    let if_match = read("if-match")?;
    if if_match
        .as_ref()
        .is_some_and(|wanted| !lists(wanted, &object.etag))
    {
        return Err(ErrorCode::PreconditionFailed);
    }
    // RFC 9110, 13.2.2: the entity tag decides where both forms are given.
    if if_match.is_none() && since(read("if-unmodified-since")?.as_deref(), object) == Some(true) {
        return Err(ErrorCode::PreconditionFailed);
    }
    let unchanged = if prefix.is_empty() {
        ErrorCode::NotModified
    } else {
        ErrorCode::PreconditionFailed
    };
    match read("if-none-match")? {
        Some(known) if lists(&known, &object.etag) => Err(unchanged),
        Some(_) => Ok(()),
        None if since(read("if-modified-since")?.as_deref(), object) == Some(false) => Err(unchanged),
        None => Ok(()),
    }
}

/// Whether the object changed after the given date; a date that cannot be read is no condition.
fn since(date: Option<&str>, object: &Object) -> Option<bool> {
    let date = httpdate::parse_http_date(date?).ok()?;
    // Last-Modified has whole seconds.
    let seconds = object.modified_ms.checked_div(1000)?;
    let modified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(modified > date)
}

/// Whether a list of entity tags holds this one; `*` holds all.
fn lists(wanted: &str, etag: &str) -> bool {
    wanted
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag)
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, ErrorCode> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| ErrorCode::InvalidArgument)?;
    Ok(Some(value.to_owned()))
}

/// What part of an object a request asks for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Span {
    /// All of it.
    Whole,
    /// `bytes` bytes from `offset`; never empty.
    Part { offset: u64, bytes: u64 },
}

/// Applies a `Range` header to an object of `size` bytes.
///
/// A header that is not one single byte range is ignored, as S3 does.
pub(crate) fn span(range: Option<&str>, size: u64) -> Result<Span, ErrorCode> {
    let Some((from, to)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(parse_range)
    else {
        return Ok(Span::Whole);
    };
    let (offset, end) = match (from, to) {
        (Some(from), Some(to)) => (from, to.saturating_add(1).min(size)),
        (Some(from), None) => (from, size),
        (None, Some(last)) => (size.saturating_sub(last), size),
        (None, None) => return Ok(Span::Whole),
    };
    match end.checked_sub(offset) {
        Some(bytes) if bytes > 0 => Ok(Span::Part { offset, bytes }),
        Some(_) | None => Err(ErrorCode::InvalidRange),
    }
}

/// The ends of `a-b`, `a-` or `-n`.
fn parse_range(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (from, to) = range.split_once('-')?;
    let number = |text: &str| {
        if text.is_empty() {
            return Some(None);
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
    };
    let (from, to) = (number(from.trim())?, number(to.trim())?);
    match (from, to) {
        (Some(from), Some(to)) if from > to => None,
        (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => Some((from, to)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        let part = |offset, bytes| Ok(Span::Part { offset, bytes });
        assert_eq!(span(Some("bytes=0-9"), 100), part(0, 10));
        assert_eq!(span(Some("bytes=90-"), 100), part(90, 10));
        assert_eq!(span(Some("bytes=-64"), 100), part(36, 64));
        assert_eq!(span(Some("bytes=-640"), 100), part(0, 100));
        assert_eq!(span(Some("bytes=99-200"), 100), part(99, 1));
        assert_eq!(span(Some("bytes=0-18446744073709551615"), 100), part(0, 100));
    }

    #[test]
    fn ranges_outside_the_object_are_refused() {
        for (range, size) in [
            ("bytes=100-", 100),
            ("bytes=100-200", 100),
            ("bytes=-0", 100),
            ("bytes=0-0", 0),
        ] {
            assert_eq!(
                span(Some(range), size),
                Err(ErrorCode::InvalidRange),
                "{range} of {size}"
            );
        }
    }

    #[test]
    fn headers_that_are_not_one_byte_range_are_ignored() {
        for range in [
            "bytes=0-1,3-4",
            "bytes=5-4",
            "bytes=-",
            "bytes=a-b",
            "items=0-1",
            "bytes 0-1",
        ] {
            assert_eq!(span(Some(range), 100), Ok(Span::Whole), "{range}");
        }
        assert_eq!(span(None, 100), Ok(Span::Whole));
    }
}
