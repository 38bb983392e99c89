//! Counts by time.
//!
//! What lives here: intervals of equal length. What must not: clocks. Invariant: there are at most
//! [`INTERVALS_MAX`] of them; a longer run has longer ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::op::Verb;

/// Most intervals; when there would be more, two become one.
pub const INTERVALS_MAX: usize = 1200;
/// Steps of a doubling of the latency.
const STEPS: u32 = 4;
/// Longest latency told apart, steps: 2^36 microseconds.
const STEP_MAX: u32 = 36 * STEPS;

/// What happened in one interval to one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// Successful operations that ended in it.
    pub done: u64,
    /// Their content bytes.
    pub bytes: u64,
    /// Failed operations.
    pub failed: u64,
    /// Counts by step of the latency.
    pub steps: BTreeMap<u8, u64>,
}

/// Counts by time.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Length of an interval.
    pub interval: Duration,
    /// The intervals in order.
    pub cells: Vec<BTreeMap<Verb, Cell>>,
}

/// Intervals of a second.
impl Default for Timeline {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl Timeline {
    /// None yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(1)),
            cells: Vec::new(),
        }
    }

    /// Counts one operation that ended at this time.
    pub fn count(&mut self, verb: Verb, at: Duration, latency: Duration, bytes: u64, is_done: bool) {
        let Some(cell) = self.cell(verb, at) else { return };
        if !is_done {
            cell.failed = cell.failed.saturating_add(1);
            return;
        }
        cell.done = cell.done.saturating_add(1);
        cell.bytes = cell.bytes.saturating_add(bytes);
        let count = cell.steps.entry(step_of(latency)).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds another one that began at this time.
    pub fn append(&mut self, other: Self, at: Duration) {
        for (number, cells) in (0_u32..).zip(other.cells) {
            let begin = at.saturating_add(other.interval.saturating_mul(number));
            for (verb, cell) in cells {
                if let Some(own) = self.cell(verb, begin) {
                    own.add(&cell);
                }
            }
        }
    }

    /// Successful operations per second of each interval.
    pub fn rates(&self) -> Vec<f64> {
        let seconds = self.interval.as_secs_f64();
        let done =
            |cells: &BTreeMap<Verb, Cell>| cells.values().map(|cell| cell.done).fold(0, u64::saturating_add);
        self.cells
            .iter()
            .map(|cells| done(cells) as f64 / seconds)
            .collect()
    }

    fn cell(&mut self, verb: Verb, at: Duration) -> Option<&mut Cell> {
        let mut number = self.number_of(at);
        while number >= INTERVALS_MAX {
            self.halve();
            number = self.number_of(at);
        }
        if self.cells.len() <= number {
            self.cells.resize_with(number.saturating_add(1), BTreeMap::new);
        }
        let cells = self.cells.get_mut(number)?;
        Some(cells.entry(verb).or_default())
    }

    fn number_of(&self, at: Duration) -> usize {
        let number = at.as_nanos().checked_div(self.interval.as_nanos()).unwrap_or(0);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn halve(&mut self) {
        self.interval = self.interval.saturating_mul(2);
        let mut halved: Vec<BTreeMap<Verb, Cell>> = Vec::new();
        for (number, cells) in std::mem::take(&mut self.cells).into_iter().enumerate() {
            match halved.last_mut().filter(|_| number % 2 == 1) {
                None => halved.push(cells),
                Some(last) => {
                    for (verb, cell) in cells {
                        last.entry(verb).or_default().add(&cell);
                    }
                }
            }
        }
        self.cells = halved;
    }
}

impl Cell {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.done = self.done.saturating_add(other.done);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.failed = self.failed.saturating_add(other.failed);
        for (step, count) in &other.steps {
            let sum = self.steps.entry(*step).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Upper end of the step in which this share (0 to 1) of the operations ended, microseconds.
    pub fn quantile_micros(&self, quantile: f64) -> f64 {
        let rank = (self.done as f64 * quantile).ceil().max(1.0);
        let mut seen = 0_u64;
        for (step, count) in &self.steps {
            seen = seen.saturating_add(*count);
            if seen as f64 >= rank {
                return step_micros(*step);
            }
        }
        0.0
    }
}

/// The step of a latency.
fn step_of(latency: Duration) -> u8 {
    let micros = latency.as_nanos() as f64 / 1e3;
    let step = (micros.max(1.0).log2() * f64::from(STEPS)).floor();
    // Cut at both ends before the conversion.
    step.clamp(0.0, f64::from(STEP_MAX)) as u8
}

/// Upper end of a step, microseconds.
pub fn step_micros(step: u8) -> f64 {
    ((f64::from(step) + 1.0) / f64::from(STEPS)).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_longer_intervals_and_loses_nothing() {
        let mut timeline = Timeline::new(Duration::from_secs(1));
        for second in 0..10_000 {
            timeline.count(
                Verb::Get,
                Duration::from_secs(second),
                Duration::from_millis(1),
                10,
                true,
            );
        }
        assert!(timeline.cells.len() <= INTERVALS_MAX);
        let cells = timeline.cells.iter().filter_map(|cells| cells.get(&Verb::Get));
        let sums = cells.fold((0, 0), |(done, bytes), cell| {
            (done + cell.done, bytes + cell.bytes)
        });
        assert_eq!(sums, (10_000, 100_000));
        assert_eq!(timeline.interval, Duration::from_secs(16));
    }

    #[test]
    fn a_latency_is_below_the_end_of_its_step_and_above_its_start() {
        for micros in [1_u64, 2, 3, 10, 999, 1_000_000, 60_000_000] {
            let step = step_of(Duration::from_micros(micros));
            let end = step_micros(step);
            assert!(
                end >= micros as f64 && end / 1.19 < micros as f64 + 1e-6,
                "{micros}: {end}"
            );
        }
    }

    #[test]
    fn rounds_follow_each_other() {
        let mut timeline = Timeline::new(Duration::from_secs(1));
        timeline.count(
            Verb::Put,
            Duration::from_secs(1),
            Duration::from_millis(3),
            1,
            true,
        );
        let round = timeline.clone();
        timeline.append(round, Duration::from_secs(2));
        let at: Vec<usize> = (0..timeline.cells.len())
            .filter(|at| timeline.cells[*at].contains_key(&Verb::Put))
            .collect();
        assert_eq!(at, [1, 3]);
    }
}
