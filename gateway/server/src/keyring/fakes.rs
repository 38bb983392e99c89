//! A key provider, a control bucket and a host for tests.
//!
//! What lives here: fakes that count and fail on cue. What must not: tests. Invariant: the control
//! bucket answers conditions as a store does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use sceau_keys::{Wrap, WrapContext, WrapScheme};
use sceau_kms::{
    BoxFuture, Health, HealthState, KeyState, KeyStatus, Probe, ProviderInfo, ProviderKind, Residency,
};
use zeroize::Zeroizing;

use super::*;

/// Wraps under a fixed key; counts unwraps; can be switched off.
pub(super) struct FakeProvider {
    pub(super) info: ProviderInfo,
    pub(super) unwraps: AtomicUsize,
    pub(super) is_down: AtomicBool,
    pub(super) ivs: AtomicU64,
}

impl FakeProvider {
    pub(super) fn new(scheme: WrapScheme) -> Arc<Self> {
        Self::version(scheme, 1)
    }

    /// Another version is another key.
    pub(super) fn version(scheme: WrapScheme, version: u32) -> Arc<Self> {
        Arc::new(Self {
            info: ProviderInfo {
                kind: ProviderKind::InsecureLocal,
                instance: "fake".to_owned(),
                residency: Residency::Process,
                is_production_grade: scheme != WrapScheme::InsecureLocal,
                key_label: "kek".to_owned(),
                key_version: version,
                scheme,
            },
            unwraps: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            ivs: AtomicU64::new(1),
        })
    }

    pub(super) fn cipher(&self) -> LessSafeKey {
        let key = [0x41 + u8::try_from(self.info.key_version).unwrap(); 32];
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
    }

    pub(super) fn check_up(&self) -> Result<(), KeyError> {
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(KeyError::Unavailable {
                retry_after: Duration::from_secs(1),
            }),
            false => Ok(()),
        }
    }
}

