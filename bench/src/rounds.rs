//! A whole run: every endpoint in turn, round by round.
//!
//! What lives here: the order of phases, and what is sampled beside them. What must not: the form of the
//! report. Invariant: processes are sampled when no request of this tool is under way, so that what they
//! consumed belongs to what was counted; and what was written is deleted however the run ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::live::{Live, Moment};
use crate::load::{self, Arm, Plan};
use crate::pace::Pace;
use crate::process::{Group, resident_bytes};
use crate::report::model::Phase;
use crate::scrape::{self, Reading, Source};
use crate::tally::Tally;

/// How often memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// What a group of processes consumed in one round.
#[derive(Debug, Clone)]
pub struct Usage {
    /// CPU seconds; `None` when a process ended.
    pub cpu_seconds: Option<f64>,
    /// Most memory seen, bytes.
    pub resident_bytes_max: u64,
}

/// One turn of one endpoint.
pub struct Round {
    /// Number of the endpoint.
    pub arm: usize,
    /// Measured operations.
    pub tally: Tally,
    /// Consumption of each group, in their order.
    pub usage: Vec<Usage>,
}

/// What a run found.
#[derive(Default)]
pub struct Outcome {
    /// Turns in their order.
    pub rounds: Vec<Round>,
    /// What failed before measurements, per endpoint.
    pub prepared: Vec<Tally>,
    /// What could not be deleted, per endpoint.
    pub cleaned: Vec<Tally>,
    /// Phases of requests that the gateway measured, per endpoint.
    pub phases: Vec<Vec<Phase>>,
}

/// What a run needs beside the load.
pub struct Setting {
    /// Load.
    pub plan: Arc<Plan>,
    /// How often each endpoint has its turn.
    pub rounds: u16,
    /// Processes to sample.
    pub groups: Vec<Group>,
    /// Where the gateway of each endpoint has its metrics.
    pub sources: Vec<Option<Source>>,
    /// What is shown meanwhile.
    pub live: Arc<Live>,
}

/// Runs everything.
pub async fn run(setting: &Setting, arms: &mut [Arm]) -> Outcome {
    let mut outcome = Outcome {
        prepared: arms.iter().map(|_| Tally::default()).collect(),
        phases: arms.iter().map(|_| Vec::new()).collect(),
        ..Outcome::default()
    };
    'rounds: for round in 0..usize::from(setting.rounds) {
        for turn in 0..arms.len() {
            // Each round begins with another endpoint, so that none is always the first after a pause.
            let number = turn.saturating_add(round).checked_rem(arms.len()).unwrap_or(0);
            let Some(arm) = arms.get_mut(number) else { continue };
            let title = format!(
                "{}, round {} of {}",
                arm.name,
                round.saturating_add(1),
                setting.rounds
            );
            setting.live.note(&format!("{title}: preparing"));
            let prepared = prepare(setting, arm).await;
            let has_failed = prepared.failed() > 0;
            if let Some(sum) = outcome.prepared.get_mut(number) {
                sum.add_faults(&prepared);
            }
            // Reading objects that are not there would say nothing.
            if has_failed || setting.plan.stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            let source = setting.sources.get(number).and_then(Option::as_ref);
            let before = read(source).await;
            outcome.rounds.push(measure(setting, number, arm, &title).await);
            if let (Some(before), Some(after)) = (before, read(source).await)
                && let Some(sum) = outcome.phases.get_mut(number)
            {
                scrape::add(sum, before.until(&after));
            }
        }
    }
    for arm in arms {
        setting
            .live
            .note(&format!("{}: deleting what was written", arm.name));
        outcome.cleaned.push(arm.clean(&setting.plan).await);
    }
    setting.live.clear();
    outcome
}

async fn read(source: Option<&Source>) -> Option<Reading> {
    source?.read().await
}

async fn prepare(setting: &Setting, arm: &mut Arm) -> Tally {
    let mut prepared = arm.fill(&setting.plan).await;
    if prepared.failed() == 0 {
        prepared.add_faults(&arm.warm_up(&setting.plan).await);
    }
    prepared
}

async fn measure(setting: &Setting, number: usize, arm: &mut Arm, title: &str) -> Round {
    let memory = watch_memory(setting.groups.clone());
    let before: Vec<_> = setting.groups.iter().map(Group::standing).collect();
    let phase = arm.measurement(&setting.plan);
    let settling = watch_rate(setting, &phase);
    let showing = show(setting, &phase, title.to_owned());
    let tally = arm.run(&phase).await;
    let after: Vec<_> = setting.groups.iter().map(Group::standing).collect();
    settling.abort();
    showing.abort();
    let peaks = memory.finish().await;
    let usage = before.iter().zip(&after).zip(peaks);
    let usage = usage.map(|((before, after), resident_bytes_max)| Usage {
        cpu_seconds: before.seconds_until(after),
        resident_bytes_max,
    });
    Round {
        arm: number,
        tally,
        usage: usage.collect(),
    }
}

struct Memory {
    done: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Vec<u64>>,
}

impl Memory {
    async fn finish(self) -> Vec<u64> {
        // The task ends either way.
        let _ = self.done.send(());
        self.task.await.unwrap_or_default()
    }
}

/// Looks at the memory of all groups until told to stop.
fn watch_memory(groups: Vec<Group>) -> Memory {
    let (done, mut told) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        // Looking for children at each step would cost more than everything else here.
        let members: Vec<Vec<u32>> = groups.iter().map(Group::members).collect();
        let mut peaks = vec![0_u64; groups.len()];
        let mut ticks = tokio::time::interval(MEMORY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! {
                _ = ticks.tick() => false,
                _ = &mut told => true,
            };
            for (peak, pids) in peaks.iter_mut().zip(&members) {
                *peak = (*peak).max(resident_bytes(pids));
            }
            if is_over {
                return peaks;
            }
        }
    });
    Memory { done, task }
}

/// Ends a round whose throughput has settled.
fn watch_rate(setting: &Setting, phase: &Arc<load::Phase>) -> JoinHandle<()> {
    let (phase, interval, limit) = (Arc::clone(phase), setting.plan.interval, setting.plan.auto_stop);
    tokio::spawn(async move {
        let Some(limit) = limit else { return };
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            if crate::stats::is_settled(&phase.lock().timeline.rates(), limit) {
                phase.stop();
                return;
            }
        }
    })
}

/// Shows where the measurement stands until it is stopped.
fn show(setting: &Setting, phase: &Arc<load::Phase>, title: String) -> JoinHandle<()> {
    let (phase, plan, live) = (
        Arc::clone(phase),
        Arc::clone(&setting.plan),
        Arc::clone(&setting.live),
    );
    let rate = match plan.pace {
        Pace::Closed => None,
        Pace::Open { rate, .. } => Some(rate),
    };
    tokio::spawn(async move {
        let begin = Instant::now();
        loop {
            tokio::time::sleep(live.interval()).await;
            // A copy, so that workers wait for the copying and not for the terminal.
            let tally = phase.lock().clone();
            let elapsed = begin.elapsed();
            let share = match plan.requests {
                Some(requests) => tally.done() as f64 / requests.max(1) as f64,
                None => elapsed.as_secs_f64() / plan.duration.as_secs_f64().max(1e-3),
            };
            let moment = Moment {
                title: &title,
                elapsed,
                share,
                rate,
            };
            live.show(&moment, &tally);
        }
    })
}
