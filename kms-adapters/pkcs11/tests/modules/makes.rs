//! A token of each make, in a folder of its own and with nothing left behind.
//!
//! What lives here: how a token is set up, and its servers where it has some. What must not: what is asked
//! of it. Invariant: nothing of the host's own tokens is touched.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sceau_keys::WrapScheme;
use sceau_kms_pkcs11::{HelperCommand, PinSource, Pkcs11Config, generate_kek};

use super::hsm::{Hsm, PIN};

/// A make of module.
pub struct Make {
    pub name: &'static str,
    /// Needs servers, or packages that only full runs install.
    pub is_for_full_runs: bool,
    /// The schemes it is known to carry, in the ladder's order.
    pub carries: &'static [WrapScheme],
    /// Those of them that take tens of milliseconds for an operation.
    pub slow: &'static [WrapScheme],
    /// A fresh token; an error says why there is none here.
    pub start: fn() -> Result<Token, String>,
}

/// Makes a key for the scheme and under the label of a configuration.
type MakeKey = Box<dyn Fn(&Pkcs11Config) -> Pin<Box<dyn Future<Output = Result<(), String>>>>>;

/// A token that is there.
pub struct Token {
    pub config: Pkcs11Config,
    pub make_key: MakeKey,
    // Last started first stopped, then the folder goes.
    _servers: Vec<Server>,
    _room: Hsm,
}

use WrapScheme::{AesCbcKdf, AesGcmCallerIv, AesKw, HmacKdf, RsaOaepSha256};

/// Every make. `aes-gcm/hsm-iv` is played by the fault shim in another test: none of these makes IVs.
pub const MAKES: [Make; 5] = [
    Make {
        name: "SoftHSM2",
        is_for_full_runs: false,
        carries: &[AesGcmCallerIv, HmacKdf, AesKw, AesCbcKdf],
        slow: &[],
        start: softhsm,
    },
    Make {
        name: "NSS",
        is_for_full_runs: false,
        carries: &[AesGcmCallerIv, HmacKdf, AesKw, AesCbcKdf, RsaOaepSha256],
        slow: &[RsaOaepSha256],
        start: nss,
    },
    Make {
        name: "kryoptic",
        is_for_full_runs: true,
        carries: &[AesGcmCallerIv, HmacKdf, AesKw, AesCbcKdf, RsaOaepSha256],
        slow: &[],
        start: kryoptic,
    },
    Make {
        name: "openCryptoki",
        is_for_full_runs: true,
        carries: &[HmacKdf, AesCbcKdf, RsaOaepSha256],
        slow: &[],
        start: opencryptoki,
    },
    Make {
        name: "TPM",
        is_for_full_runs: true,
        carries: &[HmacKdf, AesCbcKdf, RsaOaepSha256],
        slow: &[RsaOaepSha256],
        start: tpm,
    },
];

const LABEL: &str = "sceau-test";
/// Time for a server to be there.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A process that ends with this.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Result<Self, String> {
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        started
            .map(Self)
            .map_err(|error| format!("{:?}: {error}", command.get_program()))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until the answer is yes.
fn wait(what: &str, mut is_there: impl FnMut() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while !is_there() {
        if start.elapsed() > START_LIMIT {
            return Err(format!("{what} does not come up"));
        }
        #[expect(clippy::disallowed_methods, reason = "no runtime is running yet")]
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs a tool to its end.
fn tool(command: &mut Command) -> Result<String, String> {
    let done = command
        .output()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!(
        "{:?}: {}",
        command.get_program(),
        said.trim().lines().last().unwrap_or_default()
    ))
}

fn installed(paths: &[&str]) -> Result<(), String> {
    match paths.iter().find(|path| !Path::new(path).exists()) {
        Some(missing) => Err(format!("{missing} is not installed")),
        None => Ok(()),
    }
}

/// Keys are generated in the token by the adapter itself.
fn generated() -> MakeKey {
    Box::new(|config| {
        let config = config.clone();
        Box::pin(async move {
            generate_kek(&config)
                .await
                .map(|_| ())
                .map_err(|error| error.to_string())
        })
    })
}

fn room() -> Result<Hsm, String> {
    Hsm::new().ok_or_else(|| "SoftHSM is not installed".to_owned())
}

fn softhsm() -> Result<Token, String> {
    let hsm = room()?;
    Ok(Token {
        config: hsm.config(),
        make_key: generated(),
        _servers: Vec::new(),
        _room: hsm,
    })
}

fn nss() -> Result<Token, String> {
    let hsm = room()?;
    Ok(Token {
        config: hsm.nss().ok_or("no NSS softokn, or no certutil")?,
        make_key: generated(),
        _servers: Vec::new(),
        _room: hsm,
    })
}

/// The module that `./test --full` builds, beside this program or where the variable says.
fn kryoptic_module() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = program
        .ancestors()
        .nth(2)
        .map(|folder| folder.join("libsceau_test_kryoptic.so"));
    let named = std::env::var_os("SCEAU_KRYOPTIC_MODULE").map(PathBuf::from);
    let module = named.or(beside).filter(|module| module.exists());
    module.ok_or_else(|| {
        "not built: cargo build --manifest-path tests/modules/kryoptic/Cargo.toml --target-dir target"
            .to_owned()
    })
}

