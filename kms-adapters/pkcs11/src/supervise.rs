//! The supervisor: keeps one helper running and requests moving.
//!
//! What lives here: what waits and what is sent, the watchdog, the second helper beside one that hangs.
//! What must not: the meaning of bodies. Invariants: every accepted request is answered once; it is sent to
//! at most two helpers; a helper has no more requests than workers, so that one without an answer is one
//! that a worker hangs in; after an answer that needs an operator no helper is started again before the
//! operator changed the PIN file.

use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sceau_kms::KeyError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::calls::{Call, RETRY_SOON, Shared, State};
use crate::config::PinSource;
use crate::frame;
use crate::link::Link;
use crate::start::{Starter, Starting, back_off};

/// A worker without answer for this long hangs: then a second helper is started, even for one of many
/// workers. A helper all of whose workers hang is killed then also when no second one became ready.
pub(crate) const HARD_LIMIT: Duration = Duration::from_secs(10);
/// The same where half of the workers or more are without answer, or all that have work while no other one
/// answered, and nothing shows that the device is that slow. Short enough that what they hang in can be sent to the second helper and still be in time.
const STUCK_AFTER: Duration = Duration::from_secs(3);
/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// A helper that served this long has recovered: the next restart is immediate again. It bounds the logins
/// that a device gets which fails again and again.
const STABLE_AFTER: Duration = Duration::from_secs(3);
/// How long callers wait for a restart before they are told at once that there is no helper.
const RESTART_PATIENCE: Duration = Duration::from_secs(2);
/// How often the PIN file is looked at while an operator is needed.
const LATCH_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Why a helper stopped serving.
enum End {
    /// It died, hung or answered nonsense.
    Died,
    /// The provider was dropped.
    Dropped,
    /// It asks for an operator.
    Latched(KeyError),
    /// It hung, and another one stands ready.
    Replaced(Link),
}

struct Pending {
    call: Call,
    sent: Instant,
}

/// One helper's requests, and what they tell of it.
#[derive(Default)]
struct Watch {
    pending: HashMap<u64, Pending>,
    /// When it answered last.
    answered: Option<Instant>,
    /// The longest that this helper took for an answer.
    slowest: Duration,
    /// A second helper on its way.
    spare: Option<Starting>,
    /// Second helpers that did not become ready, and when the next one may be tried.
    spare_failures: u32,
    spare_after: Option<Instant>,
}

impl Watch {
    /// Workers without an answer for `limit`.
    fn overdue(&self, limit: Duration) -> usize {
        let pending = self.pending.values();
        pending.filter(|pending| pending.sent.elapsed() >= limit).count()
    }

    /// Whether the helper hangs so much that a second one should stand ready.
    fn is_suspect(&self, workers: usize) -> bool {
        // A device that answered this slowly before is slow and not gone.
        let limit = STUCK_AFTER.max(self.slowest.saturating_mul(2)).min(HARD_LIMIT);
        is_half(self.overdue(limit), workers) || self.is_silent(limit) || self.overdue(HARD_LIMIT) > 0
    }

    /// Whether all that it has to do is without answer for `limit`, and it answered nothing else meanwhile.
    fn is_silent(&self, limit: Duration) -> bool {
        let is_quiet = self.answered.is_none_or(|answered| answered.elapsed() >= limit);
        is_quiet && !self.pending.is_empty() && self.overdue(limit) >= self.pending.len()
    }

    /// Whether no worker is left, as far as can be told. While there is one, the helper is better than none: the device may not
    /// let a second one in.
    fn is_lost(&self, workers: usize) -> bool {
        self.overdue(HARD_LIMIT) >= workers || self.is_silent(HARD_LIMIT)
    }

    fn may_try_spare(&self) -> bool {
        self.spare.is_none() && self.spare_after.is_none_or(|after| Instant::now() >= after)
    }
}

/// Whether `part` of `whole` is half or more.
fn is_half(part: usize, whole: usize) -> bool {
    part > 0 && part.saturating_mul(2) >= whole
}

/// Waits for the second helper, for ever if there is none on its way. Cancel-safe.
async fn spare_ready(starter: &mut Starter, spare: &mut Option<Starting>) -> Result<Link, KeyError> {
    match spare {
        Some(starting) => starter.finish(starting).await,
        None => std::future::pending().await,
    }
}

pub(crate) struct Supervisor {
    starter: Starter,
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    /// Calls that no worker is free for, or whose helper died; each has a place, so they are bounded.
    waiting: VecDeque<Call>,
    next_id: u64,
}

impl Supervisor {
    pub(crate) fn new(starter: Starter, shared: Arc<Shared>, calls: mpsc::Receiver<Call>) -> Self {
        Self {
            starter,
            shared,
            calls,
            waiting: VecDeque::new(),
            next_id: 0,
        }
    }

