//! The headers a request gets on its way out.
//!
//! What lives here: dropping what must never be forwarded, framing, and the signature with the
//! gateway's own credentials. What must not: waiting, sending. Invariant: no header of the client's
//! own authorisation, framing or connection survives, and `Content-Length` is always exact.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_keys::SecretText;
use sceau_s3wire::sigv4::{self, PayloadHash, SERVICE_S3, SignInput, SigningKeyCache};
use sceau_s3wire::target::QueryPair;

use super::address::Address;
use super::credentials::Credentials;
use super::error::{CredentialFault, StoreError};
use super::request::{StoreBody, StoreRequest};

/// Who the store sees.
const AGENT: &str = concat!("sceau/", env!("CARGO_PKG_VERSION"));

/// Headers that are dropped or replaced, whatever the caller says. `expect` is among them because
/// the connection pool has no 100-continue: it would send the body at once.
const REPLACED: [HeaderName; 20] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    USER_AGENT,
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-decoded-content-length"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-trailer"),
];

/// The complete, signed headers of `request` sent to `address`.
pub(super) fn signed_headers(
    request: &StoreRequest,
    length: u64,
    address: &Address,
    region: &str,
    credentials: &Credentials,
    cache: &SigningKeyCache,
) -> Result<HeaderMap, StoreError> {
    let mut headers = request.headers.clone();
    for name in &REPLACED {
        headers.remove(name);
    }
    headers.insert(HOST, address.host.clone());
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // A GET without a body has no length; PUT and POST need one even when it is zero.
    if length > 0 || matches!(request.method, Method::PUT | Method::POST) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let query: Vec<QueryPair> = request
        .query
        .iter()
        .map(|(name, value)| QueryPair {
            name: name.clone(),
            value: value.clone().unwrap_or_default(),
        })
        .collect();
    sigv4::sign(SignInput {
        method: &request.method,
        path: &address.path,
        query: &query,
        headers: &mut headers,
        payload: payload(&request.body, length),
        credentials: sigv4::Credentials {
            access_key: &credentials.access_key,
            secret: &credentials.secret,
            session_token: credentials.session_token.as_ref().map(SecretText::expose),
            cache: Some(cache),
        },
        region,
        service: SERVICE_S3,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    })
    .map_err(|_| StoreError::Credentials(CredentialFault::Malformed))?;
    Ok(headers)
}

/// By the time of signing a stream has left the request, so the length tells it from no body.
fn payload(body: &StoreBody, length: u64) -> PayloadHash {
    match body {
        StoreBody::Bytes(bytes) if !bytes.is_empty() => {
            let hash = digest::digest(&digest::SHA256, bytes);
            hash.as_ref()
                .try_into()
                .map_or(PayloadHash::Unsigned, PayloadHash::Sha256)
        }
        StoreBody::Bytes(_) | StoreBody::Empty | StoreBody::Stream { .. } if length == 0 => {
            PayloadHash::Empty
        }
        StoreBody::Bytes(_) | StoreBody::Empty | StoreBody::Stream { .. } => PayloadHash::Unsigned,
    }
}
