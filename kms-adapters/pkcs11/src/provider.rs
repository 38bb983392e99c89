//! Skeleton.
use std::time::Duration;

use sceau_kms::{KeyError, ProviderInfo};

use crate::config::Pkcs11Config;

/// An HSM as a key provider.
pub struct Pkcs11Provider {
    info: ProviderInfo,
}

impl Pkcs11Provider {
    /// Starts the helper and waits until the HSM has passed its functional test. Needs a running tokio
    /// runtime, which it keeps using until dropped.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`], [`KeyError::NeedsOperator`], [`KeyError::KeyNotFound`],
    /// [`KeyError::KeyNotUsable`] or [`KeyError::Unavailable`].
    pub async fn spawn(config: Pkcs11Config) -> Result<Self, KeyError> {
        config.check()?;
        Err(KeyError::Unavailable {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Process id of the running helper.
    pub fn helper_pid(&self) -> Option<u32> {
        let _ = &self.info;
        None
    }

    /// How often a helper was started after the first one.
    pub fn restarts(&self) -> u64 {
        0
    }

    /// Requests under way or waiting.
    pub fn queue_depth(&self) -> usize {
        0
    }
}