impl KeyProvider for FakeProvider {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn describe(&self) -> BoxFuture<'_, Result<KeyStatus, KeyError>> {
        Box::pin(async {
            let location = "test".to_owned();
            Ok(KeyStatus {
                state: KeyState::Active,
                key_version: self.info.key_version,
                location,
                findings: Vec::new(),
            })
        })
    }

    fn wrap<'a>(
        &'a self,
        key: &'a SecretKey,
        context: &'a WrapContext,
        _reason: Reason,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<Wrap, KeyError>> {
        Box::pin(async move {
            self.check_up()?;
            let mut iv = [0; 12];
            iv[..8].copy_from_slice(&self.ivs.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            let mut blob = key.expose().to_vec();
            let aad = Aad::from(context.to_bytes());
            let nonce = Nonce::assume_unique_for_key(iv);
            self.cipher()
                .seal_in_place_append_tag(nonce, aad, &mut blob)
                .unwrap();
            Ok(Wrap {
                provider: self.info.instance.clone(),
                key_label: self.info.key_label.clone(),
                key_version: self.info.key_version,
                scheme: self.info.scheme,
                iv: iv.to_vec(),
                blob,
            })
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrap: &'a Wrap,
        context: &'a WrapContext,
        _reason: Reason,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<SecretKey, KeyError>> {
        Box::pin(async move {
            self.unwraps.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.check_up()?;
            if wrap.key_version != self.info.key_version {
                return Err(KeyError::KeyNotFound);
            }
            let nonce =
                Nonce::try_assume_unique_for_key(&wrap.iv).map_err(|_| KeyError::InvalidCiphertext)?;
            let mut blob = wrap.blob.clone();
            let plain = self
                .cipher()
                .open_in_place(nonce, Aad::from(context.to_bytes()), &mut blob);
            SecretKey::from_slice(plain.map_err(|_| KeyError::InvalidCiphertext)?).ok_or(KeyError::Internal)
        })
    }

    fn random(&self, bytes: usize) -> BoxFuture<'_, Result<Zeroizing<Vec<u8>>, KeyError>> {
        Box::pin(async move {
            let mut drawn = Zeroizing::new(vec![0; bytes]);
            getrandom::fill(&mut drawn).unwrap();
            Ok(drawn)
        })
    }

    fn health(&self, _probe: Probe) -> BoxFuture<'_, Health> {
        Box::pin(async {
            let error = self.check_up().err();
            let state = if error.is_some() {
                HealthState::Recovering
            } else {
                HealthState::Ready
            };
            Health {
                state,
                error,
                elapsed: Duration::ZERO,
            }
        })
    }
}

/// One object with an entity tag, as a store with conditional writes keeps it.
#[derive(Default)]
pub(super) struct FakeControl {
    pub(super) object: Mutex<Option<(Bytes, String)>>,
    pub(super) writes: AtomicU64,
    pub(super) reads: AtomicU64,
    /// Put in place just before the next write, as another gateway would.
    pub(super) sneak_in: Mutex<Option<Bytes>>,
    /// The last call to drop keys.
    pub(super) drop_call: Mutex<Option<Bytes>>,
    pub(super) is_down: AtomicBool,
}

impl FakeControl {
    pub(super) fn put(&self, document: Bytes) {
        let etag = format!("\"{}\"", self.writes.fetch_add(1, Ordering::SeqCst));
        *self.object.lock().unwrap() = Some((document, etag));
    }

    pub(super) fn document(&self) -> Bytes {
        self.object.lock().unwrap().as_ref().unwrap().0.clone()
    }
}

impl ControlCopy for FakeControl {
    fn bucket(&self) -> &str {
        "sceau-control"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(Bytes, String)>, KeyringFault>> {
        Box::pin(async {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.is_down.load(Ordering::SeqCst) {
                return Err(KeyringFault::Control {
                    why: "no route".to_owned(),
                });
            }
            Ok(self.object.lock().unwrap().clone())
        })
    }

    fn write<'a>(
        &'a self,
        document: Bytes,
        replaces: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, KeyringFault>> {
        Box::pin(async move {
            if let Some(other) = self.sneak_in.lock().unwrap().take() {
                self.put(other);
            }
            let found = self.object.lock().unwrap().as_ref().map(|(_, etag)| etag.clone());
            if found.as_deref() != replaces {
                return Ok(false);
            }
            self.put(document);
            Ok(true)
        })
    }

    fn last_drop(&self) -> BoxFuture<'_, Result<Option<String>, KeyringFault>> {
        let call = self.drop_call.lock().unwrap().clone();
        Box::pin(async move { Ok(call.map(|call| format!("{call:?}"))) })
    }

    fn call_drop(&self, call: Bytes) -> BoxFuture<'_, Result<(), KeyringFault>> {
        *self.drop_call.lock().unwrap() = Some(call);
        Box::pin(async { Ok(()) })
    }
}

/// One host: its folder is removed at the end.
pub(super) struct Host {
    pub(super) provider: Arc<FakeProvider>,
    pub(super) control: Arc<FakeControl>,
    pub(super) folder: PathBuf,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) epochs: EpochLimits,
}

static HOSTS: AtomicUsize = AtomicUsize::new(0);

impl Host {
    pub(super) fn new(control: Arc<FakeControl>) -> Self {
        Self::with(FakeProvider::new(WrapScheme::AesGcmCallerIv), control)
    }

    pub(super) fn with(provider: Arc<FakeProvider>, control: Arc<FakeControl>) -> Self {
        let number = HOSTS.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("sceau-keyring-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        Self {
            provider,
            control,
            folder,
            metrics,
            readiness: Arc::new(Readiness::new(Duration::ZERO)),
            epochs: EpochLimits::default(),
        }
    }

    pub(super) fn local(&self) -> PathBuf {
        self.folder.join("keyring")
    }

    pub(super) fn parts(&self, cache_ttl: Duration) -> KeyringParts {
        KeyringParts {
            provider: Recorded::over(self.provider.clone(), self.metrics.clone()),
            control: self.control.clone(),
            options: KeyringOptions {
                local: self.local(),
                cache_ttl,
                cache_entries: 16,
                refresh: Duration::from_secs(10),
                epochs: self.epochs,
            },
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        }
    }

    pub(super) async fn create(&self) -> Arc<KeyringService> {
        let kek = enrolled_key(self.provider.as_ref(), String::new()).await.unwrap();
        KeyringService::create(self.parts(LONG), kek).await.unwrap()
    }

    pub(super) async fn open(&self) -> Result<Arc<KeyringService>, KeyringFault> {
        KeyringService::open(self.parts(LONG)).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(300);
