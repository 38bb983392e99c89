//! The async sides of sealing and opening: bodies that pull, seal or open, and hand on.
//!
//! What lives here: adapters between byte streams and the pure state machines of `sceau-envelope`,
//! and the caches of what those need. What must not: headers, operations, S3 errors for clients.
//! Invariant: memory per body is a few segments, whatever the object's size.

pub mod key_cache;
pub mod layout_cache;
pub mod open_body;
pub mod seal_body;
pub mod upload_cache;
