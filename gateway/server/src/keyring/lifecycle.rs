//! The life of keys after they were made: disabled, enabled, destroyed, wrapped under another key.
//!
//! What lives here: what an operator does to key records, each as one change of the keyring. What must
//! not: the write path itself (`change.rs`), confirmation by people (the command line). Invariants: a
//! record loses a wrap only after another wrap of it was unwrapped and checked, or because it is destroyed;
//! only what was disabled before is destroyed.
//!
//! The attack considered: whoever writes to the control bucket puts an old keyring back, in which a destroyed
//! key still has its wraps. Every gateway and every command refuses it by its generation; what remains are
//! copies that nobody compares (backups, versions of the object), which is why destruction names them.

use std::collections::HashMap;
use std::sync::Arc;

use sceau_envelope::keyring::{BucketState, EnrolledKek, statement_mac};
use sceau_envelope::record::WRAPS_MAX;
use sceau_envelope::{KeyRecord, KeyringContent, RecordState};
use sceau_keys::{BucketId, Epoch, Krid, Purpose, Wrap};
use sceau_kms::{KeyProvider, Reason};

use super::change::Change;
use super::error::{EpochKeyError, KeyringFault};
use super::{KeyringService, unwrap_record};
use crate::limits;

/// Records that get a wrap in one generation of the keyring: an interruption loses no more than these.
const REWRAP_BATCH: usize = 64;

/// What is done to epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange {
    /// Neither seal nor open, until enabled again.
    Disable,
    /// Open again; the newest epoch of a bucket that is in use seals again.
    Enable,
    /// Never again: the wraps are removed.
    Destroy {
        /// The generation that the operator was shown; a newer keyring is refused.
        planned: u64,
    },
}

/// Names a key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekName {
    /// Key provider.
    pub provider: String,
    /// Label there.
    pub label: String,
    /// Version.
    pub version: u32,
}

impl KekName {
    /// The name of an enrolled key.
    pub fn of(kek: &EnrolledKek) -> Self {
        Self {
            provider: kek.provider.clone(),
            label: kek.label.clone(),
            version: kek.version,
        }
    }

    /// Whether `wrap` was made by this key.
    pub fn made(&self, wrap: &Wrap) -> bool {
        wrap.provider == self.provider && wrap.key_label == self.label && wrap.key_version == self.version
    }

    fn is(&self, kek: &EnrolledKek) -> bool {
        *self == Self::of(kek)
    }
}

/// A change of this room, in a form that can be made again on newer content.
pub(super) enum Step {
    SetState {
        bucket: BucketId,
        krids: Vec<Krid>,
        to: StateChange,
    },
    AddWraps {
        kek: EnrolledKek,
        wraps: Vec<(Krid, Wrap)>,
    },
    DropKek {
        name: KekName,
        /// A wrap by another key for each record, each unwrapped and checked.
        verified: HashMap<Krid, Wrap>,
    },
}

impl Step {
    /// Makes the change on `content`, which is already numbered as the next generation; `false` if there
    /// is nothing to do.
    pub(super) fn apply(&self, content: &mut KeyringContent) -> Result<bool, KeyringFault> {
        match self {
            Self::SetState { bucket, krids, to } => set_state(content, *bucket, krids, *to),
            Self::AddWraps { kek, wraps } => add_wraps(content, kek, wraps),
            Self::DropKek { name, verified } => drop_kek(content, name, verified),
        }
    }
}

impl KeyringService {
    /// As [`KeyringService::set_states`] for epochs of the bucket that are of no shred domain of a prefix.
    ///
    /// # Errors
    /// As [`KeyringService::set_states`].
    pub async fn set_state(
        &self,
        bucket: BucketId,
        epochs: Vec<Epoch>,
        to: StateChange,
    ) -> Result<u64, KeyringFault> {
        let keyring = self.keyring();
        let content = keyring.content();
        let domain = content.own_domain(bucket);
        let krid = |epoch: &Epoch| {
            let mut records = content.data_records(bucket);
            let found = records.find(|record| Some(record.domain) == domain && record.epoch == *epoch);
            found.map(|record| record.krid)
        };
        let krids: Option<Vec<_>> = epochs.iter().map(krid).collect();
        self.set_states(bucket, krids.ok_or(KeyringFault::EpochUnknown)?, to)
            .await
    }

    /// Disables, enables or destroys these records of `bucket`; answers the generation that says so. Other gateways
    /// follow at their next look at the keyring, and wipe the keys from memory then.
    ///
    /// # Errors
    /// [`KeyringFault::EpochUnknown`], [`KeyringFault::NotDisabled`], [`KeyringFault::Outdated`], and as for
    /// every change.
    pub async fn set_states(
        &self,
        bucket: BucketId,
        krids: Vec<Krid>,
        to: StateChange,
    ) -> Result<u64, KeyringFault> {
        self.change(&Change::Step(Step::SetState { bucket, krids, to }))
            .await?;
        Ok(self.keyring().content().generation)
    }

