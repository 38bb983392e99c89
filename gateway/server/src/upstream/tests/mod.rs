//! Guards: no unfinished body becomes an object, no request acts twice, nothing waits for ever.
//! How: a scripted store on loopback that breaks HTTP on cue.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use sceau_keys::SecretText;
use sceau_s3wire::sigv4::{Presented, RequestHead, SecretAccessKey, VerifyRules, verify};
use sceau_s3wire::target::RequestTarget;

mod control;
mod repeats;
mod server;
mod tls;

use self::server::{Seen, Step, TestServer};
use super::*;

const SECRET: &str = "not-a-real-secret";
const FRAME_BYTES: usize = 64 << 10;

fn config(server: &TestServer) -> StoreConfig {
    let credentials = CredentialSource::Static {
        access_key: "AKTEST".to_owned(),
        secret: SecretText::new(SECRET.to_owned()),
        session_token: None,
    };
    let endpoint = format!("http://{}", server.address).parse().unwrap();
    StoreConfig::new(endpoint, "us-east-1", credentials)
}

fn store(server: &TestServer) -> Store {
    Store::new(config(server)).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn ok(body: &str) -> Step {
    Step::Answer(answer("200 OK", "", body))
}

fn get(key: &str) -> StoreRequest {
    StoreRequest::new(Method::GET).bucket("bucket").key(key)
}

/// What a test stream does after its good frames.
#[derive(Clone, Copy)]
enum Then {
    End,
    Fail,
    Wait,
}

struct TestStream {
    frames: usize,
    /// Time for the first frames to reach the store.
    pause: Pin<Box<tokio::time::Sleep>>,
    then: Then,
    dropped: Arc<AtomicBool>,
}

impl Drop for TestStream {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

impl http_body::Body for TestStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.frames <= 1 {
            std::task::ready!(self.pause.as_mut().poll(cx));
        }
        if self.frames > 0 {
            self.frames -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; FRAME_BYTES])))));
        }
        match self.then {
            Then::End => Poll::Ready(None),
            Then::Fail => Poll::Ready(Some(Err(BodyError::Source))),
            Then::Wait => Poll::Pending,
        }
    }
}

/// A PUT of four frames, of which the source yields `frames`.
fn put(frames: usize, then: Then) -> (StoreRequest, Arc<AtomicBool>) {
    let dropped = Arc::new(AtomicBool::new(false));
    let pause = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
    let stream = TestStream {
        frames,
        pause,
        then,
        dropped: Arc::clone(&dropped),
    };
    let body = StoreBody::Stream {
        length: 4 * FRAME_BYTES as u64,
        body: stream.boxed(),
    };
    (
        StoreRequest::new(Method::PUT)
            .bucket("bucket")
            .key("key")
            .body(body),
        dropped,
    )
}

fn head_of(seen: &Seen) -> (Method, RequestTarget, HeaderMap) {
    let mut words = seen.head.lines().next().unwrap().split(' ');
    let method = words.next().unwrap().parse().unwrap();
    let target = RequestTarget::parse(words.next().unwrap().as_bytes()).unwrap();
    let headers = seen.head.lines().skip(1).map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap())
    });
    (method, target, headers.collect())
}

fn assert_signed(seen: &Seen) {
    let (method, target, headers) = head_of(seen);
    let Ok(Presented::Signed(presented)) = Presented::parse(&target, &headers) else {
        panic!("not signed")
    };
    let head = RequestHead {
        method: &method,
        target: &target,
        headers: &headers,
    };
    let secret = SecretAccessKey::new(SECRET.to_owned());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(
        verify(&head, &presented, &secret, now, &VerifyRules::default()).is_ok(),
        "{}",
        seen.head
    );
}

