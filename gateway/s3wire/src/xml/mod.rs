//! The XML documents of S3: bounded readers, writers, and rewriters that change only what must change.
//!
//! What lives here: documents as plain values. What must not: the store, keys, decisions about
//! access. Invariant: no document, however hostile, costs more than a constant times its length.

pub mod write;
