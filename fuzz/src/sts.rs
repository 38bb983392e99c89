//! The readers of identity tokens, which the server's crate keeps to itself: the same files, read again.
#![allow(dead_code)]

#[path = "../../gateway/server/src/sts/jwks.rs"]
pub mod jwks;
#[path = "../../gateway/server/src/sts/token.rs"]
pub mod token;
