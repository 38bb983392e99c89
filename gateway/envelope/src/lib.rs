//! SOF1: the sealed object format, as bytes.
//!
//! What lives here: everything that turns an object, an upload, a part, a key record or a keyring
//! into the bytes that a store may hold, and back. What must not: sockets, files, clocks, an async
//! runtime, logging, or a key provider. Invariant: no byte of plaintext, no length and no position
//! leaves this crate unless it was authenticated first; nothing received from a store can panic it
//! or make it allocate more than a named limit.
//!
//! Start reading at [`size`] (how long things are), then [`header`], [`seal`], [`open`] and
//! [`trailer`]. The specification is `docs/format/README.md`; section numbers in this crate point
//! there.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use sceau_envelope::*;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::fastest();
//! let secrets = Arc::new(ObjectSecrets::generate(&engine)?);
//!
//! // Write: header of the part, its segments, then the trailer.
//! let mut sealer = BodySealer::new(&engine, &secrets, PartNumber::SINGLE, 5)?;
//! let mut body = sealer.header().to_vec();
//! let mut buffer = SegmentBuf::new();
//! buffer.fill(&mut Bytes::from_static(b"hello"));
//! body.extend_from_slice(&sealer.seal(buffer)?);
//! let manifest = Manifest::single(5, sealer.iv(), None)?;
//! body.extend_from_slice(&manifest.seal_trailer(&engine, &secrets)?);
//! assert_eq!(Some(body.len() as u64), size::stored_len(5));
//!
//! // Read a range of it.
//! let extent = Extent::Range(size::PlainRange { first: 1, last: 3 });
//! let mut opener = Opener::new(&engine, &secrets, manifest.layout(), extent)?;
//! let range = opener.stored_range();
//! let mut stored = BytesMut::from(&body[range.first as usize..=range.last as usize]);
//! while let Need::Exactly(count) = opener.need() {
//!     if let Some(segment) = opener.supply(stored.split_to(count))? {
//!         assert_eq!(segment.into_bytes(), "ell");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)
)]

mod bytes_io;
pub mod context;
pub mod engine;
pub mod epoch;
pub mod error;
pub mod etag;
pub mod floe;
pub mod header;
pub mod keyring;
mod layout;
pub mod metadata;
pub mod multipart;
pub mod open;
mod prf;
pub mod random;
pub mod record;
pub mod seal;
pub mod secrets;
pub mod size;
pub mod tags;
pub mod ticket;
pub mod trailer;

pub use context::Context;
pub use engine::{Engine, EngineKind};
pub use epoch::EpochKeys;
pub use header::{HeaderLimit, ObjectHeader, SealedHeader, Suite};
pub use keyring::{Keyring, KeyringContent, UnverifiedKeyring};
pub use metadata::{Checksum, ChecksumAlgorithm, Metadata};
pub use multipart::UploadState;
pub use open::{Extent, Need, Opener, VerifiedSegment};
pub use random::{OsRandom, Random, RandomError};
pub use record::{KeyRecord, RecordState};
pub use seal::{BodySealer, SegmentBuf};
pub use secrets::{FloeIv, ObjectSecrets, PartNumber};
pub use ticket::Ticket;
pub use trailer::{Footer, Layout, Manifest, PartEntry};
