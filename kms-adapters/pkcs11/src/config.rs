//! What the operator says about the HSM, and the checks that need no HSM.
//!
//! What lives here: [`Pkcs11Config`] and the check of the module's file. What must not: the PIN, which
//! only the helper ever reads. Invariant: a module that anyone but its owner could replace is not used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::form::LADDER;
use crate::frame::GcmIv;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sceau_keys::WrapScheme;
use sceau_kms::KeyError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Worker threads in the helper unless configured: enough for a millisecond HSM at 4 k operations/s.
pub const WORKERS_DEFAULT: usize = 4;
/// Most worker threads; network HSMs gain nothing beyond some thirty sessions.
pub const WORKERS_MAX: usize = 64;
/// Longest label, serial or path accepted, in bytes; keeps the configuration within one frame.
const NAME_BYTES_MAX: usize = 512;
/// Write permission for group or others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The sticky bit: only owners replace files in such a directory.
const STICKY: u32 = 0o1000;

/// Which token: one must match exactly. At least one of the two is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSelection {
    /// The token's serial number.
    pub serial: Option<String>,
    /// The token's label.
    pub label: Option<String>,
}

/// Where the helper finds the PIN. The gateway itself never reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A file in the credentials directory of a systemd service. There the bits of the group may be the mask of
    /// the access list by which systemd lets the service's user read it.
    Credential(PathBuf),
    /// Asked for on the terminal that the helper was started from, and kept by that helper until it ends.
    Prompt,
}

impl PinSource {
    /// The file, unless somebody is asked.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Credential(path) => Some(path),
            Self::Prompt => None,
        }
    }
}

/// The program that becomes the helper: the gateway's own binary with its hidden sub-command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperCommand {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// An HSM and one key-encryption key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Config {
    /// The vendor's module: an absolute path. Links are resolved; the file and the directories above
    /// it must not be writable by group or others.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelection,
    /// `CKA_LABEL` of the key.
    pub key_label: String,
    /// `CKA_ID` of the key in hexadecimal, where labels are not unique.
    pub key_id: Option<String>,
    /// Our version of this key, counted from 1. Kept in configuration, not in the token.
    pub key_version: u32,
    /// Where the helper finds the PIN.
    pub pin: PinSource,
    /// Where the helper remembers that the token refused a PIN, so that no later start offers the same
    /// one again. Without it the memory ends with the provider.
    pub pin_latch: Option<PathBuf>,
    /// Worker threads and sessions in the helper, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// The scheme pinned at enrolment; `None` only before it, to find out which one the token carries.
    pub scheme: Option<WrapScheme>,
    /// How the token hands out IVs that it made, by its profile: without it `aes-gcm/hsm-iv` is not tried.
    pub gcm_iv: Option<GcmIv>,
    /// In a group: its share of the requests beside members of the same site; 0 stands by for them.
    pub weight: u8,
    /// In a group: whether it is at the gateway's own site, and so asked before those that are not.
    pub is_local: bool,
    /// How to start the helper.
    pub helper: HelperCommand,
    /// Names of environment variables the vendor's module needs; passed on when they are set. The
    /// rest of the environment is withheld, except `SOFTHSM2_CONF`.
    pub env_pass: Vec<String>,
    /// Environment variables set for the helper only; these win over passed ones.
    pub env_set: Vec<(String, String)>,
}

pub(crate) fn misconfigured(what: impl Into<String>) -> KeyError {
    KeyError::Misconfigured { what: what.into() }
}

impl Pkcs11Config {
    /// A configuration with the default number of workers and nothing passed to the helper.
    pub fn new(
        module: PathBuf,
        token: TokenSelection,
        key_label: String,
        pin: PinSource,
        helper: HelperCommand,
    ) -> Self {
        Self {
            module,
            token,
            key_label,
            key_id: None,
            key_version: 1,
            pin,
            pin_latch: None,
            workers: WORKERS_DEFAULT,
            scheme: None,
            gcm_iv: None,
            weight: 1,
            is_local: true,
            helper,
            env_pass: Vec::new(),
            env_set: Vec::new(),
        }
    }

