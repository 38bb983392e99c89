//! Carries out plans.
//!
//! What lives here: one file per family of operations, and the one match from plan to action. What must
//! not: decisions that need no waiting (`plan`), the writing of responses (`respond`). Invariant: every
//! action takes its plan from an `Authorized` request.

pub mod attributes;
pub mod bucket;
pub mod completed;
pub mod copy;
pub mod cors;
pub mod delete;
pub mod folders;
pub mod list;
pub mod multipart;
pub mod parts;
pub mod pass;
pub mod post;
pub mod put;
pub mod read;
pub mod sealing;
pub mod store_upload;
pub mod stored_object;
pub mod tagging;

use http::{HeaderMap, HeaderName, HeaderValue};
use sceau_s3wire::op::Operation;
use sceau_s3wire::payload::BodyRole;

use crate::app::Gateway;
use crate::auth::RequestBody;
use crate::authorize::Authorized;
use crate::error::Result;
use crate::plan::request::RequestPlan;
use crate::respond::Answer;

/// What the headers of a request say about its body.
fn role(operation: Operation) -> BodyRole {
    match operation {
        Operation::PutObject
        | Operation::PostObject
        | Operation::PutObjectTagging
        | Operation::UploadPart
        | Operation::DeleteObjects
        | Operation::CreateBucket => BodyRole::Described,
        Operation::CompleteMultipartUpload => BodyRole::Document,
        Operation::Document(document) if document.row().method == "PUT" => BodyRole::Described,
        Operation::Document(_) => BodyRole::Absent,
        Operation::ListBuckets
        | Operation::HeadBucket
        | Operation::DeleteBucket
        | Operation::GetBucketLocation
        | Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::ListObjectVersions
        | Operation::ListMultipartUploads
        | Operation::GetObject
        | Operation::HeadObject
        | Operation::GetObjectAttributes
        | Operation::GetObjectTagging
        | Operation::DeleteObjectTagging
        | Operation::CopyObject
        | Operation::DeleteObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPartCopy
        | Operation::AbortMultipartUpload
        | Operation::ListParts => BodyRole::Absent,
    }
}

/// Carries out `plan`. Each operation is in a box of its own: a request is moved about several times before it
/// waits, and would be so with room for the largest of them.
pub async fn execute(
    gateway: &Gateway,
    request: &Authorized,
    plan: RequestPlan,
    body: &mut RequestBody,
) -> Result<Answer> {
    let role = role(request.operation);
    if role == BodyRole::Absent {
        // A body that the operation does not have must still be the one that was signed: empty.
        let empty = body.take(&request.authenticated, role)?;
        empty.collect(gateway, 0).await?;
    }
    match plan {
        RequestPlan::Attributes(plan) => Box::pin(attributes::get(gateway, &plan)).await,
        RequestPlan::AbortUpload(upload) => Box::pin(multipart::abort(gateway, &upload)).await,
        RequestPlan::BucketLocation => Box::pin(bucket::location(gateway, request)).await,
        RequestPlan::CompleteUpload {
            upload,
            store_headers,
        } => {
            let document = body.take(&request.authenticated, role)?;
            Box::pin(multipart::complete(
                gateway,
                request,
                upload,
                store_headers,
                document,
            ))
            .await
        }
        RequestPlan::Copy(plan) => Box::pin(copy::copy(gateway, request, *plan)).await,
        RequestPlan::CreateBucket { store_headers } => {
            Box::pin(bucket::create(
                gateway,
                request,
                store_headers,
                body.take(&request.authenticated, role)?,
            ))
            .await
        }
        RequestPlan::CreateUpload(plan) => Box::pin(multipart::create(gateway, request, *plan)).await,
        RequestPlan::Delete {
            name,
            version,
            store_headers,
        } => Box::pin(delete::one(gateway, name, version, store_headers)).await,
        RequestPlan::DeleteBucket => Box::pin(bucket::delete(gateway, request)).await,
        RequestPlan::DeleteMany { store_headers } => {
            Box::pin(delete::many(
                gateway,
                request,
                store_headers,
                body.take(&request.authenticated, role)?,
            ))
            .await
        }
        RequestPlan::Document {
            document,
            store_headers,
        } => {
            // An absent body was taken above.
            let sent = match role {
                BodyRole::Absent => None,
                BodyRole::Described | BodyRole::Document => Some(body.take(&request.authenticated, role)?),
            };
            Box::pin(pass::document(gateway, request, document, store_headers, sent)).await
        }
        RequestPlan::DeleteTags(plan) => Box::pin(tagging::delete(gateway, &plan)).await,
        RequestPlan::GetTags(plan) => Box::pin(tagging::get(gateway, &plan)).await,
        RequestPlan::HeadBucket => Box::pin(bucket::head(gateway, request)).await,
        RequestPlan::HeadObject(plan) => Box::pin(read::head(gateway, &plan)).await,
        RequestPlan::ListBuckets => Box::pin(list::buckets(gateway, request)).await,
        RequestPlan::ListObjects => Box::pin(list::objects(gateway, request)).await,
        RequestPlan::ListParts {
            upload,
            after,
            parts_max,
        } => Box::pin(parts::list(gateway, &upload, after, parts_max)).await,
        RequestPlan::ListUploads => Box::pin(list::uploads(gateway, request)).await,
        RequestPlan::Post(plan) => {
            Box::pin(post::post(
                gateway,
                request,
                *plan,
                body.take(&request.authenticated, role)?,
            ))
            .await
        }
        RequestPlan::Put(plan) => {
            Box::pin(put::put(gateway, *plan, body.take(&request.authenticated, role)?)).await
        }
        RequestPlan::PutTags(plan) => {
            Box::pin(tagging::put(
                gateway,
                &plan,
                body.take(&request.authenticated, role)?,
            ))
            .await
        }
        RequestPlan::Read(plan) => Box::pin(read::get(gateway, &plan)).await,
        RequestPlan::UploadPart {
            upload,
            part,
            customer,
        } => {
            let body = body.take(&request.authenticated, role)?;
            Box::pin(parts::upload(gateway, upload, part, customer.as_ref(), body)).await
        }
        RequestPlan::UploadPartCopy {
            upload,
            part,
            source,
            range,
            source_conditions,
            customers,
        } => {
            let copy = parts::PartCopy {
                source,
                range,
                conditions: source_conditions,
                customers,
            };
            Box::pin(parts::copy(gateway, upload, part, copy)).await
        }
    }
}

/// The ETag that clients see for a store's ETag header.
pub fn etag_to_client(store: &HeaderValue) -> Option<HeaderValue> {
    let text = store.to_str().ok()?;
    HeaderValue::from_str(&sceau_s3wire::etag::to_client(text)).ok()
}

/// Inserts a header whose value is known to be text; anything else is left out.
pub fn insert_text(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
