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
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, WrapContext};
use sceau_kms::{KeyError, KeyProvider as _, KeyState, Reason, Residency, conformance};
use sceau_kms_transit::{TransitConfig, TransitProvider};

const TIME: Duration = Duration::from_secs(5);

struct Bao {
    child: Child,
    binary: String,
    port: u16,
    room: PathBuf,
}

impl Bao {
    fn start() -> Option<Self> {
        let Ok(binary) = std::env::var("SCEAU_OPENBAO") else {
            eprintln!("skipped: SCEAU_OPENBAO does not name the program bao");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let room = std::env::temp_dir().join(format!("sceau-transit-{}", std::process::id()));
        fs::create_dir_all(&room).unwrap();
        let child = Command::new(&binary)
            .args(["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"])
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

    fn cli(&self, arguments: &[&str]) -> bool {
        let done = Command::new(&self.binary)
            .args(arguments)
            .env("BAO_ADDR", format!("http://127.0.0.1:{}", self.port))
            .env("BAO_TOKEN", "root")
            .env("HOME", &self.room)
            .output()
            .unwrap();
        done.status.success()
    }

    async fn provider(&self, key: &str) -> Result<TransitProvider, KeyError> {
        TransitProvider::connect(TransitConfig {
            endpoint: format!("http://127.0.0.1:{}", self.port).parse().unwrap(),
            ca_file: None,
            namespace: None,
            mount: "transit".to_owned(),
            key_label: key.to_owned(),
            key_version: None,
            token_file: self.room.join("token"),
            token_is_credential: false,
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
    let Some(mut bao) = Bao::start() else { return };
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
    fs::write(bao.room.join("token"), "wrong").unwrap();
    bao.mode(0o600);
    assert_eq!(read().await.err(), Some(KeyError::Denied));
    fs::write(bao.room.join("token"), "root").unwrap();

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
    // Nor does another key of that name take its place.
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
