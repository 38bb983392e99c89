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

use super::testserver::{Seen, Step, TestServer};
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
            Then::Fail => Poll::Ready(Some(Err("checksum mismatch".into()))),
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

#[tokio::test]
async fn a_stale_connection_costs_a_read_nothing() {
    let server = TestServer::start(vec![vec![ok("one"), Step::CloseAfterHead], vec![ok("two")]]).await;
    let store = store(&server);
    assert_eq!(
        store.send(get("a")).await.unwrap().collect(9).await.unwrap().1,
        "one"
    );
    assert_eq!(
        store.send(get("b")).await.unwrap().collect(9).await.unwrap().1,
        "two"
    );
    assert_eq!(server.seen(3).await.len(), 3);
}

#[tokio::test]
async fn a_stream_that_was_begun_is_not_sent_twice() {
    let server = TestServer::start(vec![vec![ok(""), Step::CloseAfterHead], vec![ok("")]]).await;
    let store = store(&server);
    store
        .send(put(4, Then::End).0)
        .await
        .unwrap()
        .collect(0)
        .await
        .unwrap();
    let result = store.send(put(4, Then::End).0.replayable()).await;
    assert!(matches!(result, Err(StoreError::Reset { body_sent: true })));
    assert!(server.seen(2).await.iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn only_an_untouched_stream_can_be_sent_again() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut body = put(4, Then::End).0.body;
    let upload = super::body::Upload::start(&mut body);
    assert!(upload.give_back(&mut body));
    assert!(matches!(body, StoreBody::Stream { length, .. } if length == 4 * FRAME_BYTES as u64));
    let upload = super::body::Upload::start(&mut body);
    assert!(http_body::Body::poll_frame(Pin::new(&mut upload.frames()), &mut cx).is_ready());
    assert!(!upload.give_back(&mut body));
}

#[tokio::test]
async fn a_write_that_is_not_repeatable_is_sent_once() {
    let server = TestServer::start(vec![vec![Step::CloseAfterHead], vec![ok("")]]).await;
    let post = StoreRequest::new(Method::POST)
        .bucket("bucket")
        .key("key")
        .query("uploads", "");
    let result = store(&server).send(post).await;
    assert!(matches!(result, Err(StoreError::Reset { .. })));
    assert_eq!(server.seen(1).await.len(), 1);
}

#[tokio::test]
async fn overload_is_waited_out_for_reads_only() {
    let busy = || {
        Step::Answer(answer(
            "503 Slow Down",
            "",
            "<Error><Code>SlowDown</Code></Error>",
        ))
    };
    let server = TestServer::start(vec![vec![busy()], vec![ok("late")]]).await;
    assert_eq!(
        store(&server)
            .send(get("a"))
            .await
            .unwrap()
            .collect(9)
            .await
            .unwrap()
            .1,
        "late"
    );

    let server = TestServer::start(vec![vec![busy()], vec![ok("late")]]).await;
    let response = store(&server)
        .send(StoreRequest::new(Method::POST).bucket("b"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);

    let server = TestServer::start(vec![vec![busy()], vec![ok("late")]]).await;
    let mut conditional = StoreRequest::new(Method::PUT).bucket("b").key("k").replayable();
    conditional.headers.insert("if-none-match", "*".parse().unwrap());
    let response = store(&server).send(conditional).await.unwrap();
    assert_eq!(
        response.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "a repeated condition could answer 412"
    );
}

#[tokio::test]
async fn attempts_end() {
    let gone = vec![Step::CloseAfterHead];
    let server = TestServer::start(vec![gone.clone(), gone.clone(), gone.clone(), vec![ok("")]]).await;
    assert!(matches!(
        store(&server).send(get("a")).await,
        Err(StoreError::Reset { .. })
    ));
    assert_eq!(server.seen(3).await.len(), 3);
}

#[tokio::test]
async fn a_refused_connection_is_named_and_safe_to_repeat() {
    let server = TestServer::start(vec![]).await;
    let mut config = config(&server);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    config.endpoint = format!("http://{free}").parse().unwrap();
    let error = Store::new(config)
        .unwrap()
        .send(put(4, Then::End).0)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::Connect(ConnectFault::Tcp)));
    assert_eq!(error.retry(), RetrySafety::Safe);
}

#[tokio::test]
async fn a_region_is_learnt_once() {
    let xml = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
    let wrong = Step::Answer(answer("400 Bad Request", "", xml));
    let server = TestServer::start(vec![vec![wrong, ok("1"), ok("2")]]).await;
    let store = store(&server);
    for body in ["1", "2"] {
        assert_eq!(
            store.send(get("a")).await.unwrap().collect(9).await.unwrap().1,
            body
        );
    }
    let seen = server.seen(3).await;
    let signed_for =
        |region: &'static str| move |seen: &Seen| seen.header("authorization").unwrap().contains(region);
    assert!(signed_for("/us-east-1/s3/")(&seen[0]));
    assert!(seen[1..].iter().all(signed_for("/eu-west-1/s3/")));
}

