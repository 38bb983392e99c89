//! The keyring at work: which buckets exist, which keys seal and open them.
//!
//! What lives here: [`KeyringService`], which loads, verifies, refreshes and changes the keyring and
//! hands out epoch keys. What must not: the document's form (`sceau-envelope`), the wrapping (the key
//! provider), requests. Invariants: nothing in a keyring is used before its authenticator and its
//! generation were checked; the generation in use never falls; a new key is used only after it was
//! read back from the control bucket and unwrapped once.

mod caller;
mod change;
mod copies;
mod domains;
mod drop;
mod enrol;
mod enrolment;
mod error;
#[cfg(test)]
mod fakes;
mod health;
mod lifecycle;
#[cfg(test)]
mod lifecycle_tests;
mod load;
mod recorded;
#[cfg(test)]
mod tests;
mod transfer;
mod turn;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use sceau_envelope::keyring::{BucketState, audit_root, session_root};
use sceau_envelope::{EpochKeys, KeyRecord, Keyring};
use sceau_keys::{BucketId, Krid, Purpose, SecretKey, TenantId};
use sceau_kms::{KeyError, KeyProvider, Reason};

pub use caller::Caller;
pub use change::TagsSetting;
pub use copies::{ControlCopy, KEYRING_OBJECT, LocalCopy, OfflineCopy};
pub use drop::{Wipe, call_drop};
pub use enrol::{Canary, enrolled_key, try_canary, try_copy};
pub use enrolment::{ENROLMENT_OBJECT, EnrolledToken, EnrolmentRecord, fingerprints};
pub use error::{EpochKeyError, KeyringFault, Place};
pub use lifecycle::{KekName, StateChange};
pub use load::{Copies, inspect};
pub use recorded::Recorded;
pub use sceau_envelope::keyring::{BucketEntry, BucketPolicy};
pub use transfer::{Imported, import};
pub use turn::EpochLimits;

use crate::admin::{Component, Readiness, State};
use crate::crypt::key_cache::KeyCache;
use crate::limits;
use crate::telemetry::{CacheOutcome, DropCause, Metrics, ReloadSource};

/// Least time between two refreshes caused by unknown buckets or keys: clients choose those names,
/// so they must not be able to make the gateway ask the store for each request. Who comes earlier
/// waits, and is then answered from a look that began after the request.
const UNKNOWN_REFRESH_INTERVAL: Duration = Duration::from_millis(250);

/// What a key is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To open what exists.
    Open,
    /// To seal something new.
    Seal,
}

/// Whether an unwrapped key may be held for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// For [`KeyringOptions::cache_ttl`] at most.
    Held,
    /// It is unwrapped for this caller alone.
    Never,
}

/// Settings of a [`KeyringService`].
#[derive(Debug, Clone)]
pub struct KeyringOptions {
    /// The local copy, which pins the generation.
    pub local: PathBuf,
    /// How long an unwrapped epoch key is kept.
    pub cache_ttl: Duration,
    /// Most unwrapped epoch keys kept.
    pub cache_entries: usize,
    /// How often the control bucket's copy is looked at.
    pub refresh: Duration,
    /// When epochs are over.
    pub epochs: EpochLimits,
}

/// Where a [`KeyringService`] gets keys and documents from, and where it reports.
pub struct KeyringParts {
    /// Wraps and unwraps.
    pub provider: Arc<Recorded>,
    /// The control bucket.
    pub control: Arc<dyn ControlCopy>,
    /// Settings.
    pub options: KeyringOptions,
    /// Metric handles.
    pub metrics: Arc<Metrics>,
    /// Where the states of keyring, keys and store are reported.
    pub readiness: Arc<Readiness>,
}

impl KeyringParts {
    /// The key provider behind the common interface.
    fn provider(&self) -> Arc<dyn KeyProvider> {
        Arc::clone(&self.provider) as Arc<dyn KeyProvider>
    }
}

/// The keyring in use. Share it by `Arc`; every method takes `&self`.
pub struct KeyringService {
    provider: Arc<dyn KeyProvider>,
    /// The same, and what its calls told of its health.
    recorded: Arc<Recorded>,
    control: Arc<dyn ControlCopy>,
    local: LocalCopy,
    refresh_interval: Duration,
    wipe_interval: Duration,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    current: RwLock<Arc<Loaded>>,
    cache: KeyCache<EpochKeyError>,
    epoch_limits: EpochLimits,
    writes: turn::WriteCounts,
    /// Wipes keys that are held elsewhere, once there is such a place.
    elsewhere: OnceLock<Box<dyn Fn(Wipe) + Send + Sync>>,
    /// Held by whoever reads or writes the copies, so that they do so one after the other.
    copies: tokio::sync::Mutex<Refreshed>,
}

