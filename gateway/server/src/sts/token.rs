//! Identity tokens: JSON Web Tokens in compact form (RFC 7519, RFC 7515).
//!
//! What lives here: taking a token apart, the rules on its header, its times and its audience. What must
//! not: keys and where they come from, roles, clocks. Invariant: [`Identity`] is made only from claims
//! whose signature one of the issuer's own keys verified.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jwks::{Algorithm, IssuerKey};

/// Clock difference to an issuer that is put up with, seconds.
pub const LEEWAY_SECONDS: u64 = 60;
/// Longest key identifier, bytes.
const KID_BYTES_MAX: usize = 256;
/// Longest subject, bytes (OpenID Connect Core, section 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has not three parts of base64url with JSON in the first two.
    Form,
    /// Its algorithm is not one that is accepted.
    Algorithm,
    /// Its header has `crit` or `b64`: it demands what is not understood here.
    Critical,
    /// No configured issuer has its `iss`.
    Issuer,
    /// None of the issuer's keys has its `kid`.
    Key,
    /// The signature does not verify.
    Signature,
    /// `exp` is over.
    Expired,
    /// `exp` is missing, or a time is not a number.
    Times,
    /// `nbf` or `iat` lies in the future.
    NotYet,
    /// `aud` holds no configured audience.
    Audience,
    /// `sub` is missing, empty or too long.
    Subject,
}

impl Refusal {
    /// What the client is told; nothing of the token.
    pub fn message(self) -> &'static str {
        match self {
            Self::Form => "The web identity token is not a JSON web token.",
            Self::Algorithm => "The web identity token is signed with an algorithm that is not accepted.",
            Self::Critical => "The web identity token has critical header parameters.",
            Self::Issuer => "No identity provider is configured for the issuer of the web identity token.",
            Self::Key => "Couldn't retrieve verification key from your identity provider: no such key.",
            Self::Signature => "The signature of the web identity token is not valid.",
            Self::Expired => "Token expired: current date/time must be before the expiration date/time.",
            Self::Times => "The web identity token's exp is missing, or a time in it is not a number.",
            Self::NotYet => "The web identity token is not valid yet.",
            Self::Audience => "Incorrect token audience",
            Self::Subject => "The web identity token has no usable subject.",
        }
    }

    /// The word used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical-header",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Times => "times",
            Self::NotYet => "not-yet-valid",
            Self::Audience => "audience",
            Self::Subject => "subject",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// A token taken apart: nothing in it is proven.
pub struct UnverifiedToken<'a> {
    /// What it claims to be signed with.
    pub algorithm: Algorithm,
    /// Which key it claims to be signed with.
    pub kid: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// Who a verified token speaks of.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// `sub`.
    pub subject: String,
    /// The configured audience that `aud` holds.
    pub audience: String,
    claims: Map<String, Value>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// Attacks considered: `alg: none` and HMAC keyed with the public key (no such algorithm exists
    /// here), `crit` and `b64` that change what is signed (refused), a `jwk`, `jku` or `x5u` in the header
    /// that brings its own key (never read), a `kid` of any length or content (bounded, compared only).
    ///
    /// # Errors
    /// [`Refusal::Form`], [`Refusal::Algorithm`], [`Refusal::Critical`].
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Form)?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Refusal::Form);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Form)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Refusal::Critical);
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or(Refusal::Algorithm)?;
        if header.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Refusal::Form);
        }
        Ok(Self {
            algorithm,
            kid: header.kid,
            signed,
            signature: decode(signature)?,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| Refusal::Form)?,
        })
    }

    /// `iss`, to find the issuer by; a lie in it ends at the signature.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether one of these keys signed the token. Several keys suit a token without a `kid`; then there
    /// must be no doubt which one is meant.
    ///
    /// # Errors
    /// [`Refusal::Key`], [`Refusal::Signature`].
    fn check_signature(&self, keys: &[IssuerKey]) -> Result<(), Refusal> {
        let mut suiting = keys
            .iter()
            .filter(|key| key.suits(self.kid.as_deref(), self.algorithm))
            .peekable();
        suiting.peek().ok_or(Refusal::Key)?;
        let is_signed =
            suiting.any(|key| key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature));
        is_signed.then_some(()).ok_or(Refusal::Signature)
    }

    /// Verifies the token at Unix time `now` against its issuer's keys.
    ///
    /// # Errors
    /// [`Refusal`]: the signature first, so that nothing is learned about claims nobody signed.
    pub fn verify(self, keys: &[IssuerKey], audiences: &[String], now: u64) -> Result<Identity, Refusal> {
        self.check_signature(keys)?;
        check_times(&self.claims, now)?;
        let audience = audience(&self.claims, audiences).ok_or(Refusal::Audience)?;
        let subject = self
            .claims
            .get("sub")
            .and_then(Value::as_str)
            .filter(|subject| (1..=SUBJECT_BYTES_MAX).contains(&subject.len()))
            .filter(|subject| !subject.contains(char::is_control))
            .ok_or(Refusal::Subject)?;
        Ok(Identity {
            subject: subject.to_owned(),
            audience,
            claims: self.claims,
        })
    }
}

