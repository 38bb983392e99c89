//! Metric handles.
//!
//! What lives here: every metric, with its name, help and labels, behind one method each. What must
//! not: a reference to the metrics library outside this file, so that it can be replaced here.
//! Invariant: every metric exists from the start, so that an alert can tell "zero" from "absent".

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use sceau_kms::Reason;
use sceau_s3wire::error::ErrorCode;

use super::labels::{CacheOutcome, Direction, DropCause, Phase, ReloadSource};
use super::recent::RecentFailures;
use crate::error::{Kind, Side};

/// The same buckets for every latency, in seconds, so that histograms can be compared.
const LATENCY_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// The operation that has its series from the start.
const SAMPLE_OPERATION: &str = "GetObject";

/// Refusals before authorization that are counted apart.
const AUTH_FAILURES: [ErrorCode; 7] = [
    ErrorCode::AuthorizationHeaderMalformed,
    ErrorCode::AuthorizationQueryParametersError,
    ErrorCode::ExpiredToken,
    ErrorCode::InvalidAccessKeyId,
    ErrorCode::InvalidToken,
    ErrorCode::RequestTimeTooSkewed,
    ErrorCode::SignatureDoesNotMatch,
];

/// What became of a reload.
const RELOAD_OUTCOMES: [&str; 2] = ["ok", "refused"];

/// What became of a look at an issuer's keys.
const ISSUER_OUTCOMES: [&str; 2] = ["ok", "failed"];

/// What the policy said to a use of keys.
const DECISIONS: [&str; 2] = ["allowed", "denied"];

/// All metrics of the process. Cloning is cheap and shares the counts.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_errors: IntCounterVec,
    request_seconds: HistogramVec,
    phase_seconds: HistogramVec,
    in_flight: IntGauge,
    bytes: IntCounterVec,
    auth_failures: IntCounterVec,
    policy_denials: IntCounterVec,
    sts_requests: IntCounterVec,
    issuer_looks: IntCounterVec,
    integrity_failures: IntCounterVec,
    integrity_alarm: IntGauge,
    recent_failures: Arc<RecentFailures>,
    kms_requests: IntCounterVec,
    kms_seconds: HistogramVec,
    key_cache: IntCounterVec,
    key_cache_entries: IntGauge,
    key_drops: IntCounterVec,
    key_operations: IntCounterVec,
    key_uses: IntCounterVec,
    upstream_requests: IntCounterVec,
    upstream_seconds: Histogram,
    upstream_retries: IntCounter,
    keyring_generation: IntGauge,
    reloads: IntCounterVec,
    reload_success: prometheus::IntGaugeVec,
    helper_restarts: IntGauge,
    key_endpoint_up: prometheus::IntGaugeVec,
    key_hedges: IntGauge,
    access_log_records: IntCounter,
    audit_records: IntCounterVec,
    audit_write_failures: IntCounter,
    audit_backlog: IntGauge,
    dev_mode: IntGauge,
}

