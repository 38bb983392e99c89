//! The mechanism ladder: what it chooses, what it says about the rest, and that it stays where it is.
//!
//! The fault shim plays the tokens that make IVs themselves. Every rung on every module: `modules`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod hsm;

use std::sync::Arc;

use hsm::{Hsm, TIME, context};
use sceau_keys::{SecretKey, WrapScheme};
use sceau_kms::{KeyError, KeyProvider, Reason, Severity, conformance};
use sceau_kms_pkcs11::{GcmIv, Pkcs11Config, Pkcs11Provider, Trial, enrolment_context, generate_kek, probe};

/// Generates a key for `scheme`, enrols it, and puts the kit's questions to it.
async fn conforms(config: Pkcs11Config, scheme: WrapScheme) -> Pkcs11Config {
    let config = Pkcs11Config {
        scheme: Some(scheme),
        key_label: format!("kek {}", scheme.name()),
        ..config
    };
    generate_kek(&config).await.unwrap();
    let enrolment = probe(&config).await.unwrap();
    assert_eq!(enrolment.scheme, scheme);
    let errors: Vec<_> = enrolment
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{}: {errors:?}", scheme.name());
    let provider = Arc::new(Pkcs11Provider::spawn(config.clone()).await.unwrap());
    assert_eq!(provider.info().scheme, scheme);
    let passed = conformance::run(Arc::clone(&provider) as Arc<dyn KeyProvider>).await;
    eprintln!("{}: {passed:?}", scheme.name());
    assert!(passed.is_ok());
    // Hundreds of altered wraps later it is the same helper.
    assert_eq!(provider.restarts(), 0, "{}", scheme.name());
    // The canary of the enrolment opens in its own context and in no other.
    let canary = provider
        .unwrap(&enrolment.canary, &enrolment_context(), Reason::Enrolment, TIME)
        .await;
    assert!(canary.is_ok());
    let moved = provider
        .unwrap(&enrolment.canary, &context(), Reason::Enrolment, TIME)
        .await;
    assert_eq!(moved.err(), Some(KeyError::InvalidCiphertext));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ivs_made_by_the_token_conform_in_both_ways() {
    for (mode, gcm_iv) in [
        ("gcm-iv=written-back", GcmIv::WrittenBack),
        ("gcm-iv=appended", GcmIv::Appended),
    ] {
        let Some(hsm) = Hsm::new() else { return };
        hsm.faults(mode);
        let config = Pkcs11Config {
            gcm_iv: Some(gcm_iv),
            ..hsm.shimmed(hsm.config())
        };
        let config = conforms(config, WrapScheme::AesGcmHsmIv).await;
        // A token that does not replace the IV is found out, and so is the other way.
        hsm.faults("");
        let refused = Pkcs11Provider::spawn(config.clone()).await.err();
        assert!(
            matches!(&refused, Some(KeyError::Misconfigured { what }) if what.contains("aes-gcm/hsm-iv")),
            "{mode}: {refused:?}"
        );
        let caller_iv = Pkcs11Config {
            scheme: Some(WrapScheme::AesGcmCallerIv),
            ..config
        };
        hsm.faults(mode);
        assert!(Pkcs11Provider::spawn(caller_iv).await.is_err(), "{mode}");
    }
}

fn refusal(trials: &[Trial], scheme: WrapScheme) -> Option<&str> {
    let trial = trials.iter().find(|trial| trial.scheme == scheme).unwrap();
    trial.refusal.as_deref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ladder_says_why_it_refused_and_stops_at_the_first_that_passes() {
    let Some(hsm) = Hsm::new() else { return };
    let made = generate_kek(&hsm.config()).await.unwrap();
    assert_eq!(made.scheme, WrapScheme::AesGcmCallerIv);
    for trial in &made.trials {
        eprintln!("{}: {:?}", trial.scheme.name(), trial.refusal);
    }
    for passed in [
        WrapScheme::AesGcmCallerIv,
        WrapScheme::HmacKdf,
        WrapScheme::AesKw,
        WrapScheme::AesCbcKdf,
    ] {
        assert_eq!(refusal(&made.trials, passed), None);
    }
    // SoftHSM lists OAEP and does not carry it with SHA-256: only the test tells.
    assert!(refusal(&made.trials, WrapScheme::RsaOaepSha256).is_some());
    assert!(
        refusal(&made.trials, WrapScheme::AesGcmHsmIv)
            .unwrap()
            .contains("profile")
    );
    let enrolment = probe(&hsm.config()).await.unwrap();
    assert_eq!(enrolment.scheme, WrapScheme::AesGcmCallerIv);
    assert!(
        refusal(&enrolment.trials, WrapScheme::HmacKdf)
            .unwrap()
            .contains("generic secret")
    );
    // Nothing of the trials stays in the token.
    assert_eq!(hsm.objects(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poor_token_gets_the_rung_it_can_carry() {
    let Some(hsm) = Hsm::new() else { return };
    // Without GCM (refused at its first use) the ladder goes on to HMAC; without that, to key wrap.
    hsm.faults("C_EncryptInit code=CKR_MECHANISM_INVALID\n");
    let config = hsm.shimmed(hsm.config());
    let made = generate_kek(&config).await.unwrap();
    assert_eq!(made.scheme, WrapScheme::HmacKdf);
    assert!(
        refusal(&made.trials, WrapScheme::AesGcmCallerIv)
            .unwrap()
            .contains("MechanismInvalid")
    );
    let enrolled = probe(&config).await.unwrap();
    assert_eq!(enrolled.scheme, WrapScheme::HmacKdf);
    hsm.faults("C_EncryptInit code=CKR_MECHANISM_INVALID\nC_SignInit code=CKR_MECHANISM_INVALID\n");
    let other = Pkcs11Config {
        key_label: "second".to_owned(),
        ..config.clone()
    };
    assert_eq!(generate_kek(&other).await.unwrap().scheme, WrapScheme::AesKw);
    // A token that carries nothing gets no key at all.
    hsm.faults(
        "C_EncryptInit code=CKR_MECHANISM_INVALID\nC_SignInit code=CKR_MECHANISM_INVALID\nC_WrapKey \
         code=CKR_MECHANISM_INVALID\n",
    );
    let none = Pkcs11Config {
        key_label: "third".to_owned(),
        ..config.clone()
    };
    let before = hsm.objects();
    assert!(matches!(
        generate_kek(&none).await,
        Err(KeyError::Misconfigured { what }) if what.contains("no scheme")
    ));
    assert_eq!(hsm.objects(), before);
    // The pinned rung is never left at run time: when it fails, the other ones do not step in.
    hsm.faults("C_SignInit code=CKR_MECHANISM_INVALID\n");
    let pinned = Pkcs11Config {
        scheme: Some(WrapScheme::HmacKdf),
        ..config
    };
    assert!(Pkcs11Provider::spawn(pinned).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wraps_of_one_scheme_are_nothing_to_another() {
    let Some(hsm) = Hsm::new() else { return };
    // One AES key that may do everything, as careless officers make them.
    let file = hsm.room.join("key");
    std::fs::write(&file, [7; 32]).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let import = [
        "--import",
        &file,
        "--aes",
        "--token",
        "sceau-test",
        "--pin",
        hsm::PIN,
    ];
    hsm.util(&[import.as_slice(), &["--label", "kek-1", "--id", "01"]].concat());
    let mut providers = Vec::new();
    for scheme in [
        WrapScheme::AesGcmCallerIv,
        WrapScheme::AesCbcKdf,
        WrapScheme::AesKw,
    ] {
        let config = Pkcs11Config {
            scheme: Some(scheme),
            ..hsm.config()
        };
        match Pkcs11Provider::spawn(config).await {
            Ok(provider) => providers.push(provider),
            Err(error) => eprintln!("{}: {error}", scheme.name()),
        }
    }
    assert!(providers.len() >= 2);
    let key = SecretKey::new([0x42; 32]);
    for one in &providers {
        let wrap = one.wrap(&key, &context(), Reason::Health, TIME).await.unwrap();
        for other in &providers {
            let back = other.unwrap(&wrap, &context(), Reason::Health, TIME).await;
            if one.info().scheme == other.info().scheme {
                assert!(back.unwrap().ct_eq(&key));
            } else {
                // As it stands, and with the scheme's name changed.
                assert_eq!(back.err(), Some(KeyError::KeyNotFound));
                let mut renamed = wrap.clone();
                renamed.scheme = other.info().scheme;
                let back = other.unwrap(&renamed, &context(), Reason::Health, TIME).await;
                assert_eq!(back.err(), Some(KeyError::InvalidCiphertext));
            }
        }
    }
}

/// NSS names a length without the tag when it is asked how long the answer of GCM will be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsa_passes_on_nss_and_is_not_chosen() {
    let Some(hsm) = Hsm::new() else { return };
    let Some(nss) = hsm.nss() else { return };
    let made = generate_kek(&nss).await.unwrap();
    assert_eq!(refusal(&made.trials, WrapScheme::RsaOaepSha256), None);
    assert_eq!(made.scheme, WrapScheme::AesGcmCallerIv);
}
