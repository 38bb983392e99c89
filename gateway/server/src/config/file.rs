//! The configuration file as it is written.
//!
//! What lives here: one struct per TOML table, unknown keys refused, typed units. What must not:
//! defaults and rules between keys (`resolve.rs`). Invariant: every field here appears in
//! deploy/sceau.toml.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::audit::FileAudit;
use super::aws_kms::FileAwsKms;
use super::kmip::FileKmip;
use super::sts::FileSts;
use super::units::{DurationText, SizeText};
use super::{EndpointStyle, FolderMarkers, LogFormat};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    /// Read and checked before this struct is filled; accepted here so that it is a known key.
    #[serde(rename = "version")]
    pub(super) _version: i64,
    #[serde(default)]
    pub(super) listen: FileListen,
    pub(super) store: FileStore,
    pub(super) keys: FileKeys,
    pub(super) access: FileAccess,
    pub(super) sts: Option<FileSts>,
    #[serde(default)]
    pub(super) audit: FileAudit,
    #[serde(default)]
    pub(super) log: FileLog,
    #[serde(default)]
    pub(super) limits: FileLimits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileListen {
    pub(super) data: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) admin_allow_remote: Option<bool>,
    #[serde(default)]
    pub(super) domains: Vec<String>,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    pub(super) tls: Option<FileTls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTls {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStore {
    pub(super) endpoint: String,
    pub(super) region: Option<String>,
    pub(super) style: Option<EndpointStyle>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) control_bucket: String,
    pub(super) credentials: FileCredentials,
    pub(super) conditional_writes: Option<bool>,
    pub(super) object_tags: Option<bool>,
    pub(super) folder_markers: Option<FolderMarkers>,
    pub(super) connect_timeout: Option<DurationText>,
    pub(super) response_timeout: Option<DurationText>,
    pub(super) idle_timeout: Option<DurationText>,
    pub(super) pool_idle_timeout: Option<DurationText>,
    pub(super) connections: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCredentials {
    pub(super) source: FileCredentialsSource,
    pub(super) access_key: Option<String>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) profile: Option<String>,
    pub(super) file: Option<PathBuf>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FileCredentialsSource {
    Environment,
    Profile,
    Static,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    pub(super) provider: FileProvider,
    pub(super) keyring: PathBuf,
    pub(super) cache_ttl: Option<DurationText>,
    pub(super) cache_entries: Option<u32>,
    pub(super) refresh: Option<DurationText>,
    pub(super) epoch_max_age: Option<DurationText>,
    pub(super) epoch_max_writes: Option<u64>,
    pub(super) pkcs11: Option<FilePkcs11>,
    pub(super) transit: Option<FileTransit>,
    pub(super) kmip: Option<FileKmip>,
    pub(super) aws_kms: Option<FileAwsKms>,
    pub(super) insecure_local: Option<FileInsecureLocal>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FileProvider {
    InsecureLocal,
    Pkcs11,
    Transit,
    Kmip,
    AwsKms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePkcs11 {
    pub(super) uri: Option<String>,
    pub(super) module: Option<PathBuf>,
    pub(super) token_serial: Option<String>,
    pub(super) token_label: Option<String>,
    pub(super) key_label: Option<String>,
    pub(super) key_id: Option<String>,
    pub(super) key_version: Option<u32>,
    pub(super) pin_file: Option<PathBuf>,
    pub(super) workers: Option<u16>,
    pub(super) scheme: Option<String>,
    pub(super) profile: Option<String>,
    #[serde(default)]
    pub(super) pass_environment: Vec<String>,
    pub(super) site: Option<String>,
    pub(super) local_site: Option<String>,
    pub(super) weight: Option<u8>,
    pub(super) hedge_after: Option<DurationText>,
    #[serde(default)]
    pub(super) endpoint: Vec<FileEndpoint>,
}

/// `[[keys.pkcs11.endpoint]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEndpoint {
    pub(super) uri: Option<String>,
    pub(super) module: Option<PathBuf>,
    pub(super) token_serial: Option<String>,
    pub(super) token_label: Option<String>,
    pub(super) key_id: Option<String>,
    pub(super) pin_file: Option<PathBuf>,
    pub(super) workers: Option<u16>,
    pub(super) profile: Option<String>,
    pub(super) site: Option<String>,
    pub(super) weight: Option<u8>,
    #[serde(default)]
    pub(super) pass_environment: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTransit {
    pub(super) address: String,
    pub(super) mount: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) key: String,
    pub(super) key_version: Option<u32>,
    pub(super) token_file: PathBuf,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) connect_timeout: Option<DurationText>,
    pub(super) timeout: Option<DurationText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileInsecureLocal {
    pub(super) key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAccess {
    pub(super) credentials: PathBuf,
    pub(super) policy: PathBuf,
    pub(super) reload: Option<DurationText>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLog {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    pub(super) connections: Option<u32>,
    pub(super) in_flight: Option<u32>,
    pub(super) header_read_timeout: Option<DurationText>,
    pub(super) body_idle_timeout: Option<DurationText>,
    pub(super) body_rate_min: Option<SizeText>,
    pub(super) body_rate_window: Option<DurationText>,
    pub(super) drain_timeout: Option<DurationText>,
    pub(super) header_size: Option<SizeText>,
}
