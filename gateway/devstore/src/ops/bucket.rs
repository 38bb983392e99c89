//! Buckets: create, list, find, delete.
//!
//! What lives here: the operations whose target is a bucket itself. What must not: its objects.
//! Invariant: deleting a bucket never deletes an object.

use std::sync::Arc;

use http::StatusCode;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::write::XmlWriter;

use super::iso8601;
use crate::REGION;
use crate::request::Head;
use crate::response::{Answer, document, empty, set};
use crate::state::State;

pub(super) fn list(state: &State) -> Result<Answer, ErrorCode> {
    let mut xml = XmlWriter::document();
    xml.open_root("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.element("ID", "dev");
    xml.close("Owner");
    xml.open("Buckets");
    for (name, bucket) in state.read().iter() {
        xml.open("Bucket");
        xml.element("Name", name);
        xml.element("CreationDate", &iso8601(bucket.created_ms));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.close("ListAllMyBucketsResult");
    Ok(document(xml.finish()))
}

pub(super) async fn create(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let name = head.bucket.clone();
    state.change(move |state| state.create_bucket(&name)).await?;
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "location", &format!("/{}", head.bucket))?;
    Ok(answer)
}

pub(super) fn head(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    known(state, head)?;
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "x-amz-bucket-region", REGION)?;
    Ok(answer)
}

pub(super) async fn delete(state: &Arc<State>, head: &Head) -> Result<Answer, ErrorCode> {
    let name = head.bucket.clone();
    state.change(move |state| state.delete_bucket(&name)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `us-east-1` is written as no location at all.
pub(super) fn location(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    known(state, head)?;
    let mut xml = XmlWriter::document();
    xml.open_root("LocationConstraint");
    xml.close("LocationConstraint");
    Ok(document(xml.finish()))
}

/// Versions are not kept, which is written as no status at all.
pub(super) fn versioning(state: &State, head: &Head) -> Result<Answer, ErrorCode> {
    known(state, head)?;
    let mut xml = XmlWriter::document();
    xml.open_root("VersioningConfiguration");
    xml.close("VersioningConfiguration");
    Ok(document(xml.finish()))
}

fn known(state: &State, head: &Head) -> Result<(), ErrorCode> {
    if state.read().contains_key(&head.bucket) {
        Ok(())
    } else {
        Err(ErrorCode::NoSuchBucket)
    }
}
