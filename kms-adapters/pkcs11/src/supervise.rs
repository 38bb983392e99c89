//! The supervisor: keeps one helper running and requests moving.
//!
//! What lives here: the queue, the pending table, restarts with back-off, the watchdog. What must not:
//! the meaning of bodies. Invariant: every accepted request is answered once; it is sent to at most
//! two helpers; after an answer that needs an operator no helper is started again before the operator
//! changed the PIN file.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sceau_kms::KeyError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::config::{PinSource, Pkcs11Config};
use crate::frame::{self, Op, Report, Secret, Task};
use crate::link::Link;

/// Requests under way or waiting, at most. Beyond it callers are told to slow down.
pub(crate) const PENDING_MAX: usize = 256;
/// A request without answer for this long means that the module hangs: the helper is killed.
const HARD_LIMIT: Duration = Duration::from_secs(10);
/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Delay before the second restart in a row; the first is immediate.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// Longest delay between restarts.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A helper that served this long has recovered: the next restart is immediate again.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How often the PIN file is looked at while an operator is needed.
const LATCH_LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// When callers should ask again while a helper restarts.
const RETRY_SOON: Duration = Duration::from_millis(200);

type Answer = Result<Secret, KeyError>;

/// A request on its way.
pub(crate) struct Call {
    op: Op,
    body: Secret,
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
    was_sent: bool,
    // Frees its place in the pending table when the call ends, whoever ends it.
    _place: OwnedSemaphorePermit,
}

impl Call {
    fn is_waited_for(&self) -> bool {
        !self.reply.is_closed() && Instant::now() < self.deadline
    }

    fn answer(self, answer: Answer) {
        // The caller may have given up; then the answer is wiped here.
        let _ = self.reply.send(answer);
    }
}

/// Where the helper stands.
#[derive(Clone)]
pub(crate) enum State {
    /// Running, or restarting after its first death: callers wait.
    Serving,
    /// Did not become ready: callers are told at once.
    Down { until: Instant, error: KeyError },
    /// Needs an operator: until the PIN file changes.
    Latched(KeyError),
}

/// What callers and the supervisor share.
pub(crate) struct Shared {
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Process id of the running helper, 0 for none.
    pub(crate) pid: AtomicU32,
    pub(crate) restarts: AtomicU64,
}

impl Shared {
    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Requests under way or waiting.
    pub(crate) fn depth(&self) -> usize {
        PENDING_MAX.saturating_sub(self.places.available_permits())
    }

    /// The error callers get now, if no helper serves.
    ///
    /// This token worked before, so what looks like a wrong configuration now, a token that is not
    /// there yet after an outage, is an outage to callers. Health tells the whole truth.
    pub(crate) fn refusal(&self) -> Option<KeyError> {
        match self.state() {
            State::Serving => None,
            State::Latched(error) => Some(error),
            State::Down { until, error } => Some(match error {
                KeyError::Denied | KeyError::KeyNotFound | KeyError::KeyNotUsable => error,
                KeyError::Unavailable { .. }
                | KeyError::Timeout
                | KeyError::Throttled
                | KeyError::InvalidCiphertext
                | KeyError::NeedsOperator { .. }
                | KeyError::Misconfigured { .. }
                | KeyError::Internal => {
                    let retry_after = until.saturating_duration_since(Instant::now()).max(RETRY_SOON);
                    KeyError::Unavailable { retry_after }
                }
            }),
        }
    }
}

/// The callers' end. Dropping it ends supervisor and helper.
pub(crate) struct Calls {
    queue: mpsc::Sender<Call>,
    pub(crate) shared: Arc<Shared>,
}

impl Calls {
    /// Starts the first helper and its supervisor; answers when the helper is ready.
    pub(crate) async fn start(config: Pkcs11Config, module: String) -> Result<(Self, Report), KeyError> {
        let (link, body) = Link::start(&config, &module, Task::Serve).await?;
        let report: Report = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(PENDING_MAX)),
            state: Mutex::new(State::Serving),
            pid: AtomicU32::new(link.pid().unwrap_or(0)),
            restarts: AtomicU64::new(0),
        });
        let (queue, calls) = mpsc::channel(PENDING_MAX);
        let supervisor = Supervisor {
            config,
            module,
            serial: report.token_serial.clone(),
            shared: Arc::clone(&shared),
            calls,
            carried: Vec::new(),
            next_id: 0,
        };
        tokio::spawn(supervisor.run(link));
        Ok((Self { queue, shared }, report))
    }

    /// Sends one request and waits for its answer, at most `time`. Cancel-safe: an answer nobody waits
    /// for is wiped.
    pub(crate) async fn call(&self, op: Op, body: Secret, time: Duration) -> Answer {
        if time.is_zero() {
            return Err(KeyError::Timeout);
        }
        if let Some(error) = self.shared.refusal() {
            return Err(error);
        }
        let place = Arc::clone(&self.shared.places)
            .try_acquire_owned()
            .map_err(|_| KeyError::Throttled)?;
        // A longer wait would outlive the watchdog, which kills the helper by then.
        let deadline = Instant::now()
            .checked_add(time.min(HARD_LIMIT))
            .ok_or(KeyError::Internal)?;
        let (reply, answer) = oneshot::channel();
        let call = Call {
            op,
            body,
            deadline,
            reply,
            was_sent: false,
            _place: place,
        };
        // The queue is as long as there are places, so it is full never, and closed at the end only.
        self.queue.try_send(call).map_err(|_| KeyError::Unavailable {
            retry_after: RETRY_SOON,
        })?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(KeyError::Unavailable {
                retry_after: RETRY_SOON,
            }),
            Err(_) => Err(self.shared.refusal().unwrap_or(KeyError::Timeout)),
        }
    }
}

