//! Counts of a phase.
//!
//! What lives here: what happened, by operation, and by time. What must not: clocks, requests. Invariant:
//! memory is bounded: few operations, few kinds of fault, few intervals.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Fault;
use crate::histogram::Histogram;
use crate::op::Verb;
use crate::timeline::Timeline;

/// Most kinds of fault that are counted apart.
const FAULT_KINDS_MAX: usize = 32;

/// Times of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From sending to the last byte of the answer.
    pub service: Duration,
    /// From the intended start, in an open loop.
    pub response: Option<Duration>,
    /// When it ended, since the start of the phase.
    pub at: Duration,
}

/// Counts of one kind of operation and one size.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Service times of successful operations.
    pub service: Histogram,
    /// Response times of successful operations, in an open loop.
    pub response: Option<Histogram>,
    /// Content bytes of successful operations.
    pub bytes: u64,
    /// Failed operations.
    pub failed: u64,
}

impl Row {
    /// What its user would have seen: response times if there are any.
    pub fn latency(&self) -> &Histogram {
        self.response.as_ref().unwrap_or(&self.service)
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.service.add(&other.service);
        if let Some(other) = &other.response {
            self.response.get_or_insert_default().add(other);
        }
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// Counts of a phase.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By operation and object size.
    pub rows: BTreeMap<(Verb, Option<u64>), Row>,
    /// By time.
    pub timeline: Timeline,
    /// Failures by kind.
    pub faults: BTreeMap<String, u64>,
    /// Reads whose content, length or names were wrong.
    pub corrupt: u64,
    /// The first failure, in full.
    pub first_fault: Option<String>,
    /// Operations of an open loop that were due and never started.
    pub unstarted: u64,
    /// From the start of the phase to the end of its last operation.
    pub elapsed: Duration,
}

impl Tally {
    /// Nothing yet, with intervals of this length.
    pub fn new(interval: Duration) -> Self {
        Self {
            timeline: Timeline::new(interval),
            ..Self::default()
        }
    }

    /// Failed operations of all kinds.
    pub fn failed(&self) -> u64 {
        self.faults
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Successful operations.
    pub fn done(&self) -> u64 {
        let counts = self.rows.values().map(|row| row.service.count());
        counts.fold(0, u64::saturating_add)
    }

    /// Content bytes of successful operations.
    pub fn bytes(&self) -> u64 {
        self.rows
            .values()
            .fold(0, |sum, row| sum.saturating_add(row.bytes))
    }

    /// Latencies of all operations together.
    pub fn latency(&self) -> Histogram {
        let mut all = Histogram::default();
        for row in self.rows.values() {
            all.add(row.latency());
        }
        all
    }

    /// Counts one operation; `key` is asked for the first failure only.
    pub fn count(
        &mut self,
        verb: Verb,
        class: Option<u64>,
        bytes: u64,
        timing: Timing,
        result: &Result<(), Fault>,
        key: impl FnOnce() -> String,
    ) {
        self.elapsed = self.elapsed.max(timing.at);
        let row = self.rows.entry((verb, class)).or_default();
        let latency = timing.response.unwrap_or(timing.service);
        self.timeline
            .count(verb, timing.at, latency, bytes, result.is_ok());
        let Err(fault) = result else {
            row.service.record(timing.service);
            if let Some(response) = timing.response {
                row.response.get_or_insert_default().record(response);
            }
            row.bytes = row.bytes.saturating_add(bytes);
            return;
        };
        row.failed = row.failed.saturating_add(1);
        self.corrupt = self.corrupt.saturating_add(u64::from(fault.is_corruption()));
        self.add_fault(&fault.to_string(), 1);
        self.first_fault
            .get_or_insert_with(|| format!("{} {}: {fault:?}", verb.name(), key()));
    }

    fn add_fault(&mut self, kind: &str, more: u64) {
        let is_full = self.faults.len() >= FAULT_KINDS_MAX && !self.faults.contains_key(kind);
        let kind = if is_full { "other" } else { kind };
        let count = self.faults.entry(kind.to_owned()).or_default();
        *count = count.saturating_add(more);
    }

    /// Adds a later phase.
    pub fn add(&mut self, other: Self) {
        for (of, row) in &other.rows {
            self.rows.entry(*of).or_default().add(row);
        }
        self.add_faults(&other);
        self.unstarted = self.unstarted.saturating_add(other.unstarted);
        self.timeline.append(other.timeline, self.elapsed);
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
    }

    /// Adds what went wrong in another phase, and nothing else.
    pub fn add_faults(&mut self, other: &Self) {
        for (kind, count) in &other.faults {
            self.add_fault(kind, *count);
        }
        self.corrupt = self.corrupt.saturating_add(other.corrupt);
        if self.first_fault.is_none() {
            self.first_fault.clone_from(&other.first_fault);
        }
    }
}
