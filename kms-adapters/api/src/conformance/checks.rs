//! The single checks, each a question with a yes or no answer.
//!
//! What lives here: one function per property. What must not: anything that fits one adapter only.
//! Invariant: a check fails by returning a sentence, never by panicking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use sceau_keys::{BucketId, Krid, SecretKey, TenantId, Wrap, WrapContext, WrapScheme};
use tokio::task::JoinSet;

use super::{Failure, Pace};
use crate::error::KeyError;
use crate::info::KeyState;
use crate::provider::{HealthState, KeyProvider, Probe, RANDOM_BYTES_MAX, Reason};

/// Time for one call.
const CALL_TIME: Duration = Duration::from_secs(5);
/// How late an answer to an expired deadline may be before the deadline counts as ignored.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);
/// A recognisable key whose bytes must not show up in an error text.
const KEY: [u8; 32] = *b"\xc5conformance-kit-key-\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b";

type Answer = Result<(), String>;

pub(super) async fn run(provider: Arc<dyn KeyProvider>, pace: Pace) -> Result<Vec<&'static str>, Failure> {
    let mut passed = Vec::new();
    let p = provider.as_ref();
    settle(&mut passed, "round-trip", round_trip(p).await)?;
    settle(&mut passed, "names-in-wrap", names_in_wrap(p).await)?;
    settle(&mut passed, "two-wraps-differ", two_wraps_differ(p).await)?;
    settle(&mut passed, "flipped-byte-refused", flipped(p, pace).await)?;
    settle(&mut passed, "wrong-length-refused", wrong_length(p, pace).await)?;
    settle(&mut passed, "wrong-context-refused", wrong_context(p).await)?;
    settle(&mut passed, "foreign-key-refused", foreign_key(p).await)?;
    settle(&mut passed, "no-secret-in-errors", no_secret(p).await)?;
    settle(&mut passed, "concurrency", concurrency(&provider, pace).await)?;
    settle(&mut passed, "cancellation", cancellation(&provider, pace).await)?;
    settle(&mut passed, "deadline", deadline(p).await)?;
    settle(&mut passed, "random", random(p).await)?;
    settle(&mut passed, "describe", describe(p).await)?;
    settle(&mut passed, "health", health(p).await)?;
    Ok(passed)
}

fn settle(passed: &mut Vec<&'static str>, check: &'static str, answer: Answer) -> Result<(), Failure> {
    answer.map_err(|what| Failure { check, what })?;
    passed.push(check);
    Ok(())
}

fn context() -> WrapContext {
    WrapContext {
        krid: Krid([1; 16]),
        tenant: TenantId([2; 16]),
        bucket: BucketId([3; 16]),
        epoch: 4,
    }
}

fn ensure(holds: bool, what: &str) -> Answer {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

async fn wrapped(provider: &dyn KeyProvider, key: &SecretKey) -> Result<Wrap, String> {
    let made = provider.wrap(key, &context(), Reason::Health, CALL_TIME).await;
    made.map_err(|error| format!("a valid wrap was answered with: {error}"))
}

async fn unwrapped(provider: &dyn KeyProvider, wrap: &Wrap) -> Result<SecretKey, KeyError> {
    provider.unwrap(wrap, &context(), Reason::Health, CALL_TIME).await
}

/// Asserts that the provider still returns the right key.
async fn still_right(provider: &dyn KeyProvider, wrap: &Wrap, key: &SecretKey) -> Answer {
    match unwrapped(provider, wrap).await {
        Ok(back) => ensure(back.ct_eq(key), "a valid unwrap returned another key"),
        Err(error) => Err(format!("a valid unwrap was answered with: {error}")),
    }
}

/// Asserts that `wrap` is refused as altered, and not as an outage.
async fn refused(provider: &dyn KeyProvider, wrap: &Wrap, context: &WrapContext, how: &str) -> Answer {
    match provider.unwrap(wrap, context, Reason::Health, CALL_TIME).await {
        Err(KeyError::InvalidCiphertext) => Ok(()),
        Err(other) => Err(format!("{how} was answered with: {other}")),
        Ok(_) => Err(format!("{how} was accepted")),
    }
}

async fn round_trip(provider: &dyn KeyProvider) -> Answer {
    for key in [KEY, [0xff; 32], [0x80; 32]] {
        let key = SecretKey::new(key);
        let wrap = wrapped(provider, &key).await?;
        still_right(provider, &wrap, &key).await?;
    }
    Ok(())
}

async fn names_in_wrap(provider: &dyn KeyProvider) -> Answer {
    let wrap = wrapped(provider, &SecretKey::new(KEY)).await?;
    let info = provider.info();
    ensure(wrap.provider == info.instance, "the wrap names another provider")?;
    ensure(
        info.check_names(&wrap).is_ok(),
        "the wrap names another key, version or scheme",
    )?;
    ensure(
        !wrap
            .blob
            .windows(8)
            .any(|part| KEY.windows(8).any(|known| known == part)),
        "the blob shows key bytes",
    )
}

async fn two_wraps_differ(provider: &dyn KeyProvider) -> Answer {
    let key = SecretKey::new(KEY);
    let one = wrapped(provider, &key).await?;
    let two = wrapped(provider, &key).await?;
    ensure(one.blob != two.blob, "two wraps of one key are equal")?;
    ensure(one.iv.is_empty() || one.iv != two.iv, "two wraps share their IV")
}

async fn flipped(provider: &dyn KeyProvider, pace: Pace) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider, &key).await?;
    for at in pace.of(good.iv.len()) {
        let mut bad = good.clone();
        bad.iv.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x01);
        refused(provider, &bad, &context(), &format!("a flip in IV byte {at}")).await?;
    }
    for at in pace.of(good.blob.len()) {
        let mut bad = good.clone();
        bad.blob
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= 0x80);
        refused(provider, &bad, &context(), &format!("a flip in blob byte {at}")).await?;
    }
    still_right(provider, &good, &key).await
}

