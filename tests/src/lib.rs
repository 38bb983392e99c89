//! Black-box suites and the architecture test; there is no library code.
//!
//! What lives here: `tests/arch.rs`, which checks the shape of the source tree, and the Python suites
//! that drive the built binary. What must not: anything the product uses. Invariant: no test of this
//! crate links a crate of the gateway.
