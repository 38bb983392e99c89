//! Requests signed by our signer, for tests to damage.

use http::{HeaderMap, Method};
use sceau_s3wire::sigv4::{Credentials, PayloadHash, PresignInput, SignInput, presign, sign};
use sceau_s3wire::target::QueryPair;

use super::*;

pub const HOST: &str = "examplebucket.s3.amazonaws.com";

/// Signs a request with our signer, so that tests can then damage it.
pub fn signed(
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    extra: &[(&str, &str)],
    payload: PayloadHash,
) -> HeaderMap {
    let mut map = headers(&[("host", HOST)]);
    map.extend(headers(extra));
    let pairs: Vec<QueryPair> = query
        .iter()
        .map(|(name, value)| QueryPair {
            name: (*name).into(),
            value: (*value).into(),
        })
        .collect();
    sign(SignInput {
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        path,
        query: &pairs,
        headers: &mut map,
        payload,
        credentials: Credentials {
            access_key: ACCESS_KEY,
            secret: &secret(),
            session_token: None,
            cache: None,
        },
        region: REGION,
        service: "s3",
        now: NOW,
    })
    .unwrap();
    map
}

pub fn plain_get() -> HeaderMap {
    signed("GET", "/test.txt", &[], &[], PayloadHash::Empty)
}

pub fn presigned(extra: &[(&str, &str)], query: &[(&str, &str)]) -> String {
    let mut map = headers(&[("host", HOST)]);
    map.extend(headers(extra));
    let pairs: Vec<QueryPair> = query
        .iter()
        .map(|(name, value)| QueryPair {
            name: (*name).into(),
            value: (*value).into(),
        })
        .collect();
    let query = presign(&PresignInput {
        method: &Method::GET,
        path: "/test.txt",
        query: &pairs,
        headers: &map,
        credentials: Credentials {
            access_key: ACCESS_KEY,
            secret: &secret(),
            session_token: None,
            cache: None,
        },
        region: REGION,
        expires_seconds: 86_400,
        now: NOW,
    })
    .unwrap();
    format!("/test.txt?{query}")
}
