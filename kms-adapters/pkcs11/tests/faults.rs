//! What callers of the adapter see when the HSM fails: the fault shim stands before SoftHSM.
//!
//! Each test says what must never happen: a wrong key, a sound wrap called altered, a wait past its
//! deadline, a second try of a refused PIN.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod hsm;

use std::time::{Duration, Instant};

use hsm::{Hsm, PIN, TIME, context, round_trip};
use sceau_keys::{SecretKey, Wrap};
use sceau_kms::{HealthState, KeyError, KeyProvider, Probe, Reason};
use sceau_kms_pkcs11::{Pkcs11Config, Pkcs11Provider, generate_kek};

/// Longest time until a healed device serves again.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// How late an answer may be on a machine that is busy with other tests.
const LATE: Duration = Duration::from_secs(2);

/// A provider through the shim, and a wrap made before anything fails.
async fn start(hsm: &Hsm) -> (Pkcs11Provider, SecretKey, Wrap) {
    let config = hsm.with_key().await;
    // One worker, so that a fault that comes once is met by the next request.
    let config = Pkcs11Config {
        workers: 1,
        ..hsm.shimmed(config)
    };
    let provider = Pkcs11Provider::spawn(config).await.unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = wrap(&provider, &key).await.unwrap();
    (provider, key, wrap)
}

async fn wrap(provider: &Pkcs11Provider, key: &SecretKey) -> Result<Wrap, KeyError> {
    provider.wrap(key, &context(), Reason::ClientWrite, TIME).await
}

async fn unwrap(provider: &Pkcs11Provider, wrap: &Wrap) -> Result<SecretKey, KeyError> {
    provider.unwrap(wrap, &context(), Reason::ClientRead, TIME).await
}

