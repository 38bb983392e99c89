//! Requests to one endpoint.
//!
//! What lives here: who signs, how, and the signed request. What must not: sending. Invariant: a request is
//! complete when it leaves here, so that signing is not part of the time that is measured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::ValueEnum;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use sceau_s3wire::payload::ChunkEncoder;
use sceau_s3wire::sigv4::{
    self, Credentials, PayloadHash, PresignInput, SecretAccessKey, SignInput, SigningKeyCache,
};
use sceau_s3wire::target::{QueryPair, encode_component, encode_path};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::body::{Framing, Outgoing, Payload, TRAILER_ALGORITHM};
use crate::client::Fault;
use crate::endpoint::Endpoint;

const AGENT: &str = concat!("sceau-bench/", env!("CARGO_PKG_VERSION"));
/// Life time of presigned URLs, seconds.
const PRESIGN_SECONDS: u64 = 24 * 3600;

/// How requests are signed, and what covers the body of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Signature in the URL, body not covered
    Presigned,
    /// SHA-256 of the body in the signature
    Signed,
    /// UNSIGNED-PAYLOAD
    UnsignedPayload,
    /// aws-chunked, each chunk signed
    SignedChunk,
    /// aws-chunked, not signed, CRC64NVME in the trailer
    Trailer,
    /// aws-chunked, chunks and trailer signed, CRC64NVME in the trailer
    SignedTrailer,
}

impl Mode {
    fn framing(self) -> Framing {
        let (is_signed, has_trailer) = match self {
            Self::Presigned | Self::Signed | Self::UnsignedPayload => return Framing::Plain,
            Self::SignedChunk => (true, false),
            Self::Trailer => (false, true),
            Self::SignedTrailer => (true, true),
        };
        Framing::Chunked {
            is_signed,
            has_trailer,
        }
    }

    fn hash(self, payload: &Payload) -> PayloadHash {
        match (self, payload) {
            (_, Payload::Empty) => PayloadHash::Empty,
            (Self::Signed, _) => PayloadHash::Sha256(payload.sha256()),
            (Self::UnsignedPayload | Self::Presigned, _) => PayloadHash::Unsigned,
            (Self::SignedChunk, _) => PayloadHash::StreamingSigned,
            (Self::Trailer, _) => PayloadHash::StreamingUnsignedTrailer,
            (Self::SignedTrailer, _) => PayloadHash::StreamingSignedTrailer,
        }
    }
}

/// Where requests go and who signs them.
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// Bucket, addressed in the path.
    pub bucket: String,
    /// Region in the signatures.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret: SecretAccessKey,
    /// Session token of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
    /// Derived keys.
    pub cache: SigningKeyCache,
    /// Longest time for one request, its connection included.
    pub timeout: Duration,
    /// How requests are signed.
    pub mode: Mode,
    /// Whether writes carry `Content-MD5`.
    pub content_md5: bool,
    /// Most content bytes that a connection moves a second.
    pub throttle: Option<u64>,
}

/// A request to make.
pub struct Call<'a> {
    /// Method.
    pub method: Method,
    /// Key; empty for the bucket.
    pub key: &'a str,
    /// Parameters, decoded.
    pub query: Vec<(&'static str, String)>,
    /// More headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub payload: Payload,
}

impl<'a> Call<'a> {
    /// One without parameters, headers and body.
    pub fn new(method: Method, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            payload: Payload::Empty,
        }
    }
}

