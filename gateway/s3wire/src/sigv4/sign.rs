//! Signing of requests: to the store, and for tools and tests.
//!
//! What lives here: the header form and presigned URLs. What must not: sending, clocks, the choice
//! of what to send. Invariant: the least is signed that S3 demands (`host`, `x-amz-*`, and the content
//! headers `content-md5` and `content-type`), never a header that a proxy on the way may change.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::canon::{CanonicalRequest, canonical_query, string_to_sign};
use super::chain::ChainSeed;
use super::key::{SecretAccessKey, SigningKey, SigningKeyCache};
use super::presented::{
    QUERY_ALGORITHM, QUERY_CREDENTIAL, QUERY_DATE, QUERY_EXPIRES, QUERY_SIGNATURE, QUERY_SIGNED_HEADERS,
    QUERY_TOKEN,
};
use super::{
    ALGORITHM, AMZ_CONTENT_SHA256, AMZ_DATE, AMZ_SECURITY_TOKEN, EMPTY_SHA256_HEX, Scope, UNSIGNED_PAYLOAD,
};
use crate::amztime::AmzDate;
use crate::target::QueryPair;

/// Who signs.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Access key.
    pub access_key: &'a str,
    /// Its secret.
    pub secret: &'a SecretAccessKey,
    /// Session token of temporary credentials.
    pub session_token: Option<&'a str>,
    /// Where derived keys are kept; `None` derives one per request.
    pub cache: Option<&'a SigningKeyCache>,
}

/// What the signature says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadHash {
    /// No body.
    Empty,
    /// SHA-256 of the body.
    Sha256([u8; 32]),
    /// aws-chunked with signed chunks.
    StreamingSigned,
    /// aws-chunked with signed chunks and a signed trailer.
    StreamingSignedTrailer,
    /// aws-chunked without signatures, with a trailer.
    StreamingUnsignedTrailer,
    /// The body is not covered.
    Unsigned,
}

impl PayloadHash {
    fn to_text(self) -> String {
        match self {
            Self::Empty => EMPTY_SHA256_HEX.to_owned(),
            Self::Sha256(digest) => HEXLOWER.encode(&digest),
            Self::StreamingSigned => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Self::StreamingSignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            Self::StreamingUnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
            Self::Unsigned => UNSIGNED_PAYLOAD.to_owned(),
        }
    }
}

/// A request to sign in its headers.
pub struct SignInput<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path as it is sent, strictly encoded ([`crate::target::encode_path`]).
    pub path: &'a str,
    /// Query parameters, decoded, in any order.
    pub query: &'a [QueryPair],
    /// Headers as they are sent; `host` must be there. The signature's headers are set in it.
    pub headers: &'a mut HeaderMap,
    /// Body.
    pub payload: PayloadHash,
    /// Who signs.
    pub credentials: Credentials<'a>,
    /// Region of the store.
    pub region: &'a str,
    /// Service, normally [`super::SERVICE_S3`].
    pub service: &'a str,
    /// Unix time.
    pub now: u64,
}

/// A request to sign in its query.
pub struct PresignInput<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path as it is sent, strictly encoded.
    pub path: &'a str,
    /// Query parameters, decoded.
    pub query: &'a [QueryPair],
    /// Headers that the user of the URL must send; all are signed; `host` must be there.
    pub headers: &'a HeaderMap,
    /// Who signs.
    pub credentials: Credentials<'a>,
    /// Region.
    pub region: &'a str,
    /// Life time, seconds.
    pub expires_seconds: u64,
    /// Unix time.
    pub now: u64,
}

/// A request that cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignError {
    /// The access key, token or region cannot stand in a header.
    CredentialText,
    /// The request has no `host` header.
    HostMissing,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CredentialText => "the access key, session token or region cannot stand in a header",
            Self::HostMissing => "the request has no host header",
        })
    }
}

impl std::error::Error for SignError {}

