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
