//! `sceau audit verify|tail|export`: reads the audit trail.
//!
//! What lives here: reading of files, the choice of what is shown, and exit codes. What must not: what a chain
//! must satisfy (`sceau-audit`). Invariant: nothing here writes to a trail; what could not be verified is never
//! called verified.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use sceau_audit::export::{cef, ocsf};
use sceau_audit::{
    AuditKey, ChainReport, Class, Finding, Found, LINE_BYTES_MAX, Line, Report, Rules, Verifier, format_time,
};
use sceau_server::audit::{files_of, now_ns};
use serde_json::json;

use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{Foundations, Provider, load_config, quiet_logs};

/// Beyond three intervals a checkpoint is overdue, and this much more, in seconds, for a busy disk.
const AGE_GRACE_SECONDS: u64 = 60;

/// Batches that the writer takes between two checkpoints at most, in records.
const UNSEALED_GRACE: u64 = 1024;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Verifies and shows the audit trail.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verifies chains: exit code 0 if they are whole, 1 if something is wrong with them
    #[command(
        after_help = "Examples:\n  sceau audit verify --config sceau.toml --live\n  sceau audit verify --config sceau.toml /archive/audit-*.jsonl\n  sceau audit verify --chain-only audit-00000000000000000001.jsonl"
    )]
    Verify(VerifyArgs),
    /// Shows the last records
    Tail(TailArgs),
    /// Writes records in the form of another system to standard output
    #[command(
        after_help = "Examples:\n  sceau audit export --format cef audit-00000000000000000001.jsonl\n  sceau audit export --format ocsf --config sceau.toml"
    )]
    Export(ExportArgs),
}

/// Whose files.
#[derive(Debug, Args)]
struct Sources {
    /// Files, or folders of them; without, those of the configuration
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration of the gateway
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    sources: Sources,
    /// Without the keyring's key: checkpoints are not verified, and whoever could write to the files could
    /// have made all of them again
    #[arg(long)]
    chain_only: bool,
    /// The chains are being written now: the last checkpoint must be recent
    #[arg(long)]
    live: bool,
    /// A record that must be there, as an earlier run showed it
    #[arg(long, value_name = "INSTANCE:SEQ:HASH")]
    contains: Option<String>,
}

#[derive(Debug, Args)]
struct TailArgs {
    #[command(flatten)]
    sources: Sources,
    /// How many records
    #[arg(short = 'n', long, default_value_t = 20)]
    records: usize,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    sources: Sources,
    /// Form of the records
    #[arg(long, value_enum)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// As they are stored
    Json,
    /// ArcSight Common Event Format
    Cef,
    /// OCSF 1.5.0, Datastore Activity and API Activity
    Ocsf,
}

/// Runs the command.
pub async fn run(args: AuditArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        AuditCommand::Verify(args) => verify(args, output).await,
        AuditCommand::Tail(args) => tail(&args, output),
        AuditCommand::Export(args) => export(&args),
    }
}

impl Sources {
    /// The files, each chain's in the order of its records.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut named = self.files.clone();
        if named.is_empty() {
            let config = self.config.as_ref();
            let config =
                config.ok_or_else(|| Failure::usage("name files, or a configuration with --config"))?;
            named.push(load_config(config)?.audit.directory);
        }
        let mut files = Vec::new();
        for path in named {
            if path.is_dir() {
                files.extend(files_of(&path).map_err(|error| Failure::file(&path, &error))?);
            } else {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(Failure::usage("there are no files of an audit trail"));
        }
        let mut keyed = Vec::new();
        for path in files {
            keyed.push((first_place(&path)?, path));
        }
        keyed.sort();
        Ok(keyed.into_iter().map(|(_, path)| path).collect())
    }
}

/// Instance and number of a file's first record; files without one come first.
fn first_place(path: &Path) -> Result<(String, u64), Failure> {
    let mut place = (String::new(), 0);
    each_line(path, |line, _| {
        if let Ok(record) = Line::parse(line) {
            place = (record.instance.clone().into_owned(), record.seq);
        }
        false
    })?;
    Ok(place)
}

/// Gives each line of a file, and whether it has its end, to `take` until that answers `false`.
fn each_line(path: &Path, mut take: impl FnMut(&[u8], bool) -> bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    // A line beyond the longest is given in pieces, none of which is a record.
    let limit = LINE_BYTES_MAX.saturating_add(2) as u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        if length == 0 {
            return Ok(());
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        if !take(&line, is_whole) {
            return Ok(());
        }
    }
}