async fn heals(provider: &Pkcs11Provider, key: &SecretKey, wrap: &Wrap) {
    let start = Instant::now();
    loop {
        match unwrap(provider, wrap).await {
            Ok(back) => {
                assert!(back.ct_eq(key), "a wrong key");
                return;
            }
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(start.elapsed() < HEALED_WITHIN, "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stray_code_is_healed_within_the_request() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    for function in ["C_DecryptInit", "C_Decrypt"] {
        for code in [
            "CKR_GENERAL_ERROR",
            "CKR_DEVICE_ERROR",
            "CKR_FUNCTION_FAILED",
            "CKR_DEVICE_MEMORY",
            "CKR_DEVICE_REMOVED",
            "CKR_TOKEN_NOT_PRESENT",
            "CKR_SESSION_HANDLE_INVALID",
            "CKR_SESSION_CLOSED",
            "CKR_KEY_HANDLE_INVALID",
            "CKR_OBJECT_HANDLE_INVALID",
            "CKR_USER_NOT_LOGGED_IN",
            "CKR_OPERATION_ACTIVE",
            "CKR_CRYPTOKI_NOT_INITIALIZED",
            "0x80000001",
        ] {
            hsm.faults(&format!("{function} code={code} times=1\n"));
            let back = unwrap(&provider, &wrap).await;
            assert!(
                back.is_ok_and(|back| back.ct_eq(&key)),
                "{function} answers {code} once"
            );
        }
    }
    assert_eq!(provider.restarts(), 0, "none of these costs the helper");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_token_forgets_is_found_again() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    for function in ["C_DecryptInit", "C_Decrypt", "C_EncryptInit", "C_Encrypt"] {
        for loss in ["lose-sessions", "lose-login", "change-handles"] {
            hsm.faults(&format!("{function} {loss} times=1\n"));
            let back = unwrap(&provider, &wrap).await;
            assert!(
                back.is_ok_and(|back| back.ct_eq(&key)),
                "{loss} at {function}, reading"
            );
            let again = self::wrap(&provider, &key)
                .await
                .unwrap_or_else(|error| panic!("{loss} at {function}, writing: {error}"));
            heals(&provider, &key, &again).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_names_another_key_makes_no_wrap() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    let other = Pkcs11Config {
        key_label: "another key".to_owned(),
        ..hsm.config()
    };
    generate_kek(&other).await.unwrap();
    // Without the canary after each wrap this answers a wrap by the other key, which nobody can open.
    hsm.faults("C_EncryptInit swap-handles times=1\n");
    let made = self::wrap(&provider, &key).await.unwrap();
    hsm.faults("");
    heals(&provider, &key, &made).await;
    hsm.faults("C_DecryptInit swap-handles times=1\n");
    heals(&provider, &key, &wrap).await;
    // From the beginning, in a new process.
    let fresh = Pkcs11Provider::spawn(hsm.config()).await.unwrap();
    heals(&fresh, &key, &made).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_device_is_an_outage_and_heals() {
    for faults in [
        "* code=CKR_DEVICE_REMOVED\n",
        "* code=CKR_DEVICE_ERROR\n",
        "* code=CKR_GENERAL_ERROR\n",
        "* code=CKR_CRYPTOKI_NOT_INITIALIZED\n",
        "C_GetSlotList empty\nC_DecryptInit code=CKR_TOKEN_NOT_PRESENT\n",
        "C_FindObjects empty\nC_DecryptInit code=CKR_KEY_HANDLE_INVALID\n",
    ] {
        let Some(hsm) = Hsm::new() else { return };
        let (provider, key, wrap) = start(&hsm).await;
        hsm.faults(faults);
        for _ in 0..3 {
            let start = Instant::now();
            let answer = unwrap(&provider, &wrap).await.err();
            assert!(
                answer
                    .as_ref()
                    .is_some_and(|error| error.is_retryable() || *error == KeyError::KeyNotFound),
                "{faults}: {answer:?}"
            );
            assert_ne!(answer, Some(KeyError::InvalidCiphertext));
            assert!(start.elapsed() < TIME + LATE, "{faults}: past its deadline");
        }
        assert_ne!(
            provider.health(Probe::Canary).await.state,
            HealthState::Ready,
            "{faults}"
        );
        hsm.faults("");
        let start = Instant::now();
        while round_trip(&provider).await.is_err() {
            assert!(start.elapsed() < HEALED_WITHIN, "{faults}: it does not heal");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        heals(&provider, &key, &wrap).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_costs_nothing_but_time() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    hsm.faults("C_Decrypt abort times=1\n");
    let back = unwrap(&provider, &wrap).await;
    assert!(
        back.is_ok_and(|back| back.ct_eq(&key)),
        "it is sent to the next helper"
    );
    assert_eq!(provider.restarts(), 1);
    // A request that kills every helper it meets is given up after two.
    hsm.faults("C_Decrypt abort skip=2 times=2\n");
    let answer = unwrap(&provider, &wrap).await;
    assert!(answer.as_ref().is_err_and(KeyError::is_retryable) || answer.is_ok());
    hsm.faults("");
    heals(&provider, &key, &wrap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_device_makes_late_answers_and_no_restart() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    hsm.faults("C_DecryptInit delay=300\n");
    let back = unwrap(&provider, &wrap).await;
    assert!(back.is_ok_and(|back| back.ct_eq(&key)), "slow within its time");
    // Too slow for its caller, again and again: nobody hangs, and a new helper would be as slow.
    hsm.faults("C_DecryptInit delay=2500\n");
    for _ in 0..3 {
        let start = Instant::now();
        let answer = unwrap(&provider, &wrap).await;
        assert_eq!(answer.err(), Some(KeyError::Timeout));
        assert!(start.elapsed() < TIME + LATE, "past its deadline");
    }
    hsm.faults("");
    heals(&provider, &key, &wrap).await;
    assert_eq!(provider.restarts(), 0, "slow is not dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_hangs_is_answered_by_a_second_helper_within_its_time() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    let first = provider.helper_pid();
    hsm.faults("C_Decrypt hang times=1\n");
    let begun = Instant::now();
    let longer = Duration::from_secs(9);
    let back = provider
        .unwrap(&wrap, &context(), Reason::ClientRead, longer)
        .await;
    assert!(back.is_ok_and(|back| back.ct_eq(&key)));
    eprintln!("a hung call was answered after {:?}", begun.elapsed());
    assert_eq!(provider.restarts(), 1);
    assert_ne!(provider.helper_pid(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_second_helper_gets_ready_the_first_serves_with_what_it_has() {
    let Some(hsm) = Hsm::new() else { return };
    let config = Pkcs11Config {
        workers: 4,
        ..hsm.shimmed(hsm.with_key().await)
    };
    let provider = Pkcs11Provider::spawn(config).await.unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = self::wrap(&provider, &key).await.unwrap();
    let first = provider.helper_pid();
    // Two of four workers hang, and the device lets nobody in.
    hsm.faults("C_Decrypt hang times=2\nC_Login code=CKR_FUNCTION_FAILED\n");
    let hung = tokio::join!(unwrap(&provider, &wrap), unwrap(&provider, &wrap));
    assert_eq!(hung.0.err(), Some(KeyError::Timeout));
    assert_eq!(hung.1.err(), Some(KeyError::Timeout));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let back = unwrap(&provider, &wrap).await;
        assert!(back.is_ok_and(|back| back.ct_eq(&key)));
    }
    assert_eq!((provider.helper_pid(), provider.restarts()), (first, 0));
    // As soon as it lets one in, that one takes over.
    hsm.faults("");
    let begun = Instant::now();
    while provider.helper_pid() == first {
        assert!(begun.elapsed() < HEALED_WITHIN, "no second helper took over");
        let back = unwrap(&provider, &wrap).await;
        assert!(back.is_ok_and(|back| back.ct_eq(&key)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_while_a_helper_starts_costs_seconds_and_callers_are_told_at_once() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    hsm.faults("C_Initialize hang times=1\nC_Decrypt abort times=1\n");
    let begun = Instant::now();
    let answer = unwrap(&provider, &wrap).await.err();
    assert!(answer.as_ref().is_some_and(KeyError::is_retryable), "{answer:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let quick = Instant::now();
    let answer = unwrap(&provider, &wrap).await.err();
    assert!(answer.is_some_and(|answer| answer.is_retryable()));
    assert!(quick.elapsed() < Duration::from_secs(1), "it waits for nothing");
    while unwrap(&provider, &wrap).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.elapsed() < HEALED_WITHIN, "the start was not given up");
    }
    eprintln!("a hung start was replaced after {:?}", begun.elapsed());
    heals(&provider, &key, &wrap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_call_costs_one_helper_and_no_deadline() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    hsm.faults("C_Decrypt hang times=1\n");
    let start = Instant::now();
    assert_eq!(unwrap(&provider, &wrap).await.err(), Some(KeyError::Timeout));
    assert!(start.elapsed() < TIME + LATE, "past its deadline");
    loop {
        let begun = Instant::now();
        match unwrap(&provider, &wrap).await {
            Ok(back) => {
                assert!(back.ct_eq(&key));
                break;
            }
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(begun.elapsed() < TIME + LATE);
        assert!(
            start.elapsed() < Duration::from_secs(14),
            "the watchdog did not act"
        );
    }
    assert_eq!(provider.restarts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_answer_is_no_key() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    // Calls of `C_Decrypt` for a request: the size, then the bytes.
    hsm.faults("C_Decrypt short=8\nC_Encrypt short=8\n");
    for _ in 0..3 {
        let answer = unwrap(&provider, &wrap).await.err();
        assert!(
            answer.as_ref().is_some_and(KeyError::is_retryable),
            "short: {answer:?}"
        );
        let answer = self::wrap(&provider, &key).await.err();
        assert!(answer.is_some(), "a short wrap is no wrap");
    }
    hsm.faults("");
    heals(&provider, &key, &wrap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_not_tried_again_by_anyone() {
    let Some(hsm) = Hsm::new() else { return };
    let config = Pkcs11Config {
        pin_latch: Some(hsm.room.join("latch")),
        workers: 1,
        ..hsm.shimmed(hsm.with_key().await)
    };
    let provider = Pkcs11Provider::spawn(config.clone()).await.unwrap();
    let logins = hsm.calls("C_Login");
    // The token loses its login while the PIN file holds a wrong one.
    hsm.write_pin("wrong-pin", 0o600);
    hsm.faults("C_DecryptInit lose-login times=1\nC_DecryptInit code=CKR_USER_NOT_LOGGED_IN times=1\n");
    let key = SecretKey::new([1; 32]);
    let mut answer = self::wrap(&provider, &key).await;
    let start = Instant::now();
    while !matches!(answer, Err(KeyError::NeedsOperator { .. })) {
        assert!(start.elapsed() < HEALED_WITHIN, "{:?}", answer.err());
        answer = self::wrap(&provider, &key).await;
    }
    assert_eq!(hsm.calls("C_Login"), logins + 1);
    // Whoever starts anew, as a service manager does, touches the token no more.
    for _ in 0..5 {
        let started = Pkcs11Provider::spawn(config.clone()).await;
        assert!(
            matches!(started, Err(KeyError::NeedsOperator { what }) if what.contains("refused this PIN before"))
        );
    }
    // Nor does a file that was only touched.
    hsm.write_pin("wrong-pin", 0o600);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(matches!(
        self::wrap(&provider, &key).await,
        Err(KeyError::NeedsOperator { .. })
    ));
    assert_eq!(hsm.calls("C_Login"), logins + 1);
    // The operator corrects the file: service returns without a restart of the gateway.
    hsm.write_pin(PIN, 0o600);
    let start = Instant::now();
    while round_trip(&provider).await.is_err() {
        assert!(start.elapsed() < HEALED_WITHIN, "it does not see the new PIN");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!hsm.room.join("latch").exists());
    assert_eq!(hsm.calls("C_Login"), logins + 2);
}

/// On a network HSM each call is a round trip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unwrapping_is_two_calls_of_the_module() {
    let Some(hsm) = Hsm::new() else { return };
    let (provider, key, wrap) = start(&hsm).await;
    let calls = || ["C_DecryptInit", "C_Decrypt"].map(|function| hsm.calls(function));
    let before = calls();
    for _ in 0..10 {
        assert!(unwrap(&provider, &wrap).await.unwrap().ct_eq(&key));
    }
    assert_eq!(calls(), before.map(|count| count + 10));
}
