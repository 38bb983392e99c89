//! A run: filling, measuring, cleaning up.
//!
//! What lives here: which request comes next, the workers, the counts. What must not: the wire, the form of
//! the report. Invariant: every key is the run's prefix and an object number that this run wrote, so nothing
//! else in the bucket is ever named in a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sceau_s3wire::sigv4::PayloadHash;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::args::Payload;
use crate::client::{Connection, Fault, Target};
use crate::content::{Content, scatter};
use crate::histogram::Histogram;
use crate::process::Sample;

/// Pause of a worker after a failure, so that a refusing endpoint is not flooded.
const FAULT_PAUSE: Duration = Duration::from_millis(50);
/// Most kinds of fault that are counted apart.
const FAULT_KINDS_MAX: usize = 32;
/// How often deleting is tried before objects are reported as left behind.
const CLEAN_ROUNDS: usize = 3;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Writes only.
    Put,
    /// Reads, so many of a hundred, and writes; the objects are written before.
    Read(u8),
}

/// Kind of a measured request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// PutObject.
    Put,
    /// GetObject, with comparison.
    Get,
    /// DeleteObject; never measured.
    Delete,
}

/// A whole run.
pub struct Plan {
    /// Where.
    pub target: Target,
    /// Start of every key, with its slash.
    pub prefix: String,
    /// Seed of contents and order.
    pub seed: u64,
    /// Sizes in turn, at least one.
    pub sizes: Vec<u64>,
    /// How many objects there are, of all sizes.
    pub objects: u64,
    /// Workers.
    pub concurrency: u16,
    /// What signatures of writes cover.
    pub payload: Payload,
    /// What is measured.
    pub mix: Mix,
    /// Most measured requests.
    pub requests: Option<u64>,
    /// Longest time in which measured requests are started.
    pub duration: Option<Duration>,
    /// Processes to sample.
    pub pids: Vec<u32>,
    /// Set by an interrupt.
    pub stop: AtomicBool,
}

/// Counts of one kind of request and one size.
#[derive(Default)]
pub struct Row {
    /// Times of successful requests.
    pub latency: Histogram,
    /// Content bytes of successful requests.
    pub bytes: u64,
    /// Failed requests.
    pub failed: u64,
}

/// Counts of a phase.
#[derive(Default)]
pub struct Tally {
    /// By request and object size.
    pub rows: BTreeMap<(Verb, u64), Row>,
    /// Failures by kind.
    pub faults: BTreeMap<String, u64>,
    /// Reads whose content or length was wrong.
    pub corrupt: u64,
    /// The first failure, in full.
    pub first_fault: Option<String>,
}

