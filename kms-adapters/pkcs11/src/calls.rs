//! The callers' end: requests on their way to a helper.
//!
//! What lives here: [`Calls`], the state that callers see, the bound on requests. What must not: helpers and
//! their processes. Invariant: a caller is answered by its deadline, whatever the helper does.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sceau_kms::KeyError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::config::Pkcs11Config;
use crate::frame::{Op, Report, Secret, Task};
use crate::link::{Link, START_LIMIT};
use crate::start::Starter;
use crate::supervise::{HARD_LIMIT, Supervisor};

/// Requests under way or waiting, at most. Beyond it callers are told to slow down.
pub(crate) const PENDING_MAX: usize = 256;
/// When callers should ask again while a helper restarts.
pub(crate) const RETRY_SOON: Duration = Duration::from_millis(200);

pub(crate) type Answer = Result<Secret, KeyError>;

/// A request on its way.
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) body: Secret,
    pub(crate) deadline: Instant,
    reply: oneshot::Sender<Answer>,
    /// Whether a helper had it that did not answer.
    pub(crate) was_sent: bool,
    // Frees its place in the pending table when the call ends, whoever ends it.
    place: OwnedSemaphorePermit,
}

impl Call {
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.reply.is_closed() && Instant::now() < self.deadline
    }

    pub(crate) fn answer(self, answer: Answer) {
        let Self { reply, place, .. } = self;
        // Before the caller can come with the next one.
        drop(place);
        // The caller may have given up; then the answer is wiped here.
        let _ = reply.send(answer);
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

    pub(crate) fn set(&self, state: State) {
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
        let begun = Instant::now();
        let (link, body) = Link::start(&config, &module, Task::Serve, START_LIMIT).await?;
        let report: Report = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(PENDING_MAX)),
            state: Mutex::new(State::Serving),
            pid: AtomicU32::new(link.pid().unwrap_or(0)),
            restarts: AtomicU64::new(0),
        });
        let (queue, calls) = mpsc::channel(PENDING_MAX);
        let starter = Starter::new(config, module, report.token_serial.clone(), begun.elapsed());
        let supervisor = Supervisor::new(starter, Arc::clone(&shared), calls);
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
        // A longer wait would outlive the watchdog, which replaces the helper by then.
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
            place,
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
