//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging, and the tags of writes and copies.
//!
//! What lives here: tags between requests and the index. What must not: the rules for tags, which are
//! those of `sceau-s3wire`. Invariant: changing tags changes neither entity tag nor time of an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::tagging::{TagError, TagSet};
use sceau_s3wire::xml::{parse_tagging, write_tagging};

use super::find;
use crate::request::{Head, RequestBody};
use crate::response::{Answer, document, empty};
use crate::state::State;

pub(super) fn get(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    refuse_versions(head)?;
    let object = find(state, &head.bucket, &head.key)?;
    let tags: Vec<_> = object.attributes.tags.into_iter().collect();
    Ok(document(write_tagging(&tags)))
}

pub(super) async fn put(state: &Arc<State>, head: &Head, body: RequestBody) -> Result<Answer, ErrorCode> {
    refuse_versions(head)?;
    let document = body.document(head).await?;
    set(state, head, by_key(parse_tagging(&document))?).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn delete(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    refuse_versions(head)?;
    set(state, head, BTreeMap::new()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The tags that the headers of a write set.
pub(super) fn of_write(head: &Head) -> Result<BTreeMap<String, String>, ErrorCode> {
    let encoded = head.headers.get("x-amz-tagging").map(|value| value.as_bytes());
    by_key(TagSet::from_encoded(encoded.unwrap_or_default()))
}

/// The tags of a copy.
pub(super) fn of_copy(
    head: &Head,
    source: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ErrorCode> {
    match head.header("x-amz-tagging-directive") {
        None | Some("COPY") => Ok(source.clone()),
        Some("REPLACE") => of_write(head),
        Some(_) => Err(ErrorCode::InvalidArgument),
    }
}

async fn set(state: &Arc<State>, head: &Head, tags: BTreeMap<String, String>) -> Result<(), ErrorCode> {
    let (bucket, key) = (head.bucket.clone(), head.key.clone());
    state
        .change(move |state| state.set_tags(&bucket, &key, tags))
        .await
}

fn by_key(set: Result<TagSet, TagError>) -> Result<BTreeMap<String, String>, ErrorCode> {
    let set = set.map_err(TagError::code)?;
    Ok(set.pairs().iter().cloned().collect())
}

/// Versions are not kept: another than the current one must not be answered for by it.
fn refuse_versions(head: &Head) -> Result<(), ErrorCode> {
    if head.query.contains("versionId") {
        Err(ErrorCode::NotImplemented)
    } else {
        Ok(())
    }
}
