//! The key provider interface: what the gateway asks of an HSM or a key service.
//!
//! What lives here: the object-safe trait [`KeyProvider`], its errors, and the conformance kit that
//! every adapter's tests run. What must not: any adapter, S3, the stored format, caches. Invariant: a
//! provider either returns the very key that was wrapped in this context, or an error of a closed
//! list; whoever can overwrite wraps in the store can only cause [`KeyError::InvalidCiphertext`] or
//! [`KeyError::KeyNotFound`], never an outage.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod conformance;
mod error;
mod info;
mod provider;
pub mod secret_file;

pub use error::KeyError;
pub use info::{Finding, KeyState, KeyStatus, ProviderInfo, ProviderKind, Residency, Severity};
pub use provider::{BoxFuture, Health, HealthState, KeyProvider, Probe, RANDOM_BYTES_MAX, Reason};
