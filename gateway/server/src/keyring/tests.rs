//! Guards: rollback, forged and mixed keyrings are refused; concurrent changes merge; keys are
//! unwrapped once, kept for their time and refused by state. How: a software key provider that counts
//! and fails on cue, and a control bucket in memory that answers conditions like a store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use sceau_envelope::RecordState;
use sceau_keys::{Wrap, WrapContext, WrapScheme};
use sceau_kms::{BoxFuture, Health, KeyState, KeyStatus, ProviderInfo, ProviderKind, Residency};
use zeroize::Zeroizing;

use super::*;

/// Wraps under a fixed key; counts unwraps; can be switched off.
struct FakeProvider {
    info: ProviderInfo,
    unwraps: AtomicUsize,
    is_down: AtomicBool,
    ivs: AtomicU64,
}

impl FakeProvider {
    fn new(scheme: WrapScheme) -> Arc<Self> {
        Arc::new(Self {
            info: ProviderInfo {
                kind: ProviderKind::InsecureLocal,
                instance: "fake".to_owned(),
                residency: Residency::Process,
                is_production_grade: scheme != WrapScheme::InsecureLocal,
                key_label: "kek".to_owned(),
                key_version: 1,
                scheme,
            },
            unwraps: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            ivs: AtomicU64::new(1),
        })
    }

    fn cipher() -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x42; 32]).unwrap())
    }

    fn check_up(&self) -> Result<(), KeyError> {
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(KeyError::Unavailable { retry_after: Duration::from_secs(1) }),
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
            Ok(KeyStatus { state: KeyState::Active, key_version: 1, location, findings: Vec::new() })
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
            Self::cipher().seal_in_place_append_tag(nonce, aad, &mut blob).unwrap();
            Ok(Wrap {
                provider: self.info.instance.clone(),
                key_label: self.info.key_label.clone(),
                key_version: 1,
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
            let nonce = Nonce::try_assume_unique_for_key(&wrap.iv).map_err(|_| KeyError::InvalidCiphertext)?;
            let mut blob = wrap.blob.clone();
            let plain = Self::cipher().open_in_place(nonce, Aad::from(context.to_bytes()), &mut blob);
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
            let state = if error.is_some() { HealthState::Recovering } else { HealthState::Ready };
            Health { state, error, elapsed: Duration::ZERO }
        })
    }
}

/// One object with an entity tag, as a store with conditional writes keeps it.
#[derive(Default)]
struct FakeControl {
    object: Mutex<Option<(Bytes, String)>>,
    writes: AtomicU64,
    /// Put in place just before the next write, as another gateway would.
    sneak_in: Mutex<Option<Bytes>>,
    is_down: AtomicBool,
}

impl FakeControl {
    fn put(&self, document: Bytes) {
        let etag = format!("\"{}\"", self.writes.fetch_add(1, Ordering::SeqCst));
        *self.object.lock().unwrap() = Some((document, etag));
    }

    fn document(&self) -> Bytes {
        self.object.lock().unwrap().as_ref().unwrap().0.clone()
    }
}

