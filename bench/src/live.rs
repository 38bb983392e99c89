//! What is shown while a run goes on.
//!
//! What lives here: the view on a terminal, and lines for everything else. What must not: the report.
//! Invariant: only standard error is written to, without colours where `NO_COLOR` is set or nobody watches.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::tally::Tally;

/// Time between two views on a terminal.
const VIEW_INTERVAL: Duration = Duration::from_millis(500);
/// Time between two lines elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Steps of the bar, and of the history of the throughput.
const WIDTH: usize = 40;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where a phase stands.
pub struct Moment<'a> {
    /// Endpoint and round.
    pub title: &'a str,
    /// Time since the phase began.
    pub elapsed: Duration,
    /// Share of it that is over, 0 to 1.
    pub share: f64,
    /// Requests per second that are due, in an open loop.
    pub rate: Option<f64>,
}

/// What is shown.
pub struct Live {
    is_quiet: bool,
    is_terminal: bool,
    has_colour: bool,
    drawn_lines: Mutex<usize>,
}

impl Live {
    /// For standard error.
    pub fn new(is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = env::var("TERM").is_ok_and(|term| term == "dumb");
        Self {
            is_quiet,
            is_terminal: is_terminal && !is_dumb,
            has_colour: is_terminal
                && !is_dumb
                && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            drawn_lines: Mutex::new(0),
        }
    }

    /// Time between two calls of [`Live::show`].
    pub fn interval(&self) -> Duration {
        if self.is_terminal {
            VIEW_INTERVAL
        } else {
            LINE_INTERVAL
        }
    }

    /// Says what happens now, where nothing is counted.
    pub fn note(&self, text: &str) {
        match (self.is_quiet, self.is_terminal) {
            (true, _) => {}
            (false, true) => self.draw(&[text.to_owned()]),
            (false, false) => self.line(text),
        }
    }

    /// Shows where a phase stands.
    pub fn show(&self, moment: &Moment<'_>, tally: &Tally) {
        if self.is_quiet {
            return;
        }
        let numbers = numbers(moment, tally);
        if !self.is_terminal {
            self.line(&format!(
                "{} {:.0} s: {numbers}",
                moment.title,
                moment.elapsed.as_secs_f64()
            ));
            return;
        }
        let failed = match tally.failed() {
            0 => String::new(),
            count => self.painted("31", &format!("  {count} failed: {}", kinds(tally))),
        };
        self.draw(&[
            format!(
                "{} {} {:.1} s",
                self.painted("1", moment.title),
                bar(moment.share),
                moment.elapsed.as_secs_f64()
            ),
            format!("  {numbers}{failed}"),
            format!("  {}", self.painted("36", &sparkline(&tally.timeline.rates()))),
        ]);
    }

    /// Takes the view away, so that what follows stands where it was.
    pub fn clear(&self) {
        if self.is_terminal && !self.is_quiet {
            self.draw(&[]);
        }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.has_colour {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn draw(&self, lines: &[String]) {
        let mut drawn = self.drawn_lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if *drawn > 0 {
            // Up to the first line of the last view, and everything below it away.
            text.push_str(&format!("\x1b[{drawn}A\r\x1b[J"));
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        *drawn = lines.len();
        // A terminal that is gone ends no run.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn line(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

fn numbers(moment: &Moment<'_>, tally: &Tally) -> String {
    let seconds = moment.elapsed.as_secs_f64().max(1e-3);
    let latency = tally.latency();
    let due = moment
        .rate
        .map_or(String::new(), |rate| format!(" of {rate} due"));
    let mut text = format!(
        "{:.0} requests/s{due}, {:.1} MB/s, ms:",
        tally.done() as f64 / seconds,
        tally.bytes() as f64 / 1e6 / seconds
    );
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        text.push_str(&format!(" {name} {:.2}", latency.quantile_micros(quantile) / 1e3));
    }
    if moment.rate.is_none() && tally.failed() > 0 {
        text.push_str(&format!(", {} failed", tally.failed()));
    }
    text
}

fn kinds(tally: &Tally) -> String {
    let mut kinds: Vec<(&String, &u64)> = tally.faults.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let first = kinds
        .iter()
        .take(3)
        .map(|(kind, count)| format!("{kind} ({count})"));
    first.collect::<Vec<String>>().join(", ")
}

fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * WIDTH as f64) as usize;
    let rest = WIDTH.saturating_sub(full);
    format!("[{}{}]", "#".repeat(full), ".".repeat(rest))
}

/// The last intervals as bars; the one under way is left out.
fn sparkline(rates: &[f64]) -> String {
    let complete = rates.get(..rates.len().saturating_sub(1)).unwrap_or_default();
    let last = complete
        .get(complete.len().saturating_sub(WIDTH)..)
        .unwrap_or_default();
    let top = last.iter().copied().fold(0.0, f64::max);
    let block = |rate: &f64| {
        let level = if top > 0.0 { rate / top * 7.0 } else { 0.0 };
        BLOCKS.get(level.round() as usize).copied().unwrap_or(' ')
    };
    last.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_wide_as_they_say() {
        assert_eq!(bar(0.0), format!("[{}]", ".".repeat(WIDTH)));
        assert_eq!(bar(7.0), format!("[{}]", "#".repeat(WIDTH)));
        assert_eq!(sparkline(&[0.0, 50.0, 100.0, 3.0]), "▁▅█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&vec![1.0; 500]).chars().count(), WIDTH);
    }
}
