//! The report for other programs: CSV and HdrHistogram log.
//!
//! What lives here: their lines. What must not: numbers that are not in the report. Invariant: one line is
//! one record, whatever names contain.

use std::fmt::Write;

use super::model::{Point, Report};
use crate::timeline::Cell;

const COLUMNS: &str = "endpoint,interval_start_seconds,interval_seconds,operation,requests,failed,bytes,\
                       requests_per_second,megabytes_per_second,p50_micros,p90_micros,p99_micros,max_micros";

/// One line for each endpoint, interval and operation. Percentiles of intervals are upper ends of steps of a
/// quarter of a doubling.
pub fn csv(report: &Report) -> String {
    let mut out = format!("{COLUMNS}\r\n");
    for arm in &report.endpoints {
        let seconds = arm.timeline.interval_seconds;
        for point in &arm.timeline.points {
            let cell = cell_of(point);
            let _ = write!(
                out,
                "{},{:.3},{seconds:.3},{},{},{},{},{:.3},{:.3}",
                arm.name,
                point.interval as f64 * seconds,
                point.operation.name(),
                point.requests,
                point.failed,
                point.bytes,
                point.requests as f64 / seconds,
                point.bytes as f64 / 1e6 / seconds
            );
            for quantile in [0.5, 0.9, 0.99, 1.0] {
                let _ = write!(out, ",{:.1}", cell.quantile_micros(quantile));
            }
            out.push_str("\r\n");
        }
    }
    out
}

fn cell_of(point: &Point) -> Cell {
    Cell {
        done: point.requests,
        bytes: point.bytes,
        failed: point.failed,
        steps: point.steps.clone(),
    }
}

/// One line for each endpoint, operation and size: the whole measured time as one interval. Values are
/// nanoseconds; the column of the maximum is milliseconds, as that format has it.
pub fn hdr_log(report: &Report) -> String {
    let mut out = format!(
        "#[Logged with sceau-bench {}]\n#[Histogram log format version 1.3]\n#[Started {}]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        report.version, report.started
    );
    for arm in &report.endpoints {
        for row in arm.rows.iter().filter(|row| row.requests > 0) {
            let size = row.size.map_or(String::new(), |size| format!(".{size}"));
            let max = row.latency_micros.map_or(0.0, |latency| latency.max / 1e3);
            let _ = writeln!(
                out,
                "Tag={}.{}{size},0.000,{:.3},{max:.3},{}",
                arm.name,
                row.operation.name(),
                arm.elapsed_seconds,
                row.histogram
            );
        }
    }
    out
}
