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
use crate::execute::etag_to_client;
use crate::execute::read::whole_checksum;
use crate::execute::sealing::SealedBucket;
use crate::execute::stored_object::{self, ObjectQuery, Reader, StoredObject};
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
    let object = stored_object::describe(gateway, &query).await?;
    let mut answer = Answer::xml(attributes(&object, plan).to_xml());
    for name in PASSED {
        if let Some(value) = object.store_headers.get(*name) {
            answer.headers.insert(*name, value.clone());
        }
    }
    Ok(answer)
}

fn attributes(object: &StoredObject, plan: &AttributesPlan) -> ObjectAttributes {
    let mut found = ObjectAttributes::default();
    for attribute in &plan.wanted {
        match attribute {
            Attribute::Etag => found.etag = client_etag(&object.store_headers),
            Attribute::Checksum => {
                let whole = whole_checksum(object);
                found.checksum = whole.map(|whole| (whole.value(), whole.kind()));
            }
            Attribute::ObjectParts => {
                let learnt = object.manifest.as_ref();
                found.parts = learnt.and_then(|learnt| plan.page(learnt.manifest.layout()));
            }
            Attribute::StorageClass => {
                let class = object.store_headers.get("x-amz-storage-class");
                let class = class.and_then(|class| class.to_str().ok());
                found.storage_class = Some(class.unwrap_or(DEFAULT_STORAGE_CLASS).to_owned());
            }
            Attribute::ObjectSize => found.size = Some(object.plain_len),
        }
    }
    found
}

fn client_etag(store: &HeaderMap) -> Option<String> {
    let etag = store.get(header::ETAG).and_then(etag_to_client)?;
    etag.to_str().ok().map(|etag| etag::opaque(etag).to_owned())
}
