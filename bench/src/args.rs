//! The command line.
//!
//! What lives here: options, their forms and limits. What must not: secrets; credentials come from the
//! environment. Invariant: what is parsed can be run: sizes, counts and the memory they need are bounded.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::draw::{Popularity, Sizes, parse_size};
use crate::op::{Mix, Verb};
use crate::target::Mode;
use crate::threshold::{self, Threshold};

/// Longest run.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Slowest open loop, requests per second.
const RATE_MIN: f64 = 0.01;
/// Fastest open loop, requests per second.
const RATE_MAX: f64 = 1e6;

const AFTER_HELP: &str = "\
Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if any, AWS_SESSION_TOKEN; for an endpoint called
NAME first AWS_ACCESS_KEY_ID_NAME and so on, in capitals, with _ for each other character.

Objects are written below sceau-bench/<run id>/ only, and are deleted at the end and after an interrupt.
A bucket with versioning is refused, since deleting would leave versions behind.

Exit codes: 0 done, 1 a request failed, a byte differed or objects were left behind, 2 command line,
3 a threshold was not met, 130 interrupted.";

const RUN_EXAMPLES: &str = "\
Examples:
  sceau-bench run get --endpoint http://127.0.0.1:9000 --bucket demo --size 1KiB,1MiB --duration 30s
  sceau-bench run mixed --mix get=70,put=25,delete=5 --rate 200 --endpoint https://s3.test --ca ca.pem --bucket demo
  sceau-bench run put --mode trailer --endpoint http://127.0.0.1:9000 --bucket demo --threshold 'p99<50ms' --html r.html";

const AB_EXAMPLES: &str = "\
Example:
  sceau-bench ab get --size 1MiB --bucket demo --rounds 7 --duration 3s \\
    --endpoint direct=http://127.0.0.1:9100 --endpoint haproxy=http://127.0.0.1:9101 \\
    --endpoint sceau=http://127.0.0.1:9102 --proc haproxy=4711 --proc sceau=4712";

/// Load tool for S3 endpoints that checks every byte it reads.
#[derive(Debug, Parser)]
#[command(name = "sceau-bench", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Loads one endpoint
    #[command(after_help = AFTER_HELP, after_long_help = [AFTER_HELP, "\n\n", RUN_EXAMPLES].concat())]
    Run {
        /// Where the requests go
        #[arg(long, value_name = "[NAME=]http[s]://host[:port][/bucket]", value_parser = parse_endpoint)]
        endpoint: (String, String),
        /// Load and reports.
        #[command(flatten)]
        options: Options,
    },
    /// Puts the same load on several endpoints in turn, round by round, and compares
    #[command(after_help = AFTER_HELP, after_long_help = [AFTER_HELP, "\n\n", AB_EXAMPLES].concat())]
    Ab {
        /// An endpoint; at least twice
        #[arg(long = "endpoint", value_name = "NAME=http[s]://host[:port][/bucket]", value_parser = parse_named, required = true)]
        endpoints: Vec<(String, String)>,
        /// How often each endpoint has its turn
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
        rounds: u16,
        /// Load and reports.
        #[command(flatten)]
        options: Options,
    },
    /// Serves an S3 store in memory that costs next to nothing, to stand behind what is measured
    NullStore(NullStore),
    /// Compares the reports of two runs of the same load
    Cmp {
        /// JSON report of the earlier run
        before: PathBuf,
        /// JSON report of the later run
        after: PathBuf,
        /// The exit code is 3 unless the change is within this, such as p99<110% or throughput>0.95; repeatable
        #[arg(long, value_name = "METRIC<RATIO", value_parser = threshold::parse_change)]
        threshold: Vec<Threshold>,
        /// Also compare runs of different loads
        #[arg(long)]
        any_load: bool,
    },
    /// Makes one report of several runs of the same load, as if their rounds had followed each other
    Merge {
        /// JSON reports
        #[arg(required = true, num_args = 1..)]
        reports: Vec<PathBuf>,
        /// Forms of the new report.
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Shows a report again, in other forms or against other thresholds
    Analyze {
        /// JSON report
        report: PathBuf,
        /// Forms of the report.
        #[command(flatten)]
        outputs: Outputs,
    },
}

