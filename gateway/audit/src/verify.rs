//! Verifies chains from their lines.
//!
//! What lives here: [`Verifier`], which is given lines in order, and what it finds. What must not: reading of
//! files, the clock. Invariant: after a finding the chain is taken up again at the line that was found, so that
//! one change is not reported for everything behind it.

use std::collections::BTreeMap;

use crate::event::Class;
use crate::key::AuditKey;
use crate::line::{self, Line, LineError};

/// Findings that are kept in full; further ones are only counted.
pub const FINDINGS_KEPT_MAX: usize = 100;

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A line is not a record.
    NotARecord,
    /// A record of another version.
    Version,
    /// A line without its end, and no start of a gateway behind it.
    Torn,
    /// Records are missing before this one.
    Gap {
        /// The first that is missing.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A record that belongs further ahead, or is there twice.
    OutOfOrder,
    /// The record before this one is not the one that was written.
    Changed,
    /// A checkpoint that was not made with the key it names.
    Forged,
    /// A checkpoint made with a key that is not the keyring's.
    OtherKey,
    /// More records without a checkpoint than there may be.
    CheckpointMissing {
        /// How many.
        records: u64,
    },
    /// The chain ends behind its last checkpoint: what followed is missing, or the gateway did not stop.
    CutTail {
        /// Records behind the last checkpoint.
        records: u64,
    },
    /// The last checkpoint of a chain that is said to be written now is older than allowed.
    Stale {
        /// Its age in seconds.
        seconds: u64,
    },
    /// A record that was noted elsewhere is missing or has another hash.
    NotContained,
}

/// A finding and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The chain's instance; empty for a line that is no record.
    pub instance: String,
    /// File, as it was named to [`Verifier::file`].
    pub file: String,
    /// Line in it, from 1.
    pub line: u64,
    /// The record's number, where there is one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub finding: Finding,
}

/// What a chain must satisfy at its end.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Most records without a checkpoint; 0 for any number.
    pub unsealed_max: u64,
    /// For chains being written now: the time in nanoseconds since 1970, and the greatest age of the last
    /// checkpoint in seconds. Without, a chain must end with a checkpoint.
    pub live: Option<(u64, u64)>,
    /// A record noted elsewhere: instance (any if empty), number and hash.
    pub contains: Option<(String, u64, String)>,
}

/// What is known of one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// First number seen.
    pub first_seq: u64,
    /// Last number.
    pub last_seq: u64,
    /// Hash of the last record.
    pub last_hash: String,
    /// Time of the last record, nanoseconds since 1970.
    pub last_time_ns: u64,
    /// Records read.
    pub records: u64,
    /// Checkpoints read.
    pub checkpoints: u64,
    /// Records behind the last checkpoint.
    pub unsealed_tail: u64,
    /// Starts behind something else than a stop: the process before was killed.
    pub unclean_starts: u64,
    /// Records before such starts that no checkpoint covered when the process ended.
    pub unsealed_at_starts: u64,
    /// Lines that such a process did not finish.
    pub torn: u64,
    /// Records that the gateway says it lost.
    pub lost: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Chains by instance.
    pub chains: BTreeMap<String, ChainReport>,
    /// The first findings, in the order of reading.
    pub findings: Vec<Found>,
    /// How many there were.
    pub findings_total: u64,
    /// Records read.
    pub records: u64,
}

#[derive(Default)]
struct State {
    report: ChainReport,
    checkpoint_time_ns: u64,
    closed: bool,
    torn: Option<(String, u64)>,
    was_overdue: bool,
}

/// Reads lines of one or several chains, each chain in its order.
pub struct Verifier<'k> {
    key: Option<&'k AuditKey>,
    key_id: String,
    rules: Rules,
    chains: BTreeMap<String, State>,
    report: Report,
    file: String,
    line: u64,
    instance: String,
    contained: bool,
}

impl<'k> Verifier<'k> {
    /// Without a key, checkpoints are not verified and the chain proves only that nobody was clumsy.
    pub fn new(key: Option<&'k AuditKey>, rules: Rules) -> Self {
        Self {
            key,
            key_id: key.map(AuditKey::id).unwrap_or_default(),
            contained: rules.contains.is_none(),
            rules,
            chains: BTreeMap::new(),
            report: Report::default(),
            file: String::new(),
            line: 0,
            instance: String::new(),
        }
    }

