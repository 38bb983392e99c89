//! The tool against an endpoint that can misbehave.
//!
//! What lives here: what a user may rely on, the exit code and what is in the bucket afterwards. What must
//! not: numbers. Invariant: the endpoint keeps every path it was ever asked for.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failure here is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// One bit of the last byte of every read is wrong.
    Flip,
    /// Reads lack their last byte, with a length that agrees.
    Cut,
    /// Reads of the object that was stored first.
    Swap,
    /// Every read is refused.
    Refuse,
    /// Writes answer with a version.
    Versions,
    /// Deletes are refused.
    Keep,
}

struct Endpoint {
    fault: Fault,
    objects: Mutex<BTreeMap<String, Bytes>>,
    asked: Mutex<BTreeSet<String>>,
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let key = request.uri().path().to_owned();
        self.asked.lock().unwrap().insert(key.clone());
        let method = request.method().clone();
        let has_length = request.headers().contains_key("content-length");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut objects = self.objects.lock().unwrap();
        let answer = Response::builder();
        let refused = "<Error><Code>SlowDown</Code><Message>m</Message></Error>";
        let reply = match (method, self.fault) {
            (Method::PUT, _) if !has_length => answer.status(411).body(Bytes::new()),
            (Method::PUT, Fault::Versions) => answer.header("x-amz-version-id", "v1").body(Bytes::new()),
            (Method::PUT, _) => {
                objects.insert(key, body);
                answer.body(Bytes::new())
            }
            (Method::DELETE, Fault::Keep) if !key.ends_with("probe") => {
                answer.status(503).body(refused.into())
            }
            (Method::DELETE, _) => {
                objects.remove(&key);
                answer.status(204).body(Bytes::new())
            }
            (_, Fault::Refuse) => answer.status(503).body(refused.into()),
            (_, Fault::Swap) => answer.body(objects.values().nth(1).cloned().unwrap()),
            (_, fault) => {
                let mut body = objects.get(&key).unwrap().to_vec();
                let last = body.len().saturating_sub(1);
                match fault {
                    Fault::Flip => body[last] ^= 1,
                    Fault::Cut => body.truncate(last),
                    _ => {}
                }
                answer.body(Bytes::from(body))
            }
        };
        reply.unwrap().map(Full::new)
    }
}

/// Runs the tool; gives its output, the keys that are left and all paths it ever named.
async fn run(fault: Fault, line: &str) -> (Output, Vec<String>, BTreeSet<String>) {
    let endpoint = Arc::new(Endpoint {
        fault,
        objects: Mutex::new(BTreeMap::from([(
            "/bkt/foreign".to_owned(),
            Bytes::from("foreign"),
        )])),
        asked: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::clone(&endpoint);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let endpoint = Arc::clone(&shared);
            let service = service_fn(move |request| {
                let endpoint = Arc::clone(&endpoint);
                async move { Ok::<_, std::convert::Infallible>(endpoint.answer(request).await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_sceau-bench"));
    command
        .args(line.split_whitespace())
        .args(["--endpoint", &url, "--bucket", "bkt"]);
    command
        .env("AWS_ACCESS_KEY_ID", "AK")
        .env("AWS_SECRET_ACCESS_KEY", "SK");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let left = endpoint.objects.lock().unwrap().keys().cloned().collect();
    let asked = endpoint.asked.lock().unwrap().clone();
    (output, left, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_endpoint_passes_and_only_foreign_objects_are_left() {
    for line in [
        "run put --size 0,1KiB,100KiB --requests 50 --objects 3",
        "run get --size 0,1KiB,100KiB --requests 50 --objects 3 --mode signed",
        "run mixed --size 1KiB --duration 300ms --objects 3",
    ] {
        let (output, left, asked) = run(Fault::None, line).await;
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert_eq!(left, ["/bkt/foreign"], "{line}");
        assert!(
            asked.len() > 3 && asked.iter().all(|path| path.starts_with("/bkt/sceau-bench/")),
            "{asked:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_fail_the_run_and_are_still_cleaned_up() {
    for (fault, kind) in [
        (Fault::Flip, "content differs"),
        (Fault::Cut, "length differs"),
        (Fault::Swap, "content differs"),
        (Fault::Refuse, "503 SlowDown"),
    ] {
        let (output, left, _) = run(
            fault,
            "run get --size 1000 --requests 9 --objects 4 --output json",
        )
        .await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            report["endpoints"][0]["errors"][kind].as_u64() > Some(0),
            "{report}"
        );
        assert_eq!(
            report["endpoints"][0]["corrupt"].as_u64() > Some(0),
            fault != Fault::Refuse,
            "{report}"
        );
        assert_eq!(left, ["/bkt/foreign"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versions_is_refused_after_one_write() {
    let (output, _, asked) = run(Fault::Versions, "run put --requests 5").await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_left_behind_fail_the_run_and_are_named() {
    let (output, left, _) = run(Fault::Keep, "run put --size 10 --requests 5 --objects 2").await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("2 objects are left behind below sceau-bench/"),
        "{text}"
    );
    assert_eq!(left.len(), 3);
}
