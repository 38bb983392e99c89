//! From counts to the report.
//!
//! What lives here: rates, consumption per byte and request, comparisons. What must not: measuring, the
//! forms. Invariant: numbers are compared round by round, since only what ran side by side compares.

use std::collections::BTreeMap;
use std::fs;

use super::model::{
    Arm, Comparison, Latency, Load, Machine, Point, Process, Report, Round, Row, SCHEMA, Timeline,
};
use crate::histogram::Histogram;
use crate::process::Group;
use crate::rounds;
use crate::stats;
use crate::tally::{self, Tally};

const GIGABYTE: f64 = 1e9;
/// Metrics of rounds in the order of reports.
pub const METRICS: [&str; 8] = [
    "megabytes_per_second",
    "requests_per_second",
    "p50_micros",
    "p90_micros",
    "p99_micros",
    "cpu_seconds_per_gigabyte",
    "cpu_micros_per_request",
    "resident_bytes_max",
];

/// What is known of an endpoint beside the counts.
pub struct Place {
    /// Name.
    pub name: String,
    /// Host and port.
    pub host: String,
    /// Whether connections use TLS.
    pub tls: bool,
    /// Bucket.
    pub bucket: String,
}

/// Derives everything.
pub fn report(
    load: Load,
    started: String,
    places: Vec<Place>,
    groups: &[Group],
    outcome: rounds::Outcome,
) -> Report {
    let mut turns: Vec<Vec<rounds::Round>> = places.iter().map(|_| Vec::new()).collect();
    for round in outcome.rounds {
        if let Some(own) = turns.get_mut(round.arm) {
            own.push(round);
        }
    }
    let around = outcome
        .prepared
        .into_iter()
        .zip(outcome.cleaned)
        .zip(outcome.phases);
    let endpoints: Vec<Arm> = places
        .into_iter()
        .zip(turns)
        .zip(around)
        .map(|((place, rounds), ((prepared, cleaned), phases))| Arm {
            phases,
            ..arm(place, rounds, groups, &prepared, &cleaned)
        })
        .collect();
    Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        debug_build: cfg!(debug_assertions),
        started,
        command: std::env::args().collect(),
        interrupted: false,
        machine: machine(),
        load,
        comparisons: comparisons(&endpoints),
        endpoints,
        thresholds: Vec::new(),
    }
}

fn arm(place: Place, rounds: Vec<rounds::Round>, groups: &[Group], prepared: &Tally, cleaned: &Tally) -> Arm {
    let mut sum = Tally::default();
    if let Some(first) = rounds.first() {
        sum.timeline.interval = first.tally.timeline.interval;
    }
    let processes = processes(&rounds, groups);
    let mut kept = Vec::new();
    for round in rounds {
        kept.push(round_of(&place.name, &round, groups));
        sum.add(round.tally);
    }
    let seconds = sum.elapsed.as_secs_f64();
    let (requests, bytes, failed) = (sum.done(), sum.bytes(), sum.failed());
    let corrupt = sum.corrupt.saturating_add(prepared.corrupt);
    for other in [prepared, cleaned] {
        sum.add_faults(other);
    }
    let per = |amount: u64| {
        if seconds > 0.0 {
            amount as f64 / seconds
        } else {
            0.0
        }
    };
    Arm {
        name: place.name,
        host: place.host,
        tls: place.tls,
        bucket: place.bucket,
        elapsed_seconds: seconds,
        requests,
        bytes,
        failed,
        corrupt,
        unstarted: sum.unstarted,
        prepare_failed: prepared.failed(),
        left_behind: cleaned.failed(),
        requests_per_second: per(requests),
        megabytes_per_second: per(bytes) / 1e6,
        latency_micros: latency(&sum.latency()),
        rows: rows(&sum, seconds),
        processes: processes
            .into_iter()
            .map(|process| process.per(bytes, requests))
            .collect(),
        rounds: kept,
        timeline: timeline(&sum),
        phases: Vec::new(),
        errors: sum.faults,
        first_error: sum.first_fault,
    }
}

impl Process {
    /// With its consumption per byte and per request.
    #[must_use]
    pub fn per(mut self, bytes: u64, requests: u64) -> Self {
        let share = |of: f64| move |seconds: f64| (of > 0.0).then(|| seconds / of);
        self.cpu_seconds_per_gigabyte = self.cpu_seconds.and_then(share(bytes as f64 / GIGABYTE));
        self.cpu_micros_per_request = self.cpu_seconds.and_then(share(requests as f64 / 1e6));
        self
    }
}

