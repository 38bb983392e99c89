//! What to do with a request, before the store is asked.
//!
//! What lives here: [`RequestPlan`], one arm per operation, with everything that can be read from the
//! request's head. What must not: waiting, bodies, keys. Invariant: planning refuses what the gateway
//! would otherwise drop silently: an unknown header, a condition that a store lacks, a part number
//! that the format keeps for itself.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sceau_envelope::Metadata;
use sceau_envelope::secrets::PartNumber;
use sceau_s3wire::copy_source::{self, CopySource};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::headers;
use sceau_s3wire::op::{Document, Operation};
use sceau_s3wire::range::{self, RangeSpec};
use sceau_s3wire::router;
use sceau_s3wire::tagging::TagSet;
use sceau_s3wire::target::QueryPair;
use sceau_s3wire::{bucket_name, conditional};

use crate::error::{GatewayError, Result};
use crate::plan::attributes::{self, AttributesPlan};
use crate::plan::customer_key::CustomerKey;
use crate::plan::sse::{self, SsePlan, Surroundings};
use crate::plan::{metadata, tagging};

/// The head of a request, as far as planning needs it.
pub struct Head<'a> {
    /// Bucket of the path.
    pub bucket: Option<&'a str>,
    /// Key of the path.
    pub key: Option<&'a str>,
    /// Decoded query.
    pub query: &'a [QueryPair],
    /// Headers.
    pub headers: &'a HeaderMap,
    /// What decides about encryption headers.
    pub around: Surroundings<'a>,
}

/// What the store can do.
#[derive(Debug, Clone, Copy)]
pub struct StoreAbilities {
    /// Whether it honours conditions on writes.
    pub conditional_writes: bool,
    /// Whether it keeps tags of objects.
    pub object_tags: bool,
}

/// An object's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
}

/// A read of an object.
#[derive(Debug)]
pub struct ReadPlan {
    /// The object.
    pub name: ObjectName,
    /// The version asked for; `None` for the current one.
    pub version: Option<String>,
    /// The range asked for; ignored ranges are `None`.
    pub range: Option<RangeSpec>,
    /// The part asked for, instead of a range.
    pub part: Option<u16>,
    /// Conditions in the store's form.
    pub conditions: HeaderMap,
    /// Headers of the answer that the client overrides.
    pub overrides: HeaderMap,
    /// Whether the client wants the stored checksum.
    pub wants_checksum: bool,
    /// The customer's own key, if it was shown.
    pub customer: Option<CustomerKey>,
}

/// A write of an object from the request's body.
#[derive(Debug)]
pub struct PutPlan {
    /// The object.
    pub name: ObjectName,
    /// What is sealed into the header.
    pub metadata: Metadata,
    /// The object's tags.
    pub tags: TagSet,
    /// Headers for the store: passed ones and conditions.
    pub store_headers: HeaderMap,
}

/// A copy by the store.
#[derive(Debug)]
pub struct CopyPlan {
    /// The copy.
    pub name: ObjectName,
    /// What is copied.
    pub source: CopySource,
    /// New metadata; `None` keeps the source's.
    pub metadata: Option<Metadata>,
    /// New tags; `None` keeps the source's.
    pub tags: Option<TagSet>,
    /// What the copy's encryption headers become; the source's are not kept.
    pub sse: SsePlan,
    /// The customer's own key of the source, if it was shown.
    pub source_customer: Option<CustomerKey>,
    /// Conditions on the source, as conditions of a read.
    pub source_conditions: HeaderMap,
    /// Headers for the store.
    pub store_headers: HeaderMap,
}

/// Whose tags.
#[derive(Debug)]
pub struct TagsPlan {
    /// The object.
    pub name: ObjectName,
    /// The version asked for; `None` for the current one.
    pub version: Option<String>,
    /// Headers for the store.
    pub store_headers: HeaderMap,
}

/// An upload's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRef {
    /// The object it will become.
    pub name: ObjectName,
    /// The store's upload id.
    pub upload_id: String,
}

