//! Public keys of issuers, and signatures of identity tokens.
//!
//! What lives here: the algorithms that are accepted, JSON Web Key Sets (RFC 7517), the verification of
//! one signature. What must not: fetching, claims. Invariant: a key verifies only algorithms of its own
//! kind, and no algorithm here has a secret key, so that a public key can never act as one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::limits::ISSUER_KEYS_MAX;

/// Signature algorithms of identity tokens (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name; `None` for `none`, for HMAC and for everything else.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// One usable key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKey {
    kid: Option<String>,
    /// The one algorithm that the issuer says the key is for.
    only: Option<Algorithm>,
    public: Public,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySetText {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeyText {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a key set. Keys of other kinds and uses are left out, as RFC 7517 section 5 asks for.
///
/// `None` when it is no key set, when it has more than [`ISSUER_KEYS_MAX`] keys, or none that is usable.
pub fn parse_key_set(text: &[u8]) -> Option<Vec<IssuerKey>> {
    let set: KeySetText = serde_json::from_slice(text).ok()?;
    if set.keys.len() > ISSUER_KEYS_MAX {
        return None;
    }
    let keys: Vec<IssuerKey> = set.keys.into_iter().filter_map(IssuerKey::read).collect();
    (!keys.is_empty()).then_some(keys)
}

impl IssuerKey {
    fn read(value: serde_json::Value) -> Option<Self> {
        let text: KeyText = serde_json::from_value(value).ok()?;
        if text.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let only = match &text.alg {
            None => None,
            // A key for an algorithm that is not accepted is not usable at all.
            Some(name) => Some(Algorithm::parse(name)?),
        };
        let bytes = |field: &Option<String>| {
            field
                .as_ref()
                .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        };
        let public = match (text.kty.as_str(), text.crv.as_deref()) {
            ("RSA", _) => Public::Rsa {
                n: bytes(&text.n)?,
                e: bytes(&text.e)?,
            },
            ("EC", Some("P-256")) => Public::P256(point(&bytes(&text.x)?, &bytes(&text.y)?, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(&bytes(&text.x)?, &bytes(&text.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(&text.x)?),
            _ => return None,
        };
        Some(Self {
            kid: text.kid,
            only,
            public,
        })
    }

    /// Whether a token with this header may have been signed with this key: by its identifier, or, for a
    /// token without one, by its kind alone.
    pub fn suits(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        let is_named = kid.is_none() || self.kid.as_deref() == kid;
        let is_kind = match (&self.public, algorithm) {
            (
                Public::Rsa { .. },
                Algorithm::Rs256
                | Algorithm::Rs384
                | Algorithm::Rs512
                | Algorithm::Ps256
                | Algorithm::Ps384
                | Algorithm::Ps512,
            )
            | (Public::P256(_), Algorithm::Es256)
            | (Public::P384(_), Algorithm::Es384)
            | (Public::Ed25519(_), Algorithm::EdDsa) => true,
            (Public::Rsa { .. } | Public::P256(_) | Public::P384(_) | Public::Ed25519(_), _) => false,
        };
        is_named && is_kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is this key's over `message`. RSA keys below 2048 bits verify nothing.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let plain = |kind: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(kind, key)
                .verify(message, signature)
                .is_ok()
        };
        match (&self.public, algorithm) {
            (Public::Rsa { n, e }, algorithm) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, message, signature)
                    .is_ok()
            }),
            (Public::P256(point), Algorithm::Es256) => plain(&ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), Algorithm::Es384) => plain(&ECDSA_P384_SHA384_FIXED, point),
            (Public::Ed25519(key), Algorithm::EdDsa) => plain(&ED25519, key),
            (Public::P256(_) | Public::P384(_) | Public::Ed25519(_), _) => false,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return None,
    })
}

/// The uncompressed point (SEC 1 section 2.3.3).
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_allowed_algorithms_have_a_name() {
        for name in [
            "none", "None", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "rs256", "RSA1_5",
        ] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let set = serde_json::json!({ "keys": [
            { "kty": "oct", "kid": "secret", "k": "AAAA" },
            { "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "hmac", "alg": "HS256", "n": "AQAB", "e": "AQAB" },
            { "kty": "EC", "kid": "short", "crv": "P-256", "x": "AAAA", "y": "AAAA" },
            { "kty": "EC", "kid": "other", "crv": "secp256k1", "x": "AAAA", "y": "AAAA" },
            { "kty": "RSA", "kid": "padded", "n": "AQAB==", "e": "AQAB" },
            { "kid": "nothing" },
            7,
            { "kty": "RSA", "kid": "good", "alg": "RS256", "n": "AQAB", "e": "AQAB" },
        ]});
        let keys = parse_key_set(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].suits(Some("good"), Algorithm::Rs256));
        assert!(keys[0].suits(None, Algorithm::Rs256));
        assert!(!keys[0].suits(Some("good"), Algorithm::Ps256), "its own alg");
        assert!(!keys[0].suits(Some("good"), Algorithm::Es256), "another kind");
        assert!(!keys[0].suits(Some("bad"), Algorithm::Rs256), "another name");
        // 24 bits of RSA are no key.
        assert!(!keys[0].verifies(Algorithm::Rs256, b"", b""));
    }

    #[test]
    fn a_key_set_is_bounded_and_not_empty() {
        let key = serde_json::json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
        let set = |count: usize| serde_json::json!({ "keys": vec![key.clone(); count] }).to_string();
        assert!(parse_key_set(set(ISSUER_KEYS_MAX).as_bytes()).is_some());
        assert!(parse_key_set(set(ISSUER_KEYS_MAX + 1).as_bytes()).is_none());
        assert!(parse_key_set(set(0).as_bytes()).is_none());
        assert!(parse_key_set(b"[]").is_none());
    }
}