/// Options of the null store.
#[derive(Debug, Args)]
pub struct NullStore {
    /// Address to listen on; port 0 takes a free one. It checks no signature: keep it on loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// A bucket that is there from the start; repeatable
    #[arg(long = "bucket", value_name = "NAME", default_value = "bench")]
    pub buckets: Vec<String>,
    /// Most bytes kept in each bucket; the objects written first go first
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "2GiB")]
    pub bucket_bytes: u64,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Certificate chain for TLS, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key for TLS, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// What operations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Writes objects in turn
    Put,
    /// Reads objects that were written before
    Get,
    /// Reads a part of an object
    Range,
    /// Asks for sizes
    Head,
    /// Lists the first page
    List,
    /// Deletes objects that were written before; ends when there are none
    Delete,
    /// Copies objects
    Copy,
    /// Writes objects in parts
    Multipart,
    /// Several of these, as --mix says
    Mixed,
}

impl Workload {
    fn verb(self) -> Option<Verb> {
        match self {
            Self::Put => Some(Verb::Put),
            Self::Get => Some(Verb::Get),
            Self::Range => Some(Verb::Range),
            Self::Head => Some(Verb::Head),
            Self::List => Some(Verb::List),
            Self::Delete => Some(Verb::Delete),
            Self::Copy => Some(Verb::Copy),
            Self::Multipart => Some(Verb::Multipart),
            Self::Mixed => None,
        }
    }
}

/// Load and reports.
#[derive(Debug, Args)]
pub struct Options {
    /// What operations are made
    pub workload: Workload,
    /// Weights of a mixed workload
    #[arg(long, value_name = "WEIGHTS", value_parser = Mix::parse, default_value = "get=70,put=30")]
    pub mix: Mix,
    /// An existing bucket
    #[arg(long)]
    pub bucket: Option<String>,
    /// Region in the signatures [default: AWS_REGION, or us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// Certificates to trust instead of the system's, PEM
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How requests are signed and what covers the bodies of writes
    #[arg(long, value_enum, default_value_t = Mode::UnsignedPayload)]
    pub mode: Mode,
    /// Writes carry Content-MD5
    #[arg(long)]
    pub content_md5: bool,
    /// Object sizes: 64KiB, a list used in turn 1KiB,1MiB, uniform:LOW-HIGH, lognormal:MEDIAN:SIGMA:MAX
    #[arg(long, value_name = "SIZES", value_parser = Sizes::parse, default_value = "1MiB")]
    pub size: Sizes,
    /// Objects (of each size in a list)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub objects: u64,
    /// Which objects are asked for: uniform or zipf:EXPONENT
    #[arg(long, value_name = "LAW", value_parser = Popularity::parse, default_value = "uniform")]
    pub popularity: Popularity,
    /// Length of a ranged read
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64KiB")]
    pub range_size: u64,
    /// Length of a part of an upload in parts
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "8MiB")]
    pub part_size: u64,
    /// Entries of a page of a listing
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub list_entries: u16,
    /// Most requests at the same time, each on its own connection
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: u16,
    /// Open loop: so many requests are due each second, whatever the endpoint does
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Gaps between the requests of an open loop
    #[arg(long, value_enum, default_value_t = Arrival::Fixed, requires = "rate")]
    pub arrival: Arrival,
    /// No request is started after this time of a round, such as 500ms, 30s, 5m [default: 10s, ab: 3s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// How many operations a round makes, instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: Option<u64>,
    /// Workers start one after the other over this time, before the measurement
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    pub ramp: Duration,
    /// Load before each measurement that does not count
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "500ms")]
    pub warm_up: Duration,
    /// End a round when its throughput varies less than this over ten intervals
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub auto_stop: Option<f64>,
    /// Step of the timeline [default: 1s, or a twentieth of a shorter round]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// A request that takes longer has failed
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub timeout: Duration,
    /// Each connection moves at most so many content bytes a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub throttle: Option<u64>,
    /// Reads compare lengths only, not bytes
    #[arg(long)]
    pub no_verify: bool,
    /// Threads of this tool [default: as many as processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seed of contents, sizes and order, to repeat a run; drawn without it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Also report CPU time and memory of a process on this host and of its children; a name may stand for
    /// several processes, and that of an endpoint makes them its cost; repeatable
    #[arg(long = "proc", value_name = "NAME=PID", value_parser = parse_process)]
    pub processes: Vec<(String, u32)>,
    /// Also report the phases of requests that a gateway measured: [NAME=]URL of its metrics; repeatable
    #[arg(long, value_name = "URL")]
    pub metrics: Vec<String>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Reports.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// Forms of reports.
