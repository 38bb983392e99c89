//! The audit of the key's attributes.
//!
//! What lives here: what each attribute should be, and how bad it is otherwise. What must not: any
//! action on the result. Invariant: attributes are claims of the token; the audit can find fault, not
//! give proof.

use cryptoki::object::{Attribute, AttributeType};
use data_encoding::HEXLOWER;
use sceau_keys::{KEY_BYTES, WrapScheme};

use super::fault::name;
use super::rung::{Rung, Way};
use super::token::{Bench, KeyKind};
use crate::frame::Audit;

/// Modulus length from which an RSA key is good for some time, in bytes.
const RSA_GOOD_BYTES: usize = 384;

/// How bad a wrong value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

/// One expectation: attribute, its name, the value it should have, the weight of another value, why.
type Rule = (AttributeType, &'static str, bool, Weight, &'static str);

/// What holds for every key.
const RULES: [Rule; 10] = [
    (
        AttributeType::Token,
        "TOKEN",
        true,
        Weight::Error,
        "the key vanishes with its session",
    ),
    (
        AttributeType::Private,
        "PRIVATE",
        true,
        Weight::Warning,
        "the key is visible without login",
    ),
    (
        AttributeType::Sensitive,
        "SENSITIVE",
        true,
        Weight::Error,
        "the key's value can be read",
    ),
    (
        AttributeType::AlwaysSensitive,
        "ALWAYS_SENSITIVE",
        true,
        Weight::Error,
        "its value could once be read",
    ),
    (
        AttributeType::Extractable,
        "EXTRACTABLE",
        false,
        Weight::Error,
        "the key can be wrapped out",
    ),
    (
        AttributeType::NeverExtractable,
        "NEVER_EXTRACTABLE",
        true,
        Weight::Error,
        "it could once be wrapped out",
    ),
    (
        AttributeType::Local,
        "LOCAL",
        true,
        Weight::Warning,
        "it was imported: a copy may exist elsewhere",
    ),
    (
        AttributeType::Derive,
        "DERIVE",
        false,
        Weight::Warning,
        "other keys may be derived from it",
    ),
    (
        AttributeType::Modifiable,
        "MODIFIABLE",
        false,
        Weight::Warning,
        "its attributes may change later",
    ),
    (
        AttributeType::Copyable,
        "COPYABLE",
        false,
        Weight::Warning,
        "a copy may have other attributes",
    ),
];

const ONE_USE: &str = "one key should have one use";
const REVEALS: &str = "with DECRYPT, it reveals other keys of the token";

/// What a key of this rung must, should and must not be able to do.
fn usage(rung: &Rung) -> Vec<Rule> {
    use AttributeType as A;
    let must = |kind, label, why| (kind, label, true, Weight::Error, why);
    let never = |kind, label, why| (kind, label, false, Weight::Error, why);
    let not = |kind, label, why| (kind, label, false, Weight::Warning, why);
    let signs = [not(A::Sign, "SIGN", ONE_USE), not(A::Verify, "VERIFY", ONE_USE)];
    let mut rules = match (rung.scheme, rung.way) {
        (WrapScheme::HmacKdf, _) => vec![
            must(A::Sign, "SIGN", "the key cannot derive"),
            not(A::Encrypt, "ENCRYPT", ONE_USE),
            not(A::Decrypt, "DECRYPT", ONE_USE),
            not(A::Wrap, "WRAP", ONE_USE),
        ],
        (WrapScheme::AesKw, Way::WrapKey) => vec![
            must(A::Wrap, "WRAP", "the key cannot wrap"),
            must(A::Unwrap, "UNWRAP", "the key cannot unwrap"),
            never(
                A::Decrypt,
                "DECRYPT",
                "with WRAP, it reveals other keys of the token",
            ),
            not(A::Encrypt, "ENCRYPT", ONE_USE),
        ],
        (WrapScheme::AesCbcKdf, _) => vec![
            must(A::Encrypt, "ENCRYPT", "the key cannot derive"),
            not(A::Decrypt, "DECRYPT", "the derivation needs none"),
            not(A::Wrap, "WRAP", ONE_USE),
        ],
        (WrapScheme::RsaOaepSha256, _) => {
            return vec![
                must(A::Decrypt, "DECRYPT", "the key cannot unwrap"),
                not(A::Unwrap, "UNWRAP", "it may bring chosen keys into the token"),
                not(A::Sign, "SIGN", ONE_USE),
            ];
        }
        (
            WrapScheme::AesGcmCallerIv
            | WrapScheme::AesGcmHsmIv
            | WrapScheme::AesKw
            | WrapScheme::Transit
            | WrapScheme::KmipGcm
            | WrapScheme::AwsKms
            | WrapScheme::InsecureLocal,
            _,
        ) => vec![
            must(A::Encrypt, "ENCRYPT", "the key cannot wrap"),
            must(A::Decrypt, "DECRYPT", "the key cannot unwrap"),
            never(A::Wrap, "WRAP", REVEALS),
        ],
    };
    if rung.way != Way::WrapKey {
        rules.push(not(
            A::Unwrap,
            "UNWRAP",
            "it may bring chosen keys into the token",
        ));
    }
    if rung.scheme != WrapScheme::HmacKdf {
        rules.extend(signs);
    }
    rules
}

