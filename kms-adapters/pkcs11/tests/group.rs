//! Two HSMs that hold one key: one fails, the other serves.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod hsm;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm::{Hsm, PIN, context, kill};
use sceau_keys::{SecretKey, WrapScheme};
use sceau_kms::{HealthState, KeyError, KeyProvider, Probe, Reason, conformance};
use sceau_kms_pkcs11::{Pkcs11Config, Pkcs11Group};

const TIME: Duration = Duration::from_secs(4);

/// An HSM with the key of these bytes, imported as a second site's is.
fn site(fill: u8) -> Option<(Hsm, Pkcs11Config)> {
    let hsm = Hsm::new()?;
    let file = hsm.room.join("key");
    fs::write(&file, [fill; 32]).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let import = ["--import", &file, "--aes", "--token", "sceau-test", "--pin", PIN];
    hsm.util(&[import.as_slice(), &["--label", "kek-1", "--id", "01"]].concat());
    let config = Pkcs11Config {
        scheme: Some(WrapScheme::AesGcmCallerIv),
        ..hsm.shimmed(hsm.config())
    };
    Some((hsm, config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_not_lost_when_one_of_two_hsms_fails() {
    let (Some((one, first)), Some((two, second))) = (site(7), site(7)) else {
        return;
    };
    let group = Arc::new(Pkcs11Group::spawn(vec![first, second]).await.unwrap());
    conformance::run(Arc::clone(&group) as Arc<dyn KeyProvider>)
        .await
        .unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = group
        .wrap(&key, &context(), Reason::ClientWrite, TIME)
        .await
        .unwrap();
    let both = [&one, &two];
    for (broken, hsm) in both.iter().enumerate() {
        for fault in [
            "* code=CKR_DEVICE_REMOVED\n",
            "C_Decrypt hang\nC_Encrypt hang\n",
            "C_DecryptInit lose-login\nC_Login code=CKR_FUNCTION_FAILED\n",
        ] {
            hsm.faults(fault);
            let mut slowest = Duration::ZERO;
            for _ in 0..6 {
                let begun = Instant::now();
                let back = group.unwrap(&wrap, &context(), Reason::ClientRead, TIME).await;
                slowest = slowest.max(begun.elapsed());
                assert!(back.is_ok_and(|back| back.ct_eq(&key)), "{broken}: {fault}");
            }
            let again = group.wrap(&key, &context(), Reason::ClientWrite, TIME).await;
            // Whoever wrapped: it is one key, under the name that it was enrolled under.
            assert_eq!(again.unwrap().provider, wrap.provider, "{broken}: {fault}");
            eprintln!("endpoint {broken}, {fault:?}: slowest answer {slowest:?}");
            assert_eq!(group.health(Probe::Canary).await.state, HealthState::Ready);
            hsm.faults("");
            let pid = group.helper_pids()[broken];
            pid.into_iter().for_each(|pid| kill(pid, "-KILL"));
            // Both are well again, and the one that failed is asked in its turn.
            let start = Instant::now();
            while group.helper_pids()[broken].is_none_or(|now| Some(now) == pid) {
                assert!(start.elapsed() < Duration::from_secs(20), "it does not come back");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(5100)).await;
        }
    }
    // What is wrong with the wrap is wrong everywhere: nobody else is asked, and nobody restarts.
    let mut altered = wrap.clone();
    altered.blob[0] ^= 1;
    let answer = group.unwrap(&altered, &context(), Reason::ClientRead, TIME).await;
    assert_eq!(answer.err(), Some(KeyError::InvalidCiphertext));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_of_the_same_name_never_joins() {
    let (Some((_one, first)), Some((_two, second))) = (site(7), site(8)) else {
        return;
    };
    let group = Pkcs11Group::spawn(vec![first.clone(), second.clone()])
        .await
        .unwrap();
    let pids = group.helper_pids();
    assert!(pids[0].is_some() && pids[1].is_none(), "{pids:?}");
    // With the only holder gone the stranger is no help, for writing least of all.
    let key = SecretKey::new([0x42; 32]);
    _one.faults("* code=CKR_DEVICE_REMOVED\n");
    let answer = group.wrap(&key, &context(), Reason::ClientWrite, TIME).await;
    assert!(answer.as_ref().is_err_and(KeyError::is_retryable));
    // Endpoints that cannot be of one key are refused before anything is started.
    let other = Pkcs11Config {
        key_version: 2,
        ..second
    };
    assert!(matches!(
        Pkcs11Group::spawn(vec![first, other]).await,
        Err(KeyError::Misconfigured { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_starts_with_what_is_there() {
    let (Some((one, first)), Some((_two, second))) = (site(7), site(7)) else {
        return;
    };
    one.faults("* code=CKR_DEVICE_REMOVED\n");
    let group = Pkcs11Group::spawn(vec![first.clone(), second]).await.unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = group.wrap(&key, &context(), Reason::ClientWrite, TIME).await;
    assert_eq!(wrap.unwrap().provider, group.info().instance);
    let group = group.named("where it was enrolled".to_owned());
    let wrap = group.wrap(&key, &context(), Reason::ClientWrite, TIME).await;
    assert_eq!(wrap.unwrap().provider, "where it was enrolled");
    assert!(
        Pkcs11Group::spawn(vec![first]).await.is_err(),
        "alone it is an error"
    );
}

/// Unwraps, one after the other; how long the slowest took.
async fn slowest(group: &Pkcs11Group, wrap: &sceau_keys::Wrap, key: &SecretKey, count: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        let back = group.unwrap(wrap, &context(), Reason::ClientRead, TIME).await;
        assert!(back.is_ok_and(|back| back.ct_eq(key)));
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_hsm_is_asked_when_the_first_is_late_and_the_first_rests_when_it_stays_late() {
    let (Some((one, first)), Some((two, second))) = (site(7), site(7)) else {
        return;
    };
    let group = Pkcs11Group::spawn(vec![first, second]).await.unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = group
        .wrap(&key, &context(), Reason::ClientWrite, TIME)
        .await
        .unwrap();
    let unasked = two.calls("C_DecryptInit");
    slowest(&group, &wrap, &key, 10).await;
    assert_eq!(group.hedged(), 0, "nobody is late");
    assert_eq!(
        two.calls("C_DecryptInit"),
        unasked,
        "the first in the file is asked first"
    );
    one.faults("C_DecryptInit delay=1500\n");
    let (begun, mut late) = (Instant::now(), Duration::ZERO);
    while group.endpoints_up() != [false, true] {
        late = late.max(slowest(&group, &wrap, &key, 12).await);
        assert!(begun.elapsed() < Duration::from_secs(15), "it is asked for ever");
    }
    eprintln!("one of two HSMs takes 1.5 s: slowest answer {late:?}");
    assert!(late < Duration::from_millis(1400), "{late:?}");
    // Three late answers in a row are enough: all others did not wait for it.
    assert!((3..=5).contains(&group.hedged()), "{}", group.hedged());
    one.faults("");
    let begun = Instant::now();
    while group.endpoints_up() != [true, true] {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "its canary does not close the breaker"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_site_comes_first_and_weights_share_its_load() {
    let (Some((far, first)), Some((big, second)), Some((small, third))) = (site(7), site(7), site(7)) else {
        return;
    };
    let first = Pkcs11Config {
        is_local: false,
        ..first
    };
    let second = Pkcs11Config { weight: 3, ..second };
    let group = Arc::new(Pkcs11Group::spawn(vec![first, second, third]).await.unwrap());
    let key = SecretKey::new([0x42; 32]);
    let wrap = group
        .wrap(&key, &context(), Reason::ClientWrite, TIME)
        .await
        .unwrap();
    let all = [&far, &big, &small];
    let calls = || all.map(|hsm| hsm.calls("C_DecryptInit"));
    let before = calls();
    // Slow enough to have requests under way, quick enough for no hedge.
    big.faults("C_DecryptInit delay=40\n");
    small.faults("C_DecryptInit delay=40\n");
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (group, wrap) = (Arc::clone(&group), wrap.clone());
        clients.spawn(async move {
            for _ in 0..25 {
                let back = group.unwrap(&wrap, &context(), Reason::ClientRead, TIME).await;
                assert!(back.is_ok());
            }
        });
    }
    clients.join_all().await;
    let after = calls();
    let [far_asked, big_asked, small_asked] = [0, 1, 2].map(|at: usize| after[at] - before[at]);
    eprintln!("of 100 unwraps, four at once: far {far_asked}, weight 3 {big_asked}, weight 1 {small_asked}");
    assert_eq!(far_asked, 0, "the other site is for when this one fails");
    assert!(big_asked > small_asked && small_asked > 0);
    // Without its own site the gateway goes to the other one, at once after the first failure.
    big.faults("* code=CKR_DEVICE_REMOVED\n");
    small.faults("* code=CKR_DEVICE_REMOVED\n");
    let slowest = slowest(&group, &wrap, &key, 6).await;
    eprintln!("the local site is away: slowest answer {slowest:?}");
    assert!(far.calls("C_DecryptInit") > after[0]);
}