impl ControlCopy for FakeControl {
    fn bucket(&self) -> &str {
        "sceau-control"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(Bytes, String)>, KeyringFault>> {
        Box::pin(async {
            if self.is_down.load(Ordering::SeqCst) {
                return Err(KeyringFault::Control { why: "no route".to_owned() });
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
}

/// One host: its folder is removed at the end.
struct Host {
    provider: Arc<FakeProvider>,
    control: Arc<FakeControl>,
    folder: PathBuf,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

static HOSTS: AtomicUsize = AtomicUsize::new(0);

impl Host {
    fn new(control: Arc<FakeControl>) -> Self {
        Self::with(FakeProvider::new(WrapScheme::AesGcmCallerIv), control)
    }

    fn with(provider: Arc<FakeProvider>, control: Arc<FakeControl>) -> Self {
        let number = HOSTS.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("sceau-keyring-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        Self { provider, control, folder, metrics, readiness: Arc::new(Readiness::new(Duration::ZERO)) }
    }

    fn local(&self) -> PathBuf {
        self.folder.join("keyring")
    }

    fn parts(&self, cache_ttl: Duration) -> KeyringParts {
        KeyringParts {
            provider: self.provider.clone(),
            control: self.control.clone(),
            options: KeyringOptions {
                local: self.local(),
                cache_ttl,
                cache_entries: 16,
                refresh: Duration::from_secs(10),
            },
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        }
    }

    async fn create(&self) -> Arc<KeyringService> {
        let kek = enrolled_key(self.provider.as_ref(), String::new()).await.unwrap();
        KeyringService::create(self.parts(LONG), kek).await.unwrap()
    }

    async fn open(&self) -> Result<Arc<KeyringService>, KeyringFault> {
        KeyringService::open(self.parts(LONG)).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const LONG: Duration = Duration::from_secs(300);

fn generation(service: &KeyringService) -> u64 {
    service.keyring().content().generation
}

async fn open_keys(service: &KeyringService, name: &str) -> Result<Arc<EpochKeys>, EpochKeyError> {
    let bucket = service.bucket(name).unwrap().bucket;
    let krid = service.active_epoch(bucket)?;
    service.epoch_keys(krid, bucket, Usage::Seal, Reason::ClientWrite).await
}

/// Replaces the keyring by one that says something else, as an authentic next generation.
async fn edit(service: &KeyringService, control: &FakeControl, edit: impl FnOnce(&mut sceau_envelope::KeyringContent)) {
    let mut content = service.keyring().next_generation();
    edit(&mut content);
    let key = service.loader().mac_key_of(&service.keyring()).await.unwrap();
    control.put(content.encode(&key.to_secret()).unwrap().into());
}

#[tokio::test]
async fn a_keyring_is_made_once_and_opens_again() {
    let host = Host::new(Arc::default());
    assert_eq!(host.open().await.err(), Some(KeyringFault::Absent));
    let service = host.create().await;
    let entry = service.add_bucket("photos").await.unwrap();
    assert_eq!(service.add_bucket("photos").await.unwrap(), entry, "adding twice changes nothing");
    assert_eq!(generation(&service), 2);
    let keys = open_keys(&service, "photos").await.ok().unwrap();
    let again = host.open().await.unwrap();
    assert_eq!(again.bucket("photos"), Some(entry));
    assert_eq!(open_keys(&again, "photos").await.ok().unwrap().krid(), keys.krid());
    let kek = enrolled_key(host.provider.as_ref(), String::new()).await.unwrap();
    let second = KeyringService::create(host.parts(LONG), kek).await;
    assert_eq!(second.err(), Some(KeyringFault::Exists { place: Place::Local }));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(host.local()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_older_copy_in_the_store_is_refused_at_start_and_while_running() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let old = host.control.document();
    service.add_bucket("photos").await.unwrap();
    host.control.put(old);
    let rollback = KeyringFault::Rollback { place: Place::Control, found: 1, seen: 2 };
    assert_eq!(host.open().await.err(), Some(rollback.clone()));
    assert!(rollback.to_string().contains("generation 1, but generation 2 was seen"));
    assert_eq!(service.refresh().await.err(), Some(rollback));
    assert!(service.bucket("photos").is_some(), "the keyring in use stays");
    assert!(host.readiness.report(true).contains("keyring: failing"));
    assert!(host.metrics.render().contains("sceau_last_reload_success{source=\"keyring\"} 0"));
}

#[tokio::test]
async fn a_forged_or_damaged_copy_is_refused() {
    let host = Host::new(Arc::default());
    host.create().await.add_bucket("photos").await.unwrap();
    let good = host.control.document();
    let text = String::from_utf8(good.to_vec()).unwrap();
    let forged = text.replace("photos", "theirs");
    assert_ne!(text, forged);
    host.control.put(forged.into());
    assert!(matches!(host.open().await.err(), Some(KeyringFault::Document { place: Place::Control, .. })));
    host.control.put(good.slice(..good.len() - 10));
    assert!(matches!(host.open().await.err(), Some(KeyringFault::Document { place: Place::Control, .. })));
    host.control.put(good);
    assert!(host.open().await.is_ok());
}

#[tokio::test]
async fn the_copy_that_is_behind_or_missing_is_repaired() {
    let control = Arc::new(FakeControl::default());
    let first = Host::new(control.clone());
    let service = first.create().await;
    let old_local = std::fs::read(first.local()).unwrap();
    service.add_bucket("photos").await.unwrap();
    // Behind: as after a crash between the two writes.
    std::fs::write(first.local(), old_local).unwrap();
    assert_eq!(generation(&*first.open().await.unwrap()), 2);
    assert_eq!(std::fs::read(first.local()).unwrap(), control.document());
    // Missing in the store.
    *control.object.lock().unwrap() = None;
    first.open().await.unwrap();
    assert_eq!(std::fs::read(first.local()).unwrap(), control.document());
    // Missing here: a new host takes the store's copy and pins it.
    let second = Host::new(control.clone());
    assert_eq!(generation(&*second.open().await.unwrap()), 2);
    assert_eq!(std::fs::read(second.local()).unwrap(), control.document());
}

#[tokio::test]
async fn a_keyring_of_another_installation_or_a_fork_is_refused() {
    let control = Arc::new(FakeControl::default());
    let host = Host::new(control.clone());
    let service = host.create().await;
    let other = Host::new(Arc::default());
    let foreign = other.create().await;
    foreign.add_bucket("photos").await.unwrap();
    control.put(other.control.document());
    assert_eq!(service.refresh().await.err(), Some(KeyringFault::Foreign { place: Place::Control }));
    // Two gateways that wrote the same generation without conditions.
    let first = Host::new(Arc::default());
    let one = first.create().await;
    let base = first.control.document();
    one.add_bucket("one").await.unwrap();
    let second = Host::new(Arc::default());
    second.control.put(base);
    second.open().await.unwrap().add_bucket("two").await.unwrap();
    first.control.put(second.control.document());
    assert_eq!(one.refresh().await.err(), Some(KeyringFault::Fork { generation: 2 }));
}

#[tokio::test]
async fn changes_made_at_the_same_time_are_merged() {
    let control = Arc::new(FakeControl::default());
    let (first, second) = (Host::new(control.clone()), Host::new(control.clone()));
    let one = first.create().await;
    let two = second.open().await.unwrap();
    two.add_bucket("theirs").await.unwrap();
    let theirs = control.document();
    // The other's write falls between our read and our write.
    let rival = Host::new(Arc::default());
    rival.control.put(theirs.clone());
    rival.open().await.unwrap().add_bucket("rival").await.unwrap();
    *control.sneak_in.lock().unwrap() = Some(rival.control.document());
    one.add_bucket("ours").await.unwrap();
    for name in ["theirs", "rival", "ours"] {
        assert!(one.bucket(name).is_some(), "{name}");
    }
    assert_eq!(generation(&one), 4);
    assert!(two.bucket("ours").is_none());
    assert!(two.bucket_or_refresh("ours").await.is_some(), "an unknown bucket causes a look");
    assert!(open_keys(&two, "ours").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_for_one_key_cause_one_unwrap() {
    let host = Host::new(Arc::default());
    host.create().await.add_bucket("photos").await.unwrap();
    let service = host.open().await.unwrap();
    host.provider.unwraps.store(0, Ordering::SeqCst);
    let requests: Vec<_> = (0..64)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { open_keys(&service, "photos").await.is_ok() })
        })
        .collect();
    for request in requests {
        assert!(request.await.unwrap());
    }
    assert_eq!(host.provider.unwraps.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_is_unwrapped_again_when_its_time_is_over_and_not_without_the_provider() {
    let host = Host::new(Arc::default());
    host.create().await.add_bucket("photos").await.unwrap();
    let service = KeyringService::open(host.parts(Duration::from_millis(60))).await.unwrap();
    assert!(open_keys(&service, "photos").await.is_ok());
    host.provider.is_down.store(true, Ordering::SeqCst);
    assert!(open_keys(&service, "photos").await.is_ok(), "a held key survives an outage for its time");
    tokio::time::sleep(Duration::from_millis(80)).await;
    let error = open_keys(&service, "photos").await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
    host.provider.is_down.store(false, Ordering::SeqCst);
    assert!(open_keys(&service, "photos").await.is_ok());
}

#[tokio::test]
async fn the_state_and_the_bucket_of_a_record_are_obeyed_even_for_held_keys() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let bucket = service.add_bucket("photos").await.unwrap().bucket;
    let other = service.add_bucket("other").await.unwrap().bucket;
    let krid = service.active_epoch(bucket).unwrap();
    let ask = |bucket, usage| {
        let service = service.clone();
        async move { service.epoch_keys(krid, bucket, usage, Reason::ClientRead).await.err() }
    };
    assert_eq!(ask(bucket, Usage::Seal).await, None);
    assert_eq!(ask(other, Usage::Open).await, Some(EpochKeyError::WrongBucket));
    for (state, open, seal) in [
        (RecordState::DecryptOnly, None, Some(EpochKeyError::NotUsable(RecordState::DecryptOnly))),
        (
            RecordState::Disabled,
            Some(EpochKeyError::NotUsable(RecordState::Disabled)),
            Some(EpochKeyError::NotUsable(RecordState::Disabled)),
        ),
    ] {
        edit(&service, &host.control, |content| {
            content.records.iter_mut().find(|record| record.krid == krid).unwrap().state = state;
        })
        .await;
        service.refresh().await.unwrap();
        assert_eq!(ask(bucket, Usage::Open).await, open);
        assert_eq!(ask(bucket, Usage::Seal).await, seal);
        assert_eq!(service.active_epoch(bucket), Err(EpochKeyError::Unknown));
    }
    let mac = service.keyring().content().mac_record().unwrap().krid;
    let misuse = service.epoch_keys(mac, bucket, Usage::Open, Reason::ClientRead).await;
    assert_eq!(misuse.err(), Some(EpochKeyError::WrongPurpose));
}

#[tokio::test]
async fn a_new_epoch_seals_and_the_old_one_only_opens() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let bucket = service.add_bucket("photos").await.unwrap().bucket;
    let old = service.active_epoch(bucket).unwrap();
    let new = service.new_epoch("photos").await.unwrap();
    assert_ne!(old, new);
    assert_eq!(service.active_epoch(bucket), Ok(new));
    assert!(service.epoch_keys(old, bucket, Usage::Open, Reason::ClientRead).await.is_ok());
    let sealing = service.epoch_keys(old, bucket, Usage::Seal, Reason::ClientWrite).await;
    assert_eq!(sealing.err(), Some(EpochKeyError::NotUsable(RecordState::DecryptOnly)));
    assert_eq!(service.new_epoch("absent").await.err(), Some(KeyringFault::BucketUnknown));
}

#[tokio::test]
async fn a_removed_bucket_comes_back_with_another_identity() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let before = service.add_bucket("photos").await.unwrap();
    service.remove_bucket("photos").await.unwrap();
    assert_eq!(service.bucket("photos"), None);
    assert!(service.buckets().is_empty());
    let after = service.add_bucket("photos").await.unwrap();
    assert_ne!(before.bucket, after.bucket);
    assert!(host.open().await.is_ok(), "the document with both entries is well-formed");
}

#[tokio::test]
async fn the_control_bucket_is_never_a_clients_bucket() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    assert_eq!(service.add_bucket("sceau-control").await.err(), Some(KeyringFault::ControlBucketName));
    assert_eq!(service.bucket_or_refresh("sceau-control").await, None);
    assert!(service.is_control_bucket("sceau-control"));
}

#[tokio::test]
async fn development_keys_and_production_keys_never_mix() {
    let control = Arc::new(FakeControl::default());
    let production = Host::new(control.clone());
    production.create().await;
    let dev = Host::with(FakeProvider::new(WrapScheme::InsecureLocal), control);
    let refusal = dev.open().await.err();
    assert_eq!(refusal, Some(KeyringFault::ProviderMix { is_production: false }));
    assert_eq!(dev.provider.unwraps.load(Ordering::SeqCst), 0, "told apart before any key is touched");
    let control = Arc::new(FakeControl::default());
    let dev = Host::with(FakeProvider::new(WrapScheme::InsecureLocal), control.clone());
    dev.create().await;
    assert!(dev.metrics.render().contains("sceau_dev_mode 1"));
    let refusal = Host::new(control).open().await.err().unwrap();
    assert!(refusal.to_string().contains("refuses to be used"), "{refusal}");
}

#[tokio::test]
async fn clients_cannot_make_the_gateway_ask_the_store_for_every_unknown_name() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    assert!(service.bucket_or_refresh("a").await.is_none());
    // Made by another gateway within the same second: seen at the next look, not at this one.
    let other = Host::new(host.control.clone());
    other.open().await.unwrap().add_bucket("b").await.unwrap();
    assert!(service.bucket_or_refresh("b").await.is_none());
    service.refresh().await.unwrap();
    assert!(service.bucket("b").is_some());
    host.control.is_down.store(true, Ordering::SeqCst);
    assert!(service.refresh().await.is_err());
    assert!(host.readiness.report(true).contains("store: failing"));
    assert!(service.bucket("b").is_some());
}
