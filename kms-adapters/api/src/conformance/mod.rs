//! The conformance kit: the same questions for every key provider.
//!
//! What lives here: [`run`], which an adapter's tests call. What must not: knowledge of any adapter.
//! Invariant: a provider that passes returns the right key or a refusal, never a wrong key.

use std::fmt;
use std::sync::Arc;

use crate::provider::KeyProvider;

mod checks;

/// The check that a provider did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name of the check.
    pub check: &'static str,
    /// What happened, in words; holds no secret.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

impl std::error::Error for Failure {}

/// How much is asked of a provider at once, and how densely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Every byte and every length; many callers at once.
    Every,
    /// For devices that take tens of milliseconds for an operation, so that a queue stays shorter than the
    /// time for a call: one byte and length in 32, the last among them, and few callers.
    Sampled,
}

impl Pace {
    /// Callers at once in the checks of concurrency and cancellation.
    fn concurrent_calls(self) -> usize {
        match self {
            Self::Every => 64,
            Self::Sampled => 8,
        }
    }

    /// The positions below `length` that are tried.
    fn of(self, length: usize) -> impl Iterator<Item = usize> {
        let step = match self {
            Self::Every => 1,
            Self::Sampled => 32,
        };
        // From the end, because the last is the one that a careless check forgets.
        (0..length).rev().step_by(step)
    }
}

/// Puts every question to `provider`; answers the names of the checks it passed, in order.
///
/// Needs a running tokio runtime with time enabled. Makes a few hundred wraps and unwraps.
///
/// # Errors
/// The first check that did not hold.
pub async fn run(provider: Arc<dyn KeyProvider>) -> Result<Vec<&'static str>, Failure> {
    checks::run(provider, Pace::Every).await
}

/// [`run`] at a pace of the caller's choice.
///
/// # Errors
/// As [`run`].
pub async fn run_at(provider: Arc<dyn KeyProvider>, pace: Pace) -> Result<Vec<&'static str>, Failure> {
    checks::run(provider, pace).await
}
