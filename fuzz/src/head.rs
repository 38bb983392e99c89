//! Header fields of a request: what it presents to prove who sent it, and what is forwarded of it.
//!
//! Input: a target, then one header field a line.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_s3wire::amztime::AmzDate;
use sceau_s3wire::headers::{check_request, forwarded_headers, metadata_from_request};
use sceau_s3wire::sigv4::{Presented, RequestHead, SecretAccessKey, VerifyRules, verify};
use sceau_s3wire::target::RequestTarget;

use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    within(128 * 1024 + 64 * data.len(), || {
        if let Ok(target) = RequestTarget::parse(target) {
            presented(&target, &headers);
        }
        if check_request(&headers).is_ok() {
            let forwarded = forwarded_headers(&headers);
            for name in ["authorization", "x-amz-security-token", "host", "x-amz-copy-source", "cookie"] {
                assert!(!forwarded.contains_key(name), "{name} is forwarded");
            }
            if let Ok(metadata) = metadata_from_request(&headers) {
                let _ = metadata.response_headers().len();
            }
        }
        for value in headers.values() {
            if let Some(date) = AmzDate::parse(value.as_bytes()) {
                assert_eq!(date.as_str().as_bytes(), value.as_bytes());
                assert_eq!(AmzDate::from_unix(date.unix_seconds()).as_str(), date.as_str());
            }
        }
    });
}

/// Nobody here knows the secret, so nothing may verify.
fn presented(target: &RequestTarget, headers: &HeaderMap) {
    let Ok(Presented::Signed(signature)) = Presented::parse(target, headers) else { return };
    let is_query = target.query().contains("X-Amz-Signature");
    assert!(is_query || headers.contains_key(AUTHORIZATION));
    let secret = SecretAccessKey::new("a secret that no input knows".to_owned());
    let head = RequestHead { method: &Method::GET, target, headers };
    // The time of the examples in the seeds.
    for now in [1_369_353_600, 1_773_500_966] {
        assert!(verify(&head, &signature, &secret, now, &VerifyRules::default()).is_err());
    }
}
