//! Phases of a run: filling, warming up, measuring, cleaning up.
//!
//! What lives here: the workers and which request comes next. What must not: the wire, counting (`tally`),
//! the form of the report. Invariant: every key is below the arm's prefix, and a number that this run wrote,
//! so nothing else in the bucket is ever named in a request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::body::Payload;
use crate::client::{Connection, Fault};
use crate::content::{Content, scatter};
use crate::draw::{Popularity, Sizes};
use crate::op::{Mix, Verb};
use crate::pace::{Pace, Pacer};
use crate::tally::{Tally, Timing};
use crate::target::Target;

/// Pause of a worker after a failure, so that a refusing endpoint is not flooded.
const FAULT_PAUSE: Duration = Duration::from_millis(50);
/// How long a worker that waits for its turn takes to see that there is none any more.
const STOP_POLL: Duration = Duration::from_millis(200);
/// How often deleting is tried before objects are reported as left behind.
const CLEAN_ROUNDS: usize = 3;

/// What load is made; the same for every arm.
pub struct Plan {
    /// Start of every key, with its slash.
    pub prefix: String,
    /// Seed of contents, sizes and order.
    pub seed: u64,
    /// Sizes of objects.
    pub sizes: Sizes,
    /// How many objects there are.
    pub objects: u64,
    /// Which of them are asked for.
    pub popularity: Popularity,
    /// Operations.
    pub mix: Mix,
    /// Workers.
    pub concurrency: u16,
    /// When requests start.
    pub pace: Pace,
    /// Most measured operations of a round.
    pub requests: Option<u64>,
    /// Longest time in which measured operations of a round are started.
    pub duration: Duration,
    /// Time over which workers start one after the other, before the measurement.
    pub ramp: Duration,
    /// Time of load before the measurement.
    pub warm_up: Duration,
    /// Length of a part of an upload, bytes.
    pub part_bytes: u64,
    /// Length of a ranged read, bytes.
    pub range_bytes: u64,
    /// Entries of a page of a listing.
    pub list_entries: u16,
    /// Steps of the timeline.
    pub interval: Duration,
    /// Ends a measurement whose throughput varies less than this, if given.
    pub auto_stop: Option<f64>,
    /// Set by an interrupt.
    pub stop: AtomicBool,
}

/// One endpoint under the load.
pub struct Arm {
    /// Name in the report.
    pub name: String,
    /// Where and who.
    pub target: Arc<Target>,
    /// Start of its keys, with its slash.
    pub prefix: String,
    workers: Vec<Connection>,
    /// Objects to delete: the next free number, and those that are there.
    stock: Arc<Mutex<Stock>>,
    written: u64,
}

#[derive(Default)]
struct Stock {
    next: u64,
    live: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Fill,
    FillStock,
    WarmUp,
    Measure,
    Clean,
}

/// One phase of one arm.
pub struct Phase {
    plan: Arc<Plan>,
    prefix: String,
    stock: Arc<Mutex<Stock>>,
    step: Step,
    next: AtomicU64,
    limit: u64,
    start: Instant,
    deadline: Option<Instant>,
    pacer: Option<Pacer>,
    is_stopped: AtomicBool,
    tally: Mutex<Tally>,
}

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    verb: Verb,
    /// Letter of the key space: o objects, d stock for deletes, c copies, m uploads in parts.
    space: char,
    object: u64,
}

impl Arm {
    /// One endpoint.
    pub fn new(name: String, target: Target, plan: &Plan, is_verified: bool) -> Self {
        let target = Arc::new(target);
        let workers = (0..plan.concurrency).map(|_| Connection::new(Arc::clone(&target), is_verified));
        Self {
            prefix: format!("{}{name}/", plan.prefix),
            name,
            workers: workers.collect(),
            target,
            stock: Arc::default(),
            written: 0,
        }
    }

    /// Writes and deletes one small object, so that nothing starts when nothing can work.
    pub async fn probe(&self) -> Result<(), String> {
        let mut connection = Connection::new(Arc::clone(&self.target), true);
        let key = format!("{}probe", self.prefix);
        let body = Payload::Ready(b"sceau-bench".as_slice().into());
        let written = connection.put(&key, body).await;
        let written = written.map_err(|fault| format!("{}: a first write failed: {fault}", self.name))?;
        let deleted = connection.delete(&key, written.version.as_deref()).await;
        deleted.map_err(|fault| format!("{key} could not be deleted and is left behind: {fault}"))?;
        match written.version.as_deref() {
            None | Some("null") => Ok(()),
            Some(_) => {
                Err("the bucket has versioning: overwritten and deleted objects would stay in it".to_owned())
            }
        }
    }

