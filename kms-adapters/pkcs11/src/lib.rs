//! Key provider: an HSM through PKCS#11, in a helper process.
//!
//! What lives here: [`Pkcs11Provider`] for the gateway, [`helper_main`] for the helper process that
//! loads the vendor's module, and [`probe`] and [`generate_kek`] for enrolment. What must not: the
//! vendor's module in the gateway's own process. Invariant: a hung or crashed module costs at most one
//! helper, never the gateway; whoever alters wraps in the store cannot make the helper restart.
//!
//! ```text
//! gateway process                                helper process
//! Pkcs11Provider -> supervisor =socket pair=> reader -> queue -> workers -> module -> HSM
//!                              <=============               answers out of order
//! ```
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod breaker;
mod calls;
mod config;
mod enrol;
mod form;
mod frame;
mod group;
mod helper;
mod link;
mod profile;
mod provider;
mod start;
mod supervise;
mod terminal;

pub use config::{HelperCommand, PinSource, Pkcs11Config, TokenSelection, WORKERS_DEFAULT, WORKERS_MAX};
pub use enrol::{Enrolment, GeneratedKey, Trial, enrolment_context, generate_kek, module_digest, probe};
pub use frame::GcmIv;
pub use group::{ENDPOINTS_MAX, HEDGE_AFTER, Pkcs11Group};
pub use helper::helper_main;
pub use profile::{Basis, PROFILES, Profile};
pub use provider::{Pkcs11Provider, TokenFacts};
pub use terminal::ask_on_terminal;
