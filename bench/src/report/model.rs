//! The report as data.
//!
//! What lives here: the form of the JSON document; `bench/report.schema.json` describes it to others. What
//! must not: how numbers come about (`build`). Invariant: fields are added, and never change their meaning
//! without another [`SCHEMA`]. MB and GB are powers of ten; times of operations are microseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::op::Verb;
use crate::target::Mode;

/// Version of the form.
pub const SCHEMA: &str = "sceau-bench/2";

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the tool.
    pub version: String,
    /// Whether the tool was built without optimisation; then its numbers mean nothing.
    pub debug_build: bool,
    /// When it began, ISO 8601.
    pub started: String,
    /// The command.
    pub command: Vec<String>,
    /// Whether it was cut short.
    pub interrupted: bool,
    /// Where it ran.
    pub machine: Machine,
    /// The load.
    pub load: Load,
    /// The endpoints, in the order of the command.
    pub endpoints: Vec<Arm>,
    /// Each endpoint against each one before it.
    pub comparisons: Vec<Comparison>,
    /// What was demanded.
    pub thresholds: Vec<Verdict>,
}

/// Where a run ran.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and its kernel.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// Processors that this tool may use.
    pub processors: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

/// The load that every endpoint got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Operations and weights, as on the command line.
    pub mix: String,
    /// Sizes, as on the command line, in bytes.
    pub sizes: String,
    /// Objects.
    pub objects: u64,
    /// Which are asked for.
    pub popularity: String,
    /// Most requests at the same time.
    pub concurrency: u16,
    /// Requests per second of an open loop; absent in a closed one.
    pub rate: Option<f64>,
    /// Whether the gaps of an open loop are random.
    pub random_arrival: bool,
    /// How requests are signed.
    pub mode: Mode,
    /// Whether writes carry `Content-MD5`.
    pub content_md5: bool,
    /// Whether every byte of reads was compared.
    pub verified: bool,
    /// Start of all keys.
    pub prefix: String,
    /// Seed of contents, sizes and order.
    pub seed: u64,
    /// Rounds.
    pub rounds: u16,
    /// Longest time of a round, seconds; absent when operations were counted.
    pub duration_seconds: Option<f64>,
    /// Operations of a round, if they were counted.
    pub requests: Option<u64>,
    /// Load before each measurement, seconds.
    pub warm_up_seconds: f64,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arm {
    /// Name.
    pub name: String,
    /// Host and port.
    pub host: String,
    /// Whether connections used TLS.
    pub tls: bool,
    /// Bucket.
    pub bucket: String,
    /// Measured time of all rounds, seconds.
    pub elapsed_seconds: f64,
    /// Successful operations.
    pub requests: u64,
    /// Their content bytes.
    pub bytes: u64,
    /// Failed operations.
    pub failed: u64,
    /// Reads whose content was wrong.
    pub corrupt: u64,
    /// Operations of an open loop that were due and never started.
    pub unstarted: u64,
    /// Failed operations before measurements.
    pub prepare_failed: u64,
    /// Objects that could not be deleted.
    pub left_behind: u64,
    /// Successful operations per second.
    pub requests_per_second: f64,
    /// Content per second.
    pub megabytes_per_second: f64,
    /// Latencies of all operations together; absent when none succeeded.
    pub latency_micros: Option<Latency>,
    /// By operation and size.
    pub rows: Vec<Row>,
    /// Consumption.
    pub processes: Vec<Process>,
    /// Each round.
    pub rounds: Vec<Round>,
    /// By time, the rounds one after the other.
    pub timeline: Timeline,
    /// Phases of requests that a gateway measured.
    pub phases: Vec<Phase>,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// The first failure, in full.
    pub first_error: Option<String>,
}

/// One kind of operation, of one size where sizes are told apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Operation.
    pub operation: Verb,
    /// Size, bytes; absent where sizes are drawn.
    pub size: Option<u64>,
    /// Successful operations.
    pub requests: u64,
    /// Failed ones.
    pub failed: u64,
    /// Content bytes of the successful ones.
    pub bytes: u64,
    /// Successful operations per second.
    pub requests_per_second: f64,
    /// Content per second.
    pub megabytes_per_second: f64,
    /// Latencies: response times in an open loop, else service times. Absent when none succeeded.
    pub latency_micros: Option<Latency>,
    /// Service times, in an open loop.
    pub service_micros: Option<Latency>,
    /// Latencies as an HdrHistogram (V2, deflated, base64; nanoseconds).
    pub histogram: String,
}

/// Latencies, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Shortest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Half are not longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1 000.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

/// A group of processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// Name on the command line.
    pub name: String,
    /// The kernel's name of the first process.
    pub command: Option<String>,
    /// CPU seconds of all rounds; absent when a process ended.
    pub cpu_seconds: Option<f64>,
    /// CPU seconds per GB of content.
    pub cpu_seconds_per_gigabyte: Option<f64>,
    /// CPU time per successful operation, microseconds.
    pub cpu_micros_per_request: Option<f64>,
    /// Most resident memory seen, bytes.
    pub resident_bytes_max: u64,
}

/// One round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Measured time, seconds.
    pub elapsed_seconds: f64,
    /// Successful operations.
    pub requests: u64,
    /// Failed ones.
    pub failed: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Numbers that are compared, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// Counts by time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timeline {
    /// Length of an interval, seconds.
    pub interval_seconds: f64,
    /// What happened; intervals without anything are absent.
    pub points: Vec<Point>,
}

/// One kind of operation in one interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Number of the interval.
    pub interval: u64,
    /// Operation.
    pub operation: Verb,
    /// Successful operations.
    pub requests: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Failed ones.
    pub failed: u64,
    /// Counts by step of the latency: step n ends at 2^((n+1)/4) microseconds.
    pub steps: BTreeMap<u8, u64>,
}

/// A phase of requests as the gateway measured it during the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name.
    pub name: String,
    /// How often it happened.
    pub count: u64,
    /// Sum, seconds.
    pub seconds: f64,
}

/// One number of two endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the number.
    pub metric: String,
    /// The endpoint it is compared with.
    pub before: String,
    /// The endpoint.
    pub after: String,
    /// Median of the rounds.
    pub before_median: f64,
    /// Median of the rounds.
    pub after_median: f64,
    /// Median of the ratios of rounds that belong together.
    pub ratio: f64,
    /// Lower end of the ratio's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What became of a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As it was written.
    pub threshold: String,
    /// The endpoint or pair it was tried on.
    pub on: String,
    /// What was found; absent when there is no such number, which fails too.
    pub found: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// Unit of both; empty for ratios and shares.
    pub unit: String,
    /// Whether the run passed it.
    pub passed: bool,
}

impl Report {
    /// Whether no request failed, in any phase, and nothing stayed behind.
    pub fn is_clean(&self) -> bool {
        self.endpoints
            .iter()
            .all(|arm| [arm.failed, arm.prepare_failed, arm.left_behind, arm.corrupt] == [0; 4])
    }
}
