//! What hostile, huge and random XML documents cost.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

use std::time::{Duration, Instant};

use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::{
    DeleteEntry, DeleteRequest, LISTING_BYTES_MAX, XmlError, parse_error, rewrite_listing,
};

const HEX: &str = "9e107d9d372bb6826bd81d3542a419d6";

/// A stand-in for the size formula: sizes above 352 lose 352.
fn plain(size: u64) -> Option<u64> {
    size.checked_sub(352)
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let attributes: String = (0..100_000).map(|n| format!(" a{n}='{n}'")).collect();
    let namespaces: String = (0..100_000).map(|n| format!(" xmlns:n{n}='u{n}'")).collect();
    let close = "</Delete>";
    let documents = [
        format!("<Delete{attributes}>{close}"),
        format!("<Delete{namespaces}>{close}"),
        format!("<Delete><Object{attributes}><Key>k</Key></Object>{close}"),
        "<a>".repeat(100_000),
        format!("<Delete>{}{}{close}", "<Object>".repeat(20), "</Object>".repeat(20)),
        "<!DOCTYPE Delete [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><Delete><Object><Key>&b;</Key></Object></Delete>".into(),
        "<!DOCTYPE Delete SYSTEM \"file:///etc/passwd\"><Delete><Object><Key>k</Key></Object></Delete>".into(),
        "<Delete><Object><Key>&xxe;</Key></Object></Delete>".into(),
        "<Delete><Object><Key>&#x110000;</Key></Object></Delete>".into(),
        "<Delete><Object><Key>&#xD800;</Key></Object></Delete>".into(),
        "<Delete><Object><Key>a & b</Key></Object></Delete>".into(),
        "<?php x?><Delete><Object><Key>k</Key></Object></Delete>".into(),
        format!("<Delete><Object><Key>{}</Key></Object></Delete>", "&amp;".repeat(100_000)),
        format!("<Delete><Object><Key>{}</Key></Object></Delete>", "<![CDATA[]]>".repeat(100_000) + &"x".repeat(20_000)),
        format!("<Delete>{}<Object></Delete>", "<!-- -->".repeat(100_000)),
        "<".repeat(1_000_000),
        "<Delete".to_owned() + &" ".repeat(1_000_000),
    ];
    for document in &documents {
        let started = Instant::now();
        assert!(
            DeleteRequest::parse(document.as_bytes()).is_err(),
            "{document:.60}"
        );
        assert!(
            rewrite_listing(document.as_bytes(), plain).is_err(),
            "{document:.60}"
        );
        assert!(started.elapsed() < Duration::from_secs(2), "{document:.60}");
    }
    let too_long = vec![b' '; LISTING_BYTES_MAX + 1];
    assert_eq!(rewrite_listing(&too_long, plain).unwrap_err(), XmlError::TooLarge);
}

#[test]
fn limits_are_what_refuses_an_otherwise_good_document() {
    let filler = " ".repeat(3_000);
    let nested = |depth: usize| {
        format!(
            "<ListBucketResult>{}{}</ListBucketResult>",
            "<a>".repeat(depth),
            "</a>".repeat(depth)
        )
    };
    assert!(rewrite_listing(nested(11).as_bytes(), plain).is_ok());
    assert_eq!(
        rewrite_listing(nested(12).as_bytes(), plain).unwrap_err(),
        XmlError::TooLarge
    );
    for (tag, key) in [(filler.as_str(), "k".to_owned()), ("", "&amp;".repeat(20_000))] {
        let body = format!("<Delete{tag}><Object><Key>{key}</Key></Object></Delete>");
        assert_eq!(
            DeleteRequest::parse(body.as_bytes()),
            Err(ErrorCode::MaxMessageLengthExceeded)
        );
    }
}

#[test]
fn a_full_listing_is_rewritten_in_one_pass() {
    let entry = format!(
        "<Contents><Key>{}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>&quot;{HEX}&quot;</ETag>\
         <Size>1000</Size></Contents>",
        "%F0%9D%84%9E".repeat(256)
    );
    let store = format!("<ListBucketResult>{}</ListBucketResult>", entry.repeat(1_000));
    assert!(store.len() < LISTING_BYTES_MAX);
    let started = Instant::now();
    let rewritten = rewrite_listing(store.as_bytes(), plain).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(rewritten.xml.len(), store.len() + 1_000 * ("-0".len() - 1));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = DeleteRequest::parse(&body);
        let _ = rewrite_listing(&body, plain);
        let _ = parse_error(&body);
    }

    #[test]
    fn any_key_survives_the_way_to_the_store(key in "[^\\x00]{1,200}") {
        let request = DeleteRequest { quiet: true, objects: vec![DeleteEntry { key, version_id: Some("v".into()), etag: None }] };
        proptest::prop_assert_eq!(DeleteRequest::parse(&request.to_store_xml()), Ok(request));
    }
}
