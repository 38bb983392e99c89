//! A SoftHSM token for one test, with or without the fault shim before it.
//!
//! Tests that use it are skipped with a printed line where SoftHSM is not installed.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, WrapContext};
use sceau_kms::{KeyError, KeyProvider, Reason};
use sceau_kms_pkcs11::{
    HelperCommand, PinSource, Pkcs11Config, Pkcs11Provider, TokenSelection, generate_kek,
};
// Named, so that the module is built before the tests that load it.
use sceau_pkcs11_shim as _;

pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const PIN: &str = "4711-user";
pub const TIME: Duration = Duration::from_secs(2);

/// A SoftHSM token in a directory of this test alone, removed at the end.
pub struct Hsm {
    pub room: PathBuf,
}

impl Hsm {
    /// `None`, with a line that says so, where SoftHSM is missing.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !Path::new(MODULE).exists() {
            eprintln!("skipped: no SoftHSM module at {MODULE}");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let room = std::env::temp_dir().join(format!("sceau-softhsm-{}-{number}", std::process::id()));
        fs::create_dir_all(room.join("tokens")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            room.join("tokens").display()
        );
        fs::write(room.join("softhsm2.conf"), conf).unwrap();
        let hsm = Self { room };
        hsm.write_pin(&format!("{PIN}\n"), 0o600);
        hsm.add_token("sceau-test");
        Some(hsm)
    }

    pub fn write_pin(&self, text: &str, mode: u32) {
        let path = self.room.join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn add_token(&self, label: &str) {
        self.util(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "so-4711",
            "--pin",
            PIN,
        ]);
    }

    pub fn util(&self, args: &[&str]) -> String {
        let out = Command::new("softhsm2-util")
            .args(args)
            .env("SOFTHSM2_CONF", self.room.join("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "softhsm2-util {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    pub fn config(&self) -> Pkcs11Config {
        let mut config = Pkcs11Config::new(
            MODULE.into(),
            TokenSelection {
                serial: None,
                label: Some("sceau-test".to_owned()),
            },
            "kek-1".to_owned(),
            PinSource::File(self.room.join("pin")),
            HelperCommand {
                program: env!("CARGO_BIN_EXE_sceau-pkcs11-helper").into(),
                args: Vec::new(),
            },
        );
        let conf = self.room.join("softhsm2.conf");
        config.env_set = vec![("SOFTHSM2_CONF".to_owned(), conf.to_str().unwrap().to_owned())];
        config
    }

    pub async fn with_key(&self) -> Pkcs11Config {
        let config = self.config();
        generate_kek(&config).await.unwrap();
        config
    }

    /// A helper whose notes go to a file of the test instead of the log.
    pub fn noting(&self, config: Pkcs11Config) -> Pkcs11Config {
        let notes = self.room.join("notes");
        let script = format!("exec \"$0\" 2>>'{}'", notes.display());
        let program = config.helper.program.to_str().unwrap().to_owned();
        let helper = HelperCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script, program],
        };
        Pkcs11Config { helper, ..config }
    }

    /// How many logins the token refused, by the notes of all helpers.
    pub fn refused_logins(&self) -> usize {
        let notes = fs::read_to_string(self.room.join("notes")).unwrap();
        notes.matches("Login: PinIncorrect").count()
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.room);
    }
}

pub fn context() -> WrapContext {
    WrapContext {
        krid: Krid([1; 16]),
        tenant: TenantId([2; 16]),
        bucket: BucketId([3; 16]),
        epoch: 4,
    }
}

pub fn kill(pid: u32, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

pub async fn round_trip(provider: &Pkcs11Provider) -> Result<(), KeyError> {
    let key = SecretKey::new([0x42; 32]);
    let wrap = provider.wrap(&key, &context(), Reason::Health, TIME).await?;
    let back = provider.unwrap(&wrap, &context(), Reason::Health, TIME).await?;
    assert!(back.ct_eq(&key));
    Ok(())
}

/// The fault shim, built beside this test program.
pub fn shim_module() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let module = program.with_file_name("libsceau_pkcs11_shim.so");
    assert!(module.exists(), "no shim at {}", module.display());
    module
}

impl Hsm {
    /// `config` with the shim between helper and token, and no faults yet.
    pub fn shimmed(&self, config: Pkcs11Config) -> Pkcs11Config {
        let mut env_set = config.env_set.clone();
        let path = |name: &str| self.room.join(name).to_str().unwrap().to_owned();
        env_set.extend([
            ("SCEAU_SHIM_MODULE".to_owned(), MODULE.to_owned()),
            ("SCEAU_SHIM_CONTROL".to_owned(), path("control")),
            ("SCEAU_SHIM_TRACE".to_owned(), path("trace")),
        ]);
        Pkcs11Config {
            module: shim_module(),
            env_set,
            ..config
        }
    }

    /// Replaces the faults; earlier counts are forgotten.
    pub fn faults(&self, lines: &str) {
        let _ = fs::remove_file(self.room.join("control.hits"));
        // Whole at once: the module reads the file at every call.
        fs::write(self.room.join("control.new"), lines).unwrap();
        fs::rename(self.room.join("control.new"), self.room.join("control")).unwrap();
    }

    /// How often `function` was called through the shim, over all helpers.
    pub fn calls(&self, function: &str) -> usize {
        let trace = fs::read_to_string(self.room.join("trace")).unwrap_or_default();
        trace
            .lines()
            .filter(|line| line.split(' ').nth(1) == Some(function))
            .count()
    }
}

impl Hsm {
    /// How many objects the token holds: files of SoftHSM's store, less the token's own.
    pub fn objects(&self) -> usize {
        let token = fs::read_dir(self.room.join("tokens"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let files = fs::read_dir(token.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".object") && name != "token.object")
            .count()
    }
}

/// NSS softokn, a second module: it wants text at its initialisation, which the shim gives it.
pub const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";

impl Hsm {
    /// A token of NSS in this test's directory; `None`, with a line that says so, where NSS or its tool is
    /// missing.
    pub fn nss(&self) -> Option<Pkcs11Config> {
        let folder = self.room.join("nss");
        fs::create_dir_all(&folder).unwrap();
        let database = format!("sql:{}", folder.display());
        let made = Command::new("certutil")
            .args(["-N", "-d", &database, "-f"])
            .arg(self.room.join("pin"))
            .status();
        if !Path::new(NSS).exists() || !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no NSS softokn or no certutil");
            return None;
        }
        let mut config = self.shimmed(self.config());
        config.env_set.retain(|(name, _)| name != "SCEAU_SHIM_MODULE");
        let reserved = format!("configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=");
        config.env_set.extend([
            ("SCEAU_SHIM_MODULE".to_owned(), NSS.to_owned()),
            ("SCEAU_SHIM_RESERVED".to_owned(), reserved),
        ]);
        config.token.label = Some("NSS Certificate DB".to_owned());
        Some(config)
    }
}
