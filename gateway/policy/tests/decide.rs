//! The decision and the file checks, one row per rule.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

use sceau_policy::{
    Action, Credentials, CredentialsError, CredentialsFile, Policy, PolicyFile, Principal, Problem,
};

const POLICY: &str = r#"
[[allow]]
name = "everything for operations"
principal = "ops"
buckets = ["*"]
verbs = ["read", "write", "delete", "list", "create-bucket", "delete-bucket"]

[[allow]]
principal = "reports"
buckets = ["data", "logs-*"]
prefixes = ["out/", "in/x*"]
verbs = ["read", "list"]

[[allow]]
principal = "app-*"
buckets = ["app"]
verbs = ["read", "write", "list"]

[[allow]]
principal = "watcher"
buckets = ["vault"]
verbs = ["list"]

[[allow]]
principal = "auditor"
buckets = ["data"]
verbs = ["read-configuration"]

[[allow]]
principal = "keeper"
buckets = ["data"]
prefixes = ["held/"]
verbs = ["configure"]

[[deny]]
principal = "*"
buckets = ["vault"]
verbs = ["list", "delete-bucket"]

[[deny]]
name = "no secrets"
principal = "app-*"
buckets = ["app"]
prefixes = ["secret/"]
verbs = ["read", "list"]
"#;

fn policy(text: &str) -> Policy {
    Policy::from_file(&toml::from_str(text).unwrap()).unwrap()
}

/// Principal, action, bucket, key; the rule that decides, and whether it allows.
type Row = (
    &'static str,
    Action,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    bool,
);

#[test]
fn each_row_is_decided_by_the_rule_it_names() {
    use Action::{
        Configure, CreateBucket, Delete, DeleteBucket, List, Read, ReadConfiguration, SeeBucket, Write,
    };
    let rows: &[Row] = &[
        // Whole service.
        ("ops", Read, "data", Some("any"), Some("allow[0]"), true),
        ("ops", CreateBucket, "new", None, Some("allow[0]"), true),
        ("ops", DeleteBucket, "data", None, Some("allow[0]"), true),
        ("ops", List, "data", None, Some("allow[0]"), true),
        // Unknown principals and names that only begin alike.
        ("nobody", Read, "data", Some("out/a"), None, false),
        ("opsx", Read, "data", Some("out/a"), None, false),
        ("app", Read, "app", Some("a"), None, false),
        // Prefixes.
        ("reports", Read, "data", Some("out/a"), Some("allow[1]"), true),
        ("reports", Read, "data", Some("in/xyz"), Some("allow[1]"), true),
        ("reports", Read, "data", Some("in/y"), None, false),
        ("reports", Read, "data", Some("out"), None, false),
        ("reports", Read, "data", Some("OUT/a"), None, false),
        ("reports", Read, "data", Some(""), None, false),
        ("reports", Write, "data", Some("out/a"), None, false),
        ("reports", Delete, "data", Some("out/a"), None, false),
        // Buckets and globs.
        (
            "reports",
            Read,
            "logs-2026",
            Some("out/a"),
            Some("allow[1]"),
            true,
        ),
        ("reports", Read, "logs-", Some("out/a"), Some("allow[1]"), true),
        ("reports", Read, "logs", Some("out/a"), None, false),
        ("reports", Read, "data2", Some("out/a"), None, false),
        // Listing: the prefix asked for must lie inside an allowed one.
        ("reports", List, "data", Some("out/"), Some("allow[1]"), true),
        ("reports", List, "data", Some("out/2026/"), Some("allow[1]"), true),
        ("reports", List, "data", Some("out"), None, false),
        ("reports", List, "data", Some(""), None, false),
        ("reports", List, "data", None, None, false),
        // Deny wins, and a listing that would show denied names is denied.
        ("app-1", Read, "app", Some("public/a"), Some("allow[2]"), true),
        ("app-1", Read, "app", Some("secret/a"), Some("deny[1]"), false),
        ("app-1", Write, "app", Some("secret/a"), Some("allow[2]"), true),
        ("app-1", List, "app", Some("public/"), Some("allow[2]"), true),
        ("app-1", List, "app", Some("secret/deep/"), Some("deny[1]"), false),
        ("app-1", List, "app", Some("sec"), Some("deny[1]"), false),
        ("app-1", List, "app", None, Some("deny[1]"), false),
        ("ops", List, "vault", None, Some("deny[0]"), false),
        ("ops", DeleteBucket, "vault", None, Some("deny[0]"), false),
        ("ops", Read, "vault", Some("k"), Some("allow[0]"), true),
        // An action on an object without a key is a mistake, and is denied.
        ("ops", Read, "data", None, None, false),
        ("ops", Write, "data", None, None, false),
        ("ops", Delete, "data", None, None, false),
        // Documents of buckets and objects. A rule with prefixes speaks of objects' documents only.
        ("ops", Configure, "data", None, None, false),
        ("auditor", ReadConfiguration, "data", None, Some("allow[4]"), true),
        (
            "auditor",
            ReadConfiguration,
            "data",
            Some("k"),
            Some("allow[4]"),
            true,
        ),
        ("auditor", Configure, "data", None, None, false),
        (
            "keeper",
            Configure,
            "data",
            Some("held/a"),
            Some("allow[5]"),
            true,
        ),
        ("keeper", Configure, "data", Some("a"), None, false),
        ("keeper", Configure, "data", None, None, false),
        ("keeper", ReadConfiguration, "data", Some("held/a"), None, false),
        // Seeing a bucket comes with any right in it that is left.
        ("reports", SeeBucket, "data", None, Some("allow[1]"), true),
        ("reports", SeeBucket, "app", None, None, false),
        ("app-1", SeeBucket, "app", None, Some("allow[2]"), true),
        ("watcher", SeeBucket, "vault", None, None, false),
        ("ops", SeeBucket, "vault", None, Some("allow[0]"), true),
    ];
    let policy = policy(POLICY);
    for (principal, action, bucket, key, rule, allowed) in rows {
        let decision = policy.decide(&Principal::new(principal).unwrap(), *action, bucket, *key);
        let found = decision.rule.map(|rule| rule.to_string());
        assert_eq!(
            (decision.allowed, found.as_deref()),
            (*allowed, *rule),
            "{principal} {action:?} {bucket} {key:?}"
        );
    }
}

