//! The running gateway: what every request shares, and the walk of one request.
//!
//! What lives here: [`Gateway`] and the order of the rooms. What must not: what happens inside a room.
//! Invariant: the walk is the one in the crate's documentation; an error in any room ends it there and
//! becomes the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use sceau_envelope::Engine;
use sceau_s3wire::amztime;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::{Document, Operation};
use sceau_s3wire::router;
use sceau_s3wire::sigv4::{SERVICE_STS, SigningKeyCache, VerifyRules};
use tokio::sync::{OnceCell, Semaphore};

use crate::access::AccessFiles;
use crate::audit::Trail;
use crate::auth::{Authenticated, RawRequest, RequestBody, post};
use crate::authorize::Authorized;
use crate::crypt::layout_cache::LayoutCache;
use crate::crypt::upload_cache::UploadCache;
use crate::error::{GatewayError, Kind, Result, Side};
use crate::execute;
use crate::execute::cors::{self, CorsCache, PageRequest};
use crate::keyring::{Caller, KeyringService, Wipe};
use crate::limits;
use crate::listen::{self, Service};
use crate::patience::Patience;
use crate::plan::fault;
use crate::plan::request::{self, Head, StoreAbilities};
use crate::plan::sse::Surroundings;
use crate::record::{Record, RequestId};
use crate::respond::{self, Answer, ResponseBody};
use crate::sts::{self, Sts};
use crate::telemetry::{Direction, Metrics, Phase};
use crate::upstream::{ControlBucket, Store, StoreError, StoreRequest, StoreResponse, keeps_folder_objects};

/// Settings of the request path.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains under which `bucket.domain` addresses a bucket.
    pub domains: Vec<String>,
    /// Regions that clients may sign for, the gateway's own first; none accepts any.
    pub regions: Vec<String>,
    /// How slow a client may be within a body.
    pub patience: Patience,
    /// Requests worked on at once; further ones wait.
    pub in_flight_max: usize,
}

/// Names a gateway in the headers that it seals.
pub struct Writer {
    id: [u8; 8],
    sequence: AtomicU64,
}

impl Writer {
    /// The identifier drawn at start.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a gateway is built from.
pub struct AppParts {
    /// Settings of the request path.
    pub settings: Settings,
    /// The store.
    pub store: Store,
    /// The control bucket in it.
    pub control: ControlBucket,
    /// Buckets and keys.
    pub keyring: Arc<KeyringService>,
    /// Credentials and policy.
    pub access: Arc<AccessFiles>,
    /// Issuers and roles; without, nobody exchanges identities.
    pub sts: Option<Sts>,
    /// The audit trail.
    pub trail: Trail,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The running gateway.
pub struct Gateway {
    /// Settings of the request path.
    pub settings: Settings,
    /// The store.
    pub store: Store,
    /// The control bucket in it.
    pub control: ControlBucket,
    /// Buckets and keys.
    pub keyring: Arc<KeyringService>,
    /// Credentials and policy.
    pub access: Arc<AccessFiles>,
    /// Issuers and roles.
    pub sts: Option<Sts>,
    /// The audit trail.
    pub trail: Trail,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The AEAD engine.
    pub engine: Engine,
    /// This gateway's name in sealed headers.
    pub writer: Writer,
    /// Layouts of multipart objects read lately.
    pub layouts: LayoutCache,
    /// States of open uploads used lately.
    pub uploads: UploadCache,
    /// CORS rules of buckets asked for lately.
    pub cors: CorsCache,
    /// Signing keys derived lately.
    pub signing_keys: SigningKeyCache,
    /// What signatures must satisfy.
    pub verify_rules: VerifyRules,
    /// What those of requests for STS must satisfy.
    pub sts_rules: VerifyRules,
    /// Places for large request documents.
    pub documents: Semaphore,
    /// Whether the store keeps objects whose names end in a slash, once somebody needed to know.
    folder_objects: OnceCell<bool>,
    permits: Semaphore,
}

impl Gateway {
    /// Builds the gateway. Fails only without randomness.
    pub fn new(parts: AppParts) -> Result<Arc<Self>> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| GatewayError::new(Kind::Internal, "no randomness"))?;
        let engine = Engine::fastest();
        tracing::info!(engine = engine.kind().name(), "sealing engine chosen");
        let verify_rules = VerifyRules {
            regions: parts.settings.regions.clone(),
            ..VerifyRules::default()
        };
        let sts_rules = VerifyRules {
            service: SERVICE_STS,
            ..verify_rules.clone()
        };
        let gateway = Arc::new(Self {
            permits: Semaphore::new(parts.settings.in_flight_max),
            settings: parts.settings,
            store: parts.store,
            control: parts.control,
            keyring: parts.keyring,
            access: parts.access,
            sts: parts.sts,
            trail: parts.trail,
            metrics: parts.metrics,
            engine,
            writer: Writer {
                id,
                sequence: AtomicU64::new(0),
            },
            layouts: LayoutCache::default(),
            uploads: UploadCache::default(),
            cors: CorsCache::default(),
            signing_keys: SigningKeyCache::new(),
            verify_rules,
            sts_rules,
            documents: Semaphore::new(limits::LARGE_DOCUMENTS_MAX),
            folder_objects: OnceCell::new(),
        });
        let held = Arc::downgrade(&gateway);
        gateway.keyring.wipe_with(move |wipe| {
            if let Some(gateway) = held.upgrade() {
                gateway.wipe(wipe);
            }
        });
        Ok(gateway)
    }