async fn wrong_length(provider: &dyn KeyProvider, pace: Pace) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider, &key).await?;
    for length in pace.of(good.blob.len()) {
        let mut bad = good.clone();
        bad.blob.truncate(length);
        refused(
            provider,
            &bad,
            &context(),
            &format!("a blob cut to {length} bytes"),
        )
        .await?;
    }
    for more in [1, 16, 464, 4096] {
        let mut bad = good.clone();
        bad.blob.extend(std::iter::repeat_n(0, more));
        refused(
            provider,
            &bad,
            &context(),
            &format!("a blob extended by {more} bytes"),
        )
        .await?;
    }
    for length in pace.of(good.iv.len()) {
        let mut bad = good.clone();
        bad.iv.truncate(length);
        refused(
            provider,
            &bad,
            &context(),
            &format!("an IV cut to {length} bytes"),
        )
        .await?;
    }
    let mut bad = good.clone();
    bad.iv.extend([0; 4096]);
    refused(provider, &bad, &context(), "an extended IV").await?;
    still_right(provider, &good, &key).await
}

async fn wrong_context(provider: &dyn KeyProvider) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider, &key).await?;
    let right = context();
    let others = [
        (
            "another record",
            WrapContext {
                krid: Krid([9; 16]),
                ..right
            },
        ),
        (
            "another tenant",
            WrapContext {
                tenant: TenantId([9; 16]),
                ..right
            },
        ),
        (
            "another bucket",
            WrapContext {
                bucket: BucketId([9; 16]),
                ..right
            },
        ),
        ("another epoch", WrapContext { epoch: 5, ..right }),
    ];
    for (how, other) in others {
        refused(provider, &good, &other, how).await?;
    }
    still_right(provider, &good, &key).await
}

async fn foreign_key(provider: &dyn KeyProvider) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider, &key).await?;
    let mut schemes = WrapScheme::ALL.into_iter();
    let other_scheme = schemes
        .find(|scheme| *scheme != good.scheme)
        .ok_or("there is one scheme only")?;
    let others = [
        (
            "another label",
            Wrap {
                key_label: format!("{}-other", good.key_label),
                ..good.clone()
            },
        ),
        (
            "another version",
            Wrap {
                key_version: u32::MAX,
                ..good.clone()
            },
        ),
        (
            "another scheme",
            Wrap {
                scheme: other_scheme,
                ..good.clone()
            },
        ),
    ];
    for (how, other) in others {
        match unwrapped(provider, &other).await {
            Err(KeyError::KeyNotFound | KeyError::InvalidCiphertext) => {}
            Err(error) => return Err(format!("{how} was answered with: {error}")),
            Ok(_) => return Err(format!("{how} was accepted")),
        }
    }
    still_right(provider, &good, &key).await
}

