//! Operations that are known and refused, and names that are older or other names of known ones.
//!
//! What lives here: data, and why each operation is refused. What must not: anything the gateway
//! carries out. Invariant: these rows only choose the words of a refusal; leaving one out refuses the
//! request all the same.

use super::Selector::{Flag, Value};
use super::document::Document;
use super::{Operation, Scope, Selector};

/// An operation that is answered with 501 and its name.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Its name in the S3 interface.
    pub name: &'static str,
    /// What the path addresses.
    pub scope: Scope,
    /// The HTTP method.
    pub method: &'static str,
    /// Query parameters that tell it; further ones may be there.
    pub selectors: &'static [Selector],
    /// A header that must be there besides.
    pub header: Option<&'static str>,
}

const fn bucket(name: &'static str, method: &'static str, selectors: &'static [Selector]) -> Refused {
    row(name, Scope::Bucket, method, selectors)
}

const fn object(name: &'static str, method: &'static str, selectors: &'static [Selector]) -> Refused {
    row(name, Scope::Object, method, selectors)
}

const fn row(
    name: &'static str,
    scope: Scope,
    method: &'static str,
    selectors: &'static [Selector],
) -> Refused {
    Refused {
        name,
        scope,
        method,
        selectors,
        header: None,
    }
}

/// The refused operations.
pub const REFUSED: &[Refused] = &[
    // Annotations are free text of the application: the store would keep it in clear.
    object(
        "GetObjectAnnotation",
        "GET",
        &[Flag("annotation"), Value("annotationName")],
    ),
    object("ListObjectAnnotations", "GET", &[Flag("annotation")]),
    object("PutObjectAnnotation", "PUT", &[Flag("annotation")]),
    object("DeleteObjectAnnotation", "DELETE", &[Flag("annotation")]),
    // The store would search, serve or be given the bytes of an object; it has sealed ones.
    object("SelectObjectContent", "POST", &[Flag("select")]),
    object("GetObjectTorrent", "GET", &[Flag("torrent")]),
    Refused {
        header: Some("x-amz-request-route"),
        ..bucket("WriteGetObjectResponse", "POST", &[])
    },
    // A restore may carry a query over the object and a place for its result.
    object("RestoreObject", "POST", &[Flag("restore")]),
    // No question shows whether a store knows it; one that does not would replace the object.
    object("UpdateObjectEncryption", "PUT", &[Flag("encryption")]),
    // The seal is bound to the name.
    object("RenameObject", "PUT", &[Flag("renameObject")]),
    // Directory buckets sign with credentials of the store's own.
    bucket("CreateSession", "GET", &[Flag("session")]),
    row(
        "ListDirectoryBuckets",
        Scope::Service,
        "GET",
        &[Value("max-directory-buckets")],
    ),
    // Tables that the store keeps of objects: they hold stored sizes and sealed headers, and later
    // annotations.
    bucket(
        "CreateBucketMetadataConfiguration",
        "POST",
        &[Flag("metadataConfiguration")],
    ),
    bucket(
        "GetBucketMetadataConfiguration",
        "GET",
        &[Flag("metadataConfiguration")],
    ),
    bucket(
        "DeleteBucketMetadataConfiguration",
        "DELETE",
        &[Flag("metadataConfiguration")],
    ),
    bucket(
        "CreateBucketMetadataTableConfiguration",
        "POST",
        &[Flag("metadataTable")],
    ),
    bucket(
        "GetBucketMetadataTableConfiguration",
        "GET",
        &[Flag("metadataTable")],
    ),
    bucket(
        "DeleteBucketMetadataTableConfiguration",
        "DELETE",
        &[Flag("metadataTable")],
    ),
    bucket(
        "UpdateBucketMetadataAnnotationTableConfiguration",
        "PUT",
        &[Flag("metadataAnnotationTable")],
    ),
    bucket(
        "UpdateBucketMetadataInventoryTableConfiguration",
        "PUT",
        &[Flag("metadataInventoryTable")],
    ),
    bucket(
        "UpdateBucketMetadataJournalTableConfiguration",
        "PUT",
        &[Flag("metadataJournalTable")],
    ),
];

/// Older names of the interface for requests of the same form.
pub const ALIASES: &[(&str, Operation)] = &[
    (
        "GetBucketLifecycle",
        Operation::Document(Document::GetBucketLifecycleConfiguration),
    ),
    (
        "PutBucketLifecycle",
        Operation::Document(Document::PutBucketLifecycleConfiguration),
    ),
    (
        "GetBucketNotification",
        Operation::Document(Document::GetBucketNotificationConfiguration),
    ),
    (
        "PutBucketNotification",
        Operation::Document(Document::PutBucketNotificationConfiguration),
    ),
];
