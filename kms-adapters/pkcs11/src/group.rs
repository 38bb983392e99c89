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

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use sceau_keys::{SecretKey, Wrap, WrapContext};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyStatus, Probe, ProviderInfo, Reason,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::breaker::Breaker;
use crate::config::{Pkcs11Config, misconfigured};
use crate::enrol::enrolment_context;
use crate::provider::{Pkcs11Provider, TokenFacts};

/// Most HSMs in a group.
pub const ENDPOINTS_MAX: usize = 8;
/// How long the first member may take for an unwrap before a second one is asked as well.
pub const HEDGE_AFTER: Duration = Duration::from_millis(250);
/// Unwraps that a second member is asked for at a time, because the first one is late. Beyond it the first one
/// gets half of the time, so that a whole site that is slow does not double the load of the other.
const HEDGES_MAX: usize = 16;
/// How often members that rest are tried with a canary, and how long that is waited for.
const CANARY_INTERVAL: Duration = Duration::from_secs(2);
/// How often the others are looked at, so that one that nobody asks is known to be away before it is needed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
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
    breaker: Breaker,
}

impl Member {
    fn new(config: Pkcs11Config) -> Self {
        Self {
            config,
            provider: OnceLock::new(),
            breaker: Breaker::new(),
        }
    }

    /// Its turn, lowest first: members that rest come last, then those of other sites, then those that only
    /// stand by; among equals the one with the fewest requests for its weight, then the first in the file.
    fn turn(&self, provider: &Pkcs11Provider) -> (bool, bool, bool, usize) {
        let weight = usize::from(self.config.weight);
        let load = provider.queue_depth().saturating_add(1).saturating_mul(1000);
        (
            self.breaker.is_open(),
            !self.config.is_local,
            weight == 0,
            load.checked_div(weight).unwrap_or(load),
        )
    }
}

/// One member that was asked and has not answered yet.
struct Attempt<'a, T> {
    member: &'a Member,
    answer: BoxFuture<'a, Result<T, KeyError>>,
    // Held by those that were asked beside another one.
    _hedge: Option<SemaphorePermit<'a>>,
}

/// Waits for whichever answers first; it is taken out.
async fn first_of<'a, T>(running: &mut Vec<Attempt<'a, T>>) -> (&'a Member, Result<T, KeyError>) {
    poll_fn(|context| {
        let answered = running.iter_mut().enumerate().find_map(|(at, attempt)| {
            match attempt.answer.as_mut().poll(context) {
                Poll::Ready(outcome) => Some((at, outcome)),
                Poll::Pending => None,
            }
        });
        match answered {
            Some((at, outcome)) => Poll::Ready((running.remove(at).member, outcome)),
            None => Poll::Pending,
        }
    })
    .await
}

/// How a request may be put to more than one member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// To a second one soon, and to both at once: asking twice changes nothing.
    Hedged,
    /// To the next one when half of the time is over.
    Plain,
}

struct Inner {
    members: Vec<Member>,
    module_sha256: String,
    /// A wrap that every member must open, and what is in it.
    proof: (Wrap, SecretKey),
    hedge_after: Duration,
    hedges: Semaphore,
    /// How often a second member was asked because the first was late.
    hedged: AtomicU64,
}

