//! Guards: an HSM is enrolled once, checked and listed, and a wrong PIN ends
//! with a clear message instead of tries.
//! How: the built binary with SoftHSM, skipped with a printed line where it is not installed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sceau_devstore::{Credentials, DataLocation, DevStore};

const MODULES: [&str; 2] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
];
const PIN: &str = "271828";

struct Site {
    folder: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Site {
    /// A store, an empty token and a configuration; `None` where SoftHSM is missing.
    fn new() -> Option<Self> {
        let module = MODULES.iter().find(|path| Path::new(path).exists())?;
        let folder = std::env::temp_dir().join(format!("sceau-softhsm-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("tokens")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = runtime.block_on(open_store());
        let site = Self {
            folder,
            _runtime: runtime,
        };
        let tokens = site.folder.join("tokens");
        site.write(
            "softhsm2.conf",
            &format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()),
        );
        site.write("pin", PIN);
        site.write("store-secret", "the-store-secret-of-this-test");
        site.write("credentials.toml", "");
        site.write("policy.toml", "");
        site.write(
            "sceau.toml",
            &format!(
                "version = 1\n[store]\nendpoint = \"http://{store}\"\ncontrol_bucket = \"control\"\n\
                 credentials = {{ source = \"static\", access_key = \"STOREKEY\", secret_file = \"store-secret\" }}\n\
                 [keys]\nprovider = \"pkcs11\"\nkeyring = \"keyring\"\n\
                 [keys.pkcs11]\nmodule = \"{module}\"\ntoken_label = \"sceau\"\nkey_label = \"kek\"\n\
                 pin_file = \"pin\"\nworkers = 2\npass_environment = [\"SOFTHSM2_CONF\"]\n\
                 [access]\ncredentials = \"credentials.toml\"\npolicy = \"policy.toml\"\n"
            ),
        );
        let made = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                "sceau",
                "--so-pin",
                "314159",
                "--pin",
                PIN,
            ])
            .env("SOFTHSM2_CONF", site.folder.join("softhsm2.conf"))
            .output()
            .ok()?;
        made.status.success().then_some(site)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sceau"))
            .args(args)
            .arg("--config")
            .arg(self.folder.join("sceau.toml"))
            .env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf"))
            .output()
            .unwrap()
    }
}

async fn open_store() -> SocketAddr {
    let credentials = Credentials {
        access_key: "STOREKEY".into(),
        secret_key: "the-store-secret-of-this-test".into(),
    };
    let (address, handle) = DevStore::open(DataLocation::Memory)
        .unwrap()
        .spawn(credentials)
        .await
        .unwrap();
    std::mem::forget(handle);
    address
}

fn expect(output: &Output, code: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn an_hsm_is_enrolled_checked_and_refuses_a_wrong_pin() {
    let Some(site) = Site::new() else {
        println!("skipped: SoftHSM is not installed");
        return;
    };
    let absent = expect(&site.run(&["keys", "enrol"]), 3);
    assert!(absent.contains("E-KEYS-010"), "{absent}");
    assert!(!site.folder.join("keyring").exists());

    let enrolled = expect(&site.run(&["--output", "json", "keys", "enrol", "--generate"]), 0);
    let json = enrolled.lines().find(|line| line.starts_with('{')).unwrap();
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(value["scheme"], "aes-gcm/caller-iv");
    assert_eq!(value["token"]["label"], "sceau");
    // A second enrolment generates nothing.
    assert!(expect(&site.run(&["keys", "enrol", "--generate"]), 3).contains("E-KEYS-002"));

    let checked = expect(&site.run(&["check"]), 0);
    assert!(
        checked.contains("a canary came back") && checked.contains("both copies agree"),
        "{checked}"
    );
    assert!(expect(&site.run(&["keys", "list"]), 0).contains("kek version 1"));

    site.write("pin", "000000");
    let refused = expect(&site.run(&["keys", "list"]), 3);
    assert!(refused.contains("operator"), "{refused}");
    assert!(!refused.contains("000000"), "{refused}");
    site.write("pin", PIN);
    expect(&site.run(&["keys", "list"]), 0);

    // Software keys must not open what an HSM guards.
    let config = std::fs::read_to_string(site.folder.join("sceau.toml")).unwrap();
    let start = config.find("[keys]").unwrap();
    let end = config.find("[access]").unwrap();
    let local = "[keys]\nprovider = \"insecure-local\"\nkeyring = \"keyring\"\n\
                 insecure_local = { key_file = \"dev-key\" }\n";
    site.write(
        "sceau.toml",
        &format!("{}{local}{}", &config[..start], &config[end..]),
    );
    assert!(expect(&site.run(&["keys", "enrol"]), 3).contains("E-KEYS-002"));
}
