//! What happens to each header of a request and of a response.
//!
//! What lives here: the classification tables and the collection of the metadata that is sealed.
//! What must not: entity tags and conditions (see [`crate::etag`], [`crate::conditional`]).
//! Invariant: a header is forwarded only because a row says so.

mod metadata;
mod request;
mod response;

pub use metadata::{
    MetadataError, SYSTEM_METADATA_BYTES_MAX, SealedMetadata, USER_METADATA_BYTES_MAX, metadata_from_request,
};
pub use request::{
    HeaderError, HeaderRow, RESERVED_METADATA_PREFIX, RequestTreatment, check_request, forwarded_headers,
    request_treatment,
};
pub use response::{ResponseTreatment, passed_headers, response_treatment};
