//! One record for every operation of the key provider.
//!
//! What lives here: [`Recorded`], which stands in front of a provider. What must not: decisions (they are
//! made before it is asked), keys held. Invariant: no call reaches the provider without its number, and the
//! numbers of one process have no gap, so that a record that is missing shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sceau_audit::{Class, Event};
use sceau_keys::{SecretKey, Wrap, WrapContext};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyStatus, Probe, ProviderInfo, Reason,
};
use zeroize::Zeroizing;

use super::caller::Caller;
use super::health::Standing;
use crate::audit::{self, Trail};
use crate::telemetry::Metrics;

/// The last number given in this process, which may use several providers: the keys before and after a rotation.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A provider whose calls are numbered, counted and written down.
pub struct Recorded {
    provider: Arc<dyn KeyProvider>,
    metrics: Arc<Metrics>,
    trail: Trail,
    standing: Standing,
}

impl Recorded {
    /// Stands in front of `provider`.
    pub fn over(provider: Arc<dyn KeyProvider>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::audited(provider, metrics, Trail::off())
    }

    /// As [`Recorded::over`], with records in the audit trail too.
    pub fn audited(provider: Arc<dyn KeyProvider>, metrics: Arc<Metrics>, trail: Trail) -> Arc<Self> {
        Arc::new(Self {
            provider,
            metrics,
            trail,
            standing: Standing::new(),
        })
    }

    /// What the calls told of the provider's health.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The audit trail that calls are reported to.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Numbers the call before it is made: a process that dies in it leaves a gap at the end only.
    fn begin(&self, op: &'static str, reason: Reason, context: Option<&WrapContext>) -> Call<'_> {
        Call {
            metrics: &self.metrics,
            trail: &self.trail,
            number: LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            op,
            reason,
            krid: context.map_or_else(String::new, |context| context.krid.to_string()),
            epoch: context.map_or(0, |context| context.epoch),
            caller: Caller::current(),
            started: Instant::now(),
            outcome: "cancelled",
        }
    }
}

/// One call; its record is written when it is dropped, so also for one that was cancelled.
struct Call<'a> {
    metrics: &'a Metrics,
    trail: &'a Trail,
    number: u64,
    op: &'static str,
    reason: Reason,
    krid: String,
    epoch: u32,
    caller: Arc<Caller>,
    started: Instant,
    outcome: &'static str,
}

impl Call<'_> {
    fn end<T>(mut self, result: Result<T, KeyError>) -> Result<T, KeyError> {
        self.outcome = result.as_ref().err().map_or("ok", KeyError::code);
        result
    }

    fn event(&self) -> Event {
        Event {
            request_id: self.caller.request_id.clone(),
            principal: self.caller.principal.clone(),
            operation: self.op,
            reason: self.reason.name(),
            bucket: self.caller.bucket.clone(),
            key_record: self.krid.clone(),
            epoch: (!self.krid.is_empty()).then_some(self.epoch),
            outcome: self.outcome,
            duration_us: Some(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)),
            detail: self.caller.operation.to_owned(),
            ..Event::new(Class::Key, audit::now_ns())
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics
            .key_operation(self.op, self.reason.name(), self.outcome);
        tracing::info!(
            target: "sceau::keys",
            seq = self.number,
            op = self.op,
            reason = self.reason.name(),
            principal = self.caller.principal,
            operation = self.caller.operation,
            bucket = self.caller.bucket,
            request_id = self.caller.request_id,
            key_record = self.krid,
            epoch = self.epoch,
            outcome = self.outcome,
            duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "key operation"
        );
        if self.trail.is_on() {
            self.trail.report(self.event(), None);
        }
    }
}

impl KeyProvider for Recorded {
    fn info(&self) -> &ProviderInfo {
        self.provider.info()
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>> {
        self.provider.describe()
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        Box::pin(async move {
            let call = self.begin("wrap", reason, Some(context));
            let outcome = self.provider.wrap(key, context, reason, deadline).await;
            self.standing.note(outcome.as_ref().map(drop), Instant::now());
            call.end(outcome)
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        Box::pin(async move {
            let call = self.begin("unwrap", reason, Some(context));
            let outcome = self.provider.unwrap(wrap, context, reason, deadline).await;
            self.standing.note(outcome.as_ref().map(drop), Instant::now());
            call.end(outcome)
        })
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(async move {
            let call = self.begin("random", Reason::Keyring, None);
            call.end(self.provider.random(bytes).await)
        })
    }

    fn health(&self, probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(async move {
            if probe == Probe::Shallow {
                let health = self.provider.health(probe).await;
                if health.state != HealthState::Ready {
                    self.standing.suspect();
                }
                return health;
            }
            let call = self.begin("probe", Reason::Health, None);
            let health = self.provider.health(probe).await;
            let _ = call.end(health.error.clone().map_or(Ok(()), Err));
            if health.state == HealthState::Ready {
                self.standing.note(Ok(()), Instant::now());
            } else {
                self.standing.suspect();
            }
            health
        })
    }
}
