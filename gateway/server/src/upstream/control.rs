//! The control bucket: small objects in which the gateway keeps its own state.
//!
//! What lives here: get, conditional put, delete, creation. What must not: what the objects mean.
//! Invariant: a conditional put never overwrites something the caller has not seen, on stores that
//! honour conditions; see [`ControlBucket::put`] for the others.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::error::StoreError;
use super::fault::{UpstreamFault, classify_error};
use super::request::{StoreBody, StoreRequest};
use super::store::Store;

/// Largest control object, in bytes.
const CONTROL_BYTES_MAX: usize = 16 << 20;
/// The region whose buckets are created without naming it.
const DEFAULT_REGION: &str = "us-east-1";

/// The bucket in which the gateway keeps its own state.
#[derive(Clone)]
pub struct ControlBucket {
    store: Store,
    bucket: String,
}

/// What must hold for a put to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: last writer wins.
    None,
    /// There is no object with this key.
    IfAbsent,
    /// The object is the one with this entity tag, as [`ControlBucket::get`] gave it.
    IfMatch(String),
}

/// What became of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is written.
    Written {
        /// Its entity tag.
        etag: String,
    },
    /// The condition did not hold, or another write to the key was under way.
    Conflict,
}

impl ControlBucket {
    /// The control bucket called `bucket`; nothing is sent yet.
    pub fn new(store: Store, bucket: impl Into<String>) -> Self {
        Self {
            store,
            bucket: bucket.into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.bucket
    }

    /// Reads an object of at most 16 MiB and its entity tag; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for any other answer than the object or its absence.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, String)>, StoreError> {
        let (head, body) = self.exchange(self.request(Method::GET).key(key)).await?;
        if head.status.is_success() {
            return Ok(Some((body, etag(&head.headers)?)));
        }
        // A missing bucket is a misconfiguration, not an empty one.
        if head.status == StatusCode::NOT_FOUND && !is_missing_bucket(&body) {
            return Ok(None);
        }
        Err(refused(&head, &body))
    }

    /// Writes an object of at most 16 MiB.
    ///
    /// On a store without conditional writes (see [`super::Capabilities`]) the condition is checked
    /// by reading first. Two writers that read at the same time can then both succeed and the later
    /// one wins: such a store is safe only with a single writer.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for any answer but success or conflict. After
    /// [`StoreError::Reset`] and [`StoreError::Timeout`] the object may or may not be written: read
    /// it before trying again.
    pub async fn put(&self, key: &str, value: Bytes, condition: Condition) -> Result<PutOutcome, StoreError> {
        if value.len() > CONTROL_BYTES_MAX {
            return Err(StoreError::TooLarge {
                limit_bytes: CONTROL_BYTES_MAX,
            });
        }
        let native = self.store.capabilities().conditional_writes;
        if !native && !self.holds(key, &condition).await? {
            return Ok(PutOutcome::Conflict);
        }
        let mut request = self
            .request(Method::PUT)
            .key(key)
            .body(StoreBody::Bytes(value))
            .replayable();
        request
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if native {
            set_condition(&mut request.headers, &condition)?;
        }
        let (head, body) = self.exchange(request).await?;
        match head.status {
            status if status.is_success() => Ok(PutOutcome::Written {
                etag: etag(&head.headers)?,
            }),
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(PutOutcome::Conflict),
            // If-Match on an object that has gone.
            StatusCode::NOT_FOUND
                if matches!(condition, Condition::IfMatch(_)) && !is_missing_bucket(&body) =>
            {
                Ok(PutOutcome::Conflict)
            }
            status => Err(StoreError::Refused {
                status,
                fault: classify_error(status, &body),
            }),
        }
    }

    /// Deletes an object; deleting nothing is a success.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for any answer but success or absence.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (head, body) = self.exchange(self.request(Method::DELETE).key(key)).await?;
        let absent = head.status == StatusCode::NOT_FOUND && !is_missing_bucket(&body);
        if head.status.is_success() || absent {
            Ok(())
        } else {
            Err(refused(&head, &body))
        }
    }

    /// Creates the bucket unless it is there.
    ///
    /// # Errors
    /// [`StoreError::Refused`], for instance when the bucket belongs to somebody else.
    pub async fn ensure_bucket(&self) -> Result<(), StoreError> {
        let (head, body) = self.exchange(self.request(Method::HEAD)).await?;
        if head.status.is_success() {
            return Ok(());
        }
        if head.status != StatusCode::NOT_FOUND {
            return Err(refused(&head, &body));
        }
        let region = self.store.region();
        let location = (region != DEFAULT_REGION).then(|| {
            StoreBody::Bytes(Bytes::from(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )))
        });
        let request = self
            .request(Method::PUT)
            .body(location.unwrap_or(StoreBody::Empty));
        let (head, body) = self.exchange(request.replayable()).await?;
        // Another gateway may have been faster.
        let owned = UpstreamFault::ClientFault("BucketAlreadyOwnedByYou".to_owned());
        let done = head.status.is_success() || classify_error(head.status, &body) == owned;
        if done { Ok(()) } else { Err(refused(&head, &body)) }
    }

    fn request(&self, method: Method) -> StoreRequest {
        StoreRequest::new(method).bucket(self.bucket.clone())
    }

    async fn exchange(&self, request: StoreRequest) -> Result<(Parts, Bytes), StoreError> {
        self.store.send(request).await?.collect(CONTROL_BYTES_MAX).await
    }

    async fn holds(&self, key: &str, condition: &Condition) -> Result<bool, StoreError> {
        match condition {
            Condition::None => Ok(true),
            Condition::IfAbsent => Ok(self.get(key).await?.is_none()),
            Condition::IfMatch(wanted) => Ok(self.get(key).await?.is_some_and(|(_, etag)| etag == *wanted)),
        }
    }
}

fn set_condition(headers: &mut HeaderMap, condition: &Condition) -> Result<(), StoreError> {
    match condition {
        Condition::None => {}
        Condition::IfAbsent => {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Condition::IfMatch(etag) => {
            let value =
                HeaderValue::from_str(etag).map_err(|_| StoreError::Request("the entity tag is not one"))?;
            headers.insert(IF_MATCH, value);
        }
    }
    Ok(())
}

/// The entity tag as sent, quotes included, so that it can be given back unchanged.
fn etag(headers: &HeaderMap) -> Result<String, StoreError> {
    let text = headers.get(ETAG).and_then(|value| value.to_str().ok());
    text.map(str::to_owned)
        .ok_or(StoreError::Protocol("an answer without an entity tag"))
}

fn is_missing_bucket(body: &[u8]) -> bool {
    classify_error(StatusCode::NOT_FOUND, body) == UpstreamFault::NotFound("NoSuchBucket".to_owned())
}

fn refused(head: &Parts, body: &[u8]) -> StoreError {
    StoreError::Refused {
        status: head.status,
        fault: classify_error(head.status, body),
    }
}
