//! Connections: accept, check the signature, answer.
//!
//! What lives here: HTTP. What must not: what operations do. Invariant: no operation sees a request
//! whose signature was not checked.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::RequestTarget;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::auth::Verifier;
use crate::blob::random_id;
use crate::ops;
use crate::request::{Head, RequestBody, refused_target};
use crate::response::{Answer, error, set};
use crate::state::State;

/// Connections served at the same time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after the listener failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of an unwanted body that are read so that the client sees the answer.
const DRAIN_BYTES_MAX: u64 = 1024 * 1024;
/// How long an unwanted body is read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until dropped.
pub(crate) async fn serve(
    state: Arc<State>,
    verifier: Arc<Verifier>,
    listener: TcpListener,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "embedded store cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let (state, verifier) = (Arc::clone(&state), Arc::clone(&verifier));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (state, verifier) = (Arc::clone(&state), Arc::clone(&verifier));
                async move { Ok::<_, Infallible>(respond(&state, &verifier, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "embedded store lost a connection");
            }
            drop(place);
        });
    }
}

async fn respond(state: &Arc<State>, verifier: &Verifier, request: Request<Incoming>) -> Answer {
    let request_id = random_id().unwrap_or_default().to_ascii_uppercase();
    let resource = request.uri().path().to_owned();
    let is_head = request.method() == Method::HEAD;
    let mut answer = match admitted(state, verifier, request).await {
        Ok(answer) => answer,
        Err(code) => error(code, &resource, &request_id),
    };
    if is_head && answer.status().is_client_error() {
        *answer.body_mut() = crate::response::ResponseBody::Ready(None);
    }
    if set(&mut answer, "x-amz-request-id", &request_id).is_err() {
        tracing::error!("request id is not a header value");
    }
    answer
}

async fn admitted(
    state: &Arc<State>,
    verifier: &Verifier,
    request: Request<Incoming>,
) -> Result<Answer, ErrorCode> {
    let (parts, incoming) = request.into_parts();
    match head(verifier, &parts) {
        Ok((head, announced)) => ops::answer(state, head, RequestBody { incoming, announced }).await,
        Err(code) => {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(incoming)).await;
            Err(code)
        }
    }
}

fn head(
    verifier: &Verifier,
    parts: &http::request::Parts,
) -> Result<(Head, crate::request::Announced), ErrorCode> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = RequestTarget::parse(target.as_bytes()).map_err(|error| refused_target(&error))?;
    let announced = verifier.verify(&parts.method, &target, &parts.headers)?;
    Ok((
        Head::new(parts.method.clone(), &target, parts.headers.clone())?,
        announced,
    ))
}

/// Reads a body that nobody wants: closing a connection with unread bytes resets it, and the client
/// would lose the answer.
async fn drain(mut incoming: Incoming) {
    let mut got = 0_u64;
    while let Some(Ok(frame)) = incoming.frame().await {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        got = got.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if got > DRAIN_BYTES_MAX {
            return;
        }
    }
}
