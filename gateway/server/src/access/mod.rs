//! Who may connect and what they may do, as files say, loaded again when they change.
//!
//! What lives here: [`AccessFiles`] and the [`AccessSnapshot`] it hands out. What must not: decisions
//! (`sceau-policy`), signatures. Invariant: a request sees one snapshot from beginning to end, and a
//! file that cannot be used never replaces one that could.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use sceau_policy::{
    BucketSettings, Credential, Credentials, CredentialsError, CredentialsFile, KeyRules, KeyUseError,
    Policy, PolicyError, PolicyFile, Settings, SettingsError,
};

use crate::audit::Trail;
use crate::config::{AccessConfig, ConfigError, read_secret_file};
use crate::telemetry::{Metrics, ReloadSource};

/// Largest policy file in bytes.
const POLICY_BYTES_MAX: u64 = 4 << 20;

/// Why the credentials or the policy cannot be used.
#[derive(Debug)]
pub enum AccessError {
    /// The credentials file is open to others, missing or unreadable.
    CredentialsFile(ConfigError),
    /// A credential breaks a rule.
    Credentials {
        /// The file.
        path: PathBuf,
        /// Which rule; never the secret.
        error: CredentialsError,
    },
    /// A table about the use of keys is wrong.
    KeyUse {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        error: KeyUseError,
    },
    /// A policy rule is wrong.
    Policy {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        error: PolicyError,
    },
    /// A table of bucket settings is wrong.
    Settings {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        error: SettingsError,
    },
    /// The file is not TOML of the expected shape.
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and column, without the line itself where it may hold a secret.
        report: String,
    },
    /// The policy file cannot be read, or is too large.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        why: String,
    },
}