#[test]
fn rules_are_called_by_name_where_they_have_one() {
    let policy = policy(POLICY);
    let principal = Principal::new("app-1").unwrap();
    let named = policy
        .decide(&principal, Action::Read, "app", Some("secret/a"))
        .rule
        .unwrap();
    assert_eq!(policy.rule_name(named), "no secrets");
    let unnamed = policy
        .decide(&principal, Action::Read, "app", Some("a"))
        .rule
        .unwrap();
    assert_eq!(policy.rule_name(unnamed), "allow[2]");
}

#[test]
fn an_empty_policy_denies() {
    let decision = policy("").decide(&Principal::new("ops").unwrap(), Action::Read, "data", Some("k"));
    assert!(!decision.allowed && decision.rule.is_none());
}

#[test]
fn a_prefix_that_is_only_a_star_is_the_whole_bucket() {
    let policy = policy("[[allow]]\nprincipal='a'\nbuckets=['b']\nprefixes=['*']\nverbs=['list']");
    assert!(
        policy
            .decide(&Principal::new("a").unwrap(), Action::List, "b", None)
            .allowed
    );
}

#[test]
fn bad_rules_are_refused_with_their_place() {
    let rows = [
        (
            "principal='*x'\nbuckets=['b']\nverbs=['read']",
            Problem::Principal,
        ),
        ("principal=''\nbuckets=['b']\nverbs=['read']", Problem::Principal),
        ("principal='a'\nbuckets=[]\nverbs=['read']", Problem::Buckets),
        ("principal='a'\nbuckets=['']\nverbs=['read']", Problem::Buckets),
        ("principal='a'\nbuckets=['a*b']\nverbs=['read']", Problem::Buckets),
        (
            "principal='a'\nbuckets=['b']\nprefixes=[]\nverbs=['read']",
            Problem::Prefixes,
        ),
        ("principal='a'\nbuckets=['b']\nverbs=[]", Problem::Verbs),
        (
            "principal='a'\nbuckets=['b']\nprefixes=['x/']\nverbs=['create-bucket']",
            Problem::BucketVerbWithPrefix,
        ),
    ];
    for (rule, problem) in rows {
        let good = "[[deny]]\nprincipal='g'\nbuckets=['b']\nverbs=['read']\n";
        let file: PolicyFile = toml::from_str(&format!("{good}[[deny]]\n{rule}\n")).unwrap();
        let error = Policy::from_file(&file).unwrap_err();
        assert_eq!(
            (error.rule.to_string().as_str(), error.problem),
            ("deny[1]", problem),
            "{rule}"
        );
    }
}

#[test]
fn misspelt_keys_and_verbs_are_refused() {
    for text in [
        "[[denny]]\nprincipal='a'\nbuckets=['b']\nverbs=['read']",
        "[[allow]]\nprincipal='a'\nbucket=['b']\nbuckets=['b']\nverbs=['read']",
        "[[allow]]\nprincipal='a'\nbuckets=['b']\nverbs=['Read']",
        "[[allow]]\nprincipal='a'\nbuckets=['b']\nverbs=['admin']",
        "[[allow]]\nbuckets=['b']\nverbs=['read']",
    ] {
        assert!(toml::from_str::<PolicyFile>(text).is_err(), "{text}");
    }
}

fn credentials(text: &str) -> Result<Credentials, CredentialsError> {
    Credentials::from_file(toml::from_str::<CredentialsFile>(text).unwrap())
}

