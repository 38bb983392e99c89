//! What is known of the key provider's health, and which check would add to it.
//!
//! What lives here: [`Standing`], and the keyring service's recurring work with its checks. What must not: how
//! a provider is checked. Invariants: after a failure every check
//! uses the key until one succeeds; a check of a provider that served a moment ago costs nothing.
//!
//! Each use of the key is an operation of the HSM, which may be slow, counted or paid for. So a check rides
//! on the last real success where it can, and looks at the session where it cannot.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sceau_kms::{HealthState, KeyError, Probe};

use super::{KeyringService, now_ms};
use crate::admin::{Component, State};

/// How often the key provider's health is asked for.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// How long a key that nobody uses goes without being used by a check: so long may it be disabled in an HSM
/// that answers, on a gateway that needs it for nothing, before readiness tells. Longer than the default
/// `keys.cache_ttl`, so that a gateway at work has no checks of this kind.
const CANARY_INTERVAL: Duration = Duration::from_secs(600);

/// The last success, and whether something failed since.
pub(super) struct Standing(Mutex<Facts>);

#[derive(Clone, Copy)]
struct Facts {
    last_good: Option<Instant>,
    is_suspect: bool,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Facts {
            last_good: None,
            is_suspect: false,
        }))
    }

    /// The key was used at `now`, or should have been.
    pub(super) fn note(&self, outcome: Result<(), &KeyError>, now: Instant) {
        let mut facts = self.lock();
        match outcome {
            Ok(()) => {
                facts.last_good = Some(now);
                facts.is_suspect = false;
            }
            // About the wrap and not about the provider, and for whoever writes to the store to cause.
            Err(KeyError::InvalidCiphertext | KeyError::KeyNotFound) => {}
            Err(
                KeyError::Unavailable { .. }
                | KeyError::Timeout
                | KeyError::Throttled
                | KeyError::Denied
                | KeyError::KeyNotUsable
                | KeyError::NeedsOperator { .. }
                | KeyError::Misconfigured { .. }
                | KeyError::Internal,
            ) => facts.is_suspect = true,
        }
    }

    /// A check that did not use the key failed.
    pub(super) fn suspect(&self) {
        self.lock().is_suspect = true;
    }

    /// The check that is due at `now`; `None` when the provider proved itself since the last one.
    pub(super) fn due(&self, now: Instant) -> Option<Probe> {
        let facts = *self.lock();
        let age = facts.last_good.map(|good| now.saturating_duration_since(good));
        match age {
            Some(age) if !facts.is_suspect && age < HEALTH_INTERVAL => None,
            Some(age) if !facts.is_suspect && age < CANARY_INTERVAL => Some(Probe::Shallow),
            Some(_) | None => Some(Probe::Canary),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Facts> {
        // Every change is whole at each assignment, so a panic elsewhere leaves no half-made state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyringService {
    /// Refreshes, wipes and checks health for ever; to be spawned, and aborted at the end. A key provider
    /// that hangs holds up its own check and the refresh, and wipes nothing later.
    pub async fn run(self: Arc<Self>) {
        let refresh = async {
            let mut ticks = ticker(self.refresh_interval);
            loop {
                ticks.tick().await;
                // Reported where it happens; the keyring in use stays.
                if self.refresh().await.is_ok() {
                    self.turn_epochs(now_ms()).await;
                }
            }
        };
        let wipe = async {
            let mut ticks = ticker(self.wipe_interval);
            loop {
                ticks.tick().await;
                self.wipe_expired();
            }
        };
        let health = async {
            let mut ticks = ticker(HEALTH_INTERVAL);
            loop {
                ticks.tick().await;
                self.check_provider().await;
            }
        };
        tokio::join!(refresh, wipe, health);
    }

    /// Reports whether the key provider serves; by its last answer where that is young enough.
    async fn check_provider(&self) {
        let Some(probe) = self.recorded.standing().due(Instant::now()) else {
            return self.readiness.set(Component::Keys, State::Ready);
        };
        let health = self.provider.health(probe).await;
        let op = match probe {
            Probe::Shallow => "look",
            Probe::Canary => "probe",
        };
        let outcome = health.error.as_ref().map_or("ok", KeyError::code);
        self.metrics.kms_request(op, outcome, health.elapsed);
        let state = match health.state {
            HealthState::Ready => State::Ready,
            HealthState::Recovering | HealthState::Down => {
                let why = health
                    .error
                    .map_or_else(|| "no reason given".to_owned(), |error| error.to_string());
                tracing::warn!(error_id = "E-KEYS-010", "the key provider does not serve: {why}");
                State::Failing(why)
            }
        };
        self.readiness.set(Component::Keys, state);
    }
}

fn ticker(interval: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticker
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_check_costs_no_more_than_it_must() {
        let (standing, start) = (Standing::new(), Instant::now());
        assert_eq!(standing.due(start), Some(Probe::Canary), "nothing is known");
        standing.note(Ok(()), start);
        assert_eq!(standing.due(start + 9 * SECOND), None);
        assert_eq!(standing.due(start + 10 * SECOND), Some(Probe::Shallow));
        assert_eq!(standing.due(start + 599 * SECOND), Some(Probe::Shallow));
        assert_eq!(standing.due(start + 600 * SECOND), Some(Probe::Canary));
    }

    #[test]
    fn after_a_failure_only_the_key_itself_convinces() {
        let (standing, start) = (Standing::new(), Instant::now());
        standing.note(Ok(()), start);
        standing.note(Err(&KeyError::Timeout), start);
        assert_eq!(standing.due(start + SECOND), Some(Probe::Canary));
        standing.note(Ok(()), start + SECOND);
        assert_eq!(standing.due(start + 2 * SECOND), None);
        standing.suspect();
        assert_eq!(standing.due(start + 2 * SECOND), Some(Probe::Canary));
    }

    #[test]
    fn altered_wraps_cause_no_checks() {
        let (standing, start) = (Standing::new(), Instant::now());
        standing.note(Ok(()), start);
        standing.note(Err(&KeyError::InvalidCiphertext), start);
        standing.note(Err(&KeyError::KeyNotFound), start);
        assert_eq!(standing.due(start + SECOND), None);
    }
}
