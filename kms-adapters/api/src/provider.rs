//! The trait itself.
//!
//! What lives here: [`KeyProvider`] and the small types of its calls. What must not: any
//! implementation. Invariant: every call is bounded by its deadline and may be dropped at any await.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use sceau_keys::{SecretKey, Wrap, WrapContext};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::info::{KeyStatus, ProviderInfo};

/// A future on the heap: what keeps the trait object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Most bytes one call of [`KeyProvider::random`] may ask for.
pub const RANDOM_BYTES_MAX: usize = 1024;

/// Why a key is used. Goes into audit records; a provider with a policy of its own may refuse by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A client reads a whole object.
    ClientRead,
    /// A client writes an object.
    ClientWrite,
    /// A client reads part of an object.
    RangeRead,
    /// A client copies an object.
    Copy,
    /// A multipart upload starts, continues or completes.
    Multipart,
    /// A listing needs names or sizes.
    Listing,
    /// The keyring document is opened or written.
    Keyring,
    /// Keys are wrapped anew under another key-encryption key.
    Rewrap,
    /// The integrity scan reads objects.
    Scan,
    /// A health check.
    Health,
    /// An operator enrols or tests a key.
    Enrolment,
    /// An operator overrides policy in an emergency.
    BreakGlass,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::ClientRead,
        Self::ClientWrite,
        Self::RangeRead,
        Self::Copy,
        Self::Multipart,
        Self::Listing,
        Self::Keyring,
        Self::Rewrap,
        Self::Scan,
        Self::Health,
        Self::Enrolment,
        Self::BreakGlass,
    ];

    /// Stable code between processes and in records.
    pub fn code(self) -> u8 {
        match self {
            Self::ClientRead => 1,
            Self::ClientWrite => 2,
            Self::RangeRead => 3,
            Self::Copy => 4,
            Self::Multipart => 5,
            Self::Listing => 6,
            Self::Keyring => 7,
            Self::Rewrap => 8,
            Self::Scan => 9,
            Self::Health => 10,
            Self::Enrolment => 11,
            Self::BreakGlass => 12,
        }
    }

    /// Stable name in audit records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientRead => "client-read",
            Self::ClientWrite => "client-write",
            Self::RangeRead => "range-read",
            Self::Copy => "copy",
            Self::Multipart => "multipart",
            Self::Listing => "listing",
            Self::Keyring => "keyring",
            Self::Rewrap => "rewrap",
            Self::Scan => "scan",
            Self::Health => "health",
            Self::Enrolment => "enrolment",
            Self::BreakGlass => "break-glass",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How deep a health check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// What is known without using the key: no cryptographic operation, no cost worth counting.
    Shallow,
    /// Wraps and unwraps a canary with the real key.
    Canary,
}

/// Whether a provider can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Serves.
    Ready,
    /// Does not serve now, and tries to by itself.
    Recovering,
    /// Does not serve until someone acts.
    Down,
}

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it can serve.
    pub state: HealthState,
    /// Why not, when it cannot.
    pub error: Option<KeyError>,
    /// How long the probe took.
    pub elapsed: Duration,
}

/// A holder of one key-encryption key that never leaves it.
///
/// Every method is cancel-safe: a future dropped early leaves the provider usable, and the key it may
/// still produce is wiped. The caller owns retries across providers; a provider retries only what the
/// caller cannot see (a restarted helper, a dead session), and within `deadline`.
pub trait KeyProvider: Send + Sync {
    /// What this provider is.
    fn info(&self) -> &ProviderInfo;

    /// The key's state and the audit of its attributes.
    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>>;

    /// Wraps `key`, bound to `context`, within `deadline` from now.
    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>>;

    /// Unwraps `wrap` if it was made by this key in this `context`, within `deadline` from now.
    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>>;

    /// `bytes` bytes ([`RANDOM_BYTES_MAX`] at most) of the provider's generator. The caller mixes them
    /// with the operating system's; neither is trusted alone.
    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>>;

    /// Whether it can serve.
    fn health(&self, probe: Probe) -> BoxFuture<'_, Health>;
}
