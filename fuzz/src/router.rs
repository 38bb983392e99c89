//! Method, target and host of a request, up to its operation.
//!
//! Input: `METHOD target host`, separated by newlines.

use http::{HeaderMap, HeaderValue};
use sceau_s3wire::op::{Class, Scope, Selector};
use sceau_s3wire::router::{part_number, route};
use sceau_s3wire::target::{
    Addressing, BUCKET_NAME_BYTES_MAX, OBJECT_KEY_BYTES_MAX, QUERY_PARAMETERS_MAX, RequestTarget,
    encode_component, encode_path, percent_decode,
};

use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let method = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let target = lines.next().unwrap_or_default();
    let host = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    within(64 * 1024 + 64 * data.len(), || {
        let Ok(parsed) = RequestTarget::parse(target) else { return };
        stable(&parsed);
        operation(&method, &parsed, &host);
    });
}

/// What is signed and forwarded means the same as what was received, and stays as it is.
fn stable(target: &RequestTarget) {
    let canonical = target.canonical_path();
    let pairs = target.query().pairs();
    assert!(pairs.len() <= QUERY_PARAMETERS_MAX);
    let query: Vec<String> = pairs
        .iter()
        .map(|pair| format!("{}={}", encode_component(&pair.name), encode_component(&pair.value)))
        .collect();
    let again = RequestTarget::parse(format!("{canonical}?{}", query.join("&")).as_bytes()).unwrap();
    assert_eq!(again.path(), target.path());
    assert_eq!(again.query().pairs(), pairs);
    assert_eq!(again.canonical_path(), canonical);
    assert!(canonical.bytes().all(|byte| byte.is_ascii_graphic()));
    let decoded = percent_decode(target.raw_path()).unwrap();
    assert_eq!(decoded, target.path().as_bytes());
    assert_eq!(percent_decode(encode_path(target.path()).as_bytes()).unwrap(), decoded);
}

fn operation(method: &str, target: &RequestTarget, host: &str) {
    let domains = ["s3.example.com".to_owned(), "example.com".to_owned()];
    let Ok(at) = Addressing::split(host, target.raw_path(), &domains) else { return };
    let name_fits = |name: &String| {
        (3..=BUCKET_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    assert!(at.bucket.as_ref().is_none_or(name_fits), "{at:?}");
    assert!(at.key.as_ref().is_none_or(|key| (1..=OBJECT_KEY_BYTES_MAX).contains(&key.len())));
    assert!(at.key.is_none() || at.bucket.is_some());
    if let Some(key) = &at.key {
        assert!(target.path().ends_with(key.as_str()));
    }
    let pairs = target.query().pairs();
    for is_copy in [false, true] {
        let mut headers = HeaderMap::new();
        if is_copy {
            headers.insert("x-amz-copy-source", HeaderValue::from_static("/bkt/key"));
        }
        let Ok(operation) = route(method, at.bucket.is_some(), at.key.is_some(), pairs, &headers) else { continue };
        let row = operation.row();
        assert_eq!((row.method, row.copy_source), (method, is_copy));
        assert_ne!(row.class, Class::Refuse);
        assert_eq!(row.scope == Scope::Service, at.bucket.is_none());
        assert_eq!(row.scope == Scope::Object, at.key.is_some());
        for selector in row.selectors {
            let value = target.query().get(selector.key());
            assert!(value.is_some_and(|value| selector.accepts(value)), "{selector:?}");
            assert_eq!(target.query().count(selector.key()), 1);
        }
        // A sub-resource that the row does not know is never ignored.
        for name in ["acl", "tagging", "versioning", "policy", "versionId", "uploads", "delete", "torrent"] {
            let known = row.allowed.contains(&name) || row.selectors.iter().copied().map(Selector::key).any(|key| key == name);
            assert!(known || !target.query().contains(name), "{name} is ignored by {}", row.name);
        }
    }
    if let Some(number) = target.query().get("partNumber")
        && let Ok(part) = part_number(number)
    {
        assert!((1..=10_000).contains(&part));
    }
}
