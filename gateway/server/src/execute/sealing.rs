//! A bucket whose objects are sealed: its identity, its policy, its keys.
//!
//! What lives here: the one place where the request path asks the keyring. What must not: how keys are
//! unwrapped or cached. Invariant: a key is handed out only for the purpose that its record's state and
//! the bucket's policy allow, checked at every use, whatever is cached.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sceau_envelope::keyring::{BucketEntry, FreshnessLevel, NameMode};
use sceau_envelope::{Context, EpochKeys, Suite};
use sceau_keys::{Krid, TenantId};
use sceau_kms::Reason;
use sceau_policy::{KeyCacheMode, KeyReason};
use sceau_s3wire::error::ErrorCode;

use crate::app::Gateway;
use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::keyring::{Caching, Caller, Usage};
use crate::limits;
use crate::plan::fault;
use crate::telemetry::Phase;

/// A bucket that the keyring knows.
pub struct SealedBucket {
    entry: BucketEntry,
    tenant: TenantId,
    caching: Caching,
    /// What this request had unwrapped, where keys are not held: each key once.
    unwrapped: Mutex<Vec<(Usage, Arc<EpochKeys>)>>,
}

impl SealedBucket {
    /// Finds the bucket. To clients, a bucket outside the keyring does not exist: nothing in it was
    /// sealed here, and nothing may be written to it unsealed.
    pub async fn find(gateway: &Gateway, name: &str) -> Result<Self> {
        gateway.refuse_control_bucket(name)?;
        let found = gateway.keyring.bucket_or_refresh(name).await;
        let found = found.map_err(|error| fault::keyring_error(&error))?;
        let entry = found.ok_or_else(|| {
            let mut error = GatewayError::code(ErrorCode::NoSuchBucket);
            error.context = "the keyring has no such bucket".into();
            error
        })?;
        check_policy(&entry)?;
        let caching = match gateway.access.snapshot().settings(name).key_cache {
            KeyCacheMode::On => Caching::Held,
            KeyCacheMode::Off => Caching::Never,
        };
        Ok(Self {
            caching,
            unwrapped: Mutex::default(),
            entry,
            tenant: gateway.keyring.tenant(),
        })
    }

    /// The bucket's name in the store.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The bucket's entry in the keyring.
    pub fn entry(&self) -> &BucketEntry {
        &self.entry
    }

    /// What seals of this object are bound to.
    pub fn context(&self, key: &str) -> Context {
        Context::new(&self.tenant, &self.entry.bucket, key.as_bytes())
    }

    /// Refuses a suite that the bucket's policy does not allow, before anything is decrypted.
    pub fn check_suite(&self, suite: Suite) -> Result<()> {
        if self.entry.policy.suite_mask & suite.mask() != 0 {
            return Ok(());
        }
        Err(GatewayError::integrity(
            Integrity::Policy,
            "the bucket's policy does not allow this suite",
        ))
    }

    /// The keys that seal the object called `key` when it is written now: those of its shred domain.
    pub async fn seal_keys(&self, gateway: &Gateway, key: &str, reason: Reason) -> Result<Arc<EpochKeys>> {
        let active = || gateway.keyring.sealing_epoch(self.entry.bucket, key.as_bytes());
        let krid = active().map_err(|error| fault::epoch_key_error(&error))?;
        match self.keys(gateway, krid, Usage::Seal, reason).await {
            // The next epoch may have begun between the two questions.
            Err(_) if active().is_ok_and(|next| next != krid) => {
                let next = active().map_err(|error| fault::epoch_key_error(&error))?;
                self.keys(gateway, next, Usage::Seal, reason).await
            }
            outcome => outcome,
        }
    }

    /// The keys of a record that a stored header or state names.
    pub async fn open_keys(&self, gateway: &Gateway, krid: Krid, reason: Reason) -> Result<Arc<EpochKeys>> {
        self.keys(gateway, krid, Usage::Open, reason).await
    }

    /// Asks the policy, whatever is cached and before the key provider is asked.
    fn check_use(&self, gateway: &Gateway, reason: Reason) -> Result<()> {
        let Some(asked) = key_reason(reason) else {
            return Ok(());
        };
        let caller = Caller::current();
        let access = gateway.access.snapshot();
        let is_permitted = access
            .key_rules()
            .permits(asked, &caller.principal, &self.entry.name);
        gateway.metrics.key_use(reason.name(), is_permitted);
        if is_permitted {
            return Ok(());
        }
        tracing::warn!(
            target: "sceau::keys",
            reason = reason.name(),
            principal = caller.principal,
            operation = caller.operation,
            bucket = self.entry.name,
            request_id = caller.request_id,
            "use of a key denied by the policy"
        );
        Err(GatewayError::new(
            Kind::KeysRefused,
            "the policy denies keys for this reason: see [[key_use]] in the policy file",
        ))
    }

    /// Whether keys of this bucket, and what they opened, may be held for the next request.
    pub fn may_hold(&self) -> bool {
        self.caching == Caching::Held
    }

    fn unwrapped_before(&self, krid: Krid, usage: Usage) -> Option<Arc<EpochKeys>> {
        let unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = unwrapped
            .iter()
            .filter(|(used, keys)| *used == usage && keys.krid() == krid);
        fitting.next().map(|(_, keys)| Arc::clone(keys))
    }

    async fn keys(
        &self,
        gateway: &Gateway,
        krid: Krid,
        usage: Usage,
        reason: Reason,
    ) -> Result<Arc<EpochKeys>> {
        self.check_use(gateway, reason)?;
        if let Some(keys) = self.unwrapped_before(krid, usage) {
            return Ok(keys);
        }
        let keys = gateway
            .keyring
            .epoch_keys_with(krid, self.entry.bucket, usage, reason, self.caching);
        let asked = Instant::now();
        let answered = tokio::time::timeout(limits::KEY_WAIT, keys).await;
        gateway.metrics.phase(Phase::Unwrap, asked.elapsed());
        match answered {
            Ok(keys) => {
                let keys = keys.map_err(|error| fault::epoch_key_error(&error))?;
                if !self.may_hold() {
                    let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
                    unwrapped.push((usage, Arc::clone(&keys)));
                }
                Ok(keys)
            }
            Err(_) => Err(GatewayError::new(
                Kind::KeysUnavailable,
                "no key within the time limit",
            )),
        }
    }
}

/// A policy that this version cannot keep is not kept by serving the bucket without it.
fn check_policy(entry: &BucketEntry) -> Result<()> {
    let is_kept = entry.policy.names == NameMode::Clear && entry.policy.freshness == FreshnessLevel::R0;
    if is_kept {
        return Ok(());
    }
    let context = "the bucket's policy demands hidden names or freshness, which this version does not have";
    Err(GatewayError::new(Kind::KeysRefused, context))
}

/// What rules call a reason; the gateway's own ones (keyring, health, enrolment, wrapping anew) are no
/// rule's matter.
fn key_reason(reason: Reason) -> Option<KeyReason> {
    match reason {
        Reason::ClientRead => Some(KeyReason::ClientRead),
        Reason::ClientWrite => Some(KeyReason::ClientWrite),
        Reason::RangeRead => Some(KeyReason::RangeRead),
        Reason::Copy => Some(KeyReason::Copy),
        Reason::Multipart => Some(KeyReason::Multipart),
        Reason::Listing => Some(KeyReason::Listing),
        Reason::Scan => Some(KeyReason::Scan),
        Reason::BreakGlass => Some(KeyReason::BreakGlass),
        Reason::Keyring | Reason::Rewrap | Reason::Health | Reason::Enrolment => None,
    }
}
