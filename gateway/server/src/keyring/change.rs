//! Changing the keyring: new keyrings, buckets, epochs.
//!
//! What lives here: what each change does to the content, and the one write path. What must not:
//! other ways to write. Invariant: the control bucket's copy is written first and conditionally, the
//! local one second, and a new key is used only after both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sceau_envelope::error::KeyringError;
use sceau_envelope::keyring::{
    BucketState, EncryptionMode, EnrolledKek, FreshnessLevel, MetadataExposure, NameMode, Pinning,
};
use sceau_envelope::{KeyRecord, KeyringContent, RecordState, Suite};
use sceau_keys::{BucketId, DomainId, Epoch, KEY_BYTES, Krid, Purpose, SecretKey, TenantId};
use sceau_kms::{KeyError, KeyProvider, Reason};
use zeroize::Zeroizing;

use super::copies::LocalCopy;
use super::error::{KeyringFault, Place};
use super::lifecycle::{Step, check_enrolled};
use super::{BucketEntry, BucketPolicy, KeyringParts, KeyringService, Loaded, now_ms, unwrap_record};
use crate::limits;
use crate::telemetry::Metrics;

/// How often a change is made again after other gateways changed the keyring meanwhile.
const ATTEMPTS_MAX: u32 = 8;

/// How long to wait before the second attempt; grows with each.
const RETRY_WAIT: Duration = Duration::from_millis(40);

/// How far clocks of gateways may differ: a new key is valid this much earlier, so that the others
/// may use it at once.
pub(super) const CLOCK_SKEW_MS: u64 = 15 * 60 * 1000;

/// A change to the keyring, in a form that can be made again on newer content.
pub(super) enum Change {
    AddBucket {
        entry: BucketEntry,
        record: Box<KeyRecord>,
    },
    /// Nothing but the next generation, which makes gateways drop their unwrapped keys.
    DropKeys,
    NewEpoch {
        name: String,
    },
    /// As [`Change::NewEpoch`], if `krid` is still the newest.
    NextEpoch {
        name: String,
        krid: Krid,
    },
    RemoveBucket {
        name: String,
    },
    SetTags {
        name: String,
        tags: TagsSetting,
    },
    /// The next epoch of a shred domain, or its first.
    NewDomainEpoch {
        name: String,
        domain: DomainId,
        begins: bool,
    },
    /// What an operator does to keys that exist.
    Step(Step),
}

/// What an operator wants of the tags of a bucket's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsSetting {
    /// New tags are sealed; tags that were stored in clear before are still read.
    Sealed,
    /// New tags are sealed; tags in clear are refused, also ones from before.
    SealedOnly,
    /// New tags are stored in clear; sealed ones from before are still read.
    Clear,
}

impl TagsSetting {
    /// The policy that follows. A bucket that never had tags in clear has no reason to believe such: the
    /// store could put them in the place of sealed ones.
    fn after(self, before: MetadataExposure) -> MetadataExposure {
        match (self, before) {
            (Self::Clear, _) => MetadataExposure::TagsClear,
            (Self::SealedOnly, _) | (Self::Sealed, MetadataExposure::Sealed) => MetadataExposure::Sealed,
            (Self::Sealed, MetadataExposure::TagsClear | MetadataExposure::TagsOnceClear) => {
                MetadataExposure::TagsOnceClear
            }
        }
    }
}

impl KeyringService {
    /// Makes a new keyring with `kek` as its first key-encryption key, writes both copies, and opens it.
    ///
    /// # Errors
    /// [`KeyringFault::Exists`] when there is a copy already, otherwise as for the other changes.
    pub async fn create(parts: KeyringParts, kek: EnrolledKek) -> Result<Arc<Self>, KeyringFault> {
        let local = LocalCopy::new(parts.options.local.clone());
        if local.read()?.is_some() {
            return Err(KeyringFault::Exists { place: Place::Local });
        }
        if parts.control.read().await?.is_some() {
            return Err(KeyringFault::Exists {
                place: Place::Control,
            });
        }
        let owner = Owner {
            tenant: TenantId(draw()?),
            bucket: BucketId([0; 16]),
            domain: DomainId([0; 16]),
        };
        let provider = parts.provider();
        let maker = Maker {
            provider: &provider,
            metrics: &parts.metrics,
        };
        let (record, mac_key) = maker.record(Purpose::KeyringMac, owner, 1).await?;
        let content = KeyringContent {
            tenant: owner.tenant,
            generation: 1,
            keks: vec![kek],
            records: vec![record],
            buckets: Vec::new(),
        };
        let document = Bytes::from(content.encode(&mac_key).map_err(encoding)?);
        if !parts.control.write(document.clone(), None).await? {
            return Err(KeyringFault::Exists {
                place: Place::Control,
            });
        }
        local.write(document).await?;
        // Opening reads both copies back and unwraps the MAC key from what was read.
        Self::open(parts).await
    }

