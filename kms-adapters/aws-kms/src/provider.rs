//! The provider: calls and what their answers mean.
//!
//! What lives here: [`AwsKmsProvider`]. What must not: TLS, files, JSON. Invariant: an answer that whoever writes
//! wraps can provoke is judged by a canary, never by its name alone; no key is given out while the service says
//! that it is not enabled.
//!
//! The attacks considered. Somebody overwrites wraps in the bucket: the service answers
//! `InvalidCiphertextException`, `AccessDeniedException`, `NotFoundException` or a server error, as it likes. If any
//! of these counted as an outage he could take the gateway down. So the provider's own wrap is opened next: when
//! that works, the wrap was bad; when not, that error is told. A server error may still have been one, so the wrap
//! is then tried a second time before it is called bad. Somebody who may use another key of the same account puts
//! its blobs into the bucket: each Decrypt names our key and the answer must name it too. The key's alias is moved
//! to another key: aliases are no names here, and ARN and creation time are compared before each answer is used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use data_encoding::BASE64;
use http::{StatusCode, Uri};
use sceau_keys::{
    BucketId, KEY_BYTES, Krid, SecretKey, TenantId, WRAP_BLOB_BYTES_MAX, Wrap, WrapContext, WrapScheme,
};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyState, KeyStatus, Probe, ProviderInfo,
    ProviderKind, RANDOM_BYTES_MAX, Reason, Residency,
};
use sceau_kms_http::{Answer, HttpsClient};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::answers::{Decrypted, Described, Drawn, Encrypted, KeyFacts, fault, parse};
use crate::name::KeyName;
use crate::request::{self, Action, CredentialLender};

/// The one version: the service rotates inside the key, and its blobs tell it which material made them.
const KEY_VERSION: u32 = 1;

/// Where the key is.
pub struct AwsKmsConfig {
    /// `https://HOST[:PORT]`.
    pub endpoint: Uri,
    /// Authority of the service's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Region that is signed for.
    pub region: String,
    /// The key.
    pub key: KeyName,
    /// Time to make a connection.
    pub connect_timeout: Duration,
    /// Time for calls that bring no deadline of their own.
    pub timeout: Duration,
}

/// A wrap of a known key, and when it was last tried.
struct Canary {
    wrap: Wrap,
    key: SecretKey,
    tried: Option<(Instant, Result<(), KeyError>)>,
}

/// A call without a result, and whether the service answered it.
struct Failed {
    error: KeyError,
    is_answer: bool,
}

impl Failed {
    fn here(error: KeyError) -> Self {
        Self {
            error,
            is_answer: false,
        }
    }

    /// Whether a wrap that somebody altered could be the reason.
    fn is_ambiguous(&self) -> bool {
        let is_about_us = matches!(
            self.error,
            KeyError::Throttled | KeyError::Timeout | KeyError::NeedsOperator { .. }
        );
        self.is_answer && !is_about_us
    }
}

/// A key in the service.
pub struct AwsKmsProvider {
    info: ProviderInfo,
    config: AwsKmsConfig,
    http: HttpsClient,
    lender: Arc<dyn CredentialLender>,
    /// The key's ARN and when it was made.
    pinned: (String, String),
    canary: Mutex<Option<Canary>>,
}

fn canary_context() -> WrapContext {
    WrapContext {
        krid: Krid([0; 16]),
        tenant: TenantId([0; 16]),
        bucket: BucketId([0; 16]),
        epoch: 0,
    }
}

