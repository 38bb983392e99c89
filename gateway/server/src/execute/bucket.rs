//! Bucket operations.
//!
//! What lives here: creating and deleting buckets at the store and in the keyring. What must not: how
//! the keyring is written. Invariant: a bucket that clients can use has an identity and an epoch key that
//! were written and read back before; a bucket that was deleted loses its identity for ever, so that a
//! new one of the same name does not open old objects.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::xml;

use crate::app::Gateway;
use crate::auth::Upload;
use crate::authorize::Authorized;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, send, success};
use crate::execute::stored_object;
use crate::limits;
use crate::plan::fault;
use crate::respond::Answer;
use crate::upstream::{StoreBody, StoreRequest};

/// The region that GetBucketLocation leaves unnamed.
const DEFAULT_REGION: &str = "us-east-1";

fn name(request: &Authorized) -> &str {
    request
        .authenticated
        .request
        .name
        .bucket
        .as_deref()
        .unwrap_or_default()
}

/// CreateBucket.
pub async fn create(
    gateway: &Gateway,
    request: &Authorized,
    store_headers: HeaderMap,
    document: Upload,
) -> Result<Answer> {
    let name = name(request);
    gateway.refuse_control_bucket(name)?;
    let document = document.collect(gateway, limits::XML_REQUEST_BYTES_MAX).await?;
    // Refuses what is not a location; the store gets the document as it is.
    xml::parse_bucket_configuration(&document.bytes).map_err(GatewayError::code)?;
    let mut create = StoreRequest::new(Method::PUT).bucket(name);
    create.headers = store_headers;
    if !document.bytes.is_empty() {
        create.body = StoreBody::Bytes(document.bytes.clone());
    }
    let response = send(gateway, create).await?;
    let status = response.head.status;
    let answered = if status.is_success() {
        success(response).await.map(|(headers, _)| headers)
    } else {
        Err(stored_object::refusal(response).await)
    };
    let known = gateway.keyring.bucket_or_refresh(name).await;
    if known.map_err(|error| fault::keyring_error(&error))?.is_none() {
        match &answered {
            Ok(_) => {}
            // An earlier attempt may have stopped half-way: finish it, if the bucket holds nothing.
            Err(error) if error.kind == Kind::Answer(ErrorCode::BucketAlreadyOwnedByYou) => {}
            Err(error) if error.kind == Kind::Answer(ErrorCode::BucketAlreadyExists) => {}
            Err(error) => return Err(error.clone()),
        }
        adopt(gateway, name).await?;
        return Ok(created(name, &answered.unwrap_or_default()));
    }
    answered.map(|headers| created(name, &headers))
}

fn created(name: &str, store: &HeaderMap) -> Answer {
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(store);
    if let Ok(location) = HeaderValue::try_from(format!("/{name}")) {
        answer.headers.insert(header::LOCATION, location);
    }
    answer
}

/// Gives an empty bucket of the store an identity and a key.
async fn adopt(gateway: &Gateway, name: &str) -> Result<()> {
    if !is_empty(gateway, name).await? {
        return Err(GatewayError::client(
            ErrorCode::BucketAlreadyExists,
            "The bucket exists at the store, holds objects and is not enrolled with this gateway.",
        ));
    }
    gateway
        .keyring
        .add_bucket(name)
        .await
        .map(|_| ())
        .map_err(|error| fault::keyring_error(&error))
}

async fn is_empty(gateway: &Gateway, name: &str) -> Result<bool> {
    let list = StoreRequest::new(Method::GET)
        .bucket(name)
        .query("list-type", "2")
        .query("max-keys", "1");
    let (_, body) = success(send(gateway, list).await?).await?;
    let page = xml::ListPage::parse(&body).map_err(odd_answer)?;
    Ok(page.objects.is_empty() && page.common_prefixes.is_empty())
}

/// HeadBucket.
pub async fn head(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, name(request)).await?;
    let (headers, _) =
        success(send(gateway, StoreRequest::new(Method::HEAD).bucket(bucket.name())).await?).await?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(&headers);
    let own = gateway.settings.regions.first();
    if let Some(own) = own.and_then(|own| HeaderValue::from_str(own).ok()) {
        answer.headers.insert("x-amz-bucket-region", own);
    }
    Ok(answer)
}

/// GetBucketLocation. Where the gateway has a region, its buckets are in it: a client that signs for what
/// it is told here must be accepted.
pub async fn location(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, name(request)).await?;
    let mut ask = StoreRequest::new(Method::GET).bucket(bucket.name());
    ask.query.push(("location".to_owned(), None));
    let (_, body) = success(send(gateway, ask).await?).await?;
    let location = match gateway.settings.regions.first() {
        Some(own) => Some(own.clone()).filter(|own| own != DEFAULT_REGION),
        None => xml::parse_location(&body).map_err(odd_answer)?,
    };
    Ok(Answer::xml(Bytes::from(xml::write_location(location.as_deref()))))
}

/// DeleteBucket.
pub async fn delete(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, name(request)).await?;
    success(send(gateway, StoreRequest::new(Method::DELETE).bucket(bucket.name())).await?).await?;
    gateway
        .keyring
        .remove_bucket(bucket.name())
        .await
        .map_err(|error| fault::keyring_error(&error))?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
