//! The provider on a real moto server: `SCEAU_MOTO` names the program (`moto_server`), else the test says that it
//! skips. Between the two is a proxy that can hold, refuse and change answers, because moto is always quick, never
//! throttles, and lets a disabled key decrypt.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and its threads are its own"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, Wrap, WrapContext};
use sceau_kms::{HealthState, KeyError, KeyProvider as _, KeyState, Probe, Reason, Residency, conformance};
use sceau_kms_aws::{AwsKmsConfig, AwsKmsProvider, CredentialLender, KeyName};
use sceau_s3wire::sigv4::{Credentials, SecretAccessKey};

/// Ample: no test waits for it to pass.
const TIME: Duration = Duration::from_secs(20);
const REGION: &str = "eu-west-3";
const SYMMETRIC: &str = "{\"KeyUsage\":\"ENCRYPT_DECRYPT\",\"MultiRegion\":false}";

/// What the proxy does with requests.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mode {
    Pass,
    /// Never answers.
    Hold,
    /// Decrypt is throttled.
    Throttle,
    /// The next Decrypt fails at the service, later ones pass.
    FailOnce,
    /// Every Decrypt fails at the service.
    Fail,
    /// Decrypt answers with another key's name.
    OtherKey,
    /// The credentials are refused.
    Refuse,
}

struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
    /// Targets asked for, in order.
    seen: Arc<Mutex<Vec<String>>>,
    failed: Arc<AtomicU32>,
}

fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(bytes);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn target(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let (_, rest) = text.split_once("TrentService.").unwrap();
    rest.lines().next().unwrap().to_owned()
}

fn forward(request: &[u8], port: u16) -> Vec<u8> {
    let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", port)) else {
        return Vec::new();
    };
    // One request for each connection.
    let text = String::from_utf8_lossy(request).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    upstream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = upstream.read_to_end(&mut answer);
    answer
}

