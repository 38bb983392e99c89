//! The report as one page.
//!
//! What lives here: the page and what the pictures show. What must not: how pictures are drawn (`svg`).
//! Invariant: the page stands alone: no script, no font, no picture from elsewhere, and every text from
//! outside is escaped.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Arm, Comparison, Latency, Report};
use super::svg::{self, Bar, COLOURS, Heat, Series, escape, short};
use crate::histogram::Histogram;
use crate::timeline::step_micros;

/// Most columns of a heat map, and most points of a line.
const COLUMNS_MAX: u64 = 180;
/// Points of a line of percentiles for each nine.
const POINTS: u32 = 24;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let title = title(report);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        title = escape(&title)
    );
    head(&mut out, report, &title);
    verdicts(&mut out, report);
    comparisons(&mut out, &report.comparisons);
    section(&mut out, "Results", &results(report));
    costs(&mut out, report);
    let lines = percentile_lines(report);
    section(
        &mut out,
        "Latency by percentile",
        &(legend(&lines) + &svg::percentiles(&lines)),
    );
    throughput(&mut out, report);
    for (number, arm) in report.endpoints.iter().enumerate() {
        heat(&mut out, arm, number, report.endpoints.len());
    }
    for arm in report.endpoints.iter().filter(|arm| !arm.phases.is_empty()) {
        phases(&mut out, arm);
    }
    about(&mut out, report);
    out + "</main>\n</body>\n</html>\n"
}

fn title(report: &Report) -> String {
    let names: Vec<&str> = report.endpoints.iter().map(|arm| arm.name.as_str()).collect();
    match names.as_slice() {
        [_] => format!("sceau-bench: {}", report.load.mix),
        _ => format!("sceau-bench: {} on {}", report.load.mix, names.join(", ")),
    }
}

fn section(out: &mut String, title: &str, body: &str) {
    let _ = writeln!(out, "<section>\n<h2>{}</h2>\n{body}\n</section>", escape(title));
}

fn head(out: &mut String, report: &Report, title: &str) {
    let load = &report.load;
    let pace = match load.rate {
        None => "closed loop".to_owned(),
        Some(rate) => format!("open loop, {rate} requests/s due"),
    };
    let _ = writeln!(
        out,
        "<header>\n<h1>{}</h1>\n<p>{} · sizes {} · {} objects ({}) · {} connections, {pace} · {} round{} · {}</p>",
        escape(title),
        escape(&report.started),
        escape(&load.sizes),
        load.objects,
        escape(&load.popularity),
        load.concurrency,
        load.rounds,
        if load.rounds == 1 { "" } else { "s" },
        if load.verified {
            "every byte that was read was compared"
        } else {
            "bytes were not compared"
        }
    );
    let mut warn = |text: &str| {
        let _ = writeln!(out, "<p class=\"warning\">{text}</p>");
    };
    if report.debug_build {
        warn("This is a debug build of sceau-bench: its numbers mean nothing.");
    }
    if report.interrupted {
        warn("The run was interrupted: the numbers cover the time until then.");
    }
    if !report.is_clean() {
        warn("Requests failed or objects were left behind; see the results.");
    }
    out.push_str("</header>\n");
}

fn verdicts(out: &mut String, report: &Report) {
    if report.thresholds.is_empty() {
        return;
    }
    let mut table = "<table><thead><tr><th>Threshold</th><th>On</th><th class=\"n\">Found</th><th></th></tr></thead><tbody>".to_owned();
    for verdict in &report.thresholds {
        let (class, word) = if verdict.passed {
            ("good", "passed")
        } else {
            ("bad", "failed")
        };
        let _ = write!(
            table,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td class=\"{class}\">{word}</td></tr>",
            escape(&verdict.threshold),
            escape(&verdict.on),
            verdict.found.map_or("nothing".to_owned(), |found| format!(
                "{} {}",
                short(found),
                escape(&verdict.unit)
            ))
        );
    }
    section(out, "Thresholds", &(table + "</tbody></table>"));
}