impl AccessError {
    /// The searchable id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::CredentialsFile(error) => error.id(),
            Self::Unreadable { .. } => "E-ACCESS-001",
            Self::Syntax { .. } => "E-ACCESS-002",
            Self::Credentials { .. } => "E-ACCESS-003",
            Self::KeyUse { .. } | Self::Policy { .. } | Self::Settings { .. } => "E-ACCESS-004",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::CredentialsFile(error) => error.hint(),
            Self::Unreadable { .. } => "check access.policy and the owner of the file",
            Self::Syntax { .. } => "compare with the samples in the documentation",
            Self::Credentials { .. } => "entries count from 0 in the order of the file",
            Self::KeyUse { .. } | Self::Policy { .. } | Self::Settings { .. } => {
                "rules count from 0 in the order of the file"
            }
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CredentialsFile(error) => write!(f, "{error}"),
            Self::Credentials { path, error } => write!(f, "{}: {error}", path.display()),
            Self::KeyUse { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Policy { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Settings { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Syntax { path, report } => write!(f, "{}: {report}", path.display()),
            Self::Unreadable { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for AccessError {}

/// Credentials and policy of one moment.
pub struct AccessSnapshot {
    credentials: Credentials,
    policy: Policy,
    settings: Settings,
    key_rules: KeyRules,
}

impl AccessSnapshot {
    /// A snapshot that is not from files.
    pub fn new(credentials: Credentials, policy: Policy) -> Self {
        Self {
            credentials,
            policy,
            settings: Settings::default(),
            key_rules: KeyRules::default(),
        }
    }

    /// The same with other rules about the use of keys.
    #[must_use]
    pub fn with_key_rules(self, key_rules: KeyRules) -> Self {
        Self { key_rules, ..self }
    }

    /// The secret and the principal of `access_key`.
    pub fn credential(&self, access_key: &str) -> Option<&Credential> {
        self.credentials.find(access_key)
    }

    /// Unix time before which temporary credentials must not have been issued.
    pub fn sessions_not_before(&self) -> u64 {
        self.credentials.sessions_not_before()
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What applies to everybody in a bucket.
    pub fn settings(&self, bucket: &str) -> &BucketSettings {
        self.settings.of(bucket)
    }

    /// For which reasons keys may be used.
    pub fn key_rules(&self) -> &KeyRules {
        &self.key_rules
    }

    /// How many credentials there are.
    pub fn credentials_count(&self) -> usize {
        self.credentials.len()
    }
}

/// The snapshot in use and the files it comes from. Share it by `Arc`.
pub struct AccessFiles {
    current: RwLock<Arc<AccessSnapshot>>,
    files: Option<Files>,
}

struct Files {
    credentials: PathBuf,
    policy: PathBuf,
    interval: Duration,
    metrics: Arc<Metrics>,
    trail: OnceLock<Trail>,
    /// Digests of the contents last looked at, used or refused.
    seen: Mutex<[Option<Vec<u8>>; 2]>,
}

impl AccessFiles {
    /// Loads both files.
    ///
    /// # Errors
    /// [`AccessError`] for the first fault.
    pub fn open(config: &AccessConfig, metrics: Arc<Metrics>) -> Result<Arc<Self>, AccessError> {
        let (snapshot, seen) = load(&config.credentials, &config.policy);
        let files = Files {
            credentials: config.credentials.clone(),
            policy: config.policy.clone(),
            interval: config.reload,
            metrics,
            trail: OnceLock::new(),
            seen: Mutex::new(seen),
        };
        Ok(Arc::new(Self {
            current: RwLock::new(Arc::new(snapshot?)),
            files: Some(files),
        }))
    }

    /// A snapshot that never changes, for `sceau dev`.
    pub fn fixed(snapshot: AccessSnapshot) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::new(Arc::new(snapshot)),
            files: None,
        })
    }

    /// The snapshot in use; to be asked for once for each request.
    pub fn snapshot(&self) -> Arc<AccessSnapshot> {
        // Held for the time of one pointer copy, also by a reload.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files for ever; to be spawned, and aborted at the end.
    pub async fn run(self: Arc<Self>) {
        let Some(files) = &self.files else {
            return std::future::pending().await;
        };
        // Polled by content: mounted volumes replace files by swapping links, which watchers miss.
        loop {
            tokio::time::sleep(files.interval).await;
            let this = Arc::clone(&self);
            // Reading may block; a lost look is made up for by the next one.
            let _ = tokio::task::spawn_blocking(move || this.reload()).await;
        }
    }

    /// Reloads are reported to `trail` from now on. The first call counts.
    pub fn audit(&self, trail: Trail) {
        if let Some(files) = &self.files {
            // A second trail in one process would be a defect that no request can cause.
            let _ = files.trail.set(trail);
        }
    }

    /// Loads the files again if their content changed; answers whether a new snapshot is in use.
    pub fn reload(&self) -> bool {
        let Some(files) = &self.files else { return false };
        let (snapshot, contents) = load(&files.credentials, &files.policy);
        let mut seen = files.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == contents {
            return false;
        }
        *seen = contents;
        drop(seen);
        files.metrics.reload(ReloadSource::Access, snapshot.is_ok());
        if let Some(trail) = files.trail.get() {
            let why = snapshot.as_ref().err().map_or("", AccessError::id);
            trail.reload("access", snapshot.is_ok(), why.to_owned());
        }
        match snapshot {
            Ok(snapshot) => {
                tracing::info!(
                    credentials = snapshot.credentials_count(),
                    "credentials and policy loaded again"
                );
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
                true
            }
            Err(error) => {
                tracing::error!(
                    error_id = error.id(),
                    hint = error.hint(),
                    "credentials and policy not loaded, the old ones stay: {error}"
                );
                false
            }
        }
    }
}

/// Loads both files; also answers the digests of what was read, `None` where nothing could be read.
fn load(credentials: &Path, policy: &Path) -> (Result<AccessSnapshot, AccessError>, [Option<Vec<u8>>; 2]) {
    let credentials_text = read_secret_file(credentials).map_err(AccessError::CredentialsFile);
    let policy_text = read_policy(policy);
    let seen = [
        credentials_text.as_ref().ok().map(|text| content_digest(text)),
        policy_text.as_ref().ok().map(|text| content_digest(text)),
    ];
    let snapshot = credentials_text.and_then(|credentials_text| {
        let credentials = parse_credentials(&credentials_text, credentials)?;
        let (policy, settings, key_rules) = parse_policy(&policy_text?, policy)?;
        Ok(AccessSnapshot {
            credentials,
            policy,
            settings,
            key_rules,
        })
    });
    (snapshot, seen)
}

fn content_digest(text: &str) -> Vec<u8> {
    let digest: Digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().to_vec()
}

fn parse_credentials(text: &str, path: &Path) -> Result<Credentials, AccessError> {
    let file: CredentialsFile = toml::from_str(text).map_err(|error| AccessError::Syntax {
        path: path.to_owned(),
        // The reader's own report would show the line at fault, which may hold a secret.
        report: format!(
            "{}: not as expected, or an unknown key",
            place(text, error.span())
        ),
    })?;
    Credentials::from_file(file).map_err(|error| AccessError::Credentials {
        path: path.to_owned(),
        error,
    })
}

fn parse_policy(text: &str, path: &Path) -> Result<(Policy, Settings, KeyRules), AccessError> {
    let file: PolicyFile = toml::from_str(text).map_err(|error| AccessError::Syntax {
        path: path.to_owned(),
        report: error.to_string().trim_end().to_owned(),
    })?;
    let policy = Policy::from_file(&file).map_err(|error| AccessError::Policy {
        path: path.to_owned(),
        error,
    })?;
    let settings = Settings::from_entries(&file.bucket).map_err(|error| AccessError::Settings {
        path: path.to_owned(),
        error,
    })?;
    let key_rules = KeyRules::from_entries(&file.key_use).map_err(|error| AccessError::KeyUse {
        path: path.to_owned(),
        error,
    })?;
    Ok((policy, settings, key_rules))
}

/// The rules about the use of keys in a policy file, for a command that serves no clients.
///
/// # Errors
/// [`AccessError`]; a fault anywhere in the file refuses it.
pub fn read_key_rules(policy: &Path) -> Result<KeyRules, AccessError> {
    let (_, _, key_rules) = parse_policy(&read_policy(policy)?, policy)?;
    Ok(key_rules)
}

fn read_policy(path: &Path) -> Result<String, AccessError> {
    let fault = |why: String| AccessError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let mut text = String::new();
    let limit = POLICY_BYTES_MAX.saturating_add(1);
    let length = file
        .take(limit)
        .read_to_string(&mut text)
        .map_err(|error| fault(error.to_string()))?;
    if u64::try_from(length).is_ok_and(|length| length > POLICY_BYTES_MAX) {
        return Err(fault("larger than 4 MiB".to_owned()));
    }
    Ok(text)
}

/// Line and column of a span, counted from 1.
fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let column = before
        .chars()
        .rev()
        .take_while(|c| *c != '\n')
        .count()
        .saturating_add(1);
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const POLICY: &str = "[[allow]]\nprincipal = \"alice\"\nbuckets = [\"b\"]\nverbs = [\"read\"]\n";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sceau-access-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn config(&self) -> AccessConfig {
            AccessConfig {
                credentials: self.0.join("credentials.toml"),
                policy: self.0.join("policy.toml"),
                reload: Duration::from_millis(10),
            }
        }

        fn write_credentials(&self, access_key: &str, secret: &str) {
            let text = format!(
                "[[credential]]\naccess_key = \"{access_key}\"\nsecret = \"{secret}\"\nprincipal = \"alice\"\n"
            );
            self.write("credentials.toml", &text);
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_changed_file_is_used_and_a_broken_one_is_not() {
        let folder = Folder::new("reload");
        folder.write_credentials("AKONE", "a-secret-of-sixteen-and-more");
        folder.write("policy.toml", POLICY);
        let metrics = Arc::new(Metrics::new().unwrap());
        let access =
            AccessFiles::open(&folder.config(), Arc::clone(&metrics)).unwrap_or_else(|e| panic!("{e}"));
        let before = access.snapshot();
        assert_eq!(before.credential("AKONE").unwrap().principal.as_str(), "alice");
        assert!(!access.reload(), "nothing changed");

        folder.write_credentials("AKTWO", "another-secret-of-sixteen");
        assert!(access.reload());
        assert!(access.snapshot().credential("AKTWO").is_some());
        assert!(access.snapshot().credential("AKONE").is_none());
        assert!(
            before.credential("AKONE").is_some(),
            "a request keeps the snapshot it began with"
        );

        folder.write("policy.toml", "[[alow]]\n");
        assert!(!access.reload());
        assert!(access.snapshot().credential("AKTWO").is_some());
        assert!(
            metrics
                .render()
                .contains("sceau_last_reload_success{source=\"access\"} 0")
        );
        std::fs::remove_file(folder.0.join("policy.toml")).unwrap();
        assert!(!access.reload());

        folder.write("policy.toml", POLICY);
        assert!(access.reload());
        assert!(
            metrics
                .render()
                .contains("sceau_last_reload_success{source=\"access\"} 1")
        );
    }

    #[tokio::test]
    async fn the_running_loop_notices_a_change() {
        let folder = Folder::new("loop");
        folder.write_credentials("AKONE", "a-secret-of-sixteen-and-more");
        folder.write("policy.toml", POLICY);
        let metrics = Arc::new(Metrics::new().unwrap());
        let access = AccessFiles::open(&folder.config(), metrics).unwrap_or_else(|e| panic!("{e}"));
        let running = tokio::spawn(Arc::clone(&access).run());
        folder.write_credentials("AKTWO", "another-secret-of-sixteen");
        for _ in 0..500 {
            if access.snapshot().credential("AKTWO").is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        assert!(access.snapshot().credential("AKTWO").is_some());
    }

    #[test]
    fn the_samples_are_right() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy"));
        let folder = Folder::new("samples");
        for name in ["credentials.toml", "policy.toml"] {
            folder.write(name, &std::fs::read_to_string(samples.join(name)).unwrap());
        }
        let metrics = Arc::new(Metrics::new().unwrap());
        let access = AccessFiles::open(&folder.config(), metrics).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            access
                .snapshot()
                .credential("BACKUPJOB")
                .unwrap()
                .principal
                .as_str(),
            "backup"
        );
    }

    #[test]
    fn a_fault_in_the_credentials_shows_its_place_but_no_secret() {
        let folder = Folder::new("secret");
        folder.write("policy.toml", POLICY);
        folder.write(
            "credentials.toml",
            "[[credential]]\naccess_key = \"AKONE\"\nsecret = \"do-not-show-me\nprincipal = \"alice\"\n",
        );
        let metrics = Arc::new(Metrics::new().unwrap());
        let error = AccessFiles::open(&folder.config(), Arc::clone(&metrics))
            .err()
            .unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("line 3"), "{text}");
        assert!(!text.contains("do-not-show-me"), "{text}");
        let path = folder.0.join("credentials.toml");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = AccessFiles::open(&folder.config(), metrics).err().unwrap();
        assert!(error.to_string().contains("0644"), "{error}");
    }
}
