//! The body of a request: aws-chunked framing and every integrity check a client can ask for.
//!
//! What lives here: the plan (what must hold), the reader (sans-IO, push and pull), and the encoder
//! that clients use. What must not: HTTP framing, sealing, sockets. Invariant: [`VerifiedPayload`]
//! exists only after the last byte arrived and every promise of the request held.
//!
//! Entry: [`PayloadPlan::from`], then [`PayloadPlan::into_reader`]; for each piece of the HTTP body
//! [`PayloadReader::push`] and [`PayloadReader::next`] until it gives `None`; at the body's end
//! [`PayloadReader::finish`].

mod encode;
mod error;
mod frame;
mod plan;
mod reader;
mod trailer;

pub use encode::{ChunkEncoder, EncodeError};
pub use error::PayloadError;
pub use frame::CHUNK_LINE_BYTES_MAX;
pub use plan::{BodyRole, PayloadPlan};
pub use reader::{ChecksumOrigin, PayloadReader, VerifiedChecksum, VerifiedPayload};
pub use trailer::TRAILER_BYTES_MAX;