/// The keyring in use and the document it came from.
struct Loaded {
    keyring: Keyring,
    document: bytes::Bytes,
}

/// When the last look at the control bucket's copy began.
struct Refreshed {
    began: Option<Instant>,
    has_succeeded: bool,
    last_drop: drop::LastDrop,
}

impl KeyringService {
    /// Loads and verifies the keyring; repairs the copy that is behind or missing.
    ///
    /// # Errors
    /// [`KeyringFault`]; [`KeyringFault::Absent`] when there is no keyring yet.
    pub async fn open(parts: KeyringParts) -> Result<Arc<Self>, KeyringFault> {
        let provider = parts.provider();
        let KeyringParts {
            provider: recorded,
            control,
            options,
            metrics,
            readiness,
        } = parts;
        let cache = KeyCache::new(options.cache_ttl, options.cache_entries, Arc::clone(&metrics));
        let local = LocalCopy::new(options.local);
        let loader = load::Loader {
            provider: &provider,
            control: control.as_ref(),
            local: &local,
            cache: &cache,
            metrics: &metrics,
        };
        // Looked at before any key is unwrapped: a call that comes later is seen as new.
        let last_drop = drop::LastDrop::first_look(control.as_ref()).await;
        let loaded = loader.start().await?;
        metrics.keyring_generation(loaded.keyring.content().generation);
        metrics.dev_mode(!provider.info().is_production_grade);
        readiness.set(Component::Keyring, State::Ready);
        readiness.set(Component::Keys, State::Ready);
        readiness.set(Component::Store, State::Ready);
        Ok(Arc::new(Self {
            provider,
            recorded,
            control,
            local,
            refresh_interval: options.refresh,
            // Four looks per time limit: a key stays in memory a quarter longer than it is used.
            wipe_interval: options
                .cache_ttl
                .checked_div(4)
                .unwrap_or(options.cache_ttl)
                .max(MIN_WIPE_INTERVAL),
            metrics,
            readiness,
            current: RwLock::new(Arc::new(loaded)),
            cache,
            epoch_limits: options.epochs,
            writes: turn::WriteCounts::default(),
            elsewhere: OnceLock::new(),
            copies: tokio::sync::Mutex::new(Refreshed {
                began: None,
                has_succeeded: true,
                last_drop,
            }),
        }))
    }

    /// The active bucket of this name, `None` for unknown names and for the control bucket.
    pub fn bucket(&self, name: &str) -> Option<BucketEntry> {
        if name == self.control.bucket() {
            return None;
        }
        self.loaded().keyring.content().active_bucket(name).cloned()
    }

    /// As [`KeyringService::bucket`], looking at the control bucket's copy again when the name is
    /// unknown: another gateway may just have created it.
    ///
    /// # Errors
    /// [`KeyringFault::Control`] when that look failed: whether the bucket exists is then not known.
    pub async fn bucket_or_refresh(&self, name: &str) -> Result<Option<BucketEntry>, KeyringFault> {
        let known = self.bucket(name);
        if known.is_some() || name == self.control.bucket() {
            return Ok(known);
        }
        let has_looked = self.refresh_for_unknown().await;
        match self.bucket(name) {
            None if !has_looked => Err(KeyringFault::Control {
                why: "the bucket is not known here, and the keyring could not be looked at".to_owned(),
            }),
            found => Ok(found),
        }
    }

    /// All active buckets.
    pub fn buckets(&self) -> Vec<BucketEntry> {
        let loaded = self.loaded();
        let entries = loaded.keyring.content().buckets.iter();
        entries
            .filter(|entry| entry.state == BucketState::Active && entry.name != self.control.bucket())
            .cloned()
            .collect()
    }

    /// Whether `name` is the gateway's own bucket, which clients never see.
    pub fn is_control_bucket(&self, name: &str) -> bool {
        name == self.control.bucket()
    }

    /// Owner of the keyring.
    pub fn tenant(&self) -> TenantId {
        self.loaded().keyring.content().tenant
    }

    /// The keyring in use, for listings.
    pub fn keyring(&self) -> Keyring {
        self.loaded().keyring.clone()
    }

