//! The report.
//!
//! What lives here: what is derived from the counts, and its two forms. What must not: measuring.
//! Invariant: both forms show the same numbers, and what was not measured is absent, never zero.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use crate::load::{Outcome, Plan, Row, Sampled, Verb};

/// Version of the JSON document's form.
const SCHEMA: &str = "sceau-bench/1";
const GIGABYTE: f64 = 1e9;

/// What a run found. Rates are of the measured time; MB and GB are powers of ten.
#[derive(Serialize)]
pub struct Report {
    schema: &'static str,
    version: &'static str,
    debug_build: bool,
    interrupted: bool,
    host: String,
    bucket: String,
    prefix: String,
    seed: u64,
    concurrency: u16,
    payload: String,
    elapsed_seconds: f64,
    requests: u64,
    bytes: u64,
    failed: u64,
    corrupt: u64,
    fill_failed: u64,
    left_behind: u64,
    megabytes_per_second: f64,
    rows: Vec<Line>,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    processes: Vec<Process>,
}

#[derive(Serialize)]
struct Line {
    operation: Verb,
    size: u64,
    requests: u64,
    failed: u64,
    requests_per_second: f64,
    megabytes_per_second: f64,
    /// Absent when no request succeeded.
    latency_micros: Option<Latency>,
}

#[derive(Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    name: Option<String>,
    cpu_seconds: Option<f64>,
    cpu_seconds_per_gigabyte: Option<f64>,
    peak_rss_bytes_before: Option<u64>,
    peak_rss_bytes: Option<u64>,
}