/// Why a helper stopped serving.
enum End {
    /// It died, hung or answered nonsense.
    Died,
    /// The provider was dropped.
    Dropped,
    /// It asks for an operator.
    Latched(KeyError),
}

struct Pending {
    call: Call,
    sent: Instant,
}

struct Supervisor {
    config: Pkcs11Config,
    module: String,
    /// The token of the first helper; a later one must find the same.
    serial: String,
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    /// Calls of a dead helper that get a second chance.
    carried: Vec<Call>,
    next_id: u64,
}

impl Supervisor {
    async fn run(mut self, first: Link) {
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
            match end {
                End::Died => {}
                End::Dropped => return,
                End::Latched(error) => {
                    if self.latch(error).await.is_none() {
                        return;
                    }
                }
            }
            if since.elapsed() >= STABLE_AFTER {
                failures = 0;
            }
            tracing::warn!(failures, "the PKCS#11 helper is gone; starting another");
            link = self.restart(&mut failures).await;
        }
    }

    /// Starts helpers until one is ready; `None` when there is no use in going on.
    async fn restart(&mut self, failures: &mut u32) -> Option<Link> {
        loop {
            self.pause(back_off(*failures)).await?;
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
            self.shared.set(State::Down { until, error });
            if let Some(refusal) = self.shared.refusal() {
                self.refuse_waiting(&refusal);
            }
        }
    }

    async fn start_again(&self) -> Result<Link, KeyError> {
        let (link, body) = Link::start(&self.config, &self.module, Task::Serve).await?;
        let report: Report = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
        if report.token_serial == self.serial {
            return Ok(link);
        }
        link.end().await;
        Err(KeyError::Misconfigured {
            what: "another token answers than at the start".to_owned(),
        })
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
                        None => self.carried.push(call),
                    }
                }
            }
        }
        Some(())
    }

    /// Answers everything that waits with `error`.
    fn refuse_waiting(&mut self, error: &KeyError) {
        for call in self.carried.drain(..) {
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
        let refused = pin_facts(&self.config.pin).await;
        self.shared.set(State::Latched(error.clone()));
        self.refuse_waiting(&error);
        let mut look = interval(LATCH_LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = self.calls.recv() => call?.answer(Err(error.clone())),
                _ = look.tick() => {
                    let now = pin_facts(&self.config.pin).await;
                    if now.is_some() && now != refused {
                        tracing::info!("the PIN file changed; trying it once");
                        return Some(());
                    }
                }
            }
        }
    }

    async fn serve(&mut self, mut link: Link) -> End {
        let mut pending = HashMap::new();
        let end = self.exchange(&mut link, &mut pending).await;
        link.end().await;
        for (_, Pending { mut call, .. }) in pending {
            match &end {
                End::Latched(error) => call.answer(Err(error.clone())),
                End::Died if !call.was_sent && call.is_waited_for() => {
                    call.was_sent = true;
                    self.carried.push(call);
                }
                End::Died | End::Dropped => {
                    call.answer(Err(KeyError::Unavailable {
                        retry_after: RETRY_SOON,
                    }));
                }
            }
        }
        end
    }

    /// Moves requests and answers until the helper's end.
    async fn exchange(&mut self, link: &mut Link, pending: &mut HashMap<u64, Pending>) -> End {
        for call in std::mem::take(&mut self.carried) {
            self.send(link, pending, call);
        }
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = link.next() => {
                    let Some((id, answer)) = answer.and_then(|frame| frame::read_answer(&frame)) else {
                        return End::Died;
                    };
                    // An id that is not pending means a confused helper.
                    let Some(Pending { call, .. }) = pending.remove(&id) else { return End::Died };
                    if let Err(error @ KeyError::NeedsOperator { .. }) = &answer {
                        let error = error.clone();
                        call.answer(answer);
                        return End::Latched(error);
                    }
                    call.answer(answer);
                }
                call = self.calls.recv() => match call {
                    None => return End::Dropped,
                    Some(call) => self.send(link, pending, call),
                },
                _ = watch.tick() => {
                    if pending.values().any(|pending| pending.sent.elapsed() >= HARD_LIMIT) {
                        tracing::error!("a request hangs in the PKCS#11 module; killing the helper");
                        return End::Died;
                    }
                }
            }
        }
    }

    fn send(&mut self, link: &Link, pending: &mut HashMap<u64, Pending>, call: Call) {
        if !call.is_waited_for() {
            return;
        }
        self.next_id = self.next_id.wrapping_add(1);
        let time_left = call.deadline.saturating_duration_since(Instant::now());
        let frame = frame::request(self.next_id, call.op, time_left, &call.body);
        // A link that takes nothing more has lost its helper: the reader tells, and the call, pending,
        // goes to the next one.
        let _ = link.send(frame);
        pending.insert(
            self.next_id,
            Pending {
                call,
                sent: Instant::now(),
            },
        );
    }
}

/// What tells one state of the PIN file from another, without reading it; `None` if it is not there.
async fn pin_facts(pin: &PinSource) -> Option<(u64, i64, i64)> {
    let path = pin.file()?;
    let facts = tokio::fs::metadata(path).await.ok()?;
    Some((facts.ino(), facts.ctime(), facts.ctime_nsec()))
}

/// Delay before the next start after `failures` in a row.
fn back_off(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 2_u32.saturating_pow(doublings);
            BACK_OFF_FIRST.saturating_mul(factor).min(BACK_OFF_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer() {
        let millis = |failures| back_off(failures).as_millis();
        assert_eq!([0, 1, 2, 3].map(millis), [0, 100, 200, 400]);
        assert_eq!(millis(40), 30_000);
    }
}
