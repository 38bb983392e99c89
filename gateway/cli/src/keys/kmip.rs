//! Enrolment of a key in a KMIP server.
//!
//! What lives here: what an operator is shown. What must not: the trials. Invariant: a scheme that is not the best
//! is never taken without saying why.

use sceau_kms_kmip::Enrolment;
use sceau_server::config::KmipConfig;
use serde_json::json;

use super::{message, refuse_generation};
use crate::exit::Failure;
use crate::parts;

/// Looks at the key and tries what the server carries for it.
pub(super) async fn enrol(config: &KmipConfig, generate: bool) -> Result<Enrolment, Failure> {
    refuse_generation(generate)?;
    let enrolment = parts::kmip::enrol(config).await?;
    message(&format!(
        "{} by KMIP {}, key {} with the identifier {}",
        enrolment.vendor, enrolment.protocol, config.key, enrolment.key_id
    ));
    message("what this key carries:");
    for trial in &enrolment.trials {
        let words = trial.refusal.as_deref().unwrap_or("passed");
        message(&format!("  {:18} {words}", trial.scheme.name()));
    }
    for finding in &enrolment.findings {
        message(&format!("audit of the key: {}", finding.what));
    }
    Ok(enrolment)
}

/// For records.
pub(super) fn json(enrolment: &Enrolment) -> serde_json::Value {
    let trials = enrolment
        .trials
        .iter()
        .map(|trial| json!({"scheme": trial.scheme.name(), "refusal": trial.refusal}));
    let findings = enrolment.findings.iter().map(|finding| finding.what.clone());
    json!({
        "vendor": enrolment.vendor,
        "protocol": enrolment.protocol,
        "key_id": enrolment.key_id,
        "ladder": trials.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}