/// Signs a request in its headers. The result starts the chain of chunk signatures, for
/// [`crate::payload::ChunkEncoder`]; other callers ignore it.
pub fn sign(input: SignInput<'_>) -> Result<ChainSeed, SignError> {
    let SignInput {
        method,
        path,
        query,
        headers,
        payload,
        credentials,
        region,
        service,
        now,
    } = input;
    let date = AmzDate::from_unix(now);
    let payload = payload.to_text();
    set(headers, AMZ_DATE, date.as_str())?;
    set(headers, AMZ_CONTENT_SHA256, &payload)?;
    match credentials.session_token {
        Some(token) => set(headers, AMZ_SECURITY_TOKEN, token)?,
        None => drop(headers.remove(AMZ_SECURITY_TOKEN)),
    }
    headers.remove(AUTHORIZATION);
    let signed_headers = header_names(headers, is_signed)?;
    let scope = scope(&date, region, service);
    let canonical = CanonicalRequest {
        method: method.as_str(),
        path: path.as_bytes(),
        query: &canonical_query(query, None, false),
        headers,
        signed_headers: &signed_headers,
        payload: payload.as_bytes(),
    };
    let text = string_to_sign(&date, &scope, &canonical.to_bytes());
    let key = signing_key(&credentials, &scope);
    let signature = key.sign(&[text.as_bytes()]);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope},SignedHeaders={},Signature={}",
        credentials.access_key,
        signed_headers.join(";"),
        HEXLOWER.encode(&signature)
    );
    set(headers, AUTHORIZATION.as_str(), &authorization)?;
    Ok(ChainSeed {
        key,
        date,
        scope,
        signature,
    })
}

/// Signs a request in its query; the result is the whole query, encoded.
pub fn presign(input: &PresignInput<'_>) -> Result<String, SignError> {
    let date = AmzDate::from_unix(input.now);
    let scope = scope(&date, input.region, super::SERVICE_S3);
    let signed_headers = header_names(input.headers, |_| true)?;
    let mut pairs = input.query.to_vec();
    let mut add = |name: &str, value: String| {
        pairs.push(QueryPair {
            name: name.to_owned(),
            value,
        })
    };
    add(QUERY_ALGORITHM, ALGORITHM.to_owned());
    add(
        QUERY_CREDENTIAL,
        format!("{}/{scope}", input.credentials.access_key),
    );
    add(QUERY_DATE, date.as_str().to_owned());
    add(QUERY_EXPIRES, input.expires_seconds.to_string());
    add(QUERY_SIGNED_HEADERS, signed_headers.join(";"));
    if let Some(token) = input.credentials.session_token {
        add(QUERY_TOKEN, token.to_owned());
    }
    let query = canonical_query(&pairs, None, false);
    let payload = input
        .headers
        .get(AMZ_CONTENT_SHA256)
        .map_or(UNSIGNED_PAYLOAD.as_bytes(), |value| value.as_bytes());
    let canonical = CanonicalRequest {
        method: input.method.as_str(),
        path: input.path.as_bytes(),
        query: &query,
        headers: input.headers,
        signed_headers: &signed_headers,
        payload,
    };
    let text = string_to_sign(&date, &scope, &canonical.to_bytes());
    let signature = signing_key(&input.credentials, &scope).sign(&[text.as_bytes()]);
    Ok(format!(
        "{query}&{QUERY_SIGNATURE}={}",
        HEXLOWER.encode(&signature)
    ))
}

fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-") || matches!(name, "host" | "content-md5" | "content-type")
}

fn header_names(headers: &HeaderMap, is_signed: impl Fn(&str) -> bool) -> Result<Vec<String>, SignError> {
    if !headers.contains_key(HOST) {
        return Err(SignError::HostMissing);
    }
    let mut names: Vec<String> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| is_signed(name))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn scope(date: &AmzDate, region: &str, service: &str) -> Scope {
    Scope {
        date: date.date().to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    }
}

fn signing_key(credentials: &Credentials<'_>, scope: &Scope) -> Arc<SigningKey> {
    let Credentials {
        access_key,
        secret,
        cache,
        ..
    } = credentials;
    let Some(cache) = cache else {
        return Arc::new(SigningKey::derive(
            secret,
            &scope.date,
            &scope.region,
            &scope.service,
        ));
    };
    let key = cache.find_or_derive(access_key, secret, scope);
    cache.keep(access_key, secret, scope, &key);
    key
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), SignError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| SignError::CredentialText)?;
    let value = HeaderValue::from_str(value).map_err(|_| SignError::CredentialText)?;
    headers.insert(name, value);
    Ok(())
}
