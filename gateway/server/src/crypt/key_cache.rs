//! Unwrapped epoch keys: kept for a time limit in locked memory, unwrapped once for all who wait.
//!
//! What lives here: [`KeyCache`]. What must not: who may use a key (the keyring decides before it
//! asks here), how a key is unwrapped (the caller's future). Invariant: a key is handed out for at
//! most its time limit from the moment it was unwrapped, however often it is used, so that the limit
//! is the longest time for which a key disabled in the HSM still works here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sceau_keys::{Krid, LockedKey, SecretKey};
use tokio::sync::watch;

use crate::telemetry::{CacheOutcome, Metrics};

/// Keys unwrapped at the same time; more are refused rather than queued without bound.
const FLIGHTS_MAX: usize = 256;

/// Why the cache itself could not give a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheFault {
    /// Too many different keys are being unwrapped.
    Busy,
    /// The task that unwrapped the key ended without an answer.
    Lost,
}

/// A bounded set of unwrapped keys. `E` is the unwrapping's own error.
pub struct KeyCache<E> {
    shared: Arc<Shared<E>>,
    time_limit: Duration,
    entries_max: usize,
    metrics: Arc<Metrics>,
}

struct Shared<E> {
    slots: Mutex<HashMap<Krid, Slot<E>>>,
    /// Numbers unwrappings, so that one that was given up does not take the slot of its successor.
    flights: AtomicU64,
}

type Landed<E> = Option<Result<Arc<LockedKey>, E>>;

enum Slot<E> {
    Held {
        key: Arc<LockedKey>,
        expires: Instant,
    },
    InFlight {
        number: u64,
        landed: watch::Receiver<Landed<E>>,
    },
}

impl<E: Clone + From<CacheFault> + Send + Sync + 'static> KeyCache<E> {
    /// An empty cache of at most `entries_max` keys, each kept for `time_limit`.
    pub fn new(time_limit: Duration, entries_max: usize, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared {
            slots: Mutex::new(HashMap::new()),
            flights: AtomicU64::new(0),
        });
        Self {
            shared,
            time_limit,
            entries_max: entries_max.max(1),
            metrics,
        }
    }

    /// The key of `krid`, from memory or by running `unwrap`. While one caller's `unwrap` runs, the
    /// others wait for it instead of running theirs.
    ///
    /// Cancel-safe: `unwrap` runs in its own task, so the first caller going away does not take the
    /// answer from the others. Needs a tokio runtime. `unwrap` must end by itself (have a deadline).
    ///
    /// # Errors
    /// The error of `unwrap`, which is not remembered, or a [`CacheFault`].
    pub async fn key(
        &self,
        krid: Krid,
        unwrap: impl Future<Output = Result<SecretKey, E>> + Send + 'static,
    ) -> Result<Arc<LockedKey>, E> {
        let mut landed = match self.look_up(krid, Instant::now(), unwrap)? {
            Found::Key(key) => return Ok(key),
            Found::Flight(landed) => landed,
        };
        let outcome = landed
            .wait_for(Option::is_some)
            .await
            .map_err(|_| CacheFault::Lost)?;
        outcome
            .as_ref()
            .cloned()
            .unwrap_or_else(|| Err(CacheFault::Lost.into()))
    }

    /// Wipes the keys whose time is over. To be called a few times per time limit.
    pub fn wipe_expired(&self) {
        let now = Instant::now();
        let mut slots = self.shared.lock();
        slots.retain(|_, slot| match slot {
            Slot::Held { expires, .. } => now < *expires,
            Slot::InFlight { .. } => true,
        });
        self.metrics.key_cache_entries(slots.len());
    }

    /// Wipes every key; answers how many were held. Keys that are being unwrapped reach those who wait
    /// for them already and are not held; whoever asks from now on causes another unwrapping.
    ///
    /// The attack considered: a key disabled in the HSM right after it was unwrapped, whose answer lands
    /// after the drop and would serve for another time limit.
    pub fn drop_all(&self) -> usize {
        let mut slots = self.shared.lock();
        let held = slots
            .values()
            .filter(|slot| matches!(slot, Slot::Held { .. }))
            .count();
        slots.clear();
        self.metrics.key_cache_entries(0);
        held
    }

    fn look_up(
        &self,
        krid: Krid,
        now: Instant,
        unwrap: impl Future<Output = Result<SecretKey, E>> + Send + 'static,
    ) -> Result<Found<E>, E> {
        let mut slots = self.shared.lock();
        let outcome = match slots.get(&krid) {
            Some(Slot::Held { key, expires }) if now < *expires => {
                self.metrics.key_cache(CacheOutcome::Hit);
                return Ok(Found::Key(Arc::clone(key)));
            }
            Some(Slot::InFlight { landed, .. }) => {
                self.metrics.key_cache(CacheOutcome::Joined);
                return Ok(Found::Flight(landed.clone()));
            }
            Some(Slot::Held { .. }) => CacheOutcome::Expired,
            None => CacheOutcome::Miss,
        };
        self.metrics.key_cache(outcome);
        let flights = slots
            .values()
            .filter(|slot| matches!(slot, Slot::InFlight { .. }))
            .count();
        if flights >= FLIGHTS_MAX {
            return Err(CacheFault::Busy.into());
        }
        let (sender, landed) = watch::channel(None);
        let number = self.shared.flights.fetch_add(1, Ordering::Relaxed);
        let slot = Slot::InFlight {
            number,
            landed: landed.clone(),
        };
        slots.insert(krid, slot);
        drop(slots);
        let flight = Flight {
            shared: Arc::clone(&self.shared),
            krid,
            number,
            sender,
        };
        let (time_limit, entries_max) = (self.time_limit, self.entries_max);
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            let outcome = unwrap.await.map(|key| Arc::new(LockedKey::new(key)));
            let held = flight.land(outcome, time_limit, entries_max);
            metrics.key_cache_entries(held);
        });
        Ok(Found::Flight(landed))
    }
}

