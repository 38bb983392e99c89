//! The gateway's own credentials, for the store and for key services that are signed for alike.
//!
//! What lives here: reading them from the configuration, the environment or a shared profile file.
//! What must not: clients' credentials. Invariant: the secret is held in a wiping type from the
//! moment it is cut out of its source, and nothing here prints it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sceau_keys::SecretText;
use sceau_kms::secret_file::is_private;
use sceau_s3wire::sigv4::{self, SecretAccessKey};
use zeroize::Zeroizing;

use super::error::{CredentialFault, StoreError};

/// How long a profile file is trusted before its modification time is looked at again.
const PROFILE_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Largest credentials file that is read, in bytes.
const PROFILE_BYTES_MAX: u64 = 1 << 20;

/// Where the gateway's own credentials come from.
pub enum CredentialSource {
    /// Given in the configuration.
    Static {
        /// The access key id.
        access_key: String,
        /// The secret access key.
        secret: SecretText,
        /// The session token of temporary credentials.
        session_token: Option<SecretText>,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary credentials,
    /// `AWS_SESSION_TOKEN`, read once at start.
    Environment,
    /// A section of a shared credentials file, read again when the file changes.
    Profile {
        /// The file; `AWS_SHARED_CREDENTIALS_FILE` or `~/.aws/credentials` when `None`.
        file: Option<PathBuf>,
        /// The section's name.
        profile: String,
    },
}

/// One usable set of credentials.
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret: SecretAccessKey,
    pub(super) session_token: Option<SecretText>,
}

/// Credentials as a source has them.
struct Found {
    access_key: String,
    secret: SecretText,
    session_token: Option<SecretText>,
}

impl Found {
    fn checked(self) -> Result<Credentials, CredentialFault> {
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        // A slash or a comma would end the field early in the `Credential=` parameter.
        let id_fits = printable(&self.access_key) && !self.access_key.contains(['/', ',', '=']);
        let token_fits = self
            .session_token
            .as_ref()
            .is_none_or(|token| printable(token.expose()));
        if id_fits && printable(self.secret.expose()) && token_fits {
            let secret = SecretAccessKey::new(self.secret.expose().to_owned());
            Ok(Credentials {
                access_key: self.access_key,
                secret,
                session_token: self.session_token,
            })
        } else {
            Err(CredentialFault::Malformed)
        }
    }
}

/// Hands out the current credentials.
pub struct CredentialProvider {
    held: Mutex<Held>,
    profile: Option<(PathBuf, String)>,
}

struct Held {
    current: Arc<Credentials>,
    changed: Option<SystemTime>,
    checked: Instant,
}

impl CredentialProvider {
    /// Reads the credentials for the first time.
    ///
    /// # Errors
    /// [`StoreError::Credentials`] when there are none or they cannot be used.
    pub fn new(source: CredentialSource) -> Result<Self, StoreError> {
        let (first, changed, profile) = match source {
            CredentialSource::Static {
                access_key,
                secret,
                session_token,
            } => (
                Found {
                    access_key,
                    secret,
                    session_token,
                }
                .checked(),
                None,
                None,
            ),
            CredentialSource::Environment => (from_environment(), None, None),
            CredentialSource::Profile { file, profile } => {
                let file = file
                    .or_else(default_profile_file)
                    .ok_or(StoreError::Credentials(CredentialFault::Absent))?;
                (
                    read_profile(&file, &profile),
                    modified(&file),
                    Some((file, profile)),
                )
            }
        };
        let current = Arc::new(first.map_err(StoreError::Credentials)?);
        Ok(Self {
            held: Mutex::new(Held {
                current,
                changed,
                checked: Instant::now(),
            }),
            profile,
        })
    }

    /// The credentials to sign with now. A profile file that has become unreadable keeps the last
    /// good credentials: a half-written file must not stop traffic.
    pub(super) fn current(&self) -> Arc<Credentials> {
        self.at(Instant::now())
    }

    /// Calls `borrower` with the credentials to sign with now.
    pub fn lend(&self, borrower: &mut dyn FnMut(sigv4::Credentials<'_>)) {
        let current = self.current();
        borrower(sigv4::Credentials {
            access_key: &current.access_key,
            secret: &current.secret,
            session_token: current.session_token.as_ref().map(SecretText::expose),
            cache: None,
        });
    }

    fn at(&self, now: Instant) -> Arc<Credentials> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, profile)) = &self.profile
            && now.saturating_duration_since(held.checked) >= PROFILE_CHECK_INTERVAL
        {
            held.checked = now;
            let changed = modified(file);
            if changed != held.changed {
                match read_profile(file, profile) {
                    Ok(fresh) => {
                        held.current = Arc::new(fresh);
                        held.changed = changed;
                    }
                    Err(fault) => {
                        tracing::warn!(?fault, "credentials file not re-read; the last ones stay")
                    }
                }
            }
        }
        Arc::clone(&held.current)
    }
}

