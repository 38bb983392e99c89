//! Guards: rollback, forged and mixed keyrings are refused; concurrent changes merge; keys are
//! unwrapped once, kept for their time and refused by state. How: a software key provider that counts
//! and fails on cue, and a control bucket in memory that answers conditions like a store.

use std::sync::atomic::Ordering;

use sceau_envelope::RecordState;
use sceau_envelope::keyring::MetadataExposure;
use sceau_keys::WrapScheme;

use super::fakes::{FakeControl, FakeProvider, Host, LONG};
use super::*;

fn generation(service: &KeyringService) -> u64 {
    service.keyring().content().generation
}

async fn open_keys(service: &KeyringService, name: &str) -> Result<Arc<EpochKeys>, EpochKeyError> {
    let bucket = service.bucket(name).unwrap().bucket;
    let krid = service.active_epoch(bucket)?;
    service
        .epoch_keys(krid, bucket, Usage::Seal, Reason::ClientWrite)
        .await
}

/// Replaces the keyring by one that says something else, as an authentic next generation.
async fn edit(
    service: &KeyringService,
    control: &FakeControl,
    edit: impl FnOnce(&mut sceau_envelope::KeyringContent),
) {
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
    assert_eq!(
        service.add_bucket("photos").await.unwrap(),
        entry,
        "adding twice changes nothing"
    );
    assert_eq!(generation(&service), 2);
    let keys = open_keys(&service, "photos").await.ok().unwrap();
    let again = host.open().await.unwrap();
    assert_eq!(again.bucket("photos"), Some(entry));
    assert_eq!(
        open_keys(&again, "photos").await.ok().unwrap().krid(),
        keys.krid()
    );
    let kek = enrolled_key(host.provider.as_ref(), String::new()).await.unwrap();
    let second = KeyringService::create(host.parts(LONG), kek).await;
    assert_eq!(second.err(), Some(KeyringFault::Exists { place: Place::Local }));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(host.local()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn an_older_copy_in_the_store_is_refused_at_start_and_while_running() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let old = host.control.document();
    service.add_bucket("photos").await.unwrap();
    host.control.put(old);
    let rollback = KeyringFault::Rollback {
        place: Place::Control,
        found: 1,
        seen: 2,
    };
    assert_eq!(host.open().await.err(), Some(rollback.clone()));
    assert!(
        rollback
            .to_string()
            .contains("generation 1, but generation 2 was seen")
    );
    assert_eq!(service.refresh().await.err(), Some(rollback));
    assert!(service.bucket("photos").is_some(), "the keyring in use stays");
    assert!(host.readiness.report(true).contains("keyring: failing"));
    assert!(
        host.metrics
            .render()
            .contains("sceau_last_reload_success{source=\"keyring\"} 0")
    );
}

#[tokio::test]
async fn a_buckets_tags_are_set_in_a_new_generation_that_others_take_up() {
    use MetadataExposure::{Sealed, TagsClear, TagsOnceClear};
    let host = Host::new(Arc::default());
    let service = host.create().await;
    service.add_bucket("photos").await.unwrap();
    let other = host.open().await.unwrap();
    let mut seen = generation(&service);
    for (wanted, exposure) in [
        (TagsSetting::Sealed, Sealed),
        (TagsSetting::Clear, TagsClear),
        (TagsSetting::Clear, TagsClear),
        (TagsSetting::Sealed, TagsOnceClear),
        (TagsSetting::Sealed, TagsOnceClear),
        (TagsSetting::Clear, TagsClear),
        (TagsSetting::SealedOnly, Sealed),
    ] {
        let before = service.bucket("photos").unwrap();
        let entry = service.set_tags("photos", wanted).await.unwrap();
        assert_eq!(entry.policy.exposure, exposure, "{wanted:?}");
        let changed = u64::from(before.policy.exposure != exposure);
        assert_eq!(generation(&service), seen + changed, "{wanted:?}");
        seen = generation(&service);
        other.refresh().await.unwrap();
        assert_eq!(other.bucket("photos"), Some(entry));
        assert_eq!(before.bucket, service.bucket("photos").unwrap().bucket);
    }
    assert_eq!(
        service.set_tags("none", TagsSetting::Clear).await.err(),
        Some(KeyringFault::BucketUnknown)
    );
    service.remove_bucket("photos").await.unwrap();
    assert_eq!(
        service.set_tags("photos", TagsSetting::Clear).await.err(),
        Some(KeyringFault::BucketUnknown)
    );
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
    assert!(matches!(
        host.open().await.err(),
        Some(KeyringFault::Document {
            place: Place::Control,
            ..
        })
    ));
    host.control.put(good.slice(..good.len() - 10));
    assert!(matches!(
        host.open().await.err(),
        Some(KeyringFault::Document {
            place: Place::Control,
            ..
        })
    ));
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
    assert_eq!(generation(&first.open().await.unwrap()), 2);
    assert_eq!(std::fs::read(first.local()).unwrap(), control.document());
    // Missing in the store.
    *control.object.lock().unwrap() = None;
    first.open().await.unwrap();
    assert_eq!(std::fs::read(first.local()).unwrap(), control.document());
    // Looking changes nothing.
    let third = Host::new(control.clone());
    let (content, copies) = inspect(third.parts(LONG)).await.unwrap();
    assert_eq!((content.generation, copies), (2, Copies::OnlyControl));
    assert!(!third.local().exists());
    // Missing here: a new host takes the store's copy and pins it.
    let second = Host::new(control.clone());
    assert_eq!(generation(&second.open().await.unwrap()), 2);
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
    assert_eq!(
        service.refresh().await.err(),
        Some(KeyringFault::Foreign {
            place: Place::Control
        })
    );
    // Two gateways that wrote the same generation without conditions.
    let first = Host::new(Arc::default());
    let one = first.create().await;
    let base = first.control.document();
    one.add_bucket("one").await.unwrap();
    let second = Host::new(Arc::default());
    second.control.put(base);
    second.open().await.unwrap().add_bucket("two").await.unwrap();
    first.control.put(second.control.document());
    assert_eq!(
        one.refresh().await.err(),
        Some(KeyringFault::Fork { generation: 2 })
    );
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
    assert!(
        two.bucket_or_refresh("ours").await.unwrap().is_some(),
        "an unknown bucket causes a look"
    );
    assert!(open_keys(&two, "ours").await.is_ok());
}

#[tokio::test]
async fn two_gateways_that_add_one_bucket_agree_on_its_identity() {
    let control = Arc::new(FakeControl::default());
    let host = Host::new(control.clone());
    let service = host.create().await;
    let rival = Host::new(Arc::default());
    rival.control.put(control.document());
    let theirs = rival.open().await.unwrap().add_bucket("photos").await.unwrap();
    // The other's write falls between our read and our write.
    *control.sneak_in.lock().unwrap() = Some(rival.control.document());
    assert_eq!(service.add_bucket("photos").await.unwrap(), theirs);
    assert_eq!(generation(&service), 2, "nothing was added twice");
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
    let service = KeyringService::open(host.parts(Duration::from_millis(60)))
        .await
        .unwrap();
    assert!(open_keys(&service, "photos").await.is_ok());
    host.provider.is_down.store(true, Ordering::SeqCst);
    assert!(
        open_keys(&service, "photos").await.is_ok(),
        "a held key survives an outage for its time"
    );
    tokio::time::sleep(Duration::from_millis(80)).await;
    let error = open_keys(&service, "photos").await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
    host.provider.is_down.store(false, Ordering::SeqCst);
    assert!(open_keys(&service, "photos").await.is_ok());
}

#[tokio::test]
async fn keys_are_dropped_on_a_call_that_needs_no_key_and_on_every_new_generation() {
    let control = Arc::new(FakeControl::default());
    let first = Host::new(control.clone());
    let one = first.create().await;
    one.add_bucket("photos").await.unwrap();
    let second = Host::new(control.clone());
    let two = second.open().await.unwrap();
    let is_down = |host: &Host, is_down| host.provider.is_down.store(is_down, Ordering::SeqCst);
    let wiped = Arc::new(std::sync::Mutex::new(Vec::new()));
    let wipes = Arc::clone(&wiped);
    two.wipe_with(move |wipe| wipes.lock().unwrap().push(wipe));
    assert!(open_keys(&two, "photos").await.is_ok());
    is_down(&second, true);
    two.refresh().await.unwrap();
    assert!(
        open_keys(&two, "photos").await.is_ok(),
        "a look that finds no call drops nothing"
    );
    // The HSM refuses already: the call needs no key, and neither does the gateway that sees it.
    call_drop(control.as_ref()).await.unwrap();
    two.refresh().await.unwrap();
    assert!(open_keys(&two, "photos").await.is_err());
    assert_eq!(*wiped.lock().unwrap(), [Wipe::All]);
    is_down(&second, false);
    assert!(open_keys(&two, "photos").await.is_ok());
    is_down(&second, true);
    two.refresh().await.unwrap();
    assert!(open_keys(&two, "photos").await.is_ok(), "one call drops once");
    // By generation: the document is authenticated, so it takes the MAC key.
    is_down(&second, false);
    assert!(two.session_root().await.is_ok());
    one.next_generation().await.unwrap();
    two.refresh().await.unwrap();
    is_down(&second, true);
    assert_eq!(generation(&two), generation(&one));
    assert!(open_keys(&two, "photos").await.is_err());
    assert!(two.session_root().await.is_err());
    assert!(
        second
            .metrics
            .render()
            .contains("sceau_key_drops_total{cause=\"generation\"} 1")
    );
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
        async move {
            service
                .epoch_keys(krid, bucket, usage, Reason::ClientRead)
                .await
                .err()
        }
    };
    assert_eq!(ask(bucket, Usage::Seal).await, None);
    assert_eq!(ask(other, Usage::Open).await, Some(EpochKeyError::WrongBucket));
    for (state, open, seal) in [
        (
            RecordState::DecryptOnly,
            None,
            Some(EpochKeyError::NotUsable(RecordState::DecryptOnly)),
        ),
        (
            RecordState::Disabled,
            Some(EpochKeyError::NotUsable(RecordState::Disabled)),
            Some(EpochKeyError::NotUsable(RecordState::Disabled)),
        ),
    ] {
        edit(&service, &host.control, |content| {
            content
                .records
                .iter_mut()
                .find(|record| record.krid == krid)
                .unwrap()
                .state = state;
        })
        .await;
        service.refresh().await.unwrap();
        assert_eq!(ask(bucket, Usage::Open).await, open);
        assert_eq!(ask(bucket, Usage::Seal).await, seal);
        assert_eq!(service.active_epoch(bucket), Err(EpochKeyError::NotUsable(state)));
    }
    let mac = service.keyring().content().mac_record().unwrap().krid;
    let misuse = service
        .epoch_keys(mac, bucket, Usage::Open, Reason::ClientRead)
        .await;
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
    assert!(
        service
            .epoch_keys(old, bucket, Usage::Open, Reason::ClientRead)
            .await
            .is_ok()
    );
    let sealing = service
        .epoch_keys(old, bucket, Usage::Seal, Reason::ClientWrite)
        .await;
    assert_eq!(
        sealing.err(),
        Some(EpochKeyError::NotUsable(RecordState::DecryptOnly))
    );
    assert_eq!(
        service.new_epoch("absent").await.err(),
        Some(KeyringFault::BucketUnknown)
    );
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
    assert!(
        host.open().await.is_ok(),
        "the document with both entries is well-formed"
    );
}