    /// Checks everything that can be checked without the HSM.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] with the first fault.
    pub(crate) fn check(&self) -> Result<Module, KeyError> {
        if self.token.serial.is_none() && self.token.label.is_none() {
            return Err(misconfigured(
                "select the token by serial number, by label, or by both",
            ));
        }
        let names = [
            self.token.serial.as_ref(),
            self.token.label.as_ref(),
            Some(&self.key_label),
        ];
        if names
            .into_iter()
            .flatten()
            .any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX)
        {
            return Err(misconfigured("a token or key name is empty or too long"));
        }
        if self.key_version == 0 {
            return Err(misconfigured("key versions count from 1"));
        }
        if self.workers == 0 || self.workers > WORKERS_MAX {
            return Err(misconfigured(format!(
                "the helper has 1 to {WORKERS_MAX} workers"
            )));
        }
        if self.scheme.is_some_and(|scheme| !LADDER.contains(&scheme)) {
            return Err(misconfigured("this scheme is none of PKCS#11 keys"));
        }
        self.key_id_bytes()?;
        let pin = self.pin.file();
        if pin.is_some_and(|pin| !pin.is_absolute()) || !self.helper.program.is_absolute() {
            return Err(misconfigured(
                "the paths of the PIN file and of the helper must be absolute",
            ));
        }
        Module::check(&self.module)
    }

    /// [`Self::check`] on a thread that may block; answers the module's path and its SHA-256.
    pub(crate) async fn check_off_thread(&self) -> Result<(String, String), KeyError> {
        let config = self.clone();
        let checked = tokio::task::spawn_blocking(move || config.check()).await;
        let module = checked.map_err(|_| KeyError::Internal)??;
        let path = module
            .path
            .to_str()
            .ok_or_else(|| misconfigured("the module's path is not UTF-8"))?;
        Ok((path.to_owned(), module.sha256))
    }

    /// `CKA_ID`, decoded.
    pub(crate) fn key_id_bytes(&self) -> Result<Option<Vec<u8>>, KeyError> {
        let Some(digits) = &self.key_id else {
            return Ok(None);
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        match bytes.filter(|bytes| (1..=64).contains(&bytes.len())) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(misconfigured("the key id is not 1 to 64 bytes in hexadecimal")),
        }
    }
}

/// A module file that passed its check.
pub(crate) struct Module {
    /// The path without links.
    pub(crate) path: PathBuf,
    /// SHA-256 of the file in hexadecimal, for the log and the enrolment record.
    pub(crate) sha256: String,
}

impl Module {
    fn check(path: &Path) -> Result<Self, KeyError> {
        if !path.is_absolute() {
            return Err(misconfigured("the path of the PKCS#11 module must be absolute"));
        }
        let path = path
            .canonicalize()
            .map_err(|error| misconfigured(format!("the PKCS#11 module {}: {error}", path.display())))?;
        if !path.is_file() {
            return Err(misconfigured(format!(
                "the PKCS#11 module {} is no file",
                path.display()
            )));
        }
        for place in path.ancestors() {
            let facts = fs::metadata(place).map_err(|error| {
                misconfigured(format!("the PKCS#11 module at {}: {error}", place.display()))
            })?;
            let mode = facts.permissions().mode();
            let is_sticky_dir = facts.is_dir() && mode & STICKY != 0;
            if mode & WRITABLE_BY_OTHERS != 0 && !is_sticky_dir {
                let place = place.display();
                return Err(misconfigured(format!(
                    "the PKCS#11 module: others may write to {place}"
                )));
            }
        }
        let content =
            fs::read(&path).map_err(|error| misconfigured(format!("the PKCS#11 module: {error}")))?;
        let sha256 = HEXLOWER.encode(&Sha256::digest(&content));
        Ok(Self { path, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(module: PathBuf) -> Pkcs11Config {
        Pkcs11Config::new(
            module,
            TokenSelection {
                serial: None,
                label: Some("token".to_owned()),
            },
            "kek".to_owned(),
            PinSource::File("/pin".into()),
            HelperCommand {
                program: "/helper".into(),
                args: Vec::new(),
            },
        )
    }

    #[test]
    fn a_module_that_others_could_replace_is_refused() {
        let room = std::env::temp_dir().join(format!("sceau-module-{}", std::process::id()));
        fs::create_dir_all(&room).unwrap();
        fs::set_permissions(&room, fs::Permissions::from_mode(0o755)).unwrap();
        let module = room.join("module.so");
        fs::write(&module, b"module").unwrap();
        fs::set_permissions(&module, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(config(module.clone()).check().is_ok());
        let link = room.join("link.so");
        std::os::unix::fs::symlink(&module, &link).unwrap();
        assert!(config(link.clone()).check().unwrap().path.ends_with("module.so"));
        for mode in [0o664, 0o646] {
            fs::set_permissions(&module, fs::Permissions::from_mode(mode)).unwrap();
            assert!(config(link.clone()).check().is_err(), "file mode {mode:o}");
        }
        fs::set_permissions(&module, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&room, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(config(module).check().is_err(), "directory open to all");
        assert!(config("softhsm.so".into()).check().is_err(), "relative path");
        fs::remove_dir_all(&room).unwrap();
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let good = config("/bin/sh".into());
        assert!(good.check().is_ok());
        assert!(
            Pkcs11Config {
                token: TokenSelection::default(),
                ..good.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Pkcs11Config {
                workers: 0,
                ..good.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Pkcs11Config {
                key_version: 0,
                ..good.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Pkcs11Config {
                key_id: Some("xyz".into()),
                ..good.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Pkcs11Config {
                scheme: Some(WrapScheme::InsecureLocal),
                ..good
            }
            .check()
            .is_err()
        );
    }
}