impl Metrics {
    /// Creates and registers every metric.
    ///
    /// # Errors
    /// Only if two metrics had the same name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            requests: make.counters(
                "sceau_requests_total",
                "Requests finished, by operation and status class (2xx to 5xx, or cancelled).",
                &["operation", "status_class"],
            )?,
            request_errors: make.counters(
                "sceau_request_errors_total",
                "Requests that ended in an error, by whose fault it was and S3 code.",
                &["side", "code"],
            )?,
            request_seconds: make.histograms(
                "sceau_request_duration_seconds",
                "Time from request head to the last response byte.",
                &["operation"],
            )?,
            phase_seconds: make.histograms(
                "sceau_request_phase_duration_seconds",
                "Time requests spent in each phase.",
                &["phase"],
            )?,
            in_flight: make.gauge("sceau_requests_in_flight", "Requests being worked on.")?,
            bytes: make.counters(
                "sceau_bytes_total",
                "Body bytes moved, by direction.",
                &["direction"],
            )?,
            auth_failures: make.counters(
                "sceau_auth_failures_total",
                "Requests refused before authorization, by reason.",
                &["reason"],
            )?,
            policy_denials: make.counters(
                "sceau_policy_denials_total",
                "Requests denied by policy, by operation.",
                &["operation"],
            )?,
            sts_requests: make.counters(
                "sceau_sts_requests_total",
                "Requests for temporary credentials and identities, by action and outcome (ok, or the code).",
                &["action", "outcome"],
            )?,
            issuer_looks: make.counters(
                "sceau_sts_issuer_fetches_total",
                "Looks at the keys of identity providers, by outcome.",
                &["outcome"],
            )?,
            integrity_alarm: make.gauge(
                "sceau_integrity_alarm",
                "1 while 10 or more stored objects failed verification within 60 seconds.",
            )?,
            recent_failures: Arc::default(),
            integrity_failures: make.counters(
                "sceau_integrity_failures_total",
                "Stored objects that failed authentication, by kind. Must stay zero.",
                &["kind"],
            )?,
            kms_requests: make.counters(
                "sceau_kms_requests_total",
                "Calls to the key provider, by operation and outcome.",
                &["op", "outcome"],
            )?,
            kms_seconds: make.histograms(
                "sceau_kms_request_duration_seconds",
                "Time of calls to the key provider.",
                &["op"],
            )?,
            key_cache: make.counters(
                "sceau_key_cache_requests_total",
                "Epoch key look-ups, by outcome.",
                &["outcome"],
            )?,
            key_cache_entries: make
                .gauge("sceau_key_cache_entries", "Unwrapped epoch keys held in memory.")?,
            key_operations: make.counters(
                "sceau_key_operations_total",
                "Operations that the key provider was asked for, each with a record in the log.",
                &["op", "reason", "outcome"],
            )?,
            key_uses: make.counters(
                "sceau_key_uses_total",
                "Uses of epoch keys, held or not, by reason and what the policy said.",
                &["reason", "decision"],
            )?,
            key_drops: make.counters(
                "sceau_key_drops_total",
                "Times that all unwrapped keys were dropped, by cause.",
                &["cause"],
            )?,
            upstream_requests: make.counters(
                "sceau_upstream_requests_total",
                "Requests to the store, by outcome.",
                &["outcome"],
            )?,
            upstream_seconds: make.histogram(
                "sceau_upstream_request_duration_seconds",
                "Time from a request to the store to its response head.",
            )?,
            upstream_retries: make.counter(
                "sceau_upstream_retries_total",
                "Requests to the store sent again.",
            )?,
            keyring_generation: make
                .gauge("sceau_keyring_generation", "Generation of the keyring in use.")?,
            reloads: make.counters(
                "sceau_reloads_total",
                "Reloads, by source and outcome.",
                &["source", "outcome"],
            )?,
            reload_success: make.gauges(
                "sceau_last_reload_success",
                "1 if the newest version of the source is in use, 0 if it was refused.",
                &["source"],
            )?,
            helper_restarts: make.gauge(
                "sceau_helper_restarts",
                "Times the key provider's helper process was started again since start.",
            )?,
            key_endpoint_up: make.gauges(
                "sceau_key_endpoint_up",
                "1 if the HSM in this place of the configuration serves, 0 if it is away or asked last.",
                &["endpoint"],
            )?,
            key_hedges: make.gauge(
                "sceau_key_hedges",
                "Times a second HSM was asked because the first was late, since start.",
            )?,
            access_log_records: make.counter(
                "sceau_access_log_records_total",
                "Access-log records written, one for every request.",
            )?,
            audit_records: make.counters(
                "sceau_audit_records_total",
                "Records of the audit trail made, by event.",
                &["event"],
            )?,
            audit_write_failures: make.counter(
                "sceau_audit_write_failures_total",
                "Failed attempts to write the audit trail, and records that it lost. Must stay zero.",
            )?,
            audit_backlog: make.gauge(
                "sceau_audit_backlog_records",
                "Records that wait for the audit trail's writer.",
            )?,
            dev_mode: make.gauge("sceau_dev_mode", "1 if keys are software keys for development.")?,
            registry: registry.clone(),
        };
        make.build_info()?;
        metrics.touch();
        Ok(metrics)
    }

    /// Makes every known label value appear at zero.
    fn touch(&self) {
        for phase in Phase::ALL {
            self.phase_seconds.with_label_values(&[phase.label()]);
        }
        for direction in Direction::ALL {
            self.bytes.with_label_values(&[direction.label()]);
        }
        for outcome in CacheOutcome::ALL {
            self.key_cache.with_label_values(&[outcome.label()]);
        }
        for cause in DropCause::ALL {
            self.key_drops.with_label_values(&[cause.name()]);
        }
        for source in ReloadSource::ALL {
            self.reload_success.with_label_values(&[source.label()]).set(1);
            for outcome in RELOAD_OUTCOMES {
                self.reloads.with_label_values(&[source.label(), outcome]);
            }
        }
        for code in AUTH_FAILURES {
            self.auth_failures.with_label_values(&[code.code()]);
        }
        // One member of each family whose labels are open lists, so that the family is there.
        for class in ["2xx", "4xx", "5xx"] {
            self.requests.with_label_values(&[SAMPLE_OPERATION, class]);
        }
        for outcome in ["answered", "4xx", "5xx", "failed"] {
            self.upstream_requests.with_label_values(&[outcome]);
        }
        self.request_seconds.with_label_values(&[SAMPLE_OPERATION]);
        self.policy_denials.with_label_values(&[SAMPLE_OPERATION]);
        self.sts_requests
            .with_label_values(&["AssumeRoleWithWebIdentity", "ok"]);
        for kind in [
            "tag", "length", "context", "header", "tags", "trailer", "range", "policy", "state", "unsealed",
        ] {
            self.integrity_failures.with_label_values(&[kind]);
        }
        for reason in Reason::ALL {
            for decision in DECISIONS {
                self.key_uses.with_label_values(&[reason.name(), decision]);
            }
        }
        for class in sceau_audit::Class::ALL {
            self.audit_records.with_label_values(&[class.name()]);
        }
        for outcome in ISSUER_OUTCOMES {
            self.issuer_looks.with_label_values(&[outcome]);
        }
        for (side, code) in [
            (Side::Gateway, ErrorCode::SlowDown),
            (Side::Gateway, ErrorCode::InternalError),
        ] {
            self.request_errors.with_label_values(&[side.name(), code.code()]);
        }
    }

    /// A request begins.
    pub fn request_started(&self) {
        self.in_flight.inc();
    }

    /// A request was refused or failed. Integrity and authentication failures are counted apart too.
    /// True if this failure raised the alarm of integrity failures.
    pub fn request_failed(&self, kind: &Kind) -> bool {
        let code = kind.code();
        self.request_errors
            .with_label_values(&[kind.side().name(), code.code()])
            .inc();
        if let Some(class) = kind.security_class() {
            self.integrity_failures.with_label_values(&[class]).inc();
            return self.recent_failures.note(Instant::now());
        }
        match kind {
            Kind::Client(code) if AUTH_FAILURES.contains(code) => {
                self.auth_failures.with_label_values(&[code.code()]).inc();
            }
            Kind::Client(_)
            | Kind::Answer(_)
            | Kind::Integrity(_)
            | Kind::UploadState
            | Kind::NotSealed
            | Kind::KeysUnavailable
            | Kind::KeysRefused
            | Kind::StoreUnavailable
            | Kind::StoreRefusesUs
            | Kind::StoreProtocol
            | Kind::ClientGone
            | Kind::Overloaded
            | Kind::Unrecorded
            | Kind::Internal => {}
        }
        false
    }

    /// A request ended. `status` is 0 when the client went away before there was an answer.
    pub fn request_ended(
        &self,
        operation: &'static str,
        status: u16,
        elapsed: Duration,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        let class = match status {
            0 => "cancelled",
            1..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500.. => "5xx",
        };
        self.in_flight.dec();
        self.requests.with_label_values(&[operation, class]).inc();
        self.request_seconds
            .with_label_values(&[operation])
            .observe(elapsed.as_secs_f64());
        self.bytes(Direction::ClientIn, bytes_in);
        self.bytes(Direction::ClientOut, bytes_out);
        self.access_log_records.inc();
    }

    /// A request spent `elapsed` in `phase`.
    pub fn phase(&self, phase: Phase, elapsed: Duration) {
        self.phase_seconds
            .with_label_values(&[phase.label()])
            .observe(elapsed.as_secs_f64());
    }

    /// `count` body bytes moved.
    pub fn bytes(&self, direction: Direction, count: u64) {
        self.bytes.with_label_values(&[direction.label()]).inc_by(count);
    }

    /// The policy denied an operation.
    pub fn policy_denial(&self, operation: &'static str) {
        self.policy_denials.with_label_values(&[operation]).inc();
    }

    /// A request for STS was answered.
    pub fn sts_request(&self, action: &'static str, outcome: &'static str) {
        self.sts_requests.with_label_values(&[action, outcome]).inc();
    }

    /// The keys of an identity provider were looked at.
    pub fn issuer_look(&self, is_success: bool) {
        let [ok, failed] = ISSUER_OUTCOMES;
        let outcome = if is_success { ok } else { failed };
        self.issuer_looks.with_label_values(&[outcome]).inc();
    }

    /// The key provider answered a call (`wrap`, `unwrap`, `random`, `probe`).
    pub fn kms_request(&self, op: &'static str, outcome: &'static str, elapsed: Duration) {
        self.kms_requests.with_label_values(&[op, outcome]).inc();
        self.kms_seconds
            .with_label_values(&[op])
            .observe(elapsed.as_secs_f64());
    }

    /// An epoch key was looked up.
    pub fn key_cache(&self, outcome: CacheOutcome) {
        self.key_cache.with_label_values(&[outcome.label()]).inc();
    }

    /// `count` unwrapped keys are held now.
    pub fn key_cache_entries(&self, count: usize) {
        self.key_cache_entries
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The key provider was asked for something.
    pub fn key_operation(&self, op: &'static str, reason: &'static str, outcome: &'static str) {
        self.key_operations
            .with_label_values(&[op, reason, outcome])
            .inc();
    }

    /// The policy was asked about a use of an epoch key.
    pub fn key_use(&self, reason: &'static str, is_permitted: bool) {
        let [allowed, denied] = DECISIONS;
        let decision = if is_permitted { allowed } else { denied };
        self.key_uses.with_label_values(&[reason, decision]).inc();
    }

    /// All unwrapped keys were dropped.
    pub fn keys_dropped(&self, cause: DropCause) {
        self.key_drops.with_label_values(&[cause.name()]).inc();
    }

    /// The store answered, or did not (`ok`, `redirect`, `client_error`, `server_error`, `connect`, `timeout`, `reset`).
    pub fn upstream_request(&self, outcome: &'static str, elapsed: Duration) {
        self.upstream_requests.with_label_values(&[outcome]).inc();
        self.upstream_seconds.observe(elapsed.as_secs_f64());
    }

    /// `count` requests to the store were sent again.
    pub fn upstream_retries(&self, count: u64) {
        self.upstream_retries.inc_by(count);
    }

    /// The keyring now in use has this generation.
    pub fn keyring_generation(&self, generation: u64) {
        self.keyring_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// A changed source was loaded, or refused and the old one kept.
    pub fn reload(&self, source: ReloadSource, is_success: bool) {
        let [ok, refused] = RELOAD_OUTCOMES;
        let outcome = if is_success { ok } else { refused };
        self.reloads.with_label_values(&[source.label(), outcome]).inc();
        self.reload_success
            .with_label_values(&[source.label()])
            .set(i64::from(is_success));
    }

    /// The key provider's helper process was restarted this many times so far.
    pub fn helper_restarts(&self, count: u64) {
        self.helper_restarts.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether each HSM of the configuration serves, and how often a second one was asked so far.
    pub fn key_endpoints(&self, up: &[bool], hedged: u64) {
        for (place, is_up) in up.iter().enumerate() {
            let gauge = self.key_endpoint_up.with_label_values(&[&place.to_string()]);
            gauge.set(i64::from(*is_up));
        }
        self.key_hedges.set(i64::try_from(hedged).unwrap_or(i64::MAX));
    }

    /// A record of the audit trail was made.
    pub fn audit_record(&self, event: &'static str) {
        self.audit_records.with_label_values(&[event]).inc();
    }

    /// The audit trail could not be written, or lost a record.
    pub fn audit_write_failure(&self) {
        self.audit_write_failures.inc();
    }

    /// This many records wait to be written.
    pub fn audit_backlog(&self, count: i64) {
        self.audit_backlog.set(count);
    }

    /// Whether keys are software keys for development.
    pub fn dev_mode(&self, is_dev: bool) {
        self.dev_mode.set(i64::from(is_dev));
    }

    /// Everything in the Prometheus text form.
    pub fn render(&self) -> String {
        let is_raised = self.recent_failures.is_raised(Instant::now());
        self.integrity_alarm.set(i64::from(is_raised));
        // Encoding to a string fails only on inconsistent families, which registration excludes.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

/// Creates metrics in one registry.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<prometheus::IntGaugeVec, prometheus::Error> {
        self.register(prometheus::IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()),
        ))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    fn build_info(&self) -> Result<(), prometheus::Error> {
        let options = Opts::new(
            "sceau_build_info",
            "Version of the running program; the value is always 1.",
        )
        .const_label("version", env!("CARGO_PKG_VERSION"));
        self.register(Gauge::with_opts(options))?.set(1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Integrity;

    #[test]
    fn every_metric_follows_the_naming_rules_and_is_there_from_the_start() {
        let metrics = Metrics::new().unwrap();
        for family in metrics.registry.gather() {
            assert!(family.name().starts_with("sceau_"), "{}", family.name());
            assert!(family.help().ends_with('.'), "{}", family.name());
        }
        let text = metrics.render();
        for expected in [
            "sceau_integrity_failures_total{kind=\"tag\"} 0",
            "sceau_key_cache_requests_total{outcome=\"joined\"} 0",
            "sceau_build_info{version=",
            "sceau_dev_mode 0",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn a_request_counts_once_and_its_failure_by_kind() {
        let metrics = Metrics::new().unwrap();
        metrics.request_started();
        assert!(metrics.render().contains("sceau_requests_in_flight 1"));
        metrics.request_failed(&Kind::Integrity(Integrity::Tag));
        metrics.request_failed(&Kind::Client(ErrorCode::SignatureDoesNotMatch));
        metrics.request_ended("GetObject", 0, Duration::from_millis(3), 5, 7);
        let text = metrics.render();
        for expected in [
            "sceau_requests_in_flight 0",
            "sceau_requests_total{operation=\"GetObject\",status_class=\"cancelled\"} 1",
            "sceau_integrity_failures_total{kind=\"tag\"} 1",
            "sceau_auth_failures_total{reason=\"SignatureDoesNotMatch\"} 1",
            "sceau_bytes_total{direction=\"client_out\"} 7",
            "sceau_access_log_records_total 1",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }
}
