//! Documents that the store keeps about buckets and objects: versioning, lifecycle, ACLs, retention and
//! so on.
//!
//! What lives here: one way for all of them. What must not: the content, metadata or tags of objects.
//! Invariant: a document goes only to a bucket of the keyring and names the control bucket nowhere; the
//! store gets exactly the bytes whose signature and checksums were verified; and it gets a change only
//! after it showed that it knows the document: stores that do not may take `DELETE /bucket?website` for
//! the deletion of the bucket, and `PUT /bucket/key?retention` for a new object.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
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
use crate::execute::store_upload::{self, send};
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
    if row.method != "GET" {
        let has_one = ask_first(gateway, &bucket, &forward, row).await?;
        if row.method == "DELETE" && !has_one {
            // As S3 answers it. Not passed: a store without this deletion may delete the bucket.
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        }
    }
    // Setting the same document twice is setting it once.
    let response = send(gateway, forward.replayable()).await?;
    drop(body);
    let status = response.head.status;
    if !status.is_success() {
        let refusal = stored_object::refusal(response).await;
        // It took the document for CreateBucket.
        let is_creation = [ErrorCode::BucketAlreadyOwnedByYou, ErrorCode::BucketAlreadyExists]
            .iter()
            .any(|code| refusal.kind == Kind::Answer(*code));
        return Err(if is_creation { unknown() } else { refusal });
    }
    let (head, body) = response
        .collect(limits::DOCUMENT_BYTES_MAX)
        .await
        .map_err(|error| fault::store_error(&error))?;
    if row.method == "GET" && !is_document(&head.headers, &body) {
        return Err(unknown());
    }
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

/// Answers of a store that may have looked at the bucket or the key only.
const SAYS_NOTHING: &[ErrorCode] = &[
    ErrorCode::AccessDenied,
    ErrorCode::MethodNotAllowed,
    ErrorCode::NoSuchBucket,
    ErrorCode::NoSuchKey,
    ErrorCode::NoSuchVersion,
    ErrorCode::NotImplemented,
];

/// Asks the store for the document that is about to be changed; whether there is one.
async fn ask_first(
    gateway: &Gateway,
    bucket: &SealedBucket,
    change: &StoreRequest,
    row: &Row,
) -> Result<bool> {
    let mut ask = StoreRequest::new(Method::GET).bucket(bucket.name());
    ask.key.clone_from(&change.key);
    ask.query.clone_from(&change.query);
    let response = send(gateway, ask).await?;
    if !response.head.status.is_success() {
        let refusal = stored_object::refusal(response).await;
        let has_word = matches!(refusal.kind, Kind::Answer(code) if !SAYS_NOTHING.contains(&code));
        // There is no such document yet, and the store has a word for that: then it knows it.
        return if has_word { Ok(false) } else { Err(refusal) };
    }
    let (head, body) = response
        .collect(limits::DOCUMENT_BYTES_MAX)
        .await
        .map_err(|error| fault::store_error(&error))?;
    // A deletion demands the very document: some stores answer for one of several with a list of all.
    let is_asked = is_document(&head.headers, &body)
        && (row.method != "DELETE" || xml::root_name(&body).ok() == removable_root(row));
    if is_asked { Ok(true) } else { Err(unknown()) }
}

/// The root element of a document that can be removed; `None` for bucket policies, which are not XML.
fn removable_root(row: &Row) -> Option<&'static str> {
    let key = row.selectors.first().map(|selector| selector.key())?;
    let (_, root) = REMOVABLE.iter().find(|(known, _)| *known == key)?;
    Some(root)
}

const REMOVABLE: &[(&str, &str)] = &[
    ("analytics", "AnalyticsConfiguration"),
    ("cors", "CORSConfiguration"),
    ("encryption", "ServerSideEncryptionConfiguration"),
    ("intelligent-tiering", "IntelligentTieringConfiguration"),
    ("inventory", "InventoryConfiguration"),
    ("lifecycle", "LifecycleConfiguration"),
    ("metrics", "MetricsConfiguration"),
    ("ownershipControls", "OwnershipControls"),
    ("publicAccessBlock", "PublicAccessBlockConfiguration"),
    ("replication", "ReplicationConfiguration"),
    ("tagging", "Tagging"),
    ("website", "WebsiteConfiguration"),
];

/// Whether an answer is a document, and not the listing or the object that stores answer with when they
/// overlook a parameter.
fn is_document(headers: &HeaderMap, body: &Bytes) -> bool {
    if headers.contains_key(stored_object::HEADER_METADATA) {
        return false;
    }
    if body.trim_ascii_start().starts_with(b"{") {
        return true;
    }
    !matches!(
        xml::root_name(body),
        Err(_) | Ok("ListBucketResult" | "ListVersionsResult" | "ListMultipartUploadsResult" | "Error")
    )
}

fn unknown() -> GatewayError {
    GatewayError::client(
        ErrorCode::NotImplemented,
        "The store behind this gateway does not have this document.",
    )
}

/// Refuses versions where the store does not know of any: one that overlooks the version would delete the
/// current object.
pub async fn check_versions(gateway: &Gateway, bucket: &SealedBucket) -> Result<()> {
    let mut ask = StoreRequest::new(Method::GET).bucket(bucket.name());
    ask.query.push(("versioning".to_owned(), None));
    let (_, body) = store_upload::success(send(gateway, ask).await?).await?;
    match xml::root_name(&body) {
        // The second is moto's.
        Ok("VersioningConfiguration" | "GetBucketVersioningResponse") => Ok(()),
        Ok(_) | Err(_) => Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "The store behind this gateway has no versions.",
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_or_an_object_is_no_document() {
        let none = HeaderMap::new();
        let mut sealed = HeaderMap::new();
        sealed.insert(stored_object::HEADER_METADATA, HeaderValue::from_static("x"));
        for body in [
            "<Tagging/>",
            "<?xml version='1.0'?>\n<a:LegalHold/>",
            " {\"Version\":1}",
        ] {
            assert!(is_document(&none, &Bytes::from(body)), "{body}");
            assert!(!is_document(&sealed, &Bytes::from(body)), "{body}");
        }
        for body in [
            "",
            "x",
            "<ListBucketResult/>",
            "<ListVersionsResult/>",
            "<Error/>",
            "\0<a/>",
        ] {
            assert!(!is_document(&none, &Bytes::from(body)), "{body}");
        }
    }

    #[test]
    fn whatever_can_be_removed_has_a_root_to_be_recognised_by() {
        for document in Document::ALL
            .iter()
            .filter(|document| document.row().method == "DELETE")
        {
            let is_policy = *document == Document::DeleteBucketPolicy;
            assert_eq!(
                removable_root(document.row()).is_none(),
                is_policy,
                "{document:?}"
            );
        }
    }
}