    /// Writes what reads and deletes need and is not there yet.
    pub async fn fill(&mut self, plan: &Arc<Plan>) -> Tally {
        let mut filled = Tally::default();
        if plan
            .mix
            .verbs()
            .any(|verb| verb.needs_objects() && verb != Verb::Delete)
            && self.written == 0
        {
            let phase = self.phase(plan, Step::Fill, plan.objects, None);
            filled = self.run(&phase).await;
            self.written = phase.made();
        }
        if plan.mix.has(Verb::Delete) {
            let there = self.lock_stock().live.len() as u64;
            let wanted = plan.requests.unwrap_or(plan.objects).max(plan.objects);
            let phase = self.phase(plan, Step::FillStock, wanted.saturating_sub(there), None);
            filled.add(self.run(&phase).await);
        }
        filled
    }

    /// Load that is not measured; what fails in it counts as failed nevertheless.
    pub async fn warm_up(&mut self, plan: &Arc<Plan>) -> Tally {
        let time = plan.ramp.saturating_add(plan.warm_up);
        // A load that only deletes would have nothing left to measure.
        let only_deletes = plan.mix.verbs().all(|verb| verb == Verb::Delete);
        if time.is_zero() || only_deletes {
            return Tally::default();
        }
        let phase = self.phase(plan, Step::WarmUp, u64::MAX, Some(time));
        self.run(&phase).await
    }

    /// Starts the measured phase; [`Arm::run`] runs it.
    pub fn measurement(&self, plan: &Arc<Plan>) -> Arc<Phase> {
        let limit = plan.requests.unwrap_or(u64::MAX);
        let time = plan.requests.is_none().then_some(plan.duration);
        self.phase(plan, Step::Measure, limit, time)
    }

    /// Deletes everything this run may have written; gives what could not be deleted.
    pub async fn clean(&mut self, plan: &Arc<Plan>) -> Tally {
        let mut cleaned = Tally::default();
        for _ in 0..CLEAN_ROUNDS {
            let phase = self.phase(plan, Step::Clean, self.doomed(plan), None);
            cleaned = self.run(&phase).await;
            if cleaned.failed() == 0 {
                break;
            }
        }
        cleaned
    }

    /// How many keys a cleaning names: each space has its own stretch of numbers.
    fn doomed(&self, plan: &Plan) -> u64 {
        let spaces = self.written.saturating_add(self.lock_stock().next);
        let more = [Verb::Copy, Verb::Multipart]
            .into_iter()
            .filter(|verb| plan.mix.has(*verb));
        spaces.saturating_add(plan.objects.saturating_mul(more.count() as u64))
    }

    fn lock_stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self, plan: &Arc<Plan>, step: Step, limit: u64, time: Option<Duration>) -> Arc<Phase> {
        let start = Instant::now();
        let deadline = time.and_then(|time| start.checked_add(time));
        let is_paced = matches!(step, Step::WarmUp | Step::Measure);
        Arc::new(Phase {
            plan: Arc::clone(plan),
            prefix: self.prefix.clone(),
            stock: Arc::clone(&self.stock),
            step,
            next: AtomicU64::new(0),
            limit,
            start,
            deadline,
            pacer: is_paced
                .then(|| Pacer::start(&plan.pace, plan.seed, start, deadline, limit, plan.concurrency))
                .flatten(),
            is_stopped: AtomicBool::new(false),
            tally: Mutex::new(Tally::new(plan.interval)),
        })
    }

    /// Runs all workers to the end of the phase.
    pub async fn run(&mut self, phase: &Arc<Phase>) -> Tally {
        let mut tasks = JoinSet::new();
        let ramp = match phase.step {
            Step::WarmUp => phase.plan.ramp,
            Step::Fill | Step::FillStock | Step::Measure | Step::Clean => Duration::ZERO,
        };
        let step = ramp
            .checked_div(u32::from(phase.plan.concurrency))
            .unwrap_or_default();
        let mut delay = Duration::ZERO;
        let written = self.written;
        for mut connection in self.workers.drain(..) {
            let phase = Arc::clone(phase);
            tasks.spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                phase.work(&mut connection, written).await;
                connection
            });
            delay = delay.saturating_add(step);
        }
        self.workers = tasks.join_all().await;
        if matches!(phase.step, Step::WarmUp | Step::Measure) && phase.plan.mix.has(Verb::Put) {
            let made = phase.made().min(phase.plan.objects);
            self.written = self.written.max(made);
        }
        let mut tally = phase.lock();
        tally.unstarted = phase.pacer.as_ref().map_or(0, Pacer::unstarted);
        std::mem::take(&mut *tally)
    }
}

