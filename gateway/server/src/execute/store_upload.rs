//! A multipart upload at the store, as the store knows it.
//!
//! What lives here: create, part, complete, abort, in the store's terms. What must not: sealing, clients'
//! part lists. Invariant: a completion that the store answers with 200 and an error inside is an error.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sceau_s3wire::xml::{self, CompletedUpload, CopyOutcome, InitiatedUpload, StoreAnswer, XmlError};

use crate::app::Gateway;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::stored_object;
use crate::limits;
use crate::plan::fault;
use crate::upstream::{StoreBody, StoreRequest, StoreResponse};

/// One upload at the store.
pub struct StoreUpload<'a> {
    gateway: &'a Gateway,
    bucket: &'a str,
    key: &'a str,
    upload_id: String,
    /// The store's answer to the creation.
    pub created: HeaderMap,
}

/// What the store said of a completed upload.
pub struct Completed {
    headers: HeaderMap,
    /// The store's ETag of the object, without quotes.
    pub etag: String,
}

impl Completed {
    /// The answer's headers, with the ETag among them as for a PUT, where the store told one.
    pub fn into_headers(mut self) -> HeaderMap {
        if self.etag.is_empty() {
            return self.headers;
        }
        if let Ok(etag) = HeaderValue::from_str(&sceau_s3wire::etag::quoted(&self.etag)) {
            self.headers.insert(header::ETAG, etag);
        }
        self.headers
    }
}

impl<'a> StoreUpload<'a> {
    /// An upload that exists already.
    pub fn existing(gateway: &'a Gateway, bucket: &'a str, key: &'a str, upload_id: &str) -> Self {
        Self {
            gateway,
            bucket,
            key,
            upload_id: upload_id.to_owned(),
            created: HeaderMap::new(),
        }
    }

    /// Creates an upload; its metadata is fixed from here on.
    pub async fn create(
        gateway: &'a Gateway,
        bucket: &'a str,
        key: &'a str,
        headers: HeaderMap,
    ) -> Result<Self> {
        let mut request = StoreRequest::new(Method::POST).bucket(bucket).key(key);
        request.query.push(("uploads".to_owned(), None));
        request.headers = headers;
        let response = send(gateway, request).await?;
        let (head, body) = success(response).await?;
        let initiated = done(InitiatedUpload::parse(&body))?;
        Ok(Self {
            gateway,
            bucket,
            key,
            upload_id: initiated.upload_id,
            created: head,
        })
    }

    /// The store's upload id.
    pub fn upload_id(&self) -> &str {
        &self.upload_id
    }

    /// Uploads a part; answers the store's ETag, without quotes.
    pub async fn put_part(&self, number: u16, body: StoreBody) -> Result<String> {
        let mut request = self.request(Method::PUT).query("partNumber", number.to_string());
        request.body = body;
        request
            .query
            .push(("uploadId".to_owned(), Some(self.upload_id.clone())));
        let response = send(self.gateway, request).await?;
        if response.head.status != StatusCode::OK {
            return Err(stored_object::refusal(response).await);
        }
        plain_etag(&response.head.headers)
    }

    /// Copies stored bytes into a part, at the store.
    pub async fn copy_part(&self, number: u16, source: &CopyRange<'_>) -> Result<String> {
        let mut request = self.request(Method::PUT).query("partNumber", number.to_string());
        request
            .query
            .push(("uploadId".to_owned(), Some(self.upload_id.clone())));
        request.headers.insert("x-amz-copy-source", text(&source.source)?);
        request
            .headers
            .insert("x-amz-copy-source-if-match", source.etag.clone());
        let range = format!("bytes={}-{}", source.first, source.last);
        request.headers.insert("x-amz-copy-source-range", text(&range)?);
        let (_, body) = success(send(self.gateway, request).await?).await?;
        Ok(done(CopyOutcome::parse(&body))?.etag)
    }

    /// Completes the upload from (number, store ETag) pairs in order.
    pub async fn complete(&self, parts: &[(u16, String)], conditions: HeaderMap) -> Result<Completed> {
        let mut request = self
            .request(Method::POST)
            .query("uploadId", self.upload_id.as_str());
        request.headers = conditions;
        let listed = parts.iter().map(|(number, etag)| (*number, etag.as_str()));
        request.body = StoreBody::Bytes(Bytes::from(xml::write_completed_parts(listed)));
        let (headers, body) = success(send(self.gateway, request).await?).await?;
        Ok(Completed {
            headers,
            etag: done(CompletedUpload::parse(&body))?.etag,
        })
    }

    /// Gives the upload up. Best effort: what remains is removed by the store's own clean-up rule.
    pub async fn abort(&self) {
        if let Err(error) = self.try_abort().await {
            tracing::warn!(bucket = self.bucket, %error, "an unfinished store upload was left behind");
        }
    }

    /// Gives the upload up and tells what the store said.
    pub async fn try_abort(&self) -> Result<()> {
        let request = self
            .request(Method::DELETE)
            .query("uploadId", self.upload_id.as_str());
        success(send(self.gateway, request).await?).await.map(|_| ())
    }

    fn request(&self, method: Method) -> StoreRequest {
        StoreRequest::new(method).bucket(self.bucket).key(self.key)
    }
}

/// Stored bytes to copy.
pub struct CopyRange<'a> {
    /// `bucket/key`, percent-encoded.
    pub source: String,
    /// The source's ETag: another object must not be copied.
    pub etag: &'a HeaderValue,
    /// First stored byte.
    pub first: u64,
    /// Last stored byte.
    pub last: u64,
}

/// Sends a request to the store.
pub async fn send(gateway: &Gateway, request: StoreRequest) -> Result<StoreResponse> {
    gateway
        .send(request)
        .await
        .map_err(|error| fault::store_error(&error))
}

/// The body of a successful answer.
pub async fn success(response: StoreResponse) -> Result<(HeaderMap, Bytes)> {
    let status = response.head.status;
    if !status.is_success() {
        return Err(stored_object::refusal(response).await);
    }
    let (head, body) = response
        .collect(limits::XML_ANSWER_BYTES_MAX)
        .await
        .map_err(|error| fault::store_error(&error))?;
    Ok((head.headers, body))
}

/// The store's ETag without quotes.
pub fn plain_etag(headers: &HeaderMap) -> Result<String> {
    headers
        .get(header::ETAG)
        .and_then(|etag| etag.to_str().ok())
        .map(|etag| sceau_s3wire::etag::opaque(etag).to_owned())
        .ok_or_else(|| GatewayError::new(Kind::StoreProtocol, "the store sent no ETag"))
}

/// What a parsed answer says. The store may have begun a 200 before it failed: its real status is then
/// that of the code inside.
pub fn done<T>(answer: std::result::Result<StoreAnswer<T>, XmlError>) -> Result<T> {
    match answer {
        Ok(StoreAnswer::Done(done)) => Ok(done),
        Ok(StoreAnswer::Failed(failed)) => Err(fault::store_failure(&failed.code)),
        Err(error) => Err(odd_answer(error)),
    }
}

/// An answer that is not the document it should be.
pub fn odd_answer(error: XmlError) -> GatewayError {
    GatewayError::new(Kind::StoreProtocol, format!("the store's answer: {error}"))
}

fn text(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| GatewayError::new(Kind::Internal, "header text"))
}