impl Identity {
    /// Whether the claim `name` holds one of `wanted`, by itself or in a list.
    pub fn holds(&self, name: &str, wanted: &[String]) -> bool {
        let is_wanted = |value: &Value| match value {
            Value::String(text) => wanted.contains(text),
            Value::Bool(_) | Value::Number(_) => wanted.contains(&value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match self.claims.get(name) {
            Some(Value::Array(values)) => values.iter().any(is_wanted),
            Some(value) => is_wanted(value),
            None => false,
        }
    }
}

fn check_times(claims: &Map<String, Value>, now: u64) -> Result<(), Refusal> {
    let exp = seconds(claims, "exp")?.ok_or(Refusal::Times)?;
    if now >= exp.saturating_add(LEEWAY_SECONDS) {
        return Err(Refusal::Expired);
    }
    for name in ["nbf", "iat"] {
        if seconds(claims, name)?.is_some_and(|at| at > now.saturating_add(LEEWAY_SECONDS)) {
            return Err(Refusal::NotYet);
        }
    }
    Ok(())
}

/// A NumericDate (RFC 7519 section 2), without its fraction.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // Exactly representable, so that the conversion is exact too.
        (0.0..9_007_199_254_740_992.0)
            .contains(&number)
            .then_some(number as u64)
    });
    whole.map(Some).ok_or(Refusal::Times)
}