    /// Adds `name` with a fresh identity and its first epoch key; answers the entry that is there
    /// already if there is one.
    ///
    /// # Errors
    /// [`KeyringFault`]. After [`KeyringFault::Control`] the change may or may not have been made.
    pub async fn add_bucket(&self, name: &str) -> Result<BucketEntry, KeyringFault> {
        if self.is_control_bucket(name) {
            return Err(KeyringFault::ControlBucketName);
        }
        if let Some(entry) = self.bucket(name) {
            return Ok(entry);
        }
        let owner = Owner {
            tenant: self.tenant(),
            bucket: BucketId(draw()?),
            domain: DomainId(draw()?),
        };
        let (record, _) = self.maker().record(Purpose::Data, owner, 1).await?;
        let entry = BucketEntry {
            name: name.to_owned(),
            bucket: owner.bucket,
            state: BucketState::Active,
            policy: default_policy(),
        };
        self.change(&Change::AddBucket {
            entry,
            record: Box::new(record),
        })
        .await?;
        self.bucket(name).ok_or(KeyringFault::BucketUnknown)
    }

    /// Marks the bucket as removed; its identity is never used again and its keys only open.
    ///
    /// # Errors
    /// [`KeyringFault::BucketUnknown`], and as [`KeyringService::add_bucket`].
    pub async fn remove_bucket(&self, name: &str) -> Result<(), KeyringFault> {
        self.change(&Change::RemoveBucket {
            name: name.to_owned(),
        })
        .await
    }

    /// Begins a new epoch of the bucket: new objects are sealed under a fresh key, the old keys only
    /// open. Answers the new record.
    ///
    /// # Errors
    /// [`KeyringFault::BucketUnknown`], and as [`KeyringService::add_bucket`].
    pub async fn new_epoch(&self, name: &str) -> Result<Krid, KeyringFault> {
        self.change(&Change::NewEpoch {
            name: name.to_owned(),
        })
        .await?;
        let entry = self.bucket(name).ok_or(KeyringFault::BucketUnknown)?;
        self.active_epoch(entry.bucket)
            .map_err(|_| KeyringFault::BucketUnknown)
    }

    /// Changes whether tags of the bucket's objects are sealed; answers the bucket as it is then. Other
    /// gateways follow at their next look at the keyring.
    ///
    /// # Errors
    /// [`KeyringFault::BucketUnknown`], and as [`KeyringService::add_bucket`].
    pub async fn set_tags(&self, name: &str, tags: TagsSetting) -> Result<BucketEntry, KeyringFault> {
        self.change(&Change::SetTags {
            name: name.to_owned(),
            tags,
        })
        .await?;
        self.bucket(name).ok_or(KeyringFault::BucketUnknown)
    }

    /// Makes the next generation, at which every gateway drops its unwrapped keys.
    ///
    /// # Errors
    /// As [`KeyringService::add_bucket`].
    pub async fn next_generation(&self) -> Result<(), KeyringFault> {
        self.change(&Change::DropKeys).await
    }

