//! The provider on a real PyKMIP: `SCEAU_PYKMIP` names a Python interpreter that has it (`tests/requirements-kmip.txt`),
//! else the tests say that they skip.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and its start has the thread to itself"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    Health, HealthState, KeyError, KeyProvider, KeyState, Probe, Reason, Residency, conformance,
};
use sceau_kms_kmip::{KmipConfig, KmipProvider, Version};

const TIME: Duration = Duration::from_secs(10);
const KEY: [u8; 32] = [7; 32];
const BOTH: [&str; 2] = ["ENCRYPT", "DECRYPT"];

struct Kmip {
    python: String,
    child: Child,
    port: u16,
    room: PathBuf,
    modes: Vec<&'static str>,
}

fn tool(python: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/harness/kmip_server.py");
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]).arg(script);
    command
}

impl Kmip {
    fn start(name: &str, modes: &[&'static str]) -> Option<Self> {
        let Ok(python) = std::env::var("SCEAU_PYKMIP") else {
            eprintln!("skipped: SCEAU_PYKMIP does not name a Python interpreter with PyKMIP");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let room = std::env::temp_dir().join(format!("sceau-kmip-{name}-{}", std::process::id()));
        let made = tool(&python).arg("certificates").arg(&room).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let modes = modes.to_vec();
        let child = Self::spawn(&python, &room, port, &modes);
        let server = Self {
            python,
            child,
            port,
            room,
            modes,
        };
        server.wait();
        Some(server)
    }

    fn spawn(python: &str, room: &Path, port: u16, modes: &[&str]) -> Child {
        let log = fs::File::create(room.join("output")).unwrap();
        tool(python)
            .arg("serve")
            .arg(room)
            .arg(port.to_string())
            .args(modes)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.room.join("output")).unwrap_or_default();
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "PyKMIP did not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self) {
        self.stop();
        self.child = Self::spawn(&self.python, &self.room, self.port, &self.modes);
        self.wait();
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    fn act(&self, arguments: &[&str]) -> String {
        let done = tool(&self.python)
            .arg("do")
            .arg(&self.room)
            .arg(self.port.to_string())
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// An active key; its identifier.
    fn key(&self, name: &str, masks: &[&str]) -> String {
        let id = self.act(&[&["create", name], masks].concat());
        self.act(&["activate", &id]);
        id
    }

    fn config(&self, key: &str) -> KmipConfig {
        KmipConfig {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            ca_file: self.room.join("ca.pem"),
            cert_file: self.room.join("gateway.pem"),
            key_file: self.room.join("gateway.key"),
            key_label: key.to_owned(),
            key_id: None,
            key_version: 1,
            protocol_max: None,
            connections: 8,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
        }
    }

    async fn provider(&self, key: &str) -> Result<KmipProvider, KeyError> {
        KmipProvider::connect(self.config(key), WrapScheme::KmipGcm).await
    }

    /// As `who`, whose certificate and key are in the folder.
    async fn provider_as(&self, who: &str) -> Result<KmipProvider, KeyError> {
        let config = KmipConfig {
            cert_file: self.room.join(format!("{who}.pem")),
            key_file: self.room.join(format!("{who}.key")),
            ..self.config("kek")
        };
        KmipProvider::connect(config, WrapScheme::KmipGcm).await
    }

    /// The key that is in `wrap` by docs/format/ section 9.1, without this project's code.
    fn unwrapped(&self, id: &str, wrap: &Wrap) -> String {
        let context = hex(&context().to_bytes());
        self.act(&[
            "unwrap",
            id,
            wrap.scheme.name(),
            &hex(&wrap.iv),
            &context,
            &hex(&wrap.blob),
        ])
    }
}

impl Drop for Kmip {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.room);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn context() -> WrapContext {
    WrapContext {
        krid: Krid([1; 16]),
        tenant: TenantId([2; 16]),
        bucket: BucketId([3; 16]),
        epoch: 1,
    }
}

async fn wrapped(provider: &KmipProvider) -> Result<Wrap, KeyError> {
    let key = SecretKey::new(KEY);
    provider.wrap(&key, &context(), Reason::Health, TIME).await
}

/// Whether the wrap opens, and holds the key.
async fn read_within(provider: &KmipProvider, wrap: &Wrap, time: Duration) -> Result<(), KeyError> {
    let key = provider.unwrap(wrap, &context(), Reason::Health, time).await?;
    assert!(key.ct_eq(&SecretKey::new(KEY)), "another key");
    Ok(())
}

async fn read(provider: &KmipProvider, wrap: &Wrap) -> Result<(), KeyError> {
    read_within(provider, wrap, TIME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kmip_key_conforms_by_each_scheme() {
    let Some(kmip) = Kmip::start("conforms", &[]) else {
        return;
    };
    assert_eq!(kmip.provider("kek").await.err(), Some(KeyError::KeyNotFound));
    let id = kmip.key("kek", &BOTH);
    for (protocol, scheme) in [
        ("2.0", WrapScheme::KmipGcm),
        ("1.4", WrapScheme::KmipGcm),
        ("1.3", WrapScheme::AesCbcKdf),
    ] {
        let config = KmipConfig {
            protocol_max: Version::parse(protocol),
            ..kmip.config("kek")
        };
        let enrolment = KmipProvider::enrol(config.clone(), None).await.unwrap();
        assert_eq!(
            (enrolment.scheme, enrolment.protocol.as_str()),
            (scheme, protocol)
        );
        assert_eq!(enrolment.key_id, id);
        let provider = Arc::new(KmipProvider::connect(config, scheme).await.unwrap());
        // PyKMIP does not say that the key cannot be taken out, and it can.
        assert_eq!(provider.info().residency, Residency::RemoteKmsExportable);
        let passed = conformance::run(Arc::clone(&provider) as _).await.unwrap();
        eprintln!("KMIP {protocol}, {}: {passed:?}", scheme.name());
        let wrap = wrapped(&provider).await.unwrap();
        assert_eq!(kmip.unwrapped(&id, &wrap), hex(&KEY));
        let status = provider.describe().await.unwrap();
        assert!(
            status.location.contains("PyKMIP") && status.location.contains("active"),
            "{}",
            status.location
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aes_cbc_derives_only_where_a_trial_shows_no_aes_gcm() {
    let cases = [
        ("ignore-aad", "in another context"),
        ("no-gcm", "Encrypt is refused"),
    ];
    for (mode, refusal) in cases {
        let Some(mut kmip) = Kmip::start(mode, &[mode]) else {
            return;
        };
        kmip.key("kek", &BOTH);
        let enrolment = KmipProvider::enrol(kmip.config("kek"), None).await.unwrap();
        assert_eq!(enrolment.scheme, WrapScheme::AesCbcKdf);
        let first = enrolment.trials.first().unwrap();
        assert!(first.refusal.as_ref().unwrap().contains(refusal), "{first:?}");
        // The enrolled scheme is the only one: a start falls through to no other.
        let gcm = kmip.provider("kek").await;
        assert!(matches!(gcm.err(), Some(KeyError::Misconfigured { .. })));
        // An outage is no such trial.
        kmip.stop();
        let out = KmipProvider::enrol(kmip.config("kek"), None).await;
        assert!(matches!(out.err(), Some(KeyError::Unavailable { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_active_key_is_used_whatever_the_server_does() {
    let Some(kmip) = Kmip::start("states", &["lenient"]) else {
        return;
    };
    let early = kmip.act(&["create", "early", "ENCRYPT", "DECRYPT"]);
    assert_eq!(kmip.provider("early").await.err(), Some(KeyError::KeyNotUsable));
    kmip.act(&["activate", &early]);
    assert!(kmip.provider("early").await.is_ok());

    for reason in ["KEY_COMPROMISE", "CESSATION_OF_OPERATION"] {
        let id = kmip.key(reason, &BOTH);
        let provider = kmip.provider(reason).await.unwrap();
        let wrap = wrapped(&provider).await.unwrap();
        read(&provider, &wrap).await.unwrap();
        kmip.act(&["revoke", &id, reason]);
        // The server goes on; we do not.
        kmip.act(&["decrypts", &id]);
        assert_eq!(read(&provider, &wrap).await, Err(KeyError::KeyNotUsable));
        assert_eq!(wrapped(&provider).await.err(), Some(KeyError::KeyNotUsable));
        assert_eq!(provider.describe().await.unwrap().state, KeyState::Disabled);
        for probe in [Probe::Shallow, Probe::Canary] {
            let health: Health = provider.health(probe).await;
            assert_eq!(
                (health.state, health.error),
                (HealthState::Recovering, Some(KeyError::KeyNotUsable))
            );
        }
        assert_eq!(kmip.provider(reason).await.err(), Some(KeyError::KeyNotUsable));
        kmip.act(&["destroy", &id]);
        assert_eq!(read(&provider, &wrap).await, Err(KeyError::KeyNotFound));
        // Another key of that name is not taken for it.
        kmip.key(reason, &BOTH);
        assert_eq!(read(&provider, &wrap).await, Err(KeyError::KeyNotFound));
        let other = kmip.provider(reason).await.unwrap();
        assert_eq!(read(&other, &wrap).await, Err(KeyError::InvalidCiphertext));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_are_told_in_time_and_end() {
    let Some(mut kmip) = Kmip::start("outages", &[]) else {
        return;
    };
    kmip.key("kek", &BOTH);
    let provider = kmip.provider("kek").await.unwrap();
    let wrap = wrapped(&provider).await.unwrap();

    // Restarted: the pool's connections are dead, and nobody notices.
    kmip.restart();
    read(&provider, &wrap).await.unwrap();

    // Black-holed: what is sent is taken, and nothing comes back.
    kmip.signal("-STOP");
    let start = Instant::now();
    let brief = Duration::from_millis(700);
    assert_eq!(read_within(&provider, &wrap, brief).await, Err(KeyError::Timeout));
    assert!(start.elapsed() < brief * 4, "a deadline was not kept");
    let health = provider.health(Probe::Canary).await;
    assert_eq!(health.state, HealthState::Recovering);
    assert!(health.error.unwrap().is_retryable());
    kmip.signal("-CONT");
    read(&provider, &wrap).await.unwrap();

    // Slow: an answer that comes late is not taken for the answer to the next question.
    fs::write(kmip.room.join("delay"), "0.4").unwrap();
    let hurried = Duration::from_millis(500);
    assert_eq!(
        read_within(&provider, &wrap, hurried).await,
        Err(KeyError::Timeout)
    );
    read(&provider, &wrap).await.unwrap();
    fs::remove_file(kmip.room.join("delay")).unwrap();
    read(&provider, &wrap).await.unwrap();

    kmip.stop();
    assert!(matches!(
        read(&provider, &wrap).await,
        Err(KeyError::Unavailable { .. })
    ));
    kmip.restart();
    read(&provider, &wrap).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificates_and_the_name_decide() {
    let Some(kmip) = Kmip::start("identity", &[]) else {
        return;
    };
    let id = kmip.key("kek", &BOTH);
    assert!(kmip.provider_as("gateway").await.is_ok());
    // Of another authority; of the same, but not the key's owner.
    let stranger = kmip.provider_as("stranger").await;
    assert!(
        matches!(
            stranger.as_ref().err(),
            Some(KeyError::NeedsOperator { .. } | KeyError::Unavailable { .. })
        ),
        "{:?}",
        stranger.err()
    );
    assert_eq!(kmip.provider_as("other").await.err(), Some(KeyError::KeyNotFound));
    // A server that another authority vouches for.
    let elsewhere = KmipConfig {
        ca_file: kmip.room.join("foreign-ca.pem"),
        ..kmip.config("kek")
    };
    let refused = KmipProvider::connect(elsewhere, WrapScheme::KmipGcm).await;
    assert!(matches!(refused.err(), Some(KeyError::NeedsOperator { .. })));
    let misnamed = KmipConfig {
        host: "localhost.localdomain".to_owned(),
        ..kmip.config("kek")
    };
    assert!(
        KmipProvider::connect(misnamed, WrapScheme::KmipGcm)
            .await
            .is_err()
    );
    // A private key that others may read, and one of somebody else.
    let key_file = kmip.room.join("gateway.key");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        kmip.provider("kek").await.err(),
        Some(KeyError::NeedsOperator { .. })
    ));
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let mixed = KmipConfig {
        key_file: kmip.room.join("other.key"),
        ..kmip.config("kek")
    };
    let mixed = KmipProvider::connect(mixed, WrapScheme::KmipGcm).await;
    assert!(matches!(mixed.err(), Some(KeyError::NeedsOperator { .. })));

    // Two keys of one name: the identifier decides.
    kmip.key("kek", &BOTH);
    let Some(KeyError::Misconfigured { what }) = kmip.provider("kek").await.err() else {
        panic!("one of two keys was taken")
    };
    assert!(what.contains("key_id"), "{what}");
    let chosen = |id: &str| KmipConfig {
        key_id: Some(id.to_owned()),
        ..kmip.config("kek")
    };
    assert!(
        KmipProvider::connect(chosen(&id), WrapScheme::KmipGcm)
            .await
            .is_ok()
    );
    let other = kmip.key("another", &BOTH);
    let error = KmipProvider::connect(chosen(&other), WrapScheme::KmipGcm)
        .await
        .err();
    assert_eq!(
        error,
        Some(KeyError::KeyNotFound),
        "the identifier of a key of another name"
    );
}
