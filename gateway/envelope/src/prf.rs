//! The one key derivation of the format (§3).
//!
//! What lives here: the PRF. What must not: a second derivation. Invariant: every input starts with
//! a unique label, the suite, and fields that are fixed in length or length-prefixed, so no two
//! different derivations share an input.

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sceau_keys::SecretKey;
use sha2::Sha384;
use zeroize::Zeroizing;

use crate::header::Suite;

/// Length of one PRF output in bytes.
pub(crate) const PRF_BYTES: usize = 48;

/// A key with its first blocks hashed, for several results under one key: half the work of each further one. Kept no
/// longer than the call that needs them.
pub(crate) struct KeyedHmac(Option<Hmac<Sha384>>);

impl KeyedHmac {
    /// Takes a key of any length.
    pub(crate) fn new(key: &[u8]) -> Self {
        // HMAC takes keys of every length, so this cannot fail; a zero result could never verify.
        Self(Hmac::<Sha384>::new_from_slice(key).ok())
    }

    /// `HMAC-SHA-384(key, pieces…)`.
    pub(crate) fn hmac(&self, pieces: &[&[u8]]) -> Zeroizing<[u8; PRF_BYTES]> {
        let mut output = Zeroizing::new([0; PRF_BYTES]);
        finish_into(self.0.clone(), pieces, &mut output);
        output
    }

    /// The first `N` bytes of the PRF, for values that are not secret.
    pub(crate) fn prf_bytes<const N: usize>(&self, label: &str, fields: &[&[u8]]) -> [u8; N] {
        const { assert!(N <= PRF_BYTES) };
        let mut output = Zeroizing::new([0; PRF_BYTES]);
        with_pieces(label, fields, |pieces| {
            finish_into(self.0.clone(), pieces, &mut output)
        });
        output.first_chunk().copied().unwrap_or([0; N])
    }

    /// The first 32 bytes of the PRF, as a key.
    pub(crate) fn prf_key(&self, label: &str, fields: &[&[u8]]) -> SecretKey {
        let mut output = Zeroizing::new([0; PRF_BYTES]);
        with_pieces(label, fields, |pieces| {
            finish_into(self.0.clone(), pieces, &mut output)
        });
        overwrite_stack();
        to_key(&output)
    }
}

/// Stack that the computation of one HMAC uses at most, in bytes, with room to spare.
const STACK_BYTES: usize = 8 * 1024;

/// Fills the stack below its caller. The hash library leaves a copy of the result there, which an optimised build
/// keeps until something else is called as deep.
#[inline(never)]
fn overwrite_stack() {
    std::hint::black_box(&mut [0_u8; STACK_BYTES]);
}

/// `HMAC-SHA-384(key, pieces…)`.
pub(crate) fn hmac_sha384(key: &[u8], pieces: &[&[u8]]) -> Zeroizing<[u8; PRF_BYTES]> {
    let mut output = Zeroizing::new([0; PRF_BYTES]);
    finish_into(KeyedHmac::new(key).0, pieces, &mut output);
    output
}

/// Writes the result where it stays: a result that is returned leaves copies on the stack. Not inlined, so that its
/// frame is below that of a caller which overwrites it.
#[inline(never)]
fn finish_into(mac: Option<Hmac<Sha384>>, pieces: &[&[u8]], output: &mut [u8; PRF_BYTES]) {
    let Some(mut mac) = mac else {
        return;
    };
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize_into(output.into());
}

/// A field with its length in front: `u32 ‖ bytes`.
pub(crate) struct Lp<'a> {
    length: [u8; 4],
    bytes: &'a [u8],
}

impl<'a> Lp<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        // Every field of the format is far below 4 GiB; a saturated prefix still cannot collide
        // with a shorter field, because the bytes themselves follow.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        Self { length, bytes }
    }

    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        [&self.length, self.bytes]
    }
}

/// Most fields of one derivation.
const FIELDS_MAX: usize = 8;

/// Gives `use_pieces` what the PRF hashes: `"sof1/" ‖ label ‖ 00 ‖ suite ‖ fields… ‖ 01`.
fn with_pieces(label: &str, fields: &[&[u8]], use_pieces: impl FnOnce(&[&[u8]])) {
    let suite = [Suite::FloeAes256Gcm.code()];
    let mut pieces: [&[u8]; FIELDS_MAX + 5] = [&[]; FIELDS_MAX + 5];
    let all = [b"sof1/", label.as_bytes(), &[0], &suite]
        .into_iter()
        .chain(fields.iter().copied())
        .chain([&[1_u8][..]]);
    if fields.len() > FIELDS_MAX {
        return use_pieces(&all.collect::<Vec<_>>());
    }
    // Unused ones at the end are empty and add nothing.
    for (to, from) in pieces.iter_mut().zip(all) {
        *to = from;
    }
    use_pieces(&pieces);
}

/// `PRF(key, label, fields…; 48)`: `HMAC-SHA-384(key, "sof1/" ‖ label ‖ 00 ‖ suite ‖ fields… ‖ 01)`.
#[cfg(test)]
pub(crate) fn prf(key: &[u8], label: &str, fields: &[&[u8]]) -> Zeroizing<[u8; PRF_BYTES]> {
    let mut output = Zeroizing::new([0; PRF_BYTES]);
    with_pieces(label, fields, |pieces| {
        finish_into(KeyedHmac::new(key).0, pieces, &mut output)
    });
    output
}

/// The first `N` bytes of the PRF, for values that are not secret.
pub(crate) fn prf_bytes<const N: usize>(key: &[u8], label: &str, fields: &[&[u8]]) -> [u8; N] {
    KeyedHmac::new(key).prf_bytes(label, fields)
}

/// The first 32 bytes of the PRF, as a key.
pub(crate) fn prf_key(key: &[u8], label: &str, fields: &[&[u8]]) -> SecretKey {
    KeyedHmac::new(key).prf_key(label, fields)
}

fn to_key(output: &[u8; PRF_BYTES]) -> SecretKey {
    SecretKey::written_by(|held| {
        for (to, from) in held.iter_mut().zip(output.iter()) {
            *to = *from;
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // The PRF is HKDF-Expand-SHA-384 with one block: an independent implementation agrees.
        #[test]
        fn the_prf_is_hkdf_expand(
            key in proptest::collection::vec(any::<u8>(), 48..100),
            label in "[a-z-]{1,20}",
            field in proptest::collection::vec(any::<u8>(), 0..300),
            length in 1usize..=48,
        ) {
            let mut info = format!("sof1/{label}\0\u{1}").into_bytes();
            info.extend_from_slice(&field);
            let mut expected = vec![0; length];
            hkdf::Hkdf::<Sha384>::from_prk(&key).unwrap().expand(&info, &mut expected).unwrap();
            prop_assert_eq!(&prf(&key, &label, &[&field])[..length], &expected[..]);
        }
    }
}
