//! The provider itself: AES-256-GCM in this process.
//!
//! What lives here: [`InsecureLocalProvider`]. What must not: the form of the key file. Invariant: it
//! never calls itself production grade.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use sceau_keys::{KEY_BYTES, SecretKey, Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyError, KeyProvider, KeyState, KeyStatus, Probe, ProviderInfo,
    ProviderKind, RANDOM_BYTES_MAX, Reason, Residency,
};
use zeroize::Zeroizing;

use crate::key_file::{self, KeyFile};

/// Length of a wrap in bytes: the key and its tag.
const BLOB_BYTES: usize = KEY_BYTES + 16;

/// Software keys that guard nothing: development and tests only.
pub struct InsecureLocalProvider {
    info: ProviderInfo,
    location: String,
    /// The key file, if there is one.
    file: Option<std::path::PathBuf>,
    /// Versions, ascending; the last one makes new wraps.
    keys: Vec<(u32, LessSafeKey)>,
}

impl InsecureLocalProvider {
    /// Makes a key file at `path` with one fresh key, readable by its owner only. Never overwrites.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] when the file exists, cannot be written, or `label` is not 1 to 64
    /// letters, digits, dots, hyphens or underscores.
    pub fn create(path: &Path, label: &str) -> Result<(), KeyError> {
        key_file::create(path, label, &fresh_key()?)
    }

    /// Appends a fresh key to the file at `path`; answers its version. Providers opened later wrap
    /// under it and still unwrap under the older ones.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] when the file cannot be used.
    pub fn add_version(path: &Path) -> Result<u32, KeyError> {
        key_file::append(path, &fresh_key()?)
    }

    /// Opens the key file at `path`, and warns loudly.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] when the file is missing, damaged, or open to others than its owner.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let mut provider = Self::with_keys(key_file::read(path)?, format!("key file {}", path.display()))?;
        provider.file = Some(path.to_owned());
        Ok(provider)
    }

    /// A fresh key that is gone when this value is dropped, for `sceau dev` and tests.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for a bad label, [`KeyError::Internal`] without randomness.
    pub fn in_memory(label: &str) -> Result<Self, KeyError> {
        if !key_file::is_label(label) {
            return Err(key_file::misconfigured(
                "a key label is 1 to 64 letters, digits, dots, hyphens",
            ));
        }
        let keys = vec![(1, fresh_key()?)];
        Self::with_keys(
            KeyFile {
                label: label.to_owned(),
                keys,
            },
            "memory of this process".to_owned(),
        )
    }

    fn with_keys(file: KeyFile, location: String) -> Result<Self, KeyError> {
        let mut keys = Vec::with_capacity(file.keys.len());
        for (version, key) in file.keys {
            let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| KeyError::Internal)?;
            keys.push((version, LessSafeKey::new(key)));
        }
        let version = keys
            .last()
            .map(|(version, _)| *version)
            .ok_or(KeyError::Internal)?;
        tracing::warn!(
            key_label = file.label,
            location,
            "INSECURE: keys are held in software by this process; whoever reads its memory or its key \
             file reads every object; for development only"
        );
        let info = ProviderInfo {
            kind: ProviderKind::InsecureLocal,
            instance: "insecure-local".to_owned(),
            residency: Residency::Process,
            is_production_grade: false,
            key_label: file.label,
            key_version: version,
            scheme: WrapScheme::InsecureLocal,
        };
        Ok(Self {
            info,
            location,
            file: None,
            keys,
        })
    }

    fn key(&self, version: u32) -> Result<&LessSafeKey, KeyError> {
        let found = self.keys.iter().find(|(held, _)| *held == version);
        found.map(|(_, key)| key).ok_or(KeyError::KeyNotFound)
    }

    /// One version from the key file as it is now.
    fn read_key(path: &Path, version: u32) -> Result<LessSafeKey, KeyError> {
        let file = key_file::read(path).map_err(|_| KeyError::KeyNotFound)?;
        let mut keys = file.keys.iter();
        let (_, key) = keys
            .find(|(held, _)| *held == version)
            .ok_or(KeyError::KeyNotFound)?;
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| KeyError::Internal)?;
        Ok(LessSafeKey::new(key))
    }

    fn seal(&self, key: &SecretKey, context: &WrapContext) -> Result<Wrap, KeyError> {
        let mut iv = [0; NONCE_LEN];
        rand::fill(&mut iv).map_err(|_| KeyError::Internal)?;
        let mut blob = Vec::with_capacity(BLOB_BYTES);
        blob.extend_from_slice(key.expose());
        let aad = Aad::from(context.to_bytes());
        let tag = self
            .key(self.info.key_version)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), aad, &mut blob)
            .map_err(|_| KeyError::Internal)?;
        blob.extend_from_slice(tag.as_ref());
        Ok(Wrap {
            provider: self.info.instance.clone(),
            key_label: self.info.key_label.clone(),
            key_version: self.info.key_version,
            scheme: self.info.scheme,
            iv: iv.to_vec(),
            blob,
        })
    }

    fn open_wrap(&self, wrap: &Wrap, context: &WrapContext) -> Result<SecretKey, KeyError> {
        if wrap.key_label != self.info.key_label || wrap.scheme != self.info.scheme {
            return Err(KeyError::KeyNotFound);
        }
        let added;
        let key = match self.key(wrap.key_version) {
            Ok(key) => key,
            // A version that was added after this provider was opened.
            Err(_) => {
                let path = self.file.as_deref().ok_or(KeyError::KeyNotFound)?;
                added = Self::read_key(path, wrap.key_version)?;
                &added
            }
        };
        if wrap.blob.len() != BLOB_BYTES {
            return Err(KeyError::InvalidCiphertext);
        }
        let nonce = Nonce::try_assume_unique_for_key(&wrap.iv).map_err(|_| KeyError::InvalidCiphertext)?;
        let mut plain = Zeroizing::new(wrap.blob.clone());
        let opened = key
            .open_in_place(nonce, Aad::from(context.to_bytes()), &mut plain)
            .map_err(|_| KeyError::InvalidCiphertext)?;
        SecretKey::from_slice(opened).ok_or(KeyError::InvalidCiphertext)
    }
}