    /// The one write path.
    pub(super) async fn change(&self, change: &Change) -> Result<(), KeyringFault> {
        let mut copies = self.copies.lock().await;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(RETRY_WAIT.saturating_mul(attempt)).await;
            }
            // Takes a newer keyring into use first, so the change is made on the newest content.
            let etag = self.refresh_locked(&mut copies).await?;
            // No entity tag: the copy had gone and was just written again from here; its tag comes
            // with the next look.
            let Some(etag) = etag else { continue };
            let before = self.loaded();
            let mut content = before.keyring.next_generation();
            if !self.apply(change, &mut content).await? {
                return Ok(());
            }
            let mac_key = self.loader().mac_key_of(&before.keyring).await?;
            let document = Bytes::from(content.encode(&mac_key.to_secret()).map_err(encoding)?);
            if self.control.write(document, Some(&etag)).await? {
                return self.take_into_use(&before, &content).await;
            }
        }
        Err(KeyringFault::Contended)
    }

    /// Reads the written document back, unwraps every new key from it, pins it, and only then uses it.
    async fn take_into_use(&self, before: &Loaded, written: &KeyringContent) -> Result<(), KeyringFault> {
        let (document, _) = self.control.read().await?.ok_or(KeyringFault::Contended)?;
        let loaded = self
            .loader()
            .verify(document, Place::Control, written.generation)
            .await?;
        let content = loaded.keyring.content();
        if content.generation == written.generation && content != written {
            return Err(KeyringFault::Fork {
                generation: written.generation,
            });
        }
        let is_new = |record: &&KeyRecord| before.keyring.content().record(record.krid).is_none();
        for record in content.records.iter().filter(is_new) {
            let outcome = unwrap_record(
                Arc::clone(&self.provider),
                record.clone(),
                Reason::Keyring,
                Arc::clone(&self.metrics),
            );
            outcome.await.map_err(|error| KeyringFault::Record {
                krid: record.krid,
                error,
            })?;
        }
        self.local.write(loaded.document.clone()).await?;
        self.install(loaded);
        Ok(())
    }

    /// Makes the change on `content`; `false` if there is nothing to do.
    async fn apply(&self, change: &Change, content: &mut KeyringContent) -> Result<bool, KeyringFault> {
        match change {
            Change::AddBucket { entry, record } => {
                if content.active_bucket(&entry.name).is_some() {
                    return Ok(false);
                }
                check_enrolled(content, record)?;
                content.buckets.push(entry.clone());
                content.records.push(record.as_ref().clone());
            }
            Change::DropKeys => {}
            Change::NewEpoch { name } => return self.begin_epoch(name, None, content).await,
            Change::NextEpoch { name, krid } => return self.begin_epoch(name, Some(*krid), content).await,
            Change::NewDomainEpoch { name, domain, begins } => {
                return self.begin_domain_epoch(name, *domain, *begins, content).await;
            }
            Change::RemoveBucket { name } => {
                let entry = active_entry(content, name)?;
                entry.state = BucketState::Removed;
                let bucket = entry.bucket;
                retire(content, bucket, None);
            }
            Change::SetTags { name, tags } => {
                let policy = &mut active_entry(content, name)?.policy;
                let after = tags.after(policy.exposure);
                if policy.exposure == after {
                    return Ok(false);
                }
                policy.exposure = after;
            }
            Change::Step(step) => return step.apply(content),
        }
        Ok(true)
    }

    /// Adds the next epoch of a bucket; nothing if `only_after` is given and not the newest any more.
    async fn begin_epoch(
        &self,
        name: &str,
        only_after: Option<Krid>,
        content: &mut KeyringContent,
    ) -> Result<bool, KeyringFault> {
        let bucket = active_id(content, name)?;
        let ended = only_after.and_then(|krid| content.record(krid));
        let domain = match ended {
            Some(record) => record.domain,
            None => content.own_domain(bucket).ok_or(KeyringFault::BucketUnknown)?,
        };
        let newest = content
            .newest_record(bucket, domain)
            .ok_or(KeyringFault::BucketUnknown)?;
        if only_after.is_some_and(|krid| krid != newest.krid) {
            return Ok(false);
        }
        let epoch = newest.epoch.saturating_add(1);
        self.add_epoch(content, bucket, domain, epoch).await
    }

    /// Adds the next epoch of a shred domain, or its first one.
    async fn begin_domain_epoch(
        &self,
        name: &str,
        domain: DomainId,
        begins: bool,
        content: &mut KeyringContent,
    ) -> Result<bool, KeyringFault> {
        let bucket = active_id(content, name)?;
        let newest = content.newest_record(bucket, domain).map(|record| record.epoch);
        let epoch = match (newest, begins) {
            (Some(newest), false) => newest.saturating_add(1),
            (None, true) => 1,
            (Some(_), true) => return Err(KeyringFault::DomainKnown),
            (None, false) => return Err(KeyringFault::DomainUnknown),
        };
        self.add_epoch(content, bucket, domain, epoch).await
    }

    async fn add_epoch(
        &self,
        content: &mut KeyringContent,
        bucket: BucketId,
        domain: DomainId,
        epoch: Epoch,
    ) -> Result<bool, KeyringFault> {
        let owner = Owner {
            tenant: content.tenant,
            bucket,
            domain,
        };
        let (record, _) = self.maker().record(Purpose::Data, owner, epoch).await?;
        check_enrolled(content, &record)?;
        retire(content, bucket, Some(domain));
        content.records.push(record);
        Ok(true)
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            provider: &self.provider,
            metrics: &self.metrics,
        }
    }
}

