//! The provider: what the gateway holds.
//!
//! What lives here: [`Pkcs11Provider`], which turns keys and wraps into frames and back. What must
//! not: processes, restarts. Invariant: a wrap that this key cannot have made is refused before the
//! HSM is asked.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sceau_keys::{SecretKey, WRAP_CONTEXT_BYTES, Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    BoxFuture, Finding, Health, HealthState, KeyError, KeyProvider, KeyState, KeyStatus, Probe, ProviderInfo,
    ProviderKind, RANDOM_BYTES_MAX, Reason, Residency, Severity,
};
use zeroize::Zeroizing;

use crate::calls::{Calls, State};
use crate::config::Pkcs11Config;
use crate::form;
use crate::frame::{self, Audit, Op, Secret};

/// Time for calls that bring no deadline of their own: health, description, randomness.
const OWN_DEADLINE: Duration = Duration::from_secs(2);

/// What a token told of itself and of the key when its helper was started first, for comparison with what was
/// enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// The token's serial number.
    pub serial: String,
    /// The token's label.
    pub label: String,
    /// Its manufacturer and model.
    pub model: String,
    /// Its firmware version.
    pub firmware: String,
    /// `CKA_LABEL` of the key.
    pub key_label: String,
    /// Our version of the key.
    pub key_version: u32,
    /// `CKA_ID` of the key in hexadecimal.
    pub key_id: String,
    /// The token's own check value of the key in hexadecimal, where it has one.
    pub check_value: Option<String>,
    /// The scheme in use.
    pub scheme: WrapScheme,
    /// The key's attributes: name and value.
    pub attributes: Vec<(String, bool)>,
    /// SHA-256 of the module in hexadecimal.
    pub module_sha256: String,
}

/// An HSM as a key provider.
///
/// The HSM's module runs in a helper process. When that dies, requests under way are tried once more on
/// the next one within their deadline; when the HSM asks for an operator (a wrong, locked or expired
/// PIN), every call answers [`KeyError::NeedsOperator`] until a new provider is made.
pub struct Pkcs11Provider {
    info: ProviderInfo,
    location: String,
    facts: TokenFacts,
    calls: Calls,
}

impl Pkcs11Provider {
    /// Starts the helper and waits until the HSM has passed its functional test. Needs a running tokio
    /// runtime, which it keeps using until dropped. Takes 30 s at most.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`], [`KeyError::NeedsOperator`], [`KeyError::KeyNotFound`],
    /// [`KeyError::KeyNotUsable`] or [`KeyError::Unavailable`].
    pub async fn spawn(config: Pkcs11Config) -> Result<Self, KeyError> {
        let (module_path, module_sha256) = config.check_off_thread().await?;
        let (key_label, key_version) = (config.key_label.clone(), config.key_version);
        let (calls, report) = Calls::start(config, module_path.clone()).await?;
        tracing::info!(
            scheme = WrapScheme::from_code(report.scheme).map(WrapScheme::name),
            module = module_path,
            module_sha256,
            token_serial = report.token_serial,
            token_firmware = report.token_firmware,
            key_label,
            key_version,
            tamper_codes = ?report.tamper_codes,
            "the HSM passed its test"
        );
        for finding in findings(&report.audit) {
            match finding.severity {
                // Enrolment refused it; since then the key was changed or exchanged.
                Severity::Error => tracing::error!(finding = finding.what, "audit of the key's attributes"),
                Severity::Warning => tracing::warn!(finding = finding.what, "audit of the key's attributes"),
            }
        }
        let location = format!(
            "token {} (serial {}, {}, firmware {})",
            report.token_label, report.token_serial, report.token_model, report.token_firmware
        );
        let scheme = WrapScheme::from_code(report.scheme).ok_or(KeyError::Internal)?;
        let facts = TokenFacts {
            serial: report.token_serial.clone(),
            label: report.token_label,
            model: report.token_model,
            firmware: report.token_firmware,
            key_label: key_label.clone(),
            key_version,
            key_id: report.audit.key_id,
            check_value: report.audit.check_value,
            scheme,
            attributes: report.audit.attributes,
            module_sha256,
        };
        let info = ProviderInfo {
            kind: ProviderKind::Pkcs11,
            instance: report.token_serial,
            residency: Residency::Hsm,
            is_production_grade: true,
            key_label,
            key_version,
            scheme,
        };
        Ok(Self {
            info,
            location,
            facts,
            calls,
        })
    }

