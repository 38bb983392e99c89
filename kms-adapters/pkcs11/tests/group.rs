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
