//! Temporary credentials for who proves an identity at a trusted issuer.
//!
//! What lives here: issuers and their keys, identity tokens, roles, sessions, and the answers to the two
//! operations of the STS interface. What must not: what a session may do (`authorize`), how S3 requests
//! are signed (`auth`). Invariant: nothing is remembered: a session is in its own token, so that every
//! gateway of a keyring accepts what any of them issued. Start reading at [`answer::answer`].

pub mod answer;
mod exchange;
mod fetch;
mod issuers;
mod jwks;
pub mod session;
mod token;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use exchange::Exchanged;
pub use issuers::{Ages, Issuer};

use crate::config::{RoleConfig, StsConfig};
use crate::limits;
use crate::telemetry::Metrics;

/// The configured issuers and roles. Share it by `Arc`.
pub struct Sts {
    account: String,
    issuers: Vec<Arc<Issuer>>,
    roles: Vec<RoleConfig>,
    places: Semaphore,
}

impl Sts {
    /// Issuers and roles as configured; nothing is fetched yet.
    ///
    /// # Errors
    /// What is wrong with an issuer's trust anchors.
    pub fn new(config: &StsConfig, metrics: &Arc<Metrics>) -> Result<Self, String> {
        let issuers = config
            .issuers
            .iter()
            .map(|issuer| Issuer::new(issuer.clone(), Ages::default(), Arc::clone(metrics)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            account: config.account.clone(),
            issuers,
            roles: config.roles.clone(),
            places: Semaphore::new(limits::EXCHANGES_MAX),
        })
    }

    /// The account in the names of roles and sessions.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The issuers.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// The role of this name. A session whose role is no longer configured is over.
    pub fn role(&self, name: &str) -> Option<&RoleConfig> {
        self.roles.iter().find(|role| role.name == name)
    }
}