fn audience(claims: &Map<String, Value>, configured: &[String]) -> Option<String> {
    let is_in = |wanted: &&String| match claims.get("aud") {
        Some(Value::String(own)) => own == *wanted,
        Some(Value::Array(list)) => list.iter().any(|own| own.as_str() == Some(wanted)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    };
    configured.iter().find(is_in).cloned()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
    };
    use serde_json::json;

    use super::super::jwks::parse_key_set;
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn b64(bytes: &[u8]) -> String {
        BASE64URL_NOPAD.encode(bytes)
    }

    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

    /// A signer of tokens and what its issuer publishes.
    struct Signer {
        sign: Sign,
        keys: Vec<IssuerKey>,
        alg: &'static str,
    }

    fn ed25519(kid: &str) -> Signer {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key().as_ref()) });
        Signer {
            keys: set(&key),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
            alg: "EdDSA",
        }
    }

    fn set(key: &Value) -> Vec<IssuerKey> {
        parse_key_set(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn claims() -> Value {
        json!({ "iss": "https://i", "sub": "s", "aud": "a", "exp": NOW + 100, "iat": NOW, "nbf": NOW })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    fn token(signer: &Signer, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            b64(header.to_string().as_bytes()),
            b64(claims.to_string().as_bytes())
        );
        let signature = (signer.sign)(signed.as_bytes());
        format!("{signed}.{}", b64(&signature))
    }

    fn judged(token: &str, keys: &[IssuerKey]) -> Result<Identity, Refusal> {
        UnverifiedToken::parse(token)?.verify(keys, &["a".to_owned(), "b".to_owned()], NOW)
    }

    #[test]
    fn every_kind_of_key_verifies_its_own_tokens_and_no_others() {
        let rsa = |alg: &'static str, how: &'static dyn aws_lc_rs::signature::RsaEncoding| {
            let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            let public = pair.public_key();
            let (n, e) = (
                b64(public.modulus().big_endian_without_leading_zero()),
                b64(public.exponent().big_endian_without_leading_zero()),
            );
            Signer {
                keys: set(&json!({ "kty": "RSA", "kid": "k", "n": n, "e": e })),
                sign: Box::new(move |message| {
                    let mut out = vec![0; pair.public_modulus_len()];
                    pair.sign(how, &SystemRandom::new(), message, &mut out).unwrap();
                    out
                }),
                alg,
            }
        };
        let ec = {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let point = pair.public_key().as_ref().to_vec();
            Signer {
                keys: set(
                    &json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": b64(&point[1..33]), "y": b64(&point[33..]) }),
                ),
                sign: Box::new(move |message| {
                    pair.sign(&SystemRandom::new(), message)
                        .unwrap()
                        .as_ref()
                        .to_vec()
                }),
                alg: "ES256",
            }
        };
        let signers = [
            rsa("RS256", &RSA_PKCS1_SHA256),
            rsa("RS512", &RSA_PKCS1_SHA512),
            rsa("PS256", &RSA_PSS_SHA256),
            ec,
            ed25519("k"),
        ];
        for (index, signer) in signers.iter().enumerate() {
            let token = token(signer, &json!({ "alg": signer.alg, "kid": "k" }), &claims());
            assert_eq!(
                judged(&token, &signer.keys).unwrap().subject,
                "s",
                "{}",
                signer.alg
            );
            for (other, foreign) in signers.iter().enumerate().filter(|(other, _)| *other != index) {
                assert!(
                    judged(&token, &foreign.keys).is_err(),
                    "{} by {other}",
                    signer.alg
                );
            }
        }
        // The right key under another algorithm of its kind.
        let crossed = token(&signers[0], &json!({ "alg": "PS256", "kid": "k" }), &claims());
        assert_eq!(judged(&crossed, &signers[0].keys), Err(Refusal::Signature));
    }

    #[test]
    fn headers_that_ask_for_something_else_are_refused() {
        let signer = ed25519("k");
        let refusal = |header: Value| judged(&token(&signer, &header, &claims()), &signer.keys).err();
        for alg in ["none", "None", "HS256", "HS512", "ES512", ""] {
            assert_eq!(
                refusal(json!({ "alg": alg, "kid": "k" })),
                Some(Refusal::Algorithm),
                "{alg}"
            );
        }
        assert_eq!(
            refusal(json!({ "alg": "EdDSA", "kid": "k", "crit": [] })),
            Some(Refusal::Critical)
        );
        assert_eq!(
            refusal(json!({ "alg": "EdDSA", "kid": "k", "b64": false })),
            Some(Refusal::Critical)
        );
        assert_eq!(
            refusal(json!({ "alg": "EdDSA", "kid": "other" })),
            Some(Refusal::Key)
        );
        assert_eq!(refusal(json!({ "alg": "RS256", "kid": "k" })), Some(Refusal::Key));
        assert_eq!(
            refusal(json!({ "alg": "EdDSA", "kid": "k".repeat(257) })),
            Some(Refusal::Form)
        );
        assert_eq!(refusal(json!({ "kid": "k" })), Some(Refusal::Form));
        assert_eq!(
            refusal(json!({ "alg": "EdDSA" })),
            None,
            "the only key that suits"
        );
        let own_key = json!({ "alg": "EdDSA", "kid": "k", "jwk": { "kty": "OKP" }, "jku": "https://evil" });
        assert_eq!(
            judged(&token(&ed25519("k"), &own_key, &claims()), &signer.keys),
            Err(Refusal::Signature)
        );
    }

    #[test]
    fn claims_outside_their_limits_are_refused() {
        let signer = ed25519("k");
        let refusal = |claims: Value| {
            judged(
                &token(&signer, &json!({ "alg": "EdDSA", "kid": "k" }), &claims),
                &signer.keys,
            )
            .err()
        };
        assert_eq!(refusal(claims()), None);
        let cases = [
            ("exp", json!(NOW - 60), Some(Refusal::Expired)),
            ("exp", json!(NOW - 59), None),
            ("exp", json!((NOW - 59) as f64 + 0.5), None),
            ("exp", json!("never"), Some(Refusal::Times)),
            ("exp", json!((NOW + 100).to_string()), Some(Refusal::Times)),
            ("exp", json!(-1), Some(Refusal::Times)),
            ("exp", Value::Null, Some(Refusal::Times)),
            ("nbf", json!(NOW + 60), None),
            ("nbf", json!(NOW + 61), Some(Refusal::NotYet)),
            ("nbf", json!("x"), Some(Refusal::Times)),
            ("iat", json!(NOW + 61), Some(Refusal::NotYet)),
            ("aud", json!("c"), Some(Refusal::Audience)),
            ("aud", json!(["x", "b"]), None),
            ("aud", json!([]), Some(Refusal::Audience)),
            ("aud", json!({ "a": "a" }), Some(Refusal::Audience)),
            ("aud", Value::Null, Some(Refusal::Audience)),
            ("sub", json!(""), Some(Refusal::Subject)),
            ("sub", json!(7), Some(Refusal::Subject)),
            ("sub", json!("x".repeat(256)), Some(Refusal::Subject)),
            ("sub", json!("a\nb"), Some(Refusal::Subject)),
        ];
        for (name, value, expected) in cases {
            assert_eq!(refusal(with(name, value.clone())), expected, "{name} {value}");
        }
        let mut without = claims();
        without.as_object_mut().unwrap().remove("exp");
        assert_eq!(refusal(without), Some(Refusal::Times));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let signer = ed25519("k");
        let good = token(&signer, &json!({ "alg": "EdDSA", "kid": "k" }), &claims());
        for place in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(judged(&changed, &signer.keys).is_err(), "{place}");
        }
        for text in ["", ".", "..", "a.b.c.d", "a.b.", "=.=.="] {
            assert_eq!(judged(text, &signer.keys), Err(Refusal::Form), "{text}");
        }
        let unsigned = good.rsplit_once('.').unwrap().0;
        assert_eq!(
            judged(&format!("{unsigned}."), &signer.keys),
            Err(Refusal::Signature)
        );
    }

    #[test]
    fn further_claims_are_compared_as_text() {
        let signer = ed25519("k");
        let mut all = claims();
        all["groups"] = json!(["dev", "ops"]);
        all["verified"] = json!(true);
        let identity = judged(
            &token(&signer, &json!({ "alg": "EdDSA", "kid": "k" }), &all),
            &signer.keys,
        )
        .unwrap();
        let holds = |name: &str, wanted: &str| identity.holds(name, &[wanted.to_owned()]);
        assert!(holds("groups", "ops"));
        assert!(holds("verified", "true"));
        assert!(!holds("groups", "admin"));
        assert!(!holds("absent", ""));
    }
}
