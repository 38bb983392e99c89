//! Several HSMs that hold one key: whichever serves.
//!
//! What lives here: [`Pkcs11Group`], the order of its members, their breakers, the proof that they hold the
//! same key. What must not: what happens inside one member. Invariant: a member is asked only after it
//! opened a wrap that another member made; a refusal of the wrap itself is final, whoever says it.
//!
//! Attack considered: a second HSM with another key of the same label, put there by mistake or on purpose.
//! New keys wrapped by it could be opened by it only. So labels prove nothing here: the canary does.
//!
//! The members' wraps bear one name, the group's: the key has been enrolled once, under the serial number of
//! the token where it was then, and a copy of it in another token is no other key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sceau_keys::{SecretKey, Wrap, WrapContext};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyStatus, Probe, ProviderInfo, Reason,
};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::config::{Pkcs11Config, misconfigured};
use crate::enrol::enrolment_context;
use crate::provider::{Pkcs11Provider, TokenFacts};

/// Most HSMs in a group.
pub const ENDPOINTS_MAX: usize = 8;
/// How long a member that failed is asked last: twice the time that a hung one costs a request.
const BREAKER_OPEN: Duration = Duration::from_secs(5);
/// Failures in a row from which a member is asked last. One is enough: a member that hangs would cost every
/// request half its time.
const BREAKER_FAILURES: u64 = 1;
/// How often members that did not start are tried again.
const START_INTERVAL: Duration = Duration::from_secs(30);
/// Time for one call of the proof.
const PROOF_TIME: Duration = Duration::from_secs(5);
/// When to ask again while no member serves.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// One HSM of a group.
struct Member {
    config: Pkcs11Config,
    /// Set once it was started and proved to hold the key.
    provider: OnceLock<Arc<Pkcs11Provider>>,
    /// Failures since the last success.
    failures: AtomicU64,
    /// When it failed last.
    failed: Mutex<Option<Instant>>,
}

impl Member {
    fn new(config: Pkcs11Config) -> Self {
        Self {
            config,
            provider: OnceLock::new(),
            failures: AtomicU64::new(0),
            failed: Mutex::new(None),
        }
    }

