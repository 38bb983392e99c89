//! GetObjectAttributes.
//!
//! What lives here: from a described object to the client's document. What must not: how the object is
//! described. Invariant: size, parts and checksum are the authenticated ones of the plaintext.

use http::{HeaderMap, header};
use sceau_kms::Reason;
use sceau_s3wire::etag;
use sceau_s3wire::xml::ObjectAttributes;

use crate::app::Gateway;
use crate::error::Result;
use crate::execute::read::whole_checksum;
use crate::execute::sealing::SealedBucket;
use crate::execute::stored_object::{self, ObjectQuery, Reader, StoredObject};
use crate::execute::{etag_to_client, folders};
use crate::plan::attributes::{Attribute, AttributesPlan};
use crate::respond::Answer;

/// What S3 calls the storage class that it does not name in headers.
const DEFAULT_STORAGE_CLASS: &str = "STANDARD";

/// Headers of the store's answer that this operation has.
const PASSED: &[&str] = &["last-modified", "x-amz-version-id", "x-amz-request-charged"];

/// Tells what an object is, without its bytes.
pub async fn get(gateway: &Gateway, plan: &AttributesPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let query = ObjectQuery {
        bucket: &bucket,
        key: &plan.name.key,
        version: plan.version.as_deref(),
        conditions: &HeaderMap::new(),
        reason: Reason::ClientRead,
        reader: Reader::Client(plan.customer.as_ref()),
    };
    if let Some(marker) = folders::find(gateway, &query).await? {
        let found = attributes(&marker.store_headers, None, plan);
        return Ok(told(&found, &marker.store_headers));
    }
    let object = stored_object::describe(gateway, &query).await?;
    let found = attributes(&object.store_headers, Some(&object), plan);
    Ok(told(&found, &object.store_headers))
}

fn told(found: &ObjectAttributes, store: &HeaderMap) -> Answer {
    let mut answer = Answer::xml(found.to_xml());
    for name in PASSED {
        if let Some(value) = store.get(*name) {
            answer.headers.insert(*name, value.clone());
        }
    }
    answer
}

/// Without an object, those of an empty one that has no seal.
fn attributes(store: &HeaderMap, object: Option<&StoredObject>, plan: &AttributesPlan) -> ObjectAttributes {
    let mut found = ObjectAttributes::default();
    for attribute in &plan.wanted {
        match attribute {
            Attribute::Etag => found.etag = client_etag(store),
            Attribute::Checksum => {
                let whole = object.and_then(whole_checksum);
                found.checksum = whole.map(|whole| (whole.value(), whole.kind()));
            }
            Attribute::ObjectParts => {
                let learnt = object.and_then(|object| object.manifest.as_ref());
                found.parts = learnt.and_then(|learnt| plan.page(learnt.manifest.layout()));
            }
            Attribute::StorageClass => {
                let class = store.get("x-amz-storage-class");
                let class = class.and_then(|class| class.to_str().ok());
                found.storage_class = Some(class.unwrap_or(DEFAULT_STORAGE_CLASS).to_owned());
            }
            Attribute::ObjectSize => found.size = Some(object.map_or(0, |object| object.plain_len)),
        }
    }
    found
}

fn client_etag(store: &HeaderMap) -> Option<String> {
    let etag = store.get(header::ETAG).and_then(etag_to_client)?;
    etag.to_str().ok().map(|etag| etag::opaque(etag).to_owned())
}