    /// Wraps every key of the keyring also under `kek`, which `to` holds; nothing loses a wrap. Stopped in
    /// between, it goes on where it was when called again. Answers how many records got a wrap.
    ///
    /// # Errors
    /// [`KeyringFault`]; what was written until then stays and harms nobody.
    pub async fn add_kek(&self, kek: EnrolledKek, to: &Arc<dyn KeyProvider>) -> Result<usize, KeyringFault> {
        let name = KekName::of(&kek);
        let mut done = 0_usize;
        loop {
            self.refresh().await?;
            let keyring = self.keyring();
            let content = keyring.content();
            let is_enrolled = content.keks.iter().any(|held| name.is(held));
            let pending: Vec<_> = pending(content, &name).take(REWRAP_BATCH).cloned().collect();
            if pending.is_empty() && is_enrolled {
                return Ok(done);
            }
            let mut wraps = Vec::with_capacity(pending.len());
            for record in pending {
                wraps.push((record.krid, self.wrap_also(record, &name, to).await?));
            }
            done = done.saturating_add(wraps.len());
            let kek = kek.clone();
            self.change(&Change::Step(Step::AddWraps { kek, wraps })).await?;
        }
    }

    /// Removes the wraps made by `name` and the key's entry. Each record's wrap for `keeper` is unwrapped
    /// and checked before. Answers how many records are left with other wraps.
    ///
    /// # Errors
    /// [`KeyringFault::KekNeeded`] when a record has no wrap that `keeper` unwraps.
    pub async fn drop_kek(
        &self,
        name: &KekName,
        keeper: &Arc<dyn KeyProvider>,
    ) -> Result<usize, KeyringFault> {
        self.refresh().await?;
        let keyring = self.keyring();
        let mut verified = HashMap::new();
        for record in keyring.content().records.iter().filter(|record| is_kept(record)) {
            let wrap = self.verified_wrap(record, name, keeper).await?;
            verified.insert(record.krid, wrap);
        }
        let count = verified.len();
        let name = name.clone();
        self.change(&Change::Step(Step::DropKek { name, verified }))
            .await?;
        Ok(count)
    }

    /// The authenticator of a statement about this keyring, under its MAC key.
    ///
    /// # Errors
    /// [`KeyringFault`] when the MAC key is not at hand.
    pub async fn authenticate(&self, statement: &[u8]) -> Result<[u8; 48], KeyringFault> {
        let keyring = self.keyring();
        let mac_key = self.loader().mac_key_of(&keyring).await?;
        Ok(statement_mac(&mac_key.to_secret(), statement))
    }

    /// Whether `mac` authenticates `statement`.
    ///
    /// # Errors
    /// As [`KeyringService::authenticate`].
    pub async fn is_authentic(&self, statement: &[u8], mac: &[u8]) -> Result<bool, KeyringFault> {
        let expected = self.authenticate(statement).await?;
        Ok(aws_lc_rs::constant_time::verify_slices_are_equal(&expected, mac).is_ok())
    }

    /// Unwraps the key of `record` and wraps it under `name`; the new wrap is tried before it counts.
    async fn wrap_also(
        &self,
        record: KeyRecord,
        name: &KekName,
        to: &Arc<dyn KeyProvider>,
    ) -> Result<Wrap, KeyringFault> {
        let krid = record.krid;
        if record.wraps.len() >= WRAPS_MAX {
            return Err(KeyringFault::TooManyWraps { krid });
        }
        let provider = Arc::clone(&self.provider);
        let metrics = Arc::clone(&self.metrics);
        let key = unwrap_record(provider, record.clone(), Reason::Rewrap, metrics).await;
        let key = key.map_err(|error| KeyringFault::Record { krid, error })?;
        let context = record.wrap_context();
        let wrap = to.wrap(&key, &context, Reason::Rewrap, limits::KEY_WAIT).await?;
        if !name.made(&wrap) {
            return Err(KeyringFault::KekRetired);
        }
        let again = to
            .unwrap(&wrap, &context, Reason::Rewrap, limits::KEY_WAIT)
            .await?;
        if !again.ct_eq(&key) {
            let error = EpochKeyError::CheckFailed;
            return Err(KeyringFault::Record { krid, error });
        }
        Ok(wrap)
    }

    /// A wrap of `record` that is not by `dropped` and that `keeper` unwraps to the record's key.
    async fn verified_wrap(
        &self,
        record: &KeyRecord,
        dropped: &KekName,
        keeper: &Arc<dyn KeyProvider>,
    ) -> Result<Wrap, KeyringFault> {
        let context = record.wrap_context();
        for wrap in record.wraps.iter().filter(|wrap| !dropped.made(wrap)) {
            let key = keeper
                .unwrap(wrap, &context, Reason::Rewrap, limits::KEY_WAIT)
                .await;
            if key.is_ok_and(|key| record.check_key(&key).is_ok()) {
                return Ok(wrap.clone());
            }
        }
        Err(KeyringFault::KekNeeded { krid: record.krid })
    }
}

