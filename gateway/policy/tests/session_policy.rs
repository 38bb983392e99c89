//! Session policies: what is read, what is refused, and what is decided.
#![allow(clippy::panic, reason = "helpers of tests may panic")]

use proptest::prelude::*;
use sceau_policy::{MalformedPolicy, RequestFacts, Resource, SessionPolicy, iam_actions};
use sceau_s3wire::op::Operation;

const PLAIN: RequestFacts = RequestFacts {
    version: false,
    acl: false,
    tagging: false,
    retention: false,
    legal_hold: false,
    bypass: false,
    bucket_lock: false,
    ownership: false,
};

fn policy(statements: &str) -> SessionPolicy {
    let text = format!("{{\"Version\": \"2012-10-17\", \"Statement\": {statements}}}");
    SessionPolicy::parse(&text).unwrap_or_else(|_| panic!("{text}"))
}

fn one(effect: &str, action: &str, resource: &str) -> String {
    format!("{{\"Effect\": \"{effect}\", \"Action\": \"{action}\", \"Resource\": \"{resource}\"}}")
}

fn may(policy: &SessionPolicy, operation: Operation, resource: Resource<'_>) -> bool {
    policy.permits(operation, PLAIN, resource)
}

#[test]
fn what_is_not_respected_is_refused() {
    let good = one("Allow", "s3:GetObject", "arn:aws:s3:::b/*");
    let whole = |statement: &str| format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{statement}]}}");
    assert!(SessionPolicy::parse(&whole(&good)).is_ok());
    let with = |more: &str| whole(&good.replace('}', &format!(", {more}}}")));
    let cases = [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        whole(""),
        whole(&good).replace("2012-10-17", "2026-01-01"),
        whole(&good).replace("\"Version\"", "\"Condition\": {}, \"Version\""),
        with("\"Condition\": {}"),
        with("\"Principal\": \"*\""),
        with("\"NotAction\": \"s3:*\""),
        with("\"NotResource\": \"*\""),
        with("\"Effect\": \"Deny\""),
        with("\"resource\": \"*\""),
        whole(&good.replace("\"Action\"", "\"NotAction\"")),
        whole(&good.replace("\"Resource\"", "\"NotResource\"")),
        whole(&good.replace("Allow", "allow")),
        whole(&good.replace("Allow", "Permit")),
        whole(&good.replace("\"s3:GetObject\"", "[]")),
        whole(&good.replace("\"s3:GetObject\"", "[\"s3:GetObject\", 7]")),
        whole(&good.replace("s3:GetObject", "GetObject")),
        whole(&good.replace("s3:GetObject", "s3:")),
        whole(&good.replace("s3:GetObject", "s*:GetObject")),
        whole(&good.replace("s3:GetObject", "s3:Get Object")),
        whole(&good.replace("arn:aws:s3:::b/*", "b/*")),
        whole(&good.replace("arn:aws:s3:::b/*", "arn:aws:s3:::")),
        whole(&good.replace("arn:aws:s3:::b/*", "arn:aws:kms:eu:1:key/x")),
        whole(&good.replace("arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}/*")),
        whole(&good.replace("arn:aws:s3:::b/*", "arn:*")),
        format!("{} x", whole(&good)),
        whole(&good).replace("b/*", &"x".repeat(9000)),
    ];
    for text in cases {
        assert_eq!(SessionPolicy::parse(&text), Err(MalformedPolicy), "{text}");
    }
}

#[test]
fn a_deny_wins_and_silence_denies() {
    let both = policy(&format!(
        "[{}, {}]",
        one("Allow", "s3:*", "*"),
        one("Deny", "s3:DeleteObject*", "arn:aws:s3:::b/kept/*")
    ));
    assert!(may(&both, Operation::DeleteObject, Resource::Object("b", "x")));
    assert!(!may(
        &both,
        Operation::DeleteObject,
        Resource::Object("b", "kept/x")
    ));
    assert!(!may(
        &both,
        Operation::DeleteObjects,
        Resource::Object("b", "kept/x")
    ));
    assert!(may(&both, Operation::GetObject, Resource::Object("b", "kept/x")));
    let only = policy(&one("Allow", "s3:getobject", "arn:aws:s3:::b/in/?"));
    assert!(may(&only, Operation::HeadObject, Resource::Object("b", "in/é")));
    assert!(!may(&only, Operation::GetObject, Resource::Object("b", "in/12")));
    assert!(!may(&only, Operation::GetObject, Resource::Object("bb", "in/1")));
    assert!(!may(&only, Operation::PutObject, Resource::Object("b", "in/1")));
    assert!(!may(&only, Operation::ListObjectsV2, Resource::Bucket("b")));
    // A key is compared with case, an action without.
    assert!(!may(&only, Operation::GetObject, Resource::Object("b", "IN/1")));
    let other = policy(&one("Allow", "kms:*", "*"));
    assert!(!may(&other, Operation::GetObject, Resource::Object("b", "x")));
}

