//! Promise: requests that botocore signs verify here, and a change of any part of them does not.
//! How: vectors/botocore_sigv4.json, written by sig_botocore_oracle.py, with keys such as `//`, `..`, `+`
//! and `%2F`, empty and odd query values, blanks in headers, session tokens, and presigned URLs.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_s3wire::sigv4::{
    AuthError, Presented, RequestHead, SecretAccessKey, SigningKeyCache, Verified, VerifyRules, verify_cached,
};
use sceau_s3wire::target::RequestTarget;
use serde_json::Value;

struct Vectors {
    json: Value,
    secret: SecretAccessKey,
    cache: SigningKeyCache,
    rules: VerifyRules,
    now: u64,
}

fn vectors() -> Vectors {
    let json: Value = serde_json::from_str(include_str!("vectors/botocore_sigv4.json")).unwrap();
    Vectors {
        secret: SecretAccessKey::new(json["secret"].as_str().unwrap().to_owned()),
        cache: SigningKeyCache::new(),
        rules: VerifyRules {
            regions: json["region"].as_str().map(str::to_owned).into_iter().collect(),
            ..VerifyRules::default()
        },
        now: json["now"].as_u64().unwrap(),
        json,
    }
}

fn headers(request: &Value) -> HeaderMap {
    let mut map = HeaderMap::new();
    for pair in request["headers"].as_array().unwrap() {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

impl Vectors {
    fn check(&self, method: &str, target: &str, headers: &HeaderMap) -> Result<Verified, AuthError> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = RequestTarget::parse(target.as_bytes()).expect("a target");
        let Presented::Signed(signature) = Presented::parse(&target, headers)? else {
            panic!("anonymous")
        };
        let head = RequestHead {
            method: &method,
            target: &target,
            headers,
        };
        verify_cached(
            &head,
            &signature,
            &self.secret,
            &self.cache,
            self.now,
            &self.rules,
        )
    }
}

#[test]
fn requests_signed_by_botocore_verify() {
    let vectors = vectors();
    let requests = vectors.json["requests"].as_array().unwrap();
    let mut presigned = 0;
    for request in requests {
        let target = request["target"].as_str().unwrap();
        let verified = vectors.check(request["method"].as_str().unwrap(), target, &headers(request));
        let verified = verified.unwrap_or_else(|error| panic!("{request}: {error:?}"));
        assert_eq!(verified.is_presigned(), request["presigned"].as_bool().unwrap());
        presigned += usize::from(verified.is_presigned());
    }
    assert!(requests.len() >= 200 && presigned >= 50);
    assert_eq!(vectors.cache.len(), 1);
}

#[test]
fn a_change_of_any_signed_part_is_noticed() {
    let vectors = vectors();
    for request in vectors.json["requests"].as_array().unwrap() {
        let (method, target) = (
            request["method"].as_str().unwrap(),
            request["target"].as_str().unwrap(),
        );
        let map = headers(request);
        let refused = |method: &str, target: &str, map: &HeaderMap| {
            assert!(
                vectors.check(method, target, map).is_err(),
                "{method} {target} {map:?}"
            );
        };
        refused("PATCH", target, &map);
        refused(method, &format!("/{target}"), &map);
        refused(
            method,
            &format!("{target}{}x=", if target.contains('?') { '&' } else { '?' }),
            &map,
        );
        for name in map.keys() {
            let mut changed = map.clone();
            let value = [map[name].as_bytes(), b"x"].concat();
            changed.insert(name.clone(), HeaderValue::from_bytes(&value).unwrap());
            refused(method, target, &changed);
            changed.remove(name);
            if name != "authorization" {
                refused(method, target, &changed);
            }
        }
    }
}