fn kryoptic() -> Result<Token, String> {
    let (module, hsm) = (kryoptic_module()?, room()?);
    let conf = hsm.room.join("kryoptic.conf");
    let store = hsm.room.join("kryoptic.sql");
    let text = format!(
        "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
        store.display()
    );
    fs::write(&conf, text).map_err(|error| error.to_string())?;
    let pkcs11_tool = |more: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        command
            .arg("--module")
            .arg(&module)
            .args(["--slot", "1", "--so-pin", "so-4711"])
            .args(more);
        tool(command.env("KRYOPTIC_CONF", &conf))
    };
    pkcs11_tool(&["--init-token", "--label", LABEL])?;
    pkcs11_tool(&["--init-pin", "--login", "--login-type", "so", "--pin", PIN])?;
    let mut config = hsm.config();
    config.env_set = vec![("KRYOPTIC_CONF".to_owned(), conf.display().to_string())];
    config.module = module;
    Ok(Token {
        config,
        make_key: generated(),
        _servers: Vec::new(),
        _room: hsm,
    })
}

const OPENCRYPTOKI: &str = "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0";
/// It takes eight characters at most.
const OPENCRYPTOKI_PIN: &str = "4711user";

/// openCryptoki has one state for the whole host, so its daemon, the tools and the helper run in namespaces
/// of their own, with empty folders over the host's.
fn opencryptoki() -> Result<Token, String> {
    installed(&[
        OPENCRYPTOKI,
        "/usr/sbin/pkcsslotd",
        "/usr/sbin/pkcsconf",
        "/usr/bin/nsenter",
    ])?;
    let hsm = room()?;
    let conf = hsm.room.join("opencryptoki.conf");
    fs::write(
        &conf,
        "version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n",
    )
    .map_err(|error| error.to_string())?;
    let script = format!(
        "set -e\n\
         for folder in /var/lib/opencryptoki /run /dev/shm; do mount -t tmpfs none $folder; done\n\
         for folder in /run/lock/opencryptoki/swtok /var/lib/opencryptoki/swtok/TOK_OBJ; do mkdir -p $folder; done\n\
         chgrp -R pkcs11 /run/lock /var/lib/opencryptoki\nchmod -R 770 /run/lock/opencryptoki /var/lib/opencryptoki\n\
         mount --bind '{}' /etc/opencryptoki/opencryptoki.conf\n\
         exec /usr/sbin/pkcsslotd -f",
        conf.display()
    );
    tool(Command::new("unshare").args(["-m", "-i", "true"]))
        .map_err(|_| "namespaces need root".to_owned())?;
    let server = Server::start(Command::new("unshare").args(["-m", "-i", "sh", "-c", &script]))?;
    let pid = server.pid();
    let inside = ["-m", "-i", "-t", &pid];
    let pkcsconf = |more: &[&str]| {
        tool(
            Command::new("nsenter")
                .args(inside)
                .arg("/usr/sbin/pkcsconf")
                .args(more),
        )
    };
    wait("pkcsslotd", || {
        pkcsconf(&["-t"]).is_ok_and(|told| told.contains("IBM"))
    })?;
    let label = format!("echo {LABEL} | /usr/sbin/pkcsconf -I -c 0 -S 87654321");
    tool(Command::new("nsenter").args(inside).args(["sh", "-c", &label]))?;
    pkcsconf(&["-P", "-c", "0", "-S", "87654321", "-n", "76543210"])?;
    pkcsconf(&["-u", "-c", "0", "-S", "76543210", "-n", "12345670"])?;
    pkcsconf(&["-p", "-c", "0", "-U", "12345670", "-n", OPENCRYPTOKI_PIN])?;
    let pin = hsm.room.join("pin-of-eight");
    fs::write(&pin, OPENCRYPTOKI_PIN).map_err(|error| error.to_string())?;
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).map_err(|error| error.to_string())?;
    let mut config = hsm.config();
    let mut args: Vec<String> = inside.iter().map(|word| (*word).to_owned()).collect();
    args.push(config.helper.program.display().to_string());
    config.helper = HelperCommand {
        program: "/usr/bin/nsenter".into(),
        args,
    };
    config.pin = PinSource::File(pin);
    config.module = OPENCRYPTOKI.into();
    config.env_set = Vec::new();
    Ok(Token {
        config,
        make_key: generated(),
        _servers: vec![server],
        _room: hsm,
    })
}