    /// Whether its turn is after the others'. When its rest is over one caller is told that it is not, and
    /// the rest begins anew for the others: a member that hangs costs one request its time, not all of them.
    fn goes_last(&self) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failures.load(Ordering::Relaxed) < BREAKER_FAILURES {
            return false;
        }
        let is_over = failed.is_none_or(|failed| failed.elapsed() >= BREAKER_OPEN);
        if is_over {
            *failed = Some(Instant::now());
        }
        !is_over
    }

    fn note(&self, is_good: bool) {
        if is_good {
            self.failures.store(0, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

struct Inner {
    members: Vec<Member>,
    module_sha256: String,
    /// A wrap that every member must open, and what is in it.
    proof: (Wrap, SecretKey),
}

/// One key in one or several HSMs, as one key provider. The first endpoint is asked first; the next ones
/// when it fails, or has not answered in half of the time that is left.
pub struct Pkcs11Group {
    inner: Arc<Inner>,
    info: ProviderInfo,
}

impl Pkcs11Group {
    /// Starts every endpoint and proves that they hold the same key. One that is away at the start is
    /// tried again every 30 s.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] where the endpoints cannot be of one key; otherwise the first
    /// endpoint's error, when none of them starts.
    pub async fn spawn(configs: Vec<Pkcs11Config>) -> Result<Self, KeyError> {
        check(&configs)?;
        let members: Vec<_> = configs.into_iter().map(Member::new).collect();
        let mut starting = JoinSet::new();
        for (place, member) in members.iter().enumerate() {
            let config = member.config.clone();
            starting.spawn(async move { (place, Pkcs11Provider::spawn(config).await) });
        }
        let mut started: Vec<_> = starting.join_all().await;
        started.sort_by_key(|(place, _)| *place);
        let mut ready = Vec::new();
        let mut refusal = None;
        for (place, outcome) in started {
            match outcome {
                Ok(provider) => ready.push((place, Arc::new(provider))),
                Err(error) => {
                    tracing::error!(endpoint = place, %error, "an HSM of the group did not start");
                    refusal = refusal.or(Some(error));
                }
            }
        }
        let Some((_, first)) = ready.first() else {
            return Err(refusal.unwrap_or(KeyError::Internal));
        };
        let info = first.info().clone();
        let inner = Arc::new(Inner {
            module_sha256: first.module_sha256().to_owned(),
            proof: proof(first).await?,
            members,
        });
        for (place, provider) in ready {
            inner.admit(place, provider).await;
        }
        if inner.members.len() > 1 {
            tokio::spawn(start_the_rest(Arc::downgrade(&inner)));
        }
        Ok(Self { inner, info })
    }

    /// The group under the name that its key was enrolled under, where that is another one than the first
    /// member's. The caller has proved that it is that key.
    #[must_use]
    pub fn named(mut self, instance: String) -> Self {
        self.info.instance = instance;
        self
    }

    /// How often helpers of the group were started after their first.
    pub fn restarts(&self) -> u64 {
        let providers = self.inner.providers();
        providers.map(|(_, provider)| provider.restarts()).sum()
    }

    /// What the tokens told that are there.
    pub fn facts(&self) -> Vec<&TokenFacts> {
        self.inner
            .providers()
            .map(|(_, provider)| provider.facts())
            .collect()
    }

    /// SHA-256 of the first endpoint's module in hexadecimal.
    pub fn module_sha256(&self) -> &str {
        &self.inner.module_sha256
    }

    /// Process ids of the running helpers, by endpoint.
    pub fn helper_pids(&self) -> Vec<Option<u32>> {
        let pid = |member: &Member| member.provider.get().and_then(|provider| provider.helper_pid());
        self.inner.members.iter().map(pid).collect()
    }
}

fn check(configs: &[Pkcs11Config]) -> Result<(), KeyError> {
    let first = configs
        .first()
        .ok_or_else(|| misconfigured("there is no endpoint"))?;
    if configs.len() > ENDPOINTS_MAX {
        return Err(misconfigured(format!(
            "a group has at most {ENDPOINTS_MAX} endpoints"
        )));
    }
    let is_same = |config: &Pkcs11Config| {
        config.key_label == first.key_label
            && config.key_version == first.key_version
            && config.scheme == first.scheme
    };
    if configs.len() > 1 && (first.scheme.is_none() || !configs.iter().all(is_same)) {
        return Err(misconfigured(
            "the endpoints of a group have one key label, version and scheme",
        ));
    }
    Ok(())
}

/// A fresh key, wrapped by `provider`.
async fn proof(provider: &Pkcs11Provider) -> Result<(Wrap, SecretKey), KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Internal)?;
    let key = SecretKey::from_slice(bytes.as_slice()).ok_or(KeyError::Internal)?;
    let context = enrolment_context();
    let wrap = provider
        .wrap(&key, &context, Reason::Enrolment, PROOF_TIME)
        .await?;
    Ok((wrap, key))
}

/// Tries members that are not there yet, until the group is dropped.
async fn start_the_rest(group: Weak<Inner>) {
    loop {
        tokio::time::sleep(START_INTERVAL).await;
        let Some(inner) = group.upgrade() else { return };
        for place in 0..inner.members.len() {
            let Some(member) = inner.members.get(place) else {
                continue;
            };
            if member.provider.get().is_some() {
                continue;
            }
            match Pkcs11Provider::spawn(member.config.clone()).await {
                Ok(provider) => inner.admit(place, Arc::new(provider)).await,
                Err(error) => tracing::warn!(endpoint = place, %error, "an HSM of the group is away"),
            }
        }
    }
}

/// Whether another HSM may do what this one did not.
fn may_pass_on(error: &KeyError) -> bool {
    error.is_retryable() || matches!(error, KeyError::NeedsOperator { .. })
}

impl Inner {
    /// Takes a started member in, if it holds the key.
    async fn admit(&self, place: usize, provider: Arc<Pkcs11Provider>) {
        let (wrap, key) = &self.proof;
        let opened = provider
            .unwrap(wrap, &enrolment_context(), Reason::Enrolment, PROOF_TIME)
            .await;
        match opened {
            Ok(back) if back.ct_eq(key) => {
                if let Some(member) = self.members.get(place) {
                    let _ = member.provider.set(provider);
                    tracing::info!(endpoint = place, "the HSM holds the key of the group");
                }
            }
            Ok(_) | Err(KeyError::InvalidCiphertext) => tracing::error!(
                endpoint = place,
                "this HSM holds ANOTHER key of that name; it is not used"
            ),
            Err(error) => tracing::warn!(endpoint = place, %error, "an HSM of the group could not be proved"),
        }
    }

    fn providers(&self) -> impl Iterator<Item = (&Member, &Arc<Pkcs11Provider>)> {
        let members = self.members.iter();
        members.filter_map(|member| Some((member, member.provider.get()?)))
    }

    /// Asks one member after the other, those that failed just now last.
    async fn ask<'a, T, F>(&'a self, deadline: Duration, call: F) -> Result<T, KeyError>
    where
        F: Fn(&'a Pkcs11Provider, Duration) -> BoxFuture<'a, Result<T, KeyError>>,
    {
        let begun = Instant::now();
        let mut turns: Vec<_> = self.providers().collect();
        turns.sort_by_cached_key(|(member, _)| member.goes_last());
        let mut last = KeyError::Unavailable {
            retry_after: RETRY_SOON,
        };
        let count = turns.len();
        for (turn, (member, provider)) in turns.into_iter().enumerate() {
            let left = deadline.saturating_sub(begun.elapsed());
            // Half for this one, so that a member that hangs leaves time for the next.
            let is_last = turn.saturating_add(1) >= count;
            let time = if is_last { left } else { left.mul_f32(0.5) };
            match call(provider, time).await {
                Err(error) if may_pass_on(&error) => {
                    // An expired deadline says nothing about the member.
                    if !deadline.is_zero() {
                        member.note(false);
                    }
                    last = error;
                }
                answer => {
                    member.note(true);
                    return answer;
                }
            }
        }
        Err(last)
    }

    async fn look(&self, probe: Probe) -> Health {
        let mut worst = None;
        for (_, provider) in self.providers() {
            let health = provider.health(probe).await;
            if health.state == HealthState::Ready {
                return health;
            }
            // What heals by itself is told rather than what does not.
            if worst
                .as_ref()
                .is_none_or(|worst: &Health| worst.state == HealthState::Down)
            {
                worst = Some(health);
            }
        }
        worst.unwrap_or(Health {
            state: HealthState::Down,
            error: None,
            elapsed: Duration::ZERO,
        })
    }
}

impl KeyProvider for Pkcs11Group {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>> {
        Box::pin(self.inner.ask(PROOF_TIME, |provider, _| provider.describe()))
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        Box::pin(async move {
            let made = self.inner.ask(deadline, move |provider, time| {
                provider.wrap(key, context, reason, time)
            });
            Ok(Wrap {
                provider: self.info.instance.clone(),
                ..made.await?
            })
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        Box::pin(self.inner.ask(deadline, move |provider, time| {
            provider.unwrap(wrap, context, reason, time)
        }))
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(
            self.inner
                .ask(PROOF_TIME, move |provider, _| provider.random(bytes)),
        )
    }

    fn health(&self, probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(self.inner.look(probe))
    }
}
