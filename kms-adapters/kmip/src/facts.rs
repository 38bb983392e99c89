//! What the server says about the key.
//!
//! What lives here: its attributes as data, and what they mean for us. What must not: calls. Invariant: a fact
//! that is missing, or told twice, is never taken as good.
//!
//! The attack considered: an operator revokes a key because it is compromised, and the server goes on decrypting
//! with it, as the standard allows and as servers do. So the state is judged here, before each use: only Active
//! wraps, and only Active unwraps.

use sceau_keys::WrapScheme;
use sceau_kms::{Finding, KeyError, Severity};
use sceau_kms_ttlv::Item;

use crate::wire::{Version, tag};

/// Object Type: Symmetric Key.
pub(crate) const SYMMETRIC_KEY: u32 = 2;
/// Cryptographic Algorithm: AES.
pub(crate) const AES: u32 = 3;
/// State: Active.
const ACTIVE: u32 = 2;
/// Length of the key in bits.
const KEY_BITS: i32 = 256;
/// Cryptographic Usage Mask: Encrypt.
const ENCRYPT: i32 = 0x04;
/// Decrypt.
const DECRYPT: i32 = 0x08;
/// Wrap Key.
const WRAP_KEY: i32 = 0x10;

pub(crate) struct KeyFacts {
    object_type: Option<u32>,
    algorithm: Option<u32>,
    bits: Option<i32>,
    mask: i32,
    state: Option<u32>,
    sensitive: Option<bool>,
    extractable: Option<bool>,
    names: Vec<String>,
    /// Initial Date: tells a key from another one of the same identifier.
    pub(crate) made: Option<i64>,
}

/// The values of an attribute: by its name up to KMIP 1.4, by its tag from 2.0.
fn values<'a>(payload: &'a Item, version: Version, name: &str, tag: u32) -> Vec<&'a Item> {
    if version >= Version::TAGGED_LEAST {
        return payload
            .one(tag::ATTRIBUTES)
            .map(|attributes| attributes.all(tag).collect())
            .unwrap_or_default();
    }
    payload
        .all(tag::ATTRIBUTE)
        .filter(|attribute| attribute.one(tag::ATTRIBUTE_NAME).and_then(Item::text) == Some(name))
        .filter_map(|attribute| attribute.one(tag::ATTRIBUTE_VALUE))
        .collect()
}

