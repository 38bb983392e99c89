//! The adapter on a real module: SoftHSM in a directory of its own.
//!
//! Skipped with a printed line where SoftHSM is not installed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod hsm;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm::{Hsm, PIN, TIME, context, kill, round_trip};
use sceau_keys::{SecretKey, Wrap, WrapScheme};
use sceau_kms::{HealthState, KeyError, KeyProvider, Probe, Reason, Residency, Severity, conformance};
use sceau_kms_pkcs11::{
    Pkcs11Config, Pkcs11Provider, TokenSelection, enrolment_context, generate_kek, probe,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn softhsm_conforms_and_tampering_never_costs_the_helper() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Arc::new(Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap());
    let pid = provider.helper_pid().unwrap();
    conformance::run(Arc::clone(&provider) as Arc<dyn KeyProvider>)
        .await
        .unwrap();
    assert_eq!(provider.info().residency, Residency::Hsm);
    assert!(provider.info().is_production_grade);
    // Whoever may overwrite wraps in the store cannot reset the HSM: hundreds of altered wraps later,
    // the helper is the same.
    assert_eq!(provider.restarts(), 0);
    assert_eq!(provider.helper_pid(), Some(pid));
    // Requests whose callers gave up keep their place until the helper answers them.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(provider.queue_depth(), 0);
    assert!(
        provider
            .describe()
            .await
            .unwrap()
            .findings
            .iter()
            .all(|found| found.severity < Severity::Error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_helper_costs_no_wrong_key_and_is_back_at_once() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Arc::new(Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap());
    let mut wraps = Vec::new();
    for fill in 0..64_u8 {
        let key = SecretKey::new([fill; 32]);
        wraps.push(
            provider
                .wrap(&key, &context(), Reason::Rewrap, TIME)
                .await
                .unwrap(),
        );
    }
    let until = Instant::now() + Duration::from_millis(600);
    let mut tasks = tokio::task::JoinSet::new();
    for (fill, wrap) in wraps.into_iter().enumerate() {
        let provider = Arc::clone(&provider);
        tasks.spawn(async move {
            let expected = SecretKey::new([u8::try_from(fill).unwrap(); 32]);
            let (mut served, mut refused) = (0_u32, 0_u32);
            while Instant::now() < until {
                match provider.unwrap(&wrap, &context(), Reason::ClientRead, TIME).await {
                    Ok(key) => {
                        assert!(key.ct_eq(&expected), "a wrong key");
                        served += 1;
                    }
                    Err(KeyError::Unavailable { .. }) => refused += 1,
                    Err(error) => panic!("under kill: {error}"),
                }
            }
            (served, refused)
        });
    }
    let mut back_after = Duration::ZERO;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let old = provider.helper_pid().unwrap();
        kill(old, "-KILL");
        let start = Instant::now();
        while provider.helper_pid().is_none_or(|pid| pid == old) || round_trip(&provider).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(2), "not back within 2 s");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        back_after = back_after.max(start.elapsed());
    }
    let (mut served, mut refused) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (more_served, more_refused) = done.unwrap();
        served += more_served;
        refused += more_refused;
    }
    eprintln!("served {served}, refused {refused}, back after {back_after:?}");
    assert!(served >= 64);
    assert_eq!(provider.restarts(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_is_tried_once_and_then_waits_for_an_operator() {
    let Some(hsm) = Hsm::new() else { return };
    let config = hsm.noting(hsm.with_key().await);
    let provider = Pkcs11Provider::spawn(config.clone()).await.unwrap();
    hsm.write_pin("wrong-pin", 0o600);
    kill(provider.helper_pid().unwrap(), "-KILL");
    let start = Instant::now();
    loop {
        match round_trip(&provider).await {
            Err(KeyError::NeedsOperator { what }) => {
                assert!(what.contains("PIN") && !what.contains("wrong-pin"));
                break;
            }
            Err(KeyError::Unavailable { .. }) | Ok(()) => assert!(start.elapsed() < TIME),
            Err(error) => panic!("unexpected: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // No second attempt, however long and often it is asked.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(
            round_trip(&provider).await,
            Err(KeyError::NeedsOperator { .. })
        ));
    }
    assert_eq!(hsm.refused_logins(), 1);
    assert_eq!(provider.restarts(), 1);
    assert_eq!(provider.helper_pid(), None);
    assert_eq!(provider.health(Probe::Shallow).await.state, HealthState::Down);
    // A new provider with the same PIN is refused as well; with the right one it serves.
    assert!(matches!(
        Pkcs11Provider::spawn(config.clone()).await,
        Err(KeyError::NeedsOperator { .. })
    ));
    hsm.write_pin(PIN, 0o400);
    round_trip(&Pkcs11Provider::spawn(config).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_token_is_no_tampering_and_heals() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap();
    let key = SecretKey::new([0x42; 32]);
    let wrap = provider
        .wrap(&key, &context(), Reason::Health, TIME)
        .await
        .unwrap();
    let (tokens, away) = (hsm.room.join("tokens"), hsm.room.join("away"));
    fs::rename(&tokens, &away).unwrap();
    fs::create_dir(&tokens).unwrap();
    let start = Instant::now();
    let mut outage = None;
    while outage.is_none() {
        match provider.unwrap(&wrap, &context(), Reason::Health, TIME).await {
            // The module may serve from its memory for a while.
            Ok(back) => assert!(back.ct_eq(&key)),
            Err(error) => outage = Some(error),
        }
        if start.elapsed() > Duration::from_millis(300) {
            // It does: a new helper cannot.
            provider
                .helper_pid()
                .into_iter()
                .for_each(|pid| kill(pid, "-KILL"));
        }
        assert!(start.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Never `InvalidCiphertext`: the wraps are as good as before. Nor `Misconfigured`, which
    // callers do not try again: this token worked before.
    assert!(matches!(outage, Some(KeyError::Unavailable { .. })), "{outage:?}");
    assert_eq!(
        provider.health(Probe::Canary).await.state,
        HealthState::Recovering
    );
    fs::remove_dir_all(&tokens).unwrap();
    fs::rename(&away, &tokens).unwrap();
    while round_trip(&provider).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(8), "it did not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(provider.health(Probe::Canary).await.state, HealthState::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_helper_is_killed_and_callers_keep_their_deadlines() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap();
    let old = provider.helper_pid().unwrap();
    kill(old, "-STOP");
    let start = Instant::now();
    let key = SecretKey::new([1; 32]);
    let brief = Duration::from_millis(200);
    let answer = provider.wrap(&key, &context(), Reason::ClientWrite, brief).await;
    assert_eq!(answer.err(), Some(KeyError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(1));
    while provider.helper_pid().is_none_or(|pid| pid == old) || round_trip(&provider).await.is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(14),
            "the watchdog did not act"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(provider.restarts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_table_throttles() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Arc::new(Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap());
    kill(provider.helper_pid().unwrap(), "-STOP");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let provider = Arc::clone(&provider);
        tasks.spawn(async move {
            let key = SecretKey::new([1; 32]);
            let brief = Duration::from_millis(500);
            provider
                .wrap(&key, &context(), Reason::ClientWrite, brief)
                .await
                .err()
        });
    }
    let (mut throttled, mut late) = (0, 0);
    while let Some(error) = tasks.join_next().await {
        match error.unwrap() {
            Some(KeyError::Throttled) => throttled += 1,
            Some(KeyError::Timeout) => late += 1,
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!((throttled, late), (44, 256));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_audits_the_key_and_its_canary_identifies_it() {
    let Some(hsm) = Hsm::new() else { return };
    let config = hsm.config();
    assert!(matches!(probe(&config).await, Err(KeyError::KeyNotFound)));
    let generated = generate_kek(&config).await.unwrap();
    let id = generated.key_id;
    assert!(matches!(
        generate_kek(&config).await,
        Err(KeyError::Misconfigured { .. })
    ));
    let enrolment = probe(&config).await.unwrap();
    assert_eq!(enrolment.scheme, WrapScheme::AesGcmCallerIv);
    assert_eq!(
        (enrolment.key_id.as_str(), enrolment.token_label.as_str()),
        (id.as_str(), "sceau-test")
    );
    assert_eq!(enrolment.module_sha256.len(), 64);
    assert_eq!(enrolment.tamper_codes, ["GeneralError"]);
    assert!(
        enrolment
            .findings
            .iter()
            .all(|found| found.severity == Severity::Warning),
        "{:?}",
        enrolment.findings
    );
    for (name, wanted) in [
        ("EXTRACTABLE", false),
        ("SENSITIVE", true),
        ("LOCAL", true),
        ("WRAP", false),
    ] {
        assert!(
            enrolment.attributes.contains(&(name.to_owned(), wanted)),
            "{name}"
        );
    }
    let provider = Pkcs11Provider::spawn(config.clone()).await.unwrap();
    let canary = provider
        .unwrap(&enrolment.canary, &enrolment_context(), Reason::Enrolment, TIME)
        .await;
    assert!(canary.is_ok());
    // A key of the same label in another token is another key.
    let other = Hsm::new().unwrap();
    let foreign = Pkcs11Provider::spawn(other.with_key().await).await.unwrap();
    let canary: Wrap = enrolment.canary;
    let answer = foreign
        .unwrap(&canary, &enrolment_context(), Reason::Enrolment, TIME)
        .await;
    assert_eq!(answer.err(), Some(KeyError::InvalidCiphertext));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_extractable_key_is_found_out() {
    let Some(hsm) = Hsm::new() else { return };
    let file = hsm.room.join("weak.key");
    fs::write(&file, [7; 32]).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let import = [
        "--import",
        &file,
        "--aes",
        "--token",
        "sceau-test",
        "--pin",
        PIN,
        "--label",
        "kek-1",
        "--id",
        "01",
    ];
    hsm.util(&import);
    let findings = probe(&hsm.config()).await.unwrap().findings;
    let has = |start: &str| findings.iter().any(|found| found.what.starts_with(start));
    assert!(has("LOCAL is false"), "{findings:?}");
    assert!(has("NEVER_EXTRACTABLE is false"), "{findings:?}");
    assert!(
        findings.iter().any(|found| found.severity == Severity::Error),
        "{findings:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubtful_configurations_are_refused_with_a_reason() {
    let Some(hsm) = Hsm::new() else { return };
    let config = hsm.with_key().await;
    let refused = async |config: Pkcs11Config| match Pkcs11Provider::spawn(config).await {
        Err(KeyError::Misconfigured { what }) => what,
        Err(error) => panic!("unexpected: {error}"),
        Ok(_) => panic!("accepted"),
    };
    let no_token = TokenSelection {
        serial: Some("0000".to_owned()),
        label: None,
    };
    assert!(
        refused(Pkcs11Config {
            token: no_token,
            ..config.clone()
        })
        .await
        .contains("matches")
    );
    hsm.write_pin(PIN, 0o644);
    assert!(refused(config.clone()).await.contains("PIN file"));
    hsm.write_pin(&format!("{PIN}\n"), 0o600);
    // The same label twice, in one token and in two.
    generate_kek(&Pkcs11Config {
        key_id: Some("0a0b".to_owned()),
        ..config.clone()
    })
    .await
    .unwrap();
    assert!(refused(config.clone()).await.contains("more than one key"));
    let by_id = Pkcs11Config {
        key_id: Some("0a0b".to_owned()),
        ..config.clone()
    };
    round_trip(&Pkcs11Provider::spawn(by_id.clone()).await.unwrap())
        .await
        .unwrap();
    hsm.add_token("sceau-test");
    assert!(refused(by_id).await.contains("more than one token"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_helper_ends_with_its_provider_and_never_dumps() {
    let Some(hsm) = Hsm::new() else { return };
    let provider = Pkcs11Provider::spawn(hsm.with_key().await).await.unwrap();
    let process = PathBuf::from(format!("/proc/{}", provider.helper_pid().unwrap()));
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    // A process that may not be dumped belongs to root in /proc, and its memory to nobody else.
    let environment = fs::read(process.join("environ"));
    if let Ok(environment) = environment {
        let names: Vec<_> = environment
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
            .collect();
        assert_eq!(names.len(), 1, "only SOFTHSM2_CONF reaches the helper");
    }
    drop(provider);
    let start = Instant::now();
    while process.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "the helper outlives its provider"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
