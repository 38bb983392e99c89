//! The S3 protocol as data: signatures, payload framing and checksums, operations, headers, XML, errors.
//!
//! What lives here: everything that can be decided about a request or a response from its bytes.
//! What must not: keys of objects, sealed data, sockets, clocks, a runtime. Invariant: nothing that
//! the allow-list of [`op`] does not name is ever taken for an operation.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod amztime;
pub mod bucket_name;
pub mod checksum;
pub mod conditional;
pub mod copy_source;
pub mod cors;
pub mod error;
pub mod etag;
pub mod headers;
pub mod op;
pub mod payload;
pub mod post;
pub mod range;
pub mod router;
pub mod sigv4;
pub mod sts;
pub mod tagging;
pub mod target;
pub mod xml;
