//! Climbing the ladder: which rungs a token carries, and on which key.
//!
//! What lives here: the trials at enrolment, on keys made for the trial or on the real key. What must not:
//! service; it knows one rung. Invariant: a list of mechanisms only excludes a rung; including one takes a
//! passed test. The keys made for trials are session objects and end with their session.

use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use sceau_keys::WrapScheme;
use sceau_kms::KeyError;

use super::canary::{Benches, Canary, reason};
use super::fault::{Fault, classify, credential_advice, name};
use super::generate;
use super::note;
use super::rung::{Fail, Rung, key_kind, mechanism};
use super::token::{Bench, Token, unavailable};
use crate::config::misconfigured;
use crate::form::{LADDER, may_be_chosen};
use crate::frame::{GcmIv, Trial};

/// Tests `scheme` on the configured key, in each way it can be done; the first that passes.
fn prove(benches: &impl Benches, scheme: WrapScheme, gcm_iv: Option<GcmIv>) -> Result<Canary, Fail> {
    let mut last = Fail::Check("there is no way to do it");
    for rung in Rung::of(scheme, gcm_iv, &benches.bench()?)? {
        match Canary::make(benches, rung) {
            Ok(canary) => return Ok(canary),
            Err(fail) => last = fail,
        }
    }
    Err(last)
}

/// The pinned scheme, proved on the configured key. For service: there is no other choice.
pub(super) fn pinned(token: &Token, scheme: WrapScheme) -> Result<Canary, KeyError> {
    // A key that is not there is told before anything else.
    token.bench()?;
    prove(token, scheme, token.setup().gcm_iv).map_err(|fail| refused(scheme, &fail))
}

/// What every rung says on the configured key, and the first that may be chosen and passed.
pub(super) fn choose(token: &Token) -> Result<(Canary, Vec<Trial>), KeyError> {
    let kind = token.bench()?.kind;
    let listed = listed(token);
    let mut chosen: Option<Canary> = None;
    let mut trials = Vec::new();
    for scheme in LADDER {
        let outcome = if key_kind(scheme) != kind {
            Err(format!("needs {}", key_kind(scheme).words()))
        } else if let Some(missing) = excluded(scheme, listed.as_deref()) {
            Err(missing)
        } else {
            match prove(token, scheme, token.setup().gcm_iv) {
                Ok(canary) if chosen.is_none() && may_be_chosen(scheme) => {
                    chosen = Some(canary);
                    Ok(())
                }
                Ok(_) => Ok(()),
                Err(fail) => Err(reason(&fail)),
            }
        };
        trials.push(trial(scheme, outcome));
    }
    match chosen {
        Some(canary) => Ok((canary, trials)),
        None => Err(misconfigured(format!(
            "no scheme of the ladder passes on this key: {}",
            words(&trials)
        ))),
    }
}

/// What every rung says on throw-away keys of this token, before the real key is generated.
pub(super) fn rehearse(token: &Token) -> Result<Vec<Trial>, KeyError> {
    let listed = listed(token);
    token.login(token.epoch())?;
    let mut trials = Vec::new();
    for scheme in LADDER {
        let outcome = match excluded(scheme, listed.as_deref()) {
            Some(missing) => Err(missing),
            None => rehearse_one(token, scheme).map_err(|fail| reason(&fail)),
        };
        trials.push(trial(scheme, outcome));
    }
    Ok(trials)
}

/// The scheme a new key is made for.
pub(super) fn first_passed(trials: &[Trial]) -> Result<WrapScheme, KeyError> {
    let passed = trials
        .iter()
        .filter(|trial| trial.refusal.is_none())
        .filter_map(|trial| WrapScheme::from_code(trial.scheme));
    let mut chosen = passed.filter(|scheme| may_be_chosen(*scheme));
    chosen.next().ok_or_else(|| {
        misconfigured(format!(
            "the token carries no scheme of the ladder: {}",
            words(trials)
        ))
    })
}

fn rehearse_one(token: &Token, scheme: WrapScheme) -> Result<(), Fail> {
    let throw_away = ThrowAway::make(token, scheme)?;
    prove(&throw_away, scheme, token.setup().gcm_iv).map(|_| ())
}

/// A key that ends with the session it was made in.
struct ThrowAway<'a> {
    token: &'a Token,
    owner: Bench,
}

impl<'a> ThrowAway<'a> {
    fn make(token: &'a Token, scheme: WrapScheme) -> Result<Self, Fail> {
        let session = token
            .officer_session()
            .map_err(|_| Fail::Check("no writing session"))?;
        let key: ObjectHandle = generate::make_key(&session, scheme, None, &[])?;
        let owner = token.bench_with(session, key, key_kind(scheme));
        Ok(Self { token, owner })
    }
}

impl Benches for ThrowAway<'_> {
    fn bench(&self) -> Result<Bench, Fail> {
        let session = self
            .token
            .officer_session()
            .map_err(|_| Fail::Check("no writing session"))?;
        Ok(self.token.bench_with(session, self.owner.key, self.owner.kind))
    }
}

/// The mechanisms of the token; `None` if it does not tell.
fn listed(token: &Token) -> Option<Vec<u64>> {
    let told = token.mechanisms();
    if told.is_none() {
        note("the token does not list its mechanisms");
    }
    told
}

fn excluded(scheme: WrapScheme, listed: Option<&[u64]>) -> Option<String> {
    let needed = mechanism(scheme);
    let is_listed = listed.is_none_or(|listed| listed.contains(&needed));
    (!is_listed).then(|| format!("the token has no {needed}"))
}

fn trial(scheme: WrapScheme, outcome: Result<(), String>) -> Trial {
    Trial {
        scheme: scheme.code(),
        refusal: outcome.err(),
    }
}

fn words(trials: &[Trial]) -> String {
    let told = trials.iter().filter_map(|trial| {
        let name = WrapScheme::from_code(trial.scheme)?.name();
        Some(format!("{name}: {}", trial.refusal.as_deref()?))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Why the pinned scheme does not pass.
fn refused(scheme: WrapScheme, fail: &Fail) -> KeyError {
    let scheme = scheme.name();
    let error = match fail {
        Fail::Check(what) => return misconfigured(format!("the token does not follow {scheme}: {what}")),
        Fail::Token(error) => error,
    };
    if let Error::Pkcs11(code, _) = error {
        if matches!(
            code,
            RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent | RvError::KeySizeRange
        ) {
            note(&name(error));
            return KeyError::KeyNotUsable;
        }
        if matches!(
            code,
            RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::FunctionNotSupported
        ) {
            return misconfigured(format!("the token does not follow {scheme}: {}", name(error)));
        }
    }
    match classify(error, &[]) {
        Fault::Credential => KeyError::NeedsOperator {
            what: credential_advice(error).to_owned(),
        },
        Fault::Session | Fault::Refusal => unavailable("testing the key", error),
    }
}
