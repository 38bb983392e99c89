//! The rows of the allow-list.
//!
//! What lives here: data only. What must not: code. Invariant: no two rows match the same request;
//! a test tries every pair.
#![expect(
    non_upper_case_globals,
    reason = "each row carries the name of its operation, so that a row is found by it"
)]

use super::{Action, Class, Operation, Row, Scope, Selector, Subject};

/// Query parameters of a read: headers of the answer that are overridden, part and version.
const READ_PARAMETERS: &[&str] = &[
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];

pub(super) const ListBuckets: Row = Row {
    operation: Operation::ListBuckets,
    name: "ListBuckets",
    class: Class::PassRewrite,
    scope: Scope::Service,
    method: "GET",
    selectors: &[],
    allowed: &["max-buckets", "continuation-token", "prefix", "bucket-region"],
    copy_source: false,
    action: Action::SeeBucket,
    subject: Subject::EachBucket,
};

pub(super) const CreateBucket: Row = Row {
    operation: Operation::CreateBucket,
    name: "CreateBucket",
    class: Class::Pass,
    scope: Scope::Bucket,
    method: "PUT",
    selectors: &[],
    allowed: &[],
    copy_source: false,
    action: Action::CreateBucket,
    subject: Subject::Bucket,
};

pub(super) const HeadBucket: Row = Row {
    operation: Operation::HeadBucket,
    name: "HeadBucket",
    class: Class::Pass,
    scope: Scope::Bucket,
    method: "HEAD",
    selectors: &[],
    allowed: &[],
    copy_source: false,
    action: Action::SeeBucket,
    subject: Subject::Bucket,
};

pub(super) const DeleteBucket: Row = Row {
    operation: Operation::DeleteBucket,
    name: "DeleteBucket",
    class: Class::Pass,
    scope: Scope::Bucket,
    method: "DELETE",
    selectors: &[],
    allowed: &[],
    copy_source: false,
    action: Action::DeleteBucket,
    subject: Subject::Bucket,
};

pub(super) const GetBucketLocation: Row = Row {
    operation: Operation::GetBucketLocation,
    name: "GetBucketLocation",
    class: Class::Pass,
    scope: Scope::Bucket,
    method: "GET",
    selectors: &[Selector::Flag("location")],
    allowed: &[],
    copy_source: false,
    action: Action::SeeBucket,
    subject: Subject::Bucket,
};

pub(super) const ListObjects: Row = Row {
    operation: Operation::ListObjects,
    name: "ListObjects",
    class: Class::PassRewrite,
    scope: Scope::Bucket,
    method: "GET",
    selectors: &[],
    allowed: &["delimiter", "encoding-type", "marker", "max-keys", "prefix"],
    copy_source: false,
    action: Action::List,
    subject: Subject::Prefix,
};

pub(super) const ListObjectsV2: Row = Row {
    operation: Operation::ListObjectsV2,
    name: "ListObjectsV2",
    class: Class::PassRewrite,
    scope: Scope::Bucket,
    method: "GET",
    selectors: &[Selector::Equals("list-type", "2")],
    allowed: &[
        "continuation-token",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "max-keys",
        "prefix",
        "start-after",
    ],
    copy_source: false,
    action: Action::List,
    subject: Subject::Prefix,
};

pub(super) const ListObjectVersions: Row = Row {
    operation: Operation::ListObjectVersions,
    name: "ListObjectVersions",
    class: Class::PassRewrite,
    scope: Scope::Bucket,
    method: "GET",
    selectors: &[Selector::Flag("versions")],
    allowed: &[
        "delimiter",
        "encoding-type",
        "key-marker",
        "max-keys",
        "prefix",
        "version-id-marker",
    ],
    copy_source: false,
    action: Action::List,
    subject: Subject::Prefix,
};

pub(super) const ListMultipartUploads: Row = Row {
    operation: Operation::ListMultipartUploads,
    name: "ListMultipartUploads",
    class: Class::PassRewrite,
    scope: Scope::Bucket,
    method: "GET",
    selectors: &[Selector::Flag("uploads")],
    allowed: &[
        "delimiter",
        "encoding-type",
        "key-marker",
        "max-uploads",
        "prefix",
        "upload-id-marker",
    ],
    copy_source: false,
    action: Action::List,
    subject: Subject::Prefix,
};

pub(super) const DeleteObjects: Row = Row {
    operation: Operation::DeleteObjects,
    name: "DeleteObjects",
    class: Class::PassRewrite,
    scope: Scope::Bucket,
    method: "POST",
    selectors: &[Selector::Flag("delete")],
    allowed: &[],
    copy_source: false,
    action: Action::Delete,
    subject: Subject::KeysInBody,
};

pub(super) const GetObject: Row = Row {
    operation: Operation::GetObject,
    name: "GetObject",
    class: Class::Transform,
    scope: Scope::Object,
    method: "GET",
    selectors: &[],
    allowed: READ_PARAMETERS,
    copy_source: false,
    action: Action::Read,
    subject: Subject::Key,
};

