//! Guards: states refuse and come back, destruction takes the wraps out of both copies and only after a
//! disabling, a rotation keeps every key readable at each of its steps and resumes, an old keyring is not
//! brought back. How: the fakes of this room, with two versions of the key-encryption key.

use sceau_envelope::RecordState;
use sceau_keys::WrapScheme;

use super::fakes::{FakeControl, FakeProvider, Host, LONG};
use super::*;

async fn keys_of(
    service: &KeyringService,
    krid: Krid,
    usage: Usage,
) -> Result<Arc<EpochKeys>, EpochKeyError> {
    let bucket = service.bucket("photos").unwrap().bucket;
    service.epoch_keys(krid, bucket, usage, Reason::ClientRead).await
}

fn krid_of(service: &KeyringService, epoch: u32) -> Krid {
    let bucket = service.bucket("photos").unwrap().bucket;
    let keyring = service.keyring();
    let mut records = keyring.content().records.iter();
    records
        .find(|record| record.bucket == bucket && record.epoch == epoch)
        .unwrap()
        .krid
}

fn refused_as(outcome: Result<Arc<EpochKeys>, EpochKeyError>) -> Option<EpochKeyError> {
    outcome.err()
}

/// A host with the bucket `photos` in its second epoch.
async fn two_epochs(host: &Host) -> Arc<KeyringService> {
    let service = host.create().await;
    service.add_bucket("photos").await.unwrap();
    service.new_epoch("photos").await.unwrap();
    service
}

#[tokio::test]
async fn disabled_epochs_are_refused_everywhere_and_come_back_as_they_were() {
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let other = host.open().await.unwrap();
    let bucket = service.bucket("photos").unwrap().bucket;
    let (first, second) = (krid_of(&service, 1), krid_of(&service, 2));
    assert!(keys_of(&other, first, Usage::Open).await.is_ok(), "cached before");
    service
        .set_state(bucket, vec![1, 2], StateChange::Disable)
        .await
        .unwrap();
    other.refresh().await.unwrap();
    for service in [&service, &other] {
        let disabled = EpochKeyError::NotUsable(RecordState::Disabled);
        assert_eq!(
            refused_as(keys_of(service, first, Usage::Open).await),
            Some(disabled.clone())
        );
        assert_eq!(
            refused_as(keys_of(service, second, Usage::Open).await),
            Some(disabled.clone())
        );
        assert_eq!(service.active_epoch(bucket), Err(disabled));
    }
    let again = service
        .set_state(bucket, vec![1, 2], StateChange::Enable)
        .await
        .unwrap();
    assert_eq!(
        service
            .set_state(bucket, vec![1, 2], StateChange::Enable)
            .await
            .unwrap(),
        again
    );
    other.refresh().await.unwrap();
    for service in [&service, &other] {
        assert!(keys_of(service, first, Usage::Open).await.is_ok());
        assert_eq!(
            service.active_epoch(bucket),
            Ok(second),
            "only the newest seals again"
        );
    }
    let unknown = service.set_state(bucket, vec![3], StateChange::Disable).await;
    assert_eq!(unknown, Err(KeyringFault::EpochUnknown));
}

#[tokio::test]
async fn destruction_needs_a_disabling_and_the_generation_of_its_plan() {
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let bucket = service.bucket("photos").unwrap().bucket;
    let (first, second) = (krid_of(&service, 1), krid_of(&service, 2));
    let planned = service.keyring().content().generation;
    let early = service
        .set_state(bucket, vec![1], StateChange::Destroy { planned })
        .await;
    assert_eq!(early, Err(KeyringFault::NotDisabled));
    let planned = service
        .set_state(bucket, vec![1], StateChange::Disable)
        .await
        .unwrap();
    let before = host.control.document();
    service.add_bucket("others").await.unwrap();
    let outdated = service
        .set_state(bucket, vec![1], StateChange::Destroy { planned })
        .await;
    assert_eq!(outdated, Err(KeyringFault::Outdated));
    let planned = service.keyring().content().generation;
    service
        .set_state(bucket, vec![1], StateChange::Destroy { planned })
        .await
        .unwrap();
    for document in [
        host.control.document(),
        std::fs::read(host.local()).unwrap().into(),
    ] {
        let text = String::from_utf8(document.to_vec()).unwrap();
        let content = service.keyring();
        let record = content.content().record(first).unwrap();
        assert_eq!((record.state, record.wraps.len()), (RecordState::Destroyed, 0));
        let old = String::from_utf8(before.to_vec()).unwrap();
        assert_ne!(text, old);
    }
    let destroyed = EpochKeyError::NotUsable(RecordState::Destroyed);
    assert_eq!(
        refused_as(keys_of(&service, first, Usage::Open).await),
        Some(destroyed)
    );
    assert!(keys_of(&service, second, Usage::Seal).await.is_ok());
    let back = service.set_state(bucket, vec![1], StateChange::Enable).await;
    assert_eq!(back, Err(KeyringFault::EpochDestroyed));
    // The keyring of before, in which the key is whole.
    let import = import(host.parts(LONG), before, 0, true).await;
    assert!(matches!(import, Err(KeyringFault::Rollback { .. })), "{import:?}");
}