fn fresh_key() -> Result<SecretKey, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Internal)?;
    SecretKey::from_slice(bytes.as_slice()).ok_or(KeyError::Internal)
}

fn in_time<T>(deadline: Duration, work: impl FnOnce() -> Result<T, KeyError>) -> Result<T, KeyError> {
    // The work takes microseconds and never waits, so a deadline has passed at the start or not at all.
    if deadline.is_zero() {
        Err(KeyError::Timeout)
    } else {
        work()
    }
}

impl KeyProvider for InsecureLocalProvider {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>> {
        Box::pin(async {
            Ok(KeyStatus {
                state: KeyState::Active,
                key_version: self.info.key_version,
                location: self.location.clone(),
                findings: Vec::new(),
            })
        })
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        _reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        Box::pin(async move { in_time(deadline, || self.seal(key, context)) })
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        _reason: Reason,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        Box::pin(async move { in_time(deadline, || self.open_wrap(wrap, context)) })
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(async move {
            if bytes > RANDOM_BYTES_MAX {
                return Err(KeyError::Internal);
            }
            let mut drawn = Zeroizing::new(vec![0; bytes]);
            rand::fill(&mut drawn).map_err(|_| KeyError::Internal)?;
            Ok(drawn)
        })
    }

    fn health(&self, _probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(async {
            let start = Instant::now();
            let canary = fresh_key().and_then(|key| {
                let context = WrapContext {
                    krid: sceau_keys::Krid([0; 16]),
                    tenant: sceau_keys::TenantId([0; 16]),
                    bucket: sceau_keys::BucketId([0; 16]),
                    epoch: 0,
                };
                let back = self.open_wrap(&self.seal(&key, &context)?, &context)?;
                if back.ct_eq(&key) {
                    Ok(())
                } else {
                    Err(KeyError::Internal)
                }
            });
            let error = canary.err();
            let state = if error.is_none() {
                HealthState::Ready
            } else {
                HealthState::Down
            };
            Health {
                state,
                error,
                elapsed: start.elapsed(),
            }
        })
    }
}
