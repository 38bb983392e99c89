//! Browsers of other origins: preflights, and what an answer tells a page.
//!
//! What lives here: a bucket's CORS rules, fetched from the store and kept for a short time, and their use.
//! What must not: the match (`s3wire`). Invariant: rules open nothing; a request needs its own signature
//! or a rule for `anonymous` all the same. Without rules, or while they cannot be had, a page is told
//! nothing.
//!
//! Attacks considered: preflights carry no credentials, so anybody can send them. They cost the store one
//! request for each bucket and [`limits::CORS_AGE_MAX`] at most, few at once, and only for buckets that the
//! keyring knows; which those are is not told. The rules are the store's word: see SECURITY.md.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode};
use sceau_s3wire::cors::{CorsQuestion, CorsRule};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml;
use tokio::sync::Semaphore;

use crate::app::Gateway;
use crate::error::{GatewayError, Result};
use crate::limits;
use crate::respond::Answer;
use crate::upstream::StoreRequest;

/// Rules, and when they were fetched.
type Fetched = (Instant, Arc<Vec<CorsRule>>);

/// The rules of buckets asked for lately. A bucket without rules has an empty list.
pub struct CorsCache {
    entries: Mutex<HashMap<String, Fetched>>,
    fetches: Semaphore,
}

impl Default for CorsCache {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            fetches: Semaphore::new(limits::CORS_FETCHES_MAX),
        }
    }
}

impl CorsCache {
    fn find(&self, bucket: &str) -> Option<Arc<Vec<CorsRule>>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (fetched, rules) = entries.get(bucket)?;
        (fetched.elapsed() < limits::CORS_AGE_MAX).then(|| Arc::clone(rules))
    }

    fn keep(&self, bucket: &str, rules: &Arc<Vec<CorsRule>>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, (fetched, _)| fetched.elapsed() < limits::CORS_AGE_MAX);
        // Full of fresh entries: the next request fetches again.
        if entries.len() < limits::CORS_BUCKETS_MAX {
            entries.insert(bucket.to_owned(), (Instant::now(), Arc::clone(rules)));
        }
    }

    /// Forgets a bucket whose rules change.
    pub fn forget(&self, bucket: &str) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(bucket);
    }
}

/// Answers an `OPTIONS` request.
pub async fn preflight(gateway: &Gateway, bucket: Option<&str>, headers: &HeaderMap) -> Result<Answer> {
    let question = CorsQuestion::preflight(headers)
        .map_err(|missing| GatewayError::client(ErrorCode::BadRequest, missing.0))?;
    let rules = match bucket {
        Some(bucket) => rules(gateway, bucket).await,
        None => Arc::default(),
    };
    let refusal = if rules.is_empty() {
        "CORSResponse: CORS is not enabled for this bucket."
    } else {
        "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, \
         request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted \
         by the resource's CORS spec."
    };
    let allowed = question.answer(&rules, true);
    let allowed = allowed.ok_or_else(|| GatewayError::client(ErrorCode::AccessForbidden, refusal))?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = allowed;
    Ok(answer)
}

/// A request of another origin, until its answer is known.
pub struct PageRequest {
    question: CorsQuestion,
    bucket: String,
}

impl PageRequest {
    /// The page's part of a request; `None` for a request that no page sent.
    pub fn of(method: &Method, headers: &HeaderMap, bucket: Option<&str>) -> Option<Self> {
        Some(Self {
            bucket: bucket.filter(|_| method != Method::OPTIONS)?.to_owned(),
            question: CorsQuestion::of_request(method.as_str(), headers)?,
        })
    }

    /// What the answer tells the page, whether it is a success or not.
    pub async fn answer(&self, gateway: &Gateway) -> HeaderMap {
        let rules = rules(gateway, &self.bucket).await;
        self.question.answer(&rules, false).unwrap_or_default()
    }
}

async fn rules(gateway: &Gateway, bucket: &str) -> Arc<Vec<CorsRule>> {
    if gateway.keyring.is_control_bucket(bucket) || gateway.keyring.bucket(bucket).is_none() {
        return Arc::default();
    }
    if let Some(rules) = gateway.cors.find(bucket) {
        return rules;
    }
    // The wait for a turn counts too: while the store does not say, strangers would otherwise queue, each
    // with one of the gateway's places.
    let fetched = tokio::time::timeout(limits::CORS_WAIT, fetch_once(gateway, bucket)).await;
    fetched.ok().flatten().unwrap_or_default()
}

/// The bucket's rules, fetched at most once for all who wait.
async fn fetch_once(gateway: &Gateway, bucket: &str) -> Option<Arc<Vec<CorsRule>>> {
    let _turn = gateway.cors.fetches.acquire().await.ok()?;
    if let Some(rules) = gateway.cors.find(bucket) {
        return Some(rules);
    }
    let rules = Arc::new(fetch(gateway, bucket).await?);
    gateway.cors.keep(bucket, &rules);
    Some(rules)
}

/// The bucket's rules; `None` if the store does not say.
async fn fetch(gateway: &Gateway, bucket: &str) -> Option<Vec<CorsRule>> {
    let request = StoreRequest::new(Method::GET).bucket(bucket).query("cors", "");
    let response = gateway.send(request.replayable()).await.ok()?;
    let status = response.head.status;
    if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED {
        return Some(Vec::new());
    }
    let (_, document) = response.collect(limits::DOCUMENT_BYTES_MAX).await.ok()?;
    // A store that overlooks the parameter answers with a listing.
    let rules = xml::parse_cors(&document).inspect_err(|error| {
        tracing::debug!(bucket, %error, "the store's CORS rules cannot be read");
    });
    status.is_success().then(|| rules.unwrap_or_default())
}