enum Found<E> {
    Key(Arc<LockedKey>),
    Flight(watch::Receiver<Landed<E>>),
}

impl<E> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Krid, Slot<E>>> {
        // Every change is one map operation, so a panic elsewhere leaves no half-made state.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One unwrapping under way; if it is dropped without landing, its slot is freed.
struct Flight<E> {
    shared: Arc<Shared<E>>,
    krid: Krid,
    number: u64,
    sender: watch::Sender<Landed<E>>,
}

impl<E> Flight<E> {
    /// Frees the slot if it is still this flight's: keys may have been dropped meanwhile.
    fn leave(&self, slots: &mut HashMap<Krid, Slot<E>>) -> bool {
        let is_ours =
            matches!(slots.get(&self.krid), Some(Slot::InFlight { number, .. }) if *number == self.number);
        if is_ours {
            slots.remove(&self.krid);
        }
        is_ours
    }

    /// Stores the outcome for later callers, then tells those who wait. Answers how many keys are held.
    fn land(self, outcome: Result<Arc<LockedKey>, E>, time_limit: Duration, entries_max: usize) -> usize {
        let mut slots = self.shared.lock();
        let is_wanted = self.leave(&mut slots);
        if let Some(key) = outcome.as_ref().ok().filter(|_| is_wanted) {
            let now = Instant::now();
            make_room(&mut slots, now, entries_max);
            // Too far in the future for the clock means: no sensible limit was set; keep nothing.
            if let Some(expires) = now.checked_add(time_limit) {
                slots.insert(
                    self.krid,
                    Slot::Held {
                        key: Arc::clone(key),
                        expires,
                    },
                );
            }
        }
        let held = slots.len();
        drop(slots);
        self.sender.send_replace(Some(outcome));
        held
    }
}

impl<E> Drop for Flight<E> {
    fn drop(&mut self) {
        // After landing the slot holds the key, or is gone; only an abandoned flight is still in it.
        if self.sender.borrow().is_none() {
            self.leave(&mut self.shared.lock());
        }
    }
}

/// Drops expired keys, then the one that would expire first, until one more fits.
fn make_room<E>(slots: &mut HashMap<Krid, Slot<E>>, now: Instant, entries_max: usize) {
    let held = |slots: &HashMap<Krid, Slot<E>>| {
        slots
            .iter()
            .filter_map(|(krid, slot)| match slot {
                Slot::Held { expires, .. } => Some((*expires, *krid)),
                Slot::InFlight { .. } => None,
            })
            .collect::<Vec<_>>()
    };
    let mut entries = held(slots);
    if entries.len() < entries_max {
        return;
    }
    entries.sort_unstable();
    let excess = entries.len().saturating_sub(entries_max).saturating_add(1);
    let expired = entries.iter().take_while(|(expires, _)| *expires <= now).count();
    for (_, krid) in entries.iter().take(excess.max(expired)) {
        slots.remove(krid);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    impl From<CacheFault> for &'static str {
        fn from(_: CacheFault) -> Self {
            "fault"
        }
    }

    fn cache(time_limit: Duration, entries_max: usize) -> KeyCache<&'static str> {
        KeyCache::new(time_limit, entries_max, Arc::new(Metrics::new().unwrap()))
    }

