//! Form uploads: what a policy allows, what a form asks for, and where its file ends.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use proptest::prelude::*;
use sceau_s3wire::checksum;
use sceau_s3wire::payload::{PayloadError, PayloadPlan};
use sceau_s3wire::post::{
    Boundary, Field, FormFile, FormHead, FormReader, LengthRange, Policy, PolicySignature, PostError,
    PostForm, Reply, post_response,
};
use sceau_s3wire::sigv4::{SecretAccessKey, SigningKeyCache, VerifyRules};
use sha2::Sha256;

const NOW: u64 = 1_450_000_000; // 13 December 2015
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn form(fields: &[(&str, &str)]) -> Result<PostForm, PostError> {
    let field = |(name, value): &(&str, &str)| Field {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let head = FormHead {
        fields: fields.iter().map(field).collect(),
        file_name: "photo.jpg".to_owned(),
        file_offset: 0,
        rest: Bytes::new(),
    };
    PostForm::from_head(head, "bkt")
}

fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<LengthRange, String> {
    let text = format!("{{\"expiration\":\"2015-12-30T12:00:00.000Z\",\"conditions\":[{conditions}]}}");
    let policy = Policy::parse(&BASE64.encode(text.as_bytes())).map_err(|error| error.to_string())?;
    policy
        .check(&form(fields).unwrap(), NOW)
        .map_err(|error| error.to_string())
}

const KEY: (&str, &str) = ("key", "user/${filename}");
const BASE: &str = r#"{"bucket":"bkt"},["starts-with","$key","user/"]"#;

fn failed(condition: &str) -> Result<LengthRange, String> {
    Err(format!(
        "Invalid according to Policy: Policy Condition failed: {condition}"
    ))
}

#[test]
fn every_field_needs_a_condition_that_holds() {
    assert_eq!(check(BASE, &[KEY]), Ok(LengthRange::ANY));
    let extra = |names: &str| {
        Err(format!(
            "Invalid according to Policy: Extra input fields: {names}"
        ))
    };
    assert_eq!(check(BASE, &[KEY, ("acl", "private")]), extra("acl"));
    assert_eq!(check(r#"["starts-with","$key",""]"#, &[KEY]), extra("bucket"));
    assert_eq!(
        check(r#"{"bucket":"bkt"}"#, &[KEY, ("x-amz-meta-a", "")]),
        extra("key, x-amz-meta-a")
    );
    for exempt in ["x-ignore-this", "x-amz-signature", "policy"] {
        assert_eq!(
            check(BASE, &[KEY, (exempt, "v")]),
            Ok(LengthRange::ANY),
            "{exempt}"
        );
    }
    let more = |condition: &str, field: (&str, &str)| check(&format!("{BASE},{condition}"), &[KEY, field]);
    assert!(more(r#"{"ACL":"private"}"#, ("acl", "private")).is_ok());
    assert_eq!(
        more(r#"{"acl":"private"}"#, ("acl", "public-read")),
        failed(r#"["eq", "$acl", "private"]"#)
    );
    // What is secret is not said again.
    let key = "x-amz-server-side-encryption-customer-key";
    assert_eq!(
        more(&format!(r#"{{"{key}":"c2VjcmV0"}}"#), (key, "other")),
        failed(&format!(r#"["eq", "${key}", "..."]"#))
    );
    assert!(more(r#"["eq","$Content-Type","a/b"]"#, ("content-type", "a/b")).is_ok());
    assert!(
        more(
            r#"["starts-with","$Content-Type","image/"]"#,
            ("content-type", "image/png, image/gif")
        )
        .is_ok()
    );
    assert_eq!(
        more(
            r#"["starts-with","$Content-Type","image/"]"#,
            ("content-type", "image/png,text/html")
        ),
        failed(r#"["starts-with", "$content-type", "image/"]"#)
    );
    // A condition on a field that is not there fails, also one that any value would satisfy.
    assert_eq!(
        check(&format!(r#"{BASE},["starts-with","$acl",""]"#), &[KEY]),
        failed(r#"["starts-with", "$acl", ""]"#)
    );
    assert_eq!(
        check(r#"{"bucket":"other"},["starts-with","$key",""]"#, &[KEY]),
        failed(r#"["eq", "$bucket", "other"]"#)
    );
}

#[test]
fn the_key_is_judged_with_the_file_name_in_it() {
    assert!(check(r#"{"bucket":"bkt"},{"key":"user/photo.jpg"}"#, &[KEY]).is_ok());
    assert_eq!(form(&[KEY]).unwrap().key(), "user/photo.jpg");
    assert_eq!(
        check(BASE, &[("key", "other/${filename}")]),
        failed(r#"["starts-with", "$key", "user/"]"#)
    );
    assert_eq!(form(&[]), Err(PostError::FieldMissing("key")));
    assert!(form(&[("key", "")]).is_err());
    assert_eq!(form(&[("key", &"k".repeat(1025))]), Err(PostError::KeyTooLong));
    assert!(form(&[KEY, ("bucket", "other")]).is_err());
    assert!(form(&[KEY, ("bucket", "bkt")]).is_ok());
}

#[test]
fn a_policy_ends_and_has_one_form() {
    let parse = |text: &str| Policy::parse(&BASE64.encode(text.as_bytes()));
    let at = |expiration: &str| {
        let text = format!(r#"{{"expiration":"{expiration}","conditions":[{BASE}]}}"#);
        parse(&text).map(|policy| policy.check(&form(&[KEY]).unwrap(), NOW).is_ok())
    };
    assert_eq!(at("2015-12-13T09:46:40Z"), Ok(true));
    assert_eq!(at("2015-12-13T09:46:39.999Z"), Ok(false));
    assert!(at("2015-12-13T09:46:40+00:00").is_err());
    assert!(at("tomorrow").is_err());
    for text in [
        "",
        "{}",
        "[]",
        r#"{"expiration":"2030-01-01T00:00:00Z"}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":{}}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],"more":1}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["like","$key","a"]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","key","a"]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$key"]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"key":1}]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",2,1]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",-1,1]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":["a"]}"#,
    ] {
        assert!(matches!(parse(text), Err(PostError::PolicyInvalid(_))), "{text}");
    }
    let deep = format!(r#"{{"expiration":"x","conditions":[{}]}}"#, "[".repeat(5000));
    assert!(parse(&deep).is_err());
    let many = format!(
        r#"{{"expiration":"2030-01-01T00:00:00Z","conditions":[{}]}}"#,
        vec![r#"{"a":"b"}"#; 201].join(",")
    );
    assert!(parse(&many).is_err());
    assert!(Policy::parse("e30=\n").is_err());
}

#[test]
fn lengths_are_limited_by_all_ranges_together() {
    let range = check(
        &format!(r#"{BASE},["content-length-range",1,"100"],["content-length-range",5,200]"#),
        &[KEY],
    );
    let range = range.unwrap();
    assert_eq!((range.min, range.max), (5, 100));
    assert!(range.check(5).is_ok() && range.check(100).is_ok());
    let small = range.check(4).unwrap_err();
    assert_eq!(
        (small.code().code(), small.details().len()),
        ("EntityTooSmall", 2)
    );
    assert_eq!(range.check(101).unwrap_err().code().code(), "EntityTooLarge");
}

#[test]
fn a_redirect_leads_only_where_the_policy_says() {
    let redirect = |condition: &str, url: &str| {
        check(
            &format!("{BASE},{condition}"),
            &[KEY, ("success_action_redirect", url)],
        )
        .is_ok()
    };
    let starts = |start: &str| format!(r#"["starts-with","$success_action_redirect","{start}"]"#);
    assert!(redirect(
        r#"{"success_action_redirect":"https://a.example/done"}"#,
        "https://a.example/done"
    ));
    assert!(redirect(&starts("https://a.example/"), "https://a.example/x?y"));
    assert!(!redirect(&starts(""), "https://evil.example/"));
    assert!(!redirect(&starts("https://"), "https://evil.example/"));
    assert!(!redirect(
        &starts("https://a.example"),
        "https://a.example.evil.example/"
    ));
    assert!(!redirect(
        &starts("https://a.example"),
        "https://a.example@evil.example/"
    ));
    // What is no address is not obeyed, so it may be anything.
    for url in [
        "javascript:alert(1)",
        "//evil.example/",
        "https://a\r\nSet-Cookie: x",
        "https://a b/",
        "https://é/",
    ] {
        assert!(redirect(&starts(""), url));
        let form = form(&[KEY, ("success_action_redirect", url)]).unwrap();
        assert_eq!(form.reply(), Reply::NoContent, "{url}");
    }
    let form = form(&[KEY, ("success_action_redirect", "https://a.example/?x#y")]).unwrap();
    assert!(form.check_without_policy().is_err());
    assert_eq!(form.reply(), Reply::Redirect("https://a.example/?x#y".to_owned()));
    assert_eq!(
        Reply::location("https://a.example/?x#y", "bkt", "a b/é", "\"1-0\""),
        "https://a.example/?x&bucket=bkt&key=a%20b%2F%C3%A9&etag=%221-0%22#y"
    );
}

#[test]
fn replies_are_those_of_s3() {
    let reply = |status: &str| form(&[KEY, ("success_action_status", status)]).unwrap().reply();
    assert_eq!(reply("200"), Reply::Ok);
    assert_eq!(reply("201"), Reply::Created);
    assert_eq!(reply("204"), Reply::NoContent);
    assert_eq!(reply("301"), Reply::NoContent);
    let (location, document) = post_response("https://h:1/bkt", "bkt", "a<b &/c", "\"e\"");
    assert_eq!(location, "https://h:1/bkt/a%3Cb%20%26/c");
    let text = String::from_utf8(document).unwrap();
    assert!(
        text.ends_with(
            "<Bucket>bkt</Bucket><Key>a&lt;b &amp;/c</Key><ETag>&quot;e&quot;</ETag></PostResponse>"
        ),
        "{text}"
    );
}

#[test]
fn fields_become_the_headers_of_a_put_and_no_others() {
    let headers = |field: (&str, &str)| form(&[KEY, field]).unwrap().headers();
    assert_eq!(headers(("acl", "private")).unwrap()["x-amz-acl"], "private");
    assert_eq!(headers(("content-type", "a/b")).unwrap()["content-type"], "a/b");
    assert_eq!(
        headers(("x-amz-meta-a", "é")).unwrap()["x-amz-meta-a"].as_bytes(),
        "é".as_bytes()
    );
    assert_eq!(headers(("x-amz-checksum-crc32", "AAAAAA==")).unwrap().len(), 1);
    for silent in [
        "submit",
        "x-ignore-a",
        "x-amz-signature",
        "x-amz-security-token",
        "policy",
        "range",
        "if-match",
    ] {
        assert!(headers((silent, "v")).unwrap().is_empty(), "{silent}");
    }
    for refused in [
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-metadata-directive",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "x-amz-tagging",
    ] {
        let error = headers((refused, "v")).unwrap_err();
        assert_eq!(error, PostError::FieldUnsupported(refused.to_owned()));
    }
    let tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c</Value></Tag></TagSet></Tagging>";
    assert_eq!(headers(("tagging", tags)).unwrap()["x-amz-tagging"], "a%20b=c");
    let system = tags.replace("a b", "aws:b");
    assert_eq!(
        headers(("tagging", &system)).unwrap_err().code().code(),
        "InvalidTag"
    );
    assert!(headers(("tagging", "<Tagging>")).is_err());
    assert!(headers(("x-amz-meta-a", "b\r\nx-amz-acl: public-read")).is_err());
    assert!(headers(("x-amz-meta-a b", "c")).is_err());
}

fn sign(policy: &str, date: &str) -> String {
    let mac = |key: &[u8], text: &str| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let key = ["us-east-1", "s3", "aws4_request", policy]
        .iter()
        .fold(mac(format!("AWS4{SECRET}").as_bytes(), date), |key, text| {
            mac(&key, text)
        });
    HEXLOWER.encode(&key)
}

fn signed<'a>(policy: &'a str, signature: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        KEY,
        ("policy", policy),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        (
            "x-amz-credential",
            "AKIAIOSFODNN7EXAMPLE/20151213/us-east-1/s3/aws4_request",
        ),
        ("x-amz-date", "20151213T000000Z"),
        ("x-amz-signature", signature),
    ]
}

#[test]
fn a_policy_is_believed_only_with_its_signature() {
    let verify = |fields: &[(&str, &str)]| {
        let signature = PolicySignature::of_form(&form(fields)?)?.unwrap();
        let secret = SecretAccessKey::new(SECRET.to_owned());
        signature.verify(&secret, &SigningKeyCache::new(), NOW, &VerifyRules::default())
    };
    let policy = BASE64.encode(b"{}");
    let right = sign(&policy, "20151213");
    assert_eq!(verify(&signed(&policy, &right)), Ok(()));
    let wrong = right.replace(&right[..1], if right.starts_with('0') { "1" } else { "0" });
    assert_eq!(
        verify(&signed(&policy, &wrong)),
        Err(PostError::SignatureMismatch)
    );
    assert_eq!(verify(&signed(&policy, "")), Err(PostError::SignatureMismatch));
    assert_eq!(verify(&signed("e30", &right)), Err(PostError::SignatureMismatch));
    for (name, value) in [
        ("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"),
        (
            "x-amz-credential",
            "AKIAIOSFODNN7EXAMPLE/20151214/us-east-1/s3/aws4_request",
        ),
        (
            "x-amz-credential",
            "AKIAIOSFODNN7EXAMPLE/20151213/us-east-1/sts/aws4_request",
        ),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE"),
        ("x-amz-date", "20151213"),
    ] {
        let mut fields = signed(&policy, &right);
        fields
            .iter_mut()
            .filter(|field| field.0 == name)
            .for_each(|field| field.1 = value);
        assert!(verify(&fields).is_err(), "{name}={value}");
    }
    // A form that has one of the fields has to have all: it never becomes anonymous.
    for left_out in 1..6 {
        let mut fields = signed(&policy, &right);
        let (name, _) = fields.remove(left_out);
        assert!(verify(&fields).is_err(), "without {name}");
    }
    assert!(
        PolicySignature::of_form(&form(&[KEY]).unwrap())
            .unwrap()
            .is_none()
    );
    let second = form(&[KEY, ("awsaccesskeyid", "a"), ("signature", "b")]).unwrap();
    assert_eq!(
        PolicySignature::of_form(&second).err(),
        Some(PostError::UnsupportedMechanism)
    );
}

/// A body around `file`, and what comes behind it.
fn body(file: &[u8], behind: &str) -> Vec<u8> {
    let head = "--bound\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
                --bound\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nContent-Type: a/b\r\n\r\n";
    [head.as_bytes(), file, behind.as_bytes()].concat()
}

/// Reads a body in pieces. `buffers` first waits for the whole of it.
fn receive(body: &[u8], cuts: &[usize], buffers: bool, headers: &HeaderMap) -> Result<Vec<u8>, String> {
    let boundary = Boundary::of_content_type(b"multipart/form-data; boundary=bound")
        .unwrap()
        .unwrap();
    let mut pieces = Vec::new();
    let mut rest = body;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let mut pieces = pieces.into_iter();
    let mut reader = FormReader::new(&boundary);
    let head = loop {
        let piece = pieces.next().ok_or("no file")?;
        if let Some(head) = reader.push(piece).map_err(|error| error.to_string())? {
            break head;
        }
    };
    let file = if buffers {
        let rest = [&*head.rest, &*pieces.by_ref().collect::<Vec<_>>().concat()].concat();
        FormFile::arrived(&boundary, rest.into())
    } else {
        FormFile::arriving(&boundary, body.len() as u64, head.file_offset, head.rest)
    };
    let file = file.map_err(|error| error.to_string())?;
    let length = file.length();
    let text = |error: PayloadError| error.to_string();
    let mut reader = PayloadPlan::for_form(file, headers).map_err(text)?.into_reader();
    let mut payload = Vec::new();
    loop {
        while let Some(bytes) = reader.next().map_err(text)? {
            payload.extend_from_slice(&bytes);
        }
        match pieces.next() {
            Some(piece) => reader.push(Bytes::copy_from_slice(piece)),
            None => break,
        }
    }
    let verified = reader.finish().map_err(text)?;
    assert_eq!((verified.length(), payload.len() as u64), (length, length));
    Ok(payload)
}

const CLOSING: &str = "\r\n--bound--\r\n";

#[test]
fn what_follows_the_file_decides_whether_it_is_whole() {
    let none = HeaderMap::new();
    let both = |behind: &str| {
        let body = body(b"content", behind);
        (
            receive(&body, &[], false, &none).ok(),
            receive(&body, &[], true, &none).ok(),
        )
    };
    let content = Some(b"content".to_vec());
    assert_eq!(both(CLOSING), (content.clone(), content.clone()));
    // The length of an arriving file rests on what may follow it; a body that is there needs no such rule.
    assert_eq!(both("\r\n--bound--"), (None, content.clone()));
    let submit =
        "\r\n--bound\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--bound--\r\n";
    assert_eq!(both(submit), (None, content));
    for broken in [
        "",
        "\r\n",
        "\r\n--bound",
        "\r\n--boundless--\r\n",
        "\r\n--other--\r\n",
        "\n--bound--\r\n",
    ] {
        assert_eq!(both(broken), (None, None), "{broken:?}");
    }
    assert_eq!(receive(&body(b"", CLOSING), &[], false, &none), Ok(Vec::new()));
    assert_eq!(receive(&body(b"", CLOSING), &[], true, &none), Ok(Vec::new()));
}

#[test]
fn checksums_of_a_form_are_those_of_its_file() {
    let mut headers = HeaderMap::new();
    headers.insert("content-md5", checksum::md5_base64(b"content").parse().unwrap());
    assert!(receive(&body(b"content", CLOSING), &[], false, &headers).is_ok());
    assert!(receive(&body(b"contend", CLOSING), &[], false, &headers).is_err());
}

proptest! {
    #[test]
    fn a_file_comes_out_as_it_went_in_however_the_body_is_cut(
        file in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..400),
        nearly in 0_usize..12,
        cuts in prop::collection::vec(1_usize..50, 0..40),
    ) {
        // Beginnings of a delimiter within the file are part of the file.
        let delimiter = b"\r\n--bound";
        let file = [&file[..], &delimiter[..nearly.min(8)], &file[..file.len() / 2]].concat();
        // A file that holds the whole delimiter is one that no browser sends: it would choose another boundary.
        prop_assume!(!file.windows(delimiter.len()).any(|run| run == delimiter));
        let body = body(&file, CLOSING);
        for buffers in [false, true] {
            prop_assert_eq!(receive(&body, &cuts, buffers, &HeaderMap::new()), Ok(file.clone()));
        }
    }
}
