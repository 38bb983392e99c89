//! The chain: gives each event its number and the hash of the line before.
//!
//! What lives here: [`Chain`], the writer's side. What must not: writing anywhere. Invariants: numbers have no
//! gap, also over restarts; every line is made of the bytes of the one before it.
//!
//! Attacks considered. Somebody who may write to the files but lacks the key changes, removes or moves records
//! and computes the hashes anew: the next checkpoint names the hash that was, and cannot be made again. They
//! cut the tail: what is left ends without a checkpoint, or its last checkpoint is old. They do so while the
//! gateway is down, behind the last checkpoint: the next start goes on from what is left, and the verifier
//! counts what no checkpoint covered before a start. They put all files back to an earlier state: nothing in
//! the files shows it; a number and hash noted elsewhere does (`sceau audit verify --contains`).

use std::borrow::Cow;

use crate::event::{Class, Event};
use crate::key::AuditKey;
use crate::line::{self, HASH_TEXT_BYTES, Line, LineError, SCHEMA_VERSION};
use crate::stamp::format_time;

/// How an object's key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// As it is.
    #[default]
    Plain,
    /// As a keyed hash: the same name is the same hash.
    Hashed,
    /// Not at all.
    Omitted,
}

/// Why a chain cannot be taken up again at its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailError {
    /// The line is not a record.
    Line(LineError),
}

/// Where a chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    instance: String,
    seq: u64,
    hash: String,
    unsealed: u64,
    is_closed: bool,
}

impl Chain {
    /// A chain without a record yet. `instance` tells chains apart.
    pub fn begin(instance: String) -> Self {
        Self {
            instance,
            seq: 0,
            hash: "0".repeat(HASH_TEXT_BYTES),
            unsealed: 0,
            is_closed: true,
        }
    }

    /// The chain whose last line is `line`.
    ///
    /// # Errors
    /// [`TailError`] if that is no record.
    pub fn resume(line: &[u8]) -> Result<Self, TailError> {
        let last = Line::parse(line).map_err(TailError::Line)?;
        Ok(Self {
            instance: last.instance.clone().into_owned(),
            seq: last.seq,
            hash: line::hash(line),
            unsealed: u64::from(last.class() != Some(Class::Checkpoint)),
            is_closed: last.class() == Some(Class::Checkpoint) && last.detail == "stop",
        })
    }

    /// What tells this chain from others.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Number of the last record; 0 without one.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Records since the last checkpoint, as far as known here.
    pub fn unsealed(&self) -> u64 {
        self.unsealed
    }

    /// Whether it ends with the checkpoint of a stop, or has no record.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Appends the line of `event`, with its end, to `out`.
    pub fn append(&mut self, event: &Event, names: Names, key: &AuditKey, out: &mut Vec<u8>) {
        let (plain, masked) = match names {
            Names::Plain => (event.key.as_str(), String::new()),
            Names::Hashed if !event.key.is_empty() => ("", key.mask(&event.bucket, &event.key)),
            Names::Hashed | Names::Omitted => ("", String::new()),
        };
        let line = Line {
            request_id: borrowed(&event.request_id),
            client: borrowed(&event.client),
            principal: borrowed(&event.principal),
            session: borrowed(&event.session),
            auth: borrowed(event.auth),
            method: borrowed(&event.method),
            operation: borrowed(event.operation),
            reason: borrowed(event.reason),
            bucket: borrowed(&event.bucket),
            key: borrowed(plain),
            key_hash: masked.into(),
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            key_record: borrowed(&event.key_record),
            epoch: event.epoch,
            decision: borrowed(event.decision),
            outcome: borrowed(event.outcome),
            status: event.status,
            error: borrowed(event.error),
            side: borrowed(event.side),
            duration_us: event.duration_us,
            count: event.count,
            detail: borrowed(&event.detail),
            ..Line::default()
        };
        let start = out.len();
        self.link(line, event.class, event.time_ns).write(out);
        self.unsealed = self.unsealed.saturating_add(1);
        self.is_closed = false;
        self.end_line(start, out);
    }

    /// Appends a checkpoint: the chain up to here, authenticated. `is_stop`: nothing follows in this process.
    pub fn checkpoint(&mut self, key: &AuditKey, time_ns: u64, is_stop: bool, out: &mut Vec<u8>) {
        let line = Line {
            detail: borrowed(if is_stop { "stop" } else { "" }),
            mac_key: key.id().into(),
            ..Line::default()
        };
        let mut bytes = Vec::new();
        self.link(line, Class::Checkpoint, time_ns).write(&mut bytes);
        let mac = key.authenticate(&bytes);
        line::attach_mac(&mut bytes, &mac);
        let start = out.len();
        out.append(&mut bytes);
        self.unsealed = 0;
        self.is_closed = is_stop;
        self.end_line(start, out);
    }

    fn link<'a>(&'a self, line: Line<'a>, class: Class, time_ns: u64) -> Line<'a> {
        Line {
            v: SCHEMA_VERSION,
            seq: self.seq.saturating_add(1),
            prev: borrowed(&self.hash),
            time: format_time(time_ns).into(),
            instance: borrowed(&self.instance),
            event: borrowed(class.name()),
            ..line
        }
    }

    fn end_line(&mut self, start: usize, out: &mut Vec<u8>) {
        self.seq = self.seq.saturating_add(1);
        self.hash = line::hash(out.get(start..).unwrap_or_default());
        out.push(b'\n');
    }
}

fn borrowed(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