/// Collects the error texts an attacker can provoke and looks for key bytes in them.
async fn no_secret(provider: &dyn KeyProvider) -> Answer {
    let good = wrapped(provider, &SecretKey::new(KEY)).await?;
    let mut cut = good.clone();
    cut.blob.truncate(20);
    let mut renamed = good.clone();
    renamed.key_label = "nobody".to_owned();
    let hex = HEXLOWER.encode(KEY.get(..8).unwrap_or_default());
    for bad in [cut, renamed] {
        if let Err(error) = unwrapped(provider, &bad).await {
            let text = format!("{error} {error:?}");
            ensure(
                !text.contains("conformance-kit-key"),
                "an error text holds key bytes",
            )?;
            ensure(
                !text.to_lowercase().contains(&hex),
                "an error text holds key bytes in hexadecimal",
            )?;
        }
    }
    Ok(())
}

async fn concurrency(provider: &Arc<dyn KeyProvider>, pace: Pace) -> Answer {
    let mut calls = JoinSet::new();
    for number in 0..pace.concurrent_calls() {
        let provider = Arc::clone(provider);
        let fill = u8::try_from(number).unwrap_or_default();
        calls.spawn(async move {
            let key = SecretKey::new([fill | 0x80; 32]);
            let wrap = wrapped(provider.as_ref(), &key).await?;
            still_right(provider.as_ref(), &wrap, &key).await
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(|_| "a call panicked".to_owned())??;
    }
    Ok(())
}

async fn cancellation(provider: &Arc<dyn KeyProvider>, pace: Pace) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider.as_ref(), &key).await?;
    let mut calls = JoinSet::new();
    for number in 0..pace.concurrent_calls() {
        let (provider, good) = (Arc::clone(provider), good.clone());
        calls.spawn(async move {
            // Different moments of cancellation: before sending, while waiting, after the answer.
            let patience = Duration::from_micros(u64::try_from(number).unwrap_or(0).saturating_mul(40));
            let _ = tokio::time::timeout(patience, unwrapped(provider.as_ref(), &good)).await;
        });
    }
    while calls.join_next().await.is_some() {}
    still_right(provider.as_ref(), &good, &key).await
}

async fn deadline(provider: &dyn KeyProvider) -> Answer {
    let key = SecretKey::new(KEY);
    let good = wrapped(provider, &key).await?;
    match provider
        .unwrap(&good, &context(), Reason::Health, Duration::ZERO)
        .await
    {
        Err(KeyError::Timeout) => {}
        Err(error) => return Err(format!("an expired deadline was answered with: {error}")),
        Ok(_) => return Err("an expired deadline was ignored".to_owned()),
    }
    let start = Instant::now();
    let brief = Duration::from_millis(1);
    if let Ok(back) = provider.unwrap(&good, &context(), Reason::Health, brief).await {
        ensure(
            back.ct_eq(&key),
            "an unwrap within its deadline returned another key",
        )?;
    }
    ensure(start.elapsed() < DEADLINE_SLACK, "a deadline of 1 ms was ignored")?;
    still_right(provider, &good, &key).await
}

async fn random(provider: &dyn KeyProvider) -> Answer {
    let one = provider
        .random(32)
        .await
        .map_err(|error| format!("random was answered with: {error}"))?;
    let two = provider
        .random(32)
        .await
        .map_err(|error| format!("random was answered with: {error}"))?;
    ensure(
        one.len() == 32 && two.len() == 32,
        "random returned another length",
    )?;
    ensure(
        one.as_slice() != two.as_slice(),
        "random returned the same bytes twice",
    )?;
    let most = provider
        .random(RANDOM_BYTES_MAX)
        .await
        .map_err(|error| format!("the longest random: {error}"))?;
    ensure(
        most.len() == RANDOM_BYTES_MAX,
        "the longest random has another length",
    )?;
    let over = provider.random(RANDOM_BYTES_MAX.saturating_add(1)).await;
    ensure(over.is_err(), "random accepted more than the limit")
}

async fn describe(provider: &dyn KeyProvider) -> Answer {
    let status = provider
        .describe()
        .await
        .map_err(|error| format!("describe was answered with: {error}"))?;
    ensure(
        status.state == KeyState::Active,
        "a usable key is described as disabled",
    )?;
    ensure(
        status.key_version == provider.info().key_version,
        "describe tells another version",
    )
}

async fn health(provider: &dyn KeyProvider) -> Answer {
    for probe in [Probe::Shallow, Probe::Canary] {
        let health = provider.health(probe).await;
        ensure(
            health.state == HealthState::Ready,
            &format!("{probe:?} probe: {health:?}"),
        )?;
    }
    Ok(())
}
