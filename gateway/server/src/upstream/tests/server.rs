//! A store that follows a script, one list of steps per connection.
//!
//! What lives here: raw HTTP over loopback sockets, so that a test can break the protocol at any
//! byte. What must not: knowledge of S3. Invariant: every request that arrives is recorded, also
//! when it is cut off.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longest time a test waits for the server to see something.
const SEEN_WAIT: Duration = Duration::from_secs(5);

/// What the server does with one request.
#[derive(Clone)]
pub(super) enum Step {
    /// Reads head and body, then answers.
    Answer(String),
    /// Answers after the head, then reads until the client is gone.
    AnswerEarly(String),
    /// Reads the head, then closes.
    CloseAfterHead,
    /// Reads head and body, answers, and goes silent with the connection open.
    Silence(String),
}

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body_bytes: usize,
}

impl Seen {
    /// Value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// What `Content-Length` promised.
    pub(super) fn declared(&self) -> usize {
        self.header("content-length")
            .map_or(0, |text| text.parse().unwrap())
    }
}

/// The server; it lives as long as the test's runtime.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl TestServer {
    /// Starts with one script per connection, in the order of arrival; further connections are
    /// closed at once.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut scripts = VecDeque::from(scripts);
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let script = scripts.pop_front().unwrap_or_default();
                tokio::spawn(serve(stream, script, connection, Arc::clone(&log)));
                connection += 1;
            }
        });
        Self { address, seen }
    }

    /// The requests, once there are `count` of them and each has ended.
    pub(super) async fn seen(&self, count: usize) -> Vec<Seen> {
        let deadline = tokio::time::Instant::now() + SEEN_WAIT;
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if seen.len() >= count || tokio::time::Instant::now() > deadline {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, script: Vec<Step>, connection: usize, log: Arc<Mutex<Vec<Seen>>>) {
    for step in script {
        let Some((head, mut body_bytes)) = read_head(&mut stream).await else {
            return;
        };
        let mut seen = Seen {
            connection,
            head,
            body_bytes: 0,
        };
        let record = |mut seen: Seen, body_bytes: usize| {
            seen.body_bytes = body_bytes;
            log.lock().unwrap().push(seen);
        };
        match step {
            Step::CloseAfterHead => return record(seen, body_bytes),
            Step::AnswerEarly(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                body_bytes += read_up_to(&mut stream, usize::MAX).await;
                return record(seen, body_bytes);
            }
            Step::Answer(answer) => {
                let declared = seen.declared();
                body_bytes += read_up_to(&mut stream, declared - body_bytes).await;
                seen.body_bytes = body_bytes;
                record(seen, body_bytes);
                if body_bytes < declared || stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Silence(answer) => {
                let declared = seen.declared();
                body_bytes += read_up_to(&mut stream, declared - body_bytes).await;
                record(seen, body_bytes);
                stream.write_all(answer.as_bytes()).await.unwrap();
                read_up_to(&mut stream, usize::MAX).await;
                return;
            }
        }
    }
}

/// The head as text, and how many body bytes came with it.
async fn read_head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            return Some((head, bytes.len() - end - 4));
        }
    }
}

async fn read_up_to(stream: &mut TcpStream, wanted: usize) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    while total < wanted {
        let most = buffer.len().min(wanted - total);
        match stream.read(&mut buffer[..most]).await {
            Ok(0) | Err(_) => break,
            Ok(count) => total += count,
        }
    }
    total
}