/// What to do.
#[derive(Debug)]
pub enum RequestPlan {
    /// Tell size, checksum and parts of an object.
    Attributes(Box<AttributesPlan>),
    /// Give up an upload.
    AbortUpload(UploadRef),
    /// Tell a bucket's region.
    BucketLocation,
    /// Turn parts into an object.
    CompleteUpload {
        /// The upload.
        upload: UploadRef,
        /// Headers for the store: conditions.
        store_headers: HeaderMap,
    },
    /// Copy an object.
    Copy(Box<CopyPlan>),
    /// Create a bucket.
    CreateBucket {
        /// Headers for the store.
        store_headers: HeaderMap,
    },
    /// Start an upload.
    CreateUpload(Box<PutPlan>),
    /// Delete an object.
    Delete {
        /// The object.
        name: ObjectName,
        /// The version to destroy; `None` deletes the object, which may leave its versions.
        version: Option<String>,
        /// Headers for the store: conditions.
        store_headers: HeaderMap,
    },
    /// Delete a bucket.
    DeleteBucket,
    /// Remove an object's tags.
    DeleteTags(TagsPlan),
    /// Delete the objects named in the body.
    DeleteMany {
        /// Headers for the store.
        store_headers: HeaderMap,
    },
    /// Set, read or remove a document that the store keeps.
    Document {
        /// The operation.
        document: Document,
        /// Headers for the store.
        store_headers: HeaderMap,
    },
    /// Tell an object's tags.
    GetTags(TagsPlan),
    /// Ask for a bucket.
    HeadBucket,
    /// Read header and length of an object.
    HeadObject(Box<ReadPlan>),
    /// List buckets.
    ListBuckets,
    /// List objects, either version.
    ListObjects,
    /// List the parts of an upload.
    ListParts {
        /// The upload.
        upload: UploadRef,
        /// List parts after this number.
        after: u16,
        /// How many at most.
        parts_max: usize,
    },
    /// List uploads.
    ListUploads,
    /// Write an object from a form.
    Post(Box<PutPlan>),
    /// Write an object.
    Put(Box<PutPlan>),
    /// Replace an object's tags by those in the body.
    PutTags(TagsPlan),
    /// Read an object.
    Read(Box<ReadPlan>),
    /// Write a part.
    UploadPart {
        /// The upload.
        upload: UploadRef,
        /// The part.
        part: PartNumber,
        /// The customer's own key, if it was shown.
        customer: Option<CustomerKey>,
    },
    /// Write a part from another object.
    UploadPartCopy {
        /// The upload.
        upload: UploadRef,
        /// The part.
        part: PartNumber,
        /// What is copied.
        source: CopySource,
        /// First and last byte, if not all.
        range: Option<(u64, u64)>,
        /// Conditions on the source, as conditions of a read.
        source_conditions: HeaderMap,
        /// The customer's own keys of the upload and of the source, where they were shown.
        customers: [Option<CustomerKey>; 2],
    },
}

/// Most parts in one answer to ListParts.
const LISTED_PARTS_MAX: usize = 1_000;

/// Plans a request. `operation` is what the router made of it.
pub fn plan(operation: Operation, head: &Head<'_>, store: StoreAbilities) -> Result<RequestPlan> {
    headers::check_request(head.headers).map_err(|error| {
        GatewayError::client(
            error.code,
            format!("The header {} is not supported here.", error.name),
        )
    })?;
    tagging::check_operation(operation, head.headers)?;
    Ok(match operation {
        Operation::ListBuckets => RequestPlan::ListBuckets,
        Operation::CreateBucket => {
            let name = head.bucket.unwrap_or_default();
            bucket_name::check_new(name).map_err(GatewayError::code)?;
            RequestPlan::CreateBucket {
                store_headers: headers::forwarded_headers(head.headers),
            }
        }
        Operation::HeadBucket => RequestPlan::HeadBucket,
        Operation::DeleteBucket => RequestPlan::DeleteBucket,
        Operation::GetBucketLocation => RequestPlan::BucketLocation,
        Operation::ListObjects | Operation::ListObjectsV2 | Operation::ListObjectVersions => {
            RequestPlan::ListObjects
        }
        Operation::ListMultipartUploads => RequestPlan::ListUploads,
        Operation::DeleteObjects => RequestPlan::DeleteMany {
            store_headers: headers::forwarded_headers(head.headers),
        },
        Operation::GetObject => RequestPlan::Read(Box::new(read(head)?)),
        Operation::HeadObject => RequestPlan::HeadObject(Box::new(read(head)?)),
        Operation::GetObjectAttributes => RequestPlan::Attributes(Box::new(AttributesPlan::from_headers(
            name(head)?,
            version(head)?,
            head.headers,
            customer(head)?,
        )?)),
        Operation::GetObjectTagging => RequestPlan::GetTags(tags(head, store)?),
        Operation::PutObjectTagging => RequestPlan::PutTags(tags(head, store)?),
        Operation::DeleteObjectTagging => RequestPlan::DeleteTags(tags(head, store)?),
        Operation::PutObject => RequestPlan::Put(Box::new(put(head, store)?)),
        // The form's fields stand in the place of headers by now.
        Operation::PostObject => RequestPlan::Post(Box::new(put(head, store)?)),
        Operation::CopyObject => RequestPlan::Copy(Box::new(copy(head, store)?)),
        Operation::DeleteObject => RequestPlan::Delete {
            name: name(head)?,
            version: version(head)?,
            store_headers: write_headers(head, store)?,
        },
        Operation::CreateMultipartUpload => RequestPlan::CreateUpload(Box::new(create_upload(head, store)?)),
        Operation::UploadPart => RequestPlan::UploadPart {
            upload: upload(head)?,
            part: part(head)?,
            customer: customer(head)?,
        },
        Operation::UploadPartCopy => upload_part_copy(head)?,
        Operation::CompleteMultipartUpload => RequestPlan::CompleteUpload {
            upload: upload(head)?,
            store_headers: write_headers(head, store)?,
        },
        Operation::AbortMultipartUpload => RequestPlan::AbortUpload(upload(head)?),
        Operation::ListParts => list_parts(head)?,
        Operation::Document(document) => RequestPlan::Document {
            document,
            store_headers: headers::forwarded_headers(head.headers),
        },
    })
}

