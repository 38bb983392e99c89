//! From the configuration to the parts of a gateway, in one place for every command.
//!
//! What lives here: the choice of key provider, the store client, the keyring's surroundings. What
//! must not: what a command does with them. Invariant: every command that names a configuration sees
//! the same store, keys and rules as `sceau serve`.

mod aws_kms;
pub mod kmip;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sceau_envelope::keyring::{EnrolledKek, UnverifiedKeyring};
use sceau_keys::{SecretText, WrapScheme};
use sceau_kms::KeyProvider;
use sceau_kms_aws::AwsKmsProvider;
use sceau_kms_insecure_local::InsecureLocalProvider;
use sceau_kms_kmip::KmipProvider;
use sceau_kms_pkcs11::{
    HelperCommand, PROFILES, PinSource, Pkcs11Group, Profile, TokenSelection, ask_on_terminal,
};
use sceau_kms_transit::TransitProvider;
use sceau_server::admin::Readiness;
use sceau_server::audit::Trail;
use sceau_server::config::{
    Config, CredentialsSource, EndpointStyle, FolderMarkers, KeysConfig, LogConfig, LogFormat, Pkcs11Config,
    ProviderConfig, SecretSource, StoreSection, TransitConfig, read_secret,
};
use sceau_server::keyring::{
    Canary, EnrolledToken, EpochLimits, KeyringOptions, KeyringParts, KeyringService, LocalCopy, Recorded,
    try_copy,
};
use sceau_server::telemetry::{self, Metrics};
use sceau_server::upstream::{
    self, AddressingStyle, Capabilities, ControlBucket, CredentialSource, Store, StoreConfig, Timeouts,
};

use crate::enrolment;
use crate::exit::{Failure, Part};

/// How long a gateway that was ready stays ready while a component fails.
const READINESS_GRACE: Duration = Duration::from_secs(30);

/// The option that every command with a configuration has.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/sceau/sceau.toml")]
    pub config: PathBuf,
}

/// What commands build on.
pub struct Foundations {
    /// The configuration.
    pub config: Config,
    /// Metric handles.
    pub metrics: Arc<Metrics>,
    /// The audit trail; kept by `sceau serve` only.
    pub trail: Trail,
    /// Readiness of the components.
    pub readiness: Arc<Readiness>,
    /// The store.
    pub store: Store,
    /// The control bucket in it.
    pub control: ControlBucket,
}

impl Foundations {
    /// Reads the configuration and makes the store client; nothing is sent yet.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        Self::new(load_config(path)?)
    }

    /// As [`Foundations::load`], with a configuration that was read before.
    pub fn new(config: Config) -> Result<Self, Failure> {
        let store = store(&config.store)?;
        let control = ControlBucket::new(store.clone(), config.store.control_bucket.clone());
        Ok(Self {
            metrics: Arc::new(Metrics::new().map_err(Failure::internal)?),
            trail: Trail::off(),
            readiness: Arc::new(Readiness::new(READINESS_GRACE)),
            config,
            store,
            control,
        })
    }

    /// What the keyring service is made of.
    pub fn keyring_parts(&self, provider: Arc<Recorded>) -> KeyringParts {
        let keys = &self.config.keys;
        KeyringParts {
            provider,
            control: Arc::new(self.control.clone()),
            options: KeyringOptions {
                local: keys.keyring.clone(),
                cache_ttl: keys.cache_ttl,
                cache_entries: keys.cache_entries,
                refresh: keys.refresh,
                epochs: EpochLimits {
                    max_age: keys.epoch_max_age,
                    max_writes: keys.epoch_max_writes,
                },
            },
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
        }
    }

    /// Opens the keyring.
    pub async fn keyring(&self, provider: Arc<Recorded>) -> Result<Arc<KeyringService>, Failure> {
        KeyringService::open(self.keyring_parts(provider))
            .await
            .map_err(Failure::keyring)
    }
}

/// Reads the configuration.
pub fn load_config(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(|error| Failure::config(&error))
}

/// Logs of commands that end by themselves: warnings, and what the key provider was asked for.
pub fn quiet_logs() {
    let config = LogConfig {
        format: LogFormat::Text,
        level: "warn,sceau::keys=info".to_owned(),
    };
    // Set up before in this process means: there are logs already.
    let _ = telemetry::init(&config);
}