fn comparisons(out: &mut String, all: &[Comparison]) {
    if all.is_empty() {
        return;
    }
    let widest = |of: &Comparison| of.high.max(1.0 / of.low.max(1e-6));
    let widest = all
        .iter()
        .map(widest)
        .filter(|reach| *reach < 1e3)
        .fold(1.05, f64::max);
    let mut body =
        "<p>Ratios are medians over rounds that ran side by side; the line is the 95 % interval, its \
                    middle is 1.</p>\n<div class=\"wide\"><table>"
            .to_owned();
    let mut pair = ("", "");
    for of in all {
        let own = (of.before.as_str(), of.after.as_str());
        if own != pair {
            let _ = write!(
                body,
                "<tbody><tr class=\"pair\"><th>{after} against {before}</th><th class=\"n\">{before}</th>\
                 <th class=\"n\">{after}</th><th class=\"n\">ratio</th><th class=\"n\">95 % interval</th><th></th></tr></tbody>",
                before = escape(own.0),
                after = escape(own.1)
            );
            pair = own;
        }
        let _ = write!(
            body,
            "<tbody><tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n strong\">{:.3}</td>\
             <td class=\"n\">{:.3} – {:.3}</td><td>{}</td></tr></tbody>",
            escape(&metric_name(&of.metric)),
            short(of.before_median),
            short(of.after_median),
            of.ratio,
            of.low,
            of.high,
            svg::interval(of.ratio, of.low, of.high, widest)
        );
    }
    section(out, "Comparison", &(body + "</table></div>"));
}

fn metric_name(metric: &str) -> String {
    match metric {
        "megabytes_per_second" => "throughput, MB/s",
        "requests_per_second" => "requests/s",
        "p50_micros" => "p50, µs",
        "p90_micros" => "p90, µs",
        "p99_micros" => "p99, µs",
        "cpu_seconds_per_gigabyte" => "CPU seconds per GB",
        "cpu_micros_per_request" => "CPU µs per request",
        "resident_bytes_max" => "most memory, bytes",
        other => other,
    }
    .to_owned()
}

fn results(report: &Report) -> String {
    let mut table = "<div class=\"wide\"><table><thead><tr><th>Endpoint</th><th>Operation</th><th class=\"n\">size</th>\
                     <th class=\"n\">requests</th><th class=\"n\">failed</th><th class=\"n\">requests/s</th>\
                     <th class=\"n\">MB/s</th><th class=\"n\">p50 ms</th><th class=\"n\">p90 ms</th>\
                     <th class=\"n\">p99 ms</th><th class=\"n\">p99.9 ms</th><th class=\"n\">max ms</th></tr></thead><tbody>"
        .to_owned();
    for (number, arm) in report.endpoints.iter().enumerate() {
        for row in &arm.rows {
            let mut line = |operation: &str, latency: Option<&Latency>| {
                let _ = write!(
                    table,
                    "<tr><td><span class=\"dot b{}\"></span>{}</td><td>{operation}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                     <td class=\"n{}\">{}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.2}</td>",
                    number % COLOURS,
                    escape(&arm.name),
                    row.size.map_or("–".to_owned(), |size| size.to_string()),
                    row.requests,
                    if row.failed > 0 { " bad" } else { "" },
                    row.failed,
                    row.requests_per_second,
                    row.megabytes_per_second
                );
                let values = latency.map(|it| [it.p50, it.p90, it.p99, it.p999, it.max]);
                for value in values.iter().flatten() {
                    let _ = write!(table, "<td class=\"n\">{}</td>", short(value / 1e3));
                }
                table.push_str("</tr>");
            };
            line(row.operation.name(), row.latency_micros.as_ref());
            if let Some(service) = &row.service_micros {
                line(&format!("{}, service time", row.operation.name()), Some(service));
            }
        }
    }
    table.push_str("</tbody></table></div>");
    for arm in &report.endpoints {
        let mut note = |text: String| {
            let _ = write!(
                table,
                "<p class=\"bad\">{}: {}</p>",
                escape(&arm.name),
                escape(&text)
            );
        };
        for (kind, count) in &arm.errors {
            note(format!("{kind}: {count}"));
        }
        if arm.corrupt > 0 {
            note(format!("{} answers had wrong content", arm.corrupt));
        }
        if arm.unstarted > 0 {
            note(format!("{} requests were due and never started", arm.unstarted));
        }
        if arm.left_behind > 0 {
            note(format!("{} objects were left behind", arm.left_behind));
        }
    }
    table
}