#[tokio::test]
async fn a_rotation_keeps_every_key_readable_and_resumes() {
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let first = krid_of(&service, 1);
    let bucket = service.bucket("photos").unwrap().bucket;
    service
        .set_state(bucket, vec![1], StateChange::Disable)
        .await
        .unwrap();
    let new = FakeProvider::version(WrapScheme::AesGcmCallerIv, 2);
    let to: Arc<dyn KeyProvider> = new.clone();
    let kek = enrolled_key(to.as_ref(), String::new()).await.unwrap();
    let name = KekName::of(&kek);
    let old = KekName {
        version: 1,
        ..name.clone()
    };
    // Nothing to drop to yet.
    let early = service.drop_kek(&old, &to).await;
    assert!(matches!(early, Err(KeyringFault::KekNeeded { .. })), "{early:?}");
    assert_eq!(
        service.add_kek(kek.clone(), &to).await,
        Ok(3),
        "disabled records as well"
    );
    assert_eq!(service.add_kek(kek.clone(), &to).await, Ok(0));
    // A gateway of the old key makes a bucket between the two steps.
    let running = host.open().await.unwrap();
    running.add_bucket("late").await.unwrap();
    let straggler = service.drop_kek(&old, &to).await;
    assert!(
        matches!(straggler, Err(KeyringFault::KekNeeded { .. })),
        "{straggler:?}"
    );
    assert_eq!(service.add_kek(kek, &to).await, Ok(1));
    let moved = Host::with(new, Arc::clone(&host.control));
    let moved = moved.open().await.unwrap();
    assert_eq!(moved.drop_kek(&old, &to).await, Ok(4));
    for record in &moved.keyring().content().records {
        assert!(record.wraps.len() == 1 && name.made(&record.wraps[0]));
    }
    moved
        .set_state(bucket, vec![1], StateChange::Enable)
        .await
        .unwrap();
    assert!(keys_of(&moved, first, Usage::Open).await.is_ok());
    // The old key makes no more keys, and what it wrapped is gone.
    assert!(matches!(
        running.add_bucket("later").await.err(),
        Some(KeyringFault::Record {
            error: EpochKeyError::NoWrap,
            ..
        })
    ));
    let late = host.open().await.unwrap();
    let refused = refused_as(keys_of(&late, first, Usage::Open).await);
    assert_eq!(refused, Some(EpochKeyError::NoWrap));
    assert!(host.open().await.is_err());
}

#[tokio::test]
async fn a_key_that_is_not_enrolled_makes_no_records() {
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let mut content = service.keyring().next_generation();
    content.keks[0].version = 2;
    let key = service.loader().mac_key_of(&service.keyring()).await.unwrap();
    host.control.put(content.encode(&key.to_secret()).unwrap().into());
    assert_eq!(
        service.add_bucket("later").await.err(),
        Some(KeyringFault::KekRetired)
    );
    assert_eq!(
        service.new_epoch("photos").await.err(),
        Some(KeyringFault::KekRetired)
    );
}