impl Tally {
    /// Failed requests of all kinds.
    pub fn failed(&self) -> u64 {
        self.faults
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn count(&mut self, verb: Verb, key: &str, size: u64, time: Duration, result: &Result<(), Fault>) {
        let row = self.rows.entry((verb, size)).or_default();
        let Err(fault) = result else {
            row.latency.record(time);
            row.bytes = row.bytes.saturating_add(size);
            return;
        };
        row.failed = row.failed.saturating_add(1);
        self.corrupt = self.corrupt.saturating_add(u64::from(fault.is_corruption()));
        let mut kind = fault.to_string();
        if self.faults.len() >= FAULT_KINDS_MAX && !self.faults.contains_key(&kind) {
            kind = "other".to_owned();
        }
        let count = self.faults.entry(kind).or_default();
        *count = count.saturating_add(1);
        self.first_fault
            .get_or_insert_with(|| format!("{verb:?} {key} of {size} bytes: {fault:?}"));
    }
}

/// What a run found.
pub struct Outcome {
    /// Requests that were measured.
    pub measured: Tally,
    /// From the first measured request to the end of the last.
    pub elapsed: Duration,
    /// Writes before the measurement.
    pub filled: Tally,
    /// The last round of deleting.
    pub cleaned: Tally,
    /// Processes before and after the measurement.
    pub processes: Vec<Sampled>,
}

/// Id of a process, and the process before and after.
pub type Sampled = (u32, Option<Sample>, Option<Sample>);

enum Step {
    Fill,
    Measure,
    Clean,
}

struct Phase {
    step: Step,
    next: AtomicU64,
    limit: u64,
    deadline: Option<Instant>,
    tally: Mutex<Tally>,
}

/// Runs the plan. It always cleans up what it wrote.
pub async fn run(plan: &Arc<Plan>) -> Outcome {
    let (filled, written) = match plan.mix {
        Mix::Put => (Tally::default(), 0),
        Mix::Read(_) => phase(plan, Step::Fill, plan.objects, None).await,
    };
    let sample = || plan.pids.iter().map(|pid| Sample::take(*pid)).collect::<Vec<_>>();
    let before = sample();
    let start = Instant::now();
    let deadline = plan.duration.and_then(|duration| start.checked_add(duration));
    // Reading objects that are not there would say nothing.
    let limit = if filled.failed() > 0 {
        0
    } else {
        plan.requests.unwrap_or(u64::MAX)
    };
    let (measured, made) = phase(plan, Step::Measure, limit, deadline).await;
    let elapsed = start.elapsed();
    let processes = plan.pids.iter().copied().zip(before).zip(sample());
    let processes = processes
        .map(|((pid, before), after)| (pid, before, after))
        .collect();
    let written = written.max(made).min(plan.objects);
    let mut cleaned = Tally::default();
    for _ in 0..CLEAN_ROUNDS {
        cleaned = phase(plan, Step::Clean, written, None).await.0;
        if cleaned.failed() == 0 {
            break;
        }
    }
    Outcome {
        measured,
        elapsed,
        filled,
        cleaned,
        processes,
    }
}

/// Writes and deletes one small object, so that nothing starts when nothing can work.
pub async fn probe(plan: &Plan) -> Result<(), String> {
    let mut connection = Connection::new(&plan.target);
    let key = format!("{}probe", plan.prefix);
    let body = Bytes::from_static(b"sceau-bench");
    let version = connection.put(&key, body, PayloadHash::Unsigned).await;
    let version = version.map_err(|fault| format!("a first write failed: {fault}"))?;
    let deleted = connection.delete(&key, version.as_deref()).await;
    deleted.map_err(|fault| format!("{key} could not be deleted and is left behind: {fault}"))?;
    match version {
        None => Ok(()),
        Some(_) => {
            Err("the bucket has versioning: overwritten and deleted objects would stay in it".to_owned())
        }
    }
}

/// Runs all workers to the end; also gives how many requests were handed out.
async fn phase(plan: &Arc<Plan>, step: Step, limit: u64, deadline: Option<Instant>) -> (Tally, u64) {
    let phase = Arc::new(Phase {
        step,
        next: AtomicU64::new(0),
        limit,
        deadline,
        tally: Mutex::default(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..plan.concurrency {
        let (plan, phase) = (Arc::clone(plan), Arc::clone(&phase));
        workers.spawn(async move { work(&plan, &phase).await });
    }
    workers.join_all().await;
    let mut tally = phase.tally.lock().unwrap_or_else(PoisonError::into_inner);
    (std::mem::take(&mut *tally), phase.next.load(Ordering::Relaxed))
}

async fn work(plan: &Plan, phase: &Phase) {
    let mut connection = Connection::new(&plan.target);
    while let Some(number) = phase.take(plan) {
        let (verb, object) = phase.choose(plan, number);
        let size = plan.size_of(object);
        let key = format!("{}{object:08}", plan.prefix);
        let content = Content::new(plan.seed, object);
        // Made before the clock starts: the endpoint is measured, not this tool.
        let (body, hash) = match verb {
            Verb::Put => plan.body(content, size),
            Verb::Get | Verb::Delete => (Bytes::new(), PayloadHash::Empty),
        };
        let start = Instant::now();
        let result = match verb {
            Verb::Put => connection.put(&key, body, hash).await.map(drop),
            Verb::Get => connection.get(&key, content, size).await,
            Verb::Delete => connection.delete(&key, None).await,
        };
        let time = start.elapsed();
        phase.count(verb, &key, size, time, &result);
        if result.is_err() {
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

impl Phase {
    fn count(&self, verb: Verb, key: &str, size: u64, time: Duration, result: &Result<(), Fault>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count(verb, key, size, time, result);
    }

    fn take(&self, plan: &Plan) -> Option<u64> {
        let stopped = !matches!(self.step, Step::Clean) && plan.stop.load(Ordering::Relaxed);
        if stopped || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        let next = |number: u64| (number < self.limit).then(|| number.saturating_add(1));
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
    }

    fn choose(&self, plan: &Plan, number: u64) -> (Verb, u64) {
        let in_turn = number.checked_rem(plan.objects).unwrap_or(0);
        match (&self.step, plan.mix) {
            (Step::Clean, _) => (Verb::Delete, in_turn),
            (Step::Fill, _) | (Step::Measure, Mix::Put) => (Verb::Put, in_turn),
            (Step::Measure, Mix::Read(percent)) => {
                let drawn = scatter(plan.seed ^ scatter(number.wrapping_add(1)));
                let object = scatter(drawn).checked_rem(plan.objects).unwrap_or(0);
                let verb = if drawn % 100 < u64::from(percent) {
                    Verb::Get
                } else {
                    Verb::Put
                };
                (verb, object)
            }
        }
    }
}

impl Plan {
    fn size_of(&self, object: u64) -> u64 {
        let at = object.checked_rem(self.sizes.len() as u64).unwrap_or(0);
        let at = usize::try_from(at).unwrap_or(0);
        self.sizes.get(at).copied().unwrap_or(0)
    }

    fn body(&self, content: Content, size: u64) -> (Bytes, PayloadHash) {
        let body = Bytes::from(content.bytes(usize::try_from(size).unwrap_or(0)));
        let hash = match self.payload {
            Payload::Unsigned => PayloadHash::Unsigned,
            Payload::Sha256 => PayloadHash::Sha256(Sha256::digest(&body).into()),
        };
        (body, hash)
    }
}