    /// The key provider in use.
    pub fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }

    /// The second-level keys of the epoch key `krid` of `bucket`, unwrapped if need be.
    ///
    /// Cancel-safe: an unwrapping that was begun goes on for whoever else waits.
    ///
    /// # Errors
    /// [`EpochKeyError`]: the record's rules are checked anew at every call, cached key or not.
    pub async fn epoch_keys(
        &self,
        krid: Krid,
        bucket: BucketId,
        usage: Usage,
        reason: Reason,
    ) -> Result<Arc<EpochKeys>, EpochKeyError> {
        self.epoch_keys_with(krid, bucket, usage, reason, Caching::Held)
            .await
    }

    /// As [`KeyringService::epoch_keys`], with a say in whether the key is held afterwards. With
    /// [`Caching::Never`] a key that is held for others is not used either.
    ///
    /// # Errors
    /// As [`KeyringService::epoch_keys`].
    pub async fn epoch_keys_with(
        &self,
        krid: Krid,
        bucket: BucketId,
        usage: Usage,
        reason: Reason,
        caching: Caching,
    ) -> Result<Arc<EpochKeys>, EpochKeyError> {
        let record = match self.record(krid) {
            Some(record) => record,
            None => {
                // Another gateway may just have begun a new epoch.
                self.refresh_for_unknown().await;
                self.record(krid).ok_or(EpochKeyError::Unknown)?
            }
        };
        check_record(&record, bucket, usage, now_ms())?;
        if usage == Usage::Seal && self.epoch_limits.max_writes.is_some() {
            self.writes.add(krid);
        }
        let unwrap = unwrap_record(
            Arc::clone(&self.provider),
            record,
            reason,
            Arc::clone(&self.metrics),
        );
        let keys = match caching {
            Caching::Held => {
                let key = self.cache.key(krid, Caller::carry(unwrap)).await?;
                key.with(|bytes| EpochKeys::from_slice(krid, bytes))
            }
            Caching::Never => {
                self.metrics.key_cache(CacheOutcome::Off);
                Some(EpochKeys::derive(krid, &unwrap.await?))
            }
        };
        keys.map(Arc::new).ok_or(EpochKeyError::CheckFailed)
    }

    /// The key that temporary credentials are sealed under: the same in every gateway of this keyring.
    ///
    /// # Errors
    /// [`KeyringFault`] when the MAC key is not at hand and the key provider does not unwrap it.
    pub async fn session_root(&self) -> Result<SecretKey, KeyringFault> {
        let loaded = self.loaded();
        let mac_key = self.loader().mac_key_of(&loaded.keyring).await?;
        Ok(session_root(&mac_key.to_secret()))
    }

    /// The key of this keyring's audit trails: the same in every gateway.
    ///
    /// # Errors
    /// As [`KeyringService::session_root`].
    pub async fn audit_root(&self) -> Result<SecretKey, KeyringFault> {
        let loaded = self.loaded();
        let mac_key = self.loader().mac_key_of(&loaded.keyring).await?;
        Ok(audit_root(&mac_key.to_secret()))
    }

    /// Looks at the control bucket's copy now.
    ///
    /// # Errors
    /// [`KeyringFault`]; the keyring in use stays as it is.
    pub async fn refresh(&self) -> Result<(), KeyringFault> {
        let mut copies = self.copies.lock().await;
        self.refresh_locked(&mut copies).await.map(drop)
    }

    /// Answers whether the look succeeded.
    async fn refresh_for_unknown(&self) -> bool {
        let asked = Instant::now();
        let mut copies = self.copies.lock().await;
        if let Some(began) = copies.began {
            if began >= asked {
                // Whoever waited for the lock profits from the look made meanwhile.
                return copies.has_succeeded;
            }
            tokio::time::sleep(UNKNOWN_REFRESH_INTERVAL.saturating_sub(began.elapsed())).await;
        }
        // A failure is reported where it happens.
        self.refresh_locked(&mut copies).await.is_ok()
    }

    /// To be called with `copies` locked. Answers the entity tag of the control copy.
    async fn refresh_locked(&self, copies: &mut Refreshed) -> Result<Option<String>, KeyringFault> {
        copies.began = Some(Instant::now());
        if copies.last_drop.look(self.control.as_ref()).await {
            self.drop_keys(DropCause::Call);
        }
        let before = self.loaded();
        let outcome = self.loader().refresh(&before).await;
        copies.has_succeeded = outcome.is_ok();
        match &outcome {
            Ok(_) => {
                self.readiness.set(Component::Store, State::Ready);
                self.readiness.set(Component::Keyring, State::Ready);
            }
            Err(fault) => self.report_refresh(fault),
        }
        let (newer, etag) = outcome?;
        if let Some(newer) = newer {
            self.metrics.reload(ReloadSource::Keyring, true);
            let generation = newer.keyring.content().generation;
            let trail = self.recorded.trail();
            trail.reload("keyring", true, format!("generation={generation}"));
            self.install(newer);
        }
        Ok(etag)
    }

    fn report_refresh(&self, fault: &KeyringFault) {
        self.metrics.reload(ReloadSource::Keyring, false);
        self.recorded
            .trail()
            .reload("keyring", false, fault.id().to_owned());
        let component = match fault {
            KeyringFault::Control { .. } => Component::Store,
            KeyringFault::Provider(_) => Component::Keys,
            KeyringFault::Absent
            | KeyringFault::BucketUnknown
            | KeyringFault::Contended
            | KeyringFault::ControlBucketName
            | KeyringFault::Document { .. }
            | KeyringFault::DomainKnown
            | KeyringFault::DomainUnknown
            | KeyringFault::EpochDestroyed
            | KeyringFault::EpochUnknown
            | KeyringFault::Exists { .. }
            | KeyringFault::Foreign { .. }
            | KeyringFault::Fork { .. }
            | KeyringFault::KekNeeded { .. }
            | KeyringFault::KekRetired
            | KeyringFault::Local { .. }
            | KeyringFault::NotDisabled
            | KeyringFault::Outdated
            | KeyringFault::ProviderMix { .. }
            | KeyringFault::Random
            | KeyringFault::Record { .. }
            | KeyringFault::Rollback { .. }
            | KeyringFault::TooManyWraps { .. } => Component::Keyring,
        };
        self.readiness.set(component, State::Failing(fault.to_string()));
        tracing::error!(
            error_id = fault.id(),
            hint = fault.hint(),
            "keyring not refreshed, the old one stays: {fault}"
        );
    }

    /// Takes `newer` into use unless the one in use is newer still.
    fn install(&self, newer: Loaded) {
        let generation = newer.keyring.content().generation;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if generation < current.keyring.content().generation {
            return;
        }
        *current = Arc::new(newer);
        drop(current);
        self.metrics.keyring_generation(generation);
        tracing::info!(generation, "keyring in use");
        // Whatever changed, no key is in use that was unwrapped before the change was known.
        self.drop_keys(DropCause::Generation);
    }

    fn record(&self, krid: Krid) -> Option<KeyRecord> {
        self.loaded().keyring.content().record(krid).cloned()
    }

    fn loaded(&self) -> Arc<Loaded> {
        // Held for the time of one pointer copy.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn loader(&self) -> load::Loader<'_> {
        load::Loader {
            provider: &self.provider,
            control: self.control.as_ref(),
            local: &self.local,
            cache: &self.cache,
            metrics: &self.metrics,
        }
    }
}