#[tokio::test]
async fn a_gateway_of_the_new_key_starts_with_a_local_copy_of_before_but_not_with_an_older_one_in_the_store()
{
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let behind = Host::with(
        FakeProvider::version(WrapScheme::AesGcmCallerIv, 2),
        Arc::clone(&host.control),
    );
    std::fs::copy(host.local(), behind.local()).unwrap();
    let to: Arc<dyn KeyProvider> = behind.provider.clone();
    assert!(matches!(
        behind.open().await.err(),
        Some(KeyringFault::Record {
            error: EpochKeyError::NoWrap,
            ..
        })
    ));
    let kek = enrolled_key(to.as_ref(), String::new()).await.unwrap();
    service.add_kek(kek, &to).await.unwrap();
    let rotated = host.control.document();
    let started = behind.open().await.unwrap();
    assert_eq!(started.document(), rotated);
    // Written and pinned: the next start needs no such leniency.
    assert_eq!(std::fs::read(behind.local()).unwrap(), rotated);
    // A copy of the old key from a later time: the store's is older than what was seen here.
    service.add_bucket("others").await.unwrap();
    let newer = Host::new(Arc::clone(&host.control));
    newer.open().await.unwrap();
    let mut only_old = service.keyring().next_generation();
    for record in &mut only_old.records {
        record.wraps.retain(|wrap| wrap.key_version == 1);
    }
    let key = service.loader().mac_key_of(&service.keyring()).await.unwrap();
    std::fs::write(behind.local(), only_old.encode(&key.to_secret()).unwrap()).unwrap();
    let rollback = behind.open().await.err();
    assert!(
        matches!(rollback, Some(KeyringFault::Rollback { .. })),
        "{rollback:?}"
    );
}

