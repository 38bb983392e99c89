//! A key of its own for each wrap, derived in the token; AES-256-GCM under it in this process.
//!
//! What lives here: the schemes `hmac-kdf` and `aes-cbc-kdf`. What must not: anything that shows the
//! derived key. Invariant: a derived key wraps once, so its IV may be fixed; it depends on the whole
//! context and on a salt of 256 random bits.
//!
//! Attack considered: the token as an oracle. Both functions take messages that begin with a label of
//! this format and have one fixed length, so nothing that another use of the token computes can be a
//! derived key, and the CBC chain is a pseudo-random function (fixed length, one key, one use; that is why
//! such a key must not decrypt). Altered salts, contexts and blobs all end in a refused tag here: the
//! token never sees an error it could be made to report as its own.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sceau_keys::KEY_BYTES;
use sceau_pkcs11_calls::Mechanism;
use zeroize::Zeroizing;

use super::super::token::Bench;
use super::{Context, Fail, Wrapped};
use crate::form::{IV_BYTES, SALT_BYTES, TAG_BYTES};
use crate::frame::Secret;

/// Label of keys derived by HMAC.
const HMAC_LABEL: &[u8] = b"sof1/wrap-key";
/// Label of keys derived by CBC: with the zero byte and the number one block.
const CBC_LABEL: &[u8] = b"sof1/wrap-cbc";
/// Length in bits of a derived key.
const KEY_BITS: u32 = 256;
/// Length of an AES block in bytes.
const BLOCK_BYTES: usize = 16;
/// Zero bytes that fill the last block of a CBC message: the context has 61.
const FILL: [u8; 3] = [0; 3];

type Derived = Zeroizing<[u8; KEY_BYTES]>;
/// A function of the token that derives a key from salt and context.
type Derivation = fn(&Bench, &[u8; SALT_BYTES], &Context) -> Result<Derived, Fail>;

/// HMAC-SHA-256 over one block of SP 800-108 in counter mode.
pub(super) fn by_hmac(bench: &Bench, salt: &[u8; SALT_BYTES], context: &Context) -> Result<Derived, Fail> {
    let message = [
        1_u32.to_be_bytes().as_slice(),
        HMAC_LABEL,
        &[0],
        salt,
        context,
        &KEY_BITS.to_be_bytes(),
    ]
    .concat();
    let tag = bench.sign(Mechanism::Sha256Hmac, &message)?;
    let key = tag
        .as_slice()
        .try_into()
        .map_err(|_| Fail::Check("an HMAC of another length"))?;
    Ok(Zeroizing::new(key))
}

/// The last blocks of two CBC encryptions.
pub(super) fn by_cbc(bench: &Bench, salt: &[u8; SALT_BYTES], context: &Context) -> Result<Derived, Fail> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (number, half) in (1_u16..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
        let number = number.to_be_bytes();
        let message = [CBC_LABEL, &[0], number.as_slice(), salt, context, &FILL].concat();
        let mechanism = Mechanism::AesCbc { iv: [0; BLOCK_BYTES] };
        let chain = bench.encrypt(mechanism, &message)?;
        if chain.len() != message.len() {
            return Err(Fail::Check("a CBC ciphertext of another length"));
        }
        let last: &[u8; BLOCK_BYTES] = chain.last_chunk().ok_or(Fail::Check("an empty ciphertext"))?;
        half.copy_from_slice(last);
    }
    Ok(key)
}

fn aead(key: &Derived) -> Result<LessSafeKey, Fail> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Fail::Check("a derived key"))?;
    Ok(LessSafeKey::new(key))
}

fn iv() -> Nonce {
    Nonce::assume_unique_for_key([0; IV_BYTES])
}

pub(super) fn wrap(
    bench: &Bench,
    derivation: Derivation,
    context: &Context,
    key: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| Fail::Check("no randomness"))?;
    let aead = aead(&derivation(bench, &salt, context)?)?;
    // With room for the tag, so that no unwiped copy of the key is left behind by growing.
    let mut blob = Zeroizing::new(Vec::with_capacity(KEY_BYTES.saturating_add(TAG_BYTES)));
    blob.extend_from_slice(key);
    aead.seal_in_place_append_tag(iv(), Aad::from(context), &mut *blob)
        .map_err(|_| Fail::Check("sealing"))?;
    Ok(Wrapped {
        iv: salt.to_vec(),
        blob: blob.to_vec(),
    })
}

pub(super) fn unwrap(
    bench: &Bench,
    derivation: Derivation,
    context: &Context,
    salt: &[u8],
    blob: &[u8],
) -> Result<Secret, Fail> {
    let salt = salt.try_into().map_err(|_| Fail::Check("the salt's length"))?;
    let aead = aead(&derivation(bench, salt, context)?)?;
    let mut blob = Zeroizing::new(blob.to_vec());
    let key = aead
        .open_in_place(iv(), Aad::from(context), &mut blob)
        .map_err(|_| Fail::Check("the wrap is not of this key and context"))?;
    Ok(Zeroizing::new(key.to_vec()))
}
