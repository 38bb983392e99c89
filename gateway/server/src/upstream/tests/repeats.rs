//! Guards: what is sent again is safe to send again; regions are learnt; waits and answers are bounded.
//! How: the scripted store drops connections, is busy, redirects and goes silent.

use super::*;

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
    let upload = crate::upstream::body::Upload::start(&mut body);
    assert!(upload.give_back(&mut body));
    assert!(matches!(body, StoreBody::Stream { length, .. } if length == 4 * FRAME_BYTES as u64));
    let upload = crate::upstream::body::Upload::start(&mut body);
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
    let chunked = format!(
        "transfer-encoding: chunked\r\n\r\n{:x}\r\n{xml}\r\n0\r\n\r\n",
        xml.len()
    );
    let wrong = Step::Answer(format!("HTTP/1.1 400 Bad Request\r\n{chunked}"));
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