#[tokio::test]
async fn the_control_bucket_is_never_a_clients_bucket() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    assert_eq!(
        service.add_bucket("sceau-control").await.err(),
        Some(KeyringFault::ControlBucketName)
    );
    assert_eq!(service.bucket_or_refresh("sceau-control").await, Ok(None));
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
    assert_eq!(
        dev.provider.unwraps.load(Ordering::SeqCst),
        0,
        "told apart before any key is touched"
    );
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
    service.refresh().await.unwrap();
    let before = host.control.reads.load(Ordering::SeqCst);
    let asking = (0..100).map(|number| {
        let service = service.clone();
        tokio::spawn(async move { service.bucket_or_refresh(&format!("unknown-{number}")).await })
    });
    for answer in asking.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), Ok(None));
    }
    assert!(host.control.reads.load(Ordering::SeqCst) - before <= 2);
}

#[tokio::test]
async fn an_outage_of_the_store_is_reported_and_borne() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    service.add_bucket("photos").await.unwrap();
    host.control.is_down.store(true, Ordering::SeqCst);
    assert!(service.refresh().await.is_err());
    assert!(host.readiness.report(true).contains("store: failing"));
    assert!(open_keys(&service, "photos").await.is_ok());
    host.control.is_down.store(false, Ordering::SeqCst);
    service.refresh().await.unwrap();
    assert!(host.readiness.report(true).contains("store: ready"));
}
