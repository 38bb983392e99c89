//! Enrolment: what a crypto officer runs once for a key.
//!
//! What lives here: [`probe`] and [`generate_kek`], each in a one-shot helper process. What must not:
//! anything the gateway runs in service. Invariant: nothing here changes an existing key.

use data_encoding::HEXLOWER;
use sceau_keys::{BucketId, Krid, TenantId, Wrap, WrapContext, WrapScheme};
use sceau_kms::{Finding, KeyError};

use crate::config::Pkcs11Config;
use crate::frame::{self, Report, Task};
use crate::link::{Link, START_LIMIT};
use crate::provider::findings;

/// One rung of the ladder at enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The scheme.
    pub scheme: WrapScheme,
    /// Why it was refused, in words; `None` if it passed its functional test.
    pub refusal: Option<String>,
}

fn trials(told: &[frame::Trial]) -> Result<Vec<Trial>, KeyError> {
    let trial = |told: &frame::Trial| {
        Some(Trial {
            scheme: WrapScheme::from_code(told.scheme)?,
            refusal: told.refusal.clone(),
        })
    };
    let read: Option<_> = told.iter().map(trial).collect();
    read.ok_or(KeyError::Internal)
}

/// A key-encryption key that was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// Its `CKA_ID` in hexadecimal.
    pub key_id: String,
    /// The scheme it was made for: the configured one, or the first of the ladder that the token carries.
    pub scheme: WrapScheme,
    /// What each rung said on a throw-away key; empty when the scheme was given.
    pub trials: Vec<Trial>,
}

/// What the functional test and the audit of a key found: the body of the enrolment record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The scheme that passed its functional test; pin it.
    pub scheme: WrapScheme,
    /// What each rung of the ladder said on this key; empty when the scheme was given.
    pub trials: Vec<Trial>,
    /// The token's serial number.
    pub token_serial: String,
    /// The token's label.
    pub token_label: String,
    /// The token's manufacturer and model.
    pub token_model: String,
    /// The token's firmware version.
    pub token_firmware: String,
    /// `CKA_LABEL` of the key.
    pub key_label: String,
    /// `CKA_ID` of the key in hexadecimal.
    pub key_id: String,
    /// Our version of the key.
    pub key_version: u32,
    /// The token's own check value of the key in hexadecimal, where it has one.
    pub check_value: Option<String>,
    /// The key's attributes as the token tells them: name and value.
    pub attributes: Vec<(String, bool)>,
    /// What the audit of the attributes found; an error means: do not use this key.
    pub findings: Vec<Finding>,
    /// Names of the return codes by which this token refuses altered input.
    pub tamper_codes: Vec<String>,
    /// A wrap of a random key in [`enrolment_context`]: another token holds the same key if, and only
    /// if, it unwraps this.
    pub canary: Wrap,
    /// SHA-256 of the module in hexadecimal.
    pub module_sha256: String,
}

/// The context of an enrolment's canary: all zero, which no key record ever has.
pub fn enrolment_context() -> WrapContext {
    WrapContext {
        krid: Krid([0; 16]),
        tenant: TenantId([0; 16]),
        bucket: BucketId([0; 16]),
        epoch: 0,
    }
}

/// SHA-256 of the configured module in hexadecimal. The module is not loaded.
///
/// # Errors
/// [`KeyError::Misconfigured`] with what is wrong with the configuration or the file.
pub async fn module_digest(config: &Pkcs11Config) -> Result<String, KeyError> {
    let (_, module_sha256) = config.check_off_thread().await?;
    Ok(module_sha256)
}

/// Tests the configured key for its scheme and audits it, in a one-shot helper process.
///
/// # Errors
/// As for [`crate::Pkcs11Provider::spawn`].
pub async fn probe(config: &Pkcs11Config) -> Result<Enrolment, KeyError> {
    let (module, module_sha256) = config.check_off_thread().await?;
    let (link, body) = Link::start(config, &module, Task::Probe, START_LIMIT).await?;
    link.end().await;
    let report: Report = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
    let decode = |digits: &str| HEXLOWER.decode(digits.as_bytes()).map_err(|_| KeyError::Internal);
    let scheme = WrapScheme::from_code(report.scheme).ok_or(KeyError::Internal)?;
    let canary = Wrap {
        provider: report.token_serial.clone(),
        key_label: config.key_label.clone(),
        key_version: config.key_version,
        scheme,
        iv: decode(&report.canary_iv)?,
        blob: decode(&report.canary_blob)?,
    };
    Ok(Enrolment {
        scheme,
        trials: trials(&report.trials)?,
        findings: findings(&report.audit),
        token_serial: report.token_serial,
        token_label: report.token_label,
        token_model: report.token_model,
        token_firmware: report.token_firmware,
        key_label: config.key_label.clone(),
        key_id: report.audit.key_id,
        key_version: config.key_version,
        check_value: report.audit.check_value,
        attributes: report.audit.attributes,
        tamper_codes: report.tamper_codes,
        canary,
        module_sha256,
    })
}

/// Generates a key-encryption key in the token, under the configured label and id (a random id where
/// none is given), for the configured scheme or for the first of the ladder that the token carries, which
/// is found out on throw-away keys. A crypto officer's act, in a one-shot helper process, never part of the
/// gateway's service.
///
/// # Errors
/// [`KeyError::Misconfigured`] when a key of that name exists or the token refuses; otherwise as for
/// [`crate::Pkcs11Provider::spawn`].
pub async fn generate_kek(config: &Pkcs11Config) -> Result<GeneratedKey, KeyError> {
    let (module, _) = config.check_off_thread().await?;
    let (link, body) = Link::start(config, &module, Task::Generate, START_LIMIT).await?;
    link.end().await;
    let made: frame::Generated = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
    Ok(GeneratedKey {
        key_id: made.key_id,
        scheme: WrapScheme::from_code(made.scheme).ok_or(KeyError::Internal)?,
        trials: trials(&made.trials)?,
    })
}
