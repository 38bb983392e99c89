//! The access record: one line for every request, whatever became of it.
//!
//! What lives here: [`Record`], which gathers facts while a request walks through the rooms and is
//! written when it is dropped. What must not: object data, signatures, keys. Invariant: a record is
//! written exactly once, also when the client goes away, the task is cancelled or the body is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::GatewayError;
use crate::telemetry::{self, Metrics, Phase};

/// Identifies a request in the client's answer, the logs and the access record.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl RequestId {
    /// Draws an identifier of 16 characters.
    pub fn draw() -> Self {
        let mut bytes = [0; 8];
        // Not a secret: with no generator at all, every sealing fails anyway, and zeros do no harm here.
        let _ = getrandom::fill(&mut bytes);
        Self(data_encoding::HEXUPPER.encode(&bytes))
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many bytes of a body passed, shared with the body that counts them.
#[derive(Debug, Clone, Default)]
pub struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// Adds `bytes`.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All bytes so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The facts of one request. Dropping it writes the record.
pub struct Record {
    metrics: Arc<Metrics>,
    started: Instant,
    /// Names the request.
    pub id: RequestId,
    /// The client's address.
    pub remote: SocketAddr,
    /// HTTP method as received.
    pub method: String,
    /// S3 operation, once the router knows it.
    pub operation: &'static str,
    /// Who asked, once the signature is verified.
    pub principal: Option<String>,
    /// Name of their session, with temporary credentials.
    pub session: Option<String>,
    /// Bucket, if the request names one.
    pub bucket: Option<String>,
    /// Object key, if the request names one.
    pub key: Option<String>,
    /// HTTP status of the answer; 0 while there is none.
    pub status: u16,
    /// The error's S3 code.
    pub error: Option<&'static str>,
    /// Whose fault the error is.
    pub side: Option<&'static str>,
    /// Bytes of the client's body.
    pub bytes_in: ByteCount,
    /// Bytes of the answer's body.
    pub bytes_out: ByteCount,
    finished: bool,
    answered: Option<Instant>,
}

impl Record {
    /// Starts the record of a request.
    pub fn start(metrics: Arc<Metrics>, id: RequestId, remote: SocketAddr, method: String) -> Self {
        metrics.request_started();
        Self {
            metrics,
            started: Instant::now(),
            id,
            remote,
            method,
            operation: "unknown",
            principal: None,
            session: None,
            bucket: None,
            key: None,
            status: 0,
            error: None,
            side: None,
            bytes_in: ByteCount::default(),
            bytes_out: ByteCount::default(),
            finished: false,
            answered: None,
        }
    }

    /// Notes an error and, for the operator, why.
    pub fn note_error(&mut self, error: &GatewayError) {
        self.error = Some(error.kind.code().code());
        self.side = Some(error.kind.side().name());
        crate::respond::log_error(
            &self.id,
            self.operation,
            self.bucket.as_deref(),
            self.key.as_deref(),
            error,
        );
        if self.metrics.request_failed(&error.kind) {
            tracing::error!(
                target: "sceau::security",
                request_id = self.id.as_str(),
                class = "alarm",
                failures = telemetry::INTEGRITY_ALARM_FAILURES,
                seconds = telemetry::INTEGRITY_ALARM_WINDOW.as_secs(),
                "many stored objects are refused"
            );
        }
    }

    /// Notes that the answer's head is decided; what follows is its body.
    pub fn answer(&mut self, status: u16) {
        self.status = status;
        self.answered = Some(Instant::now());
    }

    /// Notes that the answer's body went out whole.
    pub fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let cut = !self.finished;
        if let Some(answered) = self.answered {
            self.metrics.phase(Phase::Body, answered.elapsed());
        }
        self.metrics.request_ended(
            self.operation,
            self.status,
            elapsed,
            self.bytes_in.total(),
            self.bytes_out.total(),
        );
        tracing::info!(
            target: "sceau::access",
            request_id = self.id.as_str(),
            remote = %self.remote,
            principal = self.principal.as_deref().unwrap_or("-"),
            session = self.session.as_deref().unwrap_or("-"),
            method = self.method,
            operation = self.operation,
            bucket = self.bucket.as_deref().unwrap_or("-"),
            key = self.key.as_deref().unwrap_or("-"),
            status = self.status,
            error = self.error.unwrap_or("-"),
            side = self.side.unwrap_or("-"),
            bytes_in = self.bytes_in.total(),
            bytes_out = self.bytes_out.total(),
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            cut,
            "request"
        );
    }
}
