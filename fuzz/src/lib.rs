//! Fuzz targets: one function per target, bytes in, nothing out, a panic for every broken promise.
//!
//! What lives here: inputs made from bytes, and the promises checked on them. What must not: the
//! code under test. Invariant: a target is a pure function of its bytes, so that an input that
//! failed once fails again.

pub mod conditions;
pub mod forge;
pub mod head;
pub mod header;
pub mod identity;
pub mod input;
pub mod keyring;
pub mod kmip_ttlv;
pub mod memory;
pub mod metadata;
pub mod payload;
pub mod post_form;
pub mod record;
pub mod router;
pub mod state;
pub mod sts;
pub mod tags;
pub mod ticket;
pub mod trailer;
pub mod xml;

#[allow(dead_code)]
#[path = "../../gateway/server/src/limits.rs"]
mod limits;