impl Phase {
    /// Ends it early; what is under way ends first.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// The counts until now.
    pub fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations were handed out.
    fn made(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    async fn work(&self, connection: &mut Connection, written: u64) {
        while let Some((number, intended)) = self.take().await {
            let job = self.choose(number, written);
            let Some(job) = self.settle(job) else { return };
            let started = Instant::now();
            let result = self.perform(connection, job).await;
            let service = connection.take_spent();
            // From the intended start of an open loop: time in which a request waited for a free worker, and
            // in which it was made, is time that its user waited. A closed loop has no such time.
            let timing = Timing {
                service,
                response: intended.map(|intended| intended.elapsed()),
                at: started
                    .saturating_duration_since(self.start)
                    .saturating_add(service),
            };
            let size = self.bytes_of(job);
            let class = self.class_of(job);
            self.lock()
                .count(job.verb, class, size, timing, &result, || self.key(job));
            if result.is_err() {
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }

    async fn take(&self) -> Option<(u64, Option<Instant>)> {
        if let Some(pacer) = &self.pacer {
            let intended = loop {
                match tokio::time::timeout(STOP_POLL, pacer.ticket()).await {
                    Ok(ticket) => break ticket?,
                    Err(_) if self.is_over() => return None,
                    Err(_) => {}
                }
            };
            if self.is_over() {
                return None;
            }
            return Some((self.next.fetch_add(1, Ordering::Relaxed), Some(intended)));
        }
        if self.is_over() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        let next = |number: u64| (number < self.limit).then(|| number.saturating_add(1));
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.ok().map(|number| (number, None))
    }

    fn is_over(&self) -> bool {
        let is_interrupted = self.step != Step::Clean && self.plan.stop.load(Ordering::Relaxed);
        is_interrupted || self.is_stopped.load(Ordering::Relaxed)
    }

    fn choose(&self, number: u64, written: u64) -> Job {
        let plan = &self.plan;
        let in_turn = number.checked_rem(plan.objects).unwrap_or(0);
        let job = |verb, space, object| Job { verb, space, object };
        match self.step {
            Step::Clean => {
                let (space, object) = self.doomed(number, written);
                job(Verb::Delete, space, object)
            }
            Step::Fill => job(Verb::Put, 'o', in_turn),
            Step::FillStock => job(Verb::Put, 'd', 0),
            Step::WarmUp | Step::Measure => {
                let salt = self.step as u64;
                let drawn = scatter(plan.seed ^ scatter(number.wrapping_add(1) ^ (salt << 56)));
                let verb = plan.mix.choose(drawn);
                // Without reads every object is written in turn, so that all of them are.
                let is_read = plan.mix.verbs().any(Verb::needs_objects);
                let object = match is_read {
                    true => plan.popularity.pick(scatter(drawn), plan.objects),
                    false => in_turn,
                };
                let space = match verb {
                    Verb::Delete => 'd',
                    Verb::Copy => 'c',
                    Verb::Multipart => 'm',
                    Verb::Put | Verb::Get | Verb::Range | Verb::Head | Verb::List => 'o',
                };
                job(verb, space, object)
            }
        }
    }

    /// Key space and number of the n-th key to delete.
    fn doomed(&self, number: u64, written: u64) -> (char, u64) {
        let stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner).next;
        let mut left = number;
        let has = |verb| {
            if self.plan.mix.has(verb) {
                self.plan.objects
            } else {
                0
            }
        };
        let spaces = [
            ('o', written),
            ('d', stock),
            ('c', has(Verb::Copy)),
            ('m', has(Verb::Multipart)),
        ];
        for (space, count) in spaces {
            match left.checked_sub(count) {
                None => return (space, left),
                Some(rest) => left = rest,
            }
        }
        ('o', 0)
    }

    /// Settles which object of the stock is written or deleted; `None` ends a load that only deletes.
    fn settle(&self, mut job: Job) -> Option<Job> {
        let plan = &self.plan;
        if matches!(self.step, Step::Clean | Step::Fill) || !plan.mix.has(Verb::Delete) {
            return Some(job);
        }
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        match (job.verb, job.space) {
            (Verb::Delete, _) => match stock.live.pop_front() {
                Some(object) => job.object = object,
                None if !plan.mix.has(Verb::Put) => return None,
                None => {
                    job.verb = Verb::Put;
                    job.object = stock.fresh();
                }
            },
            (Verb::Put, 'd') => job.object = stock.fresh(),
            // A mix keeps its stock: as many puts go there as deletes took away.
            (Verb::Put, 'o') if (stock.live.len() as u64) < plan.objects => {
                job.space = 'd';
                job.object = stock.fresh();
            }
            (_, _) => {}
        }
        Some(job)
    }

    async fn perform(&self, connection: &mut Connection, job: Job) -> Result<(), Fault> {
        let plan = &self.plan;
        let key = self.key(job);
        let size = self.size_of(job.object);
        let content = Content::new(plan.seed, job.object);
        match job.verb {
            Verb::Put => {
                connection.put(&key, Payload::of(content, 0, size)).await?;
                if job.space == 'd' {
                    let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
                    stock.live.push_back(job.object);
                }
                Ok(())
            }
            Verb::Get => connection.get(&key, content, size).await,
            Verb::Range => {
                let (offset, length) = self.stretch(job.object);
                match length {
                    0 => connection.get(&key, content, 0).await,
                    _ => connection.range(&key, content, offset, length).await,
                }
            }
            Verb::Head => connection.head(&key, size).await,
            Verb::List => self.list(connection).await,
            Verb::Delete => connection.delete(&key, None).await,
            Verb::Copy => {
                let from = self.key(Job { space: 'o', ..job });
                connection.copy(&from, &key).await
            }
            Verb::Multipart => connection.multipart(&key, content, size, plan.part_bytes).await,
        }
    }

    /// The first page has the first objects, with their sizes: nothing else is in this space.
    async fn list(&self, connection: &mut Connection) -> Result<(), Fault> {
        let plan = &self.plan;
        let prefix = format!("{}o/", self.prefix);
        let (names, is_more) = connection.list(&prefix, plan.list_entries).await?;
        let entries = u64::from(plan.list_entries).min(plan.objects);
        let is_right = names.len() as u64 == entries
            && is_more == (plan.objects > entries)
            && names.iter().zip(0_u64..).all(|((name, size), object)| {
                let job = Job {
                    verb: Verb::List,
                    space: 'o',
                    object,
                };
                *name == self.key(job) && *size == self.size_of(object)
            });
        if is_right { Ok(()) } else { Err(Fault::Listing) }
    }

    fn key(&self, job: Job) -> String {
        format!("{}{}/{:08}", self.prefix, job.space, job.object)
    }

    fn size_of(&self, object: u64) -> u64 {
        self.plan.sizes.of(self.plan.seed, object)
    }

    /// Where a ranged read of this turn begins, and how long it is.
    fn stretch(&self, object: u64) -> (u64, u64) {
        let size = self.size_of(object);
        let length = self.plan.range_bytes.min(size);
        let places = size.saturating_sub(length).saturating_add(1);
        let drawn = scatter(self.plan.seed ^ scatter(self.made()) ^ object);
        (drawn.checked_rem(places).unwrap_or(0), length)
    }

    /// The size by which an operation is counted.
    fn class_of(&self, job: Job) -> Option<u64> {
        let class = self.plan.sizes.class(self.size_of(job.object));
        class.filter(|_| job.verb != Verb::List)
    }

    /// Content bytes that an operation moves.
    fn bytes_of(&self, job: Job) -> u64 {
        let size = self.size_of(job.object);
        match job.verb {
            Verb::Put | Verb::Get | Verb::Multipart => size,
            Verb::Range => size.min(self.plan.range_bytes),
            Verb::Head | Verb::List | Verb::Delete | Verb::Copy => 0,
        }
    }
}

impl Stock {
    fn fresh(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }
}
