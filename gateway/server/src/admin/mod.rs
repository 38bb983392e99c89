//! The admin listener: health and metrics for operators and orchestrators.
//!
//! What lives here: three read-only routes and the readiness they report. What must not: anything
//! that changes the gateway, reads its environment or shows keys; the listener has no
//! authentication, so it is bound to a loopback address unless the operator says otherwise.
//! Invariant: `/livez` depends on nothing but this process. Entry: [`serve`].

mod readiness;

use std::convert::Infallible;
use std::sync::Arc;
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

/// Serves `listener` until `stop` turns true.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
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
        tokio::spawn(async move {
            connection(stream, metrics, readiness).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &metrics, &readiness);
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

fn respond<B>(request: &Request<B>, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
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
            "known paths: /livez /readyz /metrics\n".to_owned(),
        ),
    }
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
        let response = respond(&request, &Metrics::new().unwrap(), readiness);
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
