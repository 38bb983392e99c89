//! `sceau-bench`, a load tool for S3 endpoints.
//!
//! What lives here: commands and exit codes. What must not: requests. Invariant: reports go to standard
//! output and files, everything else to standard error; the exit code is 0 only when every request succeeded,
//! every byte that was read was right, and nothing stayed behind.

mod args;
mod body;
mod client;
mod compare;
mod content;
mod draw;
mod endpoint;
mod histogram;
mod live;
mod load;
mod null_store;
mod op;
mod pace;
mod prepare;
mod process;
mod report;
mod rounds;
mod scrape;
mod stats;
mod tally;
mod target;
mod threshold;
mod timeline;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Cli, Command, NullStore, Options, Output, Outputs};
use crate::load::Plan;
use crate::null_store::Shelf;
use crate::prepare::Run;
use crate::report::model::Report;
use crate::report::text::{Table, Verdicts};
use crate::report::{build, files, html};
use crate::threshold::Threshold;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_THRESHOLD: u8 = 3;
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { endpoint, options } => load(&[endpoint], 1, &options),
        Command::Ab {
            endpoints,
            rounds,
            options,
        } => load(&endpoints, rounds, &options),
        Command::NullStore(options) => null_store(&options),
        Command::Cmp {
            before,
            after,
            threshold,
            any_load,
        } => cmp(&before, &after, &threshold, any_load),
        Command::Merge { reports, outputs } => {
            let read: Result<Vec<Report>, String> = reports.iter().map(|path| compare::read(path)).collect();
            read.and_then(compare::merge).map(|report| show(report, &outputs))
        }
        Command::Analyze { report, outputs } => compare::read(&report).map(|report| show(report, &outputs)),
    };
    result.unwrap_or_else(|message| failure(EXIT_USAGE, &message))
}

fn load(endpoints: &[(String, String)], rounds: u16, options: &Options) -> Result<ExitCode, String> {
    let run = prepare::run(endpoints, rounds, options)?;
    let runtime = runtime(options.threads)?;
    runtime.block_on(loaded(run, &options.outputs))
}

async fn loaded(mut run: Run, outputs: &Outputs) -> Result<ExitCode, String> {
    let plan = Arc::clone(&run.setting.plan);
    watch_interrupts(&plan).map_err(|error| error.to_string())?;
    for arm in &run.arms {
        if let Err(message) = arm.probe().await {
            return Ok(failure(EXIT_FAILED, &message));
        }
    }
    let outcome = rounds::run(&run.setting, &mut run.arms).await;
    let places = run.arms.iter().map(prepare::place).collect();
    let mut report = build::report(run.load, run.started, places, &run.setting.groups, outcome);
    report.interrupted = plan.stop.load(Ordering::Relaxed);
    Ok(show(report, outputs))
}

fn runtime(threads: Option<u16>) -> Result<Runtime, String> {
    let mut builder = match threads {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        builder.worker_threads(usize::from(threads));
    }
    builder.enable_all().build().map_err(|error| error.to_string())
}

fn null_store(options: &NullStore) -> Result<ExitCode, String> {
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(endpoint::server_tls(certificate, key)?),
        _ => None,
    };
    let shelf = Arc::new(Shelf::new(options.bucket_bytes));
    for bucket in &options.buckets {
        shelf.create(bucket);
    }
    runtime(Some(options.threads))?.block_on(async {
        let listening = null_store::listen(&options.listen).await;
        let (listener, address) = listening.map_err(|error| format!("{}: {error}", options.listen))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let said = writeln!(io::stdout(), "listening on {scheme}://{address}");
        said.map_err(|error| error.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        tokio::select! {
            () = null_store::serve(listener, tls, shelf) => {}
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The first interrupt ends the measurement, the second one the process.
fn watch_interrupts(plan: &Arc<Plan>) -> io::Result<()> {
    let plan = Arc::clone(plan);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if plan.stop.swap(true, Ordering::Relaxed) {
                let message = format!("objects may be left behind below {}", plan.prefix);
                failure(EXIT_INTERRUPTED, &message);
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
            failure(
                EXIT_INTERRUPTED,
                "interrupted; cleaning up, once more to leave at once",
            );
        }
    });
    Ok(())
}

fn cmp(before: &Path, after: &Path, thresholds: &[Threshold], any_load: bool) -> Result<ExitCode, String> {
    let (before, after) = (compare::read(before)?, compare::read(after)?);
    if let Some(difference) = compare::difference(&before, &after).filter(|_| !any_load) {
        return Err(format!(
            "the loads differ in {difference}; --any-load compares them all the same"
        ));
    }
    let changes = compare::changes(&before, &after);
    if changes.is_empty() {
        return Err("the runs have no endpoint and no number in common".to_owned());
    }
    let verdicts: Vec<_> = thresholds
        .iter()
        .flat_map(|it| it.judge_change(&changes))
        .collect();
    let text = format!("{}{}", Table(&changes), Verdicts(&verdicts));
    let written = io::stdout().lock().write_all(text.trim_start().as_bytes());
    written.map_err(|error| error.to_string())?;
    Ok(match verdicts.iter().all(|verdict| verdict.passed) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_THRESHOLD),
    })
}

fn show(mut report: Report, outputs: &Outputs) -> ExitCode {
    if !outputs.threshold.is_empty() {
        let thresholds = outputs.threshold.iter();
        report.thresholds = thresholds.flat_map(|it| it.judge(&report)).collect();
    }
    let has_passed = report.thresholds.iter().all(|verdict| verdict.passed);
    match write(&report, outputs) {
        Err(message) => failure(EXIT_FAILED, &message),
        Ok(()) if !report.is_clean() => ExitCode::from(EXIT_FAILED),
        Ok(()) if report.interrupted => ExitCode::from(EXIT_INTERRUPTED),
        Ok(()) if !has_passed => ExitCode::from(EXIT_THRESHOLD),
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn write(report: &Report, outputs: &Outputs) -> Result<(), String> {
    let json = || {
        let text = serde_json::to_string_pretty(report);
        text.map(|text| text + "\n").map_err(|error| error.to_string())
    };
    save(outputs.json.as_deref(), json)?;
    save(outputs.csv.as_deref(), || Ok(files::csv(report)))?;
    save(outputs.hdr_log.as_deref(), || Ok(files::hdr_log(report)))?;
    save(outputs.html.as_deref(), || Ok(html::page(report)))?;
    let text = match outputs.output {
        Output::Text => report.to_string(),
        Output::Json => json()?,
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| error.to_string())
}

fn save(path: Option<&Path>, text: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).map_err(|error| format!("{}: {error}", path.display()))
}

#[expect(clippy::print_stderr, reason = "a command's message to its user")]
fn failure(code: u8, message: &str) -> ExitCode {
    eprintln!("sceau-bench: {message}");
    ExitCode::from(code)
}