    /// The lines that follow are of this file.
    pub fn file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        self.line = 0;
        self.instance.clear();
    }

    /// The next line, without its end.
    pub fn line(&mut self, bytes: &[u8]) {
        self.line = self.line.saturating_add(1);
        match Line::parse(bytes) {
            Ok(record) => self.record(bytes, &record),
            Err(LineError::Version) => self.found(None, Finding::Version),
            Err(LineError::Form | LineError::TooLong) => self.found(None, Finding::NotARecord),
        }
    }

    /// The rest of a file that has no end of line: a process was killed while it wrote.
    pub fn torn(&mut self) {
        self.line = self.line.saturating_add(1);
        let place = (self.file.clone(), self.line);
        match self.chains.get_mut(&self.instance) {
            Some(state) => state.torn = Some(place),
            None => self.found(None, Finding::Torn),
        }
    }

    /// What was found in everything that was read.
    pub fn finish(mut self) -> Report {
        let chains = std::mem::take(&mut self.chains);
        for (instance, mut state) in chains {
            self.instance.clone_from(&instance);
            self.end(&mut state);
            self.report.chains.insert(instance, state.report);
        }
        if !self.contained {
            self.found(None, Finding::NotContained);
        }
        self.report
    }

    fn end(&mut self, state: &mut State) {
        let seq = Some(state.report.last_seq);
        let records = state.report.unsealed_tail;
        let Some((now_ns, age_max)) = self.rules.live else {
            if let Some((file, line)) = state.torn.take() {
                (self.file, self.line) = (file, line);
                self.found(seq, Finding::Torn);
            }
            if records > 0 {
                self.found(seq, Finding::CutTail { records });
            }
            return;
        };
        // A line that is being written at this moment is no finding.
        let seconds = now_ns
            .saturating_sub(state.checkpoint_time_ns)
            .checked_div(1_000_000_000)
            .unwrap_or_default();
        if seconds > age_max {
            self.found(seq, Finding::Stale { seconds });
        }
    }

    fn record(&mut self, bytes: &[u8], record: &Line<'_>) {
        self.report.records = self.report.records.saturating_add(1);
        if self.instance != *record.instance {
            self.instance = record.instance.clone().into_owned();
        }
        let mut state = self.chains.remove(&self.instance).unwrap_or_default();
        let seq = record.seq;
        let class = record.class();
        self.check_torn(&mut state, class, seq);
        let is_first = state.report.records == 0;
        let expected = state.report.last_seq.saturating_add(1);
        if !is_first && seq < expected {
            self.found(Some(seq), Finding::OutOfOrder);
            state.report.records = state.report.records.saturating_add(1);
            self.chains.insert(self.instance.clone(), state);
            return;
        }
        if is_first {
            state.report.first_seq = seq;
            let is_beginning = seq != 1 || record.prev.bytes().all(|byte| byte == b'0');
            if !is_beginning || seq == 0 {
                self.found(Some(seq), Finding::Changed);
            }
        } else if seq > expected {
            let to = seq.saturating_sub(1);
            self.found(Some(seq), Finding::Gap { from: expected, to });
        } else if record.prev != state.report.last_hash.as_str() {
            self.found(Some(seq), Finding::Changed);
        }
        self.count(&mut state, record);
        if class == Some(Class::Checkpoint) {
            self.checkpoint(bytes, record);
        }
        self.check_unsealed(&mut state, seq);
        state.report.last_seq = seq;
        state.report.last_hash = line::hash(bytes);
        state.report.last_time_ns = record.time_ns();
        self.check_contains(&state.report);
        self.chains.insert(self.instance.clone(), state);
    }

    /// A torn line is what a killed process leaves; then the next record is that of the next start.
    fn check_torn(&mut self, state: &mut State, class: Option<Class>, seq: u64) {
        if state.torn.take().is_none() {
            return;
        }
        if class == Some(Class::Start) {
            state.report.torn = state.report.torn.saturating_add(1);
        } else {
            self.found(Some(seq), Finding::Torn);
        }
    }

    fn count(&self, state: &mut State, record: &Line<'_>) {
        let report = &mut state.report;
        let add = |number: &mut u64, more: u64| *number = number.saturating_add(more);
        if record.class() == Some(Class::Start) && report.records > 0 && !state.closed {
            add(&mut report.unclean_starts, 1);
            add(&mut report.unsealed_at_starts, report.unsealed_tail);
        }
        add(&mut report.records, 1);
        state.closed = false;
        match record.class() {
            Some(Class::Checkpoint) => {
                add(&mut report.checkpoints, 1);
                report.unsealed_tail = 0;
                state.closed = record.detail == "stop";
                state.checkpoint_time_ns = record.time_ns();
                state.was_overdue = false;
            }
            Some(Class::Lost) => {
                add(&mut report.lost, record.count.unwrap_or_default());
                add(&mut report.unsealed_tail, 1);
            }
            Some(Class::Request | Class::Key | Class::Start | Class::Stop | Class::Reload | Class::Drop)
            | None => add(&mut report.unsealed_tail, 1),
        }
    }

    fn checkpoint(&mut self, bytes: &[u8], record: &Line<'_>) {
        let Some(key) = self.key else {
            return;
        };
        let is_authentic = line::covered_by_mac(bytes, &record.mac)
            .is_some_and(|covered| key.is_authentic(&covered, &record.mac));
        if is_authentic {
            return;
        }
        let finding = if record.mac_key == self.key_id.as_str() {
            Finding::Forged
        } else {
            Finding::OtherKey
        };
        self.found(Some(record.seq), finding);
    }

    fn check_unsealed(&mut self, state: &mut State, seq: u64) {
        let (records, most) = (state.report.unsealed_tail, self.rules.unsealed_max);
        if most > 0 && records > most && !state.was_overdue {
            state.was_overdue = true;
            self.found(Some(seq), Finding::CheckpointMissing { records });
        }
    }

    fn check_contains(&mut self, report: &ChainReport) {
        let Some((instance, seq, hash)) = &self.rules.contains else {
            return;
        };
        let is_chain = instance.is_empty() || *instance == self.instance;
        if is_chain && *seq == report.last_seq && *hash == report.last_hash {
            self.contained = true;
        }
    }

    fn found(&mut self, seq: Option<u64>, finding: Finding) {
        self.report.findings_total = self.report.findings_total.saturating_add(1);
        if self.report.findings.len() < FINDINGS_KEPT_MAX {
            self.report.findings.push(Found {
                instance: self.instance.clone(),
                file: self.file.clone(),
                line: self.line,
                seq,
                finding,
            });
        }
    }
}
