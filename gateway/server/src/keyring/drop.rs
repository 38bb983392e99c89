//! Dropping every unwrapped key at once.
//!
//! What lives here: what calls for it, and the looks at the control bucket's call. What must not: the
//! caches themselves. Invariant: after [`KeyringService::drop_keys`] returns no cache holds a key, and
//! none is filled with a key that was unwrapped before; requests under way end with the keys they have.
//!
//! The call in the control bucket is not authenticated, on purpose: it must work when the HSM has
//! already been told to refuse, and then nothing can be authenticated any more. Whoever can write to the
//! control bucket can make each gateway unwrap its keys again, once in `keys.refresh`, and gains nothing
//! else; a store that hides the call is met by `keys.cache_ttl`, which no store can prolong.

use bytes::Bytes;

use super::copies::ControlCopy;
use super::error::KeyringFault;
use super::{KeyringService, now_ms};
use crate::telemetry::DropCause;

/// What caches beside this service's own have to wipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wipe {
    /// Everything.
    All,
    /// What is over its time.
    Expired,
}

/// The last call that was seen; unknown until the first look that succeeded.
pub(super) struct LastDrop {
    seen: Option<Option<String>>,
    has_warned: bool,
}

impl LastDrop {
    pub(super) async fn first_look(control: &dyn ControlCopy) -> Self {
        let mut last = Self {
            seen: None,
            has_warned: false,
        };
        last.look(control).await;
        last
    }

    /// Looks at the control bucket; answers whether there is a call that was not seen before.
    pub(super) async fn look(&mut self, control: &dyn ControlCopy) -> bool {
        match control.last_drop().await {
            Ok(call) => {
                self.has_warned = false;
                let is_new = self.seen.as_ref() != Some(&call);
                self.seen = Some(call);
                is_new
            }
            Err(fault) => {
                // The keyring is looked at next and says more where the store is away.
                if !self.has_warned {
                    tracing::warn!("calls to drop keys cannot be seen: {fault}");
                }
                self.has_warned = true;
                false
            }
        }
    }
}

impl KeyringService {
    /// Registers what wipes keys that are held elsewhere. The first registration counts.
    pub fn wipe_with(&self, wipe: impl Fn(Wipe) + Send + Sync + 'static) {
        // A second gateway on one keyring service would be a defect that no request can cause.
        let _ = self.elsewhere.set(Box::new(wipe));
    }

    /// Drops every unwrapped key of this process; answers how many epoch keys there were.
    pub fn drop_keys(&self, cause: DropCause) -> usize {
        let dropped = self.cache.drop_all();
        if let Some(wipe) = self.elsewhere.get() {
            wipe(Wipe::All);
        }
        self.metrics.keys_dropped(cause);
        self.recorded.trail().dropped(cause.name(), dropped);
        tracing::warn!(cause = cause.name(), keys = dropped, "unwrapped keys dropped");
        dropped
    }

    /// Wipes what is over its time.
    pub(super) fn wipe_expired(&self) {
        self.cache.wipe_expired();
        if let Some(wipe) = self.elsewhere.get() {
            wipe(Wipe::Expired);
        }
    }
}

/// Calls on every gateway of a control bucket to drop its unwrapped keys; needs no key.
///
/// # Errors
/// [`KeyringFault::Control`], [`KeyringFault::Random`].
pub async fn call_drop(control: &dyn ControlCopy) -> Result<(), KeyringFault> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| KeyringFault::Random)?;
    let nonce = data_encoding::HEXLOWER.encode(&nonce);
    control
        .call_drop(Bytes::from(format!("{} {nonce}\n", now_ms())))
        .await
}
