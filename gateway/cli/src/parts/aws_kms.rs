//! The key management service of AWS, with the gateway's own credentials.
//!
//! What lives here: from configuration to the running provider. What must not: signatures, the meaning of answers.
//! Invariant: the adapter borrows credentials for one signature and keeps none.

use std::sync::Arc;

use sceau_kms::KeyError;
use sceau_kms_aws::{AwsKmsProvider, CredentialLender, KeyName};
use sceau_s3wire::sigv4;
use sceau_server::config::AwsKmsConfig;
use sceau_server::upstream::CredentialProvider;

use super::credential_source;
use crate::exit::Failure;

struct Lender(CredentialProvider);

impl CredentialLender for Lender {
    fn lend(&self, borrower: &mut dyn FnMut(sigv4::Credentials<'_>)) {
        self.0.lend(borrower);
    }
}

fn misconfigured(what: &str) -> Failure {
    Failure::keys(KeyError::Misconfigured {
        what: what.to_owned(),
    })
}

/// Looks at the key of the configuration and tries it.
pub(super) async fn connect(config: &AwsKmsConfig) -> Result<AwsKmsProvider, Failure> {
    let key = KeyName::parse(&config.key)
        .ok_or_else(|| misconfigured("keys.aws_kms.key is no key ARN or key id; an alias is not taken"))?;
    let lender = CredentialProvider::new(credential_source(
        &config.credentials,
        "the key service",
        "keys.aws_kms.credentials",
    )?)
    .map_err(|_| misconfigured("keys.aws_kms.credentials name none that can be used"))?;
    let config = sceau_kms_aws::AwsKmsConfig {
        endpoint: config.address.clone(),
        ca_file: config.ca_file.clone(),
        region: config.region.clone(),
        key,
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
    };
    AwsKmsProvider::connect(config, Arc::new(Lender(lender)))
        .await
        .map_err(Failure::keys)
}