fn until(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

impl AwsKmsProvider {
    /// Looks at the key and tries it.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for endpoint, region or kind of key; [`KeyError::KeyNotFound`],
    /// [`KeyError::KeyNotUsable`]; and what calls answer.
    pub async fn connect(config: AwsKmsConfig, lender: Arc<dyn CredentialLender>) -> Result<Self, KeyError> {
        let http = HttpsClient::new(
            &config.endpoint,
            config.ca_file.as_deref(),
            config.connect_timeout,
        )?;
        let info = ProviderInfo {
            kind: ProviderKind::AwsKms,
            // Not the account: this name is stored beside the data.
            instance: format!("aws-kms/{}", config.region),
            residency: Residency::RemoteKms,
            is_production_grade: true,
            key_label: config.key.id().to_owned(),
            key_version: KEY_VERSION,
            scheme: WrapScheme::AwsKms,
        };
        let mut provider = Self {
            pinned: (config.key.as_sent().to_owned(), String::new()),
            info,
            config,
            http,
            lender,
            canary: Mutex::new(None),
        };
        let facts = provider.facts(provider.own_deadline()).await?;
        if !provider.config.key.is(&facts.arn) {
            return Err(KeyError::KeyNotFound);
        }
        provider.pinned = (facts.arn.clone(), facts.made());
        provider.info.residency = facts.residency();
        for finding in facts.findings() {
            tracing::warn!(finding = finding.what, "audit of the key");
        }
        provider.check_facts(&facts)?;
        provider.try_canary(Instant::now()).await?;
        Ok(provider)
    }

    fn own_deadline(&self) -> Instant {
        until(self.config.timeout)
    }

    fn arn(&self) -> &str {
        &self.pinned.0
    }

    async fn call(
        &self,
        action: Action,
        body: Zeroizing<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let base = self.http.base();
        let request = request::signed(&base, &self.config.region, self.lender.as_ref(), action, body)
            .map_err(Failed::here)?;
        let answer = self.http.send(request, deadline).await.map_err(Failed::here)?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            _ => Err(Failed {
                error: fault(&answer),
                is_answer: true,
            }),
        }
    }

    async fn facts(&self, deadline: Instant) -> Result<KeyFacts, KeyError> {
        let answer = self
            .call(Action::DescribeKey, request::describe(self.arn()), deadline)
            .await
            .map_err(|failed| failed.error)?;
        Ok(parse::<Described>(&answer)?.key_metadata)
    }

    /// Whether it is still the key that was there at the start, and may be used.
    fn check_facts(&self, facts: &KeyFacts) -> Result<(), KeyError> {
        facts.check_kind()?;
        if facts.arn != self.pinned.0 || facts.made() != self.pinned.1 {
            return Err(KeyError::KeyNotUsable);
        }
        facts.check_state()
    }

    async fn check_key(&self, deadline: Instant) -> Result<(), KeyError> {
        self.check_facts(&self.facts(deadline).await?)
    }

    /// Encrypt; the key's state is asked for at the same time and decides.
    async fn seal(
        &self,
        key: &SecretKey,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<Wrap, KeyError> {
        let body = request::encrypt(self.arn(), key, context);
        let (state, answer) = tokio::join!(
            self.check_key(deadline),
            self.call(Action::Encrypt, body, deadline)
        );
        state?;
        let made: Encrypted = parse(&answer.map_err(|failed| failed.error)?)?;
        let blob = BASE64.decode(made.ciphertext_blob.as_bytes()).ok();
        let blob = blob
            .filter(|blob| (1..=WRAP_BLOB_BYTES_MAX).contains(&blob.len()) && made.key_id == self.pinned.0)
            .ok_or(KeyError::Internal)?;
        Ok(Wrap {
            provider: self.info.instance.clone(),
            key_label: self.info.key_label.clone(),
            key_version: KEY_VERSION,
            scheme: self.info.scheme,
            iv: Vec::new(),
            blob,
        })
    }

    async fn open(&self, wrap: &Wrap, context: &WrapContext, deadline: Instant) -> Result<SecretKey, Failed> {
        let body = request::decrypt(self.arn(), &wrap.blob, context);
        let answer = self.call(Action::Decrypt, body, deadline).await?;
        let opened: Decrypted = parse(&answer).map_err(Failed::here)?;
        // A blob of another key, or one that holds another length, was not made by us.
        let key = SecretKey::from_slice(&opened.plaintext.0).filter(|_| opened.key_id == self.pinned.0);
        key.ok_or(Failed::here(KeyError::InvalidCiphertext))
    }

    async fn unseal(
        &self,
        wrap: &Wrap,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<SecretKey, KeyError> {
        self.info.check_names(wrap)?;
        if !wrap.iv.is_empty() || wrap.blob.is_empty() {
            return Err(KeyError::InvalidCiphertext);
        }
        let (state, opened) = tokio::join!(self.check_key(deadline), self.open(wrap, context, deadline));
        state?;
        let failed = match opened {
            Ok(key) => return Ok(key),
            Err(failed) if !failed.is_ambiguous() => return Err(failed.error),
            Err(failed) => failed,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, self.try_canary(Instant::now()))
            .await
            .map_err(|_| KeyError::Timeout)??;
        if !failed.error.is_retryable() {
            return Err(KeyError::InvalidCiphertext);
        }
        self.open(wrap, context, deadline)
            .await
            .map_err(|failed| match failed.is_ambiguous() {
                true => KeyError::InvalidCiphertext,
                false => failed.error,
            })
    }

    /// Opens a wrap of a known key, unless somebody did after `since`; one at a time.
    async fn try_canary(&self, since: Instant) -> Result<(), KeyError> {
        let mut held = self.canary.lock().await;
        let deadline = self.own_deadline();
        if held.is_none() {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Internal)?;
            let key = SecretKey::from_slice(bytes.as_slice()).ok_or(KeyError::Internal)?;
            let wrap = self.seal(&key, &canary_context(), deadline).await?;
            *held = Some(Canary {
                wrap,
                key,
                tried: None,
            });
        }
        let canary = held.as_mut().ok_or(KeyError::Internal)?;
        if let Some((_, result)) = canary.tried.as_ref().filter(|(when, _)| *when >= since) {
            return result.clone();
        }
        let start = Instant::now();
        let context = canary_context();
        let (state, opened) = tokio::join!(
            self.check_key(deadline),
            self.open(&canary.wrap, &context, deadline)
        );
        let result = match (state, opened) {
            (Err(error), _) => Err(error),
            (Ok(()), Ok(back)) if back.ct_eq(&canary.key) => Ok(()),
            // Nobody can alter this wrap: a refusal of it, or another key in it, is the service's failure.
            (Ok(()), Ok(_)) => Err(KeyError::Internal),
            (Ok(()), Err(failed)) if failed.error == KeyError::InvalidCiphertext => Err(KeyError::Internal),
            (Ok(()), Err(failed)) => Err(failed.error),
        };
        canary.tried = Some((start, result.clone()));
        result
    }

    async fn draw(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if !(1..=RANDOM_BYTES_MAX).contains(&bytes) {
            return Err(KeyError::Internal);
        }
        let answer = self
            .call(
                Action::GenerateRandom,
                request::random(bytes),
                self.own_deadline(),
            )
            .await
            .map_err(|failed| failed.error)?;
        let drawn: Drawn = parse(&answer)?;
        match drawn.plaintext.0.len() == bytes {
            true => Ok(drawn.plaintext.0),
            false => Err(KeyError::Internal),
        }
    }

    async fn audit(&self) -> Result<KeyStatus, KeyError> {
        let facts = self.facts(self.own_deadline()).await?;
        let state = match self.check_facts(&facts) {
            Ok(()) => KeyState::Active,
            Err(_) => KeyState::Disabled,
        };
        Ok(KeyStatus {
            state,
            key_version: KEY_VERSION,
            location: format!(
                "{} at {}, {} ({})",
                self.arn(),
                self.http.base(),
                facts.key_state,
                self.info.residency.name()
            ),
            findings: facts.findings(),
        })
    }

    async fn look(&self, probe: Probe) -> Health {
        let start = Instant::now();
        let error = match probe {
            Probe::Shallow => self.check_key(self.own_deadline()).await.err(),
            // Waiting for another trial of the canary counts, so that a check never outlives its time.
            Probe::Canary => tokio::time::timeout(self.config.timeout, self.try_canary(start))
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

impl KeyProvider for AwsKmsProvider {
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
