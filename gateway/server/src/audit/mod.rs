//! The audit trail: takes events from the request path and has them written, chained and sealed.
//!
//! What lives here: [`Trail`], the handle that everything reports to. What must not: what a record says
//! (`sceau-audit`), decisions about requests. Invariants: the request path never waits for a disk, but in
//! `require` mode for a place in the queue, before anything is done; every event is written, or counted as
//! lost in the trail itself.

mod file;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sceau_audit::{AuditKey, Class, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{AuditConfig, AuditMode};
use crate::limits;
use crate::telemetry::Metrics;

pub use file::{FileSink, files_of};
pub use writer::Sink;
use writer::Writer;

/// Why the trail cannot be kept.
#[derive(Debug)]
pub enum AuditError {
    /// The folder or a file in it cannot be used.
    Folder {
        /// Which.
        path: PathBuf,
        /// The operating system's reason.
        why: String,
    },
    /// Another process writes there.
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The last line of the newest file is not a record.
    Tail {
        /// The file.
        path: PathBuf,
    },
    /// There is no randomness, or no thread to be had.
    Host,
}

impl AuditError {
    /// The searchable id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Folder { .. } | Self::Host => "E-AUDIT-001",
            Self::Locked { .. } => "E-AUDIT-002",
            Self::Tail { .. } => "E-AUDIT-003",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Folder { .. } | Self::Host => {
                "check audit.directory: its owner, its mode and the space left"
            }
            Self::Locked { .. } => "each gateway needs an audit.directory of its own",
            Self::Tail { .. } => {
                "keep the files elsewhere for an examination, and let audit.directory name an empty folder"
            }
        }
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Locked { path } => write!(
                f,
                "{}: another process keeps its audit trail here",
                path.display()
            ),
            Self::Tail { path } => write!(f, "{}: does not end with an audit record", path.display()),
            Self::Host => f.write_str("the audit trail's thread cannot be started"),
        }
    }
}

impl std::error::Error for AuditError {}

/// A place in the queue for the record of one request.
pub type Slot = OwnedSemaphorePermit;

/// The handle that events are given to. Clones are the same trail.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Shared>>);

/// What the request path and the writer share. There is no lock that is held while something is written.
pub(crate) struct Shared {
    is_required: bool,
    wait: Duration,
    sender: SyncSender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    slots: Arc<Semaphore>,
    health: watch::Sender<bool>,
    backlog: AtomicI64,
    lost: AtomicU64,
    is_stopping: AtomicBool,
    metrics: Arc<Metrics>,
}

/// An event on its way to the writer. The slot is free again when the record is written.
pub(crate) struct Message {
    event: Box<Event>,
    _slot: Option<Slot>,
}

impl Trail {
    /// The trail of the configuration, not written yet: events wait in the queue until [`Trail::start`].
    pub fn new(config: &AuditConfig, metrics: Arc<Metrics>) -> Self {
        if config.mode == AuditMode::Off {
            return Self(None);
        }
        let (sender, receiver) = sync_channel(limits::AUDIT_QUEUE_RECORDS);
        Self(Some(Arc::new(Shared {
            is_required: config.mode == AuditMode::Require,
            wait: config.wait,
            sender,
            receiver: Mutex::new(Some(receiver)),
            thread: Mutex::new(None),
            slots: Arc::new(Semaphore::new(limits::AUDIT_SLOTS)),
            health: watch::Sender::new(false),
            backlog: AtomicI64::new(0),
            lost: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            metrics,
        })))
    }

    /// No trail is kept.
    pub fn off() -> Self {
        Self(None)
    }

    /// Whether events are wanted at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes up the chain in the folder of the configuration, writes that the gateway started, and writes in a
    /// thread of its own from now on.
    ///
    /// # Errors
    /// [`AuditError`]; in every mode, as a folder that cannot be used is a mistake of the configuration.
    pub fn start(&self, config: &AuditConfig, key: AuditKey, about: String) -> Result<(), AuditError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let receiver = shared
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let receiver = receiver.ok_or(AuditError::Host)?;
        let (sink, chain) = FileSink::open(config)?;
        let mut writer = Writer::new(Arc::clone(shared), receiver, sink, chain, key, config);
        writer.begin(about).map_err(|error| AuditError::Folder {
            path: config.directory.clone(),
            why: error.to_string(),
        })?;
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|_| AuditError::Host)?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Asks for a place for the record of a request that is about to be served. Waits at most `audit.wait`.
    ///
    /// # Errors
    /// [`NoRecord`] in `require` mode, when the trail cannot be written or is too far behind.
    pub async fn admit(&self) -> Result<Option<Slot>, NoRecord> {
        let Some(shared) = self.0.as_ref().filter(|shared| shared.is_required) else {
            return Ok(None);
        };
        let mut health = shared.health.subscribe();
        let admitted = tokio::time::timeout(shared.wait, async {
            // A writer that is gone leaves this at false.
            health
                .wait_for(|is_healthy| *is_healthy)
                .await
                .map_err(|_| NoRecord)?;
            Arc::clone(&shared.slots)
                .acquire_owned()
                .await
                .map_err(|_| NoRecord)
        });
        match admitted.await {
            Ok(slot) => slot.map(Some),
            Err(_) => Err(NoRecord),
        }
    }

    /// Reports an event; never waits. What finds no place is counted, and the count is written.
    pub fn report(&self, event: Event, slot: Option<Slot>) {
        let Some(shared) = &self.0 else { return };
        let backlog = shared.backlog.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let message = Message {
            event: Box::new(event),
            _slot: slot,
        };
        if shared.sender.try_send(message).is_ok() {
            shared.metrics.audit_backlog(backlog);
        } else {
            shared.backlog.fetch_sub(1, Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            shared.metrics.audit_write_failure();
        }
    }

    /// Reports a reload of `source`.
    pub fn reload(&self, source: &'static str, is_success: bool, detail: String) {
        if !self.is_on() {
            return;
        }
        let event = Event {
            operation: source,
            outcome: if is_success { "ok" } else { "error" },
            detail,
            ..Event::new(Class::Reload, now_ns())
        };
        self.report(event, None);
    }

    /// Reports that `count` unwrapped keys were dropped.
    pub fn dropped(&self, cause: &'static str, count: usize) {
        if !self.is_on() {
            return;
        }
        let event = Event {
            operation: "keys",
            reason: cause,
            count: u64::try_from(count).ok(),
            ..Event::new(Class::Drop, now_ns())
        };
        self.report(event, None);
    }

    /// Writes what is in the queue, that the gateway stopped, and a checkpoint; waits for it.
    pub async fn stop(&self) {
        let Some(shared) = &self.0 else { return };
        shared.is_stopping.store(true, Ordering::Relaxed);
        let thread = shared
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic in there was reported by the runtime; there is nothing left to be written.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// A request cannot have a record, so it is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRecord;

/// Now, in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