/// Where credentials come from; the secret's file is read now.
///
/// `whose` and `key`: where they are for, in words and in the configuration.
fn credential_source(
    source: &CredentialsSource,
    whose: &str,
    key: &str,
) -> Result<CredentialSource, Failure> {
    Ok(match source {
        CredentialsSource::Environment => CredentialSource::Environment,
        CredentialsSource::Profile { file, profile } => CredentialSource::Profile {
            file: file.clone(),
            profile: profile.clone(),
        },
        CredentialsSource::Static { access_key, secret } => CredentialSource::Static {
            access_key: access_key.clone(),
            secret: typed_or_read(access_key, secret, whose, key)?,
            session_token: None,
        },
    })
}

/// The store client of the configuration.
pub fn store(section: &StoreSection) -> Result<Store, Failure> {
    let credentials = credential_source(&section.credentials, "the store", "store.credentials")?;
    let config = StoreConfig {
        style: match section.style {
            EndpointStyle::Path => AddressingStyle::Path,
            EndpointStyle::VirtualHost => AddressingStyle::VirtualHost,
        },
        ca_file: section.ca_file.clone(),
        timeouts: Timeouts {
            connect: section.connect_timeout,
            response_head: section.response_timeout,
            idle_read: section.idle_timeout,
            pool_idle: section.pool_idle_timeout,
            ..Timeouts::default()
        },
        capabilities: Capabilities {
            conditional_writes: section.conditional_writes,
            object_tags: section.object_tags,
            folder_markers: match section.folder_markers {
                FolderMarkers::Sealed => upstream::FolderMarkers::Sealed,
                FolderMarkers::Plain => upstream::FolderMarkers::Plain,
            },
        },
        max_connections: usize::try_from(section.connections).unwrap_or(usize::MAX),
        ..StoreConfig::new(section.endpoint.clone(), section.region.clone(), credentials)
    };
    Store::new(config).map_err(Failure::store)
}

/// The store's secret, from its file or from whoever sits at the terminal.
fn typed_or_read(
    access_key: &str,
    source: &SecretSource,
    whose: &str,
    key: &str,
) -> Result<SecretText, Failure> {
    if let Some(path) = source.file() {
        return read_secret(path).map_err(|error| Failure::config(&error));
    }
    let hint = format!(
        "where nobody can type, let {key}.secret_file name a file, or a credential in a unit with LoadCredential="
    );
    let answer = ask_on_terminal(&format!("secret key of {access_key} at {whose}: ")).map_err(|error| {
        Failure::usage(format!("the secret of {whose} is to be typed, but: {error}")).with_hint(hint.clone())
    })?;
    let text = std::str::from_utf8(&answer).ok().filter(|text| !text.is_empty());
    let text =
        text.ok_or_else(|| Failure::usage(format!("the secret of {whose} was not typed")).with_hint(hint))?;
    Ok(SecretText::new(text.to_owned()))
}

/// The key provider of the configuration, running.
pub enum Provider {
    /// Software keys.
    InsecureLocal(Arc<InsecureLocalProvider>),
    /// One or several HSMs.
    Pkcs11(Arc<Pkcs11Group>),
    /// The transit engine of OpenBao or Vault.
    Transit(Arc<TransitProvider>),
    /// A KMIP server.
    Kmip(Arc<KmipProvider>),
    /// The key management service of AWS.
    AwsKms(Arc<AwsKmsProvider>),
}

impl Provider {
    /// Starts the key provider of the configuration, with the scheme that was enrolled. A module that was not
    /// accepted at enrolment or since is not loaded.
    pub async fn start(keys: &KeysConfig) -> Result<Self, Failure> {
        enrolment::refuse_changed_module(keys).await?;
        Self::start_with(keys, None).await
    }