async fn verify(args: VerifyArgs, output: Output) -> Result<(), Failure> {
    quiet_logs();
    let files = args.sources.files()?;
    let mut rules = Rules {
        contains: args.contains.as_deref().map(noted).transpose()?,
        ..Rules::default()
    };
    let key = match (&args.sources.config, args.chain_only) {
        (None, false) => {
            return Err(
                Failure::usage("checkpoints are verified with the keyring's key").with_hint(
                    "name the gateway's configuration with --config, or verify hashes only with --chain-only",
                ),
            );
        }
        (Some(path), false) => Some(key_of(path).await?),
        (_, true) => None,
    };
    let mut age_max = AGE_GRACE_SECONDS;
    if let Some(path) = &args.sources.config {
        let audit = load_config(path)?.audit;
        rules.unsealed_max = audit.checkpoint_records.saturating_add(UNSEALED_GRACE);
        age_max = age_max.saturating_add(audit.checkpoint_interval.as_secs().saturating_mul(3));
    }
    rules.live = args.live.then(|| (now_ns(), age_max));
    let mut verifier = Verifier::new(key.as_ref(), rules);
    for path in &files {
        verifier.file(&path.display().to_string());
        each_line(path, |line, is_whole| {
            if is_whole {
                verifier.line(line);
            } else {
                verifier.torn();
            }
            true
        })?;
    }
    let report = verifier.finish();
    output.print(
        &report_text(&report, key.is_some()),
        &report_json(&report, key.is_some()),
    )?;
    match report.findings_total {
        0 => Ok(()),
        found => Err(
            Failure::new(Part::Finding, format!("{found} findings in the audit trail"))
                .with_hint("keep the files as they are, and compare with copies that were made elsewhere"),
        ),
    }
}

fn noted(text: &str) -> Result<(String, u64, String), Failure> {
    let mut parts = text.splitn(3, ':');
    let (instance, seq, hash) = (parts.next(), parts.next(), parts.next());
    let seq = seq.and_then(|seq| seq.parse().ok());
    match (instance, seq, hash) {
        (Some(instance), Some(seq), Some(hash)) => Ok((instance.to_owned(), seq, hash.to_owned())),
        _ => Err(Failure::usage(
            "--contains is INSTANCE:SEQ:HASH, as `sceau audit verify` shows it",
        )),
    }
}

