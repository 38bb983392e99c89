//! Whether a store keeps objects whose names end in a slash.
//!
//! What lives here: the trial, with an object that is thrown away. What must not: what follows from it.
//! Invariant: a store counts as keeping them only if content and metadata of the trial's object came back,
//! and nothing of a client's is touched.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method};

use super::control::ControlBucket;
use super::error::StoreError;
use super::request::{StoreBody, StoreRequest};
use super::store::Store;
use super::{UpstreamFault, classify_error};

/// Where the trial's object lies in the control bucket; what is behind it is drawn.
const TRIAL_PREFIX: &str = "check/folder-";
/// The metadata that must come back.
const TRIAL_METADATA: &str = "x-amz-meta-sceau-check";
/// The content that must come back. Short: SeaweedFS makes a folder of up to 1024 bytes, which can be
/// deleted, and stores more of them under another name, which would stay.
const TRIAL_CONTENT: &[u8] = b"written by sceau to learn whether this store keeps such objects";
/// Largest answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Writes an object whose name ends in a slash into the control bucket, looks for it, and deletes it.
/// Some stores refuse it, or make a folder of it and drop content and metadata, with success (SeaweedFS).
///
/// # Errors
/// [`StoreError::Refused`] when the store refuses the trial, and any failure to reach it.
pub async fn keeps_folder_objects(store: &Store, control: &ControlBucket) -> Result<bool, StoreError> {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).map_err(|_| StoreError::Request("no randomness for a name"))?;
    let key = format!("{TRIAL_PREFIX}{}/", data_encoding::HEXLOWER.encode(&drawn));
    let request = |method| StoreRequest::new(method).bucket(control.name()).key(key.clone());
    let mut put = request(Method::PUT)
        .body(StoreBody::Bytes(Bytes::from_static(TRIAL_CONTENT)))
        .replayable();
    let value = HeaderValue::from_static("1");
    put.headers.insert(TRIAL_METADATA, value.clone());
    let (head, body) = store.send(put).await?.collect(ANSWER_BYTES_MAX).await?;
    if !head.status.is_success() {
        let fault = classify_error(head.status, &body);
        // JuiceFS says so: such a name is a folder's, which has no content.
        let is_refused = matches!(fault, UpstreamFault::ClientFault(_));
        let error = StoreError::Refused {
            status: head.status,
            fault,
        };
        return if is_refused { Ok(false) } else { Err(error) };
    }
    let found = store.send(request(Method::HEAD)).await;
    // Also where it cannot be asked for: nothing is to be left behind.
    control.delete(&key).await?;
    let (head, body) = found?.collect(ANSWER_BYTES_MAX).await?;
    if head.status.is_success() {
        let length = HeaderValue::from(TRIAL_CONTENT.len());
        return Ok(head.headers.get(TRIAL_METADATA) == Some(&value)
            && head.headers.get(CONTENT_LENGTH) == Some(&length));
    }
    let fault = classify_error(head.status, &body);
    let is_gone = matches!(fault, UpstreamFault::NotFound(_));
    let error = StoreError::Refused {
        status: head.status,
        fault,
    };
    if is_gone { Ok(false) } else { Err(error) }
}