fn costs(out: &mut String, report: &Report) {
    let mut body = String::new();
    for (title, unit, of) in [
        (
            "CPU seconds per GB",
            "s/GB",
            cost_per_gigabyte as fn(&super::model::Process) -> Option<f64>,
        ),
        ("CPU time per request", "µs", |process| {
            process.cpu_micros_per_request
        }),
        ("Most resident memory", "MB", |process| {
            Some(process.resident_bytes_max as f64 / 1e6)
        }),
    ] {
        let mut bars = Vec::new();
        for (colour, arm) in report.endpoints.iter().enumerate() {
            for process in &arm.processes {
                // What an endpoint's run costs: its own processes, and those that belong to no endpoint.
                let is_foreign = report
                    .endpoints
                    .iter()
                    .any(|other| other.name == process.name && other.name != arm.name);
                let Some(value) = of(process).filter(|_| !is_foreign) else {
                    continue;
                };
                bars.push(Bar {
                    name: match process.name == arm.name {
                        true => arm.name.clone(),
                        false => format!("{} during {}", process.name, arm.name),
                    },
                    value,
                    text: format!("{} {unit}", short(value)),
                    colour,
                });
            }
        }
        if !bars.is_empty() {
            let _ = write!(body, "<h3>{title}</h3>{}", svg::bars(&bars, title));
        }
    }
    if !body.is_empty() {
        section(out, "Cost", &body);
    }
}

fn cost_per_gigabyte(process: &super::model::Process) -> Option<f64> {
    process.cpu_seconds_per_gigabyte
}

fn legend(series: &[Series]) -> String {
    let entries = series.iter().enumerate().map(|(number, line)| {
        format!(
            "<span class=\"entry\"><span class=\"dot b{}\"></span>{}</span>",
            number % COLOURS,
            escape(&line.name)
        )
    });
    format!("<p class=\"legend\">{}</p>", entries.collect::<String>())
}

/// A line for each endpoint, or for each operation of the only one.
fn percentile_lines(report: &Report) -> Vec<Series> {
    let mut histograms: Vec<(String, Histogram)> = Vec::new();
    for arm in &report.endpoints {
        for row in &arm.rows {
            let Some(more) = Histogram::from_text(&row.histogram) else {
                continue;
            };
            let name = match report.endpoints.len() {
                1 => row.operation.name(),
                _ => arm.name.as_str(),
            };
            match histograms.iter_mut().find(|(known, _)| known == name) {
                Some((_, own)) => own.add(&more),
                None => histograms.push((name.to_owned(), more)),
            }
        }
    }
    let line = |(name, histogram): (String, Histogram)| {
        let last = (histogram.count().max(10) as f64).log10();
        let steps = (last * f64::from(POINTS)).floor() as u32;
        let point = |step: u32| {
            let nines = f64::from(step) / f64::from(POINTS);
            let quantile = 1.0 - 10_f64.powf(-nines);
            (nines, histogram.quantile_micros(quantile) / 1e3)
        };
        Series {
            name,
            points: (0..=steps).map(point).collect(),
        }
    };
    histograms.into_iter().map(line).collect()
}

fn throughput(out: &mut String, report: &Report) {
    let moves_bytes = report.endpoints.iter().any(|arm| arm.bytes > 0);
    let lines: Vec<Series> = report
        .endpoints
        .iter()
        .map(|arm| rate_line(arm, moves_bytes))
        .collect();
    let seconds = report
        .endpoints
        .iter()
        .map(|arm| arm.elapsed_seconds)
        .fold(0.1, f64::max);
    let label = if moves_bytes { "MB/s" } else { "requests/s" };
    let body = legend(&lines) + &svg::over_time(&lines, label, seconds);
    section(out, "Throughput over time", &body);
}