/// Reads the key's attributes one by one, because some tokens fail the whole call for one they lack.
pub(super) fn audit(bench: &Bench, rung: &Rung) -> Audit {
    let mut result = Audit::default();
    for (kind, label, wanted, weight, why) in RULES.into_iter().chain(usage(rung)) {
        match flag(read(bench, kind)) {
            Ok(Some(value)) => {
                result.attributes.push((label.to_owned(), value));
                if value != wanted {
                    let is = format!("{label} is {value}: {why}");
                    match weight {
                        Weight::Error => result.errors.push(is),
                        Weight::Warning => result.warnings.push(is),
                    }
                }
            }
            // Few tokens know it, and a key that cannot be extracted gains little by a copy.
            Ok(None) if kind == AttributeType::Copyable => {}
            Ok(None) => result.warnings.push(format!("{label} is not told")),
            Err(code) => result.warnings.push(format!("{label} is not told ({code})")),
        }
    }
    identify(bench, &mut result);
    result
}

fn identify(bench: &Bench, result: &mut Audit) {
    if let Ok(Some(Attribute::Id(id))) = read(bench, AttributeType::Id) {
        result.key_id = HEXLOWER.encode(&id);
    }
    if let Ok(Some(Attribute::CheckValue(value))) = read(bench, AttributeType::CheckValue)
        && !value.is_empty()
    {
        result.check_value = Some(HEXLOWER.encode(&value));
    }
    if bench.kind == KeyKind::Rsa {
        match read(bench, AttributeType::Modulus) {
            Ok(Some(Attribute::Modulus(n))) if n.len() >= RSA_GOOD_BYTES => {}
            Ok(Some(_)) => result
                .warnings
                .push("the RSA key has less than 3072 bits".to_owned()),
            Ok(None) | Err(_) => result.warnings.push("MODULUS is not told".to_owned()),
        }
        return;
    }
    match read(bench, AttributeType::ValueLen) {
        Ok(Some(Attribute::ValueLen(length))) if u64::from(length) == KEY_BYTES as u64 => {}
        Ok(Some(_)) => result.errors.push("the key has not 256 bits".to_owned()),
        Ok(None) | Err(_) => result.warnings.push("VALUE_LEN is not told".to_owned()),
    }
}

fn read(bench: &Bench, kind: AttributeType) -> Result<Option<Attribute>, String> {
    let read = bench
        .session
        .get_attributes(bench.key, &[kind])
        .map_err(|error| name(&error))?;
    Ok(read.into_iter().next())
}

fn flag(read: Result<Option<Attribute>, String>) -> Result<Option<bool>, String> {
    Ok(read?.and_then(|attribute| {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "only the sixteen audited flags are of interest"
        )]
        match attribute {
            Attribute::Token(value)
            | Attribute::Private(value)
            | Attribute::Sensitive(value)
            | Attribute::AlwaysSensitive(value)
            | Attribute::Extractable(value)
            | Attribute::NeverExtractable(value)
            | Attribute::Local(value)
            | Attribute::Encrypt(value)
            | Attribute::Decrypt(value)
            | Attribute::Wrap(value)
            | Attribute::Unwrap(value)
            | Attribute::Derive(value)
            | Attribute::Sign(value)
            | Attribute::Verify(value)
            | Attribute::Modifiable(value)
            | Attribute::Copyable(value) => Some(value),
            _ => None,
        }
    }))
}
