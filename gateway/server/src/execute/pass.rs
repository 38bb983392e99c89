//! Documents that the store keeps about buckets and objects: versioning, lifecycle, ACLs, retention and
//! so on.
//!
//! What lives here: one way for all of them. What must not: the content, metadata or tags of objects.
//! Invariant: a document goes only to a bucket of the keyring and names the control bucket nowhere; the
//! store gets exactly the bytes whose signature and checksums were verified.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use sceau_s3wire::checksum::{Algorithm, Hasher, md5_base64};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::op::{Document, Row};
use sceau_s3wire::xml;

use crate::app::Gateway;
use crate::auth::Upload;
use crate::authorize::Authorized;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::insert_text;
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::send;
use crate::execute::stored_object;
use crate::limits;
use crate::plan::fault;
use crate::respond::{Answer, AnswerBody};
use crate::upstream::{StoreBody, StoreRequest};

/// Passes one document to the store, or one question for it.
pub async fn document(
    gateway: &Gateway,
    request: &Authorized,
    document: Document,
    store_headers: HeaderMap,
    sent: Option<Upload>,
) -> Result<Answer> {
    let name = &request.authenticated.request.name;
    let bucket = SealedBucket::find(gateway, name.bucket.as_deref().unwrap_or_default()).await?;
    let row = document.row();
    let method = Method::from_bytes(row.method.as_bytes())
        .map_err(|_| GatewayError::new(Kind::Internal, "a method of the table"))?;
    let mut forward = StoreRequest::new(method).bucket(bucket.name());
    forward.key.clone_from(&name.key);
    forward.query = query(request, row);
    forward.headers = store_headers;
    // Holds its place in memory until the store has it.
    let body = match sent {
        Some(sent) => Some(sent.collect(gateway, limits::DOCUMENT_BYTES_MAX).await?),
        None => None,
    };
    if let Some(body) = body.as_ref().filter(|body| !body.bytes.is_empty()) {
        check(gateway, document, &body.bytes)?;
        describe(document, &body.bytes, &mut forward.headers);
        forward.body = StoreBody::Bytes(body.bytes.clone());
    }
    // Setting the same document twice is setting it once.
    let response = send(gateway, forward.replayable()).await?;
    drop(body);
    let status = response.head.status;
    if !status.is_success() {
        return Err(stored_object::refusal(response).await);
    }
    let (head, body) = response
        .collect(limits::DOCUMENT_BYTES_MAX)
        .await
        .map_err(|error| fault::store_error(&error))?;
    let mut answer = Answer::empty(status);
    answer.headers = headers::passed_headers(&head.headers);
    if !body.is_empty() {
        answer.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(media_type(document)),
        );
        answer.body = AnswerBody::Full(body);
    }
    Ok(answer)
}

/// The parameters that the table names, as the client sent them.
fn query(request: &Authorized, row: &Row) -> Vec<(String, Option<String>)> {
    let is_named = |name: &str| {
        row.allowed.contains(&name) || row.selectors.iter().any(|selector| selector.key() == name)
    };
    let pairs = request.authenticated.request.target.query().pairs().iter();
    pairs
        .filter(|pair| is_named(&pair.name))
        .map(|pair| {
            let value = Some(pair.value.clone()).filter(|value| !value.is_empty());
            (pair.name.clone(), value)
        })
        .collect()
}

/// Logs, inventories, replicas and the like must not be sent into the control bucket.
fn check(gateway: &Gateway, document: Document, body: &Bytes) -> Result<()> {
    if is_json(document) {
        return Ok(());
    }
    let names_it =
        xml::mentions(body, gateway.control_bucket()).map_err(|error| GatewayError::code(error.code()))?;
    if names_it {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "The document names a bucket that does not exist.",
        ));
    }
    Ok(())
}

/// Stores differ in which of the two they demand, and for which documents.
fn describe(document: Document, body: &Bytes, headers: &mut HeaderMap) {
    insert_text(headers, "content-md5", &md5_base64(body));
    let sum = Hasher::of(Algorithm::Sha256, body).to_base64();
    insert_text(headers, "x-amz-checksum-sha256", &sum);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(document)),
    );
}

fn is_json(document: Document) -> bool {
    matches!(document, Document::GetBucketPolicy | Document::PutBucketPolicy)
}

fn media_type(document: Document) -> &'static str {
    if is_json(document) {
        "application/json"
    } else {
        "application/xml"
    }
}