    /// Process id of the running helper.
    pub fn helper_pid(&self) -> Option<u32> {
        Some(self.calls.shared.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// How often a helper was started after the first one.
    pub fn restarts(&self) -> u64 {
        self.calls.shared.restarts.load(Ordering::Relaxed)
    }

    /// Requests under way or waiting, 256 at most.
    pub fn queue_depth(&self) -> usize {
        self.calls.shared.depth()
    }

    /// SHA-256 of the module in hexadecimal, for comparison with the enrolment record.
    pub fn module_sha256(&self) -> &str {
        &self.facts.module_sha256
    }

    /// What the token told at the first start.
    pub fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    async fn wrap_key(
        &self,
        key: &SecretKey,
        context: &WrapContext,
        deadline: Duration,
    ) -> Result<Wrap, KeyError> {
        let answer = self
            .calls
            .call(Op::Wrap, body(context, &[key.expose()]), deadline)
            .await?;
        let (iv, blob) = frame::wrap_of(&answer).ok_or(KeyError::Internal)?;
        // A token that hands the key back in clear, or not whole, is broken.
        if !form::fits(self.info.scheme, iv, blob) || blob.starts_with(key.expose()) {
            return Err(KeyError::Internal);
        }
        Ok(Wrap {
            provider: self.info.instance.clone(),
            key_label: self.info.key_label.clone(),
            key_version: self.info.key_version,
            scheme: self.info.scheme,
            iv: iv.to_vec(),
            blob: blob.to_vec(),
        })
    }

    async fn unwrap_key(
        &self,
        wrap: &Wrap,
        context: &WrapContext,
        deadline: Duration,
    ) -> Result<SecretKey, KeyError> {
        self.info.check_names(wrap)?;
        if !form::fits(self.info.scheme, &wrap.iv, &wrap.blob) {
            return Err(KeyError::InvalidCiphertext);
        }
        let answer = self
            .calls
            .call(
                Op::Unwrap,
                body(context, &[&frame::wrap_bytes(&wrap.iv, &wrap.blob)]),
                deadline,
            )
            .await?;
        SecretKey::from_slice(&answer).ok_or(KeyError::Internal)
    }

    async fn audit(&self) -> Result<KeyStatus, KeyError> {
        let answer = self
            .calls
            .call(Op::Describe, Secret::default(), OWN_DEADLINE)
            .await?;
        let audit: Audit = serde_json::from_slice(&answer).map_err(|_| KeyError::Internal)?;
        Ok(KeyStatus {
            state: KeyState::Active,
            key_version: self.info.key_version,
            location: self.location.clone(),
            findings: findings(&audit),
        })
    }

    async fn draw(&self, bytes: usize) -> Result<Secret, KeyError> {
        let count = u32::try_from(bytes).map_err(|_| KeyError::Internal)?;
        if bytes > RANDOM_BYTES_MAX {
            return Err(KeyError::Internal);
        }
        let body = Zeroizing::new(count.to_be_bytes().to_vec());
        let answer = self.calls.call(Op::Random, body, OWN_DEADLINE).await?;
        if answer.len() == bytes {
            Ok(answer)
        } else {
            Err(KeyError::Internal)
        }
    }

    async fn look(&self, probe: Probe) -> Health {
        let start = Instant::now();
        let (state, error) = match self.calls.shared.state() {
            State::Latched(error) => (HealthState::Down, Some(error)),
            State::Down { error, .. } => (HealthState::Recovering, Some(error)),
            State::Serving => {
                let op = match probe {
                    Probe::Shallow => Op::Look,
                    Probe::Canary => Op::Canary,
                };
                match self.calls.call(op, Secret::default(), OWN_DEADLINE).await {
                    Ok(_) => (HealthState::Ready, None),
                    Err(error @ KeyError::NeedsOperator { .. }) => (HealthState::Down, Some(error)),
                    Err(error) => (HealthState::Recovering, Some(error)),
                }
            }
        };
        Health {
            state,
            error,
            elapsed: start.elapsed(),
        }
    }
}

pub(crate) fn findings(audit: &Audit) -> Vec<Finding> {
    let errors = audit.errors.iter().map(|what| (Severity::Error, what));
    let warnings = audit.warnings.iter().map(|what| (Severity::Warning, what));
    errors
        .chain(warnings)
        .map(|(severity, what)| Finding {
            severity,
            what: what.clone(),
        })
        .collect()
}

/// A request's body: the context, then `parts`. Made in one piece, so that no unwiped copy remains.
fn body(context: &WrapContext, parts: &[&[u8]]) -> Secret {
    let length = parts
        .iter()
        .fold(WRAP_CONTEXT_BYTES, |sum, part| sum.saturating_add(part.len()));
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    body.extend_from_slice(&context.to_bytes());
    parts.iter().for_each(|part| body.extend_from_slice(part));
    body
}

impl KeyProvider for Pkcs11Provider {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>> {
        Box::pin(self.audit())
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        tracing::trace!(%reason, "wrap");
        Box::pin(self.wrap_key(key, context, deadline))
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        tracing::trace!(%reason, "unwrap");
        Box::pin(self.unwrap_key(wrap, context, deadline))
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(self.draw(bytes))
    }

    fn health(&self, probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(self.look(probe))
    }
}
