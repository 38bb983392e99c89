//! Guards: an operator gets from an empty store to a serving gateway with the documented commands,
//! and each mistake on the way ends with its exit code, its id and a hint.
//! How: the built binary against the embedded store on loopback, with software keys.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sceau_devstore::{Credentials, DataLocation, DevStore};

const STORE_SECRET: &str = "the-store-secret-of-this-test";

/// A store and a folder with a configuration for it.
struct Site {
    folder: PathBuf,
    store: SocketAddr,
    data: SocketAddr,
    admin: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

static SITES: AtomicUsize = AtomicUsize::new(0);

impl Site {
    fn new() -> Self {
        let number = SITES.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("sceau-commands-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let credentials = Credentials {
            access_key: "STOREKEY".into(),
            secret_key: STORE_SECRET.into(),
        };
        let store = runtime.block_on(async {
            let (address, handle) = DevStore::open(DataLocation::Memory)
                .unwrap()
                .spawn(credentials)
                .await
                .unwrap();
            std::mem::forget(handle);
            address
        });
        let site = Self {
            folder,
            store,
            data: free_address(),
            admin: free_address(),
            _runtime: runtime,
        };
        site.write("store-secret", STORE_SECRET, 0o600);
        site.write(
            "credentials.toml",
            "[[credential]]\naccess_key = \"ALICE\"\nsecret = \"alices-secret-of-this-test\"\nprincipal = \"alice\"\n",
            0o600,
        );
        site.write(
            "policy.toml",
            "[[allow]]\nprincipal = \"alice\"\nbuckets = [\"*\"]\nverbs = [\"read\", \"write\", \"list\"]\n",
            0o644,
        );
        site.write("sceau.toml", &site.config(), 0o644);
        site
    }