    pub(crate) async fn run(mut self, first: Link) {
        let mut failures: u32 = 0;
        let mut link = Some(first);
        loop {
            let Some(running) = link.take() else { return };
            let since = Instant::now();
            self.shared
                .pid
                .store(running.pid().unwrap_or(0), Ordering::Relaxed);
            self.shared.set(State::Serving);
            let end = self.serve(running).await;
            self.shared.pid.store(0, Ordering::Relaxed);
            if since.elapsed() >= STABLE_AFTER {
                failures = 0;
            }
            match end {
                End::Died => {}
                End::Dropped => return,
                End::Latched(error) => {
                    if self.latch(error).await.is_none() {
                        return;
                    }
                }
                End::Replaced(next) => {
                    self.shared.restarts.fetch_add(1, Ordering::Relaxed);
                    link = Some(next);
                    continue;
                }
            }
            tracing::warn!(failures, "the PKCS#11 helper is gone; starting another");
            link = self.restart(&mut failures).await;
        }
    }

    /// Starts helpers until one is ready; `None` when there is no use in going on.
    async fn restart(&mut self, failures: &mut u32) -> Option<Link> {
        loop {
            let delay = back_off(*failures);
            if delay > RESTART_PATIENCE && self.shared.refusal().is_none() {
                let until = Instant::now().checked_add(delay)?;
                let retry_after = RETRY_SOON;
                self.down(until, KeyError::Unavailable { retry_after });
            }
            self.pause(delay).await?;
            *failures = failures.saturating_add(1);
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
            let error = match self.start_again().await {
                Ok(link) => return Some(link),
                Err(error) => error,
            };
            tracing::error!(%error, "the PKCS#11 helper did not become ready");
            if matches!(error, KeyError::NeedsOperator { .. }) {
                self.latch(error).await?;
                continue;
            }
            let until = Instant::now().checked_add(back_off(*failures))?;
            self.down(until, error);
        }
    }

    /// One start. Callers wait for it a while, and are refused at once when it takes longer.
    async fn start_again(&mut self) -> Result<Link, KeyError> {
        let mut starting = self.starter.begin();
        let patience = sleep(RESTART_PATIENCE);
        tokio::select! {
            outcome = self.starter.finish(&mut starting) => return outcome,
            () = patience => {}
        }
        let until = Instant::now().checked_add(RETRY_SOON).ok_or(KeyError::Internal)?;
        let error = KeyError::Unavailable {
            retry_after: RETRY_SOON,
        };
        tracing::warn!("the PKCS#11 helper takes long to start");
        self.down(until, error);
        self.starter.finish(&mut starting).await
    }

    /// From now on callers are refused at once.
    fn down(&mut self, until: Instant, error: KeyError) {
        self.shared.set(State::Down { until, error });
        if let Some(refusal) = self.shared.refusal() {
            self.refuse_waiting(&refusal);
        }
    }

    /// Waits; `None` when the provider was dropped meanwhile.
    async fn pause(&mut self, delay: Duration) -> Option<()> {
        let until = Instant::now().checked_add(delay)?;
        while !delay.is_zero() {
            tokio::select! {
                () = sleep_until(until) => break,
                call = self.calls.recv() => {
                    let call = call?;
                    match self.shared.refusal() {
                        Some(error) => call.answer(Err(error)),
                        None => self.waiting.push_back(call),
                    }
                }
            }
        }
        Some(())
    }

    /// Answers everything that waits with `error`.
    fn refuse_waiting(&mut self, error: &KeyError) {
        for call in self.waiting.drain(..) {
            call.answer(Err(error.clone()));
        }
        while let Ok(call) = self.calls.try_recv() {
            call.answer(Err(error.clone()));
        }
    }

