//! `sceau rewrap`: moves the headers of a bucket's objects to its newest epoch.
//!
//! What lives here: pages, workers, the state file, counts. What must not: how one header is moved, which is
//! `sceau_server::rewrap`. Invariant: the state file names a key only when everything up to it is done or
//! reported, so a run that was cut goes on there and misses nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use sceau_keys::Epoch;
use sceau_server::error::GatewayError;
use sceau_server::rewrap::{Moved, Mover};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::ConfigArg;
use crate::stored;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Largest state file in bytes.
const STATE_BYTES_MAX: u64 = 64 * 1024;

/// Moves the headers of a bucket's objects to its newest epoch; their content is not touched
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sceau rewrap --config sceau.toml --bucket photos --dry-run\n  sceau rewrap --config sceau.toml --bucket photos --from 1 --state rewrap.json"
)]
pub struct RewrapArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Name of the bucket
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// Only objects whose keys begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Only objects of this epoch; otherwise of every older one
    #[arg(long, value_name = "EPOCH")]
    from: Option<Epoch>,
    /// File that remembers how far the run came; a run that was cut goes on there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Only count what would be moved
    #[arg(long)]
    dry_run: bool,
    /// Objects worked on at once
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Largest copy that the store makes in one request, in MiB; larger objects are copied in parts
    #[arg(long, value_name = "MIB", default_value_t = 5120, value_parser = clap::value_parser!(u64).range(5..=5120))]
    copy_limit: u64,
}

/// How many objects met which end.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    looked_at: u64,
    moved: u64,
    already: u64,
    other_epoch: u64,
    gone: u64,
    not_sealed: u64,
    locked: u64,
    too_large: u64,
    archived: u64,
    failed: u64,
}

impl Counts {
    /// Counts one; answers the reason if the object should have been moved and was not.
    fn add(&mut self, outcome: &Result<Moved, GatewayError>) -> Option<String> {
        self.looked_at = self.looked_at.saturating_add(1);
        let (count, reason) = match outcome {
            Ok(Moved::Yes(_)) => (&mut self.moved, None),
            Ok(Moved::Already) => (&mut self.already, None),
            Ok(Moved::OtherEpoch) => (&mut self.other_epoch, None),
            Ok(Moved::Gone) => (&mut self.gone, None),
            Ok(Moved::NotSealed) => (&mut self.not_sealed, None),
            Ok(Moved::Locked) => (&mut self.locked, Some("held by Object Lock".to_owned())),
            Ok(Moved::TooLarge) => (
                &mut self.too_large,
                Some("larger than one copy, with tags, or at a store without conditional writes".to_owned()),
            ),
            Ok(Moved::Archived) => (&mut self.archived, Some("archived; restore it first".to_owned())),
            Err(error) => (&mut self.failed, Some(error.to_string())),
        };
        *count = count.saturating_add(1);
        reason
    }

    fn not_done(&self) -> u64 {
        let parts = [self.locked, self.too_large, self.archived, self.failed];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    fn text(&self) -> String {
        format!(
            "{} looked at, {} moved, {} there already, {} of other epochs, {} gone meanwhile, {} not sealed, {} not done",
            self.looked_at,
            self.moved,
            self.already,
            self.other_epoch,
            self.gone,
            self.not_sealed,
            self.not_done()
        )
    }
}

/// How far a run came.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    bucket: String,
    prefix: String,
    from: Option<Epoch>,
    /// The key record that headers are moved to.
    target: String,
    /// Everything up to this key is done or reported.
    after: Option<String>,
    counts: Counts,
}

/// Runs `sceau rewrap`.
pub async fn run(args: RewrapArgs, output: Output) -> Result<(), Failure> {
    let start = Instant::now();
    let gateway = stored::reader(&args.config).await?;
    let copy_max = args.copy_limit.saturating_mul(MIB);
    let mover = Mover::new(gateway, &args.bucket, args.from, copy_max)
        .await
        .map_err(|error| stored::failed(&error))?;
    let mover = Arc::new(mover);
    let mut progress = begin(&args, &mover)?;
    let keeps_versions = mover
        .keeps_versions()
        .await
        .map_err(|error| stored::failed(&error))?;
    if keeps_versions {
        message(&format!(
            "{} keeps versions: each moved object gets a new current version; the older versions stay, under their old epochs",
            args.bucket
        ));
    }
    loop {
        let page = mover.page(&args.prefix, progress.after.as_deref()).await;
        let (keys, has_more) = page.map_err(|error| stored::failed(&error))?;
        let last = keys.last().cloned();
        work(&args, &mover, keys, &mut progress.counts, output).await?;
        if last.is_some() {
            progress.after = last;
        }
        if let (Some(path), false) = (&args.state, args.dry_run) {
            keep(path, &progress)?;
        }
        message(&progress.counts.text());
        if !has_more || progress.after.is_none() {
            break;
        }
    }
    finish(&args, &progress, keeps_versions, start, output)
}