#[derive(Debug, Clone, Args)]
pub struct Outputs {
    /// Form of the report on standard output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Also write the report as JSON; bench/report.schema.json describes it
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write what happened in each interval
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Also write the latencies as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub hdr_log: Option<PathBuf>,
    /// Also write the report as a page with pictures, in one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The exit code is 3 unless this holds: p99<50ms, NAME:errors<0.1%, NAME/OTHER:cpu<115%; repeatable
    #[arg(long, value_name = "CONDITION", value_parser = Threshold::parse)]
    pub threshold: Vec<Threshold>,
}

/// Gaps between requests of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    /// All equal
    Fixed,
    /// Random, as of many users who know nothing of each other
    Poisson,
}

/// Form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
}

impl Options {
    /// Judges what single options cannot.
    pub fn check(&self) -> Result<(), String> {
        if self.timeout.is_zero() {
            return Err("--timeout must not be zero".to_owned());
        }
        if self.throttle == Some(0) {
            return Err("--throttle must not be zero".to_owned());
        }
        if self.part_size == 0 || self.range_size == 0 {
            return Err("--part-size and --range-size must not be zero".to_owned());
        }
        if self.size.max().div_ceil(self.part_size) > 10_000 {
            return Err("--size needs more than 10 000 parts of --part-size".to_owned());
        }
        Ok(())
    }

    /// The operations.
    pub fn operations(&self) -> Mix {
        self.workload.verb().map_or_else(|| self.mix.clone(), Mix::only)
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or(("", text));
    let number: u64 = number
        .parse()
        .map_err(|_| "not a time, such as 500ms, 30s or 5m")?;
    let duration = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => return Err("unknown unit; use ms, s or m".to_owned()),
    };
    let duration = duration.filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| "above 24 hours".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.trim_end_matches("/s").parse().map_err(|_| "not a number")?;
    match (RATE_MIN..=RATE_MAX).contains(&rate) {
        true => Ok(rate),
        false => Err("must be between 0.01 and 1000000".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a number")?;
    match percent > 0.0 && percent <= 100.0 {
        true => Ok(percent / 100.0),
        false => Err("must be above 0 and at most 100".to_owned()),
    }
}

fn parse_named(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.len() <= 32 && name.chars().all(is_plain) {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err("a name has up to 32 letters, digits, - and _".to_owned()),
    }
}

fn parse_endpoint(text: &str) -> Result<(String, String), String> {
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(("endpoint".to_owned(), text.to_owned())),
        false => parse_named(text),
    }
}

fn parse_process(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = parse_named(text)?;
    let pid = pid.parse().map_err(|_| "not a process id".to_owned())?;
    Ok((name, pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("sceau-bench {line}").split_whitespace())
    }

    #[test]
    fn durations_need_a_unit_and_have_a_limit() {
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "1h", "1441m", "18446744073709551615m"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_and_number_of_requests_exclude_each_other() {
        assert!(parse("run put --endpoint http://h --bucket b --duration 1s --requests 5").is_err());
        assert!(parse("run put --endpoint http://h --bucket b --arrival poisson").is_err());
        assert!(parse("run put --endpoint http://h --bucket b --rate 0").is_err());
        assert!(parse("run put --endpoint http://h --bucket b --requests 5").is_ok());
    }

    #[test]
    fn the_only_endpoint_may_have_a_name() {
        let pair = |name: &str, url: &str| Ok((name.to_owned(), url.to_owned()));
        assert_eq!(parse_endpoint("http://h/b"), pair("endpoint", "http://h/b"));
        assert_eq!(parse_endpoint("x=https://h"), pair("x", "https://h"));
        assert!(parse_endpoint("h:80").is_err());
    }

    #[test]
    fn names_of_endpoints_and_processes_are_plain() {
        assert_eq!(parse_process("sceau=12"), Ok(("sceau".to_owned(), 12)));
        for bad in ["=1", "a b=1", "x=y", "12", "a/b=3"] {
            assert!(parse_process(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
