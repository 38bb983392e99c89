//! The allow-list of S3 operations.
//!
//! What lives here: one row per operation the gateway answers, with everything that routing and
//! authorisation need to know about it. What must not: how an operation is carried out.
//! Invariant: an operation without a row does not exist; adding one is adding a row.

mod document;
mod refused;
mod table;

pub use document::Document;
pub use refused::{ALIASES, REFUSED, Refused};

/// What the gateway does with the bytes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Object bytes or sealed metadata pass through the envelope.
    Transform,
    /// Forwarded under the gateway's own signature; nothing in the body changes.
    Pass,
    /// Forwarded, with edits to the XML of the request or of the answer.
    PassRewrite,
    /// Known, and answered with 501.
    Refuse,
}

/// What the request path addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/`
    Service,
    /// `/bucket`
    Bucket,
    /// `/bucket/key`
    Object,
}

/// What an operation does, in the words of an access policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads the bytes or the metadata of one object.
    Read,
    /// Creates or replaces one object, or works on its upload.
    Write,
    /// Deletes one object.
    Delete,
    /// Lists names under a prefix.
    List,
    /// Creates a bucket.
    CreateBucket,
    /// Deletes a bucket.
    DeleteBucket,
    /// Changes or removes a document about a bucket or an object: lifecycle, ACL, retention and so on.
    Configure,
    /// Reads such a document.
    ReadConfiguration,
    /// Learns that a bucket exists. Comes with any right in that bucket.
    SeeBucket,
}

/// Where the names stand that an operation must be authorised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The service: each bucket of the answer is judged by itself.
    EachBucket,
    /// The bucket of the path.
    Bucket,
    /// The key of the path.
    Key,
    /// The key of the path and, for reading, the source named by `x-amz-copy-source`.
    KeyAndSource,
    /// The query parameter `prefix`; absent means the whole bucket.
    Prefix,
    /// Each key in the XML body.
    KeysInBody,
}

/// A query parameter that decides the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The parameter is there without a value (`?uploads` or `?uploads=`).
    Flag(&'static str),
    /// The parameter is there with a value that is not empty.
    Value(&'static str),
    /// The parameter is there with exactly this value.
    Equals(&'static str, &'static str),
}

impl Selector {
    /// The parameter's name.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Flag(key) | Self::Value(key) | Self::Equals(key, _) => key,
        }
    }

    /// Whether `value` is one that this selector wants.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Flag(_) => value.is_empty(),
            Self::Value(_) => !value.is_empty(),
            Self::Equals(_, wanted) => value == wanted,
        }
    }
}

/// One row of the allow-list.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The operation.
    pub operation: Operation,
    /// Its name in the S3 interface.
    pub name: &'static str,
    /// What is done with its bytes.
    pub class: Class,
    /// What the path must address.
    pub scope: Scope,
    /// The HTTP method.
    pub method: &'static str,
    /// Query parameters that must be there.
    pub selectors: &'static [Selector],
    /// Query parameters that may be there besides the selectors.
    pub allowed: &'static [&'static str],
    /// Whether `x-amz-copy-source` must be there; when not, it must be absent.
    pub copy_source: bool,
    /// What a policy calls it.
    pub action: Action,
    /// What the policy is asked about.
    pub subject: Subject,
}

macro_rules! operations {
    ($( $(#[doc = $doc:literal])+ $name:ident, )+) => {
        /// An operation of the S3 interface that the gateway answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $( $(#[doc = $doc])+ $name, )+
            /// Sets, reads or removes a document that the store keeps about a bucket or an object.
            Document(Document),
        }

        impl Operation {
            /// Every operation but those on documents, in declaration order.
            const OWN: &'static [Self] = &[$( Self::$name, )+];

            /// The operation's row.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $( Self::$name => &table::$name, )+
                    Self::Document(document) => document.row(),
                }
            }
        }
    };
}

operations! {
    /// Lists the buckets the caller may see.
    ListBuckets,
    /// Creates a bucket.
    CreateBucket,
    /// Asks whether a bucket exists.
    HeadBucket,
    /// Deletes an empty bucket.
    DeleteBucket,
    /// Asks in which region a bucket is.
    GetBucketLocation,
    /// Lists objects, first version of the interface.
    ListObjects,
    /// Lists objects, second version of the interface.
    ListObjectsV2,
    /// Lists the versions of objects.
    ListObjectVersions,
    /// Lists uploads in progress.
    ListMultipartUploads,
    /// Deletes up to 1000 objects.
    DeleteObjects,
    /// Reads an object.
    GetObject,
    /// Reads an object's metadata.
    HeadObject,
    /// Reads an object's size, checksum and parts.
    GetObjectAttributes,
    /// Reads an object's tags.
    GetObjectTagging,
    /// Replaces an object's tags.
    PutObjectTagging,
    /// Removes an object's tags.
    DeleteObjectTagging,
    /// Writes an object.
    PutObject,
    /// Writes an object from a browser's form, which also names it.
    PostObject,
    /// Writes an object from another object.
    CopyObject,
    /// Deletes an object.
    DeleteObject,
    /// Starts an upload in parts.
    CreateMultipartUpload,
    /// Writes one part.
    UploadPart,
    /// Writes one part from another object.
    UploadPartCopy,
    /// Turns parts into an object.
    CompleteMultipartUpload,
    /// Gives up an upload.
    AbortMultipartUpload,
    /// Lists the parts of an upload.
    ListParts,
}

/// The class of the S3 operation of this name; `None` when the interface has no such operation.
#[must_use]
pub fn class_of(name: &str) -> Option<Class> {
    let row = Operation::all().find(|operation| operation.name() == name);
    let alias = || {
        ALIASES
            .iter()
            .find(|(alias, _)| *alias == name)
            .map(|(_, known)| *known)
    };
    let refused = || {
        REFUSED
            .iter()
            .any(|refused| refused.name == name)
            .then_some(Class::Refuse)
    };
    row.or_else(alias).map(Operation::class).or_else(refused)
}

impl Operation {
    /// Every operation that is answered.
    pub fn all() -> impl Iterator<Item = Self> {
        let documents = Document::ALL.iter().copied().map(Self::Document);
        Self::OWN.iter().copied().chain(documents)
    }

    /// The operation's name in the S3 interface, for logs and audit records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What is done with its bytes.
    #[must_use]
    pub const fn class(self) -> Class {
        self.row().class
    }

    /// What a policy calls it.
    #[must_use]
    pub const fn action(self) -> Action {
        self.row().action
    }

    /// What the policy is asked about.
    #[must_use]
    pub const fn subject(self) -> Subject {
        self.row().subject
    }
}
