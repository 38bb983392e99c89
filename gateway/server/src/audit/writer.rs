//! The thread that writes the trail.
//!
//! What lives here: [`Writer`], and [`Sink`], what it writes to. What must not: files (`file.rs`). Invariants:
//! lines reach the sink in the order of their numbers; a line that could not be written is written again
//! before any other; the sink is synced at every checkpoint, and no place in the queue is free before its
//! record is written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use sceau_audit::{AuditKey, Chain, Class, Event, Names};

use super::{Message, Shared, now_ns};
use crate::config::AuditConfig;
use crate::limits;

/// Where lines go. Files are the one sink so far; others stand behind the same interface.
pub trait Sink: Send {
    /// Writes whole lines, the first of which has the number `first_seq`: all of them or, at an error, none.
    ///
    /// # Errors
    /// The same lines are given again.
    fn write(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()>;

    /// Makes what was written survive a loss of power.
    ///
    /// # Errors
    /// It may not survive.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether the next line should begin a new file.
    fn is_full(&self) -> bool;

    /// The next line begins a new file.
    fn rotate(&mut self);
}

/// Chains events and writes them.
pub(super) struct Writer<S> {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    sink: S,
    chain: Chain,
    key: AuditKey,
    names: Names,
    checkpoint_records: u64,
    checkpoint_interval: Duration,
    checkpointed: Instant,
    lines: Vec<u8>,
    first_seq: u64,
    taken: Vec<Message>,
    is_sealed: bool,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        receiver: Receiver<Message>,
        sink: S,
        chain: Chain,
        key: AuditKey,
        config: &AuditConfig,
    ) -> Self {
        Self {
            shared,
            receiver,
            sink,
            chain,
            key,
            names: config.names,
            checkpoint_records: config.checkpoint_records,
            checkpoint_interval: config.checkpoint_interval,
            checkpointed: Instant::now(),
            lines: Vec::new(),
            first_seq: 0,
            taken: Vec::new(),
            is_sealed: false,
        }
    }

    /// Writes the record of the start, with what became of the process before, and a checkpoint.
    pub(super) fn begin(&mut self, about: String) -> io::Result<()> {
        let before = match (self.chain.seq(), self.chain.is_closed()) {
            (0, _) => "none",
            (_, true) => "stopped",
            (_, false) => "killed",
        };
        if before == "killed" {
            tracing::warn!(
                last_seq = self.chain.seq(),
                "the process before did not stop: audit records of requests in flight then are missing"
            );
        }
        self.append(&Event {
            detail: format!("{about} before={before}"),
            ..Event::new(Class::Start, now_ns())
        });
        self.seal(false);
        self.attempt()?;
        self.shared.health.send_replace(true);
        Ok(())
    }

    /// Writes until the trail is stopped and the queue is empty.
    pub(super) fn run(mut self) {
        loop {
            let is_stopping = self.shared.is_stopping.load(Ordering::Relaxed);
            let is_idle = !self.collect();
            self.append_lost();
            if is_stopping && is_idle {
                self.append(&Event::new(Class::Stop, now_ns()));
                self.seal(true);
                self.flush();
                return;
            }
            let is_due = self.chain.unsealed() >= self.checkpoint_records
                || self.checkpointed.elapsed() >= self.checkpoint_interval;
            if is_due || self.sink.is_full() {
                self.seal(false);
            }
            self.flush();
        }
    }

    /// Takes what is in the queue, a batch at most; answers whether there was anything.
    fn collect(&mut self) -> bool {
        let Ok(first) = self.receiver.recv_timeout(limits::AUDIT_LOOK) else {
            return false;
        };
        self.take(first);
        while self.taken.len() < limits::AUDIT_BATCH_RECORDS {
            let Ok(next) = self.receiver.try_recv() else { break };
            self.take(next);
        }
        true
    }

    fn take(&mut self, message: Message) {
        self.append(&message.event);
        self.taken.push(message);
    }

    fn append_lost(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(lost, "audit records found no place in the queue");
            self.append(&Event {
                count: Some(lost),
                ..Event::new(Class::Lost, now_ns())
            });
        }
    }

    fn append(&mut self, event: &Event) {
        self.mark_first();
        self.chain.append(event, self.names, &self.key, &mut self.lines);
        self.shared.metrics.audit_record(event.class.name());
    }

    fn seal(&mut self, is_stop: bool) {
        self.mark_first();
        self.chain
            .checkpoint(&self.key, now_ns(), is_stop, &mut self.lines);
        self.shared.metrics.audit_record(Class::Checkpoint.name());
        self.checkpointed = Instant::now();
        self.is_sealed = true;
    }

    fn mark_first(&mut self) {
        if self.lines.is_empty() {
            self.first_seq = self.chain.seq().saturating_add(1);
        }
    }

    /// Writes the lines at hand, again and again until they are written; while the gateway stops, a few times.
    #[expect(clippy::disallowed_methods, reason = "the thread is the trail's own")]
    fn flush(&mut self) {
        let mut failures = 0_u32;
        while let Err(error) = self.attempt() {
            self.shared.metrics.audit_write_failure();
            self.shared.health.send_replace(false);
            if failures == 0 {
                tracing::error!(%error, "the audit trail cannot be written");
            }
            failures = failures.saturating_add(1);
            if self.shared.is_stopping.load(Ordering::Relaxed) && failures >= limits::AUDIT_LAST_ATTEMPTS {
                tracing::error!("the gateway stops with audit records that could not be written");
                break;
            }
            std::thread::sleep(limits::AUDIT_RETRY_WAIT);
        }
        if failures > 0 {
            tracing::warn!(failures, "the audit trail is written again");
        }
        self.shared
            .health
            .send_if_modified(|is_healthy| !std::mem::replace(is_healthy, true));
        let count = i64::try_from(self.taken.len()).unwrap_or(i64::MAX);
        self.taken.clear();
        let before = self.shared.backlog.fetch_sub(count, Ordering::Relaxed);
        self.shared.metrics.audit_backlog(before.saturating_sub(count));
    }

    fn attempt(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.sink.write(self.first_seq, &self.lines)?;
            self.lines.clear();
        }
        if self.is_sealed {
            self.sink.sync()?;
            self.is_sealed = false;
            if self.sink.is_full() {
                self.sink.rotate();
            }
        }
        Ok(())
    }
}

impl<S> Drop for Writer<S> {
    /// Whatever ends the thread: in `require` mode nothing is served without it.
    fn drop(&mut self) {
        self.shared.health.send_replace(false);
    }
}
