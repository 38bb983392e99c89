//! The mechanism ladder: how the token wraps a key, one file for each way.
//!
//! What lives here: [`Rung`], which puts docs/format/ section 9.1 into calls of the token. What must not:
//! sessions' life, error classes, the choice of a rung at run time. Invariant: whatever the mechanism, a
//! wrap opens in its own context only, and nobody without the key-encryption key can make one (RSA
//! excepted, which says so).
//!
//! Attacks considered, for mechanisms without associated data. The store's owner holds all wraps and may
//! put any of them into any record. *Exchange*: a wrap of bucket A in a record of bucket B; refused,
//! because the context is an input of the derived key ([`derive`]) or is wrapped together with the key
//! ([`bound`]). *A known key*: somebody who once learnt an epoch key must not be able to give it to another
//! record. A MAC keyed by the wrapped key itself, the cheap way to bind, falls to this: whoever knows the
//! key computes the MAC for any context. Here the binding is under the key-encryption key. *Malleability*
//! of CBC: CBC never carries the key, it only derives. *Padding oracles* of RSA: a refusal of the token and
//! one of ours are the same answer, and each costs a request to the gateway.

pub(super) mod bound;
mod derive;
pub(super) mod gcm;

use aws_lc_rs::rsa::OaepPublicEncryptingKey;
use cryptoki::error::Error;
use cryptoki::mechanism::MechanismType;
use sceau_keys::{KEY_BYTES, WRAP_CONTEXT_BYTES, WrapScheme};

use super::token::{Bench, KeyKind};
use crate::frame::{GcmIv, Secret};

/// Canonical bytes of the context of a wrap.
pub(super) type Context = [u8; WRAP_CONTEXT_BYTES];

/// Why a rung did not wrap or unwrap.
pub(super) enum Fail {
    /// The token said so.
    Token(Error),
    /// Our own check found the input, or the token's answer, wrong.
    Check(&'static str),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

/// A wrap as it goes into a record.
pub(super) struct Wrapped {
    pub(super) iv: Vec<u8>,
    pub(super) blob: Vec<u8>,
}

/// Calls by which a token carries out a scheme, where there are several. The bytes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The only one.
    Plain,
    /// AES key wrap as an encryption.
    Encrypt,
    /// AES key wrap of an object.
    WrapKey,
    /// The token writes its IV over the zeros it was given.
    IvWrittenBack,
    /// The token appends its IV to the ciphertext.
    IvAppended,
}

/// A scheme and the way to carry it out, on the key it was proved for.
pub(super) struct Rung {
    pub(super) scheme: WrapScheme,
    pub(super) way: Way,
    /// The public half of an RSA key.
    public: Option<OaepPublicEncryptingKey>,
}

impl Rung {
    /// The rungs that `scheme` may mean for the bench's key.
    pub(super) fn of(scheme: WrapScheme, gcm_iv: Option<GcmIv>, bench: &Bench) -> Result<Vec<Self>, Fail> {
        let ways: &[Way] = match (scheme, gcm_iv) {
            (WrapScheme::AesGcmHsmIv, Some(GcmIv::WrittenBack)) => &[Way::IvWrittenBack],
            (WrapScheme::AesGcmHsmIv, Some(GcmIv::Appended)) => &[Way::IvAppended],
            // Which one a token follows is never found out by trial: a token that takes the zeros for
            // the IV, as SoftHSM does, would encrypt twice under one IV.
            (WrapScheme::AesGcmHsmIv, None) => {
                return Err(Fail::Check(
                    "how the token makes IVs is not known; name its profile",
                ));
            }
            (WrapScheme::AesKw, _) => &[Way::Encrypt, Way::WrapKey],
            (
                WrapScheme::AesGcmCallerIv
                | WrapScheme::HmacKdf
                | WrapScheme::RsaOaepSha256
                | WrapScheme::AesCbcKdf
                | WrapScheme::Transit
                | WrapScheme::KmipGcm
                | WrapScheme::AwsKms
                | WrapScheme::InsecureLocal,
                _,
            ) => &[Way::Plain],
        };
        ways.iter()
            .map(|way| {
                let public = match scheme {
                    WrapScheme::RsaOaepSha256 => Some(bound::public_half(bench)?),
                    WrapScheme::AesGcmCallerIv
                    | WrapScheme::AesGcmHsmIv
                    | WrapScheme::HmacKdf
                    | WrapScheme::AesKw
                    | WrapScheme::AesCbcKdf
                    | WrapScheme::Transit
                    | WrapScheme::KmipGcm
                    | WrapScheme::AwsKms
                    | WrapScheme::InsecureLocal => None,
                };
                Ok(Self {
                    scheme,
                    way: *way,
                    public,
                })
            })
            .collect()
    }

