//! Configuration: one TOML file, checked once, turned into types that cannot be invalid.
//!
//! What lives here: the final types, with every default and its reason. What must not: anything
//! that opens sockets or key providers. Invariant: a [`Config`] in hand has passed every rule, its
//! paths are absolute or relative to the working directory as the file's folder requires, and it
//! holds no secret: secrets are read from their files when they are needed. Entry: [`Config::load`].

mod audit;
mod aws_kms;
mod env;
mod error;
mod file;
mod key_uri;
mod kmip;
mod pkcs11;
mod resolve;
mod secret_file;
mod secret_source;
mod sts;
mod suggestion;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sceau_keys::WrapScheme;
use serde::Deserialize;

pub use audit::{AuditConfig, AuditMode};
pub use aws_kms::AwsKmsConfig;
pub use env::is_colour_unwanted;
pub use error::{ConfigError, Problem};
pub use kmip::KmipConfig;
pub use secret_file::{SECRET_FILE_BYTES_MAX, read_secret, read_secret_file};
pub use secret_source::SecretSource;
pub use sts::{IssuerConfig, IssuerKeys, RoleConfig, StsConfig, is_fetchable, is_loopback};

/// Everything the file says, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients and operators connect.
    pub listen: ListenConfig,
    /// The object store behind the gateway.
    pub store: StoreSection,
    /// The key provider and the keyring.
    pub keys: KeysConfig,
    /// Who may connect and do what.
    pub access: AccessConfig,
    /// Who may exchange an identity token for temporary credentials; nobody without.
    pub sts: Option<StsConfig>,
    /// The audit trail.
    pub audit: AuditConfig,
    /// Log output.
    pub log: LogConfig,
    /// Bounds on what clients may use.
    pub limits: LimitsConfig,
}

/// `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// S3 listener. Default `127.0.0.1:9000`: nothing is reachable from outside until asked for.
    pub data: SocketAddr,
    /// Health and metrics listener. Default `127.0.0.1:9001`; loopback unless `admin_allow_remote`.
    pub admin: SocketAddr,
    /// Domains under which `bucket.domain` addresses a bucket, lower case, without port.
    pub domains: Vec<String>,
    /// Regions that clients may sign for, the gateway's own first. Default none, which accepts any: clients
    /// are set to all kinds of regions, and the region keeps nobody out.
    pub regions: Vec<String>,
    /// Certificate and key of the S3 listener; plain HTTP without.
    pub tls: Option<TlsFiles>,
}

/// `[listen.tls]`: PEM files, not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key; must be readable to its owner only.
    pub key: PathBuf,
}

/// How a bucket is named in requests to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointStyle {
    /// `https://endpoint/bucket/key`. The default: self-hosted stores answer it without DNS set-up.
    Path,
    /// `https://bucket.endpoint/key`, which AWS prefers.
    VirtualHost,
}

/// What becomes of objects whose names end in a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FolderMarkers {
    /// They are sealed. The default: nothing is served that was not sealed.
    Sealed,
    /// They are empty, and not sealed: for stores that make folders of them.
    Plain,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSection {
    /// `http://host[:port]` or `https://host[:port]`.
    pub endpoint: http::Uri,
    /// Signing region. Default `us-east-1`, which stores without regions accept.
    pub region: String,
    /// Addressing style.
    pub style: EndpointStyle,
    /// PEM file of extra trust anchors for the store's certificate; replaces the system's store.
    pub ca_file: Option<PathBuf>,
    /// Bucket that holds the keyring and multipart state; clients cannot see it.
    pub control_bucket: String,
    /// Where the store credentials come from.
    pub credentials: CredentialsSource,
    /// Whether the store honours `If-Match` and `If-None-Match` on writes. Default true; without it
    /// two gateways may not change the keyring at the same time.
    pub conditional_writes: bool,
    /// Whether the store keeps tags of objects. Default true; without it clients get 501 for tags.
    pub object_tags: bool,
    /// What becomes of objects whose names end in a slash. Default sealed; a store that drops them needs
    /// plain.
    pub folder_markers: FolderMarkers,
    /// TCP and TLS set-up. Default 5 s: a store that takes longer is treated as down.
    pub connect_timeout: Duration,
    /// From the last request byte to the response head. Default 60 s: completing a large multipart
    /// upload takes stores tens of seconds.
    pub response_timeout: Duration,
    /// Longest silence within a body. Default 60 s.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept. Default 15 s: below the 20 s after which common
    /// stores and balancers close them.
    pub pool_idle_timeout: Duration,
    /// Most connections to the store at once. Default 512, the default of `limits.in_flight`.
    pub connections: u32,
}

/// Where the store credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsSource {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; with software keys only.
    Environment,
    /// A shared credentials file.
    Profile {
        /// The file; `None` for the usual place.
        file: Option<PathBuf>,
        /// Section in it. Default `default`.
        profile: String,
    },
    /// An access key in the configuration with its secret in a file.
    Static {
        /// Public part.
        access_key: String,
        /// Where the secret comes from, one line.
        secret: SecretSource,
    },
}

/// `[keys]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConfig {
    /// Who wraps and unwraps.
    pub provider: ProviderConfig,
    /// Local copy of the keyring; also the pinned minimum of its generation.
    pub keyring: PathBuf,
    /// How long an unwrapped epoch key is kept. Default 5 min: the longest time for which a key
    /// disabled in the HSM still works here.
    pub cache_ttl: Duration,
    /// Most unwrapped epoch keys kept. Default 1024, one memory page each.
    pub cache_entries: usize,
    /// How often the keyring in the control bucket is looked at. Default 10 s.
    pub refresh: Duration,
    /// The epoch of a bucket is over after this time. Default never.
    pub epoch_max_age: Option<Duration>,
    /// The epoch of a bucket is over after this many writes of one gateway. Default never.
    pub epoch_max_writes: Option<u64>,
}

