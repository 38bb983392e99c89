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

/// Puts every question to `provider`; answers the names of the checks it passed, in order.
///
/// Needs a running tokio runtime with time enabled. Makes a few hundred wraps and unwraps.
///
/// # Errors
/// The first check that did not hold.
pub async fn run(provider: Arc<dyn KeyProvider>) -> Result<Vec<&'static str>, Failure> {
    checks::run(provider).await
}