impl Report {
    /// Derives everything.
    pub fn new(plan: &Plan, outcome: Outcome, interrupted: bool) -> Self {
        let seconds = outcome.elapsed.as_secs_f64().max(f64::EPSILON);
        let rows = &outcome.measured.rows;
        let bytes = rows
            .values()
            .fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
        let mut errors = BTreeMap::new();
        for tally in [&outcome.filled, &outcome.measured, &outcome.cleaned] {
            for (kind, count) in &tally.faults {
                let sum: &mut u64 = errors.entry(kind.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            debug_build: cfg!(debug_assertions),
            interrupted,
            host: plan.target.address.clone(),
            bucket: plan.target.bucket.clone(),
            prefix: plan.prefix.clone(),
            seed: plan.seed,
            concurrency: plan.concurrency,
            payload: format!("{:?}", plan.payload).to_lowercase(),
            elapsed_seconds: seconds,
            requests: rows
                .values()
                .fold(0, |sum, row| sum.saturating_add(row.latency.count())),
            bytes,
            failed: outcome.measured.failed(),
            corrupt: outcome.measured.corrupt,
            fill_failed: outcome.filled.failed(),
            left_behind: outcome.cleaned.failed(),
            megabytes_per_second: bytes as f64 / 1e6 / seconds,
            rows: rows
                .iter()
                .map(|(of, row)| Line::new(*of, row, seconds))
                .collect(),
            errors,
            first_error: [&outcome.filled, &outcome.measured, &outcome.cleaned]
                .iter()
                .find_map(|tally| tally.first_fault.clone()),
            processes: outcome
                .processes
                .iter()
                .map(|of| Process::new(of, bytes))
                .collect(),
        }
    }

    /// Whether the run was cut short.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether no request failed, in any phase.
    pub fn is_clean(&self) -> bool {
        [self.failed, self.fill_failed, self.left_behind] == [0; 3]
    }
}

impl Line {
    fn new((operation, size): (Verb, u64), row: &Row, seconds: f64) -> Self {
        let latency = &row.latency;
        Self {
            operation,
            size,
            requests: latency.count(),
            failed: row.failed,
            requests_per_second: latency.count() as f64 / seconds,
            megabytes_per_second: row.bytes as f64 / 1e6 / seconds,
            latency_micros: (latency.count() > 0).then(|| Latency {
                p50: latency.percentile_micros(50),
                p90: latency.percentile_micros(90),
                p99: latency.percentile_micros(99),
                max: latency.max_micros(),
            }),
        }
    }
}

impl Process {
    fn new((pid, before, after): &Sampled, bytes: u64) -> Self {
        let same = before.as_ref().zip(after.as_ref());
        let same = same.and_then(|(before, after)| Some((before, after, before.cpu_seconds_until(after)?)));
        Self {
            pid: *pid,
            name: before.as_ref().map(|sample| sample.name.clone()),
            cpu_seconds: same.map(|(_, _, seconds)| seconds),
            cpu_seconds_per_gigabyte: same
                .filter(|_| bytes > 0)
                .map(|(_, _, seconds)| seconds / (bytes as f64 / GIGABYTE)),
            peak_rss_bytes_before: before.as_ref().map(|sample| sample.peak_rss_bytes),
            peak_rss_bytes: same.map(|(_, after, _)| after.peak_rss_bytes),
        }
    }
}

/// The form for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sceau-bench {}: {}/{}/{}",
            self.version, self.host, self.bucket, self.prefix
        )?;
        writeln!(
            f,
            "seed {}, {} workers in a closed loop, payload {}; times are of successful requests, to the last byte",
            self.seed, self.concurrency, self.payload
        )?;
        if self.debug_build {
            writeln!(
                f,
                "this is a debug build of sceau-bench: its numbers mean nothing"
            )?;
        }
        writeln!(
            f,
            "\n{:<6} {:>11} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "size", "requests", "failed", "req/s", "MB/s", "p50 ms", "p90 ms", "p99 ms", "max ms"
        )?;
        for line in &self.rows {
            write!(
                f,
                "{:<6} {:>11} {:>9} {:>7} {:>9.1} {:>9.2}",
                format!("{:?}", line.operation).to_lowercase(),
                line.size,
                line.requests,
                line.failed,
                line.requests_per_second,
                line.megabytes_per_second
            )?;
            if let Some(Latency { p50, p90, p99, max }) = &line.latency_micros {
                for micros in [p50, p90, p99, max] {
                    write!(f, " {:>9.3}", *micros as f64 / 1e3)?;
                }
            }
            f.write_char('\n')?;
        }
        writeln!(
            f,
            "\n{} requests, {} bytes in {:.2} s: {:.2} MB/s; {} failed, {} of them with wrong content",
            self.requests,
            self.bytes,
            self.elapsed_seconds,
            self.megabytes_per_second,
            self.failed,
            self.corrupt
        )?;
        self.fmt_processes(f)?;
        self.fmt_failures(f)
    }
}

impl Report {
    fn fmt_processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for process in &self.processes {
            write!(
                f,
                "process {} ({}): ",
                process.pid,
                process.name.as_deref().unwrap_or("?")
            )?;
            let (Some(seconds), Some(rss)) = (process.cpu_seconds, process.peak_rss_bytes) else {
                writeln!(f, "ended during the run")?;
                continue;
            };
            write!(f, "{seconds:.2} CPU s, ")?;
            if let Some(per) = process.cpu_seconds_per_gigabyte {
                write!(f, "{per:.2} CPU s/GB, ")?;
            }
            let before = process.peak_rss_bytes_before.unwrap_or(0) as f64 / 1e6;
            writeln!(f, "peak RSS {:.1} MB ({before:.1} before)", rss as f64 / 1e6)?;
        }
        Ok(())
    }

    fn fmt_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.errors {
            writeln!(f, "error {kind}: {count}")?;
        }
        if let Some(first) = &self.first_error {
            writeln!(f, "first error: {first}")?;
        }
        if self.fill_failed > 0 {
            writeln!(
                f,
                "{} writes before the measurement failed; nothing was measured",
                self.fill_failed
            )?;
        }
        if self.left_behind > 0 {
            writeln!(
                f,
                "{} objects are left behind below {}",
                self.left_behind, self.prefix
            )?;
        }
        if self.interrupted {
            writeln!(f, "interrupted: the numbers cover the time until then")?;
        }
        Ok(())
    }
}
