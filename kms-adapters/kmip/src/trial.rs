//! Which scheme a server carries: tried, not believed.
//!
//! What lives here: the trial of each scheme, and enrolment. What must not: the choice at run time, where the
//! enrolled scheme is tried and no other. Invariant: only a server that answered, for this key and this client,
//! that it cannot do a scheme is taken not to carry it; trouble is trouble.
//!
//! The attack considered: a server that takes associated data and ignores it, so that a wrap could be moved to
//! another bucket. So the trial opens its own wrap under another context and with another tag, and a server that
//! does open it does not carry the scheme.

use std::time::Instant;

use aws_lc_rs::rand;
use sceau_keys::{BucketId, KEY_BYTES, Krid, SecretKey, TenantId, WrapContext, WrapScheme};
use sceau_kms::{Finding, KeyError};
use zeroize::Zeroizing;

use crate::provider::{KmipConfig, START_TIME, until};
use crate::remote::{Form, RemoteKey};
use crate::server::Fail;
use crate::wire::Operation;

/// The schemes of KMIP keys, best first.
const LADDER: [WrapScheme; 2] = [WrapScheme::KmipGcm, WrapScheme::AesCbcKdf];

/// What became of one scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The scheme.
    pub scheme: WrapScheme,
    /// Why the server does not carry it; `None` where it does.
    pub refusal: Option<String>,
}

/// What enrolment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The scheme to be pinned.
    pub scheme: WrapScheme,
    /// The schemes that were tried, in order.
    pub trials: Vec<Trial>,
    /// The key's unique identifier.
    pub key_id: String,
    /// Version of the protocol.
    pub protocol: String,
    /// What the server calls itself.
    pub vendor: String,
    /// The audit of the key's attributes.
    pub findings: Vec<Finding>,
}

/// Looks for the key and tries the schemes, best first, until one is carried; `wanted`, and no other, where
/// one is.
///
/// # Errors
/// As [`crate::KmipProvider::connect`]; [`KeyError::Misconfigured`] where no scheme is carried.
pub(crate) async fn enrol(config: KmipConfig, wanted: Option<WrapScheme>) -> Result<Enrolment, KeyError> {
    let deadline = until(START_TIME);
    let (mut remote, facts) = RemoteKey::find(config, deadline).await?;
    if !facts.is_active() {
        return Err(KeyError::KeyNotUsable);
    }
    let mut trials = Vec::new();
    for scheme in LADDER
        .into_iter()
        .filter(|scheme| wanted.is_none_or(|wanted| wanted == *scheme))
    {
        let refusal = match facts.check_kind(scheme) {
            Ok(()) => settle(&mut remote, scheme, deadline).await?,
            Err(KeyError::Misconfigured { what }) if scheme == WrapScheme::KmipGcm => Some(what),
            Err(error) => return Err(error),
        };
        let is_carried = refusal.is_none();
        trials.push(Trial { scheme, refusal });
        if is_carried {
            return Ok(Enrolment {
                scheme,
                trials,
                findings: facts.findings(scheme),
                key_id: remote.id,
                protocol: remote.server.version.to_string(),
                vendor: remote.server.vendor,
            });
        }
    }
    let reasons = trials.into_iter().filter_map(|trial| trial.refusal);
    Err(KeyError::Misconfigured {
        what: format!(
            "the KMIP server carries no scheme of wrapping: {}",
            reasons.collect::<Vec<_>>().join("; ")
        ),
    })
}

/// Tries `scheme` and settles how it is carried out; the refusal in words where it is not.
///
/// # Errors
/// Trouble that says nothing of the scheme.
pub(crate) async fn settle(
    remote: &mut RemoteKey,
    scheme: WrapScheme,
    deadline: Instant,
) -> Result<Option<String>, KeyError> {
    let mut refusal = Some("keys in a KMIP server do not wrap so".to_owned());
    for form in Form::of(scheme) {
        remote.form = *form;
        refusal = match remote.lacks() {
            Some(lack) => Some(lack),
            None => attempt(remote, deadline).await?,
        };
        if refusal.is_none() {
            break;
        }
    }
    Ok(refusal)
}

async fn attempt(remote: &RemoteKey, deadline: Instant) -> Result<Option<String>, KeyError> {
    let absent = |operation: Operation, fail: Fail| {
        if let Fail::Refused(refusal) = &fail
            && refusal.is_absence()
        {
            let (name, reason) = (operation.name(), refusal.0);
            return Ok(Some(format!("{name} is refused with reason 0x{reason:02x}")));
        }
        Err(fail.error())
    };
    let key = random_key()?;
    let here = trial_context(0);
    let sealed = match remote.seal(&key, &here, deadline).await {
        Ok(sealed) => sealed,
        // Without a tag, or with one of another length: no AES-GCM as it is wanted.
        Err(Fail::Error(KeyError::Internal)) => {
            return Ok(Some("the answer to Encrypt lacks what was asked for".to_owned()));
        }
        Err(fail) => return absent(Operation::Encrypt, fail),
    };
    match remote.open(&sealed, &here, deadline).await {
        Ok(back) if back.ct_eq(&key) => {}
        Ok(_) => return Ok(Some("Decrypt gives back another key".to_owned())),
        Err(Fail::Error(KeyError::InvalidCiphertext)) => {
            return Ok(Some("the server does not give the same bytes twice".to_owned()));
        }
        Err(fail) => return absent(Operation::Decrypt, fail),
    }
    let mut altered = sealed.clone();
    altered.blob.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
    let moved = remote.open(&sealed, &trial_context(1), deadline).await;
    let altered = remote.open(&altered, &here, deadline).await;
    for (what, opened) in [("in another context", moved), ("with another tag", altered)] {
        match opened {
            Ok(_) => return Ok(Some(format!("the server opens a wrap {what}"))),
            Err(Fail::Refused(_) | Fail::Error(KeyError::InvalidCiphertext)) => {}
            Err(Fail::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// The context of wraps that are never stored.
pub(crate) fn trial_context(epoch: u32) -> WrapContext {
    WrapContext {
        krid: Krid([0; 16]),
        tenant: TenantId([0; 16]),
        bucket: BucketId([0; 16]),
        epoch,
    }
}

pub(crate) fn random_key() -> Result<SecretKey, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Internal)?;
    SecretKey::from_slice(bytes.as_slice()).ok_or(KeyError::Internal)
}