    /// From now on every call gets `error`, until the PIN file changes or the provider is dropped, which
    /// answers `None`. Each change is worth one attempt.
    async fn latch(&mut self, error: KeyError) -> Option<()> {
        tracing::error!(%error, "the PKCS#11 helper stays down until an operator acts");
        let refused = pin_facts(self.starter.pin()).await;
        self.shared.set(State::Latched(error.clone()));
        self.refuse_waiting(&error);
        let mut look = interval(LATCH_LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = self.calls.recv() => call?.answer(Err(error.clone())),
                _ = look.tick() => {
                    let now = pin_facts(self.starter.pin()).await;
                    if now.is_some() && now != refused {
                        tracing::info!("the PIN file changed; trying it once");
                        return Some(());
                    }
                }
            }
        }
    }

    async fn serve(&mut self, mut link: Link) -> End {
        let mut watch = Watch::default();
        let end = self.exchange(&mut link, &mut watch).await;
        link.end().await;
        // The oldest first again, before what came later.
        let mut pending: Vec<_> = watch.pending.into_iter().collect();
        pending.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        for (_, Pending { mut call, .. }) in pending {
            match &end {
                End::Latched(error) => call.answer(Err(error.clone())),
                End::Died | End::Replaced(_) if !call.was_sent && call.is_waited_for() => {
                    call.was_sent = true;
                    self.waiting.push_front(call);
                }
                End::Died | End::Dropped | End::Replaced(_) => {
                    call.answer(Err(KeyError::Unavailable {
                        retry_after: RETRY_SOON,
                    }));
                }
            }
        }
        end
    }

    /// Moves requests and answers until the helper's end.
    async fn exchange(&mut self, link: &mut Link, watch: &mut Watch) -> End {
        self.send_waiting(link, watch);
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                answer = link.next() => match answer {
                    Some(frame) => Self::take(watch, &frame),
                    None => Some(End::Died),
                },
                call = self.calls.recv() => match call {
                    None => Some(End::Dropped),
                    Some(call) => {
                        self.waiting.push_back(call);
                        None
                    }
                },
                outcome = spare_ready(&mut self.starter, &mut watch.spare) => self.weigh_spare(watch, outcome).await,
                _ = ticks.tick() => self.look(watch),
            };
            if let Some(end) = end {
                return end;
            }
            self.send_waiting(link, watch);
        }
    }

    /// Hands an answer to its caller.
    fn take(watch: &mut Watch, frame: &[u8]) -> Option<End> {
        let Some((id, answer)) = frame::read_answer(frame) else {
            return Some(End::Died);
        };
        // An id that is not pending means a confused helper.
        let Some(Pending { call, sent }) = watch.pending.remove(&id) else {
            return Some(End::Died);
        };
        watch.slowest = watch.slowest.max(sent.elapsed());
        watch.answered = Some(Instant::now());
        let end = match &answer {
            Err(error @ KeyError::NeedsOperator { .. }) => Some(End::Latched(error.clone())),
            Ok(_) | Err(_) => None,
        };
        call.answer(answer);
        end
    }

    /// The watchdog: starts a second helper beside one that hangs, and gives up one that is lost.
    fn look(&mut self, watch: &mut Watch) -> Option<End> {
        // Those whose callers went away, or will not wait any longer.
        for call in std::mem::take(&mut self.waiting) {
            self.keep_waited_for(call);
        }
        let workers = self.starter.workers();
        if watch.is_lost(workers) && watch.spare_failures > 0 {
            tracing::error!("calls hang in the PKCS#11 module; killing the helper");
            return Some(End::Died);
        }
        if watch.is_suspect(workers) && watch.may_try_spare() {
            tracing::warn!(
                hanging = watch.overdue(STUCK_AFTER),
                workers,
                "calls hang in the PKCS#11 module; starting a second helper"
            );
            watch.spare = Some(self.starter.begin());
        }
        None
    }

    fn keep_waited_for(&mut self, call: Call) {
        if call.is_waited_for() {
            self.waiting.push_back(call);
        } else {
            call.answer(Err(KeyError::Timeout));
        }
    }

    /// Decides between the helper and a second one that became ready, or did not.
    async fn weigh_spare(&self, watch: &mut Watch, outcome: Result<Link, KeyError>) -> Option<End> {
        watch.spare = None;
        let workers = self.starter.workers();
        match outcome {
            Ok(next) if watch.is_suspect(workers) => {
                tracing::error!("calls hang in the PKCS#11 module; a second helper takes over");
                Some(End::Replaced(next))
            }
            Ok(next) => {
                tracing::info!("the PKCS#11 module answers again; the second helper is not needed");
                next.end().await;
                None
            }
            Err(error @ KeyError::NeedsOperator { .. }) if watch.is_lost(workers) => {
                Some(End::Latched(error))
            }
            Err(error) => {
                tracing::warn!(%error, "a second PKCS#11 helper did not become ready");
                watch.spare_failures = watch.spare_failures.saturating_add(1);
                // A credential is not tried again beside a helper that is logged in: only in its place.
                let delay = match error {
                    KeyError::NeedsOperator { .. } => HARD_LIMIT,
                    KeyError::Unavailable { .. }
                    | KeyError::Timeout
                    | KeyError::Throttled
                    | KeyError::Denied
                    | KeyError::KeyNotFound
                    | KeyError::KeyNotUsable
                    | KeyError::InvalidCiphertext
                    | KeyError::Misconfigured { .. }
                    | KeyError::Internal => back_off(watch.spare_failures),
                };
                watch.spare_after = Instant::now().checked_add(delay);
                None
            }
        }
    }

    /// Sends what waits, as far as workers are free.
    fn send_waiting(&mut self, link: &Link, watch: &mut Watch) {
        while watch.pending.len() < self.starter.workers() {
            let Some(call) = self.waiting.pop_front() else {
                return;
            };
            if call.is_waited_for() {
                self.send(link, watch, call);
            } else {
                call.answer(Err(KeyError::Timeout));
            }
        }
    }

    fn send(&mut self, link: &Link, watch: &mut Watch, call: Call) {
        self.next_id = self.next_id.wrapping_add(1);
        let sent = Instant::now();
        let time_left = call.deadline.saturating_duration_since(sent);
        let frame = frame::request(self.next_id, call.op, time_left, &call.body);
        // A link that takes nothing more has lost its helper: the reader tells, and the call, pending,
        // goes to the next one.
        let _ = link.send(frame);
        watch.pending.insert(self.next_id, Pending { call, sent });
    }
}

/// What tells one state of the PIN file from another, without reading it; `None` if it is not there.
async fn pin_facts(pin: &PinSource) -> Option<(u64, i64, i64)> {
    let path = pin.file()?;
    let facts = tokio::fs::metadata(path).await.ok()?;
    Some((facts.ino(), facts.ctime(), facts.ctime_nsec()))
}