#[tokio::test]
async fn a_lost_keyring_is_imported_and_an_older_or_foreign_one_is_not() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let old = service.document();
    service.add_bucket("photos").await.unwrap();
    let backup = service.document();
    let rollback = import(host.parts(LONG), old.clone(), 0, false).await;
    assert!(
        matches!(rollback, Err(KeyringFault::Rollback { .. })),
        "{rollback:?}"
    );
    let elsewhere = Host::new(Arc::<FakeControl>::default());
    let told = import(elsewhere.parts(LONG), old, 2, false).await;
    assert!(matches!(told, Err(KeyringFault::Rollback { .. })), "{told:?}");
    let forged = String::from_utf8(backup.to_vec())
        .unwrap()
        .replace("photos", "theirs");
    let forged = import(elsewhere.parts(LONG), forged.into(), 0, true).await;
    assert!(matches!(forged, Err(KeyringFault::Document { .. })), "{forged:?}");
    let done = import(elsewhere.parts(LONG), backup.clone(), 2, false)
        .await
        .unwrap();
    assert!(done.control_written && done.local_written);
    assert!(elsewhere.open().await.unwrap().bucket("photos").is_some());
    elsewhere.control.put("damaged".into());
    let damaged = import(elsewhere.parts(LONG), backup.clone(), 0, false).await;
    assert!(
        matches!(damaged, Err(KeyringFault::Document { .. })),
        "{damaged:?}"
    );
    let repaired = import(elsewhere.parts(LONG), backup, 0, true).await.unwrap();
    assert!(repaired.control_written && !repaired.local_written);
    let stranger = Host::new(Arc::<FakeControl>::default());
    let theirs = stranger.create().await.document();
    let foreign = import(elsewhere.parts(LONG), theirs, 0, true).await;
    assert!(
        matches!(foreign, Err(KeyringFault::Foreign { .. })),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn statements_and_canaries_are_recognised_and_others_are_not() {
    let host = Host::new(Arc::default());
    let service = host.create().await;
    let mac = service.authenticate(b"destroyed").await.unwrap();
    assert_eq!(service.is_authentic(b"destroyed", &mac).await, Ok(true));
    assert_eq!(service.is_authentic(b"destroyed!", &mac).await, Ok(false));
    assert_eq!(service.is_authentic(b"destroyed", &mac[1..]).await, Ok(false));
    let kek = service.keyring().content().keks[0].clone();
    assert_eq!(
        try_canary(host.provider.as_ref(), &kek).await,
        Ok(Canary::Recognised)
    );
    let next = FakeProvider::version(WrapScheme::AesGcmCallerIv, 2);
    assert_eq!(try_canary(next.as_ref(), &kek).await, Ok(Canary::NotHeld));
    let mut renamed = kek;
    renamed.version = 2;
    assert_eq!(try_canary(next.as_ref(), &renamed).await, Ok(Canary::Stranger));
}

fn with_limits(max_age: Option<Duration>, max_writes: Option<u64>, control: &Arc<FakeControl>) -> Host {
    let mut host = Host::new(Arc::clone(control));
    host.epochs = EpochLimits { max_age, max_writes };
    host
}

#[tokio::test]
async fn an_epoch_that_is_over_is_followed_by_exactly_one_whoever_notices() {
    let control = Arc::<FakeControl>::default();
    let age = Duration::from_secs(3600);
    let hosts: Vec<_> = (0..4).map(|_| with_limits(Some(age), None, &control)).collect();
    let first = hosts[0].create().await;
    first.add_bucket("photos").await.unwrap();
    first.add_bucket("others").await.unwrap();
    let mut services = vec![first];
    for host in &hosts[1..] {
        services.push(host.open().await.unwrap());
    }
    let age_ms = u64::try_from(age.as_millis()).unwrap();
    let early = now_ms() + age_ms - 60_000;
    for service in &services {
        assert_eq!(service.turn_epochs(early).await, 0);
    }
    let generation = services[0].keyring().content().generation;
    let late = now_ms() + age_ms;
    let turning = services.iter().map(|service| {
        let service = Arc::clone(service);
        tokio::spawn(async move { service.turn_epochs(late).await })
    });
    for turned in turning.collect::<Vec<_>>() {
        turned.await.unwrap();
    }
    for service in &services {
        service.refresh().await.unwrap();
        let content = service.keyring();
        assert_eq!(
            content.content().generation,
            generation + 2,
            "one change for each bucket"
        );
        for name in ["photos", "others"] {
            let bucket = service.bucket(name).unwrap().bucket;
            let records = content.content().records.iter();
            let mut epochs: Vec<_> = records.filter(|record| record.bucket == bucket).collect();
            epochs.sort_by_key(|record| record.epoch);
            let states: Vec<_> = epochs.iter().map(|record| (record.epoch, record.state)).collect();
            assert_eq!(
                states,
                [(1, RecordState::DecryptOnly), (2, RecordState::EncryptDecrypt)]
            );
        }
    }
}

#[tokio::test]
async fn an_epoch_is_over_after_as_many_writes_as_allowed_and_reads_do_not_count() {
    let host = with_limits(None, Some(3), &Arc::default());
    let service = host.create().await;
    let bucket = service.add_bucket("photos").await.unwrap().bucket;
    for (writes, epoch) in [(2, 1), (1, 2), (2, 2), (1, 3)] {
        for _ in 0..writes {
            let krid = service.active_epoch(bucket).unwrap();
            keys_of(&service, krid, Usage::Seal).await.ok().unwrap();
            for _ in 0..5 {
                keys_of(&service, krid, Usage::Open).await.ok().unwrap();
            }
        }
        service.turn_epochs(now_ms()).await;
        assert_eq!(service.active_epoch(bucket).unwrap(), krid_of(&service, epoch));
    }
    // Nobody can make a key: the epoch goes on.
    for _ in 0..4 {
        let krid = service.active_epoch(bucket).unwrap();
        keys_of(&service, krid, Usage::Seal).await.ok().unwrap();
    }
    host.provider
        .is_down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(service.turn_epochs(now_ms()).await, 0);
    assert_eq!(service.active_epoch(bucket).unwrap(), krid_of(&service, 3));
}

#[tokio::test]
async fn a_record_whose_other_wrap_was_not_tried_keeps_the_wrap_it_has() {
    let host = Host::new(Arc::default());
    let service = two_epochs(&host).await;
    let to: Arc<dyn KeyProvider> = FakeProvider::version(WrapScheme::AesGcmCallerIv, 2);
    let kek = enrolled_key(to.as_ref(), String::new()).await.unwrap();
    let name = KekName {
        version: 1,
        ..KekName::of(&kek)
    };
    service.add_kek(kek, &to).await.unwrap();
    let content = service.keyring().next_generation();
    let tried = |records: &[KeyRecord]| {
        let new = records
            .iter()
            .map(|record| (record.krid, record.wraps[1].clone()));
        new.collect::<std::collections::HashMap<_, _>>()
    };
    let all = tried(&content.records);
    let came_later = tried(&content.records[1..]);
    let mut altered = all.clone();
    altered.get_mut(&content.records[0].krid).unwrap().blob[0] ^= 1;
    for (verified, is_enough) in [(came_later, false), (altered, false), (all, true)] {
        let name = name.clone();
        let mut after = content.clone();
        let outcome = lifecycle::Step::DropKek { name, verified }.apply(&mut after);
        let krid = content.records[0].krid;
        match is_enough {
            true => assert_eq!(outcome, Ok(true)),
            false => assert_eq!(outcome, Err(KeyringFault::KekNeeded { krid })),
        }
    }
}
