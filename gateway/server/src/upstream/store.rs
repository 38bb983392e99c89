//! Sending: one request, its attempts, and what each answer teaches.
//!
//! What lives here: [`Store`]. What must not: the meaning of answers beyond regions and overload.
//! Invariant: a request is repeated only when its body is untouched or in memory, and only when
//! nothing reached the store or a second sending has the effect of one.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use sceau_s3wire::sigv4::SigningKeyCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::Endpoint;
use super::backoff::Attempts;
use super::body::{RequestBody, Upload, UploadGuard};
use super::config::{AddressingStyle, Capabilities, StoreConfig, Timeouts};
use super::connect::{ConnectFailed, StoreConnector, tls_config};
use super::credentials::CredentialProvider;
use super::error::{ConnectFault, StoreError, Wait};
use super::region::{Regions, is_region, may_name_region, named_region};
use super::request::{StoreBody, StoreRequest};
use super::response::{StoreResponse, StoreResponseBody};
use super::signing::signed_headers;
use crate::lanes;
use crate::limits::CONNECTION_BUFFER_BYTES_MAX;

/// How long a request waits for a free connection slot.
const SLOT_WAIT: Duration = Duration::from_secs(10);
/// Most response headers: user metadata of 2 KiB in the shortest names, and the store's own.
const RESPONSE_HEADERS_MAX: usize = 256;
/// How much of an answer is read to find the region it names, in bytes.
const REDIRECT_BYTES_MAX: usize = 64 << 10;
/// How often one request follows what an answer teaches (a region, then a host).
const DETOURS_MAX: u32 = 2;

/// The store. Cloning is cheap; all clones share pools, credentials and learnt regions.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    region: String,
    style: AddressingStyle,
    credentials: CredentialProvider,
    signing_keys: SigningKeyCache,
    regions: Regions,
    timeouts: Timeouts,
    capabilities: Capabilities,
    repeatable: Pool,
    streams: Pool,
    repeats: AtomicU64,
}

/// Connections for one kind of request. Streams have their own, so that an idle connection is
/// young when a body that cannot be sent twice meets it, and so that a copy, which reads and writes
/// at once, cannot starve itself.
struct Pool {
    /// One for each lane, and the first for what runs outside of lanes: a connection is served where its request is.
    clients: Vec<Client<StoreConnector, RequestBody>>,
    slots: Arc<Semaphore>,
}

impl Pool {
    fn new(config: &StoreConfig, tls: Option<Arc<ClientConfig>>, idle: Duration) -> Self {
        let connector = StoreConnector::new(tls, config.timeouts.connect);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(idle)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(config.max_connections)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http1_max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
            .set_host(false);
        let slots = config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            clients: (0..=lanes::count())
                .map(|_| builder.build(connector.clone()))
                .collect(),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }

    /// The client of the present lane.
    fn client(&self) -> Result<&Client<StoreConnector, RequestBody>, StoreError> {
        let client = self.clients.get(lanes::current()).or(self.clients.first());
        client.ok_or(StoreError::Busy)
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let waiting = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(SLOT_WAIT, waiting).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(StoreError::Busy),
        }
    }
}

impl Store {
    /// Checks the configuration, reads trust and credentials. Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Config`] or [`StoreError::Credentials`].
    pub fn new(config: StoreConfig) -> Result<Self, StoreError> {
        let endpoint = Endpoint::new(&config.endpoint)?;
        if !is_region(&config.region) {
            return Err(StoreError::Config("the region is not a plain name"));
        }
        let tls = endpoint
            .is_tls()
            .then(|| tls_config(config.ca_file.as_deref()))
            .transpose()?;
        let repeatable = Pool::new(&config, tls.clone(), config.timeouts.pool_idle);
        let streams = Pool::new(&config, tls, config.timeouts.stream_idle());
        Ok(Self(Arc::new(Inner {
            endpoint,
            region: config.region,
            style: config.style,
            credentials: CredentialProvider::new(config.credentials)?,
            signing_keys: SigningKeyCache::default(),
            regions: Regions::default(),
            timeouts: config.timeouts,
            capabilities: config.capabilities,
            repeatable,
            streams,
            repeats: AtomicU64::new(0),
        })))
    }

