//! DeleteObject and DeleteObjects.
//!
//! What lives here: deletions at the store. What must not: anything about sealed bytes; a deletion needs
//! no key, so that it works with the key provider down. Invariant: a key that the policy does not allow
//! never reaches the store.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sceau_s3wire::checksum::{Algorithm, Hasher, md5_base64};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::xml::{DeleteEntry, DeleteError, DeleteOutcome, DeleteRequest};

use crate::app::Gateway;
use crate::auth::Upload;
use crate::authorize::Authorized;
use crate::error::{GatewayError, Result};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, send, success};
use crate::execute::{folders, insert_text, pass};
use crate::limits;
use crate::plan::request::ObjectName;
use crate::respond::Answer;
use crate::upstream::{StoreBody, StoreRequest};

/// DeleteObject.
pub async fn one(
    gateway: &Gateway,
    name: ObjectName,
    version: Option<String>,
    store_headers: HeaderMap,
) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &name.bucket).await?;
    folders::check_root(gateway, &name.key).await?;
    let mut delete = StoreRequest::new(Method::DELETE)
        .bucket(bucket.name())
        .key(name.key);
    if let Some(version) = version {
        pass::check_versions(gateway, &bucket).await?;
        delete = delete.query("versionId", version);
    }
    delete.headers = store_headers;
    let (headers, _) = success(send(gateway, delete).await?).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    answer.headers = headers::passed_headers(&headers);
    Ok(answer)
}

/// DeleteObjects.
pub async fn many(
    gateway: &Gateway,
    request: &Authorized,
    mut store_headers: HeaderMap,
    document: Upload,
) -> Result<Answer> {
    let name = request
        .authenticated
        .request
        .name
        .bucket
        .as_deref()
        .unwrap_or_default();
    let bucket = SealedBucket::find(gateway, name).await?;
    let document = document.collect(gateway, limits::XML_REQUEST_BYTES_MAX).await?;
    let mut wanted = DeleteRequest::parse(&document.bytes).map_err(GatewayError::code)?;
    for object in &wanted.objects {
        folders::check_root(gateway, &object.key).await?;
    }
    let refused = take_refused(request, bucket.name(), &mut wanted).await;
    let mut outcome = DeleteOutcome {
        deleted: Vec::new(),
        errors: Vec::new(),
    };
    if wanted.objects.iter().any(|object| object.version_id.is_some()) {
        pass::check_versions(gateway, &bucket).await?;
    }
    if !wanted.objects.is_empty() {
        let body = Bytes::from(wanted.to_store_xml());
        // Stores differ in which of the two they demand for this operation.
        insert_text(&mut store_headers, "content-md5", &md5_base64(&body));
        let sum = Hasher::of(Algorithm::Sha256, &body).to_base64();
        insert_text(&mut store_headers, "x-amz-checksum-sha256", &sum);
        store_headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        let mut delete = StoreRequest::new(Method::POST).bucket(bucket.name()).replayable();
        delete.query.push(("delete".to_owned(), None));
        delete.headers = store_headers;
        delete.body = StoreBody::Bytes(body);
        let (_, answer) = success(send(gateway, delete).await?).await?;
        outcome = DeleteOutcome::parse(&answer).map_err(odd_answer)?;
    }
    outcome.errors.extend(refused);
    Ok(Answer::xml(outcome.to_xml()))
}

/// Takes the keys out of a request that the sender may not delete.
async fn take_refused(request: &Authorized, bucket: &str, wanted: &mut DeleteRequest) -> Vec<DeleteError> {
    let code = ErrorCode::AccessDenied;
    let may = |object: &DeleteEntry| request.may_delete(bucket, &object.key, object.version_id.is_some());
    let (allowed, refused) = sift(std::mem::take(&mut wanted.objects), may).await;
    wanted.objects = allowed;
    let told = refused.into_iter().map(|object| DeleteError {
        key: object.key,
        version_id: object.version_id,
        code: code.code().to_owned(),
        message: code.default_message().to_owned(),
    });
    told.collect()
}

/// What `may` accepts, and the rest, both in their order.
///
/// Attack considered: a thousand keys and a session policy whose patterns are made to be slow, milliseconds
/// for each key, on a thread that other requests wait for: they get their turn in between.
async fn sift<T>(objects: Vec<T>, may: impl Fn(&T) -> bool) -> (Vec<T>, Vec<T>) {
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    for (index, object) in objects.into_iter().enumerate() {
        if index % limits::KEYS_PER_TURN == limits::KEYS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let list = if may(&object) { &mut allowed } else { &mut refused };
        list.push(object);
    }
    (allowed, refused)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn others_get_their_turn_while_keys_are_judged() {
        let (turns, is_over) = (Cell::new(0), Cell::new(false));
        let most = Cell::new(0);
        let judged = Cell::new(0);
        let judging = async {
            let sifted = sift((0..1000).collect(), |number: &u32| {
                judged.set(judged.get() + 1);
                number.is_multiple_of(2)
            })
            .await;
            is_over.set(true);
            sifted
        };
        let another = async {
            while !is_over.get() {
                turns.set(turns.get() + 1);
                most.set(most.get().max(judged.take()));
                tokio::task::yield_now().await;
            }
        };
        let ((allowed, refused), ()) = tokio::join!(judging, another);
        assert!(allowed.iter().copied().eq((0..1000).step_by(2)));
        assert!(refused.iter().copied().eq((1..1000).step_by(2)));
        assert!(turns.get() >= 1000 / limits::KEYS_PER_TURN - 1, "{turns:?}");
        // `join!` changes whose turn is first.
        assert!(most.get() <= 2 * limits::KEYS_PER_TURN, "{most:?}");
    }
}
