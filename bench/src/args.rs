//! The command line.
//!
//! What lives here: options, their forms and limits. What must not: secrets; credentials come from the
//! environment. Invariant: what is parsed can be run: sizes, counts and the memory they need are bounded.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Most sizes in one run.
const SIZES_MAX: usize = 8;
/// Largest object, bytes: the most that one PutObject takes.
const SIZE_MAX: u64 = 5 << 30;
/// Most memory for bodies that are being sent, bytes.
const BODY_MEMORY_MAX: u64 = 2 << 30;
/// Longest run.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

const AFTER_HELP: &str = "\
Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if any, AWS_SESSION_TOKEN.

Objects are written below sceau-bench/<run id>/ only, and are deleted at the end and after an interrupt.
A bucket with versioning is refused, since deleting would leave versions behind.

Limits of this version: plain HTTP only (no TLS); closed loop only: each worker sends its next request when
the last one is answered, so a slow endpoint gets fewer requests and its percentiles look better than users
with a fixed rate would see.

Exit codes: 0 done, 1 a request failed or a byte differed, 2 command line, 130 interrupted.

Example:
  sceau-bench mixed --endpoint http://127.0.0.1:9000 --bucket demo --size 1KiB,1MiB --duration 30s";

/// Small load tool for S3 endpoints that checks every byte it reads.
#[derive(Debug, Parser)]
#[command(name = "sceau-bench", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub workload: Workload,
}

/// What requests are made.
#[derive(Debug, Subcommand)]
pub enum Workload {
    /// Writes objects, over and over
    #[command(after_help = AFTER_HELP)]
    Put(Options),
    /// Writes objects once, then reads them in random order
    #[command(after_help = AFTER_HELP)]
    Get(Options),
    /// Writes objects once, then reads and rewrites them in random order
    #[command(after_help = AFTER_HELP)]
    Mixed {
        /// Options of every workload.
        #[command(flatten)]
        options: Options,
        /// How many requests of a hundred are reads
        #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=100))]
        get_percent: u8,
    },
}

/// Options of every workload.
#[derive(Debug, Args)]
pub struct Options {
    /// Where the requests go, such as http://127.0.0.1:9000; HTTPS is not supported yet
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// An existing bucket
    #[arg(long)]
    pub bucket: String,
    /// Region in the signatures [default: AWS_REGION, or us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// Object sizes, used in turn: bytes, or with KiB, MiB, GiB, KB, MB, GB
    #[arg(long = "size", value_name = "SIZES", value_delimiter = ',', value_parser = parse_size, default_value = "1MiB")]
    pub sizes: Vec<u64>,
    /// Objects of each size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub objects: u32,
    /// Requests in flight, each on its own connection
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// No request is started after this time, such as 500ms, 30s, 5m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// How many requests to make, instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: Option<u64>,
    /// Whether signatures cover the bodies of writes
    #[arg(long, value_enum, default_value_t = Payload::Unsigned)]
    pub payload: Payload,
    /// A request that takes longer has failed
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub timeout: Duration,
    /// Seed of contents and order, to repeat a run; drawn without it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Also report CPU time and peak memory of this process on this host (children are not included); repeatable
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What the signature of a write covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// UNSIGNED-PAYLOAD
    Unsigned,
    /// SHA-256 of the body
    Sha256,
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
        if self.sizes.len() > SIZES_MAX {
            return Err(format!("--size takes at most {SIZES_MAX} sizes"));
        }
        if self.timeout.is_zero() {
            return Err("--timeout must not be zero".to_owned());
        }
        let largest = self.sizes.iter().copied().max().unwrap_or(0);
        if largest.saturating_mul(u64::from(self.concurrency)) > BODY_MEMORY_MAX {
            return Err("the largest --size times --concurrency is above 2 GiB of memory".to_owned());
        }
        Ok(())
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text).ok_or("not a size, such as 4096, 64KiB or 1MiB")?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("unknown unit; use B, KiB, MiB, GiB, KB, MB or GB".to_owned()),
    };
    let size = number.checked_mul(factor).filter(|size| *size <= SIZE_MAX);
    size.ok_or_else(|| "above 5 GiB".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text).ok_or("not a time, such as 500ms, 30s or 5m")?;
    let duration = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => return Err("unknown unit; use ms, s or m".to_owned()),
    };
    let duration = duration.filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| "above 24 hours".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_a_limit() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("5GiB"), Ok(SIZE_MAX));
        assert_eq!(parse_size("2MB"), Ok(2_000_000));
        for bad in [
            "",
            "KiB",
            "1kib",
            "1.5MiB",
            "-1",
            "6GiB",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
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
    fn time_and_number_of_requests_exclude_each_other_and_memory_is_bounded() {
        let parse = |more: &str| {
            let line = format!("sceau-bench put --endpoint http://h --bucket b {more}");
            Cli::try_parse_from(line.split_whitespace())
        };
        assert!(parse("--duration 1s --requests 5").is_err());
        let Workload::Put(options) = parse("--size 1KiB,1GiB --concurrency 3").unwrap().workload else {
            panic!("not put");
        };
        assert_eq!(options.sizes, [1024, 1 << 30]);
        assert!(options.check().is_err());
    }
}