/// One key in one or several HSMs, as one key provider. Members of the local site are asked first, among them the
/// one with the fewest requests for its weight; the next one when it fails or is late. One that failed is asked
/// last until its canary comes back.
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
        Self::spawn_with(configs, HEDGE_AFTER).await
    }

    /// As [`Pkcs11Group::spawn`]; a second member is asked for an unwrap that took longer than `hedge_after`.
    ///
    /// # Errors
    /// As [`Pkcs11Group::spawn`].
    pub async fn spawn_with(configs: Vec<Pkcs11Config>, hedge_after: Duration) -> Result<Self, KeyError> {
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
            hedge_after,
            hedges: Semaphore::new(HEDGES_MAX),
            hedged: AtomicU64::new(0),
        });
        for (place, provider) in ready {
            inner.admit(place, provider).await;
        }
        if inner.members.len() > 1 {
            tokio::spawn(start_the_rest(Arc::downgrade(&inner)));
            tokio::spawn(tend(Arc::downgrade(&inner)));
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

    /// How often a second member was asked because the first was late.
    pub fn hedged(&self) -> u64 {
        self.inner.hedged.load(Ordering::Relaxed)
    }

    /// Whether each endpoint serves, as far as is known: it was started, proved, and does not rest after a
    /// failure.
    pub fn endpoints_up(&self) -> Vec<bool> {
        let is_up = |member: &Member| member.provider.get().is_some() && !member.breaker.is_open();
        self.inner.members.iter().map(is_up).collect()
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

/// Tries members that rest, and looks at the others, until the group is dropped. A request never has to find
/// out whether a member is well again.
async fn tend(group: Weak<Inner>) {
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(CANARY_INTERVAL).await;
        let Some(inner) = group.upgrade() else { return };
        let is_look_due = looked.elapsed() >= LOOK_INTERVAL;
        if is_look_due {
            looked = Instant::now();
        }
        for (place, (member, provider)) in inner.providers().enumerate() {
            if member.breaker.is_open() {
                if provider.health(Probe::Canary).await.state == HealthState::Ready {
                    tracing::info!(endpoint = place, "the HSM of the group serves again");
                    member.breaker.close();
                }
            } else if is_look_due && provider.health(Probe::Shallow).await.state != HealthState::Ready {
                tracing::warn!(endpoint = place, "an HSM of the group does not answer");
                member.breaker.open();
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

    /// Asks one member, and the next one when it fails or is late; the first good or final answer counts.
    async fn ask<'a, T, F>(&'a self, deadline: Duration, manner: Manner, call: F) -> Result<T, KeyError>
    where
        F: Fn(&'a Pkcs11Provider, Duration) -> BoxFuture<'a, Result<T, KeyError>>,
    {
        let begun = Instant::now();
        let mut turns: Vec<_> = self.providers().collect();
        turns.sort_by_cached_key(|(member, provider)| member.turn(provider));
        let mut turns = turns.into_iter().peekable();
        let mut running: Vec<Attempt<'a, T>> = Vec::new();
        let mut last = KeyError::Unavailable {
            retry_after: RETRY_SOON,
        };
        loop {
            let left = deadline.saturating_sub(begun.elapsed());
            if running.is_empty() {
                let Some((member, provider)) = turns.next() else {
                    return Err(last);
                };
                let answer = call(provider, left);
                running.push(Attempt {
                    member,
                    answer,
                    _hedge: None,
                });
            }
            let hedge = match manner {
                Manner::Hedged => self.hedges.try_acquire().ok(),
                Manner::Plain => None,
            };
            let patience = match hedge {
                Some(_) => self.hedge_after.min(left.mul_f32(0.5)),
                None => left.mul_f32(0.5),
            };
            let late = Instant::now().checked_add(patience).ok_or(KeyError::Internal)?;
            tokio::select! {
                (member, outcome) = first_of(&mut running) => match outcome {
                    Err(error) if may_pass_on(&error) => {
                        // An expired deadline says nothing about the member.
                        if !deadline.is_zero() {
                            member.breaker.failed();
                        }
                        last = error;
                    }
                    answer => {
                        member.breaker.succeeded();
                        // Whoever was asked before it and is still at it was late.
                        running.iter().for_each(|attempt| attempt.member.breaker.was_late());
                        return answer;
                    }
                },
                () = sleep_until(late), if turns.peek().is_some() => {
                    if let Some((member, provider)) = turns.next() {
                        self.hedged.fetch_add(1, Ordering::Relaxed);
                        let left = deadline.saturating_sub(begun.elapsed());
                        running.push(Attempt { member, answer: call(provider, left), _hedge: hedge });
                    }
                }
            }
        }
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
        Box::pin(
            self.inner
                .ask(PROOF_TIME, Manner::Plain, |provider, _| provider.describe()),
        )
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        Box::pin(async move {
            let made = self.inner.ask(deadline, Manner::Plain, move |provider, time| {
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
        Box::pin(self.inner.ask(deadline, Manner::Hedged, move |provider, time| {
            provider.unwrap(wrap, context, reason, time)
        }))
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(self.inner.ask(PROOF_TIME, Manner::Plain, move |provider, _| {
            provider.random(bytes)
        }))
    }

    fn health(&self, probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(self.inner.look(probe))
    }
}
