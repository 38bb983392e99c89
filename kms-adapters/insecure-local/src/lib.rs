//! Software key-encryption keys, for development and tests only.
//!
//! What lives here: [`InsecureLocalProvider`], a key provider whose keys are in a file or in memory of
//! the gateway's own process. What must not: any use with real data; the name carries the warning, and
//! so does the log at construction. Invariant: a wrap opens only under the version that made it, in the
//! context it was made in.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod key_file;
mod provider;

pub use provider::InsecureLocalProvider;
