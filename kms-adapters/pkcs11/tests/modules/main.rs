//! The conformance kit on every PKCS#11 module that is here, on every scheme of wrapping that it carries.
//!
//! Prints, for each module, what passed and what the device cannot do. `cargo test -p sceau-kms-pkcs11
//! --test modules` takes SoftHSM and NSS; with `SCEAU_TEST_FULL=1`, or named as arguments, all of them.
//! What is not installed is skipped with a line. A scheme that a module is known to carry and does not is a
//! failure, so that a device that "cannot" is never a fault of ours unnoticed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test stops at the first surprise"
)]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "the table is the point")]

#[path = "../hsm/mod.rs"]
mod hsm;
mod makes;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use hsm::{TIME, context};
use makes::{MAKES, Make, Token};
use sceau_keys::WrapScheme;
use sceau_kms::{KeyError, KeyProvider, Reason, Severity, conformance, conformance::Pace};
use sceau_kms_pkcs11::{Enrolment, Pkcs11Config, Pkcs11Provider, enrolment_context, probe};

/// The schemes of PKCS#11, in the ladder's order.
const SCHEMES: [WrapScheme; 6] = [
    WrapScheme::AesGcmCallerIv,
    WrapScheme::AesGcmHsmIv,
    WrapScheme::HmacKdf,
    WrapScheme::AesKw,
    WrapScheme::AesCbcKdf,
    WrapScheme::RsaOaepSha256,
];