impl KeyFacts {
    /// The payload of an answer to Get Attributes.
    pub(crate) fn read(payload: &Item, version: Version) -> Self {
        let one = |name: &str, tag| match values(payload, version, name, tag).as_slice() {
            [value] => Some(*value),
            _ => None,
        };
        let names = values(payload, version, "Name", tag::NAME);
        let names = names.iter().filter_map(|name| name.one(tag::NAME_VALUE)?.text());
        Self {
            object_type: one("Object Type", tag::OBJECT_TYPE).and_then(Item::enumeration),
            algorithm: one("Cryptographic Algorithm", tag::CRYPTOGRAPHIC_ALGORITHM)
                .and_then(Item::enumeration),
            bits: one("Cryptographic Length", tag::CRYPTOGRAPHIC_LENGTH).and_then(Item::integer),
            mask: one("Cryptographic Usage Mask", tag::CRYPTOGRAPHIC_USAGE_MASK)
                .and_then(Item::integer)
                .unwrap_or_default(),
            state: one("State", tag::STATE).and_then(Item::enumeration),
            sensitive: one("Sensitive", tag::SENSITIVE).and_then(Item::boolean),
            extractable: one("Extractable", tag::EXTRACTABLE).and_then(Item::boolean),
            names: names.map(str::to_owned).collect(),
            made: one("Initial Date", tag::INITIAL_DATE).and_then(Item::date),
        }
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|held| held == name)
    }

    /// Whether the key may wrap and unwrap.
    pub(crate) fn is_active(&self) -> bool {
        self.state == Some(ACTIVE)
    }

    /// The state in words.
    pub(crate) fn state(&self) -> &'static str {
        match self.state {
            Some(1) => "pre-active",
            Some(ACTIVE) => "active",
            Some(3) => "deactivated",
            Some(4) => "compromised",
            Some(5) => "destroyed",
            Some(6) => "destroyed and compromised",
            Some(_) | None => "in a state that the server does not tell",
        }
    }

    /// Whether the server may hand the key out, as far as it says. Silence counts as yes.
    pub(crate) fn is_exportable(&self) -> bool {
        self.extractable != Some(false)
    }

    pub(crate) fn may_decrypt(&self) -> bool {
        self.mask & DECRYPT != 0
    }

    /// Refuses a kind of key that cannot keep what wraps of `scheme` promise.
    pub(crate) fn check_kind(&self, scheme: WrapScheme) -> Result<(), KeyError> {
        let is_aes = self.object_type == Some(SYMMETRIC_KEY)
            && self.algorithm == Some(AES)
            && self.bits == Some(KEY_BITS);
        let what = if !is_aes {
            "the KMIP key must be a symmetric key, AES, of 256 bits"
        } else if self.mask & ENCRYPT == 0 {
            "the usage mask of the KMIP key must have Encrypt"
        } else if scheme == WrapScheme::KmipGcm && !self.may_decrypt() {
            "the usage mask of the KMIP key must have Decrypt"
        } else {
            return Ok(());
        };
        Err(KeyError::Misconfigured {
            what: what.to_owned(),
        })
    }

    pub(crate) fn findings(&self, scheme: WrapScheme) -> Vec<Finding> {
        let derives = scheme == WrapScheme::AesCbcKdf;
        let allowed = if derives { ENCRYPT } else { ENCRYPT | DECRYPT };
        let facts = [
            (
                self.extractable == Some(true),
                "the server may hand the key out (Extractable is true)",
            ),
            (
                self.extractable.is_none(),
                "the server does not say whether it may hand the key out (no attribute Extractable): let no client have the right to Get it",
            ),
            (
                self.sensitive == Some(false),
                "the server may hand the key out in clear (Sensitive is false)",
            ),
            (
                self.mask & WRAP_KEY != 0 && self.may_decrypt(),
                "the usage mask has Wrap Key and Decrypt: together they reveal other keys of the server",
            ),
            (
                derives && self.may_decrypt(),
                "the usage mask has Decrypt: the derivation needs none",
            ),
            (
                self.mask & !(allowed | WRAP_KEY | DECRYPT) != 0,
                "the usage mask allows more than wrapping: one key should have one use",
            ),
        ];
        let holds = facts.into_iter().filter(|(holds, _)| *holds);
        holds
            .map(|(_, what)| Finding {
                severity: Severity::Warning,
                what: what.to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use sceau_kms_ttlv::Value;

    use super::*;
    use crate::wire::{enumeration, integer, text};

    const V14: Version = Version { major: 1, minor: 4 };
    const V20: Version = Version { major: 2, minor: 0 };

    fn parts(state: u32, mask: i32) -> Vec<(&'static str, Item)> {
        let name = Item::structure(tag::NAME, vec![text(tag::NAME_VALUE, "kek")]);
        vec![
            ("Name", name),
            ("Object Type", enumeration(tag::OBJECT_TYPE, SYMMETRIC_KEY)),
            (
                "Cryptographic Algorithm",
                enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES),
            ),
            ("Cryptographic Length", integer(tag::CRYPTOGRAPHIC_LENGTH, 256)),
            (
                "Cryptographic Usage Mask",
                integer(tag::CRYPTOGRAPHIC_USAGE_MASK, mask),
            ),
            ("State", enumeration(tag::STATE, state)),
        ]
    }

    /// As a server of this version tells them.
    fn payload(parts: Vec<(&'static str, Item)>, version: Version) -> Item {
        let items = parts.into_iter().map(|(name, item)| {
            if version >= Version::TAGGED_LEAST {
                return item;
            }
            let value = Item::of(tag::ATTRIBUTE_VALUE, item.value);
            Item::structure(tag::ATTRIBUTE, vec![text(tag::ATTRIBUTE_NAME, name), value])
        });
        let items = items.collect();
        if version >= Version::TAGGED_LEAST {
            let all = Item::structure(tag::ATTRIBUTES, items);
            return Item::structure(tag::RESPONSE_PAYLOAD, vec![all]);
        }
        Item::structure(tag::RESPONSE_PAYLOAD, items)
    }

    fn facts(state: u32, mask: i32) -> KeyFacts {
        KeyFacts::read(&payload(parts(state, mask), V14), V14)
    }

    #[test]
    fn both_forms_of_attributes_are_read() {
        for version in [V14, V20] {
            let facts = KeyFacts::read(&payload(parts(2, 12), version), version);
            assert!(facts.is_active() && facts.has_name("kek") && !facts.has_name("ke"));
            assert_eq!(facts.check_kind(WrapScheme::KmipGcm), Ok(()));
            // Nothing was said of it.
            assert!(facts.is_exportable());
        }
    }

    #[test]
    fn no_state_but_active_is_usable_and_silence_is_none() {
        for state in [0, 1, 3, 4, 5, 6, 7, u32::MAX] {
            assert!(!facts(state, 12).is_active(), "{state}");
        }
        let mut none = parts(2, 12);
        none.retain(|(name, _)| *name != "State");
        assert!(!KeyFacts::read(&payload(none, V14), V14).is_active());
        for version in [V14, V20] {
            let mut twice = parts(2, 12);
            twice.push(("State", enumeration(tag::STATE, 4)));
            assert!(!KeyFacts::read(&payload(twice, version), version).is_active());
        }
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        for (place, item) in [
            (1, enumeration(tag::OBJECT_TYPE, 7)),
            (2, enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, 2)),
            (3, integer(tag::CRYPTOGRAPHIC_LENGTH, 128)),
        ] {
            let mut other = parts(2, 12);
            if let Some(part) = other.get_mut(place) {
                part.1 = item;
            }
            let facts = KeyFacts::read(&payload(other, V14), V14);
            assert!(facts.check_kind(WrapScheme::KmipGcm).is_err(), "{place}");
        }
        // Encrypt alone derives, and does not open; Decrypt alone is of no use.
        assert!(facts(2, ENCRYPT).check_kind(WrapScheme::KmipGcm).is_err());
        assert_eq!(facts(2, ENCRYPT).check_kind(WrapScheme::AesCbcKdf), Ok(()));
        assert!(facts(2, DECRYPT).check_kind(WrapScheme::AesCbcKdf).is_err());
    }

    #[test]
    fn the_audit_names_what_is_weaker_than_it_should_be() {
        let with = |extractable, mask| {
            let mut parts = parts(2, mask);
            let value = Item::of(tag::EXTRACTABLE, Value::Boolean(extractable));
            parts.push(("Extractable", value));
            KeyFacts::read(&payload(parts, V20), V20)
        };
        let best = with(false, ENCRYPT | DECRYPT);
        assert!(!best.is_exportable() && best.findings(WrapScheme::KmipGcm).is_empty());
        assert!(with(true, 12).is_exportable());
        for (key, scheme) in [
            (with(true, 12), WrapScheme::KmipGcm),
            (with(false, 12 | WRAP_KEY), WrapScheme::KmipGcm),
            (with(false, 12 | 0x200), WrapScheme::KmipGcm),
            (with(false, 12), WrapScheme::AesCbcKdf),
            (facts(2, 12), WrapScheme::KmipGcm),
        ] {
            assert_eq!(key.findings(scheme).len(), 1);
        }
    }
}