#[test]
fn credentials_are_found_by_access_key() {
    let found = credentials(
        "[[credential]]\naccess_key='AKIA1'\nsecret='0123456789abcdef'\nprincipal='ops'\n\
         [[credential]]\naccess_key='AKIA2'\nsecret='0123456789abcdeg'\nprincipal='ops'",
    )
    .unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found.find("AKIA2").unwrap().principal.as_str(), "ops");
    assert!(found.find("akia2").is_none());
}

#[test]
fn bad_credentials_are_refused_without_showing_the_secret() {
    let rows = [
        (
            "access_key='A'\nsecret='0123456789abcdef'\nprincipal='p'",
            CredentialsError::AccessKey { index: 1 },
        ),
        (
            "access_key='AK/1'\nsecret='0123456789abcdef'\nprincipal='p'",
            CredentialsError::AccessKey { index: 1 },
        ),
        (
            "access_key='GOOD'\nsecret='0123456789abcdef'\nprincipal='p'",
            CredentialsError::Duplicate { index: 1 },
        ),
        (
            "access_key='AK1'\nsecret='0123456789abcde'\nprincipal='p'",
            CredentialsError::Secret { index: 1 },
        ),
        (
            "access_key='AK1'\nsecret='0123456789 abcdef'\nprincipal='p'",
            CredentialsError::Secret { index: 1 },
        ),
        (
            "access_key='AK1'\nsecret='0123456789abcdef'\nprincipal='*'",
            CredentialsError::Principal { index: 1 },
        ),
    ];
    for (entry, expected) in rows {
        let good = "[[credential]]\naccess_key='GOOD'\nsecret='0123456789abcdef'\nprincipal='p'\n";
        let error = credentials(&format!("{good}[[credential]]\n{entry}"))
            .err()
            .unwrap();
        assert_eq!(error, expected, "{entry}");
        assert!(!error.to_string().contains("0123"));
    }
}

#[test]
fn whoever_has_no_credentials_is_reached_by_a_rule_of_its_own_only() {
    let rule = |kind: &str, principal: &str, verbs: &str| {
        format!("[[{kind}]]\nprincipal = \"{principal}\"\nbuckets = [\"*\"]\nverbs = [{verbs}]\n")
    };
    let may = |text: &str, action| {
        policy(text)
            .decide(&Principal::anonymous(), action, "bucket", Some("key"))
            .allowed
    };
    let read = "\"read\", \"list\", \"write\"";
    assert!(may(&rule("allow", "anonymous", read), Action::Read));
    assert!(may(&rule("allow", "anonymous", read), Action::SeeBucket));
    assert!(!may(&rule("allow", "anonymous", read), Action::Delete));
    for stars in ["*", "a*", "anonymous*", "anon*"] {
        let open = rule("allow", stars, "\"read\", \"write\", \"list\", \"delete\"");
        for action in [
            Action::Read,
            Action::Write,
            Action::List,
            Action::Delete,
            Action::SeeBucket,
        ] {
            assert!(!may(&open, action), "{stars} {action:?}");
        }
        // A denial reaches whoever it can.
        let closed = rule("allow", "anonymous", read) + &rule("deny", stars, "\"read\"");
        assert!(!may(&closed, Action::Read), "{stars}");
        assert!(may(&closed, Action::Write), "{stars}");
    }
    for verb in [
        "delete",
        "create-bucket",
        "delete-bucket",
        "configure",
        "read-configuration",
    ] {
        let file: PolicyFile = toml::from_str(&rule("allow", "anonymous", &format!("\"{verb}\""))).unwrap();
        assert_eq!(
            Policy::from_file(&file).unwrap_err().problem,
            Problem::AnonymousVerbs,
            "{verb}"
        );
        assert!(
            Policy::from_file(&toml::from_str(&rule("deny", "anonymous", &format!("\"{verb}\""))).unwrap())
                .is_ok()
        );
    }
    assert_eq!(Principal::new("anonymous"), None);
    assert!(Principal::anonymous().is_anonymous() && !Principal::new("anonymouse").unwrap().is_anonymous());
}

#[test]
fn keys_of_temporary_credentials_are_reserved_and_can_be_ended() {
    let with = |key: &str, head: &str| {
        credentials(&format!(
            "{head}\n[[credential]]\naccess_key='{key}'\nsecret='0123456789abcdef'\nprincipal='ops'"
        ))
    };
    assert_eq!(
        with("SCEAUTMPA", "").err(),
        Some(CredentialsError::ReservedAccessKey { index: 0 })
    );
    assert!(with("XSCEAUTMP", "").is_ok());
    assert_eq!(with("AK1", "").unwrap().sessions_not_before(), 0);
    let ended = with("AK1", "sessions_not_before = '2013-05-24T00:00:00Z'").unwrap();
    assert_eq!(ended.sessions_not_before(), 1_369_353_600);
    assert_eq!(
        with("AK1", "sessions_not_before = 'yesterday'").err(),
        Some(CredentialsError::SessionsNotBefore)
    );
}
