//! What other processes consumed.
//!
//! What lives here: reading `/proc`. What must not: requests, printing. Invariant: numbers of two processes
//! are never subtracted from each other: a process that ended, or whose id was given to another one, has no
//! consumption.

use std::fs;

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Process id.
    pub pid: u32,
    /// Short name, as the kernel has it.
    pub name: String,
    /// User and system time of all its threads, clock ticks. Children are not included.
    ticks: u64,
    /// When it started, clock ticks since boot: tells it from a later process with the same id.
    started: u64,
    /// Largest resident set since it started, bytes.
    pub peak_rss_bytes: u64,
}

impl Sample {
    /// The process `pid` now; `None` when there is none.
    pub fn take(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(pid, &stat, &status)
    }

    fn parse(pid: u32, stat: &str, status: &str) -> Option<Self> {
        // The name stands in parentheses and may contain spaces and parentheses itself.
        let (head, fields) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // A zombie has no memory any more.
        let peak_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())?;
        Some(Self {
            pid,
            name: name.to_owned(),
            ticks: number(11)?.saturating_add(number(12)?),
            started: number(19)?,
            peak_rss_bytes: peak_kib.saturating_mul(1024),
        })
    }

    /// CPU seconds from here to `later`; `None` when `later` is another process.
    pub fn cpu_seconds_until(&self, later: &Self) -> Option<f64> {
        let same = (self.pid, self.started) == (later.pid, later.started);
        let ticks = later.ticks.checked_sub(self.ticks)?;
        same.then(|| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\n";

    fn stat(name: &str, user: u64, started: u64) -> String {
        format!("42 ({name}) S 1 2 3 4 5 6 7 8 9 10 {user} 50 77 88 20 0 9 0 {started} 1 2 3")
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let sample = Sample::parse(42, &stat("a) (b c", 100, 900), STATUS).unwrap();
        assert_eq!(sample.name, "a) (b c");
        assert_eq!(
            (sample.ticks, sample.started, sample.peak_rss_bytes),
            (150, 900, 2 << 20)
        );
    }

    #[test]
    fn a_reused_process_id_has_no_consumption() {
        let before = Sample::parse(42, &stat("x", 100, 900), STATUS).unwrap();
        let after = Sample::parse(42, &stat("x", 350, 900), STATUS).unwrap();
        let other = Sample::parse(42, &stat("x", 350, 901), STATUS).unwrap();
        assert!(before.cpu_seconds_until(&after).unwrap() > 0.0);
        assert_eq!(before.cpu_seconds_until(&other), None);
    }

    #[test]
    fn this_process_can_be_sampled() {
        let sample = Sample::take(std::process::id()).unwrap();
        assert!(sample.peak_rss_bytes > 0);
        assert_eq!(Sample::take(u32::MAX), None);
    }
}
