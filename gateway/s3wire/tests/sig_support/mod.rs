//! What the signature and payload tests share: the credentials of S3's documentation and short
//! ways to build requests.
#![allow(dead_code)]

pub mod requests;
pub mod uploads;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_s3wire::sigv4::{
    AuthError, Presented, PresentedSignature, RequestHead, SecretAccessKey, Verified, VerifyRules, verify,
};
use sceau_s3wire::target::RequestTarget;

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const REGION: &str = "us-east-1";
/// 2013-05-24T00:00:00Z, the time of all examples in S3's documentation.
pub const NOW: u64 = 1_369_353_600;
pub const DATE: &str = "20130524T000000Z";

pub fn secret() -> SecretAccessKey {
    SecretAccessKey::new(SECRET.to_owned())
}

pub fn rules() -> VerifyRules {
    VerifyRules {
        regions: vec![REGION.to_owned()],
        ..VerifyRules::default()
    }
}

pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

pub fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/{REGION}/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

pub fn presented(target: &RequestTarget, headers: &HeaderMap) -> Result<Box<PresentedSignature>, AuthError> {
    match Presented::parse(target, headers)? {
        Presented::Signed(signature) => Ok(signature),
        Presented::Anonymous => panic!("the request presents nothing"),
    }
}

/// Parses and verifies at `now`.
pub fn check_at(method: &str, target: &str, headers: &HeaderMap, now: u64) -> Result<Verified, AuthError> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let target = RequestTarget::parse(target.as_bytes()).unwrap();
    let signature = presented(&target, headers)?;
    verify(
        &RequestHead {
            method: &method,
            target: &target,
            headers,
        },
        &signature,
        &secret(),
        now,
        &rules(),
    )
}

/// Parses and verifies at the documentation's time.
pub fn check(method: &str, target: &str, headers: &HeaderMap) -> Result<Verified, AuthError> {
    check_at(method, target, headers, NOW)
}

/// The error of a request that must be refused.
pub fn refusal(method: &str, target: &str, headers: &HeaderMap) -> AuthError {
    check(method, target, headers)
        .err()
        .expect("the request must be refused")
}
