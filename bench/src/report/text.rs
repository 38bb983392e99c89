//! The report for people.
//!
//! What lives here: tables. What must not: numbers that are not in the report. Invariant: no line is longer
//! than a terminal is wide, names of endpoints apart.

use std::fmt::{self, Write};

use super::model::{Arm, Comparison, Latency, Report, Verdict};
use super::svg::short;

/// The form for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        writeln!(
            f,
            "sceau-bench {}: {} of {} bytes",
            self.version, load.mix, load.sizes
        )?;
        let pace = match load.rate {
            None => "closed loop".to_owned(),
            Some(rate) => format!("open loop, {rate} requests/s due"),
        };
        writeln!(
            f,
            "{} objects ({}), {} connections, {pace}, {}, seed {}",
            load.objects,
            load.popularity,
            load.concurrency,
            mode_name(self),
            load.seed
        )?;
        if self.debug_build {
            writeln!(
                f,
                "this is a debug build of sceau-bench: its numbers mean nothing"
            )?;
        }
        for arm in &self.endpoints {
            fmt_arm(f, arm, &load.prefix)?;
        }
        write!(f, "{}{}", Table(&self.comparisons), Verdicts(&self.thresholds))?;
        if self.interrupted {
            writeln!(f, "interrupted: the numbers cover the time until then")?;
        }
        Ok(())
    }
}

fn mode_name(report: &Report) -> String {
    let name = serde_json::to_value(report.load.mode).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn fmt_arm(f: &mut fmt::Formatter<'_>, arm: &Arm, prefix: &str) -> fmt::Result {
    let scheme = if arm.tls { "https" } else { "http" };
    writeln!(f, "\n{}: {scheme}://{}/{}", arm.name, arm.host, arm.bucket)?;
    writeln!(
        f,
        "  {:<9} {:>10} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "size", "requests", "failed", "req/s", "MB/s", "p50 ms", "p90 ms", "p99 ms", "p99.9", "max ms"
    )?;
    for row in &arm.rows {
        let size = row.size.map_or("-".to_owned(), |size| size.to_string());
        write!(
            f,
            "  {:<9} {size:>10} {:>9} {:>7} {:>9.1} {:>9.2}",
            row.operation.name(),
            row.requests,
            row.failed,
            row.requests_per_second,
            row.megabytes_per_second
        )?;
        fmt_latency(f, row.latency_micros.as_ref())?;
        if let Some(service) = &row.service_micros {
            write!(f, "  {:<59}", "          (service times)")?;
            fmt_latency(f, Some(service))?;
        }
    }
    writeln!(
        f,
        "  {} requests, {} bytes in {:.2} s; {} failed, {} of them with wrong content",
        arm.requests, arm.bytes, arm.elapsed_seconds, arm.failed, arm.corrupt
    )?;
    fmt_processes(f, arm)?;
    fmt_failures(f, arm, prefix)
}

fn fmt_latency(f: &mut fmt::Formatter<'_>, latency: Option<&Latency>) -> fmt::Result {
    if let Some(latency) = latency {
        for micros in [latency.p50, latency.p90, latency.p99, latency.p999] {
            write!(f, " {:>8.3}", micros / 1e3)?;
        }
        write!(f, " {:>9.3}", latency.max / 1e3)?;
    }
    f.write_char('\n')
}

fn fmt_processes(f: &mut fmt::Formatter<'_>, arm: &Arm) -> fmt::Result {
    for process in &arm.processes {
        write!(f, "  process {}: ", process.name)?;
        let Some(seconds) = process.cpu_seconds else {
            writeln!(f, "ended during the run")?;
            continue;
        };
        write!(f, "{seconds:.2} CPU s")?;
        if let Some(per) = process.cpu_seconds_per_gigabyte {
            write!(f, ", {per:.3} CPU s/GB")?;
        }
        if let Some(per) = process.cpu_micros_per_request {
            write!(f, ", {per:.1} µs/request")?;
        }
        writeln!(
            f,
            ", at most {:.1} MB resident",
            process.resident_bytes_max as f64 / 1e6
        )?;
    }
    Ok(())
}

fn fmt_failures(f: &mut fmt::Formatter<'_>, arm: &Arm, prefix: &str) -> fmt::Result {
    for (kind, count) in &arm.errors {
        writeln!(f, "  error {kind}: {count}")?;
    }
    if let Some(first) = &arm.first_error {
        writeln!(f, "  first error: {first}")?;
    }
    if arm.prepare_failed > 0 {
        writeln!(f, "  {} requests before measurements failed", arm.prepare_failed)?;
    }
    if arm.unstarted > 0 {
        writeln!(
            f,
            "  {} requests were due and never started: more --concurrency, or the rate is beyond the endpoint",
            arm.unstarted
        )?;
    }
    if arm.left_behind > 0 {
        writeln!(
            f,
            "  {} objects are left behind below {}{}/",
            arm.left_behind, prefix, arm.name
        )?;
    }
    Ok(())
}

/// Comparisons as a table.
pub struct Table<'a>(pub &'a [Comparison]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pair = ("", "");
        for of in self.0 {
            let own = (of.before.as_str(), of.after.as_str());
            if own != pair {
                writeln!(
                    f,
                    "\n{:<26} {:>14} {:>14} {:>8}  95 % interval",
                    format!("{} / {}", of.after, of.before),
                    "before",
                    "after",
                    "ratio"
                )?;
                pair = own;
            }
            writeln!(
                f,
                "  {:<24} {:>14.3} {:>14.3} {:>8.3}  {:.3} to {:.3}",
                of.metric, of.before_median, of.after_median, of.ratio, of.low, of.high
            )?;
        }
        Ok(())
    }
}

/// What became of thresholds.
pub struct Verdicts<'a>(pub &'a [Verdict]);

impl fmt::Display for Verdicts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in self.0 {
            let unit = &verdict.unit;
            let found = verdict.found;
            let found = found.map_or("nothing".to_owned(), |found| format!("{} {unit}", short(found)));
            let outcome = if verdict.passed { "passed" } else { "FAILED" };
            writeln!(
                f,
                "{outcome}: {} ({}: {found}, limit {} {unit})",
                verdict.threshold,
                verdict.on,
                short(verdict.limit)
            )?;
        }
        Ok(())
    }
}
