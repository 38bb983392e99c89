//! The gateway library: everything between a client's connection and the store's.
//!
//! What lives here: all effects. What must not: concrete key providers and command-line flags (the
//! binary chooses them), protocol rules (`sceau-s3wire`), the stored format (`sceau-envelope`).
//!
//! A request walks one way through these rooms; none depends on a later one:
//!
//! ```text
//! listen → auth → authorize → plan → execute (crypt: seal, open) → upstream → respond → record
//! ```
//!
//! Invariants:
//! - no request reaches the store unless it is an `authorize::Authorized`;
//! - no plaintext byte leaves unless it comes out of a `VerifiedSegment`;
//! - no upload commits in the store before a `VerifiedPayload` exists for it;
//! - every request ends in exactly one access record, cancelled ones included.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod access;
pub mod admin;
pub mod app;
pub mod audit;
pub mod auth;
pub mod authorize;
pub mod config;
pub mod crypt;
pub mod error;
pub mod examine;
pub mod execute;
pub mod keyring;
pub mod lanes;
pub mod limits;
pub mod listen;
pub mod patience;
pub mod plan;
pub mod record;
pub mod respond;
pub mod rewrap;
pub mod sts;
pub mod telemetry;
pub mod upstream;
