//! `Range`, conditional headers, entity tags, copy sources and dates: one value for all of them.

use http::{HeaderMap, HeaderName, HeaderValue};
use sceau_s3wire::amztime::{format_http_date, parse_http_date};
use sceau_s3wire::range::RangeSpec;
use sceau_s3wire::{bucket_name, conditional, copy_source, etag, range};

use crate::input::Input;
use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.u8();
    let length = input.u64() >> (choice & 63);
    let value = input.rest();
    within(64 * 1024 + 32 * data.len(), || {
        ranges(value, length);
        sources(value);
        conditions(value, choice);
        if let Ok(text) = std::str::from_utf8(value) {
            tags(text);
            let _ = (bucket_name::check(text), bucket_name::check_new(text));
            if let Some(time) = parse_http_date(text) {
                assert_eq!(parse_http_date(&format_http_date(time)), Some(time));
            }
        }
    });
}

fn ranges(value: &[u8], length: u64) {
    let spec = range::parse(value);
    if let Some(RangeSpec::Bounded { first, last }) = spec {
        assert!(first <= last);
    }
    match range::resolve(spec, length) {
        Ok(Some((first, last))) => {
            assert!(first <= last && last < length);
            let text = format!("bytes={first}-{last}");
            assert_eq!(range::parse(text.as_bytes()), Some(RangeSpec::Bounded { first, last }));
            assert_eq!(copy_source::parse_range(text.as_bytes()), Ok((first, last)));
        }
        Ok(None) => assert_eq!(spec, None),
        Err(_) => assert!(spec.is_some()),
    }
    if let Ok((first, last)) = copy_source::parse_range(value) {
        assert!(first <= last);
        assert_eq!(spec, Some(RangeSpec::Bounded { first, last }));
    }
}

fn sources(value: &[u8]) {
    let Ok(source) = copy_source::parse(value) else { return };
    assert!((1..=1024).contains(&source.key.len()) && bucket_name::check(&source.bucket).is_ok());
    assert!(source.version_id.as_ref().is_none_or(|version| !version.is_empty()));
    let encoded = copy_source::encode(&source.bucket, &source.key, source.version_id.as_deref());
    assert!(HeaderValue::from_str(&encoded).is_ok());
    // A store may read a plus sign either way.
    assert!(!encoded.contains(['+', ' ']));
    let again = copy_source::parse(encoded.as_bytes()).expect("what is encoded is read");
    assert_eq!((again.bucket, again.key, again.version_id), (source.bucket, source.key, source.version_id));
}

/// A condition that was stated is forwarded or refused.
fn conditions(value: &[u8], choice: u8) {
    let names = [
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since",
    ];
    let name = names[usize::from(choice) % names.len()];
    let is_copy = name.starts_with("x-amz");
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(name), value.clone());
    for (mapped, of_copy) in [
        (conditional::for_read(&headers), false),
        (conditional::for_write(&headers), false),
        (conditional::for_copy_source(&headers), true),
        (conditional::copy_source_as_read(&headers), true),
    ] {
        if let Ok(mapped) = mapped {
            assert_eq!(mapped.len(), usize::from(is_copy == of_copy));
            assert!(mapped.values().all(|value| !value.is_empty() || name.ends_with("since")));
        }
    }
    if choice & 0x80 != 0 {
        headers.append(HeaderName::from_static(name), value);
        let results = [conditional::for_read(&headers), conditional::for_copy_source(&headers)];
        assert!(results[usize::from(is_copy)].is_err(), "a repeated condition is accepted");
    }
}

fn tags(text: &str) {
    let shown = etag::to_client(text);
    if shown != text || etag::to_store(text) == text {
        assert_eq!(etag::to_store(&shown), text);
    }
    assert_eq!(etag::to_client(&shown), shown);
    let list = etag::list_to_store(text);
    assert!(list.len() <= 2 * text.len() + 2);
    let _ = (etag::opaque(text), etag::quoted(text));
}
