//! Promise: a request is authenticated exactly when its signature covers it as it was received.
//! How: the examples of S3's documentation, one test per known trap, and sign-then-verify properties.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod sig_support;

use http::{HeaderValue, Method};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::sigv4::{
    AuthError, Credentials, EMPTY_SHA256_HEX, Form, PayloadHash, PayloadMode, Presented, SignInput,
    SigningKeyCache, VerifyRules, sign, verify, verify_cached,
};
use sceau_s3wire::sigv4::{RequestHead, SecretAccessKey};
use sceau_s3wire::target::{RequestTarget, encode_path};
use sig_support::requests::{HOST, plain_get, presigned, signed};
use sig_support::*;

#[test]
fn the_documented_header_examples_verify() {
    let put_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let base = "host;x-amz-content-sha256;x-amz-date";
    let with_range = "host;range;x-amz-content-sha256;x-amz-date";
    let with_class = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class";
    for (method, target, hash, extra, signed_headers, signature) in [
        (
            "GET",
            "/test.txt",
            EMPTY_SHA256_HEX,
            vec![("range", "bytes=0-9")],
            with_range,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            put_hash,
            vec![
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            with_class,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            EMPTY_SHA256_HEX,
            vec![],
            base,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            EMPTY_SHA256_HEX,
            vec![],
            base,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let mut map = headers(&[
            ("host", HOST),
            ("x-amz-date", DATE),
            ("x-amz-content-sha256", hash),
        ]);
        map.extend(headers(&extra));
        map.extend(headers(&[(
            "authorization",
            &authorization(signed_headers, signature),
        )]));
        let verified = check(method, target, &map).unwrap_or_else(|error| panic!("{target}: {error:?}"));
        assert_eq!(verified.access_key(), ACCESS_KEY);
        assert!(!verified.is_presigned());
        assert_eq!(verified.signed_at(), NOW);
        assert!(matches!(verified.payload_mode(), PayloadMode::Sha256(_)));
        assert!(verified.covers("host") && !verified.covers("user-agent"));
    }
}

#[test]
fn the_documented_presigned_example_verifies_and_is_reproduced() {
    let target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
                  us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&\
                  X-Amz-SignedHeaders=host&X-Amz-Signature=\
                  aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let map = headers(&[("host", HOST)]);
    let verified = check("GET", target, &map).unwrap();
    assert!(verified.is_presigned());
    assert_eq!(verified.payload_mode(), PayloadMode::Unsigned);
    assert_eq!(presigned(&[], &[]), target);
    assert_eq!(check_at("GET", target, &map, NOW + 86_400).err(), None);
    let late = check_at("GET", target, &map, NOW + 86_401).err().unwrap();
    assert_eq!(
        (late.code(), late.to_string().as_str()),
        (ErrorCode::AccessDenied, "Request has expired")
    );
    assert_eq!(check_at("GET", target, &map, NOW - 900).err(), None);
    assert_eq!(
        check_at("GET", target, &map, NOW - 901).err(),
        Some(AuthError::NotYetValid)
    );
}

#[test]
fn the_signer_reproduces_a_documented_signature() {
    let map = signed(
        "GET",
        "/",
        &[("prefix", "J"), ("max-keys", "2")],
        &[],
        PayloadHash::Empty,
    );
    let text = map["authorization"].to_str().unwrap();
    assert!(
        text.ends_with("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        "{text}"
    );
}

#[test]
fn the_signer_covers_no_header_that_a_proxy_may_change() {
    let extra = [
        ("user-agent", "x"),
        ("accept-encoding", "gzip"),
        ("range", "bytes=0-1"),
        ("x-amz-meta-a", "1"),
        ("expect", "100-continue"),
    ];
    let map = signed("GET", "/k", &[], &extra, PayloadHash::Unsigned);
    let text = map["authorization"].to_str().unwrap();
    assert!(
        text.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a,"),
        "{text}"
    );
}

/// Trap: an unsigned `x-amz-copy-source` turns an upload into a read with the signer's rights.
#[test]
fn unsigned_amz_headers_are_refused_in_both_forms() {
    for (name, value) in [
        ("x-amz-copy-source", "/other/secret"),
        ("x-amz-meta-a", ""),
        ("x-amz-acl", "public-read"),
    ] {
        let mut map = plain_get();
        map.extend(headers(&[(name, value)]));
        let error = refusal("GET", "/test.txt", &map);
        assert_eq!(error, AuthError::UnsignedHeader(name.to_owned()));
        assert_eq!(error.code(), ErrorCode::AccessDenied);
        let map = headers(&[("host", HOST), (name, value)]);
        assert_eq!(
            refusal("GET", &presigned(&[], &[]), &map),
            AuthError::UnsignedHeader(name.to_owned())
        );
    }
    let mut map = plain_get();
    map.extend(headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]));
    assert_eq!(
        refusal("GET", "/test.txt", &map),
        AuthError::UnsignedHeader("content-md5".to_owned())
    );
}

/// Trap: a signed but empty header has the canonical form of an absent one.
#[test]
fn a_signed_header_cannot_be_taken_away_or_doubled() {
    let mut map = signed("PUT", "/k", &[], &[("x-amz-tagging", "")], PayloadHash::Empty);
    assert!(check("PUT", "/k", &map).is_ok());
    map.append("x-amz-tagging", HeaderValue::from_static("a=b"));
    assert_eq!(
        refusal("PUT", "/k", &map).code(),
        ErrorCode::SignatureDoesNotMatch
    );
    map.remove("x-amz-tagging");
    assert_eq!(
        refusal("PUT", "/k", &map),
        AuthError::SignedHeaderAbsent("x-amz-tagging".to_owned())
    );
}

#[test]
fn host_must_be_signed_and_keeps_its_port() {
    let mut map = plain_get();
    map.insert(
        "host",
        HeaderValue::from_static("examplebucket.s3.amazonaws.com:80"),
    );
    assert_eq!(
        refusal("GET", "/test.txt", &map).code(),
        ErrorCode::SignatureDoesNotMatch
    );
    let map = headers(&[
        ("host", HOST),
        ("x-amz-date", DATE),
        ("x-amz-content-sha256", EMPTY_SHA256_HEX),
        (
            "authorization",
            &authorization("x-amz-content-sha256;x-amz-date", &"0".repeat(64)),
        ),
    ]);
    assert_eq!(refusal("GET", "/test.txt", &map), AuthError::HostNotSigned);
}

/// Trap: repeated authentication headers and parameters, and both forms at once.
#[test]
fn there_is_one_signature_or_none() {
    for name in ["authorization", "host", "x-amz-date", "x-amz-content-sha256"] {
        let mut map = plain_get();
        map.append(name, map[name].clone());
        assert_eq!(refusal("GET", "/test.txt", &map), AuthError::RepeatedHeader(name));
    }
    let target = presigned(&[], &[]);
    assert_eq!(
        refusal("GET", &target, &plain_get()).code(),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        refusal("GET", "/test.txt?X-Amz-Security-Token=t", &plain_get()),
        AuthError::BothMechanisms
    );
    assert_eq!(
        refusal("GET", "/test.txt?AWSAccessKeyId=t", &plain_get()),
        AuthError::BothMechanisms
    );
    let host = headers(&[("host", HOST)]);
    let repeated = format!("{target}&X-Amz-Expires=1");
    assert_eq!(
        refusal("GET", &repeated, &host).code(),
        ErrorCode::AuthorizationQueryParametersError
    );
}

/// Trap: a damaged attempt to authenticate must not pass as an anonymous request.
#[test]
fn an_incomplete_attempt_is_not_anonymous() {
    let host = headers(&[("host", HOST)]);
    let target = presigned(&[], &[]);
    for part in target.split_once('?').unwrap().1.split('&') {
        let without = target.replace(part, "").replace("?&", "?");
        assert_eq!(
            refusal("GET", &without, &host).code(),
            ErrorCode::AuthorizationQueryParametersError,
            "{without}"
        );
        let (name, _) = part.split_once('=').unwrap();
        let lower = target.replace(name, &name.to_ascii_lowercase());
        assert!(check("GET", &lower, &host).is_err(), "{lower}");
    }
    let none = RequestTarget::parse(b"/test.txt?acl").unwrap();
    assert_eq!(Presented::parse(&none, &host), Ok(Presented::Anonymous));
}

#[test]
fn other_mechanisms_are_refused_by_name() {
    for (value, code) in [
        (
            "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
            ErrorCode::InvalidRequest,
        ),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", ErrorCode::NotImplemented),
        ("Bearer token", ErrorCode::InvalidRequest),
        ("", ErrorCode::InvalidRequest),
    ] {
        let map = headers(&[("host", HOST), ("authorization", value)]);
        assert_eq!(refusal("GET", "/", &map).code(), code, "{value}");
    }
    let host = headers(&[("host", HOST)]);
    let v2 = "/k?AWSAccessKeyId=A&Expires=1&Signature=s";
    assert_eq!(refusal("GET", v2, &host), AuthError::UnsupportedMechanism);
    let v4a = presigned(&[], &[]).replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    assert_eq!(refusal("GET", &v4a, &host), AuthError::UnsupportedSigV4a);
}

#[test]
fn malformed_headers_get_the_header_code() {
    let good = plain_get()["authorization"].to_str().unwrap().to_owned();
    for (from, to) in [
        ("Signature=", "Sig="),
        (",Signature", ",Signature=0,Signature"),
        ("/s3/", "/iam/"),
        ("aws4_request", "aws4"),
        ("/20130524/", "/2013052x/"),
        ("/20130524/", "/20130525/"),
        ("/us-east-1/", "//"),
        ("host;", "Host;"),
        ("host;", "host;host;"),
        ("host;", ";"),
        ("Credential=AKIAIOSFODNN7EXAMPLE/", "Credential="),
    ] {
        let mut map = plain_get();
        map.insert(
            "authorization",
            HeaderValue::from_str(&good.replace(from, to)).unwrap(),
        );
        let error = refusal("GET", "/test.txt", &map);
        assert_eq!(
            error.code(),
            ErrorCode::AuthorizationHeaderMalformed,
            "{from} {to} {error:?}"
        );
    }
    let mut map = plain_get();
    map.insert(
        "authorization",
        HeaderValue::from_str(&good.replace("us-east-1", "eu-west-1")).unwrap(),
    );
    let error = refusal("GET", "/test.txt", &map);
    assert!(matches!(
        error,
        AuthError::WrongRegion {
            form: Form::Header,
            ..
        }
    ));
    assert_eq!(error.details(), [("Region", REGION.to_owned())]);
    // Blanks after the commas and between the fields are customary.
    map.insert(
        "authorization",
        HeaderValue::from_str(&good.replace(',', " , ")).unwrap(),
    );
    assert!(check("GET", "/test.txt", &map).is_ok());
}

/// Trap: the clock may be wrong in both directions, by at most fifteen minutes.
#[test]
fn the_clock_is_checked_in_both_directions() {
    let map = plain_get();
    for now in [NOW - 900, NOW + 900] {
        assert!(check_at("GET", "/test.txt", &map, now).is_ok());
    }
    for now in [NOW - 901, NOW + 901, 0, u64::MAX] {
        let error = check_at("GET", "/test.txt", &map, now).err().unwrap();
        assert_eq!(error.code(), ErrorCode::RequestTimeTooSkewed);
    }
    let mut map = plain_get();
    map.remove("x-amz-date");
    assert_eq!(refusal("GET", "/test.txt", &map), AuthError::MissingDate);
    map.insert("date", HeaderValue::from_static("Fri, 24 May 2013 00:00:00 GMT"));
    assert_eq!(
        refusal("GET", "/test.txt", &map),
        AuthError::SignedHeaderAbsent("x-amz-date".to_owned())
    );
}

#[test]
fn presigned_limits_have_the_query_code() {
    let host = headers(&[("host", HOST)]);
    let target = presigned(&[], &[]);
    for expires in ["604801", "-1", "+1", "1e3", "", "99999999999999999999"] {
        let target = target.replace("X-Amz-Expires=86400", &format!("X-Amz-Expires={expires}"));
        assert_eq!(
            refusal("GET", &target, &host).code(),
            ErrorCode::AuthorizationQueryParametersError,
            "{expires}"
        );
    }
    let longer = target.replace("X-Amz-Expires=86400", "X-Amz-Expires=86401");
    assert_eq!(
        refusal("GET", &longer, &host).code(),
        ErrorCode::SignatureDoesNotMatch
    );
    let mode = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    let map = headers(&[("host", HOST), mode[0]]);
    assert_eq!(
        refusal("GET", &presigned(&mode, &[]), &map),
        AuthError::StreamingPresigned
    );
}

/// Trap: semicolons of SignedHeaders left unencoded in a presigned URL.
#[test]
fn presigned_urls_may_leave_semicolons_unencoded_and_bind_their_headers() {
    let extra = [("x-amz-acl", "private"), ("content-type", "text/plain")];
    let target = presigned(&extra, &[("versionId", "a/b")]);
    assert!(target.contains("content-type%3Bhost%3Bx-amz-acl"));
    let mut map = headers(&[("host", HOST)]);
    map.extend(headers(&extra));
    for target in [
        target.clone(),
        target.replace("%3B", ";"),
        target.replace("%2F", "%2f"),
    ] {
        assert!(check("GET", &target, &map).is_ok(), "{target}");
    }
    map.insert("x-amz-acl", HeaderValue::from_static("public-read"));
    assert_eq!(
        refusal("GET", &target, &map).code(),
        ErrorCode::SignatureDoesNotMatch
    );
}

#[test]
fn a_header_signed_request_says_how_its_body_is_protected() {
    let mut map = plain_get();
    map.remove("x-amz-content-sha256");
    let error = refusal("GET", "/test.txt", &map);
    assert_eq!(
        (error.code(), &error),
        (ErrorCode::InvalidRequest, &AuthError::MissingContentSha256)
    );
    for (value, error) in [
        ("abc", AuthError::InvalidContentSha256),
        ("unsigned-payload", AuthError::InvalidContentSha256),
        (
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            AuthError::UnsupportedSigV4a,
        ),
        (
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
            AuthError::UnsupportedSigV4a,
        ),
    ] {
        let mut map = plain_get();
        map.insert("x-amz-content-sha256", HeaderValue::from_str(value).unwrap());
        assert_eq!(refusal("GET", "/test.txt", &map), error);
    }
}

/// Trap: clients that sign a path as they send it, with reserved characters unencoded.
#[test]
fn the_path_is_tried_strictly_and_then_raw() {
    let raw = "/photos/it's(1)!*+a.jpg";
    for signed_path in [encode_path(raw).as_str(), raw] {
        let map = signed("GET", signed_path, &[], &[], PayloadHash::Empty);
        assert!(check("GET", raw, &map).is_ok(), "{signed_path}");
    }
    // A lower-case escape is the same path; an escaped slash is a slash.
    let map = signed("GET", "/a%C3%A9/b", &[], &[], PayloadHash::Empty);
    assert!(check("GET", "/a%c3%a9%2fb", &map).is_ok());
    assert!(check("GET", "/a%c3%a9/b/", &map).is_err());
    assert!(check("GET", "/x/../a%c3%a9/b", &map).is_err());
    assert!(check("GET", "//a%c3%a9/b", &map).is_err());
}

/// Trap: `+` in a query is a plus, `key` is `key=`, and order does not matter.
#[test]
fn the_query_has_one_reading() {
    let query = [("prefix", "a+b c"), ("acl", ""), ("delimiter", "/")];
    let map = signed("GET", "/", &query, &[], PayloadHash::Empty);
    for target in [
        "/?prefix=a+b%20c&acl&delimiter=/",
        "/?delimiter=%2F&acl=&prefix=a%2Bb%20c",
    ] {
        assert!(check("GET", target, &map).is_ok(), "{target}");
    }
    for target in [
        "/?prefix=a%20b%20c&acl&delimiter=/",
        "/?prefix=a+b%20c&acl&delimiter=/&acl",
    ] {
        assert!(check("GET", target, &map).is_err(), "{target}");
    }
}

/// Trap: blanks, tabs, repeated values and bytes that are not UTF-8 in signed headers.
#[test]
fn header_values_are_signed_as_bytes() {
    let mut map = headers(&[
        ("host", HOST),
        ("x-amz-meta-b", " one "),
        ("x-amz-meta-b", "two  three"),
    ]);
    map.insert("x-amz-meta-a", HeaderValue::from_bytes(b"caf\xe9 \xff").unwrap());
    sign(SignInput {
        method: &Method::PUT,
        path: "/k",
        query: &[],
        headers: &mut map,
        payload: PayloadHash::Unsigned,
        credentials: Credentials {
            access_key: ACCESS_KEY,
            secret: &secret(),
            session_token: Some("tok/en+="),
            cache: None,
        },
        region: REGION,
        service: "s3",
        now: NOW,
    })
    .unwrap();
    assert!(check("PUT", "/k", &map).is_ok());
    let target = RequestTarget::parse(b"/k").unwrap();
    assert_eq!(
        presented(&target, &map).unwrap().session_token(),
        Some("tok/en+=")
    );
    map.remove("x-amz-meta-b");
    map.insert("x-amz-meta-b", HeaderValue::from_static("\t one,two three \t"));
    assert!(check("PUT", "/k", &map).is_ok());
    map.insert("x-amz-meta-a", HeaderValue::from_bytes(b"caf\xe9 \xfe").unwrap());
    assert!(check("PUT", "/k", &map).is_err());
}

#[test]
fn a_mismatch_explains_itself_without_secrets() {
    let mut map = signed(
        "PUT",
        "/k",
        &[],
        &[("x-amz-server-side-encryption-customer-key", "c2VjcmV0")],
        PayloadHash::Empty,
    );
    map.extend(headers(&[("range", "bytes=0-1")]));
    let error = refusal("GET", "/k", &map);
    let AuthError::SignatureMismatch(mismatch) = &error else {
        panic!("{error:?}")
    };
    assert!(
        mismatch
            .canonical_request
            .starts_with("GET\n/k\n\nhost:examplebucket")
    );
    assert!(
        mismatch
            .string_to_sign
            .starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n")
    );
    let text = format!("{error:?} {error} {:?}", error.details());
    let signature = map["authorization"].to_str().unwrap().rsplit('=').next().unwrap();
    for hidden in [SECRET, "c2VjcmV0", signature] {
        assert!(!text.contains(hidden));
    }
    let target = format!("{}&X-Amz-Security-Token=hush", presigned(&[], &[]));
    let error = refusal("GET", &target, &headers(&[("host", HOST)]));
    assert!(!format!("{error:?}").contains("hush"));
}

#[test]
fn a_wrong_secret_verifies_nothing_and_leaves_the_cache_alone() {
    let map = plain_get();
    let target = RequestTarget::parse(b"/test.txt").unwrap();
    let head = RequestHead {
        method: &Method::GET,
        target: &target,
        headers: &map,
    };
    let signature = presented(&target, &map).unwrap();
    let cache = SigningKeyCache::new();
    let (right, wrong) = (secret(), SecretAccessKey::new("wrong".into()));
    assert!(verify_cached(&head, &signature, &wrong, &cache, NOW, &rules()).is_err());
    assert!(cache.is_empty());
    for _ in 0..2 {
        assert!(verify_cached(&head, &signature, &right, &cache, NOW, &rules()).is_ok());
        assert_eq!(cache.len(), 1);
    }
    assert!(verify_cached(&head, &signature, &wrong, &cache, NOW, &rules()).is_err());
    // Without a configured region, any region verifies; among several, each.
    assert!(verify(&head, &signature, &right, NOW, &VerifyRules::default()).is_ok());
    let among = |regions: &[&str]| VerifyRules {
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        ..VerifyRules::default()
    };
    let several = among(&["eu-central-1", REGION]);
    assert!(verify(&head, &signature, &right, NOW, &several).is_ok());
    let others = among(&["eu-central-1", "eu-west-1"]);
    let error = verify(&head, &signature, &right, NOW, &others).err().unwrap();
    assert_eq!(error.code(), ErrorCode::AuthorizationHeaderMalformed);
    assert_eq!(error.details(), [("Region", "eu-central-1".to_owned())]);
}
