//! PostObject.
//!
//! What lives here: the answer that a form asked for. What must not: sealing (a form's file goes the way of
//! any PutObject), the form's fields. Invariant: nothing is said about an object before it is stored.

use http::{HeaderValue, StatusCode, header};
use sceau_s3wire::post::{Reply, post_response};

use crate::app::Gateway;
use crate::auth::Upload;
use crate::authorize::Authorized;
use crate::error::{GatewayError, Kind, Result};
use crate::execute::put;
use crate::plan::request::PutPlan;
use crate::respond::{Answer, AnswerBody};

/// Writes an object from a form, and answers as the form asked.
pub async fn post(gateway: &Gateway, request: &Authorized, plan: PutPlan, upload: Upload) -> Result<Answer> {
    let sent = request.authenticated.form.as_ref();
    let sent = sent.ok_or_else(|| GatewayError::new(Kind::Internal, "a form without fields"))?;
    let (bucket, key) = (plan.name.bucket.clone(), plan.name.key.clone());
    let mut answer = put::put(gateway, plan, upload).await?;
    let etag = answer.headers.get(header::ETAG);
    let etag = etag.and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    let (mut location, document) = post_response(&sent.root, &bucket, &key, etag);
    answer.status = match sent.form.reply() {
        Reply::Ok => StatusCode::OK,
        Reply::NoContent => StatusCode::NO_CONTENT,
        Reply::Created => {
            answer
                .headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            answer.body = AnswerBody::Full(document.into());
            StatusCode::CREATED
        }
        Reply::Redirect(url) => {
            location = Reply::location(&url, &bucket, &key, etag);
            StatusCode::SEE_OTHER
        }
    };
    // Made of what is text in a header already; a host that is not is left unsaid.
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers.insert(header::LOCATION, location);
    }
    Ok(answer)
}
