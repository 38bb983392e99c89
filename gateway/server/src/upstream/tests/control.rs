//! Guards: a control object is never overwritten unseen.
//! How: the scripted store answers with every kind of conflict.

use super::*;

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