fn name(head: &Head<'_>) -> Result<ObjectName> {
    match (head.bucket, head.key) {
        (Some(bucket), Some(key)) => Ok(ObjectName {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }),
        _ => Err(GatewayError::code(ErrorCode::InvalidRequest)),
    }
}

fn query<'a>(head: &Head<'a>, name: &str) -> Option<&'a str> {
    head.query
        .iter()
        .find(|pair| pair.name == name)
        .map(|pair| pair.value.as_str())
}

/// The parameter `versionId`. Like S3, an empty one is an error, and not the current version.
fn version(head: &Head<'_>) -> Result<Option<String>> {
    match query(head, "versionId") {
        Some("") => Err(GatewayError::client(
            ErrorCode::InvalidArgument,
            "Version id cannot be the empty string",
        )),
        version => Ok(version.map(str::to_owned)),
    }
}

fn read(head: &Head<'_>) -> Result<ReadPlan> {
    let overrides = overrides(head)?;
    let conditions = conditional::for_read(head.headers).map_err(GatewayError::code)?;
    let range = head
        .headers
        .get(header::RANGE)
        .and_then(|range| range::parse(range.as_bytes()));
    let part = query(head, "partNumber")
        .map(attributes::read_part_number)
        .transpose()?;
    if part.is_some() && head.headers.contains_key(header::RANGE) {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter.",
        ));
    }
    let wants_checksum = head
        .headers
        .get("x-amz-checksum-mode")
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"));
    Ok(ReadPlan {
        name: name(head)?,
        version: version(head)?,
        range,
        part,
        conditions,
        overrides,
        wants_checksum,
        customer: customer(head)?,
    })
}

/// The `response-*` parameters, as headers of the answer.
fn overrides(head: &Head<'_>) -> Result<HeaderMap> {
    let mut overrides = HeaderMap::new();
    for pair in head.query {
        let Some(header) = pair.name.strip_prefix("response-") else {
            continue;
        };
        let refused = || {
            GatewayError::client(
                ErrorCode::InvalidArgument,
                "A response override has an invalid value.",
            )
        };
        let header = HeaderName::try_from(header).map_err(|_| refused())?;
        let value = HeaderValue::try_from(pair.value.as_str()).map_err(|_| refused())?;
        overrides.insert(header, value);
    }
    Ok(overrides)
}

fn put(head: &Head<'_>, store: StoreAbilities) -> Result<PutPlan> {
    let sse = SsePlan::for_write(head.headers, head.around)?;
    let mut metadata = request_metadata(head)?;
    sse.seal_into(&mut metadata);
    let mut store_headers = write_headers(head, store)?;
    store_headers.extend(sse.store_headers);
    Ok(PutPlan {
        name: name(head)?,
        metadata,
        tags: tagging::from_headers(head.headers, store)?,
        store_headers,
    })
}

fn tags(head: &Head<'_>, store: StoreAbilities) -> Result<TagsPlan> {
    tagging::check_store(store)?;
    Ok(TagsPlan {
        name: name(head)?,
        version: version(head)?,
        store_headers: headers::forwarded_headers(head.headers),
    })
}

fn customer(head: &Head<'_>) -> Result<Option<CustomerKey>> {
    CustomerKey::from_request(head.headers, head.around.is_tls)
}

fn source_customer(head: &Head<'_>) -> Result<Option<CustomerKey>> {
    CustomerKey::of_copy_source(head.headers, head.around.is_tls)
}

fn create_upload(head: &Head<'_>, store: StoreAbilities) -> Result<PutPlan> {
    let mut plan = put(head, store)?;
    if let Some(announced) = metadata::announced(head.headers)? {
        metadata::remember_announced(announced, &mut plan.metadata);
    }
    Ok(plan)
}