    /// Wraps `key` under the bench's key, bound to `context`.
    pub(super) fn wrap(
        &self,
        bench: &Bench,
        context: &Context,
        key: &[u8; KEY_BYTES],
    ) -> Result<Wrapped, Fail> {
        match self.scheme {
            WrapScheme::AesGcmCallerIv => gcm::wrap(bench, context, key),
            WrapScheme::AesGcmHsmIv if self.way == Way::IvAppended => gcm::wrap_appended(bench, context, key),
            WrapScheme::AesGcmHsmIv => gcm::wrap_written_back(bench, context, key),
            WrapScheme::HmacKdf => derive::wrap(bench, derive::by_hmac, context, key),
            WrapScheme::AesCbcKdf => derive::wrap(bench, derive::by_cbc, context, key),
            WrapScheme::AesKw => bound::wrap_kw(bench, self.way, context, key),
            WrapScheme::RsaOaepSha256 => bound::wrap_oaep(self.public.as_ref(), context, key),
            WrapScheme::Transit | WrapScheme::KmipGcm | WrapScheme::AwsKms | WrapScheme::InsecureLocal => {
                Err(Fail::Check("no scheme of a token"))
            }
        }
    }

    /// Unwraps what [`Self::wrap`] made in the same `context`.
    pub(super) fn unwrap(
        &self,
        bench: &Bench,
        context: &Context,
        iv: &[u8],
        blob: &[u8],
    ) -> Result<Secret, Fail> {
        match self.scheme {
            WrapScheme::AesGcmCallerIv | WrapScheme::AesGcmHsmIv => gcm::unwrap(bench, context, iv, blob),
            WrapScheme::HmacKdf => derive::unwrap(bench, derive::by_hmac, context, iv, blob),
            WrapScheme::AesCbcKdf => derive::unwrap(bench, derive::by_cbc, context, iv, blob),
            WrapScheme::AesKw => bound::unwrap_kw(bench, self.way, context, iv, blob),
            WrapScheme::RsaOaepSha256 => bound::unwrap_oaep(bench, context, blob),
            WrapScheme::Transit | WrapScheme::KmipGcm | WrapScheme::AwsKms | WrapScheme::InsecureLocal => {
                Err(Fail::Check("no scheme of a token"))
            }
        }
    }
}

/// The kind of key that `scheme` needs.
pub(super) fn key_kind(scheme: WrapScheme) -> KeyKind {
    match scheme {
        WrapScheme::AesGcmCallerIv
        | WrapScheme::AesGcmHsmIv
        | WrapScheme::AesKw
        | WrapScheme::AesCbcKdf
        | WrapScheme::Transit
        | WrapScheme::KmipGcm
        | WrapScheme::AwsKms
        | WrapScheme::InsecureLocal => KeyKind::Aes,
        WrapScheme::HmacKdf => KeyKind::Mac,
        WrapScheme::RsaOaepSha256 => KeyKind::Rsa,
    }
}

/// The mechanism without which `scheme` cannot be. Having it proves nothing.
pub(super) fn mechanism(scheme: WrapScheme) -> MechanismType {
    match scheme {
        WrapScheme::AesGcmCallerIv
        | WrapScheme::AesGcmHsmIv
        | WrapScheme::Transit
        | WrapScheme::KmipGcm
        | WrapScheme::AwsKms
        | WrapScheme::InsecureLocal => MechanismType::AES_GCM,
        WrapScheme::HmacKdf => MechanismType::SHA256_HMAC,
        WrapScheme::AesKw => MechanismType::AES_KEY_WRAP,
        WrapScheme::AesCbcKdf => MechanismType::AES_CBC,
        WrapScheme::RsaOaepSha256 => MechanismType::RSA_PKCS_OAEP,
    }
}
