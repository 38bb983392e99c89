//! Keys in a KMIP server, versions 1.2 to 2.1, by TTLV over mutual TLS.
//!
//! What lives here: [`KmipProvider`], the few operations it uses, the meaning of the server's answers. What
//! must not: the encoding. Invariant: only Discover Versions, Query, Locate, Get Attributes, Encrypt, Decrypt
//! and RNG Retrieve are ever asked for: never Get, never anything that changes a key; and a key in any state but
//! Active is not used, whatever the server would still do with it.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]

mod derive;
mod facts;
mod link;
mod provider;
mod remote;
mod server;
mod tls;
mod trial;
mod wire;

pub use provider::{KmipConfig, KmipProvider};
pub use trial::{Enrolment, Trial};
pub use wire::Version;
