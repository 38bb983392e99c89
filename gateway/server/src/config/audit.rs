//! `[audit]`: where and how the audit trail is kept.
//!
//! What lives here: the table as it is written, its final type and the rules between. What must not: opening
//! anything. Invariant: a trail that is on has a folder.

use std::path::PathBuf;
use std::time::Duration;

use sceau_audit::Names;
use serde::Deserialize;

use super::resolve::Resolver;
use super::units::{DurationText, SizeText};

/// Fewest bytes of a file: a few thousand records.
const ROTATE_BYTES_LEAST: u64 = 1 << 20;

/// Most records between two checkpoints: what a cut tail may hide grows with it.
const CHECKPOINT_RECORDS_MAX: u32 = 100_000;

/// What happens when a record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditMode {
    /// No trail is kept.
    Off,
    /// Requests are served; what is lost is counted.
    Prefer,
    /// Requests are refused before anything is done.
    Require,
}

/// How object keys are written.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FileNames {
    Plain,
    Hashed,
    Omitted,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAudit {
    pub(super) mode: Option<AuditMode>,
    pub(super) directory: Option<PathBuf>,
    pub(super) names: Option<FileNames>,
    pub(super) wait: Option<DurationText>,
    pub(super) rotate_size: Option<SizeText>,
    pub(super) rotate_age: Option<DurationText>,
    pub(super) checkpoint_records: Option<u32>,
    pub(super) checkpoint_interval: Option<DurationText>,
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Default off.
    pub mode: AuditMode,
    /// Folder of the files; of one gateway alone.
    pub directory: PathBuf,
    /// How object keys are written. Default plain.
    pub names: Names,
    /// How long a request waits for a place in the trail in `require` mode. Default 1 s.
    pub wait: Duration,
    /// A new file begins after this many bytes. Default 64 MiB: about 130 000 records.
    pub rotate_size: u64,
    /// And after this time. Default 24 h.
    pub rotate_age: Duration,
    /// A checkpoint follows after this many records. Default 1000.
    pub checkpoint_records: u64,
    /// And after this time, also without a record. Default 10 s: what a loss of power can take.
    pub checkpoint_interval: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            mode: AuditMode::Off,
            directory: PathBuf::new(),
            names: Names::Plain,
            wait: Duration::from_secs(1),
            rotate_size: 64 << 20,
            rotate_age: Duration::from_secs(24 * 3600),
            checkpoint_records: 1000,
            checkpoint_interval: Duration::from_secs(10),
        }
    }
}

impl Resolver<'_> {
    pub(super) fn audit(&mut self, file: FileAudit) -> AuditConfig {
        let default = AuditConfig::default();
        let mode = file.mode.unwrap_or(default.mode);
        if mode != AuditMode::Off && file.directory.is_none() {
            self.problem("audit.directory", "is needed unless the mode is \"off\"");
        }
        let rotate_size = file.rotate_size.map_or(default.rotate_size, |size| size.0);
        if rotate_size < ROTATE_BYTES_LEAST {
            self.problem("audit.rotate_size", "must be 1 MiB or more");
        }
        let records = file.checkpoint_records.unwrap_or(1000);
        if !(1..=CHECKPOINT_RECORDS_MAX).contains(&records) {
            self.problem(
                "audit.checkpoint_records",
                format!("must be between 1 and {CHECKPOINT_RECORDS_MAX}"),
            );
        }
        AuditConfig {
            mode,
            directory: file.directory.map(|path| self.path(path)).unwrap_or_default(),
            names: match file.names {
                None | Some(FileNames::Plain) => Names::Plain,
                Some(FileNames::Hashed) => Names::Hashed,
                Some(FileNames::Omitted) => Names::Omitted,
            },
            wait: self.duration("audit.wait", file.wait, default.wait),
            rotate_size,
            rotate_age: self.duration("audit.rotate_age", file.rotate_age, default.rotate_age),
            checkpoint_records: u64::from(records),
            checkpoint_interval: self.duration(
                "audit.checkpoint_interval",
                file.checkpoint_interval,
                default.checkpoint_interval,
            ),
        }
    }
}