/// Fresh progress, or that of the state file.
fn begin(args: &RewrapArgs, mover: &Mover) -> Result<Progress, Failure> {
    let fresh = Progress {
        bucket: args.bucket.clone(),
        prefix: args.prefix.clone(),
        from: args.from,
        target: mover.target().to_string(),
        after: None,
        counts: Counts::default(),
    };
    let Some(path) = args.state.as_ref().filter(|path| path.exists()) else {
        return Ok(fresh);
    };
    let length = fs::metadata(path).map_err(|error| Failure::file(path, &error))?;
    if length.len() > STATE_BYTES_MAX {
        return Err(Failure::file(path, &"not a state file"));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let held: Progress = serde_json::from_str(&text).map_err(|error| Failure::file(path, &error))?;
    let is_same = held.bucket == fresh.bucket
        && held.prefix == fresh.prefix
        && held.from == fresh.from
        && held.target == fresh.target;
    if !is_same {
        return Err(Failure::file(
            path,
            &"it belongs to another run: other arguments, or an older target epoch",
        )
        .with_hint("remove it to begin anew; what was moved before is recognised"));
    }
    if let Some(after) = &held.after {
        message(&format!("going on after {after}"));
    }
    Ok(held)
}

/// Moves a page of objects, a bounded number at once.
async fn work(
    args: &RewrapArgs,
    mover: &Arc<Mover>,
    keys: Vec<String>,
    counts: &mut Counts,
    output: Output,
) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    let mut keys = keys.into_iter();
    loop {
        while running.len() < usize::from(args.concurrency) {
            let Some(key) = keys.next() else { break };
            let (mover, is_trial) = (Arc::clone(mover), args.dry_run);
            running.spawn(async move {
                let outcome = mover.move_one(&key, is_trial).await;
                (key, outcome)
            });
        }
        let Some(ended) = running.join_next().await else {
            return Ok(());
        };
        let (key, outcome) = ended.map_err(Failure::internal)?;
        if let Err(error) = &outcome
            && stored::is_outage(error)
        {
            // Keys or store are out of reach: what follows would fail as well.
            return Err(stored::failed(error).with_hint("run it again; with --state it goes on here"));
        }
        if let Some(reason) = counts.add(&outcome) {
            output.print(
                &format!("{key}: not moved: {reason}"),
                &json!({ "key": key, "not_moved": reason }),
            )?;
        }
    }
}

/// Writes beside the file, then renames: a cut leaves the old or the new state.
fn keep(path: &Path, progress: &Progress) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let text = serde_json::to_string(progress).map_err(Failure::internal)?;
    File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| Failure::file(path, &error))
}

fn finish(
    args: &RewrapArgs,
    progress: &Progress,
    keeps_versions: bool,
    start: Instant,
    output: Output,
) -> Result<(), Failure> {
    let counts = &progress.counts;
    let seconds = start.elapsed().as_secs_f64();
    let what = if args.dry_run { "would be moved" } else { "moved" };
    let mut text = format!(
        "{}: {} {what} to key records {}; {}; payload bytes through this command 0; {seconds:.1} s",
        args.bucket,
        counts.moved,
        progress.target,
        counts.text()
    );
    if keeps_versions {
        text.push_str("\nolder versions keep their headers: they stay unreadable without their old epochs");
    }
    let json = json!({
        "bucket": args.bucket, "prefix": args.prefix, "target": progress.target, "dry_run": args.dry_run,
        "counts": counts, "not_done": counts.not_done(), "keeps_versions": keeps_versions,
        "payload_bytes": 0, "seconds": seconds,
    });
    output.print(&text, &json)?;
    match counts.not_done() {
        0 => Ok(()),
        left => Err(
            Failure::new(Part::Finding, format!("{left} objects could not be moved"))
                .with_hint("each is named above with its reason; they stay readable under their epochs"),
        ),
    }
}

/// A message to the operator.
#[expect(clippy::print_stderr, reason = "a command's message to its user")]
fn message(text: &str) {
    eprintln!("{text}");
}
