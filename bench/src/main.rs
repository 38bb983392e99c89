//! `sceau-bench`, a small load tool for S3 endpoints.
//!
//! What lives here: options to plan, interrupts, exit codes. What must not: requests. Invariant: the report
//! goes to standard output, everything else to standard error; the exit code is 0 only when every request
//! succeeded and every byte that was read was right.

mod args;
mod client;
mod content;
mod histogram;
mod load;
mod process;
mod report;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use data_encoding::HEXLOWER;
use sceau_s3wire::bucket_name;
use sceau_s3wire::sigv4::{SecretAccessKey, SigningKeyCache};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::args::{Cli, Options, Output, Workload};
use crate::client::Target;
use crate::load::{Mix, Plan};
use crate::process::Sample;
use crate::report::Report;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_REGION: &str = "us-east-1";
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let (mix, options) = match Cli::parse().workload {
        Workload::Put(options) => (Mix::Put, options),
        Workload::Get(options) => (Mix::Read(100), options),
        Workload::Mixed { options, get_percent } => (Mix::Read(get_percent), options),
    };
    let plan = match plan(mix, &options) {
        Ok(plan) => Arc::new(plan),
        Err(message) => return failure(EXIT_USAGE, &message),
    };
    if let Err(error) = watch_interrupts(&plan) {
        return failure(EXIT_USAGE, &error.to_string());
    }
    if let Err(message) = load::probe(&plan).await {
        return failure(EXIT_FAILED, &message);
    }
    let outcome = load::run(&plan).await;
    let report = Report::new(&plan, outcome, plan.stop.load(Ordering::Relaxed));
    show(&report, options.output)
}

fn plan(mix: Mix, options: &Options) -> Result<Plan, String> {
    options.check()?;
    let (address, host) = client::parse_endpoint(&options.endpoint)?;
    bucket_name::check(&options.bucket).map_err(|_| "--bucket is not a bucket name".to_owned())?;
    if let Some(pid) = options.pids.iter().find(|pid| Sample::take(**pid).is_none()) {
        return Err(format!("--pid {pid}: there is no such process"));
    }
    let needed = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
    let region = options.region.clone().or_else(|| env::var("AWS_REGION").ok());
    let drawn = || getrandom::u64().map_err(|error| error.to_string());
    let measured_by_time = options.requests.is_none();
    Ok(Plan {
        target: Target {
            address,
            host,
            bucket: options.bucket.clone(),
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            access_key: needed("AWS_ACCESS_KEY_ID")?,
            secret: SecretAccessKey::new(needed("AWS_SECRET_ACCESS_KEY")?),
            session_token: env::var("AWS_SESSION_TOKEN").ok().map(Zeroizing::new),
            cache: SigningKeyCache::new(),
            timeout: options.timeout,
        },
        prefix: format!("sceau-bench/{}/", HEXLOWER.encode(&drawn()?.to_be_bytes())),
        seed: options.seed.map_or_else(drawn, Ok)?,
        objects: u64::from(options.objects).saturating_mul(options.sizes.len() as u64),
        sizes: options.sizes.clone(),
        concurrency: options.concurrency,
        payload: options.payload,
        mix,
        requests: options.requests,
        duration: measured_by_time.then(|| options.duration.unwrap_or(DEFAULT_DURATION)),
        // This tool comes first: a run in which it is the busiest process measured the wrong thing.
        pids: std::iter::once(std::process::id())
            .chain(options.pids.iter().copied())
            .collect(),
        stop: AtomicBool::new(false),
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
                failure(
                    EXIT_INTERRUPTED,
                    &format!("objects may be left behind below {}", plan.prefix),
                );
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

fn show(report: &Report, output: Output) -> ExitCode {
    let text = match output {
        Output::Text => Ok(report.to_string()),
        Output::Json => serde_json::to_string_pretty(report).map(|json| json + "\n"),
    };
    let written = text
        .map_err(io::Error::from)
        .and_then(|text| io::stdout().lock().write_all(text.as_bytes()));
    match written {
        Err(error) => failure(EXIT_FAILED, &error.to_string()),
        Ok(()) if !report.is_clean() => ExitCode::from(EXIT_FAILED),
        Ok(()) if report.interrupted() => ExitCode::from(EXIT_INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
    }
}

#[expect(clippy::print_stderr, reason = "a command's message to its user")]
fn failure(code: u8, message: &str) -> ExitCode {
    eprintln!("sceau-bench: {message}");
    ExitCode::from(code)
}