pub(super) const HeadObject: Row = Row {
    operation: Operation::HeadObject,
    name: "HeadObject",
    class: Class::Transform,
    scope: Scope::Object,
    method: "HEAD",
    selectors: &[],
    allowed: READ_PARAMETERS,
    copy_source: false,
    action: Action::Read,
    subject: Subject::Key,
};

pub(super) const GetObjectAttributes: Row = Row {
    operation: Operation::GetObjectAttributes,
    name: "GetObjectAttributes",
    class: Class::Transform,
    scope: Scope::Object,
    method: "GET",
    selectors: &[Selector::Flag("attributes")],
    allowed: &["versionId"],
    copy_source: false,
    action: Action::Read,
    subject: Subject::Key,
};

pub(super) const GetObjectTagging: Row = Row {
    operation: Operation::GetObjectTagging,
    name: "GetObjectTagging",
    class: Class::Transform,
    scope: Scope::Object,
    method: "GET",
    selectors: &[Selector::Flag("tagging")],
    allowed: &["versionId"],
    copy_source: false,
    action: Action::Read,
    subject: Subject::Key,
};

pub(super) const PutObjectTagging: Row = Row {
    operation: Operation::PutObjectTagging,
    name: "PutObjectTagging",
    class: Class::Transform,
    scope: Scope::Object,
    method: "PUT",
    selectors: &[Selector::Flag("tagging")],
    allowed: &["versionId"],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const DeleteObjectTagging: Row = Row {
    operation: Operation::DeleteObjectTagging,
    name: "DeleteObjectTagging",
    class: Class::Transform,
    scope: Scope::Object,
    method: "DELETE",
    selectors: &[Selector::Flag("tagging")],
    allowed: &["versionId"],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const PutObject: Row = Row {
    operation: Operation::PutObject,
    name: "PutObject",
    class: Class::Transform,
    scope: Scope::Object,
    method: "PUT",
    selectors: &[],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const PostObject: Row = Row {
    operation: Operation::PostObject,
    name: "PostObject",
    class: Class::Transform,
    scope: Scope::Bucket,
    method: "POST",
    selectors: &[],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const CopyObject: Row = Row {
    operation: Operation::CopyObject,
    name: "CopyObject",
    class: Class::Transform,
    scope: Scope::Object,
    method: "PUT",
    selectors: &[],
    allowed: &[],
    copy_source: true,
    action: Action::Write,
    subject: Subject::KeyAndSource,
};

pub(super) const DeleteObject: Row = Row {
    operation: Operation::DeleteObject,
    name: "DeleteObject",
    class: Class::Pass,
    scope: Scope::Object,
    method: "DELETE",
    selectors: &[],
    allowed: &["versionId"],
    copy_source: false,
    action: Action::Delete,
    subject: Subject::Key,
};

pub(super) const CreateMultipartUpload: Row = Row {
    operation: Operation::CreateMultipartUpload,
    name: "CreateMultipartUpload",
    class: Class::Transform,
    scope: Scope::Object,
    method: "POST",
    selectors: &[Selector::Flag("uploads")],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const UploadPart: Row = Row {
    operation: Operation::UploadPart,
    name: "UploadPart",
    class: Class::Transform,
    scope: Scope::Object,
    method: "PUT",
    selectors: &[Selector::Value("partNumber"), Selector::Value("uploadId")],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const UploadPartCopy: Row = Row {
    operation: Operation::UploadPartCopy,
    name: "UploadPartCopy",
    class: Class::Transform,
    scope: Scope::Object,
    method: "PUT",
    selectors: &[Selector::Value("partNumber"), Selector::Value("uploadId")],
    allowed: &[],
    copy_source: true,
    action: Action::Write,
    subject: Subject::KeyAndSource,
};

pub(super) const CompleteMultipartUpload: Row = Row {
    operation: Operation::CompleteMultipartUpload,
    name: "CompleteMultipartUpload",
    class: Class::Transform,
    scope: Scope::Object,
    method: "POST",
    selectors: &[Selector::Value("uploadId")],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const AbortMultipartUpload: Row = Row {
    operation: Operation::AbortMultipartUpload,
    name: "AbortMultipartUpload",
    class: Class::Transform,
    scope: Scope::Object,
    method: "DELETE",
    selectors: &[Selector::Value("uploadId")],
    allowed: &[],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};

pub(super) const ListParts: Row = Row {
    operation: Operation::ListParts,
    name: "ListParts",
    class: Class::Transform,
    scope: Scope::Object,
    method: "GET",
    selectors: &[Selector::Value("uploadId")],
    allowed: &["max-parts", "part-number-marker"],
    copy_source: false,
    action: Action::Write,
    subject: Subject::Key,
};