/// Refuses a new record that is wrapped by a key which is no longer enrolled: a gateway that still runs with
/// the key-encryption key of before a rotation would make keys that die with it.
pub(super) fn check_enrolled(content: &KeyringContent, record: &KeyRecord) -> Result<(), KeyringFault> {
    let is_enrolled = |wrap: &Wrap| content.keks.iter().any(|kek| KekName::of(kek).made(wrap));
    match record.wraps.iter().all(is_enrolled) {
        true => Ok(()),
        false => Err(KeyringFault::KekRetired),
    }
}

/// Destroyed records have nothing left to wrap.
fn is_kept(record: &KeyRecord) -> bool {
    record.state != RecordState::Destroyed
}

fn pending<'a>(content: &'a KeyringContent, name: &'a KekName) -> impl Iterator<Item = &'a KeyRecord> {
    let has_wrap = |record: &KeyRecord| record.wraps.iter().any(|wrap| name.made(wrap));
    content
        .records
        .iter()
        .filter(move |record| is_kept(record) && !has_wrap(record))
}

fn set_state(
    content: &mut KeyringContent,
    bucket: BucketId,
    krids: &[Krid],
    to: StateChange,
) -> Result<bool, KeyringFault> {
    if let StateChange::Destroy { planned } = to
        && planned.checked_add(1) != Some(content.generation)
    {
        return Err(KeyringFault::Outdated);
    }
    let is_active = |entry: &sceau_envelope::keyring::BucketEntry| {
        entry.bucket == bucket && entry.state == BucketState::Active
    };
    let is_in_use = content.buckets.iter().any(is_active);
    let is_of_bucket = |record: &KeyRecord| record.purpose == Purpose::Data && record.bucket == bucket;
    let domains = content.domains(bucket);
    let newest: Vec<_> = domains
        .into_iter()
        .filter_map(|domain| content.newest_record(bucket, domain).map(|record| record.krid))
        .collect();
    let mut is_changed = false;
    for krid in krids {
        let mut records = content.records.iter_mut();
        let record = records
            .find(|record| is_of_bucket(record) && record.krid == *krid)
            .ok_or(KeyringFault::EpochUnknown)?;
        let after = match (to, record.state) {
            (StateChange::Disable | StateChange::Enable, RecordState::Destroyed) => {
                return Err(KeyringFault::EpochDestroyed);
            }
            (StateChange::Disable, _) => RecordState::Disabled,
            (StateChange::Enable, RecordState::Disabled) if is_in_use && newest.contains(krid) => {
                RecordState::EncryptDecrypt
            }
            (StateChange::Enable, RecordState::Disabled) => RecordState::DecryptOnly,
            (StateChange::Enable, state) => state,
            (StateChange::Destroy { .. }, RecordState::Disabled | RecordState::Destroyed) => {
                record.wraps.clear();
                RecordState::Destroyed
            }
            (StateChange::Destroy { .. }, RecordState::EncryptDecrypt | RecordState::DecryptOnly) => {
                return Err(KeyringFault::NotDisabled);
            }
        };
        is_changed |= record.state != after;
        record.state = after;
    }
    Ok(is_changed)
}

fn add_wraps(
    content: &mut KeyringContent,
    kek: &EnrolledKek,
    wraps: &[(Krid, Wrap)],
) -> Result<bool, KeyringFault> {
    let name = KekName::of(kek);
    let mut is_changed = false;
    if !content.keks.iter().any(|held| name.is(held)) {
        content.keks.push(kek.clone());
        is_changed = true;
    }
    for record in content.records.iter_mut().filter(|record| is_kept(record)) {
        let Some((krid, wrap)) = wraps.iter().find(|(krid, _)| *krid == record.krid) else {
            continue;
        };
        if record.wraps.iter().any(|held| name.made(held)) {
            continue;
        }
        if record.wraps.len() >= WRAPS_MAX {
            return Err(KeyringFault::TooManyWraps { krid: *krid });
        }
        record.wraps.push(wrap.clone());
        is_changed = true;
    }
    Ok(is_changed)
}

fn drop_kek(
    content: &mut KeyringContent,
    name: &KekName,
    verified: &HashMap<Krid, Wrap>,
) -> Result<bool, KeyringFault> {
    for record in content.records.iter_mut().filter(|record| is_kept(record)) {
        let kept = verified.get(&record.krid);
        // A record that came meanwhile, or was changed: nobody has tried its other wraps yet.
        if !kept.is_some_and(|kept| record.wraps.contains(kept)) {
            return Err(KeyringFault::KekNeeded { krid: record.krid });
        }
        record.wraps.retain(|wrap| !name.made(wrap));
    }
    let before = content.keks.len();
    content.keks.retain(|kek| !name.is(kek));
    Ok(content.keks.len() != before)
}
