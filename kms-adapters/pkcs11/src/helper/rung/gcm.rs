//! AES-GCM in the token, treating the wrapped key as data.
//!
//! What lives here: the schemes `aes-gcm/caller-iv` and `aes-gcm/hsm-iv`. What must not: anything of other
//! mechanisms. Invariant: no IV is used twice on purpose: ours are drawn afresh from the operating system
//! here, and a token that is to make its own and returns the zeros it was given is refused.

use sceau_keys::KEY_BYTES;
use sceau_pkcs11_calls::Mechanism;

use super::super::token::Bench;
use super::{Context, Fail, Wrapped};
use crate::form::{IV_BYTES, SEALED_BYTES};
use crate::frame::Secret;

fn mechanism<'a>(iv: &'a mut [u8], context: &'a Context) -> Mechanism<'a> {
    Mechanism::AesGcm { iv, aad: context }
}

/// `aes-gcm/caller-iv`.
pub(super) fn wrap(bench: &Bench, context: &Context, key: &[u8; KEY_BYTES]) -> Result<Wrapped, Fail> {
    let mut iv = [0; IV_BYTES];
    getrandom::fill(&mut iv).map_err(|_| Fail::Check("no randomness"))?;
    let mut given = iv;
    let blob = bench.encrypt(mechanism(&mut given, context), key)?;
    if given != iv {
        return Err(Fail::Check("the token replaced the IV it was given"));
    }
    Ok(Wrapped {
        iv: iv.to_vec(),
        blob: blob.to_vec(),
    })
}

/// `aes-gcm/hsm-iv` on a token that writes its IV over the zeros it was given.
pub(super) fn wrap_written_back(
    bench: &Bench,
    context: &Context,
    key: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let mut iv = [0; IV_BYTES];
    let blob = bench.encrypt(mechanism(&mut iv, context), key)?;
    if iv == [0; IV_BYTES] {
        return Err(Fail::Check("the token made no IV: zeros came back"));
    }
    Ok(Wrapped {
        iv: iv.to_vec(),
        blob: blob.to_vec(),
    })
}

/// `aes-gcm/hsm-iv` on a token that is given none and appends its own to the ciphertext.
pub(super) fn wrap_appended(
    bench: &Bench,
    context: &Context,
    key: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let mut blob = bench.encrypt(mechanism(&mut [], context), key)?.to_vec();
    if blob.len() != SEALED_BYTES.saturating_add(IV_BYTES) {
        return Err(Fail::Check("the token appended no IV"));
    }
    let iv = blob.split_off(SEALED_BYTES);
    Ok(Wrapped { iv, blob })
}

/// Both.
pub(super) fn unwrap(bench: &Bench, context: &Context, iv: &[u8], blob: &[u8]) -> Result<Secret, Fail> {
    let mut given: [u8; IV_BYTES] = iv.try_into().map_err(|_| Fail::Check("the IV's length"))?;
    Ok(bench.decrypt(mechanism(&mut given, context), blob)?)
}