/// What a new bucket starts with: sealed objects only, names in clear. Part lists rebuilt from ListParts
/// are accepted, as resuming clients need; a bucket can be set to demand every part's ticket.
fn default_policy() -> BucketPolicy {
    BucketPolicy {
        mode: EncryptionMode::EncryptedOnly,
        suite_mask: Suite::FloeAes256Gcm.mask(),
        names: NameMode::Clear,
        freshness: FreshnessLevel::R0,
        pinning: Pinning::Tolerant,
        exposure: MetadataExposure::Sealed,
        // Hides the exact length of short metadata at little cost.
        metadata_padding: 32,
    }
}

fn active_entry<'a>(
    content: &'a mut KeyringContent,
    name: &str,
) -> Result<&'a mut BucketEntry, KeyringFault> {
    let mut entries = content.buckets.iter_mut();
    entries
        .find(|entry| entry.state == BucketState::Active && entry.name == *name)
        .ok_or(KeyringFault::BucketUnknown)
}

fn active_id(content: &KeyringContent, name: &str) -> Result<BucketId, KeyringFault> {
    let entry = content.active_bucket(name).ok_or(KeyringFault::BucketUnknown)?;
    Ok(entry.bucket)
}

/// Lets the keys of a bucket, or of one of its domains, open only.
fn retire(content: &mut KeyringContent, bucket: BucketId, domain: Option<DomainId>) {
    for record in &mut content.records {
        let is_meant = record.bucket == bucket && domain.is_none_or(|domain| record.domain == domain);
        if is_meant && record.state == RecordState::EncryptDecrypt {
            record.state = RecordState::DecryptOnly;
        }
    }
}

fn encoding(error: KeyringError) -> KeyringFault {
    KeyringFault::Document {
        place: Place::Local,
        error,
    }
}

fn draw() -> Result<[u8; 16], KeyringFault> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| KeyringFault::Random)?;
    Ok(bytes)
}

/// What a key belongs to.
#[derive(Clone, Copy)]
struct Owner {
    tenant: TenantId,
    bucket: BucketId,
    domain: DomainId,
}

/// Makes key records.
struct Maker<'a> {
    provider: &'a Arc<dyn KeyProvider>,
    metrics: &'a Arc<Metrics>,
}

impl Maker<'_> {
    /// A record of a fresh key, wrapped, and unwrapped once to be sure of the wrap.
    async fn record(
        &self,
        purpose: Purpose,
        owner: Owner,
        epoch: Epoch,
    ) -> Result<(KeyRecord, SecretKey), KeyringFault> {
        let key = self.fresh_key().await?;
        let mut record = KeyRecord {
            krid: Krid(draw()?),
            purpose,
            tenant: owner.tenant,
            bucket: owner.bucket,
            domain: owner.domain,
            epoch,
            suite_mask: Suite::FloeAes256Gcm.mask(),
            state: RecordState::EncryptDecrypt,
            not_before_ms: now_ms().saturating_sub(CLOCK_SKEW_MS),
            not_after_ms: u64::MAX,
            wraps: Vec::new(),
            check: [0; 32],
        };
        record.set_check(&key);
        let start = Instant::now();
        let wrap = self
            .provider
            .wrap(&key, &record.wrap_context(), Reason::Keyring, limits::KEY_WAIT)
            .await;
        let outcome = wrap.as_ref().err().map_or("ok", KeyError::code);
        self.metrics.kms_request("wrap", outcome, start.elapsed());
        record.wraps.push(wrap?);
        let again = unwrap_record(
            Arc::clone(self.provider),
            record.clone(),
            Reason::Keyring,
            Arc::clone(self.metrics),
        );
        again.await.map_err(|error| KeyringFault::Record {
            krid: record.krid,
            error,
        })?;
        Ok((record, key))
    }

    /// The provider's randomness mixed with the operating system's: neither is trusted alone.
    async fn fresh_key(&self) -> Result<SecretKey, KeyringFault> {
        let start = Instant::now();
        let drawn = self.provider.random(KEY_BYTES).await;
        let outcome = drawn.as_ref().err().map_or("ok", KeyError::code);
        self.metrics.kms_request("random", outcome, start.elapsed());
        let drawn = drawn?;
        let mut mixed = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(mixed.as_mut_slice()).map_err(|_| KeyringFault::Random)?;
        if drawn.len() != KEY_BYTES || drawn.iter().all(|byte| *byte == 0) {
            return Err(KeyringFault::Random);
        }
        for (to, from) in mixed.iter_mut().zip(drawn.iter()) {
            *to ^= from;
        }
        SecretKey::from_slice(mixed.as_slice())
            .filter(|key| !key.is_zero())
            .ok_or(KeyringFault::Random)
    }
}
