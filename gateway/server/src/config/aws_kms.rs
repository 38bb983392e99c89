//! `[keys.aws_kms]`: a key in the key management service of AWS.
//!
//! What lives here: the table as written, the checked type, its rules. What must not: calls, credentials
//! themselves. Invariant: keys and credentials travel over HTTPS, or to this very host.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::CredentialsSource;
use super::file::FileCredentials;
use super::resolve::{Resolver, endpoint};
use super::sts::is_loopback;
use super::units::DurationText;

/// Longest name of a key, in bytes: what an ARN may have.
const KEY_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAwsKms {
    key: String,
    region: Option<String>,
    address: Option<String>,
    ca_file: Option<PathBuf>,
    connect_timeout: Option<DurationText>,
    timeout: Option<DurationText>,
    credentials: FileCredentials,
}

/// `[keys.aws_kms]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKmsConfig {
    /// ARN or id of the key, never an alias: an alias can be moved to another key.
    pub key: String,
    /// Region that is signed for. Default: the one in the ARN.
    pub region: String,
    /// Address of the service: HTTPS, or HTTP on loopback. Default: AWS's public one of the region.
    pub address: http::Uri,
    /// Authority of the service's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// TCP and TLS set-up. Default 2 s: a second endpoint or a repetition still fits into a request's 5 s.
    pub connect_timeout: Duration,
    /// For calls of no request, such as health checks and the first look at the key. Default 2 s.
    pub timeout: Duration,
    /// Where the credentials come from; never the environment.
    pub credentials: CredentialsSource,
}

/// Region and public address that an ARN of the partition `aws` tells.
fn of_arn(key: &str) -> Option<(&str, String)> {
    let region = key.strip_prefix("arn:aws:kms:")?.split(':').next()?;
    Some((region, format!("https://kms.{region}.amazonaws.com")))
}

fn is_region(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Resolver<'_> {
    pub(super) fn aws_kms(&mut self, file: FileAwsKms) -> Option<AwsKmsConfig> {
        let told = of_arn(&file.key);
        if file.key.contains("alias/") || file.key.len() > KEY_BYTES_MAX {
            self.problem(
                "keys.aws_kms.key",
                "is no key ARN or key id; an alias is not taken",
            );
        }
        let region = file
            .region
            .or_else(|| told.as_ref().map(|(region, _)| (*region).to_owned()));
        let region = region.filter(|region| is_region(region));
        if region.is_none() {
            self.problem(
                "keys.aws_kms.region",
                "is needed unless `key` is an ARN of the partition aws",
            );
        }
        let address = file.address.or_else(|| told.map(|(_, address)| address));
        let address = address.and_then(|text| endpoint(&text)).filter(|uri| {
            // The keys to be wrapped travel to it.
            uri.scheme_str() == Some("https") || is_loopback(uri)
        });
        if address.is_none() {
            self.problem(
                "keys.aws_kms.address",
                "is not https://HOST[:PORT], http:// only for a loopback address; needed unless `key` is an ARN of the partition aws",
            );
        }
        let credentials = self.credentials("keys.aws_kms.credentials", file.credentials);
        if credentials == Some(CredentialsSource::Environment) {
            // Whoever can look at the environment of a process has what is in it, and children inherit it.
            self.problem(
                "keys.aws_kms.credentials",
                "source = \"environment\" is not taken here: use a file, a systemd credential or a profile",
            );
        }
        let seconds = Duration::from_secs;
        let connect_timeout = self.duration("keys.aws_kms.connect_timeout", file.connect_timeout, seconds(2));
        let timeout = self.duration("keys.aws_kms.timeout", file.timeout, seconds(2));
        Some(AwsKmsConfig {
            key: file.key,
            region: region?,
            address: address?,
            ca_file: file.ca_file.map(|path| self.path(path)),
            connect_timeout,
            timeout,
            credentials: credentials?,
        })
    }
}
