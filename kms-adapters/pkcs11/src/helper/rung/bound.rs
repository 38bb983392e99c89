//! Mechanisms that carry the key but no context: the digest of the context is wrapped with the key.
//!
//! What lives here: the schemes `aes-kw` and `rsa-oaep-sha256`. What must not: a key returned before the
//! digest beside it was compared. Invariant: key and digest are inseparable under the mechanism: RFC 3394
//! makes one integrity-protected unit of them, OAEP one padded message.
//!
//! Attack considered for RSA: whoever knows the public key can wrap a key of his own for any context. The
//! keyring's MAC does not help where its own key comes the same way. So the ladder never stops at this
//! scheme by itself, and the documentation says what has to be pinned by whoever asks for it.

use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use cryptoki::mechanism::Mechanism as WrapperMechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use sceau_keys::KEY_BYTES;
use sceau_pkcs11_calls::Mechanism;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::super::token::Bench;
use super::{Context, Fail, Way, Wrapped};
use crate::form::{BOUND_BYTES, MODULUS_BYTES, SALT_BYTES};
use crate::frame::Secret;

fn digest(iv: &[u8], context: &Context) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"sof1/wrap-bind");
    hash.update([0]);
    hash.update(iv);
    hash.update(context);
    hash.finalize().into()
}

/// The key with the digest of its context.
fn bind(iv: &[u8], context: &Context, key: &[u8; KEY_BYTES]) -> Secret {
    let mut both = Zeroizing::new(Vec::with_capacity(BOUND_BYTES));
    both.extend_from_slice(key);
    both.extend_from_slice(&digest(iv, context));
    both
}

/// The key, if the digest beside it is that of `context`.
fn open(iv: &[u8], context: &Context, both: &[u8]) -> Result<Secret, Fail> {
    let (key, found) = both
        .split_at_checked(KEY_BYTES)
        .ok_or(Fail::Check("an unwrapped key of another length"))?;
    if bool::from(found.ct_eq(&digest(iv, context))) {
        Ok(Zeroizing::new(key.to_vec()))
    } else {
        Err(Fail::Check("the wrap is not of this context"))
    }
}

/// `aes-kw`. The salt makes two wraps of one key differ.
pub(super) fn wrap_kw(
    bench: &Bench,
    way: Way,
    context: &Context,
    key: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| Fail::Check("no randomness"))?;
    let both = bind(&salt, context, key);
    let blob = match way {
        Way::WrapKey => wrap_object(bench, &both)?,
        Way::Plain | Way::Encrypt | Way::IvWrittenBack | Way::IvAppended => {
            bench.encrypt(Mechanism::AesKeyWrap, &both)?
        }
    };
    Ok(Wrapped {
        iv: salt.to_vec(),
        blob: blob.to_vec(),
    })
}

pub(super) fn unwrap_kw(
    bench: &Bench,
    way: Way,
    context: &Context,
    salt: &[u8],
    blob: &[u8],
) -> Result<Secret, Fail> {
    let both = match way {
        Way::WrapKey => unwrap_object(bench, blob)?,
        Way::Plain | Way::Encrypt | Way::IvWrittenBack | Way::IvAppended => {
            bench.decrypt(Mechanism::AesKeyWrap, blob)?
        }
    };
    open(salt, context, &both)
}

/// What the token needs to know of a key that passes through it.
fn passing() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

fn wrap_object(bench: &Bench, both: &Secret) -> Result<Secret, Fail> {
    let mut template = passing();
    template.push(Attribute::Value(both.to_vec()));
    let object = bench.session.create_object(&template);
    wipe(&mut template);
    let object = object?;
    let blob = bench.wrap_key(Mechanism::AesKeyWrap, object, both.len());
    destroy(bench, object);
    Ok(blob?)
}

fn unwrap_object(bench: &Bench, blob: &[u8]) -> Result<Secret, Fail> {
    let object = bench
        .session
        .unwrap_key(&WrapperMechanism::AesKeyWrap, bench.key, blob, &passing())?;
    let value = bench.session.get_attributes(object, &[AttributeType::Value]);
    destroy(bench, object);
    match value?.pop() {
        Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
        Some(_) | None => Err(Fail::Check("the token keeps the unwrapped key to itself")),
    }
}

/// Wipes the value in a template: the wrapper does not.
fn wipe(template: &mut [Attribute]) {
    for attribute in template {
        if let Attribute::Value(value) = attribute {
            zeroize::Zeroize::zeroize(value);
        }
    }
}

/// Ends an object of this session. Left behind, it would end with the session.
fn destroy(bench: &Bench, object: ObjectHandle) {
    let _ = bench.session.destroy_object(object);
}

/// The public half of the bench's RSA key, as the token tells it. That it belongs to the private half is
/// proved by the functional test.
pub(super) fn public_half(bench: &Bench) -> Result<OaepPublicEncryptingKey, Fail> {
    let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
    let (mut n, mut e) = (Vec::new(), Vec::new());
    for attribute in bench.session.get_attributes(bench.key, &wanted)? {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the two that were asked for")]
        match attribute {
            Attribute::Modulus(value) => n = value,
            Attribute::PublicExponent(value) => e = value,
            _ => {}
        }
    }
    if !MODULUS_BYTES.contains(&n.len()) {
        return Err(Fail::Check("the RSA modulus has not 2048 to 4096 bits"));
    }
    let key: PublicEncryptingKey = PublicKeyComponents { n, e }
        .try_into()
        .map_err(|_| Fail::Check("the token tells no usable RSA public key"))?;
    OaepPublicEncryptingKey::new(key).map_err(|_| Fail::Check("the token tells no usable RSA public key"))
}

/// `rsa-oaep-sha256`: wrapped here, unwrapped in the token.
pub(super) fn wrap_oaep(
    public: Option<&OaepPublicEncryptingKey>,
    context: &Context,
    key: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let public = public.ok_or(Fail::Check("no RSA public key"))?;
    let mut blob = vec![0; public.ciphertext_size()];
    let both = bind(&[], context, key);
    let length = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, &both, &mut blob, None)
        .map_err(|_| Fail::Check("RSA-OAEP"))?
        .len();
    blob.truncate(length);
    Ok(Wrapped { iv: Vec::new(), blob })
}

pub(super) fn unwrap_oaep(bench: &Bench, context: &Context, blob: &[u8]) -> Result<Secret, Fail> {
    let both = bench.decrypt(Mechanism::RsaOaepSha256, blob)?;
    open(&[], context, &both)
}
