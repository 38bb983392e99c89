//! The mechanism `aes-gcm/caller-iv`, its functional test, and the canary.
//!
//! What lives here: AES-GCM in the token with an IV of ours, treating the wrapped key as data. What
//! must not: sessions' life, error classes. Invariant: every IV is drawn afresh from the operating
//! system here; no caller supplies one for encryption.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use sceau_keys::KEY_BYTES;
use sceau_kms::KeyError;
use zeroize::Zeroizing;

use super::fault::{Fault, classify, name};
use super::note;
use super::token::{Bench, Token, unavailable};
use crate::config::misconfigured;
use crate::enrol::enrolment_context;
use crate::frame::{BLOB_BYTES, IV_BYTES, Secret};

/// Length of the tag in bits.
const TAG_BITS: u64 = 128;
/// AAD of the functional test: longer than any context, so that a token with a short limit fails now.
const TEST_AAD: [u8; 64] = [0x5a; 64];

fn mechanism<'a>(iv: &'a mut [u8; IV_BYTES], aad: &'a [u8]) -> Result<Mechanism<'a>, Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS.into())?))
}

/// Encrypts `plain` under the bench's key; answers IV and ciphertext.
pub(super) fn encrypt(bench: &Bench, aad: &[u8], plain: &[u8]) -> Result<([u8; IV_BYTES], Vec<u8>), Error> {
    let mut iv = [0; IV_BYTES];
    // Without randomness nothing may be encrypted; the wrapper has no better code for it.
    getrandom::fill(&mut iv).map_err(|_| Error::InvalidValue)?;
    let mut given = iv;
    let blob = bench
        .session
        .encrypt(&mechanism(&mut given, aad)?, bench.key, plain)?;
    // A token that replaced the IV follows another scheme; its output would be lost.
    if given != iv {
        return Err(Error::InvalidValue);
    }
    Ok((iv, blob))
}

/// Decrypts `blob` under the bench's key.
pub(super) fn decrypt(bench: &Bench, aad: &[u8], iv: &[u8; IV_BYTES], blob: &[u8]) -> Result<Secret, Error> {
    let mut given = *iv;
    bench
        .session
        .decrypt(&mechanism(&mut given, aad)?, bench.key, blob)
        .map(Zeroizing::new)
}

/// A wrap of ours whose key we know: tells a refusal of bad input from a fault of the device.
pub(super) struct Canary {
    pub(super) iv: [u8; IV_BYTES],
    pub(super) blob: Vec<u8>,
    plain: Zeroizing<[u8; KEY_BYTES]>,
    /// Codes this token gave for input altered on purpose.
    pub(super) learnt: Vec<RvError>,
}

impl Canary {
    /// Runs the functional test on the real key and keeps its wrap as the canary.
    pub(super) fn make(token: &Token) -> Result<Self, KeyError> {
        let mut plain = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(plain.as_mut_slice()).map_err(|_| KeyError::Internal)?;
        let bench = token.bench()?;
        round_trip(&bench, &TEST_AAD, plain.as_slice())?;
        let context = enrolment_context().to_bytes();
        let (iv, blob) = round_trip(&bench, &context, plain.as_slice())?;
        let mut canary = Self {
            iv,
            blob,
            plain,
            learnt: Vec::new(),
        };
        canary.learn(token)?;
        Ok(canary)
    }

    /// Whether `bench` still decrypts the canary to what it was.
    pub(super) fn holds(&self, bench: &Bench) -> bool {
        let context = enrolment_context().to_bytes();
        match decrypt(bench, &context, &self.iv, &self.blob) {
            Ok(back) => back.as_slice() == self.plain.as_slice(),
            Err(error) => {
                note(&format!("canary: {}", name(&error)));
                false
            }
        }
    }

    /// Alters the canary on purpose and notes how the token refuses. Each trial has its own session,
    /// because a token may leave the operation active.
    fn learn(&mut self, token: &Token) -> Result<(), KeyError> {
        let right = enrolment_context().to_bytes();
        let mut wrong = right;
        wrong.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        let flip = |at: usize| -> Vec<u8> {
            let flipped = |(i, byte): (usize, &u8)| if i == at { byte ^ 1 } else { *byte };
            self.blob.iter().enumerate().map(flipped).collect()
        };
        let trials = [
            (wrong, self.blob.clone()),
            (right, flip(0)),
            (right, flip(BLOB_BYTES.saturating_sub(1))),
        ];
        for (aad, blob) in trials {
            match decrypt(&token.bench()?, &aad, &self.iv, &blob) {
                Ok(_) => return Err(misconfigured("the token accepts altered ciphertext or context")),
                Err(Error::Pkcs11(code, _)) if !self.learnt.contains(&code) => self.learnt.push(code),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn round_trip(bench: &Bench, aad: &[u8], plain: &[u8]) -> Result<([u8; IV_BYTES], Vec<u8>), KeyError> {
    let (iv, blob) = encrypt(bench, aad, plain).map_err(|error| refused(&error))?;
    if blob.len() != BLOB_BYTES {
        let length = blob.len();
        return Err(misconfigured(format!(
            "the token wraps 32 bytes to {length}, not {BLOB_BYTES}: it does not follow aes-gcm/caller-iv"
        )));
    }
    let back = decrypt(bench, aad, &iv, &blob).map_err(|error| refused(&error))?;
    if back.as_slice() != plain {
        return Err(misconfigured(
            "the token decrypts to something else than was encrypted",
        ));
    }
    Ok((iv, blob))
}

/// Why the functional test did not even run.
fn refused(error: &Error) -> KeyError {
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
            return misconfigured(format!(
                "the token does not follow aes-gcm/caller-iv: {}",
                name(error)
            ));
        }
    }
    match classify(error, &[]) {
        Fault::Credential | Fault::Session | Fault::Refusal => unavailable("testing the key", error),
    }
}
