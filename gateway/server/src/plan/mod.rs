//! Decisions, as data.
//!
//! What lives here: what to do with a request (before the store was asked) and with the store's
//! answer (once the sealed header is known). What must not: waiting, clocks, I/O, secrets. Invariant:
//! a plan is plain data, so that every rule is one row in a table test.

pub mod attributes;
pub mod customer_key;
pub mod fault;
pub mod metadata;
pub mod read;
pub mod request;
pub mod sse;
pub mod tagging;
