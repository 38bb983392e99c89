//! Generating a key-encryption key.
//!
//! What lives here: the template of a new key for each scheme. What must not: the service. Invariant: an
//! existing key is never touched; the new one can never leave the token, and does what its scheme needs
//! and nothing else.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use data_encoding::HEXLOWER;
use sceau_keys::{KEY_BYTES, WrapScheme};
use sceau_kms::KeyError;

use super::canary::reason;
use super::ladder;
use super::rung::{Fail, key_kind};
use super::token::{KeyKind, Token};
use crate::config::misconfigured;
use crate::frame::Generated;

/// Length of a random `CKA_ID` in bytes.
const ID_BYTES: usize = 16;
/// Length of a new RSA modulus in bits.
const RSA_BITS: u64 = 3072;
/// The usual public exponent, 65537.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// How a key that stays is known.
pub(super) struct Names<'a> {
    label: &'a str,
    id: &'a [u8],
}

/// Generates the configured key, for the configured scheme or for the first of the ladder that the token
/// carries.
pub(super) fn generate(token: &Token) -> Result<Generated, KeyError> {
    let setup = token.setup();
    token.login(token.epoch())?;
    let session = token.officer_session()?;
    if token.key_exists(&session)? {
        return Err(misconfigured(
            "the token already holds a key of that name; it is left alone",
        ));
    }
    let (scheme, trials) = match setup.scheme.and_then(WrapScheme::from_code) {
        Some(scheme) => (scheme, Vec::new()),
        None => {
            let trials = ladder::rehearse(token)?;
            (ladder::first_passed(&trials)?, trials)
        }
    };
    let id = match &setup.key_id {
        Some(id) => id.clone(),
        None => {
            let mut id = vec![0; ID_BYTES];
            getrandom::fill(&mut id).map_err(|_| KeyError::Internal)?;
            id
        }
    };
    let names = Names {
        label: &setup.key_label,
        id: &id,
    };
    // Not every token knows all attributes: then without the newest of them, which the audit tells.
    let made = make_key(&session, scheme, Some(&names), &[Attribute::Copyable(false)])
        .or_else(|_| make_key(&session, scheme, Some(&names), &[]));
    made.map_err(|fail| {
        misconfigured(format!(
            "the token refuses to generate the key: {}",
            reason(&fail)
        ))
    })?;
    Ok(Generated {
        key_id: HEXLOWER.encode(&id),
        scheme: scheme.code(),
        trials,
    })
}

/// Generates a key for `scheme`: in the token under its names, or without names for this session only;
/// with `more` attributes.
pub(super) fn make_key(
    session: &Session,
    scheme: WrapScheme,
    names: Option<&Names<'_>>,
    more: &[Attribute],
) -> Result<ObjectHandle, Fail> {
    let mut template = vec![
        Attribute::Token(names.is_some()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ];
    template.extend(named(names));
    // Some tokens refuse these for session objects, and nobody could misuse them there.
    if names.is_some() {
        template.push(Attribute::Modifiable(false));
    }
    template.extend_from_slice(more);
    template.extend(usage(scheme));
    let length = u64::try_from(KEY_BYTES).map_err(|_| Fail::Check("a length"))?;
    match key_kind(scheme) {
        KeyKind::Aes => {
            template.push(Attribute::ValueLen(length.into()));
            Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?)
        }
        KeyKind::Mac => {
            template.extend([
                Attribute::ValueLen(length.into()),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
            ]);
            Ok(session.generate_key(&Mechanism::GenericSecretKeyGen, &template)?)
        }
        KeyKind::Rsa => {
            let mut public = vec![
                Attribute::Token(names.is_some()),
                Attribute::ModulusBits(RSA_BITS.into()),
                Attribute::PublicExponent(RSA_EXPONENT.to_vec()),
                Attribute::Encrypt(true),
                Attribute::Verify(false),
                Attribute::Wrap(false),
            ];
            public.extend(named(names));
            let mechanism = Mechanism::RsaPkcsKeyPairGen;
            let (_, private) = session.generate_key_pair(&mechanism, &public, &template)?;
            Ok(private)
        }
    }
}

fn named(names: Option<&Names<'_>>) -> Vec<Attribute> {
    names.map_or_else(Vec::new, |names| {
        vec![
            Attribute::Label(names.label.as_bytes().to_vec()),
            Attribute::Id(names.id.to_vec()),
        ]
    })
}

/// What a key of `scheme` may do.
fn usage(scheme: WrapScheme) -> Vec<Attribute> {
    let (encrypt, decrypt, wrap, sign) = match scheme {
        WrapScheme::AesGcmCallerIv
        | WrapScheme::AesGcmHsmIv
        | WrapScheme::Transit
        | WrapScheme::KmipGcm
        | WrapScheme::AwsKms
        | WrapScheme::InsecureLocal => (true, true, false, false),
        WrapScheme::HmacKdf => (false, false, false, true),
        // Few tokens wrap by encryption, and a key that does both takes others out of the token.
        WrapScheme::AesKw => (false, false, true, false),
        WrapScheme::AesCbcKdf => (true, false, false, false),
        WrapScheme::RsaOaepSha256 => {
            return vec![
                Attribute::Decrypt(true),
                Attribute::Unwrap(false),
                Attribute::Sign(false),
            ];
        }
    };
    vec![
        Attribute::Encrypt(encrypt),
        Attribute::Decrypt(decrypt),
        Attribute::Wrap(wrap),
        Attribute::Unwrap(wrap),
        Attribute::Sign(sign),
        Attribute::Verify(false),
        Attribute::Derive(false),
    ]
}