    /// As [`Provider::start`] whatever the module is: for a key that is about to be enrolled with `scheme`, or
    /// accepted again.
    pub async fn start_with(keys: &KeysConfig, scheme: Option<WrapScheme>) -> Result<Self, Failure> {
        match &keys.provider {
            ProviderConfig::InsecureLocal { key_file } => {
                let provider = InsecureLocalProvider::open(key_file).map_err(Failure::keys)?;
                Ok(Self::InsecureLocal(Arc::new(provider)))
            }
            ProviderConfig::Pkcs11(config) => {
                let scheme = scheme
                    .or(config.scheme)
                    .or_else(|| enrolled_scheme(keys, &config.key_label, config.key_version));
                let scheme = scheme.unwrap_or(WrapScheme::AesGcmCallerIv);
                let mut endpoints = Vec::new();
                for (place, endpoint) in config.all().enumerate() {
                    endpoints.push(sceau_kms_pkcs11::Pkcs11Config {
                        pin_latch: Some(pin_latch(&keys.keyring, place)),
                        ..pkcs11(endpoint, &keys.keyring, Some(scheme))?
                    });
                }
                let group = Pkcs11Group::spawn_with(endpoints, config.hedge_after).await;
                let group = group.map_err(Failure::keys)?;
                let group = match enrolled_name(keys, config, &group).await {
                    Some(name) => group.named(name),
                    None => group,
                };
                Ok(Self::Pkcs11(Arc::new(group)))
            }
            ProviderConfig::Transit(config) => {
                let provider = TransitProvider::connect(transit(config)).await;
                Ok(Self::Transit(Arc::new(provider.map_err(Failure::keys)?)))
            }
            ProviderConfig::Kmip(config) => {
                let enrolled = || enrolled_scheme(keys, &config.key, config.key_version);
                let scheme = scheme.or(config.scheme).or_else(enrolled);
                let scheme = scheme.unwrap_or(WrapScheme::KmipGcm);
                let provider = kmip::connect(config, scheme).await?;
                Ok(Self::Kmip(Arc::new(provider)))
            }
            ProviderConfig::AwsKms(config) => {
                let provider = aws_kms::connect(config).await?;
                Ok(Self::AwsKms(Arc::new(provider)))
            }
        }
    }

    /// The provider behind the common interface; each of its operations is recorded.
    pub fn shared(&self, metrics: &Arc<Metrics>) -> Arc<Recorded> {
        Recorded::over(self.bare(), Arc::clone(metrics))
    }

    /// The tokens that hold the key, as they are seen now; none where there are no tokens.
    pub fn tokens(&self) -> Vec<EnrolledToken> {
        let Self::Pkcs11(group) = self else {
            return Vec::new();
        };
        group.facts().into_iter().map(enrolment::token).collect()
    }

    /// As [`Provider::shared`], with records in the audit trail too.
    pub fn audited(&self, foundations: &Foundations) -> Arc<Recorded> {
        let metrics = Arc::clone(&foundations.metrics);
        Recorded::audited(self.bare(), metrics, foundations.trail.clone())
    }

    fn bare(&self) -> Arc<dyn KeyProvider> {
        match self {
            Self::InsecureLocal(provider) => Arc::clone(provider) as Arc<dyn KeyProvider>,
            Self::Pkcs11(provider) => Arc::clone(provider) as Arc<dyn KeyProvider>,
            Self::Transit(provider) => Arc::clone(provider) as Arc<dyn KeyProvider>,
            Self::Kmip(provider) => Arc::clone(provider) as Arc<dyn KeyProvider>,
            Self::AwsKms(provider) => Arc::clone(provider) as Arc<dyn KeyProvider>,
        }
    }

    /// SHA-256 of the module in hexadecimal, empty without one.
    pub fn module_sha256(&self) -> String {
        match self {
            Self::InsecureLocal(_) | Self::Transit(_) | Self::Kmip(_) | Self::AwsKms(_) => String::new(),
            Self::Pkcs11(provider) => provider.module_sha256().to_owned(),
        }
    }

    /// How often the helper process was started again.
    pub fn helper_restarts(&self) -> u64 {
        match self {
            Self::InsecureLocal(_) | Self::Transit(_) | Self::Kmip(_) | Self::AwsKms(_) => 0,
            Self::Pkcs11(provider) => provider.restarts(),
        }
    }

    /// Whether each HSM serves, and how often a second one was asked because the first was late; nothing for
    /// other providers.
    pub fn endpoints(&self) -> (Vec<bool>, u64) {
        match self {
            Self::InsecureLocal(_) | Self::Transit(_) | Self::AwsKms(_) | Self::Kmip(_) => (Vec::new(), 0),
            Self::Pkcs11(provider) => (provider.endpoints_up(), provider.hedged()),
        }
    }
}

