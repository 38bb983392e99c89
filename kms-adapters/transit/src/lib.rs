//! Keys in the transit engine of OpenBao or Vault.
//!
//! What lives here: [`TransitProvider`], its token file, the meaning of the service's answers. What must not:
//! TLS, connections. Invariant: only encrypt, decrypt, random and reading the key are ever asked for: never
//! `datakey`, never `rewrap` (which loses the context), never anything that changes a key.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod answers;
mod provider;
mod token;

pub use provider::{TransitConfig, TransitProvider};