fn rate_line(arm: &Arm, moves_bytes: bool) -> Series {
    let step = arm.timeline.interval_seconds;
    let last = arm
        .timeline
        .points
        .iter()
        .map(|point| point.interval)
        .max()
        .unwrap_or(0);
    let group = last.saturating_add(1).div_ceil(COLUMNS_MAX).max(1);
    let mut sums: BTreeMap<u64, f64> = (0..=last.checked_div(group).unwrap_or(0))
        .map(|at| (at, 0.0))
        .collect();
    for point in &arm.timeline.points {
        let amount = match moves_bytes {
            true => point.bytes as f64 / 1e6,
            false => point.requests as f64,
        };
        *sums
            .entry(point.interval.checked_div(group).unwrap_or(0))
            .or_default() += amount;
    }
    let width = step * group as f64;
    let point = |(at, sum): (u64, f64)| {
        let begin = at as f64 * width;
        let length = width.min(arm.elapsed_seconds - begin);
        // The last interval is shorter than the others; what is left of it may be too short to tell a rate.
        (length > width / 2.0).then(|| (begin + length / 2.0, sum / length))
    };
    Series {
        name: arm.name.clone(),
        points: sums.into_iter().filter_map(point).collect(),
    }
}

fn heat(out: &mut String, arm: &Arm, number: usize, count: usize) {
    let step = arm.timeline.interval_seconds;
    let last = arm
        .timeline
        .points
        .iter()
        .map(|point| point.interval)
        .max()
        .unwrap_or(0);
    let group = last.saturating_add(1).div_ceil(COLUMNS_MAX).max(1);
    let mut counts: BTreeMap<(u64, u8), u64> = BTreeMap::new();
    for point in &arm.timeline.points {
        for (of, more) in &point.steps {
            let at = point.interval.checked_div(group).unwrap_or(0);
            let sum = counts.entry((at, *of)).or_default();
            *sum = sum.saturating_add(*more);
        }
    }
    let width = step * group as f64;
    let cell = |((at, of), count): ((u64, u8), u64)| {
        let begin = at as f64 * width;
        let end = step_micros(of) / 1e3;
        Heat {
            time: (begin, (begin + width).min(arm.elapsed_seconds.max(begin))),
            // A step is a quarter of a doubling.
            latency: (end / 0.25_f64.exp2(), end),
            count,
        }
    };
    let cells: Vec<Heat> = counts.into_iter().map(cell).collect();
    if cells.is_empty() {
        return;
    }
    let mut end = 0.0;
    let ends = arm.rounds.iter().map(|round| {
        end += round.elapsed_seconds;
        end
    });
    let ends: Vec<f64> = ends.collect();
    let title = match count {
        1 => "Latencies over time".to_owned(),
        _ => format!("Latencies over time: {}", arm.name),
    };
    section(
        out,
        &title,
        &svg::heat_map(&cells, arm.elapsed_seconds.max(0.1), number, &ends),
    );
}

fn phases(out: &mut String, arm: &Arm) {
    let mut phases: Vec<_> = arm.phases.iter().collect();
    phases.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let bar = |phase: &&super::model::Phase| Bar {
        name: phase.name.clone(),
        value: phase.seconds,
        text: format!(
            "{} s: {} × {} µs",
            short(phase.seconds),
            phase.count,
            short(phase.seconds * 1e6 / phase.count.max(1) as f64)
        ),
        colour: match phase.name.split(' ').next() {
            Some("request_phase") => 0,
            Some("upstream_request") => 1,
            Some("kms_request") => 2,
            _ => 3,
        },
    };
    let bars: Vec<Bar> = phases.iter().map(bar).collect();
    let body =
        "<p>As the gateway measured it, summed over all requests of the rounds. Phases contain each other: \
                a request contains its phases, and a body waits for the store and the client.</p>"
            .to_owned()
            + &svg::bars(&bars, "phases");
    section(out, &format!("Where time went: {}", arm.name), &body);
}

fn about(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let mut body = "<table><tbody>".to_owned();
    let mut line = |name: &str, value: &str| {
        let _ = write!(body, "<tr><th>{name}</th><td>{}</td></tr>", escape(value));
    };
    line("Command", &report.command.join(" "));
    line("Version", &format!("sceau-bench {}", report.version));
    line(
        "Machine",
        &format!("{}, {} processors", machine.processor, machine.processors),
    );
    line("Memory", &format!("{:.1} GB", machine.memory_bytes as f64 / 1e9));
    line("System", &machine.kernel);
    line("Seed", &report.load.seed.to_string());
    line("Keys below", &report.load.prefix);
    for arm in &report.endpoints {
        let scheme = if arm.tls { "https" } else { "http" };
        line(
            &escape(&arm.name),
            &format!("{scheme}://{}/{}", arm.host, arm.bucket),
        );
    }
    section(out, "About this run", &(body + "</tbody></table>"));
}
