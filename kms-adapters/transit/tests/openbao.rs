//! The provider on a real OpenBao: `SCEAU_OPENBAO` names the binary (`bao`), else the test says that it skips.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and its start has the thread to itself"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, WrapContext};
use sceau_kms::{HealthState, KeyError, KeyProvider as _, KeyState, Probe, Reason, Residency, conformance};
use sceau_kms_transit::{TransitConfig, TransitProvider};

const TIME: Duration = Duration::from_secs(5);

struct Bao {
    child: Child,
    binary: String,
    port: u16,
    room: PathBuf,
    tls: bool,
}

impl Bao {
    fn start(tls: bool) -> Option<Self> {
        let Ok(binary) = std::env::var("SCEAU_OPENBAO") else {
            eprintln!("skipped: SCEAU_OPENBAO does not name the program bao");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let room = std::env::temp_dir().join(format!("sceau-transit-{}-{tls}", std::process::id()));
        fs::create_dir_all(&room).unwrap();
        let mut command = Command::new(&binary);
        if tls {
            command
                .arg("server")
                .arg("-dev-tls")
                .arg(format!("-dev-tls-cert-dir={}", room.display()));
        } else {
            command.args(["server", "-dev"]);
        }
        let child = command
            .args(["-dev-root-token-id=root", "-dev-no-store-token"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env("HOME", &room)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bao = Self {
            child,
            binary,
            port,
            room,
            tls,
        };
        let start = Instant::now();
        while !bao.cli(&["secrets", "enable", "transit"]) {
            assert!(start.elapsed() < Duration::from_secs(60), "OpenBao did not start");
            std::thread::sleep(Duration::from_millis(200));
        }
        fs::write(bao.room.join("token"), "root\n").unwrap();
        bao.mode(0o600);
        Some(bao)
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.room.join("token"), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn address(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Where development mode writes the authority that it makes.
    fn authority(&self) -> Option<PathBuf> {
        self.tls.then(|| {
            let names = fs::read_dir(&self.room)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            names
                .into_iter()
                .find(|path| path.to_string_lossy().ends_with("-ca.pem"))
                .unwrap_or_default()
        })
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        if let Some(authority) = self.authority() {
            command.env("BAO_CACERT", authority);
        }
        command
            .args(arguments)
            .env("BAO_ADDR", self.address())
            .env("BAO_TOKEN", "root")
            .env("HOME", &self.room)
            .output()
            .unwrap()
    }

    fn cli(&self, arguments: &[&str]) -> bool {
        self.command(arguments).status.success()
    }

    fn told(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.command(arguments).stdout).unwrap()
    }

    async fn provider(&self, key: &str) -> Result<TransitProvider, KeyError> {
        self.provider_at(&self.address(), self.authority(), key).await
    }

    async fn provider_at(
        &self,
        address: &str,
        ca_file: Option<PathBuf>,
        key: &str,
    ) -> Result<TransitProvider, KeyError> {
        TransitProvider::connect(TransitConfig {
            endpoint: address.parse().unwrap(),
            ca_file,
            namespace: None,
            mount: "transit".to_owned(),
            key_label: key.to_owned(),
            key_version: None,
            token_file: self.room.join("token"),
            connect_timeout: TIME,
            timeout: TIME,
        })
        .await
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.room);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transit_key_conforms_and_its_states_are_told() {
    let Some(mut bao) = Bao::start(false) else { return };
    assert!(matches!(bao.provider("kek").await, Err(KeyError::KeyNotFound)));
    assert!(bao.cli(&["write", "-f", "transit/keys/kek"]));
    let provider = Arc::new(bao.provider("kek").await.unwrap());
    assert_eq!(provider.info().residency, Residency::RemoteKms);
    eprintln!(
        "{:?}",
        conformance::run(Arc::clone(&provider) as _).await.unwrap()
    );

    let key = SecretKey::new([7; 32]);
    let wrap = provider
        .wrap(&key, &context(), Reason::Health, TIME)
        .await
        .unwrap();
    let place = context();
    let read = || provider.unwrap(&wrap, &place, Reason::Health, TIME);
    // Rotation there: the enrolled version goes on, a new provider takes the new one and opens the old.
    assert!(bao.cli(&["write", "-f", "transit/keys/kek/rotate"]));
    assert!(read().await.unwrap().ct_eq(&key));
    let newer = bao.provider("kek").await.unwrap();
    assert_eq!(newer.info().key_version, 2);
    assert!(
        newer
            .unwrap(&wrap, &context(), Reason::Health, TIME)
            .await
            .unwrap()
            .ct_eq(&key)
    );

    // Deleted softly, and back.
    assert!(bao.cli(&["delete", "transit/keys/kek/soft-delete"]));
    assert_eq!(read().await.err(), Some(KeyError::KeyNotUsable));
    assert_eq!(provider.describe().await.unwrap().state, KeyState::Disabled);
    assert!(bao.cli(&["write", "-f", "transit/keys/kek/soft-delete-restore"]));
    assert!(read().await.unwrap().ct_eq(&key));

    // The old version is withdrawn.
    assert!(bao.cli(&["write", "transit/keys/kek/config", "min_decryption_version=2"]));
    assert_eq!(read().await.err(), Some(KeyError::KeyNotUsable));

    // A token that may not, and a file that others may read.
    bao.mode(0o644);
    assert!(matches!(read().await.err(), Some(KeyError::NeedsOperator { .. })));
    // A token that is none is the operator's matter; one without the right is a refusal.
    fs::write(bao.room.join("token"), "wrong").unwrap();
    bao.mode(0o600);
    assert!(matches!(read().await.err(), Some(KeyError::NeedsOperator { .. })));
    assert_eq!(provider.health(Probe::Canary).await.state, HealthState::Down);
    fs::write(
        bao.room.join("token"),
        bao.told(&["token", "create", "-policy=none", "-field=token"]),
    )
    .unwrap();
    assert_eq!(read().await.err(), Some(KeyError::Denied));
    fs::write(bao.room.join("token"), "root").unwrap();
    assert_eq!(read().await.err(), Some(KeyError::KeyNotUsable));

    // A key that may be exported is told as such.
    assert!(bao.cli(&["write", "transit/keys/open", "exportable=true"]));
    let open = bao.provider("open").await.unwrap();
    assert_eq!(open.info().residency, Residency::RemoteKmsExportable);
    assert!(!open.describe().await.unwrap().findings.is_empty());

    // This token could make keys, and a wrap under a name that is gone would make another one.
    assert!(bao.cli(&["write", "transit/keys/open/config", "deletion_allowed=true"]));
    assert!(bao.cli(&["delete", "transit/keys/open"]));
    let late = open.wrap(&key, &context(), Reason::Health, TIME).await;
    assert_eq!(late.err(), Some(KeyError::KeyNotFound));
    assert!(!bao.cli(&["read", "transit/keys/open"]));
    // Nor does another key of that name take its place. The service tells creation to the second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(bao.cli(&["write", "-f", "transit/keys/open"]));
    let other = open.wrap(&key, &context(), Reason::Health, TIME).await;
    assert_eq!(other.err(), Some(KeyError::KeyNotUsable));

    // Sealed, then stopped.
    assert!(bao.cli(&["operator", "seal"]));
    assert!(matches!(read().await.err(), Some(KeyError::Unavailable { .. })));
    let _ = bao.child.kill();
    let _ = bao.child.wait();
    assert!(matches!(
        read().await.err(),
        Some(KeyError::Unavailable { .. } | KeyError::Timeout)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_counts_only_with_its_authority() {
    let Some(bao) = Bao::start(true) else { return };
    assert!(bao.cli(&["write", "-f", "transit/keys/kek"]));
    let provider = bao.provider("kek").await.unwrap();
    let key = SecretKey::new([7; 32]);
    let wrap = provider
        .wrap(&key, &context(), Reason::Health, TIME)
        .await
        .unwrap();
    let read = provider.unwrap(&wrap, &context(), Reason::Health, TIME).await;
    assert!(read.unwrap().ct_eq(&key));
    // Without it the token is not sent to whoever answers there; nor in the clear.
    let stranger = bao.provider_at(&bao.address(), None, "kek").await;
    assert!(matches!(stranger, Err(KeyError::Unavailable { .. })));
    let clear = format!("http://127.0.0.1:{}", bao.port);
    assert!(bao.provider_at(&clear, None, "kek").await.is_err());
    // An address that the certificate does not name.
    let other = format!("https://127.0.0.2:{}", bao.port);
    assert!(matches!(
        bao.provider_at(&other, bao.authority(), "kek").await,
        Err(KeyError::Unavailable { .. })
    ));
}
