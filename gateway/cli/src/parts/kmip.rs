//! A key in a KMIP server.
//!
//! What lives here: from configuration to the adapter's own, and what enrolment shows. What must not: messages.
//! Invariant: a gateway uses the scheme that was enrolled; only enrolment chooses one.

use sceau_keys::WrapScheme;
use sceau_kms_kmip::{Enrolment, KmipProvider, Version};
use sceau_server::config::KmipConfig;

use crate::exit::Failure;

fn adapter(config: &KmipConfig) -> sceau_kms_kmip::KmipConfig {
    sceau_kms_kmip::KmipConfig {
        host: config.host.clone(),
        port: config.port,
        ca_file: config.ca_file.clone(),
        cert_file: config.cert_file.clone(),
        key_file: config.key_file.clone(),
        key_label: config.key.clone(),
        key_id: config.key_id.clone(),
        key_version: config.key_version,
        protocol_max: config.protocol_max.as_deref().and_then(Version::parse),
        connections: usize::from(config.connections),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
    }
}

/// Looks at the key of the configuration and tries it.
pub(super) async fn connect(config: &KmipConfig, scheme: WrapScheme) -> Result<KmipProvider, Failure> {
    let provider = KmipProvider::connect(adapter(config), scheme).await;
    provider.map_err(Failure::keys)
}

/// What the server carries for the key.
pub async fn enrol(config: &KmipConfig) -> Result<Enrolment, Failure> {
    let enrolment = KmipProvider::enrol(adapter(config), config.scheme).await;
    enrolment.map_err(Failure::keys)
}
