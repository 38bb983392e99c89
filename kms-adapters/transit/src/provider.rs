//! The provider: calls and what their answers mean.
//!
//! What lives here: [`TransitProvider`]. What must not: TLS, files. Invariant: an answer that whoever writes
//! wraps can provoke is judged by a canary, never by its code alone.
//!
//! The attack considered: somebody overwrites wraps in the bucket, so that the service answers 400 or 500
//! again and again. If that counted as an outage he could take the gateway down; if 400 always meant an
//! altered wrap, a deleted key would look like tampering. So the provider's own wrap is opened next: when
//! that works, the wrap was bad; when not, the state of the key is read and told.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use data_encoding::BASE64;
use http::{Method, Request, StatusCode, Uri};
use sceau_keys::{BucketId, KEY_BYTES, Krid, SecretKey, TenantId, Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyState, KeyStatus, Probe, ProviderInfo,
    ProviderKind, RANDOM_BYTES_MAX, Reason, Residency,
};
use sceau_kms_http::{Answer, HttpsClient};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::answers::{Decrypted, Drawn, Encrypted, KeyFacts, Reply};
use crate::token;

/// Length of a wrap in bytes: nonce, key, tag.
const BLOB_BYTES: usize = 12 + KEY_BYTES + 16;
/// When to come back to a service that is sealed or starting.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest name of a mount, key or namespace, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Where the key is.
pub struct TransitConfig {
    /// `https://HOST[:PORT]`.
    pub endpoint: Uri,
    /// Authority of the service's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Namespace, where the service has them.
    pub namespace: Option<String>,
    /// Where the engine is mounted, normally `transit`.
    pub mount: String,
    /// Name of the key.
    pub key_label: String,
    /// Version that new wraps use; `None` for the latest, before enrolment.
    pub key_version: Option<u32>,
    /// File with the token, mode 0600.
    pub token_file: PathBuf,
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

/// A key in the transit engine.
pub struct TransitProvider {
    info: ProviderInfo,
    config: TransitConfig,
    http: HttpsClient,
    /// When the key's version was made.
    made: Option<String>,
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

/// docs/format/ section 9.1, with no IV.
fn digest(context: &WrapContext) -> String {
    let digest = Sha256::new_with_prefix(b"sof1/wrap-bind\0").chain_update(context.to_bytes());
    BASE64.encode(&digest.finalize())
}

fn is_name(name: &str, more: &[u8]) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.contains("..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || more.contains(&byte))
}

fn until(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

fn parse<'a, T: serde::Deserialize<'a>>(answer: &'a Answer) -> Result<T, KeyError> {
    // The error's text could show what was read.
    serde_json::from_slice::<Reply<T>>(&answer.body)
        .map(|reply| reply.data)
        .map_err(|_| KeyError::Internal)
}

impl TransitProvider {
    /// Looks at the key and tries it.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for names, endpoint or kind of key; [`KeyError::KeyNotFound`],
    /// [`KeyError::KeyNotUsable`]; and what calls answer.
    pub async fn connect(config: TransitConfig) -> Result<Self, KeyError> {
        let names = is_name(&config.mount, b"/") && is_name(&config.key_label, b".");
        if !names || config.namespace.as_ref().is_some_and(|name| !is_name(name, b"/")) {
            return Err(KeyError::Misconfigured {
                what: "names of mount, namespace and key are letters, digits, hyphens and underscores"
                    .to_owned(),
            });
        }
        let http = HttpsClient::new(
            &config.endpoint,
            config.ca_file.as_deref(),
            config.connect_timeout,
        )?;
        let namespace = config.namespace.as_deref().map(|name| format!("{name}/"));
        let info = ProviderInfo {
            kind: ProviderKind::Transit,
            // Not the host: this name is stored beside the data.
            instance: format!("transit/{}{}", namespace.unwrap_or_default(), config.mount),
            residency: Residency::RemoteKms,
            is_production_grade: true,
            key_label: config.key_label.clone(),
            key_version: config.key_version.unwrap_or(1),
            scheme: WrapScheme::Transit,
        };
        let mut provider = Self {
            info,
            config,
            http,
            made: None,
            canary: Mutex::new(None),
        };
        let facts = provider.facts(provider.own_deadline()).await?;
        facts.check_kind()?;
        if facts.is_exportable() {
            provider.info.residency = Residency::RemoteKmsExportable;
        }
        let version = provider.config.key_version.unwrap_or(facts.latest_version);
        provider.info.key_version = version;
        provider.made = facts.made(version);
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

    /// A call of the engine.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Answer, KeyError> {
        let path = format!("{}/{path}", self.config.mount);
        self.send(method, &path, body, deadline).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Answer, KeyError> {
        let token = token::read(&self.config.token_file)?;
        let uri = format!("{}/v1/{path}", self.http.base());
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-vault-request", "true")
            .header("x-vault-token", token);
        if let Some(namespace) = &self.config.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let request = request
            .body(sceau_kms_http::body(body))
            .map_err(|_| KeyError::Internal)?;
        self.http.send(request, deadline).await
    }

    /// What an answer other than 200 means, once it is known whether the token is one. Tokens that expired and
    /// rights that are missing get the same answer, but only who has a token may look at it: the default policy
    /// lets every token do so. Without that policy missing rights look like an expired token.
    async fn refusal(&self, status: StatusCode, deadline: Instant) -> KeyError {
        if status != StatusCode::FORBIDDEN {
            return self.fault(status);
        }
        let look = self.send(
            Method::GET,
            "auth/token/lookup-self",
            Zeroizing::default(),
            deadline,
        );
        match look.await {
            Ok(answer) if answer.status == StatusCode::FORBIDDEN => KeyError::NeedsOperator {
                what: "the key service refuses the token: it expired, was revoked, or may not be looked at"
                    .to_owned(),
            },
            Ok(_) => KeyError::Denied,
            Err(error) => error,
        }
    }

    /// What an answer other than 200 means where nobody else chose the input.
    fn fault(&self, status: StatusCode) -> KeyError {
        match status.as_u16() {
            401 => KeyError::NeedsOperator {
                what: "the key service wants another token".to_owned(),
            },
            // See `refusal`.
            403 => KeyError::Denied,
            404 => KeyError::KeyNotFound,
            400 | 405 | 422 => KeyError::KeyNotUsable,
            429 => KeyError::Throttled,
            500..=599 => KeyError::Unavailable {
                retry_after: RETRY_AFTER,
            },
            _ => KeyError::Internal,
        }
    }

    async fn facts(&self, deadline: Instant) -> Result<KeyFacts, KeyError> {
        let path = format!("keys/{}", self.config.key_label);
        let answer = self
            .call(Method::GET, &path, Zeroizing::default(), deadline)
            .await?;
        match answer.status {
            StatusCode::OK => parse(&answer),
            other => Err(self.refusal(other, deadline).await),
        }
    }

    /// Whether it is still the key that was there at the start, and may be used.
    fn check_facts(&self, facts: &KeyFacts) -> Result<(), KeyError> {
        facts.check_kind()?;
        let version = self.info.key_version;
        if !facts.is_usable(version) || facts.made(version) != self.made {
            return Err(KeyError::KeyNotUsable);
        }
        Ok(())
    }

    async fn seal(
        &self,
        key: &SecretKey,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<Wrap, KeyError> {
        // The service makes a key of this name when there is none and the token may create: a deleted key
        // would come back as another one, so it is looked at first. Wraps are few.
        self.check_facts(&self.facts(deadline).await?)?;
        let plain = Zeroizing::new(BASE64.encode(key.expose()));
        let version = self.info.key_version;
        let body = Zeroizing::new(format!(
            "{{\"plaintext\":\"{}\",\"associated_data\":\"{}\",\"key_version\":{version}}}",
            *plain,
            digest(context)
        ));
        let path = format!("encrypt/{}", self.config.key_label);
        let body = Zeroizing::new(body.as_bytes().to_vec());
        let answer = self.call(Method::POST, &path, body, deadline).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(answer.status, deadline).await);
        }
        let made: Encrypted = parse(&answer)?;
        let text = made.ciphertext.strip_prefix(&format!("vault:v{version}:"));
        let blob = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
        let blob = blob
            .filter(|blob| blob.len() == BLOB_BYTES)
            .ok_or(KeyError::Internal)?;
        Ok(Wrap {
            provider: self.info.instance.clone(),
            key_label: self.info.key_label.clone(),
            key_version: version,
            scheme: self.info.scheme,
            iv: Vec::new(),
            blob,
        })
    }

    async fn open(
        &self,
        wrap: &Wrap,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<Result<SecretKey, StatusCode>, KeyError> {
        let text = BASE64.encode(&wrap.blob);
        let body = format!(
            "{{\"ciphertext\":\"vault:v{}:{text}\",\"associated_data\":\"{}\"}}",
            wrap.key_version,
            digest(context)
        );
        let path = format!("decrypt/{}", self.config.key_label);
        let body = Zeroizing::new(body.into_bytes());
        let answer = self.call(Method::POST, &path, body, deadline).await?;
        if answer.status != StatusCode::OK {
            return Ok(Err(answer.status));
        }
        let opened: Decrypted = parse(&answer)?;
        // A well-sealed blob that holds another length was not made by us.
        Ok(Ok(
            SecretKey::from_slice(&opened.plaintext.0).ok_or(KeyError::InvalidCiphertext)?
        ))
    }

    async fn unseal(
        &self,
        wrap: &Wrap,
        context: &WrapContext,
        deadline: Instant,
    ) -> Result<SecretKey, KeyError> {
        if wrap.key_label != self.info.key_label
            || wrap.scheme != self.info.scheme
            || !(1..=self.info.key_version).contains(&wrap.key_version)
        {
            return Err(KeyError::KeyNotFound);
        }
        if !wrap.iv.is_empty() || wrap.blob.len() != BLOB_BYTES {
            return Err(KeyError::InvalidCiphertext);
        }
        let status = match self.open(wrap, context, deadline).await? {
            Ok(key) => return Ok(key),
            Err(status) => status,
        };
        if !matches!(status.as_u16(), 400 | 422 | 500) {
            return Err(self.refusal(status, deadline).await);
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
        let result = match self.open(&canary.wrap, &canary_context(), deadline).await {
            Ok(Ok(back)) if back.ct_eq(&canary.key) => Ok(()),
            Ok(Ok(_)) => Err(KeyError::Internal),
            Ok(Err(status)) => Err(self.refusal(status, deadline).await),
            Err(error) => Err(error),
        };
        // Why not: a key that is gone or deleted is told as such.
        let result = match result {
            Err(KeyError::KeyNotUsable) => {
                Err(self.facts(deadline).await.err().unwrap_or(KeyError::KeyNotUsable))
            }
            other => other,
        };
        canary.tried = Some((start, result.clone()));
        result
    }

    async fn draw(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if bytes > RANDOM_BYTES_MAX {
            return Err(KeyError::Internal);
        }
        let body = Zeroizing::new(b"{\"format\":\"base64\"}".to_vec());
        let deadline = self.own_deadline();
        let path = format!("random/{bytes}");
        let answer = self.call(Method::POST, &path, body, deadline).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(answer.status, deadline).await);
        }
        let drawn: Drawn = parse(&answer)?;
        match drawn.random_bytes.0.len() == bytes {
            true => Ok(drawn.random_bytes.0),
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
            key_version: self.info.key_version,
            location: format!(
                "{} of {}, key {} ({})",
                self.info.instance,
                self.http.base(),
                self.info.key_label,
                self.info.residency.name()
            ),
            findings: facts.findings(),
        })
    }

    async fn look(&self, probe: Probe) -> Health {
        let start = Instant::now();
        let error = match probe {
            Probe::Shallow => self
                .facts(self.own_deadline())
                .await
                .and_then(|facts| self.check_facts(&facts))
                .err(),
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

impl KeyProvider for TransitProvider {
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