/// The scheme that the local copy of the keyring names for the configured key.
///
/// The copy is not verified yet: that takes the key. Whoever alters it gains nothing: another scheme opens
/// no wrap, and a name that passes here is compared again, verified, when the keyring is opened.
fn enrolled_scheme(keys: &KeysConfig, label: &str, version: u32) -> Option<WrapScheme> {
    enrolled_keks(keys, label, version).first().map(|kek| kek.scheme)
}

/// The enrolled keys of the configured label and version, by the local copy of the keyring. Nothing is
/// verified yet.
fn enrolled_keks(keys: &KeysConfig, label: &str, version: u32) -> Vec<EnrolledKek> {
    let document = LocalCopy::new(keys.keyring.clone()).read().ok().flatten();
    let keyring = document.and_then(|document| UnverifiedKeyring::parse(&document).ok());
    let is_ours = |kek: &&EnrolledKek| kek.label == label && kek.version == version;
    keyring.map_or_else(Vec::new, |keyring| {
        keyring.keks().iter().filter(is_ours).cloned().collect()
    })
}

/// The name that the group's key was enrolled under, where no member that is there now bears it: the key's
/// canary proves that it is the same key, not its label. A keyring that was tampered with gains nothing by
/// another name here, because new records need a name that the verified keyring knows.
async fn enrolled_name(keys: &KeysConfig, config: &Pkcs11Config, group: &Pkcs11Group) -> Option<String> {
    let keks = enrolled_keks(keys, &config.key_label, config.key_version);
    if keks.iter().any(|kek| kek.provider == group.info().instance) {
        return None;
    }
    for kek in keks {
        if try_copy(group, &kek).await == Ok(Canary::Recognised) {
            return Some(kek.provider);
        }
    }
    None
}

/// Where a refused PIN of the endpoint in this place is remembered: beside the local keyring, which the
/// gateway may write.
fn pin_latch(keyring: &Path, place: usize) -> PathBuf {
    let mut name = keyring.as_os_str().to_owned();
    name.push(".refused-pin");
    if place > 0 {
        name.push(format!("-{place}"));
    }
    name.into()
}

/// The adapter's configuration; `scheme` is `None` only before enrolment.
pub fn pkcs11(
    config: &Pkcs11Config,
    keyring: &Path,
    scheme: Option<WrapScheme>,
) -> Result<sceau_kms_pkcs11::Pkcs11Config, Failure> {
    // The helper is this very binary, so that the two always agree on their protocol.
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let helper = HelperCommand {
        program,
        args: vec!["pkcs11-helper".to_owned()],
    };
    let token = TokenSelection {
        serial: config.token_serial.clone(),
        label: config.token_label.clone(),
    };
    let pin = match &config.pin {
        SecretSource::File(path) => PinSource::File(path.clone()),
        SecretSource::Credential(path) => PinSource::Credential(path.clone()),
        SecretSource::Prompt => PinSource::Prompt,
    };
    let gcm_iv = match config.profile.as_deref() {
        None => None,
        Some(name) => {
            let profile = Profile::named(name).ok_or_else(|| unknown_profile(name))?;
            profile.gcm_iv
        }
    };
    Ok(sceau_kms_pkcs11::Pkcs11Config {
        key_id: config.key_id.clone(),
        key_version: config.key_version,
        workers: usize::from(config.workers),
        weight: config.weight,
        is_local: config.is_local,
        scheme,
        gcm_iv,
        pin_latch: Some(pin_latch(keyring, 0)),
        env_pass: config.pass_environment.clone(),
        ..sceau_kms_pkcs11::Pkcs11Config::new(
            config.module.clone(),
            token,
            config.key_label.clone(),
            pin,
            helper,
        )
    })
}

fn transit(config: &TransitConfig) -> sceau_kms_transit::TransitConfig {
    sceau_kms_transit::TransitConfig {
        endpoint: config.address.clone(),
        ca_file: config.ca_file.clone(),
        namespace: config.namespace.clone(),
        mount: config.mount.clone(),
        key_label: config.key.clone(),
        key_version: Some(config.key_version),
        token_file: config.token_file.clone(),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
    }
}

fn unknown_profile(name: &str) -> Failure {
    let known: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
    Failure::new(
        Part::Usage,
        format!("keys.pkcs11.profile: there is no profile {name}"),
    )
    .with_id("E-CONF-009")
    .with_hint(format!("known are {}", known.join(", ")))
}
