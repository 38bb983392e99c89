//! Secret key types, public key identifiers, and the wrapped form of an epoch key.
//!
//! What lives here: every type that holds key bytes, and the identifiers that name keys.
//! What must not: files, networks, clocks, logging, serialisation of secrets, cryptographic
//! algorithms. Invariant: a value of a secret type cannot be printed, cloned, serialised or
//! compared in variable time, and its bytes are wiped when it is dropped.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod id;
mod locked;
mod secret;
mod wrap;

pub use id::{BucketId, DomainId, Epoch, IdParseError, Krid, Oid, TenantId};
pub use locked::LockedKey;
pub use secret::{KEY_BYTES, SecretKey, SecretText};
pub use wrap::{Purpose, WRAP_BLOB_BYTES_MAX, WRAP_CONTEXT_BYTES, Wrap, WrapContext, WrapScheme};