#[tokio::test]
async fn a_redirect_teaches_the_region_but_not_a_foreign_host() {
    let moved = answer("301 Moved Permanently", "x-amz-bucket-region: ap-south-1\r\n", "");
    let away = answer(
        "307 Temporary Redirect",
        "location: http://127.0.0.2:1/bucket/a\r\n",
        "gone",
    );
    let server = TestServer::start(vec![vec![Step::Answer(moved), Step::Answer(away)]]).await;
    let store = store(&server);
    let response = store.send(get("a")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(
        response.collect(9).await.unwrap().1,
        "gone",
        "what was read ahead is still there"
    );
    assert!(
        server.seen(2).await[1]
            .header("authorization")
            .unwrap()
            .contains("/ap-south-1/s3/")
    );
}

#[tokio::test]
async fn a_begun_stream_teaches_the_region_for_the_next_request() {
    let moved = answer("301 Moved Permanently", "x-amz-bucket-region: ap-south-1\r\n", "");
    let server = TestServer::start(vec![vec![Step::AnswerEarly(moved)], vec![ok("")]]).await;
    let store = store(&server);
    let response = store.send(put(1, Then::Wait).0).await.unwrap();
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    drop(response);
    store.send(get("a")).await.unwrap().collect(9).await.unwrap();
    assert!(
        server
            .seen(2)
            .await
            .iter()
            .any(|seen| seen.head.contains("/ap-south-1/s3/"))
    );
}

#[tokio::test]
async fn a_truncated_answer_is_an_error() {
    for head in ["content-length: 10\r\n", "transfer-encoding: chunked\r\n"] {
        let body = if head.starts_with('c') {
            "12345"
        } else {
            "5\r\n12345\r\n"
        };
        let cut = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
        let server = TestServer::start(vec![vec![Step::Answer(cut)]]).await;
        let response = store(&server).send(get("a")).await.unwrap();
        assert!(
            matches!(response.collect(100).await, Err(StoreError::Reset { .. })),
            "{head}"
        );
    }
    let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345".to_owned();
    let server = TestServer::start(vec![vec![Step::Answer(endless)]]).await;
    let result = store(&server).send(get("a")).await;
    assert!(
        matches!(result, Err(StoreError::Protocol(_))),
        "the end of such a body proves nothing"
    );
}

#[tokio::test]
async fn silence_is_bounded() {
    let short = Duration::from_millis(100);
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_owned();
    let server = TestServer::start(vec![
        vec![Step::Silence(half)],
        vec![Step::Silence(String::new())],
    ])
    .await;
    let mut config = config(&server);
    (config.timeouts.idle_read, config.timeouts.response_head) = (short, short);
    let store = Store::new(config).unwrap();
    let response = store.send(get("a")).await.unwrap();
    assert!(matches!(
        response.collect(100).await,
        Err(StoreError::Timeout(Wait::Idle))
    ));
    let post = StoreRequest::new(Method::POST).bucket("bucket").key("a");
    assert!(matches!(
        store.send(post).await,
        Err(StoreError::Timeout(Wait::Head))
    ));
}

#[tokio::test]
async fn a_slow_source_is_not_the_stores_silence() {
    let server = TestServer::start(vec![vec![ok("")]]).await;
    let mut config = config(&server);
    config.timeouts.response_head = Duration::from_millis(50);
    let store = Store::new(config).unwrap();
    let (request, _) = put(1, Then::Wait);
    let sending = tokio::time::timeout(Duration::from_millis(300), store.send(request));
    assert!(sending.await.is_err(), "whoever made the source watches it");
}

#[tokio::test]
async fn answers_larger_than_asked_for_are_refused() {
    let server = TestServer::start(vec![vec![ok("12345")], vec![ok("12345")]]).await;
    let store = store(&server);
    assert!(store.send(get("a")).await.unwrap().collect(5).await.is_ok());
    let refused = store.send(get("a")).await;
    let result = match refused {
        Ok(response) => response.collect(4).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(result, Err(StoreError::TooLarge { limit_bytes: 4 })));
}

#[tokio::test]
async fn a_read_answer_frees_its_connection_slot() {
    let server = TestServer::start(vec![vec![ok("1"), ok(""), ok("3")]]).await;
    let mut config = config(&server);
    config.max_connections = 1;
    let store = Store::new(config).unwrap();
    for _ in 0..3 {
        store.send(get("a")).await.unwrap().collect(9).await.unwrap();
    }
    assert!(server.seen(3).await.iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn control_puts_report_conflicts() {
    let etag = "etag: \"e1\"\r\n";
    let answers = [
        answer("200 OK", etag, ""),
        answer("412 Precondition Failed", "", ""),
        answer("409 Conflict", "", ""),
        answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
        answer("404 Not Found", "", "<Error><Code>NoSuchBucket</Code></Error>"),
        answer("404 Not Found", "", "<Error><Code>NoSuchBucket</Code></Error>"),
    ];
    let server = TestServer::start(vec![answers.map(Step::Answer).to_vec()]).await;
    let control = ControlBucket::new(store(&server), "control");
    let value = Bytes::from_static(b"v");
    let written = control
        .put("k", value.clone(), Condition::IfAbsent)
        .await
        .unwrap();
    assert_eq!(
        written,
        PutOutcome::Written {
            etag: "\"e1\"".into()
        }
    );
    let matching = || Condition::IfMatch("\"e1\"".into());
    assert_eq!(
        control.put("k", value.clone(), matching()).await.unwrap(),
        PutOutcome::Conflict
    );
    assert_eq!(
        control
            .put("k", value.clone(), Condition::IfAbsent)
            .await
            .unwrap(),
        PutOutcome::Conflict
    );
    assert_eq!(
        control.put("k", value.clone(), matching()).await.unwrap(),
        PutOutcome::Conflict
    );
    assert!(matches!(
        control.put("k", value, matching()).await,
        Err(StoreError::Refused { .. })
    ));
    assert!(
        matches!(control.get("k").await, Err(StoreError::Refused { .. })),
        "not an empty bucket"
    );
    let seen = server.seen(6).await;
    assert_eq!(seen[0].header("if-none-match"), Some("*"));
    assert_eq!(seen[1].header("if-match"), Some("\"e1\""));
}

#[tokio::test]
async fn without_native_conditions_a_put_reads_first_and_never_sends_them() {
    let present = answer("200 OK", "etag: \"e1\"\r\n", "old");
    let server = TestServer::start(vec![vec![
        Step::Answer(present.clone()),
        Step::Answer(present.clone()),
        Step::Answer(present),
    ]])
    .await;
    let mut config = config(&server);
    config.capabilities.conditional_writes = false;
    let control = ControlBucket::new(Store::new(config).unwrap(), "control");
    let value = Bytes::from_static(b"v");
    assert_eq!(
        control
            .put("k", value.clone(), Condition::IfAbsent)
            .await
            .unwrap(),
        PutOutcome::Conflict
    );
    let matching = Condition::IfMatch("\"e1\"".into());
    assert!(matches!(
        control.put("k", value, matching).await.unwrap(),
        PutOutcome::Written { .. }
    ));
    let seen = server.seen(3).await;
    assert!(seen[2].head.starts_with("PUT ") && seen[2].header("if-match").is_none());
}

/// A certificate for localhost made with the openssl tool; `None` when the tool is missing.
fn certificate(folder: &std::path::Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    std::fs::create_dir_all(folder).ok()?;
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .ok()?;
    made.status.success().then_some((key, cert))
}

/// Accepts one TLS connection and answers one request.
async fn tls_server(key: &std::path::Path, cert: &std::path::Path) -> std::net::SocketAddr {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.clone()));
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let group = stream
                .get_ref()
                .1
                .negotiated_key_exchange_group()
                .map(|group| group.name());
            let _ = stream.read(&mut [0; 4096]).await;
            let text = answer("200 OK", "", &format!("{group:?}"));
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_tls_store_is_trusted_by_its_certificate_only() {
    let folder = std::env::temp_dir().join(format!("sceau-upstream-tls-{}", std::process::id()));
    let Some((key, cert)) = certificate(&folder) else {
        println!("skipped: no openssl tool");
        return;
    };
    let address = tls_server(&key, &cert).await;
    let server = TestServer::start(vec![]).await;
    let send = async |host: &str, ca_file: Option<&std::path::Path>| {
        let mut config = config(&server);
        config.endpoint = format!("https://{host}:{}", address.port()).parse().unwrap();
        config.ca_file = ca_file.map(std::path::Path::to_path_buf);
        Store::new(config).unwrap().send(get("a")).await
    };
    let (_, body) = send("localhost", Some(&cert))
        .await
        .unwrap()
        .collect(100)
        .await
        .unwrap();
    assert_eq!(body, "Some(X25519MLKEM768)");
    let wrong_name = send("127.0.0.1", Some(&cert)).await;
    assert!(matches!(wrong_name, Err(StoreError::Connect(ConnectFault::Tls))));
    let _ = certificate(&folder.join("other"));
    let untrusted = send("localhost", Some(&folder.join("other/cert.pem"))).await;
    assert!(matches!(untrusted, Err(StoreError::Connect(ConnectFault::Tls))));
    std::fs::remove_dir_all(folder).unwrap();
}
