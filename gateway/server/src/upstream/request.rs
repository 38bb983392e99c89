//! A request to the store, before it is signed.
//!
//! What lives here: [`StoreRequest`], [`StoreBody`]. What must not: percent-encoding, signing.
//! Invariant: bucket, key and query are raw text; they are encoded in one place, at sending.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::combinators::BoxBody;

use super::body::BodyError;

/// One request to the store.
pub struct StoreRequest {
    /// The method.
    pub method: Method,
    /// The bucket, raw; `None` for the service itself.
    pub bucket: Option<String>,
    /// The object key, raw and unencoded; dot segments and double slashes are kept.
    pub key: Option<String>,
    /// Query parameters in wire order, raw; `None` stands for a name without `=`.
    pub query: Vec<(String, Option<String>)>,
    /// Headers already classified. Hop-by-hop, length, authorisation and date headers are ignored;
    /// everything named `x-amz-*` is signed.
    pub headers: HeaderMap,
    /// The body.
    pub body: StoreBody,
    /// Whether the request may be sent twice with the effect of once. Only then is it repeated
    /// after a broken connection or a 5xx answer.
    pub replayable: bool,
}

impl StoreRequest {
    /// A request without query, headers or body. GET, HEAD, DELETE and OPTIONS start as replayable.
    pub fn new(method: Method) -> Self {
        let replayable = matches!(
            method,
            Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS
        );
        Self {
            method,
            bucket: None,
            key: None,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: StoreBody::Empty,
            replayable,
        }
    }

    /// Sets the bucket.
    #[must_use]
    pub fn bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// Sets the object key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Appends `name=value` to the query.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), Some(value.into())));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: StoreBody) -> Self {
        self.body = body;
        self
    }

    /// Says that the request may be repeated: for small PUTs whose second sending changes nothing.
    #[must_use]
    pub fn replayable(mut self) -> Self {
        self.replayable = true;
        self
    }
}

impl StoreBody {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { length, body: _ } => *length,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The body of a request to the store.
pub enum StoreBody {
    /// No body.
    Empty,
    /// A small body in memory: its hash is signed.
    Bytes(Bytes),
    /// A stream of exactly `length` bytes, sent once, with an unsigned payload.
    Stream {
        /// Exact length in bytes; the stream must yield neither more nor less.
        length: u64,
        /// The bytes. An error drops the request short of its `Content-Length`.
        body: BoxBody<Bytes, BodyError>,
    },
}