/// What a module said to one scheme.
enum Outcome {
    /// The checks of the kit that passed: all of them, or the run ended.
    Conforms(Vec<&'static str>),
    /// Why the device does not carry it.
    Cannot(String),
}

/// What was found out about one module.
struct Found {
    make: &'static Make,
    /// Manufacturer, model and firmware by the token's own words; empty if no scheme got that far.
    device: String,
    outcomes: Vec<(WrapScheme, Outcome)>,
    seconds: u64,
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_full = std::env::var("SCEAU_TEST_FULL").is_ok_and(|value| value == "1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut found = Vec::new();
    for make in &MAKES {
        let is_named = names.iter().any(|name| make.name.contains(name.as_str()));
        if !is_named && (!names.is_empty() || make.is_for_full_runs && !is_full) {
            continue;
        }
        match (make.start)() {
            Ok(token) => found.push(runtime.block_on(examine(make, &token))),
            Err(why) => println!("skipped: {}: {why}", make.name),
        }
    }
    print_table(&found);
    let mut is_as_expected = true;
    for found in &found {
        is_as_expected &= is_expected(found);
    }
    if is_as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Puts every scheme to a token. Ends the run at the first check of the kit that does not hold.
async fn examine(make: &'static Make, token: &Token) -> Found {
    let start = Instant::now();
    let (mut device, mut outcomes) = (String::new(), Vec::new());
    for scheme in SCHEMES {
        let outcome = match enrol(token, scheme).await {
            Ok((config, enrolment)) => {
                device = format!("{}, firmware {}", enrolment.token_model, enrolment.token_firmware);
                let errors: Vec<_> = enrolment
                    .findings
                    .iter()
                    .filter(|finding| finding.severity == Severity::Error)
                    .map(|finding| finding.what.as_str())
                    .collect();
                if errors.is_empty() {
                    Outcome::Conforms(conforms(make, config, &enrolment).await)
                } else {
                    Outcome::Cannot(errors.join("; "))
                }
            }
            Err(why) => Outcome::Cannot(why),
        };
        eprintln!("{}: {}: {}", make.name, scheme.name(), words(&outcome));
        outcomes.push((scheme, outcome));
    }
    Found {
        make,
        device,
        outcomes,
        seconds: start.elapsed().as_secs(),
    }
}

/// A key for `scheme`, tested in the token.
async fn enrol(token: &Token, scheme: WrapScheme) -> Result<(Pkcs11Config, Enrolment), String> {
    let config = Pkcs11Config {
        scheme: Some(scheme),
        key_label: format!("kek {}", scheme.name()),
        ..token.config.clone()
    };
    (token.make_key)(&config).await?;
    match probe(&config).await {
        Ok(enrolment) => {
            assert_eq!(enrolment.scheme, scheme);
            Ok((config, enrolment))
        }
        Err(error) => Err(refusal(config, scheme, error).await),
    }
}

/// Why `scheme` did not pass, by what the ladder says of it on the same key.
async fn refusal(config: Pkcs11Config, scheme: WrapScheme, error: KeyError) -> String {
    let climbed = probe(&Pkcs11Config {
        scheme: None,
        ..config
    })
    .await;
    match climbed {
        Ok(enrolment) => {
            let trial = enrolment.trials.into_iter().find(|trial| trial.scheme == scheme);
            trial.and_then(|trial| trial.refusal).unwrap_or(error.to_string())
        }
        Err(none) => {
            let told = none.to_string();
            let begin = format!("{}: ", scheme.name());
            let part = told
                .split_once(&begin)
                .map(|(_, rest)| rest.split(';').next().unwrap_or(rest));
            part.map_or(told.clone(), str::to_owned)
        }
    }
}

/// The kit's questions, and that hundreds of altered wraps did not cost the helper.
async fn conforms(make: &Make, config: Pkcs11Config, enrolment: &Enrolment) -> Vec<&'static str> {
    let scheme = enrolment.scheme;
    let provider = Arc::new(Pkcs11Provider::spawn(config).await.unwrap());
    assert_eq!(provider.info().scheme, scheme);
    let pace = if make.slow.contains(&scheme) {
        Pace::Sampled
    } else {
        Pace::Every
    };
    let passed = conformance::run_at(Arc::clone(&provider) as Arc<dyn KeyProvider>, pace).await;
    let mut passed = passed.unwrap_or_else(|failure| panic!("{}: {}: {failure}", make.name, scheme.name()));
    // The canary of the enrolment opens in its own context and in no other.
    let canary = &enrolment.canary;
    let right = enrolment_context();
    assert!(
        provider
            .unwrap(canary, &right, Reason::Enrolment, TIME)
            .await
            .is_ok()
    );
    let moved = provider.unwrap(canary, &context(), Reason::Enrolment, TIME).await;
    assert_eq!(moved.err(), Some(KeyError::InvalidCiphertext));
    passed.push("canary-of-enrolment");
    assert_eq!(provider.restarts(), 0, "{}: {}", make.name, scheme.name());
    passed.push("helper-never-lost");
    passed
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Conforms(checks) => format!("{} checks passed", checks.len()),
        Outcome::Cannot(why) => format!("cannot: {why}"),
    }
}

/// Modules across, checks down: on how many schemes each check passed. Then what each device cannot do.
fn print_table(found: &[Found]) {
    println!("\nmodules:");
    for found in found {
        println!("  {:14} {} ({} s)", found.make.name, found.device, found.seconds);
    }
    let columns = || found.iter().map(|found| found.make.name);
    println!(
        "\nscheme of wrapping   {}",
        columns().map(|name| format!("{name:>14}")).collect::<String>()
    );
    for scheme in SCHEMES {
        let cells = found.iter().map(|found| {
            let outcome = found.outcomes.iter().find(|(of, _)| *of == scheme);
            match outcome {
                Some((_, Outcome::Conforms(_))) => "conforms",
                Some((_, Outcome::Cannot(_))) | None => "-",
            }
        });
        println!(
            "{:20} {}",
            scheme.name(),
            cells.map(|cell| format!("{cell:>14}")).collect::<String>()
        );
    }
    println!(
        "\ncheck, by schemes    {}",
        columns().map(|name| format!("{name:>14}")).collect::<String>()
    );
    let mut counts: BTreeMap<(usize, &str), BTreeMap<&str, usize>> = BTreeMap::new();
    for found in found {
        for (_, outcome) in &found.outcomes {
            if let Outcome::Conforms(checks) = outcome {
                for (at, check) in checks.iter().enumerate() {
                    *counts
                        .entry((at, check))
                        .or_default()
                        .entry(found.make.name)
                        .or_default() += 1;
                }
            }
        }
    }
    for ((_, check), by_make) in &counts {
        let cells = columns().map(|name| by_make.get(name).copied().unwrap_or(0));
        println!(
            "{check:20} {}",
            cells.map(|count| format!("{count:>14}")).collect::<String>()
        );
    }
    println!("\nwhat the device cannot do:");
    for found in found {
        for (scheme, outcome) in &found.outcomes {
            if let Outcome::Cannot(why) = outcome {
                println!("  {:14} {:18} {why}", found.make.name, scheme.name());
            }
        }
    }
    println!();
}

/// Whether the module carries exactly what it is known to carry.
fn is_expected(found: &Found) -> bool {
    let passed: Vec<_> = found
        .outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Conforms(_)))
        .map(|(scheme, _)| *scheme)
        .collect();
    if passed == found.make.carries {
        return true;
    }
    println!(
        "FAILED: {}: known to carry {:?}, carries {:?}",
        found.make.name,
        found
            .make
            .carries
            .iter()
            .map(|scheme| scheme.name())
            .collect::<Vec<_>>(),
        passed.iter().map(|scheme| scheme.name()).collect::<Vec<_>>()
    );
    false
}
