//! The admin listener: health and metrics for operators and orchestrators, and the drop of all keys.
//!
//! What lives here: three read-only routes, the readiness they report, and `POST /keys/drop`. What must
//! not: anything else that changes the gateway, reads its environment or shows keys; the listener has no
//! authentication, so it is bound to a loopback address unless the operator says otherwise. Who reaches
//! it can make the gateway unwrap its keys again and no more; a browser's page cannot, see `is_page`.
//! Invariant: `/livez` depends on nothing but this process. Entry: [`serve`].

mod readiness;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub use readiness::{Component, Readiness, State};

use crate::telemetry::Metrics;

/// Connections served at once: some probes and a few scrapers.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take to send a request head.
const HEADER_READ_WAIT: Duration = Duration::from_secs(5);

/// How long a connection may live; scrapers connect again.
const CONNECTION_WAIT: Duration = Duration::from_secs(120);

/// Most header fields in one request.
const HEADERS_MAX: usize = 50;

/// Largest request head in bytes; hyper's least.
const HEAD_BYTES_MAX: usize = 8192;

/// Drops all unwrapped keys and answers how many there were; empty until the keyring is open.
pub type KeyDrop = Arc<OnceLock<Box<dyn Fn() -> usize + Send + Sync>>>;

/// Serves `listener` until `stop` turns true.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    key_drop: KeyDrop,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Beyond the limit the connection is closed at once: a probe must not wait behind others.
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            continue;
        };
        let (metrics, readiness) = (Arc::clone(&metrics), Arc::clone(&readiness));
        let key_drop = Arc::clone(&key_drop);
        tokio::spawn(async move {
            connection(stream, metrics, readiness, key_drop).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>, readiness: Arc<Readiness>, key_drop: KeyDrop) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &metrics, &readiness, &key_drop);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    // A broken or slow admin connection concerns nobody else.
    let _ = tokio::time::timeout(CONNECTION_WAIT, connection).await;
}

const TEXT: &str = "text/plain; charset=utf-8";

fn respond<B>(
    request: &Request<B>,
    metrics: &Metrics,
    readiness: &Readiness,
    key_drop: &KeyDrop,
) -> Response<Full<Bytes>> {
    if request.uri().path() == "/keys/drop" {
        return drop_keys(request, key_drop);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = answer(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => answer(StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/readyz" => {
            let is_verbose = request
                .uri()
                .query()
                .is_some_and(|query| query.split('&').any(|part| part == "verbose"));
            let status = if readiness.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            answer(status, TEXT, readiness.report(is_verbose))
        }
        "/metrics" => answer(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics.render(),
        ),
        _ => answer(
            StatusCode::NOT_FOUND,
            TEXT,
            "known paths: /livez /readyz /metrics, POST /keys/drop\n".to_owned(),
        ),
    }
}

fn drop_keys<B>(request: &Request<B>, key_drop: &KeyDrop) -> Response<Full<Bytes>> {
    if *request.method() != Method::POST {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only POST\n".to_owned());
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if is_page(request) {
        return answer(StatusCode::FORBIDDEN, TEXT, "not from a web page\n".to_owned());
    }
    match key_drop.get() {
        Some(drop_keys) => answer(
            StatusCode::OK,
            TEXT,
            format!("dropped, {} keys were held\n", drop_keys()),
        ),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            "starting: no key is held yet\n".to_owned(),
        ),
    }
}

/// Whether a browser sends this for a page: any page may send a POST to a loopback address, and browsers
/// say so with these headers.
fn is_page<B>(request: &Request<B>) -> bool {
    ["origin", "referer", "sec-fetch-site"]
        .iter()
        .any(|name| request.headers().contains_key(*name))
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn ask(method: &str, uri: &str, readiness: &Readiness) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let response = respond(&request, &Metrics::new().unwrap(), readiness, &KeyDrop::default());
        let status = response.status();
        let body = format!("{:?}", response.into_body());
        (status, body)
    }

    #[test]
    fn alive_does_not_depend_on_keys_or_store() {
        let readiness = Readiness::new(Duration::ZERO);
        readiness.set(Component::Store, State::Failing("no route".to_owned()));
        assert_eq!(ask("GET", "/livez", &readiness).0, StatusCode::OK);
        let (status, body) = ask("GET", "/readyz?verbose", &readiness);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("no route"), "{body}");
    }

    #[test]
    fn nothing_can_be_changed_and_unknown_paths_are_refused() {
        let readiness = Readiness::new(Duration::ZERO);
        assert_eq!(
            ask("POST", "/metrics", &readiness).0,
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(ask("GET", "/debug/pprof", &readiness).0, StatusCode::NOT_FOUND);
        assert!(ask("GET", "/metrics", &readiness).1.contains("sceau_build_info"));
    }

    #[test]
    fn keys_are_dropped_by_a_post_that_no_page_sent() {
        let readiness = Readiness::new(Duration::ZERO);
        let drops = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let key_drop = KeyDrop::default();
        let ask = |method: &str, header: Option<&str>| {
            let mut request = Request::builder().method(method).uri("/keys/drop");
            if let Some(name) = header {
                request = request.header(name, "http://127.0.0.1:9001");
            }
            let request = request.body(()).unwrap();
            respond(&request, &Metrics::new().unwrap(), &readiness, &key_drop).status()
        };
        assert_eq!(ask("POST", None), StatusCode::SERVICE_UNAVAILABLE);
        let counted = Arc::clone(&drops);
        let counting = move || counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        assert!(key_drop.set(Box::new(counting)).is_ok());
        assert_eq!(ask("GET", None), StatusCode::METHOD_NOT_ALLOWED);
        for header in ["Origin", "Referer", "Sec-Fetch-Site"] {
            assert_eq!(ask("POST", Some(header)), StatusCode::FORBIDDEN);
        }
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 0);
        assert_eq!(ask("POST", None), StatusCode::OK);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_listener_answers_and_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new().unwrap());
        let server = tokio::spawn(serve(
            listener,
            metrics,
            Arc::new(Readiness::new(Duration::ZERO)),
            KeyDrop::default(),
            stopped,
        ));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("alive\n"),
            "{text}"
        );
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), server)
            .await
            .unwrap()
            .unwrap();
    }
}