impl Target {
    /// Signs a request.
    pub fn request(&self, call: Call<'_>) -> Result<Request<Outgoing>, Fault> {
        let path = match call.key {
            "" => encode_path(&format!("/{}", self.bucket)),
            key => encode_path(&format!("/{}/{key}", self.bucket)),
        };
        let query: Vec<QueryPair> = call
            .query
            .into_iter()
            .map(|(name, value)| QueryPair {
                name: name.to_owned(),
                value,
            })
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, self.endpoint.host.clone());
        headers.extend(call.headers);
        // Documents are small and are always sent as they are.
        let is_document = call.method == Method::POST;
        let is_write = is_document || call.method == Method::PUT;
        let mode = match (self.mode, is_document) {
            (Mode::Presigned, _) => Mode::Presigned,
            (_, true) => Mode::Signed,
            (mode, false) => mode,
        };
        let has_body = !matches!(call.payload, Payload::Empty);
        if has_body && (self.content_md5 || is_document) {
            let value = HeaderValue::try_from(call.payload.md5()).map_err(|_| Fault::Unsendable)?;
            headers.insert("content-md5", value);
        }
        let framing = if has_body { mode.framing() } else { Framing::Plain };
        let length = call.payload.length();
        let wire_length = framing.wire_length(length);
        if let Framing::Chunked { has_trailer, .. } = framing {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aws-chunked"));
            headers.insert("x-amz-decoded-content-length", HeaderValue::from(length));
            if has_trailer {
                let name = HeaderValue::from_static(TRAILER_ALGORITHM.header_name());
                headers.insert("x-amz-trailer", name);
            }
        }
        let (target, body) = if mode == Mode::Presigned {
            let query = self.presign(&call.method, &path, &query, &headers)?;
            (
                format!("{path}?{query}"),
                Outgoing::plain(call.payload, self.throttle),
            )
        } else {
            let hash = mode.hash(&call.payload);
            let body = self.sign(
                &call.method,
                &path,
                &query,
                &mut headers,
                hash,
                call.payload,
                wire_length,
            )?;
            (with_query(path, &query), body)
        };
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if is_write {
            // Also when it is zero, which an HTTP library leaves out and S3 demands.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(wire_length));
        }
        let mut request = Request::new(body);
        *request.method_mut() = call.method;
        *request.uri_mut() = target.parse().map_err(|_| Fault::Unsendable)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request, used once")]
    fn sign(
        &self,
        method: &Method,
        path: &str,
        query: &[QueryPair],
        headers: &mut HeaderMap,
        hash: PayloadHash,
        payload: Payload,
        wire_length: u64,
    ) -> Result<Outgoing, Fault> {
        let seed = sigv4::sign(SignInput {
            method,
            path,
            query,
            headers,
            payload: hash,
            credentials: self.credentials(),
            region: &self.region,
            service: sigv4::SERVICE_S3,
            now: now(),
        })
        .map_err(|_| Fault::Unsendable)?;
        let encoder = match hash {
            PayloadHash::StreamingSigned => ChunkEncoder::signed(seed),
            PayloadHash::StreamingSignedTrailer => ChunkEncoder::signed_with_trailer(seed),
            PayloadHash::StreamingUnsignedTrailer => ChunkEncoder::unsigned_with_trailer(),
            PayloadHash::Empty | PayloadHash::Sha256(_) | PayloadHash::Unsigned => {
                return Ok(Outgoing::plain(payload, self.throttle));
            }
        };
        Ok(Outgoing::chunked(payload, encoder, wire_length, self.throttle))
    }

    fn presign(
        &self,
        method: &Method,
        path: &str,
        query: &[QueryPair],
        headers: &HeaderMap,
    ) -> Result<String, Fault> {
        sigv4::presign(&PresignInput {
            method,
            path,
            query,
            headers,
            credentials: self.credentials(),
            region: &self.region,
            expires_seconds: PRESIGN_SECONDS,
            now: now(),
        })
        .map_err(|_| Fault::Unsendable)
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            access_key: &self.access_key,
            secret: &self.secret,
            session_token: self.session_token.as_ref().map(|token| token.as_str()),
            cache: Some(&self.cache),
        }
    }
}

fn with_query(mut path: String, query: &[QueryPair]) -> String {
    for (number, pair) in query.iter().enumerate() {
        path.push(if number == 0 { '?' } else { '&' });
        path.push_str(&encode_component(&pair.name));
        path.push('=');
        path.push_str(&encode_component(&pair.value));
    }
    path
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A document as a payload.
pub fn document(xml: Vec<u8>) -> Payload {
    Payload::Ready(Bytes::from(xml))
}
