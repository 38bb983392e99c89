//! The provider: what is looked at before a key is used, and what refusals mean.
//!
//! What lives here: [`KmipProvider`]. What must not: messages, TLS. Invariant: a refusal that whoever writes
//! wraps can provoke is judged by a canary, never by its reason alone.
//!
//! The attacks considered. Somebody overwrites wraps in the bucket, so that the server answers with a failure
//! again and again: if that counted as an outage he could take the gateway down; if it always meant an altered
//! wrap, a key that was withdrawn would look like tampering. So the provider's own wrap is opened next. And a
//! key that was revoked as compromised still decrypts in many servers: its state is read before each use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use sceau_keys::{SecretKey, Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyState, KeyStatus, Probe, ProviderInfo,
    ProviderKind, RANDOM_BYTES_MAX, Reason, Residency,
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::facts::KeyFacts;
use crate::remote::{RemoteKey, Sealed};
use crate::server::Fail;
use crate::trial::{self, Enrolment};
use crate::wire::{Operation, Version};

/// Time for all calls of a start or an enrolment.
pub(crate) const START_TIME: Duration = Duration::from_secs(15);

/// Where the key is.
#[derive(Debug, Clone)]
pub struct KmipConfig {
    /// Host name or address; what the server's certificate must be for.
    pub host: String,
    /// Port, normally 5696.
    pub port: u16,
    /// Authority of the server's certificate, PEM.
    pub ca_file: PathBuf,
    /// Certificate of this client with its chain, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM; only its owner may read it (`sceau_kms::secret_file`).
    pub key_file: PathBuf,
    /// Name of the key.
    pub key_label: String,
    /// Its unique identifier, where the name is not unique.
    pub key_id: Option<String>,
    /// Version number recorded in wraps.
    pub key_version: u32,
    /// Highest version of the protocol; `None` for the best that both speak.
    pub protocol_max: Option<Version>,
    /// Most connections at once, 1 at least.
    pub connections: usize,
    /// For TCP and TLS of a new connection.
    pub connect_timeout: Duration,
    /// For calls that bring no deadline of their own.
    pub timeout: Duration,
}

/// A wrap of a known key, and when it was last tried.
struct Canary {
    sealed: Sealed,
    key: SecretKey,
    tried: Option<(Instant, Result<(), KeyError>)>,
}

/// A key in a KMIP server.
pub struct KmipProvider {
    info: ProviderInfo,
    remote: RemoteKey,
    /// When the key was made.
    made: Option<i64>,
    timeout: Duration,
    canary: Mutex<Option<Canary>>,
}

