//! The access record: one line for every request, whatever became of it.
//!
//! What lives here: [`Record`], which gathers facts while a request walks through the rooms and is
//! written when it is dropped. What must not: object data, signatures, keys. Invariant: a record is
//! written exactly once, also when the client goes away, the task is cancelled or the body is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sceau_audit::{Class, Event};

use crate::audit::{self, Slot, Trail};
use crate::error::{GatewayError, Kind};
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
    trail: Trail,
    slot: Option<Slot>,
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
    /// How they proved it.
    pub auth: &'static str,
    /// What the policy said, once it was asked.
    pub decision: &'static str,
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
    pub fn start(
        metrics: Arc<Metrics>,
        trail: Trail,
        id: RequestId,
        remote: SocketAddr,
        method: String,
    ) -> Self {
        metrics.request_started();
        Self {
            metrics,
            trail,
            slot: None,
            started: Instant::now(),
            id,
            remote,
            method,
            operation: "unknown",
            principal: None,
            session: None,
            auth: "",
            decision: "",
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

    /// Makes sure that the audit trail will take this record, where nothing is served without.
    ///
    /// # Errors
    /// [`Kind::Unrecorded`].
    pub async fn admit(&mut self) -> Result<(), GatewayError> {
        let slot = self.trail.admit().await;
        self.slot = slot.map_err(|_| GatewayError::new(Kind::Unrecorded, "no place in the audit trail"))?;
        Ok(())
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

    /// The audit trail's record; the names move into it, so it is made last.
    fn event(&mut self, elapsed: Duration) -> Event {
        Event {
            request_id: self.id.as_str().to_owned(),
            client: self.remote.to_string(),
            principal: self.principal.take().unwrap_or_default(),
            session: self.session.take().unwrap_or_default(),
            auth: self.auth,
            method: std::mem::take(&mut self.method),
            operation: self.operation,
            bucket: self.bucket.take().unwrap_or_default(),
            key: self.key.take().unwrap_or_default(),
            bytes_in: Some(self.bytes_in.total()),
            bytes_out: Some(self.bytes_out.total()),
            decision: self.decision,
            outcome: match (self.finished, self.error) {
                (false, _) => "cut",
                (true, Some(_)) => "error",
                (true, None) => "ok",
            },
            status: (self.status != 0).then_some(self.status),
            error: self.error.unwrap_or_default(),
            side: self.side.unwrap_or_default(),
            duration_us: Some(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
            ..Event::new(Class::Request, audit::now_ns())
        }
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
        if self.trail.is_on() {
            let event = self.event(elapsed);
            self.trail.report(event, self.slot.take());
        }
    }
}