async fn key_of(config: &Path) -> Result<AuditKey, Failure> {
    let foundations = Foundations::load(config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let keyring = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let root = keyring.audit_root().await.map_err(Failure::keyring)?;
    Ok(AuditKey::new(root))
}

fn report_text(report: &Report, has_key: bool) -> String {
    let mut lines = Vec::new();
    for found in &report.findings {
        lines.push(format!("FOUND {}:{} {}", found.file, found.line, words(found)));
    }
    for (instance, chain) in &report.chains {
        lines.push(format!(
            "{instance}: records {} to {}, {} read, {} checkpoints, last {}",
            chain.first_seq,
            chain.last_seq,
            chain.records,
            chain.checkpoints,
            format_time(chain.last_time_ns)
        ));
        lines.push(format!(
            "  last record: {instance}:{}:{}",
            chain.last_seq, chain.last_hash
        ));
        lines.extend(notices(chain));
    }
    let verdict = match (report.findings_total, has_key) {
        (0, true) => "whole, checkpoints authentic",
        (0, false) => "hashes agree; CHECKPOINTS NOT VERIFIED (--chain-only)",
        _ => "NOT whole",
    };
    lines.push(format!("{} records: {verdict}", report.records));
    lines.join("\n")
}

/// What is no tampering, but should be known.
fn notices(chain: &ChainReport) -> Vec<String> {
    let mut lines = Vec::new();
    if chain.first_seq > 1 {
        lines.push(format!(
            "  begins at {}: files before were not given",
            chain.first_seq
        ));
    }
    if chain.unclean_starts > 0 {
        lines.push(format!(
            "  {} starts after a process that was killed: what was in flight then has no record; {} records and {} torn lines before them were not sealed",
            chain.unclean_starts, chain.unsealed_at_starts, chain.torn
        ));
    }
    if chain.lost > 0 {
        lines.push(format!(
            "  {} records lost, as the gateway itself says",
            chain.lost
        ));
    }
    if chain.unsealed_tail > 0 {
        lines.push(format!(
            "  {} records behind the last checkpoint",
            chain.unsealed_tail
        ));
    }
    lines
}

fn words(found: &Found) -> String {
    let what = match &found.finding {
        Finding::NotARecord => "the line is not a record".to_owned(),
        Finding::Version => "the record is of another version".to_owned(),
        Finding::Torn => "the line has no end".to_owned(),
        Finding::Gap { from, to } if from == to => format!("record {from} is missing before this one"),
        Finding::Gap { from, to } => format!("records {from} to {to} are missing before this one"),
        Finding::OutOfOrder => "the record is out of order or repeated".to_owned(),
        Finding::Changed => "the record before this one was changed".to_owned(),
        Finding::Forged => "the checkpoint was not made with the keyring's key".to_owned(),
        Finding::OtherKey => "the checkpoint was made with another key".to_owned(),
        Finding::CheckpointMissing { records } => format!("{records} records without a checkpoint"),
        Finding::CutTail { records } => {
            format!("the chain ends {records} records behind its last checkpoint: what followed is missing")
        }
        Finding::Stale { seconds } => {
            format!(
                "the last checkpoint is {seconds} s old: what followed is missing, or the gateway stopped"
            )
        }
        Finding::NotContained => "the record noted elsewhere is not there".to_owned(),
    };
    match found.seq {
        Some(seq) => format!("record {seq}: {what}"),
        None => what,
    }
}

fn report_json(report: &Report, has_key: bool) -> serde_json::Value {
    let findings = report.findings.iter().map(|found| {
        json!({"instance": found.instance, "file": found.file, "line": found.line, "seq": found.seq, "finding": words(found)})
    });
    let findings = findings.collect::<Vec<_>>();
    let chains: Vec<_> = report.chains.iter().map(|(instance, chain)| {
        json!({
            "instance": instance, "first_seq": chain.first_seq, "last_seq": chain.last_seq,
            "last_hash": chain.last_hash, "last_time": format_time(chain.last_time_ns),
            "records": chain.records, "checkpoints": chain.checkpoints, "unsealed_tail": chain.unsealed_tail,
            "unclean_starts": chain.unclean_starts, "unsealed_at_starts": chain.unsealed_at_starts,
            "torn": chain.torn, "lost": chain.lost,
        })
    }).collect();
    json!({
        "whole": report.findings_total == 0, "checkpoints_verified": has_key, "records": report.records,
        "findings_total": report.findings_total, "findings": findings, "chains": chains,
    })
}

fn tail(args: &TailArgs, output: Output) -> Result<(), Failure> {
    let mut last = std::collections::VecDeque::new();
    for path in args.sources.files()? {
        each_line(&path, |line, is_whole| {
            if is_whole {
                last.push_back(line.to_vec());
                if last.len() > args.records {
                    last.pop_front();
                }
            }
            true
        })?;
    }
    for line in last {
        let Ok(record) = Line::parse(&line) else { continue };
        let stored: serde_json::Value = serde_json::from_slice(&line).map_err(Failure::internal)?;
        output.print(&record_text(&record), &stored)?;
    }
    Ok(())
}

fn record_text(record: &Line<'_>) -> String {
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.escape_debug().to_string()
        }
    };
    format!(
        "{} {} {} {} {} {}/{} {} {}",
        record.seq,
        record.time,
        record.event,
        or_dash(&record.principal),
        or_dash(&record.operation),
        or_dash(&record.bucket),
        or_dash(if record.key.is_empty() {
            &record.key_hash
        } else {
            &record.key
        }),
        record
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string()),
        or_dash(&record.outcome),
    )
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut written, mut unreadable) = (Ok(()), 0_u64);
    for path in args.sources.files()? {
        each_line(&path, |line, is_whole| {
            if !is_whole {
                return true;
            }
            let Ok(record) = Line::parse(line) else {
                unreadable = unreadable.saturating_add(1);
                return true;
            };
            // They prove the stored lines, and mean nothing in another form.
            let is_checkpoint = record.class() == Some(Class::Checkpoint);
            written = match args.format {
                Format::Json => out.write_all(line).and_then(|()| out.write_all(b"\n")),
                Format::Cef | Format::Ocsf if is_checkpoint => Ok(()),
                Format::Cef => writeln!(out, "{}", cef(&record, VERSION)),
                Format::Ocsf => writeln!(out, "{}", ocsf(&record, VERSION)),
            };
            written.is_ok()
        })?;
    }
    written.and_then(|()| out.flush()).map_err(Failure::internal)?;
    match unreadable {
        0 => Ok(()),
        count => Err(Failure::new(
            Part::Finding,
            format!("{count} lines are not records and were left out"),
        )
        .with_hint("`sceau audit verify` tells more")),
    }
}