pub(crate) fn until(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

impl KmipProvider {
    /// Looks for the key and finds out which scheme the server carries for it: `wanted`, or the best.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`KeyError::Misconfigured`] where it carries none.
    pub async fn enrol(config: KmipConfig, wanted: Option<WrapScheme>) -> Result<Enrolment, KeyError> {
        trial::enrol(config, wanted).await
    }

    /// Looks for the key and tries the enrolled scheme with it.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for names, kind of key, a server that does not carry the scheme;
    /// [`KeyError::NeedsOperator`] for files and certificates; [`KeyError::KeyNotFound`],
    /// [`KeyError::KeyNotUsable`]; and what calls answer.
    pub async fn connect(config: KmipConfig, scheme: WrapScheme) -> Result<Self, KeyError> {
        let deadline = until(START_TIME);
        let (label, version, timeout) = (config.key_label.clone(), config.key_version, config.timeout);
        let (mut remote, facts) = RemoteKey::find(config, deadline).await?;
        facts.check_kind(scheme)?;
        if !facts.is_active() {
            return Err(KeyError::KeyNotUsable);
        }
        for finding in facts.findings(scheme) {
            tracing::warn!(finding = finding.what, "audit of the key");
        }
        if let Some(refusal) = trial::settle(&mut remote, scheme, deadline).await? {
            return Err(KeyError::Misconfigured {
                what: format!("the KMIP server does not carry {}: {refusal}", scheme.name()),
            });
        }
        let info = ProviderInfo {
            kind: ProviderKind::Kmip,
            // Not the host: this name is stored beside the data.
            instance: format!("kmip/{}", remote.id),
            residency: match facts.is_exportable() {
                true => Residency::RemoteKmsExportable,
                false => Residency::RemoteKms,
            },
            is_production_grade: true,
            key_label: label,
            key_version: version,
            scheme,
        };
        let provider = Self {
            info,
            remote,
            made: facts.made,
            timeout,
            canary: Mutex::new(None),
        };
        provider.try_canary(Instant::now()).await?;
        Ok(provider)
    }

    /// Whether it is still the key that was there at the start, and may be used.
    fn check(&self, facts: &KeyFacts) -> Result<(), KeyError> {
        let is_same = facts.made == self.made && facts.check_kind(self.info.scheme).is_ok();
        if is_same && facts.is_active() {
            Ok(())
        } else {
            Err(KeyError::KeyNotUsable)
        }
    }

    /// Done before each use: servers go on with keys that were revoked.
    async fn look_at_key(&self, deadline: Instant) -> Result<(), KeyError> {
        let facts = self.remote.server.attributes(&self.remote.id, deadline).await?;
        self.check(&facts)
    }

    async fn seal(
        &self,
        key: &SecretKey,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<Wrap, KeyError> {
        self.look_at_key(deadline).await?;
        let sealed = self.remote.seal(key, context, deadline).await;
        let Sealed { iv, blob } = sealed.map_err(Fail::error)?;
        Ok(Wrap {
            provider: self.info.instance.clone(),
            key_label: self.info.key_label.clone(),
            key_version: self.info.key_version,
            scheme: self.info.scheme,
            iv,
            blob,
        })
    }

    async fn unseal(
        &self,
        wrap: &Wrap,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<SecretKey, KeyError> {
        self.info.check_names(wrap)?;
        if !self.remote.fits(&wrap.iv, &wrap.blob) {
            return Err(KeyError::InvalidCiphertext);
        }
        self.look_at_key(deadline).await?;
        let sealed = Sealed {
            iv: wrap.iv.clone(),
            blob: wrap.blob.clone(),
        };
        let refusal = match self.remote.open(&sealed, context, deadline).await {
            Ok(key) => return Ok(key),
            Err(Fail::Error(error)) => return Err(error),
            Err(refused) => refused.error(),
        };
        // What no blob provokes: who asks, which key, how often.
        if matches!(
            refusal,
            KeyError::KeyNotFound | KeyError::NeedsOperator { .. } | KeyError::Throttled
        ) {
            return Err(refusal);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, self.try_canary(Instant::now()))
            .await
            .map_err(|_| KeyError::Timeout)??;
        Err(KeyError::InvalidCiphertext)
    }

    /// Opens a wrap of a known key, unless somebody did after `since`; one at a time.
    async fn try_canary(&self, since: Instant) -> Result<(), KeyError> {
        let mut held = self.canary.lock().await;
        let deadline = until(self.timeout);
        let context = trial::trial_context(0);
        if held.is_none() {
            let key = trial::random_key()?;
            let sealed = self.remote.seal(&key, &context, deadline).await;
            *held = Some(Canary {
                sealed: sealed.map_err(Fail::error)?,
                key,
                tried: None,
            });
        }
        let canary = held.as_mut().ok_or(KeyError::Internal)?;
        if let Some((_, result)) = canary.tried.as_ref().filter(|(when, _)| *when >= since) {
            return result.clone();
        }
        let start = Instant::now();
        let result = match self.look_at_key(deadline).await {
            Ok(()) => match self.remote.open(&canary.sealed, &context, deadline).await {
                Ok(back) if back.ct_eq(&canary.key) => Ok(()),
                // Our own wrap no longer opens: it is another key, or the server is broken.
                Ok(_) | Err(Fail::Error(KeyError::InvalidCiphertext)) => Err(KeyError::KeyNotUsable),
                Err(fail) => Err(fail.error()),
            },
            Err(error) => Err(error),
        };
        canary.tried = Some((start, result.clone()));
        result
    }

    async fn draw(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if bytes > RANDOM_BYTES_MAX {
            return Err(KeyError::Internal);
        }
        if self.remote.server.can(Operation::RngRetrieve) {
            return self.remote.server.random(bytes, until(self.timeout)).await;
        }
        // Servers need not offer it; callers mix in the operating system's in any case.
        let mut drawn = Zeroizing::new(vec![0; bytes]);
        rand::fill(&mut drawn).map_err(|_| KeyError::Internal)?;
        Ok(drawn)
    }

    async fn audit(&self) -> Result<KeyStatus, KeyError> {
        let remote = &self.remote;
        let facts = remote.server.attributes(&remote.id, until(self.timeout)).await?;
        Ok(KeyStatus {
            state: match self.check(&facts) {
                Ok(()) => KeyState::Active,
                Err(_) => KeyState::Disabled,
            },
            key_version: self.info.key_version,
            location: format!(
                "{} at {} by KMIP {}, key {} with the identifier {}, {} ({})",
                if remote.server.vendor.is_empty() {
                    "server"
                } else {
                    &remote.server.vendor
                },
                remote.server.address(),
                remote.server.version,
                self.info.key_label,
                remote.id,
                facts.state(),
                self.info.residency.name()
            ),
            findings: facts.findings(self.info.scheme),
        })
    }

    async fn look(&self, probe: Probe) -> Health {
        let start = Instant::now();
        let error = match probe {
            Probe::Shallow => self.look_at_key(until(self.timeout)).await.err(),
            // Waiting for another trial of the canary counts, so that a check never outlives its time.
            Probe::Canary => tokio::time::timeout(self.timeout, self.try_canary(start))
                .await
                .unwrap_or(Err(KeyError::Timeout))
                .err(),
        };
        let state = match &error {
            None => HealthState::Ready,
            Some(KeyError::NeedsOperator { .. } | KeyError::Misconfigured { .. }) => HealthState::Down,
            Some(_) => HealthState::Recovering,
        };
        Health {
            state,
            error,
            elapsed: start.elapsed(),
        }
    }
}

impl KeyProvider for KmipProvider {
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
        Box::pin(async move { self.seal(key, context, until(deadline)).await })
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        tracing::trace!(%reason, "unwrap");
        Box::pin(async move { self.unseal(wrap, context, until(deadline)).await })
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(self.draw(bytes))
    }

    fn health(&self, probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(self.look(probe))
    }
}
