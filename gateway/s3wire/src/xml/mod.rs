//! The XML documents of S3: bounded readers, writers, and rewriters that change only what must change.
//!
//! What lives here: documents as plain values. What must not: the store, keys, decisions about
//! access. Invariant: no document, however hostile, costs more than a constant times its length.

mod answer;
mod attributes;
mod buckets;
mod cors;
mod delete;
mod listing;
mod parts;
mod plain_listing;
mod read;
mod rewrite;
mod tagging;
pub mod write;

pub use answer::{CompletedUpload, CopyOutcome, InitiatedUpload, StoreAnswer, StoreError, parse_error};
pub use attributes::{AttributeParts, ObjectAttributes};
pub use buckets::{BucketEntry, BucketList, parse_bucket_configuration, parse_location, write_location};
pub use cors::{CORS_RULES_MAX, parse_cors};
pub use delete::{DELETE_KEYS_MAX, DeleteEntry, DeleteError, DeleteOutcome, DeleteRequest, DeletedEntry};
pub use listing::{ListPage, ListedObject, ListedUpload, UploadPage};
pub use parts::{
    CompletedPart, ListedPart, Owner, PARTS_MAX, PartList, parse_completed_parts, write_completed_parts,
};
pub use read::{CONTROL_DOCUMENT_BYTES_MAX, LISTING_BYTES_MAX, XmlError, mentions, root_name};
pub use rewrite::{
    ListRewrite, UNSIZED_KEYS_REPORTED_MAX, filter_buckets, rewrite_listing, rewrite_upload_listing,
};
pub use tagging::{parse_stored_tags, parse_tagging, write_tagging};