fn from_environment() -> Result<Credentials, CredentialFault> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let access_key = read("AWS_ACCESS_KEY_ID").ok_or(CredentialFault::Absent)?;
    let secret = read("AWS_SECRET_ACCESS_KEY").ok_or(CredentialFault::Absent)?;
    let session_token = read("AWS_SESSION_TOKEN").map(SecretText::new);
    Found {
        access_key,
        secret: SecretText::new(secret),
        session_token,
    }
    .checked()
}

fn default_profile_file() -> Option<PathBuf> {
    std::env::var_os("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".aws").join("credentials"))
        })
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

/// Reads a local file of at most a megabyte once per change, so the short block is accepted.
fn read_profile(file: &Path, profile: &str) -> Result<Credentials, CredentialFault> {
    let unreadable = |_| CredentialFault::Unreadable;
    // Asked of the open file, so that it cannot be exchanged in between.
    let file = File::open(file).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if !is_private(&facts) {
        return Err(CredentialFault::Open);
    }
    if facts.len() > PROFILE_BYTES_MAX {
        return Err(CredentialFault::Unreadable);
    }
    // Reserved up front, so that growing does not leave copies behind.
    let capacity = usize::try_from(facts.len()).unwrap_or(0).saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(PROFILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    parse_profile(&text, profile)?.checked()
}

fn parse_profile(text: &str, profile: &str) -> Result<Found, CredentialFault> {
    let (mut access_key, mut secret, mut session_token) = (None, None, None);
    let mut in_section = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_section = name.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_section) else {
            continue;
        };
        let value = value.trim();
        match name.trim() {
            "aws_access_key_id" => access_key = Some(value.to_owned()),
            "aws_secret_access_key" => secret = Some(SecretText::new(value.to_owned())),
            "aws_session_token" => session_token = Some(SecretText::new(value.to_owned())),
            _ => {}
        }
    }
    let (Some(access_key), Some(secret)) = (access_key, secret) else {
        return Err(CredentialFault::Absent);
    };
    Ok(Found {
        access_key,
        secret,
        session_token,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = "[default]\naws_access_key_id=A\naws_secret_access_key=s\n\n# note\n[ store ]\n\
        aws_access_key_id = AKID\naws_secret_access_key = a=b/c+d\naws_session_token = tok\n";

    #[test]
    fn a_profile_section_is_found_and_others_are_not_mixed_in() {
        let found = parse_profile(FILE, "store").ok().unwrap();
        assert_eq!(found.access_key, "AKID");
        assert_eq!(found.secret.expose(), "a=b/c+d");
        assert_eq!(found.session_token.as_ref().map(SecretText::expose), Some("tok"));
        let default = parse_profile(FILE, "default").ok().unwrap();
        assert!(default.session_token.is_none());
        assert_eq!(parse_profile(FILE, "none").err(), Some(CredentialFault::Absent));
    }

    #[test]
    fn an_access_key_that_would_break_the_header_is_refused() {
        let text = "[p]\naws_access_key_id=A/B\naws_secret_access_key=s\n";
        let found = parse_profile(text, "p").ok().unwrap();
        assert_eq!(found.checked().err(), Some(CredentialFault::Malformed));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
        let file = std::env::temp_dir().join(format!("sceau-credentials-{}", std::process::id()));
        let write = |id: &str, age: u64| {
            std::fs::write(
                &file,
                format!("[p]\naws_access_key_id={id}\naws_secret_access_key=s\n"),
            )
            .unwrap();
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, mode).unwrap();
            let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age);
            std::fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(when)
                .unwrap();
        };
        write("one", 0);
        let source = CredentialSource::Profile {
            file: Some(file.clone()),
            profile: "p".into(),
        };
        let provider = CredentialProvider::new(source).ok().unwrap();
        let start = Instant::now();
        write("two", 1);
        assert_eq!(
            provider.at(start).access_key,
            "one",
            "not looked at before the interval"
        );
        assert_eq!(provider.at(start + PROFILE_CHECK_INTERVAL * 2).access_key, "two");
        write("", 2);
        assert_eq!(provider.at(start + PROFILE_CHECK_INTERVAL * 4).access_key, "two");
        write("two", 3);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, open).unwrap();
        assert_eq!(read_profile(&file, "p").err(), Some(CredentialFault::Open));
        std::fs::remove_file(&file).unwrap();
    }
}