fn processes(rounds: &[rounds::Round], groups: &[Group]) -> Vec<Process> {
    let of = |(number, group): (usize, &Group)| {
        let usage: Vec<_> = rounds
            .iter()
            .filter_map(|round| round.usage.get(number))
            .collect();
        Process {
            name: group.name.clone(),
            command: group.command(),
            // One round without it makes the sum meaningless.
            cpu_seconds: usage
                .iter()
                .try_fold(0.0, |sum, usage| Some(sum + usage.cpu_seconds?)),
            cpu_seconds_per_gigabyte: None,
            cpu_micros_per_request: None,
            resident_bytes_max: usage
                .iter()
                .map(|usage| usage.resident_bytes_max)
                .max()
                .unwrap_or(0),
        }
    };
    groups.iter().enumerate().map(of).collect()
}

fn round_of(name: &str, round: &rounds::Round, groups: &[Group]) -> Round {
    let tally = &round.tally;
    let seconds = tally.elapsed.as_secs_f64();
    let (requests, bytes) = (tally.done(), tally.bytes());
    let mut metrics = BTreeMap::new();
    let mut note = |name: &str, value: f64| {
        metrics.insert(name.to_owned(), value);
    };
    if requests > 0 && seconds > 0.0 {
        let latency = tally.latency();
        note("requests_per_second", requests as f64 / seconds);
        for (name, quantile) in [("p50_micros", 0.5), ("p90_micros", 0.9), ("p99_micros", 0.99)] {
            note(name, latency.quantile_micros(quantile));
        }
        if bytes > 0 {
            note("megabytes_per_second", bytes as f64 / 1e6 / seconds);
        }
        // The group that has the endpoint's name is what the endpoint costs.
        let own = groups.iter().position(|group| group.name == name);
        if let Some(usage) = own.and_then(|number| round.usage.get(number)) {
            note("resident_bytes_max", usage.resident_bytes_max as f64);
            if let Some(cpu) = usage.cpu_seconds {
                note("cpu_micros_per_request", cpu * 1e6 / requests as f64);
                if bytes > 0 {
                    note("cpu_seconds_per_gigabyte", cpu / (bytes as f64 / GIGABYTE));
                }
            }
        }
    }
    Round {
        elapsed_seconds: seconds,
        requests,
        failed: tally.failed(),
        bytes,
        metrics,
    }
}

fn rows(sum: &Tally, seconds: f64) -> Vec<Row> {
    let row = |((operation, size), row): (&(crate::op::Verb, Option<u64>), &tally::Row)| {
        let requests = row.service.count();
        let per = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        Row {
            operation: *operation,
            size: *size,
            requests,
            failed: row.failed,
            bytes: row.bytes,
            requests_per_second: per(requests as f64),
            megabytes_per_second: per(row.bytes as f64 / 1e6),
            latency_micros: latency(row.latency()),
            service_micros: row.response.as_ref().and_then(|_| latency(&row.service)),
            histogram: row.latency().to_text(),
        }
    };
    sum.rows.iter().map(row).collect()
}

/// Percentiles of a histogram; `None` of an empty one.
pub fn latency(of: &Histogram) -> Option<Latency> {
    (of.count() > 0).then(|| Latency {
        min: of.min_micros(),
        mean: of.mean_micros(),
        p50: of.quantile_micros(0.5),
        p90: of.quantile_micros(0.9),
        p99: of.quantile_micros(0.99),
        p999: of.quantile_micros(0.999),
        max: of.max_micros(),
    })
}

fn timeline(sum: &Tally) -> Timeline {
    let cells = (0_u64..).zip(&sum.timeline.cells);
    let points = cells.flat_map(|(interval, cells)| {
        cells.iter().map(move |(operation, cell)| Point {
            interval,
            operation: *operation,
            requests: cell.done,
            bytes: cell.bytes,
            failed: cell.failed,
            steps: cell.steps.clone(),
        })
    });
    Timeline {
        interval_seconds: sum.timeline.interval.as_secs_f64(),
        points: points.collect(),
    }
}

/// Each endpoint against each one before it, in every number that both have in every round.
pub fn comparisons(endpoints: &[Arm]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (number, after) in endpoints.iter().enumerate() {
        for before in endpoints.iter().take(number) {
            comparisons.extend(
                METRICS
                    .iter()
                    .filter_map(|metric| compared(metric, before, after)),
            );
        }
    }
    comparisons
}

/// One number of two endpoints.
pub fn compared(metric: &str, before: &Arm, after: &Arm) -> Option<Comparison> {
    let series = |arm: &Arm| -> Option<Vec<f64>> {
        let rounds = arm.rounds.iter();
        rounds.map(|round| round.metrics.get(metric).copied()).collect()
    };
    let (old, new) = (series(before)?, series(after)?);
    let ratio = stats::ratio(&old, &new)?;
    Some(Comparison {
        metric: metric.to_owned(),
        before: before.name.clone(),
        after: after.name.clone(),
        before_median: stats::median(&old)?,
        after_median: stats::median(&new)?,
        ratio: ratio.value,
        low: ratio.low,
        high: ratio.high,
    })
}

fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    Machine {
        kernel: format!("Linux {}", kernel.trim()),
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
        memory_bytes: kib.saturating_mul(1024),
    }
}
