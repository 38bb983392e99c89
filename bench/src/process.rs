//! What other processes consumed.
//!
//! What lives here: reading `/proc`. What must not: requests, printing. Invariant: numbers of two processes
//! are never subtracted from each other: an id that was given to another process is another process, and a
//! group one of whose processes ended has no consumption.

use std::collections::BTreeMap;
use std::fs;

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    pid: u32,
    parent: u32,
    /// Short name, as the kernel has it.
    name: String,
    /// User and system time of all its threads, clock ticks.
    ticks: u64,
    /// When it started, clock ticks since boot: tells it from a later process with the same id.
    started: u64,
}

impl Sample {
    fn take(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name stands in parentheses and may contain spaces and parentheses itself.
        let (head, fields) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // A zombie consumes nothing any more.
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return None;
        }
        Some(Self {
            pid,
            parent: u32::try_from(number(1)?).ok()?,
            name: name.to_owned(),
            ticks: number(11)?.saturating_add(number(12)?),
            started: number(19)?,
        })
    }
}

/// Processes that are counted as one: those named, and all that descend from them.
#[derive(Debug, Clone)]
pub struct Group {
    /// Name in the report.
    pub name: String,
    /// Those named.
    pub pids: Vec<u32>,
}

/// A group at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing(BTreeMap<(u32, u64), u64>);

impl Group {
    /// This process alone.
    pub fn own() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            pids: vec![std::process::id()],
        }
    }

    /// Groups of `name=pid` entries; the same name again adds to its group.
    pub fn gather(entries: &[(String, u32)]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (name, pid) in entries {
            match groups.iter_mut().find(|group| group.name == *name) {
                Some(group) => group.pids.push(*pid),
                None => groups.push(Self {
                    name: name.clone(),
                    pids: vec![*pid],
                }),
            }
        }
        groups
    }

    /// The first process of the group that is not there.
    pub fn missing(&self) -> Option<u32> {
        self.pids.iter().copied().find(|pid| Sample::take(*pid).is_none())
    }

    /// Kernel's name of the first process.
    pub fn command(&self) -> Option<String> {
        Sample::take(*self.pids.first()?).map(|sample| sample.name)
    }

    /// CPU time of each process until now.
    pub fn standing(&self) -> Standing {
        let samples = self.samples();
        Standing(
            samples
                .into_iter()
                .map(|it| ((it.pid, it.started), it.ticks))
                .collect(),
        )
    }

    /// Ids of all its processes now.
    pub fn members(&self) -> Vec<u32> {
        self.samples().into_iter().map(|sample| sample.pid).collect()
    }

    fn samples(&self) -> Vec<Sample> {
        let named = self.pids.iter().filter_map(|pid| Sample::take(*pid));
        let mut found: Vec<Sample> = named.collect();
        // This tool starts no process, and looking for its children would only cost.
        if self.pids == [std::process::id()] {
            return found;
        }
        let mut rest = all();
        loop {
            let before = found.len();
            let (children, others) = rest.into_iter().partition::<Vec<_>, _>(|it| {
                let known = |pid: u32| found.iter().any(|of| of.pid == pid);
                known(it.parent) && !known(it.pid)
            });
            found.extend(children);
            if found.len() == before {
                return found;
            }
            rest = others;
        }
    }
}

impl Standing {
    /// CPU seconds from here to `later`; `None` when a process ended in between.
    pub fn seconds_until(&self, later: &Self) -> Option<f64> {
        if self.0.is_empty() || self.0.keys().any(|process| !later.0.contains_key(process)) {
            return None;
        }
        let mut ticks = 0_u64;
        for (process, end) in &later.0 {
            let start = self.0.get(process).copied().unwrap_or(0);
            ticks = ticks.saturating_add(end.saturating_sub(start));
        }
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

fn all() -> Vec<Sample> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Sample::take(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Resident memory of these processes now, bytes; those that ended have none.
pub fn resident_bytes(pids: &[u32]) -> u64 {
    let each = pids.iter().filter_map(|pid| resident_of(*pid));
    each.fold(0, u64::saturating_add)
}

fn resident_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, user: u64, started: u64) -> String {
        format!("42 ({name}) S 7 2 3 4 5 6 7 8 9 10 {user} 50 77 88 20 0 9 0 {started} 1 2 3")
    }

    fn standing(processes: &[(u32, u64, u64)]) -> Standing {
        Standing(
            processes
                .iter()
                .map(|(pid, start, ticks)| ((*pid, *start), *ticks))
                .collect(),
        )
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let sample = Sample::parse(42, &stat("a) (b c", 100, 900)).unwrap();
        assert_eq!(sample.name, "a) (b c");
        assert_eq!((sample.parent, sample.ticks, sample.started), (7, 150, 900));
    }

    #[test]
    fn a_reused_process_id_or_an_ended_process_has_no_consumption() {
        let before = standing(&[(42, 900, 100)]);
        let hertz = rustix::param::clock_ticks_per_second();
        let later = standing(&[(42, 900, 100 + hertz), (43, 950, hertz)]);
        assert_eq!(before.seconds_until(&later), Some(2.0));
        assert_eq!(before.seconds_until(&standing(&[(42, 901, 350)])), None);
        assert_eq!(later.seconds_until(&before), None);
        assert_eq!(standing(&[]).seconds_until(&later), None);
    }

    #[test]
    fn this_process_can_be_sampled_and_children_belong_to_their_parent() {
        let own = Group::own();
        assert!(resident_bytes(&own.members()) > 0 && own.missing().is_none());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut group = Group {
            name: "x".to_owned(),
            pids: vec![std::process::id(), std::process::id()],
        };
        let found = group.samples().iter().any(|sample| sample.pid == child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
        group.pids = vec![u32::MAX];
        assert_eq!(group.missing(), Some(u32::MAX));
    }

    #[test]
    fn entries_of_one_name_are_one_group() {
        let entry = |name: &str, pid| (name.to_owned(), pid);
        let groups = Group::gather(&[entry("a", 1), entry("b", 2), entry("a", 3)]);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].name.as_str(), &groups[0].pids[..]), ("a", &[1, 3][..]));
    }
}