#[test]
fn buckets_and_objects_are_different_resources() {
    let objects = policy(&one("Allow", "s3:*", "arn:aws:s3:::b/*"));
    assert!(!may(&objects, Operation::ListObjects, Resource::Bucket("b")));
    assert!(!may(&objects, Operation::DeleteBucket, Resource::Bucket("b")));
    let bucket = policy(&one("Allow", "s3:*", "arn:aws:s3:::b"));
    assert!(may(&bucket, Operation::ListObjectVersions, Resource::Bucket("b")));
    assert!(!may(&bucket, Operation::GetObject, Resource::Object("b", "k")));
    assert!(!may(&bucket, Operation::ListBuckets, Resource::Service));
    let all = policy(&one("Allow", "s3:ListAllMyBuckets", "arn:aws:s3:::*"));
    assert!(may(&all, Operation::ListBuckets, Resource::Service));
}

#[test]
fn what_a_request_does_besides_needs_its_own_right() {
    let put = policy(&one("Allow", "s3:PutObject", "*"));
    let on = Resource::Object("b", "k");
    assert!(put.permits(Operation::PutObject, PLAIN, on));
    for facts in [
        RequestFacts { acl: true, ..PLAIN },
        RequestFacts {
            tagging: true,
            ..PLAIN
        },
        RequestFacts {
            retention: true,
            ..PLAIN
        },
        RequestFacts {
            legal_hold: true,
            ..PLAIN
        },
        RequestFacts {
            bypass: true,
            ..PLAIN
        },
        RequestFacts {
            bucket_lock: true,
            ..PLAIN
        },
        RequestFacts {
            ownership: true,
            ..PLAIN
        },
    ] {
        assert!(!put.permits(Operation::PutObject, facts, on), "{facts:?}");
    }
    let read = policy(&one("Allow", "s3:GetObject", "*"));
    let version = RequestFacts {
        version: true,
        ..PLAIN
    };
    assert!(!read.permits(Operation::GetObject, version, on));
    assert!(!read.permits(Operation::GetObjectAttributes, PLAIN, on));
    assert!(read.permits_source("b", "k", false));
    assert!(!read.permits_source("b", "k", true));
}

#[test]
fn every_operation_has_its_actions() {
    // A new operation is looked up in S3's service authorization reference and put there.
    let expected = include_str!("iam_actions.txt");
    let mut found = String::new();
    for operation in Operation::all() {
        for (mark, version) in [("", false), ("?versionId", true)] {
            let actions = iam_actions(operation, RequestFacts { version, ..PLAIN }).join(" ");
            if version && actions == iam_actions(operation, PLAIN).join(" ") {
                continue;
            }
            found.push_str(&format!("{}{mark} {actions}\n", operation.name()));
        }
    }
    assert_eq!(found, expected);
}

/// The meaning of a pattern, in the plainest words.
fn matches_plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            matches_plainly(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, text)| matches_plainly(pattern, text))
        }
        (Some(('?', pattern)), Some((_, text))) => matches_plainly(pattern, text),
        (Some((wanted, pattern)), Some((found, text))) => wanted == found && matches_plainly(pattern, text),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn wildcards_mean_what_they_say(pattern in "[abé*?]{1,9}", key in "[abé]{0,9}") {
        let policy = policy(&one("Allow", "s3:GetObject", &format!("arn:aws:s3:::b/{pattern}")));
        let plain = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(
            may(&policy, Operation::GetObject, Resource::Object("b", &key)),
            matches_plainly(&plain(&pattern), &plain(&key))
        );
    }

    #[test]
    fn a_further_statement_of_deny_never_allows_more(
        action in prop::sample::select(vec!["s3:*", "s3:Get*", "s3:DeleteObject", "*"]),
        resource in prop::sample::select(vec!["*", "arn:aws:s3:::b/*", "arn:aws:s3:::b", "arn:aws:s3:::b/a*"]),
        denied in prop::sample::select(vec!["s3:*", "s3:Get*", "s3:PutObject", "*"]),
        at in prop::sample::select(vec!["*", "arn:aws:s3:::b/a?", "arn:aws:s3:::b*"]),
        key in "[ab]{1,3}",
    ) {
        let less = policy(&format!("[{}, {}]", one("Allow", action, resource), one("Deny", denied, at)));
        let more = policy(&one("Allow", action, resource));
        for operation in Operation::all() {
            let on = [Resource::Service, Resource::Bucket("b"), Resource::Object("b", &key)];
            for resource in on {
                prop_assert!(!may(&less, operation, resource) || may(&more, operation, resource));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]{}\":,A-Za-z0-9* ]{0,200}") {
        let _ = SessionPolicy::parse(&text);
    }
}