fn error(status: &str, name: &str) -> Vec<u8> {
    let body = format!("{{\"__type\":\"{name}\",\"message\":\"m\"}}");
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

impl Proxy {
    fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::new(AtomicU8::new(Mode::Pass as u8)),
            seen: Arc::default(),
            failed: Arc::default(),
        };
        let (mode, seen, failed) = (
            Arc::clone(&proxy.mode),
            Arc::clone(&proxy.seen),
            Arc::clone(&proxy.failed),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mode, seen, failed) = (Arc::clone(&mode), Arc::clone(&seen), Arc::clone(&failed));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = request(&mut stream) else {
                        return;
                    };
                    let target = target(&request);
                    seen.lock().unwrap().push(target.clone());
                    let is_decrypt = target == "Decrypt";
                    let mode = mode.load(Ordering::SeqCst);
                    let answer = match mode {
                        mode if mode == Mode::Hold as u8 => {
                            std::thread::sleep(Duration::from_secs(600));
                            return;
                        }
                        mode if mode == Mode::Refuse as u8 => {
                            error("400 Bad Request", "UnrecognizedClientException")
                        }
                        mode if is_decrypt && mode == Mode::Throttle as u8 => {
                            error("400 Bad Request", "ThrottlingException")
                        }
                        mode if is_decrypt && mode == Mode::Fail as u8 => {
                            error("500 Internal", "KMSInternalException")
                        }
                        mode if is_decrypt
                            && mode == Mode::FailOnce as u8
                            && failed.fetch_add(1, Ordering::SeqCst) == 0 =>
                        {
                            error("500 Internal", "KMSInternalException")
                        }
                        mode if is_decrypt && mode == Mode::OtherKey as u8 => {
                            let answer = String::from_utf8(forward(&request, upstream)).unwrap();
                            answer.replace(":key/", ":kez/").into_bytes()
                        }
                        _ => forward(&request, upstream),
                    };
                    let _ = stream.write_all(&answer);
                });
            }
        });
        proxy
    }

    fn set(&self, mode: Mode) {
        self.failed.store(0, Ordering::SeqCst);
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

struct Moto {
    child: Child,
    port: u16,
    proxy: Proxy,
}

impl Moto {
    fn start() -> Option<Self> {
        let Ok(binary) = std::env::var("SCEAU_MOTO") else {
            eprintln!("skipped: SCEAU_MOTO does not name the program moto_server");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(&binary)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self {
            child,
            port,
            proxy: Proxy::start(port),
        };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(moto)
    }

    /// An administrator's call; moto asks for no signature.
    fn admin(&self, action: &str, body: &str) -> serde_json::Value {
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: kms.{REGION}.amazonaws.com\r\nconnection: close\r\nx-amz-target: TrentService.{action}\r\n\
             content-type: application/x-amz-json-1.1\r\nauthorization: AWS4-HMAC-SHA256 Credential=A/20260101/{REGION}/kms/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{action}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Id and ARN of a new key.
    fn key(&self, how: &str) -> (String, String) {
        let made = self.admin("CreateKey", how);
        let text = |name: &str| made["KeyMetadata"][name].as_str().unwrap().to_owned();
        (text("KeyId"), text("Arn"))
    }

    async fn provider(&self, key: &str) -> Result<AwsKmsProvider, KeyError> {
        let config = AwsKmsConfig {
            endpoint: format!("http://127.0.0.1:{}", self.proxy.port).parse().unwrap(),
            ca_file: None,
            region: REGION.to_owned(),
            key: KeyName::parse(key).unwrap(),
            connect_timeout: TIME,
            timeout: TIME,
        };
        AwsKmsProvider::connect(
            config,
            Arc::new(Lender(SecretAccessKey::new("secret".to_owned()))),
        )
        .await
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Lender(SecretAccessKey);

impl CredentialLender for Lender {
    fn lend(&self, borrower: &mut dyn FnMut(Credentials<'_>)) {
        borrower(Credentials {
            access_key: "AKIDEXAMPLE",
            secret: &self.0,
            session_token: Some("session"),
            cache: None,
        });
    }
}

fn context() -> WrapContext {
    WrapContext {
        krid: Krid([1; 16]),
        tenant: TenantId([2; 16]),
        bucket: BucketId([3; 16]),
        epoch: 1,
    }
}

async fn read(provider: &AwsKmsProvider, wrap: &Wrap) -> Result<SecretKey, KeyError> {
    provider.unwrap(wrap, &context(), Reason::Health, TIME).await
}

async fn write(provider: &AwsKmsProvider, key: &SecretKey) -> Result<Wrap, KeyError> {
    provider.wrap(key, &context(), Reason::Health, TIME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_service_conforms() {
    let Some(moto) = Moto::start() else { return };
    let (id, arn) = moto.key(SYMMETRIC);
    let provider = Arc::new(moto.provider(&arn).await.unwrap());
    assert_eq!(provider.info().residency, Residency::RemoteKms);
    assert_eq!(provider.info().key_label, id);
    // What is stored beside the data does not tell the account.
    assert_eq!(provider.info().instance, "aws-kms/eu-west-3");
    eprintln!(
        "{:?}",
        conformance::run(Arc::clone(&provider) as _).await.unwrap()
    );
    let asked = moto.proxy.seen();
    let allowed = ["DescribeKey", "Encrypt", "Decrypt", "GenerateRandom"];
    assert!(
        asked.iter().all(|target| allowed.contains(&target.as_str())),
        "no other action is needed"
    );

    // By its id, too; and another key is no substitute, whatever its wrap is named after.
    let key = SecretKey::new([7; 32]);
    let wrap = write(&provider, &key).await.unwrap();
    assert!(
        read(&moto.provider(&id).await.unwrap(), &wrap)
            .await
            .unwrap()
            .ct_eq(&key)
    );
    let (_, other) = moto.key(SYMMETRIC);
    let other = moto.provider(&other).await.unwrap();
    assert_eq!(read(&other, &wrap).await.err(), Some(KeyError::KeyNotFound));
    let renamed = Wrap {
        key_label: other.info().key_label.clone(),
        ..wrap
    };
    assert_eq!(
        read(&other, &renamed).await.err(),
        Some(KeyError::InvalidCiphertext)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_of_a_key_are_obeyed_although_the_service_does_not() {
    let Some(moto) = Moto::start() else { return };
    let absent = format!("arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000");
    assert!(matches!(moto.provider(&absent).await, Err(KeyError::KeyNotFound)));
    let (_, signing) = moto.key("{\"KeyUsage\":\"SIGN_VERIFY\",\"KeySpec\":\"ECC_NIST_P256\"}");
    assert!(matches!(
        moto.provider(&signing).await,
        Err(KeyError::Misconfigured { .. })
    ));

    let (id, arn) = moto.key(SYMMETRIC);
    let provider = moto.provider(&arn).await.unwrap();
    let key = SecretKey::new([7; 32]);
    let wrap = write(&provider, &key).await.unwrap();
    let name = format!("{{\"KeyId\":\"{id}\"}}");
    moto.admin("DisableKey", &name);
    assert_eq!(read(&provider, &wrap).await.err(), Some(KeyError::KeyNotUsable));
    assert_eq!(write(&provider, &key).await.err(), Some(KeyError::KeyNotUsable));
    assert_eq!(provider.describe().await.unwrap().state, KeyState::Disabled);
    for probe in [Probe::Shallow, Probe::Canary] {
        let health = provider.health(probe).await;
        assert_eq!(health.error, Some(KeyError::KeyNotUsable));
        assert_eq!(health.state, HealthState::Recovering);
    }
    assert!(
        matches!(moto.provider(&arn).await, Err(KeyError::KeyNotUsable)),
        "no start with it"
    );
    moto.admin("EnableKey", &name);
    assert!(read(&provider, &wrap).await.unwrap().ct_eq(&key));
    moto.admin(
        "ScheduleKeyDeletion",
        &format!("{{\"KeyId\":\"{id}\",\"PendingWindowInDays\":7}}"),
    );
    assert_eq!(read(&provider, &wrap).await.err(), Some(KeyError::KeyNotUsable));
    moto.admin("CancelKeyDeletion", &name);
    moto.admin("EnableKey", &name);
    assert!(read(&provider, &wrap).await.unwrap().ct_eq(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_the_service_are_told_from_altered_wraps() {
    let Some(mut moto) = Moto::start() else { return };
    let (_, arn) = moto.key(SYMMETRIC);
    let provider = moto.provider(&arn).await.unwrap();
    let key = SecretKey::new([7; 32]);
    let wrap = write(&provider, &key).await.unwrap();
    let mut altered = wrap.clone();
    altered.blob[0] ^= 0x80;

    moto.proxy.set(Mode::Throttle);
    assert_eq!(read(&provider, &wrap).await.err(), Some(KeyError::Throttled));
    assert!(KeyError::Throttled.is_retryable());
    moto.proxy.set(Mode::FailOnce);
    assert!(
        read(&provider, &wrap).await.unwrap().ct_eq(&key),
        "tried again after the canary"
    );
    moto.proxy.set(Mode::Fail);
    assert!(matches!(
        read(&provider, &wrap).await.err(),
        Some(KeyError::Unavailable { .. })
    ));
    moto.proxy.set(Mode::OtherKey);
    assert_eq!(
        read(&provider, &wrap).await.err(),
        Some(KeyError::InvalidCiphertext)
    );
    moto.proxy.set(Mode::Refuse);
    assert!(matches!(
        read(&provider, &altered).await.err(),
        Some(KeyError::NeedsOperator { .. })
    ));
    assert_eq!(provider.health(Probe::Canary).await.state, HealthState::Down);
    moto.proxy.set(Mode::Pass);
    assert_eq!(
        read(&provider, &altered).await.err(),
        Some(KeyError::InvalidCiphertext)
    );
    assert_eq!(provider.health(Probe::Canary).await.state, HealthState::Ready);

    // A service that never answers: within the deadline, and right again when it does.
    moto.proxy.set(Mode::Hold);
    let brief = Duration::from_millis(300);
    let start = Instant::now();
    let held = provider.unwrap(&wrap, &context(), Reason::Health, brief).await;
    assert_eq!(held.err(), Some(KeyError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(10));
    moto.proxy.set(Mode::Pass);
    assert!(read(&provider, &wrap).await.unwrap().ct_eq(&key));

    // Stopped.
    let _ = moto.child.kill();
    let _ = moto.child.wait();
    assert!(matches!(
        read(&provider, &wrap).await.err(),
        Some(KeyError::Unavailable { .. } | KeyError::Timeout)
    ));
}