    fn krid(number: u8) -> Krid {
        Krid([number; 16])
    }

    async fn key(number: u8) -> Result<SecretKey, &'static str> {
        Ok(SecretKey::new([number; 32]))
    }

    async fn fail() -> Result<SecretKey, &'static str> {
        Err("down")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sixty_four_callers_cause_one_unwrap() {
        let cache = Arc::new(cache(Duration::from_secs(60), 10));
        let count = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (cache, count) = (Arc::clone(&cache), Arc::clone(&count));
                tokio::spawn(async move {
                    let unwrap = async move {
                        count.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        key(9).await
                    };
                    cache
                        .key(krid(1), unwrap)
                        .await
                        .ok()
                        .unwrap()
                        .with(<[u8]>::to_vec)
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), [9; 32]);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_first_caller_going_away_does_not_harm_the_second() {
        let cache = Arc::new(cache(Duration::from_secs(60), 10));
        let first = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move {
                let slow = async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    key(3).await
                };
                cache.key(krid(1), slow).await.map(drop)
            }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.abort();
        let second = cache.key(krid(1), fail()).await.ok().unwrap();
        assert_eq!(second.with(<[u8]>::to_vec), [3; 32]);
    }

    #[tokio::test]
    async fn use_does_not_prolong_a_keys_time() {
        let cache = cache(Duration::from_millis(80), 10);
        cache.key(krid(1), key(1)).await.ok().unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            assert!(cache.key(krid(1), fail()).await.is_ok(), "still held");
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(
            cache.key(krid(1), fail()).await.err(),
            Some("down"),
            "unwrapped again"
        );
        cache.key(krid(2), key(2)).await.ok().unwrap();
        tokio::time::sleep(Duration::from_millis(90)).await;
        cache.wipe_expired();
        assert!(cache.shared.lock().is_empty());
    }

    #[tokio::test]
    async fn errors_are_not_remembered_and_a_lost_task_frees_its_slot() {
        let cache = cache(Duration::from_secs(60), 10);
        assert_eq!(cache.key(krid(1), fail()).await.err(), Some("down"));
        assert_eq!(
            cache.key(krid(1), async { panic!("adapter defect") }).await.err(),
            Some("fault")
        );
        assert!(cache.key(krid(1), key(1)).await.is_ok());
    }

    #[tokio::test]
    async fn the_number_of_keys_is_bounded() {
        let cache = cache(Duration::from_secs(60), 2);
        for number in 1..=5 {
            cache.key(krid(number), key(number)).await.ok().unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(cache.shared.lock().len(), 2);
        assert!(cache.key(krid(5), fail()).await.is_ok(), "the newest stays");
        assert!(cache.key(krid(1), fail()).await.is_err(), "the oldest went");
    }

    #[tokio::test]
    async fn a_drop_empties_the_cache_and_what_was_in_flight_is_not_held() {
        let cache = Arc::new(cache(Duration::from_secs(60), 10));
        cache.key(krid(1), key(1)).await.ok().unwrap();
        let early = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move {
                let slow = async {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    key(2).await
                };
                cache.key(krid(2), slow).await.ok().unwrap().with(<[u8]>::to_vec)
            }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(cache.drop_all(), 1);
        assert_eq!(cache.key(krid(1), fail()).await.err(), Some("down"));
        assert_eq!(
            cache.key(krid(2), fail()).await.err(),
            Some("down"),
            "whoever comes after the drop does not wait for an unwrapping from before it"
        );
        cache.key(krid(2), key(3)).await.ok().unwrap();
        assert_eq!(early.await.unwrap(), [2; 32], "the request from before it ends");
        let held = cache.key(krid(2), fail()).await.ok().unwrap();
        assert_eq!(
            held.with(<[u8]>::to_vec),
            [3; 32],
            "what landed late replaces nothing"
        );
        cache.drop_all();
        assert!(cache.shared.lock().is_empty());
    }
}
