//! The audit of the key's attributes.
//!
//! What lives here: what each attribute should be, and how bad it is otherwise. What must not: any
//! action on the result. Invariant: attributes are claims of the token; the audit can find fault, not
//! give proof.

use cryptoki::object::{Attribute, AttributeType};
use data_encoding::HEXLOWER;
use sceau_keys::KEY_BYTES;

use super::fault::name;
use super::token::Bench;
use crate::frame::Audit;

/// How bad a wrong value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

/// One expectation: attribute, its name, the value it should have, the weight of another value, why.
type Rule = (AttributeType, &'static str, bool, Weight, &'static str);

const RULES: [Rule; 16] = [
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
        AttributeType::Encrypt,
        "ENCRYPT",
        true,
        Weight::Error,
        "the key cannot wrap",
    ),
    (
        AttributeType::Decrypt,
        "DECRYPT",
        true,
        Weight::Error,
        "the key cannot unwrap",
    ),
    (
        AttributeType::Wrap,
        "WRAP",
        false,
        Weight::Error,
        "with DECRYPT, it reveals other keys of the token",
    ),
    (
        AttributeType::Unwrap,
        "UNWRAP",
        false,
        Weight::Warning,
        "it may bring chosen keys into the token",
    ),
    (
        AttributeType::Derive,
        "DERIVE",
        false,
        Weight::Warning,
        "other keys may be derived from it",
    ),
    (
        AttributeType::Sign,
        "SIGN",
        false,
        Weight::Warning,
        "one key should have one use",
    ),
    (
        AttributeType::Verify,
        "VERIFY",
        false,
        Weight::Warning,
        "one key should have one use",
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

/// Reads the key's attributes one by one, because some tokens fail the whole call for one they lack.
pub(super) fn audit(bench: &Bench) -> Audit {
    let mut result = Audit::default();
    for (kind, label, wanted, weight, why) in RULES {
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
    match read(bench, AttributeType::ValueLen) {
        Ok(Some(Attribute::ValueLen(length))) if u64::from(length) == KEY_BYTES as u64 => {}
        Ok(Some(_)) => result.errors.push("the key is not an AES-256 key".to_owned()),
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