#[tokio::test]
async fn requests_are_signed_and_framed_by_us_alone() {
    let server = TestServer::start(vec![vec![ok("x"), ok("")], vec![ok("")]]).await;
    let store = store(&server);
    let mut request = get("a/../b/./ü +%2F")
        .query("prefix", "x y+z")
        .query("list-type", "2");
    request.query.push(("acl".to_owned(), None));
    for (name, value) in [
        ("expect", "100-continue"),
        ("accept-encoding", "gzip"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=client"),
        ("x-amz-security-token", "client"),
        ("transfer-encoding", "chunked"),
        ("content-length", "77"),
        ("x-amz-meta-a", "1  2"),
    ] {
        request.headers.insert(name, value.parse().unwrap());
    }
    store.send(request).await.unwrap().collect(10).await.unwrap();
    let post = StoreRequest::new(Method::POST)
        .bucket("bucket")
        .query("delete", "");
    store
        .send(post.body(StoreBody::Bytes("<Delete/>".into())))
        .await
        .unwrap()
        .collect(10)
        .await
        .unwrap();
    let (streamed, _) = put(4, Then::End);
    store.send(streamed).await.unwrap().collect(10).await.unwrap();

    let seen = server.seen(3).await;
    for request in &seen {
        assert_signed(request);
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        assert_eq!(request.header("host"), Some(server.address.to_string().as_str()));
        for name in ["expect", "x-amz-security-token", "transfer-encoding"] {
            assert_eq!(request.header(name), None, "{name}");
        }
    }
    let line = seen[0].head.lines().next().unwrap();
    assert_eq!(
        line,
        "GET /bucket/a/../b/./%C3%BC%20%2B%252F?prefix=x%20y%2Bz&list-type=2&acl HTTP/1.1"
    );
    assert_eq!(seen[0].header("content-length"), None);
    assert_eq!(seen[1].header("content-length"), Some("9"));
    assert_eq!(seen[2].declared(), 4 * FRAME_BYTES);
    assert_eq!(seen[2].body_bytes, 4 * FRAME_BYTES);
    assert_eq!(seen[2].header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_ne!(seen[1].header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
}

#[tokio::test]
async fn an_early_refusal_stops_the_body_and_is_still_readable() {
    let refusal = answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
    let server = TestServer::start(vec![vec![Step::AnswerEarly(refusal)]]).await;
    let (request, dropped) = put(1, Then::Wait);
    let response = store(&server).send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(
        dropped.load(Ordering::SeqCst),
        "the source is let go as soon as the answer is here"
    );
    let (_, body) = response.collect(1000).await.unwrap();
    assert_eq!(
        classify_error(StatusCode::FORBIDDEN, &body),
        UpstreamFault::ClientFault("AccessDenied".into())
    );
    let seen = server.seen(1).await;
    assert_eq!(seen.len(), 1, "the connection is closed, not kept");
    assert!(seen[0].body_bytes < seen[0].declared());
}

#[tokio::test]
async fn a_success_before_the_end_of_the_body_is_not_believed() {
    let server = TestServer::start(vec![vec![Step::AnswerEarly(answer(
        "200 OK",
        "etag: \"x\"\r\n",
        "",
    ))]])
    .await;
    let (request, _) = put(1, Then::Wait);
    let result = store(&server).send(request).await;
    assert!(matches!(result, Err(StoreError::Protocol(_))));
    assert!(server.seen(1).await[0].body_bytes < 4 * FRAME_BYTES);
}

#[tokio::test]
async fn a_failing_or_short_source_never_completes_the_request() {
    for then in [Then::Fail, Then::End] {
        let server = TestServer::start(vec![vec![ok("")]]).await;
        let (request, _) = put(3, then);
        let result = store(&server).send(request).await;
        assert!(matches!(result, Err(StoreError::BodyAborted)));
        let seen = server.seen(1).await;
        assert!(
            seen[0].body_bytes < seen[0].declared(),
            "the store must not see a whole body"
        );
    }
}

#[tokio::test]
async fn a_source_that_is_too_long_never_completes_the_request() {
    let server = TestServer::start(vec![vec![ok("")]]).await;
    let (mut request, _) = put(4, Then::End);
    if let StoreBody::Stream { length, .. } = &mut request.body {
        *length -= 1;
    }
    assert!(matches!(
        store(&server).send(request).await,
        Err(StoreError::BodyAborted)
    ));
    assert!(server.seen(1).await[0].body_bytes < 4 * FRAME_BYTES - 1);
}

#[tokio::test]
async fn a_stream_of_no_bytes_is_asked_for_its_verdict() {
    let server = TestServer::start(vec![vec![ok("")]]).await;
    let (mut request, _) = put(0, Then::Fail);
    if let StoreBody::Stream { length, .. } = &mut request.body {
        *length = 0;
    }
    assert!(matches!(
        store(&server).send(request).await,
        Err(StoreError::BodyAborted)
    ));
}

#[tokio::test]
async fn a_cancelled_upload_is_cut_off() {
    let server = TestServer::start(vec![vec![ok("")]]).await;
    let (request, _) = put(2, Then::Wait);
    let store = store(&server);
    let sending = tokio::time::timeout(Duration::from_millis(100), store.send(request));
    assert!(sending.await.is_err());
    let seen = server.seen(1).await;
    assert!(seen[0].body_bytes < seen[0].declared());
}
