//! `[keys.kmip]`: a key in a KMIP server.
//!
//! What lives here: the table as written, the checked type, its rules. What must not: calls. Invariant: the
//! server is known by the customer's own authority; there is no way to go without.

use std::path::PathBuf;
use std::time::Duration;

use sceau_keys::WrapScheme;
use serde::Deserialize;

use super::resolve::Resolver;
use super::units::DurationText;

/// The port that the standard's registration names.
const PORT: u16 = 5696;
/// Most connections to the server at once.
const CONNECTIONS_MAX: u16 = 64;
/// Versions of the protocol that are spoken.
const PROTOCOLS: [&str; 5] = ["1.2", "1.3", "1.4", "2.0", "2.1"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKmip {
    address: String,
    ca_file: PathBuf,
    cert_file: PathBuf,
    key_file: PathBuf,
    key: String,
    key_id: Option<String>,
    key_version: Option<u32>,
    scheme: Option<String>,
    protocol_max: Option<String>,
    connections: Option<u16>,
    connect_timeout: Option<DurationText>,
    timeout: Option<DurationText>,
}

/// `[keys.kmip]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmipConfig {
    /// Host name or address of the server, without brackets; its certificate must be for it.
    pub host: String,
    /// Port. Default 5696.
    pub port: u16,
    /// Authority of the server's certificate, PEM. The system's list is never used.
    pub ca_file: PathBuf,
    /// The gateway's certificate with its chain, PEM; read for each connection.
    pub cert_file: PathBuf,
    /// Its private key, PEM; read for each connection.
    pub key_file: PathBuf,
    /// Name of the key-encryption key.
    pub key: String,
    /// Its unique identifier, where the name is not unique.
    pub key_id: Option<String>,
    /// Version number recorded in wraps. Default 1.
    pub key_version: u32,
    /// How keys are wrapped. Default: at enrolment the first scheme that the server carries, afterwards the
    /// enrolled one.
    pub scheme: Option<WrapScheme>,
    /// Highest version of the protocol, one of 1.2, 1.3, 1.4, 2.0, 2.1. Default: the best that both speak.
    pub protocol_max: Option<String>,
    /// Connections used at once. Default 8.
    pub connections: u16,
    /// TCP and TLS set-up. Default 2 s: a repetition still fits into a request's 5 s.
    pub connect_timeout: Duration,
    /// For calls of no request, such as health checks. Default 2 s.
    pub timeout: Duration,
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
            None => (text, Some("")),
        },
    };
    let port = match port? {
        "" => PORT,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':');
    (!host.is_empty() && host.chars().all(is_name)).then(|| (host.to_owned(), port))
}

impl Resolver<'_> {
    pub(super) fn kmip(&mut self, file: FileKmip) -> Option<KmipConfig> {
        let address = address(&file.address);
        if address.is_none() {
            self.problem("keys.kmip.address", "is not HOST or HOST:PORT");
        }
        if file.key_version == Some(0) {
            self.problem("keys.kmip.key_version", "versions count from 1");
        }
        let scheme = file.scheme.as_deref().map(WrapScheme::from_name);
        let is_known = matches!(
            scheme,
            None | Some(Some(WrapScheme::KmipGcm | WrapScheme::AesCbcKdf))
        );
        if !is_known {
            self.problem("keys.kmip.scheme", "must be \"kmip-gcm\" or \"aes-cbc-kdf\"");
        }
        let protocol = file.protocol_max.as_deref();
        if protocol.is_some_and(|text| !PROTOCOLS.contains(&text)) {
            self.problem(
                "keys.kmip.protocol_max",
                format!("must be one of {}", PROTOCOLS.join(", ")),
            );
        }
        let connections = file.connections.unwrap_or(8);
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            self.problem("keys.kmip.connections", "must be between 1 and 64");
        }
        let seconds = Duration::from_secs;
        let connect_timeout = self.duration("keys.kmip.connect_timeout", file.connect_timeout, seconds(2));
        let timeout = self.duration("keys.kmip.timeout", file.timeout, seconds(2));
        let key_file = self.secret_path("keys.kmip.key_file", &file.key_file);
        let (host, port) = address?;
        Some(KmipConfig {
            host,
            port,
            ca_file: self.path(file.ca_file),
            cert_file: self.path(file.cert_file),
            key_file,
            key: file.key,
            key_id: file.key_id,
            key_version: file.key_version.unwrap_or(1),
            scheme: scheme.flatten(),
            protocol_max: file.protocol_max,
            connections,
            connect_timeout,
            timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_are_hosts_with_or_without_a_port() {
        let good = [
            ("kmip.example", ("kmip.example", 5696)),
            ("kmip.example:1234", ("kmip.example", 1234)),
            ("192.0.2.7", ("192.0.2.7", 5696)),
            ("[2001:db8::1]", ("2001:db8::1", 5696)),
            ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ];
        for (text, (host, port)) in good {
            assert_eq!(address(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ":5696",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "https://host",
            "2001:db8::1",
            "[host]",
            "[2001:db8::1",
            "[2001:db8::1]5696",
            "ho st",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
