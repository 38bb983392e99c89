//! What is noted about a key-encryption key when a keyring is made.
//!
//! What lives here: the canary. What must not: tests of a token's mechanisms, which are the
//! adapter's. Invariant: the canary's value guards nothing; it only recognises the key again.

use aws_lc_rs::digest::{SHA256, digest};
use sceau_envelope::keyring::EnrolledKek;
use sceau_keys::{BucketId, KEY_BYTES, Krid, SecretKey, TenantId, Wrap, WrapContext};
use sceau_kms::{KeyError, KeyProvider, Reason};
use zeroize::Zeroizing;

use super::error::KeyringFault;
use crate::limits;

/// The entry of the key provider's key, with a canary that was wrapped and unwrapped once.
/// `module_sha256` is the digest of its module file in hexadecimal, empty if it has none.
///
/// # Errors
/// [`KeyringFault::Provider`] and [`KeyringFault::Random`].
pub async fn enrolled_key(
    provider: &dyn KeyProvider,
    module_sha256: String,
) -> Result<EnrolledKek, KeyringFault> {
    let context = canary_context();
    let mut value = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(value.as_mut_slice()).map_err(|_| KeyringFault::Random)?;
    let canary = SecretKey::from_slice(value.as_slice()).ok_or(KeyringFault::Random)?;
    let wrap = provider
        .wrap(&canary, &context, Reason::Enrolment, limits::KEY_WAIT)
        .await?;
    let again = provider
        .unwrap(&wrap, &context, Reason::Enrolment, limits::KEY_WAIT)
        .await?;
    if !again.ct_eq(&canary) {
        return Err(KeyringFault::Provider(sceau_kms::KeyError::Internal));
    }
    let fingerprint = digest(&SHA256, value.as_slice());
    Ok(EnrolledKek {
        provider: wrap.provider,
        label: wrap.key_label,
        version: wrap.key_version,
        scheme: wrap.scheme,
        canary_iv: wrap.iv,
        canary_blob: wrap.blob,
        fingerprint: fingerprint
            .as_ref()
            .try_into()
            .map_err(|_| KeyringFault::Random)?,
        module_sha256,
    })
}

/// What a key provider says to the canary of an enrolled key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// It is the enrolled key.
    Recognised,
    /// The provider is for another key.
    NotHeld,
    /// The provider has a key of that name, but it is another one.
    Stranger,
}

/// Asks `provider` for the canary of `kek`.
///
/// # Errors
/// [`KeyError`] when the provider could not try.
pub async fn try_canary(provider: &dyn KeyProvider, kek: &EnrolledKek) -> Result<Canary, KeyError> {
    if kek.provider != provider.info().instance {
        return Ok(Canary::NotHeld);
    }
    try_copy(provider, kek).await
}

/// As [`try_canary`], whatever the provider is called: a token may hold a copy of a key that was enrolled in
/// another one.
///
/// # Errors
/// As [`try_canary`].
pub async fn try_copy(provider: &dyn KeyProvider, kek: &EnrolledKek) -> Result<Canary, KeyError> {
    let wrap = Wrap {
        provider: kek.provider.clone(),
        key_label: kek.label.clone(),
        key_version: kek.version,
        scheme: kek.scheme,
        iv: kek.canary_iv.clone(),
        blob: kek.canary_blob.clone(),
    };
    let unwrapped = provider
        .unwrap(&wrap, &canary_context(), Reason::Health, limits::KEY_WAIT)
        .await;
    match unwrapped {
        Ok(key) if digest(&SHA256, key.expose()).as_ref() == kek.fingerprint.as_slice() => {
            Ok(Canary::Recognised)
        }
        Ok(_) | Err(KeyError::InvalidCiphertext) => Ok(Canary::Stranger),
        Err(KeyError::KeyNotFound) => Ok(Canary::NotHeld),
        Err(error) => Err(error),
    }
}

/// All zero, which no key record ever has.
fn canary_context() -> WrapContext {
    WrapContext {
        krid: Krid([0; 16]),
        tenant: TenantId([0; 16]),
        bucket: BucketId([0; 16]),
        epoch: 0,
    }
}
