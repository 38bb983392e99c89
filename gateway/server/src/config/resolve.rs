//! From the file to the final types.
//!
//! What lives here: reading, the version check, defaults, rules between keys. What must not:
//! opening anything but the configuration file. Invariant: all broken rules are reported together.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{
    FileConfig, FileCredentials, FileCredentialsSource, FileKeys, FileLimits, FileListen, FileProvider,
    FileStore, FileTransit,
};
use super::sts::{self, FileSts};
use super::suggestion::with_suggestion;
use super::units::DurationText;
use super::{
    AccessConfig, Config, ConfigError, CredentialsSource, EndpointStyle, FolderMarkers, KeysConfig,
    LimitsConfig, ListenConfig, LogConfig, LogFormat, Problem, ProviderConfig, SecretSource, StoreSection,
    StsConfig, TlsFiles, TransitConfig,
};

/// Longest name of a region, in bytes.
const REGION_BYTES_MAX: usize = 64;

/// Largest configuration file in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Shortest life of an epoch: each is a record that stays in the keyring, which holds 8 192.
const EPOCH_AGE_LEAST: Duration = Duration::from_secs(3600);

/// Fewest writes of an epoch, for the same reason.
const EPOCH_WRITES_LEAST: u64 = 100;

/// The only file version this program reads.
const VERSION: i64 = 1;

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`], whose text shows line, column and a caret where they are known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        let limit = CONFIG_BYTES_MAX.saturating_add(1);
        let length = file.take(limit).read_to_string(&mut text).map_err(unreadable)?;
        if u64::try_from(length).is_ok_and(|length| length > CONFIG_BYTES_MAX) {
            return Err(ConfigError::TooLarge {
                path: path.to_owned(),
            });
        }
        // What the file names must not depend on the working directory of whoever uses it later.
        let path = std::path::absolute(path).map_err(unreadable)?;
        Self::parse(&text, &path)
    }

    /// Checks `text` as the content of the file at `path`, against whose folder relative paths in
    /// it are resolved.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            report: with_suggestion(&error),
        };
        // The version decides how the rest is read, so it is looked at first.
        let table: toml::Table = toml::from_str(text).map_err(syntax)?;
        match table.get("version") {
            Some(toml::Value::Integer(VERSION)) => {}
            found => {
                let found = found.map(ToString::to_string);
                return Err(ConfigError::Version {
                    path: path.to_owned(),
                    found,
                });
            }
        }
        let file: FileConfig = toml::from_str(text).map_err(syntax)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut resolver = Resolver {
            folder,
            problems: Vec::new(),
        };
        match resolver.config(file) {
            Some(config) if resolver.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid {
                path: path.to_owned(),
                problems: resolver.problems,
            }),
        }
    }
}

pub(super) struct Resolver<'a> {
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    pub(super) fn problem(&mut self, key: &'static str, message: impl Into<String>) {
        self.problems.push(Problem {
            key,
            message: message.into(),
        });
    }

    pub(super) fn path(&self, path: PathBuf) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn secret(&mut self, key: &'static str, written: &Path) -> SecretSource {
        SecretSource::parse(written, self.folder).unwrap_or_else(|why| {
            self.problem(key, why);
            SecretSource::Prompt
        })
    }

    /// A secret that is read again and again, so that nobody can be asked for it.
    pub(super) fn secret_path(&mut self, key: &'static str, written: &Path) -> PathBuf {
        match SecretSource::parse(written, self.folder) {
            Ok(SecretSource::File(path) | SecretSource::Credential(path)) => return path,
            Ok(SecretSource::Prompt) => self.problem(
                key,
                "cannot be asked for: name a file, or a systemd credential in a unit with LoadCredential=",
            ),
            Err(why) => self.problem(key, why),
        }
        PathBuf::new()
    }

    /// Whoever can look at the environment of a process has what is in it, and children inherit it.
    fn check_environment(&mut self, store: Option<&StoreSection>, keys: Option<&KeysConfig>) {
        let is_environment = store.is_some_and(|store| store.credentials == CredentialsSource::Environment);
        let is_development =
            keys.is_none_or(|keys| matches!(keys.provider, ProviderConfig::InsecureLocal { .. }));
        if is_environment && !is_development {
            self.problem(
                "store.credentials",
                "source = \"environment\" is for software keys only: use a file, a systemd credential or a profile",
            );
        }
    }

    /// `None` always comes with at least one problem.
    fn config(&mut self, file: FileConfig) -> Option<Config> {
        let listen = self.listen(file.listen);
        let store = self.store(file.store);
        let keys = self.keys(file.keys);
        self.check_environment(store.as_ref(), keys.as_ref());
        let limits = self.limits(&file.limits);
        let access = AccessConfig {
            credentials: self.secret_path("access.credentials", &file.access.credentials),
            policy: self.path(file.access.policy),
            reload: self.duration("access.reload", file.access.reload, Duration::from_secs(2)),
        };
        let sts = file.sts.and_then(|sts| self.sts(sts));
        let audit = self.audit(file.audit);
        let log = LogConfig {
            format: file.log.format.unwrap_or(LogFormat::Text),
            level: file.log.level.unwrap_or_else(|| "info".to_owned()),
        };
        if crate::telemetry::check_filter(&log.level).is_err() {
            self.problem(
                "log.level",
                "write error, warn, info, debug or trace, or a list such as \"info,sceau_server=debug\"",
            );
        }
        Some(Config {
            listen,
            store: store?,
            keys: keys?,
            access,
            sts,
            audit,
            log,
            limits,
        })
    }

    fn sts(&mut self, file: FileSts) -> Option<StsConfig> {
        let folder = self.folder;
        let problems = &mut self.problems;
        sts::resolve(file, |path| folder.join(path), &mut |key, message| {
            problems.push(Problem { key, message })
        })
    }

    fn listen(&mut self, file: FileListen) -> ListenConfig {
        let loopback = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let data = file.data.unwrap_or(loopback(9000));
        let admin = file.admin.unwrap_or(loopback(9001));
        if !admin.ip().is_loopback() && file.admin_allow_remote != Some(true) {
            self.problem(
                "listen.admin",
                format!("{admin} is not a loopback address; the admin listener has no authentication. Use 127.0.0.1, or set admin_allow_remote = true behind a network policy"),
            );
        }
        if admin == data && admin.port() != 0 {
            self.problem("listen.admin", "is the same address as listen.data");
        }
        let domains: Vec<_> = file
            .domains
            .iter()
            .map(|domain| domain.to_ascii_lowercase())
            .collect();
        if let Some(wrong) = domains.iter().find(|domain| !is_host_name(domain)) {
            self.problem(
                "listen.domains",
                format!("\"{wrong}\" is not a plain host name (no scheme, port or wildcard)"),
            );
        }
        let is_region = |text: &&String| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=REGION_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
        };
        if let Some(wrong) = file.regions.iter().find(|region| !is_region(region)) {
            self.problem(
                "listen.regions",
                format!("\"{wrong}\" is not the name of a region"),
            );
        }
        let tls = file.tls.map(|tls| TlsFiles {
            cert: self.path(tls.cert),
            key: self.secret_path("listen.tls.key", &tls.key),
        });
        ListenConfig {
            data,
            admin,
            domains,
            regions: file.regions,
            tls,
        }
    }

    fn store(&mut self, file: FileStore) -> Option<StoreSection> {
        let endpoint = endpoint(&file.endpoint);
        if endpoint.is_none() {
            self.problem(
                "store.endpoint",
                "write http://host[:port] or https://host[:port], without path or user",
            );
        }
        if !is_bucket_name(&file.control_bucket) {
            self.problem(
                "store.control_bucket",
                "is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens",
            );
        }
        let credentials = self.credentials("store.credentials", file.credentials);
        let seconds = Duration::from_secs;
        Some(StoreSection {
            region: file.region.unwrap_or_else(|| "us-east-1".to_owned()),
            style: file.style.unwrap_or(EndpointStyle::Path),
            ca_file: file.ca_file.map(|path| self.path(path)),
            control_bucket: file.control_bucket,
            conditional_writes: file.conditional_writes.unwrap_or(true),
            object_tags: file.object_tags.unwrap_or(true),
            folder_markers: file.folder_markers.unwrap_or(FolderMarkers::Sealed),
            connect_timeout: self.duration("store.connect_timeout", file.connect_timeout, seconds(5)),
            response_timeout: self.duration("store.response_timeout", file.response_timeout, seconds(60)),
            idle_timeout: self.duration("store.idle_timeout", file.idle_timeout, seconds(60)),
            pool_idle_timeout: self.duration("store.pool_idle_timeout", file.pool_idle_timeout, seconds(15)),
            connections: self.count("store.connections", file.connections, 512),
            endpoint: endpoint?,
            credentials: credentials?,
        })
    }

    pub(super) fn credentials(
        &mut self,
        key: &'static str,
        file: FileCredentials,
    ) -> Option<CredentialsSource> {
        let is_static = file.source == FileCredentialsSource::Static;
        if !is_static && (file.access_key.is_some() || file.secret_file.is_some()) {
            self.problem(key, "access_key and secret_file belong to source = \"static\"");
        }
        if file.source != FileCredentialsSource::Profile && (file.profile.is_some() || file.file.is_some()) {
            self.problem(key, "profile and file belong to source = \"profile\"");
        }
        match (file.source, file.access_key, file.secret_file) {
            (FileCredentialsSource::Environment, _, _) => Some(CredentialsSource::Environment),
            (FileCredentialsSource::Profile, _, _) => Some(CredentialsSource::Profile {
                file: file.file.map(|path| self.path(path)),
                profile: file.profile.unwrap_or_else(|| "default".to_owned()),
            }),
            (FileCredentialsSource::Static, Some(access_key), Some(secret_file)) => {
                Some(CredentialsSource::Static {
                    access_key,
                    secret: self.secret(key, &secret_file),
                })
            }
            (FileCredentialsSource::Static, _, _) => {
                self.problem(key, "source = \"static\" needs access_key and secret_file");
                None
            }
        }
    }

    fn keys(&mut self, file: FileKeys) -> Option<KeysConfig> {
        let tables = [
            (FileProvider::Pkcs11, file.pkcs11.is_some()),
            (FileProvider::Transit, file.transit.is_some()),
            (FileProvider::Kmip, file.kmip.is_some()),
            (FileProvider::AwsKms, file.aws_kms.is_some()),
            (FileProvider::InsecureLocal, file.insecure_local.is_some()),
        ];
        let wrong = wrong_tables(file.provider, &tables);
        let provider = match file.provider {
            _ if wrong.is_some() => None,
            FileProvider::Pkcs11 => file
                .pkcs11
                .and_then(|table| self.pkcs11(table))
                .map(|config| ProviderConfig::Pkcs11(Box::new(config))),
            FileProvider::Transit => file
                .transit
                .and_then(|table| self.transit(table))
                .map(|config| ProviderConfig::Transit(Box::new(config))),
            FileProvider::Kmip => file
                .kmip
                .and_then(|table| self.kmip(table))
                .map(|config| ProviderConfig::Kmip(Box::new(config))),
            FileProvider::AwsKms => file
                .aws_kms
                .and_then(|table| self.aws_kms(table))
                .map(|config| ProviderConfig::AwsKms(Box::new(config))),
            FileProvider::InsecureLocal => file.insecure_local.map(|local| ProviderConfig::InsecureLocal {
                key_file: self.secret_path("keys.insecure_local.key_file", &local.key_file),
            }),
        };
        if let Some(wrong) = wrong {
            self.problem("keys.provider", wrong);
        }
        Some(KeysConfig {
            keyring: self.path(file.keyring),
            cache_ttl: self.duration("keys.cache_ttl", file.cache_ttl, Duration::from_secs(300)),
            cache_entries: to_usize(self.count("keys.cache_entries", file.cache_entries, 1024)),
            refresh: self.duration("keys.refresh", file.refresh, Duration::from_secs(10)),
            epoch_max_age: self.epoch_max_age(file.epoch_max_age),
            epoch_max_writes: self.epoch_max_writes(file.epoch_max_writes),
            provider: provider?,
        })
    }

    fn epoch_max_age(&mut self, value: Option<DurationText>) -> Option<Duration> {
        let age = value?.0;
        if age < EPOCH_AGE_LEAST {
            self.problem("keys.epoch_max_age", "must be an hour at least");
        }
        Some(age)
    }

    fn epoch_max_writes(&mut self, value: Option<u64>) -> Option<u64> {
        let writes = value?;
        if writes < EPOCH_WRITES_LEAST {
            self.problem(
                "keys.epoch_max_writes",
                format!("must be {EPOCH_WRITES_LEAST} at least"),
            );
        }
        Some(writes)
    }

    fn transit(&mut self, file: FileTransit) -> Option<TransitConfig> {
        let address = endpoint(&file.address).filter(|uri| {
            // The keys to be wrapped travel to it.
            uri.scheme_str() == Some("https") || sts::is_loopback(uri)
        });
        if address.is_none() {
            self.problem(
                "keys.transit.address",
                "is not https://HOST[:PORT]; http:// only for a loopback address",
            );
        }
        if file.key_version == Some(0) {
            self.problem("keys.transit.key_version", "versions count from 1");
        }
        let seconds = Duration::from_secs;
        Some(TransitConfig {
            mount: file.mount.unwrap_or_else(|| "transit".to_owned()),
            namespace: file.namespace,
            key: file.key,
            key_version: file.key_version.unwrap_or(1),
            token_file: self.secret_path("keys.transit.token_file", &file.token_file),
            ca_file: file.ca_file.map(|path| self.path(path)),
            connect_timeout: self.duration("keys.transit.connect_timeout", file.connect_timeout, seconds(2)),
            timeout: self.duration("keys.transit.timeout", file.timeout, seconds(2)),
            address: address?,
        })
    }

    fn limits(&mut self, file: &FileLimits) -> LimitsConfig {
        let seconds = Duration::from_secs;
        let header_bytes = file.header_size.map_or(32 << 10, |size| size.0);
        if !(8 << 10..=256 << 10).contains(&header_bytes) {
            self.problem("limits.header_size", "must be between 8 KiB and 256 KiB");
        }
        LimitsConfig {
            connections: to_usize(self.count("limits.connections", file.connections, 1024)),
            in_flight: to_usize(self.count("limits.in_flight", file.in_flight, 512)),
            header_read_timeout: self.duration(
                "limits.header_read_timeout",
                file.header_read_timeout,
                seconds(75),
            ),
            body_idle_timeout: self.duration("limits.body_idle_timeout", file.body_idle_timeout, seconds(60)),
            body_rate_min: file.body_rate_min.map_or(1 << 10, |size| size.0),
            body_rate_window: self.duration("limits.body_rate_window", file.body_rate_window, seconds(60)),
            drain_timeout: self.duration("limits.drain_timeout", file.drain_timeout, seconds(300)),
            header_bytes: usize::try_from(header_bytes).unwrap_or(32 << 10),
        }
    }

    /// Zero would mean "at once" to some timers and "never" to others, so it is refused everywhere.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        value: Option<DurationText>,
        default: Duration,
    ) -> Duration {
        let duration = value.map_or(default, |value| value.0);
        if duration.is_zero() {
            self.problem(key, "must be longer than zero");
        }
        duration
    }

    fn count(&mut self, key: &'static str, value: Option<u32>, default: u32) -> u32 {
        /// More file descriptors than any process is given.
        const COUNT_MAX: u32 = 1 << 20;
        let count = value.unwrap_or(default);
        if !(1..=COUNT_MAX).contains(&count) {
            self.problem(key, format!("must be between 1 and {COUNT_MAX}"));
        }
        count
    }
}

/// The table of `[keys]` that belongs to a provider.
fn table_of(provider: FileProvider) -> &'static str {
    match provider {
        FileProvider::InsecureLocal => "[keys.insecure_local]",
        FileProvider::Pkcs11 => "[keys.pkcs11]",
        FileProvider::Transit => "[keys.transit]",
        FileProvider::Kmip => "[keys.kmip]",
        FileProvider::AwsKms => "[keys.aws_kms]",
    }
}

/// Why the tables that are there do not fit the provider chosen, if so.
fn wrong_tables(chosen: FileProvider, tables: &[(FileProvider, bool)]) -> Option<String> {
    let is_there = |(_, is_there): &&(FileProvider, bool)| *is_there;
    let there: Vec<_> = tables.iter().filter(is_there).map(|(of, _)| *of).collect();
    let others: Vec<_> = there.iter().copied().filter(|of| *of != chosen).collect();
    let names = others
        .iter()
        .copied()
        .map(table_of)
        .collect::<Vec<_>>()
        .join(" and ");
    if chosen == FileProvider::InsecureLocal && !others.is_empty() {
        return Some(format!(
            "insecure-local refuses to be used with a production key provider: remove {names}, or set provider to theirs"
        ));
    }
    if others.contains(&FileProvider::InsecureLocal) {
        let words =
            "a production key provider refuses to be used with insecure-local: remove [keys.insecure_local]";
        return Some(words.to_owned());
    }
    let own = table_of(chosen);
    match (there.contains(&chosen), others.is_empty()) {
        (true, true) => None,
        (_, false) => Some(format!("this provider needs the table {own} and no {names}")),
        (false, true) => Some(format!("this provider needs the table {own}")),
    }
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn endpoint(text: &str) -> Option<http::Uri> {
    let uri: http::Uri = text.parse().ok()?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_user = uri.authority()?.as_str().contains('@');
    let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
    (has_scheme && !has_user && !has_path).then_some(uri)
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len()) && is_host_name(name)
}