fn request_metadata(head: &Head<'_>) -> Result<Metadata> {
    let client = headers::metadata_from_request(head.headers)
        .map_err(|error| GatewayError::client(error.code(), error.to_string()))?;
    Ok(metadata::to_sealed(client))
}

/// Passed headers and write conditions. A store without conditions gets none, and the client an error:
/// dropping one silently would break locks and table commits that rely on it.
fn write_headers(head: &Head<'_>, store: StoreAbilities) -> Result<HeaderMap> {
    let conditions = conditional::for_write(head.headers).map_err(GatewayError::code)?;
    if !conditions.is_empty() && !store.conditional_writes {
        return Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "The store behind this gateway has no conditional writes.",
        ));
    }
    let mut forwarded = headers::forwarded_headers(head.headers);
    forwarded.extend(conditions);
    Ok(forwarded)
}

fn copy(head: &Head<'_>, store: StoreAbilities) -> Result<CopyPlan> {
    let name = name(head)?;
    let source = source(head)?;
    let replaces = match head
        .headers
        .get("x-amz-metadata-directive")
        .map(|directive| directive.as_bytes())
    {
        None | Some(b"COPY") => false,
        Some(b"REPLACE") => true,
        Some(_) => {
            return Err(GatewayError::client(
                ErrorCode::InvalidArgument,
                "Unknown metadata directive.",
            ));
        }
    };
    let changes_class = head.headers.contains_key("x-amz-storage-class");
    let is_same = source.bucket == name.bucket && source.key == name.key && source.version_id.is_none();
    if is_same && !replaces && !changes_class && !sse::is_asked(head.headers) {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let sse = SsePlan::for_write(head.headers, head.around)?;
    let mut store_headers = write_headers(head, store)?;
    store_headers.extend(sse.store_headers.clone());
    Ok(CopyPlan {
        metadata: replaces.then(|| request_metadata(head)).transpose()?,
        tags: tagging::of_copy(head.headers, store)?,
        source_conditions: conditional::copy_source_as_read(head.headers).map_err(GatewayError::code)?,
        source_customer: source_customer(head)?,
        sse,
        store_headers,
        name,
        source,
    })
}

fn source(head: &Head<'_>) -> Result<CopySource> {
    let value = head
        .headers
        .get("x-amz-copy-source")
        .ok_or_else(|| GatewayError::code(ErrorCode::InvalidRequest))?;
    copy_source::parse(value.as_bytes()).map_err(GatewayError::code)
}

fn upload(head: &Head<'_>) -> Result<UploadRef> {
    let upload_id = query(head, "uploadId").unwrap_or_default();
    if upload_id.is_empty() || upload_id.len() > crate::limits::UPLOAD_ID_BYTES_MAX {
        return Err(GatewayError::code(ErrorCode::NoSuchUpload));
    }
    Ok(UploadRef {
        name: name(head)?,
        upload_id: upload_id.to_owned(),
    })
}

fn part(head: &Head<'_>) -> Result<PartNumber> {
    let number = router::part_number(query(head, "partNumber").unwrap_or_default())
        .map_err(|error| GatewayError::client(error.code, error.message))?;
    PartNumber::upload(number).ok_or_else(|| GatewayError::code(ErrorCode::InvalidArgument))
}

fn upload_part_copy(head: &Head<'_>) -> Result<RequestPlan> {
    let range = head.headers.get("x-amz-copy-source-range");
    let range = range
        .map(|range| copy_source::parse_range(range.as_bytes()))
        .transpose();
    Ok(RequestPlan::UploadPartCopy {
        upload: upload(head)?,
        part: part(head)?,
        source: source(head)?,
        range: range.map_err(GatewayError::code)?,
        source_conditions: conditional::copy_source_as_read(head.headers).map_err(GatewayError::code)?,
        customers: [customer(head)?, source_customer(head)?],
    })
}

fn list_parts(head: &Head<'_>) -> Result<RequestPlan> {
    let number = |name, default: u64| match query(head, name) {
        None | Some("") => Ok(default),
        Some(text) => text.parse::<u64>().map_err(|_| {
            GatewayError::client(
                ErrorCode::InvalidArgument,
                format!("Provided {name} not an integer."),
            )
        }),
    };
    let after = number("part-number-marker", 0)?;
    let parts_max = number("max-parts", LISTED_PARTS_MAX as u64)?;
    Ok(RequestPlan::ListParts {
        upload: upload(head)?,
        after: u16::try_from(after).unwrap_or(u16::MAX),
        parts_max: usize::try_from(parts_max)
            .unwrap_or(LISTED_PARTS_MAX)
            .min(LISTED_PARTS_MAX),
    })
}
