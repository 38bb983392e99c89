//! PutObject.
//!
//! What lives here: one object from one body. What must not: copies and parts. Invariant: the
//! object appears after the whole body arrived and every declared digest agreed.

use std::sync::Arc;

use http::StatusCode;
use sceau_s3wire::error::ErrorCode;

use super::{attributes, quoted};
use crate::blob::Piece;
use crate::condition::WriteCondition;
use crate::request::{Head, Received, RequestBody};
use crate::response::{Answer, empty, set};
use crate::state::{NewObject, State};

pub(super) async fn object(state: &Arc<State>, head: &Head, body: RequestBody) -> Result<Answer, ErrorCode> {
    let attributes = attributes(head)?;
    let condition = WriteCondition::from_headers(&head.headers)?;
    {
        // Asked before the body, so that a refusal costs no transfer, and again when it has come.
        let index = state.read();
        let bucket = index.get(&head.bucket).ok_or(ErrorCode::NoSuchBucket)?;
        condition.check(bucket.objects.get(&head.key))?;
    }
    let received = body.receive(head, state).await?;
    let new = NewObject {
        bucket: head.bucket.clone(),
        key: head.key.clone(),
        etag: received.etag(),
        attributes,
        pieces: pieces(&received),
        condition,
    };
    let object = state.change(move |state| state.put(new)).await?;
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "etag", &quoted(&object.etag))?;
    Ok(answer)
}

/// The one piece of received bytes; an empty body has none.
pub(super) fn pieces(received: &Received) -> Vec<Piece> {
    let bytes = received.blob.bytes();
    if bytes == 0 {
        return Vec::new();
    }
    vec![Piece {
        blob: Arc::clone(&received.blob),
        offset: 0,
        bytes,
    }]
}
