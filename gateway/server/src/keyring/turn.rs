//! New epochs by time and by volume.
//!
//! What lives here: when an epoch is over. What must not: how the next one is made (`change.rs`). Invariant: of
//! several gateways that find an epoch over, one begins the next; the others see that it is no longer the
//! newest when their own change is made on the newer content, and do nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sceau_keys::{BucketId, Krid};

use super::KeyringService;
use super::change::{CLOCK_SKEW_MS, Change};

/// When the epoch of a bucket is over. By default never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EpochLimits {
    /// After this time.
    pub max_age: Option<Duration>,
    /// After this many objects and uploads that this gateway began under it.
    pub max_writes: Option<u64>,
}

/// Writes begun under each sealing key since this process started.
#[derive(Default)]
pub(super) struct WriteCounts(Mutex<HashMap<Krid, u64>>);

impl WriteCounts {
    pub(super) fn add(&self, krid: Krid) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(krid).or_default();
        *count = count.saturating_add(1);
    }

    fn of(&self, krid: Krid) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&krid).copied().unwrap_or_default()
    }

    /// Forgets keys that no longer seal: there is one count for each bucket and domain at most.
    fn keep_only(&self, sealing: &[(String, BucketId, Krid, u64)]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|krid, _| sealing.iter().any(|(_, _, held, _)| held == krid));
    }
}

impl KeyringService {
    /// Begins the next epoch of every bucket whose epoch is over at `now_ms`; answers how many this gateway
    /// began. Failures are logged, and the epoch goes on: the limits are hygiene, not a reason to refuse writes.
    pub async fn turn_epochs(&self, now_ms: u64) -> usize {
        if self.epoch_limits == EpochLimits::default() {
            return 0;
        }
        let sealing = self.sealing_records(now_ms);
        self.writes.keep_only(&sealing);
        let mut begun = 0_usize;
        for (name, bucket, krid, made_ms) in sealing {
            if !self.is_over(krid, made_ms, now_ms) {
                continue;
            }
            match self
                .change(&Change::NextEpoch {
                    name: name.clone(),
                    krid,
                })
                .await
            {
                Ok(()) => {
                    begun = begun.saturating_add(1);
                    let next = self.active_epoch(bucket).map(|krid| krid.to_string());
                    tracing::info!(
                        bucket = name,
                        next = next.unwrap_or_default(),
                        "the epoch is over"
                    );
                }
                Err(fault) => {
                    tracing::warn!(
                        error_id = fault.id(),
                        bucket = name,
                        "the next epoch did not begin: {fault}"
                    );
                }
            }
        }
        begun
    }

    fn is_over(&self, krid: Krid, made_ms: u64, now_ms: u64) -> bool {
        let limits = self.epoch_limits;
        let age = Duration::from_millis(now_ms.saturating_sub(made_ms));
        limits.max_age.is_some_and(|max| age >= max)
            || limits.max_writes.is_some_and(|max| self.writes.of(krid) >= max)
    }

    /// Name, identity, sealing key of each active bucket and each of its shred domains, and when that was made.
    fn sealing_records(&self, now_ms: u64) -> Vec<(String, BucketId, Krid, u64)> {
        let keyring = self.keyring();
        let content = keyring.content();
        let records_of = |entry: &super::BucketEntry| {
            let sealing = |domain| {
                let record = content.sealing_record_of(entry.bucket, domain, now_ms)?;
                let made_ms = record.not_before_ms.saturating_add(CLOCK_SKEW_MS);
                Some((entry.name.clone(), entry.bucket, record.krid, made_ms))
            };
            let domains = content.domains(entry.bucket);
            domains.into_iter().filter_map(sealing).collect::<Vec<_>>()
        };
        self.buckets().iter().flat_map(records_of).collect()
    }
}
