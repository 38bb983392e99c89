//! What happens to each header, and what is sealed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

use http::{HeaderMap, HeaderName, HeaderValue};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers::{
    MetadataError, RequestTreatment, ResponseTreatment, check_request, forwarded_headers,
    metadata_from_request, passed_headers, request_treatment, response_treatment,
};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

#[test]
fn every_request_header_of_the_interface_has_its_treatment() {
    use RequestTreatment::{Consumed, Dropped, Forwarded, Mapped, Refused, SealedMetadata};
    const NO: RequestTreatment = Refused(ErrorCode::NotImplemented);
    let rows: &[(RequestTreatment, &[&str])] = &[
        (
            Consumed,
            &[
                "authorization",
                "x-amz-date",
                "date",
                "x-amz-security-token",
                "x-amz-content-sha256",
                "host",
                "content-length",
                "content-md5",
                "x-amz-checksum-crc32",
                "x-amz-checksum-sha512",
                "x-amz-server-side-encryption-customer-key",
                "x-amz-server-side-encryption-customer-algorithm",
                "x-amz-copy-source-server-side-encryption-customer-key",
                "x-amz-checksum-algorithm",
                "x-amz-checksum-type",
                "x-amz-sdk-checksum-algorithm",
                "x-amz-trailer",
                "x-amz-decoded-content-length",
                "expect",
                "transfer-encoding",
            ],
        ),
        (
            SealedMetadata,
            &[
                "content-type",
                "cache-control",
                "content-disposition",
                "content-encoding",
                "content-language",
                "expires",
                "x-amz-website-redirect-location",
                "x-amz-meta-a",
                "x-amz-meta-s3cmd-attrs",
                "x-amz-meta-scea",
            ],
        ),
        (
            Mapped,
            &[
                "range",
                "if-match",
                "if-none-match",
                "if-modified-since",
                "if-unmodified-since",
                "x-amz-copy-source",
                "x-amz-copy-source-range",
                "x-amz-copy-source-if-match",
                "x-amz-metadata-directive",
                "x-amz-mp-object-size",
            ],
        ),
        (
            Forwarded,
            &[
                "x-amz-acl",
                "x-amz-grant-read",
                "x-amz-storage-class",
                "x-amz-object-lock-mode",
                "x-amz-object-lock-legal-hold",
                "x-amz-request-payer",
                "x-amz-expected-bucket-owner",
            ],
        ),
        (
            Dropped,
            &[
                "x-amz-checksum-mode",
                "x-amz-te",
                "accept-encoding",
                "user-agent",
                "x-amzn-trace-id",
                "amz-sdk-request",
                "x-amz-user-agent",
                "x-forwarded-for",
                "connection",
                "cookie",
                "origin",
                "accept",
                "x-anything",
            ],
        ),
        (
            NO,
            &[
                "x-amz-write-offset-bytes",
                "x-amz-server-side-encryption-customer-brand-new",
                "x-amz-if-match-size",
                "x-amz-brand-new",
                "x-amz-rename-source",
                "x-minio-extract",
                "x-amz-object-annotation-directive",
                "x-amz-meta",
            ],
        ),
        (
            Refused(ErrorCode::InvalidArgument),
            &[
                "x-amz-meta-sceauh1",
                "x-amz-meta-sceau",
                "x-amz-meta-sceau-next",
                "x-amz-meta-sceaux",
            ],
        ),
    ];
    for (treatment, names) in rows {
        for name in *names {
            assert_eq!(request_treatment(name), *treatment, "{name}");
        }
    }
}

#[test]
fn a_request_that_asks_for_what_is_not_done_is_refused() {
    let error = check_request(&headers(&[("host", "h"), ("x-amz-if-match-size", "1")])).unwrap_err();
    assert_eq!(
        (error.code, error.name.as_str()),
        (ErrorCode::NotImplemented, "x-amz-if-match-size")
    );
    // Names reach us in lower case whatever the client wrote.
    let mut map = HeaderMap::new();
    map.insert(
        HeaderName::from_bytes(b"X-Amz-Meta-SCEAUH1").unwrap(),
        HeaderValue::from_static("x"),
    );
    assert_eq!(check_request(&map).unwrap_err().code, ErrorCode::InvalidArgument);
}