/// The key provider chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderConfig {
    /// Software keys in a file: development only.
    InsecureLocal {
        /// File that holds the key; made when absent.
        key_file: PathBuf,
    },
    /// One or several HSMs through PKCS#11.
    Pkcs11(Box<Pkcs11Config>),
    /// The transit engine of OpenBao or Vault.
    Transit(Box<TransitConfig>),
    /// A KMIP server.
    Kmip(Box<KmipConfig>),
    /// The key management service of AWS.
    AwsKms(Box<AwsKmsConfig>),
}

impl ProviderConfig {
    /// The name used in the file, in metrics and in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsecureLocal { .. } => "insecure-local",
            Self::Pkcs11(_) => "pkcs11",
            Self::Transit(_) => "transit",
            Self::Kmip(_) => "kmip",
            Self::AwsKms(_) => "aws-kms",
        }
    }
}

/// `[keys.pkcs11]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Config {
    /// Absolute path of the vendor's module.
    pub module: PathBuf,
    /// Serial number of the token. One of serial and label is required.
    pub token_serial: Option<String>,
    /// Label of the token.
    pub token_label: Option<String>,
    /// `CKA_LABEL` of the key-encryption key.
    pub key_label: String,
    /// `CKA_ID` of the key-encryption key in hexadecimal, where the label is not unique.
    pub key_id: Option<String>,
    /// Version number recorded in wraps. Default 1.
    pub key_version: u32,
    /// Where the user PIN comes from; read by the helper process only.
    pub pin: SecretSource,
    /// Sessions used at once. Default 8: about what a network HSM answers in parallel per client.
    pub workers: u16,
    /// How keys are wrapped. Default: at enrolment the first scheme that the token carries, afterwards the
    /// enrolled one.
    pub scheme: Option<WrapScheme>,
    /// Name of the HSM family's profile.
    pub profile: Option<String>,
    /// Environment variables the helper process inherits (vendor configuration paths); all others
    /// are withheld.
    pub pass_environment: Vec<String>,
    /// Beside other HSMs of the same site: its share of the requests; 0 stands by for them. Default 1.
    pub weight: u8,
    /// Whether it is asked before HSMs of other sites. Default: all are.
    pub is_local: bool,
    /// After how long a second HSM is asked for an unwrap that the first has not answered. Default 250 ms.
    pub hedge_after: Duration,
    /// Further HSMs that hold the same key; among equals the first is preferred; each says where it is, and has the key
    /// label, version and scheme of this one, and no endpoints of its own.
    pub endpoints: Vec<Pkcs11Config>,
}

impl Pkcs11Config {
    /// This endpoint and the further ones.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.endpoints)
    }
}

/// `[keys.transit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitConfig {
    /// Address of the service: HTTPS, or HTTP on loopback.
    pub address: http::Uri,
    /// Where the engine is mounted. Default `transit`.
    pub mount: String,
    /// Namespace, where the service has them.
    pub namespace: Option<String>,
    /// Name of the key-encryption key.
    pub key: String,
    /// Version of the key that new wraps use. Default 1; it never follows a rotation in the service by itself.
    pub key_version: u32,
    /// File that holds the token; read again for every call.
    pub token_file: PathBuf,
    /// Authority of the service's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// TCP and TLS set-up. Default 2 s: a repetition still fits into a request's 5 s.
    pub connect_timeout: Duration,
    /// For calls of no request, such as health checks and the first look at the key. Default 2 s.
    pub timeout: Duration,
}

/// `[access]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Credentials file: access keys, secrets, principals.
    pub credentials: PathBuf,
    /// Policy file.
    pub policy: PathBuf,
    /// How often both are looked at for changes. Default 2 s.
    pub reload: Duration,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Default text.
    pub format: LogFormat,
    /// A level, or a filter such as `info,sceau_server::upstream=debug`. Default `info`.
    pub level: String,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Most client connections at once. Default 1024; each needs a file descriptor.
    pub connections: usize,
    /// Most requests worked on at once; more wait. Default 512: with two segments of 64 KiB each in
    /// memory per direction they stay well below 200 MiB.
    pub in_flight: usize,
    /// From connection (or last response) to a complete request head; an unused connection is closed
    /// after it. Default 75 s: longer than the 60 s of common balancers, so that they close first.
    pub header_read_timeout: Duration,
    /// Longest silence of a client within a body, sending or taking it. Default 60 s.
    pub body_idle_timeout: Duration,
    /// Fewest bytes per second of a body, either way, over [`Self::body_rate_window`]; zero asks for none.
    /// Default 1 KiB: a sixteenth of the slowest limit that people give to their clients.
    pub body_rate_min: u64,
    /// The time over which `body_rate_min` is averaged, as far as it was spent waiting for the client.
    /// Default 60 s: a connection that breaks down for half a minute and recovers passes.
    pub body_rate_window: Duration,
    /// How long requests may go on after a stop was asked for. Default 5 min: uploads are long.
    pub drain_timeout: Duration,
    /// Largest request head in bytes. Default 32 KiB.
    pub header_bytes: usize,
}

#[cfg(test)]
mod tests;