    fn config(&self) -> String {
        format!(
            "version = 1\n[listen]\ndata = \"{}\"\nadmin = \"{}\"\n[store]\nendpoint = \"http://{}\"\n\
             control_bucket = \"control\"\n\
             credentials = {{ source = \"static\", access_key = \"STOREKEY\", secret_file = \"store-secret\" }}\n\
             [keys]\nprovider = \"insecure-local\"\nkeyring = \"state/keyring\"\n\
             insecure_local = {{ key_file = \"dev-key\" }}\n\
             [access]\ncredentials = \"credentials.toml\"\npolicy = \"policy.toml\"\n",
            self.data, self.admin, self.store
        )
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sceau"));
        command
            .args(args)
            .arg("--config")
            .arg(self.folder.join("sceau.toml"));
        // Another folder than the configuration's, so that relative paths are seen to be resolved.
        command.current_dir(Path::new("/")).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running gateway, killed at the end whatever happens.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn expect(output: &Output, code: i32) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until the answer holds `wanted`.
fn wait_for(address: SocketAddr, path: &str, wanted: &str) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    let mut last = None;
    while Instant::now() < end {
        last = get(address, path);
        if let Some(answer) = last.as_ref().filter(|answer| answer.contains(wanted)) {
            return answer.clone();
        }
        #[allow(clippy::disallowed_methods, reason = "a test's own thread")]
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{path} never said {wanted}: {last:?}");
}

#[test]
fn from_an_empty_store_to_a_serving_gateway() {
    let site = Site::new();
    let before = expect(&site.run(&["check"]), 1);
    assert!(
        before.contains("failed   store") && before.contains("E-STORE-002"),
        "{before}"
    );
    assert!(expect(&site.run(&["keys", "list"]), 3).contains("dev-key"));

    let enrolled = expect(&site.run(&["keys", "enrol"]), 0);
    assert!(enrolled.contains("losing both loses the data"), "{enrolled}");
    assert!(expect(&site.run(&["keys", "enrol"]), 3).contains("E-KEYS-002"));
    let local = site.folder.join("state/keyring");
    assert_eq!(
        std::fs::metadata(&local).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let missing = expect(&site.run(&["keys", "new-epoch", "--bucket", "absent"]), 4);
    assert!(
        missing.contains("E-STORE-002") && missing.contains("help:"),
        "{missing}"
    );
    let hidden = expect(
        &site.run(&["keys", "new-epoch", "--bucket", "control", "--allow-nonempty"]),
        3,
    );
    assert!(hidden.contains("E-KEYS-012"), "{hidden}");

    let checked = expect(&site.run(&["check"]), 0);
    for stage in [
        "configuration",
        "files",
        "limits",
        "access",
        "store",
        "control bucket",
        "key provider",
        "keyring",
    ] {
        assert!(checked.contains(stage), "{stage} in {checked}");
    }
    assert!(
        checked.contains("software keys, for development only"),
        "{checked}"
    );
    let json = site.run(&["--output", "json", "check"]);
    for line in String::from_utf8(json.stdout).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["check"].is_string() && value["result"].is_string());
    }

    serves_and_stops(&site);
}

fn serves_and_stops(site: &Site) {
    let log = std::fs::File::create(site.folder.join("log")).unwrap();
    let mut gateway = Gateway(site.command(&["serve"]).stderr(log).spawn().unwrap());
    let ready = wait_for(site.admin, "/readyz?verbose", "200 OK");
    assert!(ready.contains("keyring: ready"), "{ready}");
    let metrics = get(site.admin, "/metrics").unwrap();
    assert!(
        metrics.contains("sceau_keyring_generation 1") && metrics.contains("sceau_dev_mode 1"),
        "{metrics}"
    );
    let refused = get(site.data, "/photos/a").unwrap();
    assert!(
        refused.contains("403") && refused.contains("AccessDenied"),
        "{refused}"
    );
    // A second gateway on the same addresses ends before it unlocks any key.
    assert!(expect(&site.run(&["serve"]), 2).contains("cannot listen on"));
    let stopped = Command::new("kill")
        .arg("-TERM")
        .arg(gateway.0.id().to_string())
        .status()
        .unwrap();
    assert!(stopped.success());
    assert_eq!(gateway.0.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(site.folder.join("log")).unwrap();
    for secret in [STORE_SECRET, "alices-secret-of-this-test"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn mistakes_are_named_with_their_place_and_a_way_out() {
    let site = Site::new();
    site.write(
        "sceau.toml",
        &site.config().replace("control_bucket", "contol_bucket"),
        0o644,
    );
    let unknown = expect(&site.run(&["serve"]), 2);
    for expected in [
        "E-CONF-002",
        "line 7, column 1",
        "^^^^",
        "did you mean `control_bucket`?",
    ] {
        assert!(unknown.contains(expected), "{expected} in {unknown}");
    }
    site.write("sceau.toml", &site.config(), 0o644);
    site.write("store-secret", STORE_SECRET, 0o644);
    let open = expect(&site.run(&["serve"]), 2);
    assert!(
        open.contains("E-CONF-005") && open.contains("mode 0644") && open.contains("chmod 600"),
        "{open}"
    );
    assert!(!open.contains(STORE_SECRET));
    site.write("store-secret", "not-the-secret-of-the-store", 0o600);
    let wrong = expect(&site.run(&["keys", "enrol"]), 4);
    assert!(wrong.contains("E-STORE-001"), "{wrong}");
}

#[test]
fn a_keyring_of_another_installation_stops_the_gateway() {
    let (site, other) = (Site::new(), Site::new());
    expect(&site.run(&["keys", "enrol"]), 0);
    expect(&other.run(&["keys", "enrol"]), 0);
    std::fs::copy(
        other.folder.join("state/keyring"),
        site.folder.join("state/keyring"),
    )
    .unwrap();
    let refused = expect(&site.run(&["serve"]), 3);
    assert!(refused.contains("E-KEYS-"), "{refused}");
}