/// A shorter interval would only burn time.
const MIN_WIPE_INTERVAL: Duration = Duration::from_millis(100);

/// Milliseconds since 1970 by this host's clock.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The rules of docs/format/ for the use of a record: its purpose, its bucket, its state, its time.
fn check_record(
    record: &KeyRecord,
    bucket: BucketId,
    usage: Usage,
    now_ms: u64,
) -> Result<(), EpochKeyError> {
    if record.purpose != Purpose::Data {
        return Err(EpochKeyError::WrongPurpose);
    }
    if record.bucket != bucket {
        return Err(EpochKeyError::WrongBucket);
    }
    let is_allowed = match usage {
        Usage::Open => record.may_open(),
        Usage::Seal => record.state == sceau_envelope::RecordState::EncryptDecrypt,
    };
    if !is_allowed {
        return Err(EpochKeyError::NotUsable(record.state));
    }
    if usage == Usage::Seal && !record.may_seal(now_ms) {
        return Err(EpochKeyError::NotNow);
    }
    Ok(())
}

/// Unwraps the key of `record` with the first of its wraps that the key provider serves, and checks
/// that it is the record's key.
async fn unwrap_record(
    provider: Arc<dyn KeyProvider>,
    record: KeyRecord,
    reason: Reason,
    metrics: Arc<Metrics>,
) -> Result<SecretKey, EpochKeyError> {
    let context = record.wrap_context();
    let mut refusal = EpochKeyError::NoWrap;
    for wrap in &record.wraps {
        let start = Instant::now();
        let outcome = provider.unwrap(wrap, &context, reason, limits::KEY_WAIT).await;
        let label = outcome.as_ref().err().map_or("ok", KeyError::code);
        metrics.kms_request("unwrap", label, start.elapsed());
        match outcome {
            // A provider that lies, or a token that wraps without integrity, ends here.
            Ok(key) if record.check_key(&key).is_ok() && !key.is_zero() => return Ok(key),
            Ok(_) => refusal = EpochKeyError::CheckFailed,
            // Made by another key-encryption key of the same tenant: the next one may be ours.
            Err(KeyError::KeyNotFound) => {}
            Err(error) => refusal = EpochKeyError::Provider(error),
        }
    }
    Err(refusal)
}