    /// What is held here beside epoch keys: data keys of open uploads, and layouts, which hold none but
    /// came out of sealed trailers. Signing keys of clients are not the HSM's and stay.
    fn wipe(&self, wipe: Wipe) {
        match wipe {
            Wipe::All => {
                self.uploads.drop_all();
                self.layouts.drop_all();
            }
            Wipe::Expired => self.uploads.wipe_expired(),
        }
    }

    /// Sends a request to the store and counts it.
    pub async fn send(&self, request: StoreRequest) -> std::result::Result<StoreResponse, StoreError> {
        let started = Instant::now();
        let sent_bytes = request.body.len();
        // In a box, as operations are: many of them wait here at several places.
        let answered = Box::pin(self.store.send(request)).await;
        let outcome = match &answered {
            Ok(response) if response.head.status.is_server_error() => "5xx",
            Ok(response) if response.head.status.is_client_error() => "4xx",
            Ok(_) => "answered",
            Err(_) => "failed",
        };
        self.metrics.upstream_request(outcome, started.elapsed());
        self.metrics.phase(Phase::UpstreamTtfb, started.elapsed());
        self.metrics.upstream_retries(self.store.take_repeats());
        if let Ok(response) = &answered {
            self.metrics.bytes(Direction::StoreOut, sent_bytes);
            let announced = http_body::Body::size_hint(&response.body).exact();
            self.metrics
                .bytes(Direction::StoreIn, announced.unwrap_or_default());
        }
        answered
    }

    /// Whether the store keeps objects whose names end in a slash. It is tried once; a failure to try is
    /// not remembered.
    pub async fn keeps_folder_objects(&self) -> Result<bool> {
        let tried = self
            .folder_objects
            .get_or_try_init(|| keeps_folder_objects(&self.store, &self.control));
        tried.await.copied().map_err(|error| fault::store_error(&error))
    }

    /// Name of the control bucket.
    pub fn control_bucket(&self) -> &str {
        self.control.name()
    }

    /// The control bucket does not exist for clients.
    pub fn refuse_control_bucket(&self, name: &str) -> Result<()> {
        if name == self.control_bucket() {
            Err(GatewayError::code(ErrorCode::NoSuchBucket))
        } else {
            Ok(())
        }
    }

    /// Now, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    /// Now, as S3 documents write it.
    pub fn now_iso8601(&self) -> String {
        amztime::format_iso8601(since_epoch().as_secs())
    }

    /// Walks one request through the rooms up to its answer.
    async fn answer(
        &self,
        request: RawRequest,
        body: &mut RequestBody,
        record: &mut Record,
    ) -> Result<Answer> {
        record.bucket.clone_from(&request.name.bucket);
        record.key.clone_from(&request.name.key);
        if request.method == Method::OPTIONS {
            record.operation = "Preflight";
            return Box::pin(cors::preflight(
                self,
                request.name.bucket.as_deref(),
                &request.headers,
            ))
            .await;
        }
        let started = Instant::now();
        let now = since_epoch().as_secs();
        if let Some(sts) = self.sts.as_ref().filter(|_| sts::answer::is_for_sts(&request)) {
            let form = body.take_whole()?;
            return Ok(Box::pin(sts::answer::answer(self, sts, &request, form, record, now)).await);
        }
        let authenticated = match post::boundary(&request)? {
            Some(boundary) => {
                record.operation = Operation::PostObject.name();
                Box::pin(post::prove(self, request, &boundary, body, now)).await?
            }
            None => Authenticated::prove(self, request, now).await?,
        };
        record.key.clone_from(&authenticated.request.name.key);
        let sender = &authenticated.sender;
        record.principal = Some(sender.principal.as_str().to_owned());
        record.auth = authenticated.method();
        record.session = sender.session.as_ref().map(|session| session.name.clone());
        let operation = match &authenticated.form {
            Some(_) => Operation::PostObject,
            None => route(&authenticated.request)?,
        };
        record.operation = operation.name();
        post::check_is_form(&authenticated, operation)?;
        let authorized =
            Authorized::ask(self.access.snapshot(), authenticated, operation).inspect_err(|_| {
                record.decision = "denied";
                self.metrics.policy_denial(operation.name());
            })?;
        record.decision = "allowed";
        self.metrics.phase(Phase::Auth, started.elapsed());
        let planning = Instant::now();
        let raw = &authorized.authenticated.request;
        let head = Head {
            bucket: raw.name.bucket.as_deref(),
            key: raw.name.key.as_deref(),
            query: raw.target.query().pairs(),
            headers: &raw.headers,
            around: Surroundings {
                settings: authorized.settings(raw.name.bucket.as_deref().unwrap_or_default()),
                is_tls: raw.is_tls,
            },
        };
        let abilities = StoreAbilities {
            conditional_writes: self.store.capabilities().conditional_writes,
            object_tags: self.store.capabilities().object_tags,
        };
        let plan = request::plan(operation, &head, abilities)?;
        self.metrics.phase(Phase::Plan, planning.elapsed());
        let caller = Caller {
            principal: authorized.principal().as_str().to_owned(),
            operation: operation.name(),
            bucket: record.bucket.clone().unwrap_or_default(),
            request_id: record.id.as_str().to_owned(),
        };
        let answer = caller
            .scope(execute::execute(self, &authorized, plan, body))
            .await;
        if matches!(
            operation,
            Operation::Document(Document::PutBucketCors | Document::DeleteBucketCors)
        ) {
            self.cors.forget(
                authorized
                    .authenticated
                    .request
                    .name
                    .bucket
                    .as_deref()
                    .unwrap_or_default(),
            );
        }
        answer
    }
}