#[test]
fn nothing_about_the_plaintext_is_forwarded() {
    let forwarded = forwarded_headers(&headers(&[
        ("x-amz-acl", "private"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-grant-read", "id=2"),
        ("content-md5", "x"),
        ("x-amz-checksum-crc32", "x"),
        ("x-amz-meta-md5chksum", "x"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("content-type", "text/plain"),
        ("x-amz-website-redirect-location", "/x"),
        ("authorization", "x"),
        ("cookie", "x"),
    ]));
    let names: Vec<&str> = forwarded.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-amz-acl", "x-amz-grant-read", "x-amz-grant-read"]);
}

#[test]
fn answers_lose_what_is_about_the_ciphertext() {
    use ResponseTreatment::{Passed, Recomputed, Removed};
    for (name, treatment) in [
        ("etag", Recomputed),
        ("content-length", Recomputed),
        ("content-type", Recomputed),
        ("x-amz-meta-sceauh1", Recomputed),
        ("x-amz-request-id", Recomputed),
        ("x-amz-checksum-crc32", Removed),
        ("x-amz-checksum-type", Removed),
        ("x-amz-missing-meta", Removed),
        // The store counts the pieces of a sealed set.
        ("x-amz-tagging-count", Recomputed),
        ("x-amz-tagging-sceaut1a", Removed),
        ("content-md5", Removed),
        ("server", Removed),
        ("set-cookie", Removed),
        ("x-amz-brand-new", Removed),
        ("transfer-encoding", Removed),
        ("last-modified", Passed),
        ("x-amz-version-id", Passed),
        ("x-amz-object-lock-mode", Passed),
        ("x-amz-storage-class", Passed),
    ] {
        assert_eq!(response_treatment(name), treatment, "{name}");
    }
    let store = headers(&[
        ("etag", "\"x\""),
        ("last-modified", "d"),
        ("x-amz-meta-sceauh1", "h"),
        ("server", "s"),
    ]);
    assert_eq!(passed_headers(&store), headers(&[("last-modified", "d")]));
}

#[test]
fn metadata_is_collected_as_sent() {
    let mut map = headers(&[
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "aws-chunked, gzip"),
        ("content-encoding", "AWS-CHUNKED,br"),
        ("expires", "not a date"),
        ("x-amz-meta-b", " two "),
        ("x-amz-meta-a", "é"),
        ("x-amz-meta-b", "three"),
        ("x-amz-acl", "private"),
    ]);
    map.insert("x-amz-meta-raw", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    let metadata = metadata_from_request(&map).unwrap();
    assert_eq!(
        metadata.content_type.as_deref(),
        Some(b"text/plain; charset=utf-8".as_slice())
    );
    assert_eq!(metadata.content_encoding.as_deref(), Some(b"gzip,br".as_slice()));
    assert_eq!(metadata.expires.as_deref(), Some(b"not a date".as_slice()));
    assert_eq!(metadata.cache_control, None);
    let mut user = metadata.user.clone();
    user.sort();
    let expected: [(String, Vec<u8>); 3] = [
        ("a".to_owned(), "é".as_bytes().to_vec()),
        ("b".to_owned(), b"two,three".to_vec()),
        ("raw".to_owned(), vec![0xff, 0xfe]),
    ];
    assert_eq!(user, expected);
    let shown = metadata.response_headers();
    assert!(shown.contains(&("x-amz-meta-raw".to_owned(), b"\xff\xfe".as_slice())));
    assert!(shown.contains(&("content-encoding".to_owned(), b"gzip,br".as_slice())));
}

#[test]
fn only_aws_chunked_leaves_no_content_encoding() {
    assert_eq!(
        metadata_from_request(&headers(&[("content-encoding", "aws-chunked")]))
            .unwrap()
            .content_encoding,
        None
    );
}

#[test]
fn metadata_has_limits_and_reserved_names() {
    let largest = "v".repeat(2_048 - 1);
    assert!(metadata_from_request(&headers(&[("x-amz-meta-n", &largest)])).is_ok());
    let larger = "v".repeat(2_048);
    let huge = "v".repeat(4_097);
    let rows: &[(&[(&'static str, &str)], MetadataError)] = &[
        (&[("x-amz-meta-n", &larger)], MetadataError::TooLarge),
        (&[("content-disposition", &huge)], MetadataError::TooLarge),
        (&[("x-amz-meta-sceauh1", "x")], MetadataError::ReservedName),
        (&[("x-amz-meta-", "x")], MetadataError::Malformed),
        (
            &[("content-type", "a"), ("content-type", "b")],
            MetadataError::Malformed,
        ),
    ];
    for (pairs, expected) in rows {
        assert_eq!(metadata_from_request(&headers(pairs)), Err(*expected));
    }
}

#[test]
fn metadata_is_not_printed() {
    let metadata = metadata_from_request(&headers(&[("x-amz-meta-name", "secretvalue")])).unwrap();
    let text = format!("{metadata:?}");
    assert!(!text.contains("secretvalue") && !text.contains("name"), "{text}");
}