const TPM: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so";

/// A TPM in software, with its resource manager on a bus of this test: the TPM has room for three keys.
fn tpm() -> Result<Token, String> {
    installed(&[
        TPM,
        "/usr/bin/swtpm",
        "/usr/bin/dbus-daemon",
        "/usr/sbin/tpm2-abrmd",
        "/usr/bin/tpm2_ptool",
        "/usr/lib/x86_64-linux-gnu/libtss2-tcti-tabrmd.so.0",
        "/usr/lib/x86_64-linux-gnu/libtss2-tcti-swtpm.so.0",
    ])?;
    let hsm = room()?;
    let at = |name: &str| hsm.room.join(name).display().to_string();
    for folder in ["tpm-state", "tpm-store"] {
        fs::create_dir_all(at(folder)).map_err(|error| error.to_string())?;
    }
    let socket = at("tpm");
    let swtpm = Server::start(Command::new("/usr/bin/swtpm").args([
        "socket",
        "--tpm2",
        "--flags",
        "startup-clear,not-need-init",
        "--tpmstate",
        &format!("dir={}", at("tpm-state")),
        "--ctrl",
        &format!("type=unixio,path={socket}.ctrl"),
        "--server",
        &format!("type=unixio,path={socket}"),
    ]))?;
    wait("swtpm", || Path::new(&socket).exists())?;
    let bus = format!("unix:path={}", at("bus"));
    let dbus = Server::start(Command::new("/usr/bin/dbus-daemon").args([
        "--session",
        "--nofork",
        "--nopidfile",
        "--address",
        &bus,
    ]))?;
    wait("dbus-daemon", || Path::new(&at("bus")).exists())?;
    let manager = Server::start(
        Command::new("/usr/sbin/tpm2-abrmd")
            .args([
                "--session",
                "--allow-root",
                "--tcti",
                &format!("swtpm:path={socket}"),
            ])
            .env("DBUS_SESSION_BUS_ADDRESS", &bus),
    )?;
    let tcti = "tabrmd:bus_type=session".to_owned();
    let environment = vec![
        ("DBUS_SESSION_BUS_ADDRESS".to_owned(), bus),
        ("TPM2TOOLS_TCTI".to_owned(), tcti.clone()),
        ("TPM2_PKCS11_TCTI".to_owned(), tcti),
        ("TPM2_PKCS11_STORE".to_owned(), at("tpm-store")),
        ("TPM2_PKCS11_BACKEND".to_owned(), "esysdb".to_owned()),
    ];
    let ptool = {
        let (environment, store) = (environment.clone(), at("tpm-store"));
        move |words: &[&str]| {
            let mut command = Command::new("/usr/bin/tpm2_ptool");
            tool(
                command
                    .args(words)
                    .args(["--path", &store])
                    .envs(environment.clone()),
            )
        }
    };
    wait("tpm2-abrmd", || ptool(&["init"]).is_ok())?;
    ptool(&[
        "addtoken",
        "--pid",
        "1",
        "--label",
        LABEL,
        "--sopin",
        "so-4711",
        "--userpin",
        PIN,
    ])?;
    let mut config = hsm.config();
    config.module = TPM.into();
    config.env_set = environment;
    // The module makes no AES keys and no secrets for HMAC: they are made by its tool.
    let make_key: MakeKey = Box::new(move |config| {
        let made = tpm_algorithm(config.scheme).and_then(|algorithm| {
            let label = config.key_label.as_str();
            ptool(&[
                "addkey",
                "--label",
                LABEL,
                "--userpin",
                PIN,
                "--key-label",
                label,
                "--algorithm",
                algorithm,
            ])
        });
        Box::pin(std::future::ready(made.map(|_| ())))
    });
    Ok(Token {
        config,
        make_key,
        _servers: vec![manager, dbus, swtpm],
        _room: hsm,
    })
}

fn tpm_algorithm(scheme: Option<WrapScheme>) -> Result<&'static str, String> {
    match scheme {
        Some(HmacKdf) => Ok("hmac:sha256"),
        Some(RsaOaepSha256) => Ok("rsa3072"),
        Some(_) | None => Ok("aes256"),
    }
}