    /// What the store can do beyond the common ground.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    /// How many requests were sent again since this was asked last, for the metrics.
    pub fn take_repeats(&self) -> u64 {
        self.0.repeats.swap(0, Ordering::Relaxed)
    }

    /// The region requests are signed for unless a bucket taught another.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Signs and sends `request`, and returns when the head of the final answer is here. Any
    /// status is a response, errors included.
    ///
    /// Cancel-safe in the sense that matters: dropping the future closes the connection short of
    /// `Content-Length`, so the store keeps nothing of an unfinished body. An answer that comes
    /// before the end of the request body stops the body at once; its connection is closed when the
    /// answer has been read or dropped.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::retry`] says what the caller may do.
    pub async fn send(&self, mut request: StoreRequest) -> Result<StoreResponse, StoreError> {
        settle_empty_stream(&mut request).await?;
        let inner = &self.0;
        let is_stream = matches!(request.body, StoreBody::Stream { .. });
        let mut attempts = Attempts::first();
        let (mut style, mut detours) = (inner.style, 0_u32);
        loop {
            let region = inner.region_of(&request);
            let upload = Upload::start(&mut request.body);
            let result = inner.attempt(&request, is_stream, &region, style, &upload).await;
            let untouched = upload.give_back(&mut request.body);
            let result = match result {
                Ok(mut response) if untouched && detours < DETOURS_MAX => {
                    if let Some(better) = inner.learn(&request, &region, style, &mut response).await? {
                        style = better;
                        detours = detours.saturating_add(1);
                        continue;
                    }
                    Ok(response)
                }
                Ok(mut response) => {
                    inner.learn(&request, &region, style, &mut response).await?;
                    Ok(response)
                }
                Err(error) => Err(error),
            };
            if !(untouched && may_repeat(&request, is_stream, &result)) {
                return result;
            }
            let answer = result.as_ref().ok().map(|response| &response.head.headers);
            if !attempts.next(answer).await {
                return result;
            }
            inner.repeats.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inner {
    fn region_of(&self, request: &StoreRequest) -> String {
        let learnt = request
            .bucket
            .as_deref()
            .and_then(|bucket| self.regions.of(bucket));
        learnt.unwrap_or_else(|| self.region.clone())
    }

    /// Sends once.
    async fn attempt(
        &self,
        request: &StoreRequest,
        is_stream: bool,
        region: &str,
        style: AddressingStyle,
        upload: &Upload,
    ) -> Result<StoreResponse, StoreError> {
        let key = request.key.as_deref();
        let address = self
            .endpoint
            .address(style, request.bucket.as_deref(), key, &request.query)?;
        let credentials = self.credentials.current();
        let body = upload.frames();
        let length = body.size_hint().exact().unwrap_or_default();
        let headers = signed_headers(
            request,
            length,
            &address,
            region,
            &credentials,
            &self.signing_keys,
        )?;
        let mut wire = Request::new(body);
        *wire.method_mut() = request.method.clone();
        *wire.uri_mut() = address.uri;
        *wire.version_mut() = Version::HTTP_11;
        *wire.headers_mut() = headers;

        let pool = if is_stream {
            &self.streams
        } else {
            &self.repeatable
        };
        let slot = pool.slot().await?;
        let client = pool.client()?;
        // From here on the connection closes unless the body completes, whatever happens to us.
        let guard = UploadGuard(upload.clone());
        let answered = tokio::select! {
            answered = client.request(wire) => answered,
            () = upload.stalled(self.timeouts.response_head) => return Err(StoreError::Timeout(Wait::Head)),
        };
        let response = answered.map_err(|error| fault(&error, upload))?;
        if upload.hold() {
            drop(guard);
            return self.accept(request, response, None, slot);
        }
        if upload.source_failed() {
            return Err(StoreError::BodyAborted);
        }
        if response.status().is_success() {
            return Err(StoreError::Protocol("success before the end of the request body"));
        }
        self.accept(request, response, Some(guard), slot)
    }

    fn accept(
        &self,
        request: &StoreRequest,
        response: Response<Incoming>,
        guard: Option<UploadGuard>,
        slot: OwnedSemaphorePermit,
    ) -> Result<StoreResponse, StoreError> {
        let (head, incoming) = response.into_parts();
        if !has_known_end(&request.method, head.status, &head.headers) {
            return Err(StoreError::Protocol("a response body without length or chunks"));
        }
        let body = StoreResponseBody::new(incoming, self.timeouts.idle_read, guard, slot);
        Ok(StoreResponse { head, body })
    }

    /// Takes the region (remembered) or the host of the same endpoint (for this request only) out
    /// of an answer; the style to send again with, when sending again makes sense.
    async fn learn(
        &self,
        request: &StoreRequest,
        signed_for: &str,
        style: AddressingStyle,
        response: &mut StoreResponse,
    ) -> Result<Option<AddressingStyle>, StoreError> {
        let Some(bucket) = request.bucket.as_deref() else {
            return Ok(None);
        };
        if !may_name_region(response.status()) {
            return Ok(None);
        }
        let body = response.peek(REDIRECT_BYTES_MAX).await?;
        if let Some(region) = named_region(&response.head.headers, &body)
            && region != signed_for
        {
            self.regions.remember(bucket, region);
            return Ok(Some(style));
        }
        if response.status() != StatusCode::TEMPORARY_REDIRECT {
            return Ok(None);
        }
        let location = response
            .head
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location.and_then(|text| text.parse::<Uri>().ok());
        let other = location.and_then(|location| self.endpoint.style_of(&location, bucket));
        Ok(other.filter(|other| *other != style))
    }
}

/// A stream of no bytes is asked for its end before anything is sent: the connection would never
/// ask, and its source may still have something to say.
async fn settle_empty_stream(request: &mut StoreRequest) -> Result<(), StoreError> {
    if !matches!(request.body, StoreBody::Stream { length: 0, .. }) {
        return Ok(());
    }
    let StoreBody::Stream { body, .. } = std::mem::replace(&mut request.body, StoreBody::Empty) else {
        return Ok(());
    };
    let rest = http_body_util::Limited::new(body, 0).collect().await;
    rest.map(|_| ()).map_err(|_| StoreError::BodyAborted)
}

/// Whether sending again can help and cannot act twice. The caller has checked that the body can be
/// sent from its start.
fn may_repeat(request: &StoreRequest, is_stream: bool, result: &Result<StoreResponse, StoreError>) -> bool {
    // A condition that the first sending itself has made false would turn success into 412.
    let is_write = !matches!(request.method, Method::GET | Method::HEAD);
    let conditional = request.headers.contains_key(IF_MATCH) || request.headers.contains_key(IF_NONE_MATCH);
    let same_effect = request.replayable && !(is_write && conditional);
    match result {
        Ok(response) => same_effect && matches!(response.status().as_u16(), 500 | 502 | 503 | 504),
        // An untouched stream has a length, so the store cannot have completed the request.
        Err(StoreError::Reset { body_sent }) => same_effect || (is_stream && !body_sent),
        Err(StoreError::Timeout(Wait::Head)) => same_effect,
        Err(StoreError::Connect(ConnectFault::Tcp | ConnectFault::Timeout)) => true,
        Err(
            StoreError::BodyAborted
            | StoreError::Busy
            | StoreError::Config(_)
            | StoreError::Connect(ConnectFault::Tls)
            | StoreError::Credentials(_)
            | StoreError::Protocol(_)
            | StoreError::Refused { .. }
            | StoreError::Request(_)
            | StoreError::Timeout(Wait::Idle)
            | StoreError::TooLarge { .. },
        ) => false,
    }
}

/// Whether the end of the body can be told from a broken connection.
fn has_known_end(method: &Method, status: StatusCode, headers: &HeaderMap) -> bool {
    *method == Method::HEAD
        || matches!(status.as_u16(), 204 | 304)
        || headers.contains_key(CONTENT_LENGTH)
        || headers.contains_key(TRANSFER_ENCODING)
}

fn fault(error: &hyper_util::client::legacy::Error, upload: &Upload) -> StoreError {
    if upload.source_failed() {
        return StoreError::BodyAborted;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ConnectFailed(fault)) = current.downcast_ref() {
            return StoreError::Connect(*fault);
        }
        if current
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return StoreError::Protocol("malformed response head");
        }
        cause = current.source();
    }
    if error.is_connect() {
        return StoreError::Connect(ConnectFault::Tcp);
    }
    StoreError::Reset {
        body_sent: upload.was_polled(),
    }
}
