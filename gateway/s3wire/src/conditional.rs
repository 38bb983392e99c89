//! Conditional headers: which there are, and what they become on the way to the store.
//!
//! What lives here: the three families (reads, writes, copy sources) and the mapping of their
//! entity tags. What must not: the evaluation of a condition. Invariant: a condition the client
//! stated is forwarded or refused, never dropped.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};

use crate::error::ErrorCode;
use crate::etag;

/// `x-amz-copy-source-if-match`
pub const COPY_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
/// `x-amz-copy-source-if-none-match`
pub const COPY_IF_NONE_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-none-match");
/// `x-amz-copy-source-if-modified-since`
pub const COPY_IF_MODIFIED_SINCE: HeaderName = HeaderName::from_static("x-amz-copy-source-if-modified-since");
/// `x-amz-copy-source-if-unmodified-since`
pub const COPY_IF_UNMODIFIED_SINCE: HeaderName =
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since");

/// One row of a mapping: the client's header, the store's header, and whether it carries tags.
type MappingRow = (HeaderName, HeaderName, bool);

/// The conditions of a read (GET and HEAD), in the store's form.
///
/// # Errors
///
/// `InvalidArgument` when a header is repeated or a tag is not text.
pub fn for_read(client: &HeaderMap) -> Result<HeaderMap, ErrorCode> {
    map(
        client,
        &[
            (IF_MATCH, IF_MATCH, true),
            (IF_NONE_MATCH, IF_NONE_MATCH, true),
            (IF_MODIFIED_SINCE, IF_MODIFIED_SINCE, false),
            (IF_UNMODIFIED_SINCE, IF_UNMODIFIED_SINCE, false),
        ],
    )
}

/// The conditions of a write, a completion or a deletion, in the store's form.
///
/// # Errors
///
/// `NotImplemented` for conditions that S3 does not have on writes: `If-None-Match` with anything
/// but `*`, and the two date headers. `InvalidArgument` as [`for_read`].
pub fn for_write(client: &HeaderMap) -> Result<HeaderMap, ErrorCode> {
    if client.contains_key(IF_MODIFIED_SINCE) || client.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(ErrorCode::NotImplemented);
    }
    let mapped = map(
        client,
        &[(IF_MATCH, IF_MATCH, true), (IF_NONE_MATCH, IF_NONE_MATCH, true)],
    )?;
    match mapped.get(IF_NONE_MATCH) {
        Some(value) if value.as_bytes() != b"*" => Err(ErrorCode::NotImplemented),
        _ => Ok(mapped),
    }
}

/// The copy-source conditions of a copy that the store carries out.
///
/// # Errors
///
/// As [`for_read`].
pub fn for_copy_source(client: &HeaderMap) -> Result<HeaderMap, ErrorCode> {
    map(
        client,
        &[
            (COPY_IF_MATCH, COPY_IF_MATCH, true),
            (COPY_IF_NONE_MATCH, COPY_IF_NONE_MATCH, true),
            (COPY_IF_MODIFIED_SINCE, COPY_IF_MODIFIED_SINCE, false),
            (COPY_IF_UNMODIFIED_SINCE, COPY_IF_UNMODIFIED_SINCE, false),
        ],
    )
}

/// The copy-source conditions as conditions of a read, for a source the gateway reads itself.
///
/// A failed one must be answered with 412, also where the read would answer 304.
///
/// # Errors
///
/// As [`for_read`].
pub fn copy_source_as_read(client: &HeaderMap) -> Result<HeaderMap, ErrorCode> {
    map(
        client,
        &[
            (COPY_IF_MATCH, IF_MATCH, true),
            (COPY_IF_NONE_MATCH, IF_NONE_MATCH, true),
            (COPY_IF_MODIFIED_SINCE, IF_MODIFIED_SINCE, false),
            (COPY_IF_UNMODIFIED_SINCE, IF_UNMODIFIED_SINCE, false),
        ],
    )
}

fn map(client: &HeaderMap, rows: &[MappingRow]) -> Result<HeaderMap, ErrorCode> {
    let mut mapped = HeaderMap::with_capacity(rows.len());
    for (from, to, has_tags) in rows {
        let mut values = client.get_all(from).iter();
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(ErrorCode::InvalidArgument);
        }
        let value = if *has_tags {
            tags_to_store(value)?
        } else {
            value.clone()
        };
        mapped.insert(to.clone(), value);
    }
    Ok(mapped)
}

fn tags_to_store(value: &HeaderValue) -> Result<HeaderValue, ErrorCode> {
    let list = value.to_str().map_err(|_| ErrorCode::InvalidArgument)?;
    let mapped = etag::list_to_store(list);
    if mapped.is_empty() {
        // An empty list is no condition to the store, and the client meant one.
        return Err(ErrorCode::InvalidArgument);
    }
    HeaderValue::from_str(&mapped).map_err(|_| ErrorCode::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9e107d9d372bb6826bd81d3542a419d6";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_read_gets_the_stores_tags() {
        let shown = format!("\"{HEX}-0\"");
        let mapped = for_read(&headers(&[
            ("if-match", &shown),
            ("if-none-match", "*"),
            ("if-modified-since", "Sat, 21 Nov 2026 10:00:00 GMT"),
            ("range", "bytes=0-1"),
        ]))
        .unwrap();
        assert_eq!(mapped.len(), 3);
        assert_eq!(mapped["if-match"], format!("\"{HEX}\"").as_str());
        assert_eq!(mapped["if-none-match"], "*");
    }

    #[test]
    fn a_write_condition_that_cannot_be_kept_is_refused() {
        assert!(
            for_write(&headers(&[("if-none-match", "*")]))
                .unwrap()
                .contains_key("if-none-match")
        );
        for (name, value) in [
            ("if-none-match", "\"abc\""),
            ("if-modified-since", "Sat, 21 Nov 2026 10:00:00 GMT"),
            ("if-unmodified-since", "Sat, 21 Nov 2026 10:00:00 GMT"),
        ] {
            assert_eq!(
                for_write(&headers(&[(name, value)])),
                Err(ErrorCode::NotImplemented),
                "{name}"
            );
        }
    }

    #[test]
    fn repeated_empty_and_binary_conditions_are_refused() {
        let mut twice = HeaderMap::new();
        twice.append(IF_MATCH, HeaderValue::from_static("\"a\""));
        twice.append(IF_MATCH, HeaderValue::from_static("\"b\""));
        assert_eq!(for_read(&twice), Err(ErrorCode::InvalidArgument));
        assert_eq!(
            for_write(&headers(&[("if-match", " ,")])),
            Err(ErrorCode::InvalidArgument)
        );
        let mut binary = HeaderMap::new();
        binary.insert(IF_MATCH, HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        assert_eq!(for_read(&binary), Err(ErrorCode::InvalidArgument));
    }

    #[test]
    fn copy_source_conditions_have_both_forms() {
        let shown = format!("{HEX}-0");
        let client = headers(&[("x-amz-copy-source-if-match", &shown), ("if-match", "\"other\"")]);
        assert_eq!(
            for_copy_source(&client).unwrap()["x-amz-copy-source-if-match"],
            HEX
        );
        let read = copy_source_as_read(&client).unwrap();
        assert_eq!(
            (read.len(), &read["if-match"]),
            (1, &HeaderValue::from_static(HEX))
        );
    }
}