fn since_epoch() -> Duration {
    // A clock before 1970 makes every signature too skewed, which is the right answer to it.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn route(request: &RawRequest) -> Result<Operation> {
    let (has_bucket, has_key) = (request.name.bucket.is_some(), request.name.key.is_some());
    router::route(
        request.method.as_str(),
        has_bucket,
        has_key,
        request.target.query().pairs(),
        &request.headers,
    )
    .map_err(|error| GatewayError::client(error.code, error.message))
}

impl Service for Gateway {
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        remote: SocketAddr,
        is_tls: bool,
    ) -> Response<ResponseBody> {
        let (parts, incoming) = request.into_parts();
        let mut record = Record::start(
            Arc::clone(&self.metrics),
            self.trail.clone(),
            RequestId::draw(),
            remote,
            parts.method.to_string(),
        );
        let is_head = parts.method == Method::HEAD;
        let expects_continue = parts.headers.contains_key(header::EXPECT);
        // An empty body is never polled, so no `100 Continue` goes out. botocore keeps a final answer that
        // came in its place for the next request on the connection: there must be none.
        let skips_continue = expects_continue && incoming.is_end_stream();
        let body_length = if incoming.is_end_stream() {
            Some(0)
        } else {
            http_body::Body::size_hint(&incoming).exact()
        };
        let resource = parts.uri.path().to_owned();
        let mut body = RequestBody::new(incoming, record.bytes_in.clone());
        // Held until there is an answer: an upload's whole body, but not the body of a read.
        let _permit = self.permits.acquire().await;
        let mut page = None;
        let admitted = record.admit().await;
        let outcome = match listen::check_framing(&parts) {
            Err(why) => Err(GatewayError::client(ErrorCode::InvalidRequest, why)),
            Ok(()) => match RawRequest::parse(parts, remote, is_tls, &self.settings.domains) {
                Err(error) => Err(error),
                Ok(raw) => {
                    if let Err(error) = admitted {
                        record.bucket.clone_from(&raw.name.bucket);
                        record.key.clone_from(&raw.name.key);
                        Err(error)
                    } else {
                        page = PageRequest::of(&raw.method, &raw.headers, raw.name.bucket.as_deref());
                        self.answer(raw, &mut body, &mut record).await
                    }
                }
            },
        };
        let told = match &page {
            Some(page) => Box::pin(page.answer(&self)).await,
            None => http::HeaderMap::new(),
        };
        match outcome {
            Ok(mut answer) => {
                answer.headers.extend(told);
                if skips_continue {
                    close(&mut answer);
                }
                respond::finish(answer, record)
            }
            Err(error) => {
                record.note_error(&error);
                let mut answer = respond::error_answer(&error, &record.id, &resource, is_head);
                answer.headers.extend(told);
                // Also when the refusal came of the body itself: a 404 or a failed checksum costs no connection.
                let is_over = body_length.is_some_and(|length| record.bytes_in.total() >= length);
                let is_read = is_over || drain(body, expects_continue).await;
                if !is_read || skips_continue || error.kind.side() == Side::Gateway {
                    close(&mut answer);
                }
                respond::finish(answer, record)
            }
        }
    }
}

/// Ends the connection behind this answer.
fn close(answer: &mut Answer) {
    answer
        .headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Reads what a refused request still sends, within bounds, so that the client gets to read its answer.
/// Whether the connection can be used again.
async fn drain(body: RequestBody, expects_continue: bool) -> bool {
    let Some(mut rest) = body.into_rest() else {
        return false;
    };
    if rest.is_end_stream() {
        return true;
    }
    if expects_continue {
        // The client waits for permission to send; it will not get it.
        return false;
    }
    let read_all = async {
        let mut left = limits::DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = rest.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(limits::DRAIN_WAIT, read_all)
        .await
        .unwrap_or(false)
}
