//! The audit trail: what a record says, how records are chained, how a chain is verified.
//!
//! What lives here: [`Event`] and its canonical line, [`Chain`], [`Verifier`], and the forms for other
//! systems (`export`). What must not: files, sockets, clocks, threads (the server's room `audit` has them);
//! keys other than [`AuditKey`]. Invariant: a line is hashed as the bytes that are stored, and each line names
//! the hash of the one before, so that nothing between two checkpoints can be changed without being seen.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::panic
    )
)]

mod chain;
mod event;
pub mod export;
mod key;
mod line;
mod stamp;
mod verify;

pub use chain::{Chain, Names, TailError};
pub use event::{Class, Event};
pub use key::AuditKey;
pub use line::{LINE_BYTES_MAX, Line, LineError, SCHEMA_VERSION};
pub use stamp::{format_time, parse_time};
pub use verify::{ChainReport, FINDINGS_KEPT_MAX, Finding, Found, Report, Rules, Verifier};
