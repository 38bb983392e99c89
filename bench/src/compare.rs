//! Reports of earlier runs.
//!
//! What lives here: reading them, comparing two, making one of several. What must not: measuring. Invariant:
//! only runs of the same load are put together, and only numbers that both runs have are compared.

use std::fs;
use std::path::Path;

use crate::histogram::Histogram;
use crate::report::build::{METRICS, comparisons, latency};
use crate::report::model::{Arm, Comparison, Report, Row, SCHEMA, Timeline};
use crate::scrape;
use crate::stats;

/// Largest report that is read, bytes.
const REPORT_BYTES_MAX: u64 = 256 << 20;

/// Reads a report.
pub fn read(path: &Path) -> Result<Report, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let size = fs::metadata(path)
        .map_err(|error| named(error.to_string()))?
        .len();
    if size > REPORT_BYTES_MAX {
        return Err(named("too large for a report".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| named(error.to_string()))?;
    match report.schema == SCHEMA {
        true => Ok(report),
        false => Err(named(format!("its form is {}, not {SCHEMA}", report.schema))),
    }
}

/// Endpoints of two runs that belong together: those of the same name, or the only ones.
pub fn changes(before: &Report, after: &Report) -> Vec<Comparison> {
    let pairs: Vec<(&Arm, &Arm)> = match (before.endpoints.as_slice(), after.endpoints.as_slice()) {
        ([old], [new]) => vec![(old, new)],
        (olds, news) => {
            let same = |new: &'_ Arm| olds.iter().position(|old| old.name == new.name);
            let both = news.iter().filter_map(|new| Some((olds.get(same(new)?)?, new)));
            both.collect()
        }
    };
    let change = |(old, new): (&Arm, &Arm)| -> Vec<Comparison> {
        let all = METRICS.iter().filter_map(|metric| changed(metric, old, new));
        all.collect()
    };
    pairs.into_iter().flat_map(change).collect()
}

/// Rounds of two runs did not run side by side: each run's are drawn by themselves.
fn changed(metric: &str, old: &Arm, new: &Arm) -> Option<Comparison> {
    let series = |arm: &Arm| -> Option<Vec<f64>> {
        arm.rounds
            .iter()
            .map(|round| round.metrics.get(metric).copied())
            .collect()
    };
    let (olds, news) = (series(old)?, series(new)?);
    let ratio = stats::ratio_of_medians(&olds, &news)?;
    Some(Comparison {
        metric: metric.to_owned(),
        before: old.name.clone(),
        after: new.name.clone(),
        before_median: stats::median(&olds)?,
        after_median: stats::median(&news)?,
        ratio: ratio.value,
        low: ratio.low,
        high: ratio.high,
    })
}

/// What of the load of two runs differs, if it makes their numbers incomparable.
pub fn difference(before: &Report, after: &Report) -> Option<String> {
    let load = |report: &Report| {
        let mut load = report.load.clone();
        // These may differ: they do not change what is asked of an endpoint.
        load.prefix.clear();
        load.seed = 0;
        load.rounds = 0;
        load.duration_seconds = None;
        load.requests = None;
        serde_json::to_value(load).unwrap_or_default()
    };
    let (old, new) = (load(before), load(after));
    let fields = new.as_object()?.iter();
    let different: Vec<String> = fields
        .filter(|(name, value)| old.get(*name) != Some(*value))
        .map(|(name, value)| format!("{name}: {} and {value}", old.get(name).unwrap_or_default()))
        .collect();
    (!different.is_empty()).then(|| different.join("; "))
}

/// One report of several runs of the same load, as if their rounds had followed each other.
pub fn merge(reports: Vec<Report>) -> Result<Report, String> {
    let mut all = reports.into_iter();
    let mut sum = all.next().ok_or("there is nothing to merge")?;
    for more in all {
        if let Some(difference) = difference(&sum, &more) {
            return Err(format!("the loads differ in {difference}"));
        }
        sum.interrupted |= more.interrupted;
        sum.debug_build |= more.debug_build;
        sum.load.rounds = sum.load.rounds.saturating_add(more.load.rounds);
        for arm in more.endpoints {
            match sum.endpoints.iter_mut().find(|own| own.name == arm.name) {
                Some(own) => add_arm(own, arm),
                None => return Err(format!("not all runs have an endpoint called {}", arm.name)),
            }
        }
    }
    sum.comparisons = comparisons(&sum.endpoints);
    sum.thresholds.clear();
    Ok(sum)
}

fn add_arm(own: &mut Arm, other: Arm) {
    add_timeline(&mut own.timeline, other.timeline, own.elapsed_seconds);
    own.elapsed_seconds += other.elapsed_seconds;
    for (sum, more) in [
        (&mut own.requests, other.requests),
        (&mut own.bytes, other.bytes),
        (&mut own.failed, other.failed),
        (&mut own.corrupt, other.corrupt),
        (&mut own.unstarted, other.unstarted),
        (&mut own.prepare_failed, other.prepare_failed),
        (&mut own.left_behind, other.left_behind),
    ] {
        *sum = sum.saturating_add(more);
    }
    let seconds = own.elapsed_seconds.max(f64::MIN_POSITIVE);
    own.requests_per_second = own.requests as f64 / seconds;
    own.megabytes_per_second = own.bytes as f64 / 1e6 / seconds;
    for row in other.rows {
        add_row(&mut own.rows, row);
    }
    let mut latencies = Histogram::default();
    for row in &mut own.rows {
        row.requests_per_second = row.requests as f64 / seconds;
        row.megabytes_per_second = row.bytes as f64 / 1e6 / seconds;
        if let Some(more) = Histogram::from_text(&row.histogram) {
            latencies.add(&more);
        }
    }
    own.latency_micros = latency(&latencies);
    for process in &mut own.processes {
        let more = other.processes.iter().find(|more| more.name == process.name);
        let more_seconds = more.and_then(|more| more.cpu_seconds);
        process.cpu_seconds = process
            .cpu_seconds
            .zip(more_seconds)
            .map(|(sum, more)| sum + more);
        let peak = more.map_or(0, |more| more.resident_bytes_max);
        process.resident_bytes_max = process.resident_bytes_max.max(peak);
        *process = process.clone().per(own.bytes, own.requests);
    }
    own.rounds.extend(other.rounds);
    scrape::add(&mut own.phases, other.phases);
    for (kind, more) in other.errors {
        let sum = own.errors.entry(kind).or_default();
        *sum = sum.saturating_add(more);
    }
    own.first_error = own.first_error.take().or(other.first_error);
}

fn add_row(rows: &mut Vec<Row>, other: Row) {
    let same = |row: &&mut Row| (row.operation, row.size) == (other.operation, other.size);
    let Some(own) = rows.iter_mut().find(same) else {
        rows.push(other);
        return;
    };
    own.requests = own.requests.saturating_add(other.requests);
    own.failed = own.failed.saturating_add(other.failed);
    own.bytes = own.bytes.saturating_add(other.bytes);
    // Service times of an open loop have no histogram in the report.
    own.service_micros = None;
    let pair = Histogram::from_text(&own.histogram).zip(Histogram::from_text(&other.histogram));
    if let Some((mut sum, more)) = pair {
        sum.add(&more);
        own.latency_micros = latency(&sum);
        own.histogram = sum.to_text();
    }
}

fn add_timeline(own: &mut Timeline, other: Timeline, elapsed: f64) {
    let step = own.interval_seconds.max(1e-3);
    let same = (step - other.interval_seconds).abs() < 1e-9;
    let first = (elapsed / step).ceil() as u64;
    for mut point in other.points {
        point.interval = match same {
            true => point.interval.saturating_add(first),
            false => {
                let at = elapsed + point.interval as f64 * other.interval_seconds;
                (at / step) as u64
            }
        };
        own.points.push(point);
    }
}
