//! The enrolment record: what a key-encryption key, its token and its module were when an operator accepted them.
//!
//! What lives here: the record, its text, its authenticator, and what changed since. What must not: tokens,
//! files. Invariant: a record decides nothing before its authenticator was checked under this keyring's MAC key,
//! which only the enrolled key unwraps.
//!
//! The attacks considered. Whoever can write to the store puts an old record back: a record counts its changes,
//! the gateway's own copy wins if it is newer, and an older record names modules that an operator once accepted.
//! Whoever exchanges the module file on the host is met before it is loaded, by the copy on that host; who can
//! exchange that copy as well, or the configuration, owns the gateway.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sceau_envelope::keyring::{EnrolledKek, enrolment_mac};
use serde::{Deserialize, Serialize};

use super::KeyringService;
use super::error::KeyringFault;

/// Name of the record in the control bucket; on the host it is beside the keyring, with this extension.
pub const ENROLMENT_OBJECT: &str = "enrolment";

/// Largest record in bytes: every key with every HSM of its group.
pub const ENROLMENT_BYTES_MAX: usize = 1 << 20;

/// Digests of modules accepted for one token: gateways are updated one after the other.
const MODULES_MAX: usize = 8;

/// Begins the second line.
const MAC_PREFIX: &str = "hmac-sha384 ";

/// The only version.
const VERSION: u32 = 1;

/// One token with the key, as it was accepted or as it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledToken {
    /// The token's serial number.
    pub token_serial: String,
    /// Its label, model and firmware, for people.
    pub token: String,
    /// Label of the key.
    pub key_label: String,
    /// Version of the key.
    pub key_version: u32,
    /// `CKA_ID` of the key in hexadecimal.
    pub key_id: String,
    /// The token's own check value of the key in hexadecimal, where it has one.
    pub check_value: Option<String>,
    /// Scheme of wrapping.
    pub scheme: String,
    /// The key's attributes as the token told them.
    pub attributes: BTreeMap<String, bool>,
    /// SHA-256 of the module files accepted, the newest first.
    pub modules: Vec<String>,
}

/// What was accepted, of every token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRecord {
    record: String,
    version: u32,
    /// The keyring's owner.
    pub tenant: String,
    /// Counts the changes, from 1.
    pub serial: u64,
    /// Fingerprints of the enrolled keys' canaries, by label and version.
    pub fingerprints: BTreeMap<String, String>,
    /// The tokens.
    pub tokens: Vec<EnrolledToken>,
}

/// One thing that is not as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentChange {
    /// What it is about: a token, or a key.
    pub of: String,
    /// Which property.
    pub what: String,
    /// As it was accepted.
    pub was: String,
    /// As it is.
    pub is: String,
}

impl std::fmt::Display for EnrolmentChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} was {} and is {}",
            self.of, self.what, self.was, self.is
        )
    }
}

impl EnrolledToken {
    fn is_same_place(&self, other: &Self) -> bool {
        self.token_serial == other.token_serial
            && self.key_label == other.key_label
            && self.key_version == other.key_version
    }

    fn changes(&self, seen: &Self) -> Vec<EnrolmentChange> {
        let of = format!("key {} in token {}", self.key_label, self.token_serial);
        let mut changes = Vec::new();
        let mut note = |what: &str, was: String, is: String| {
            changes.push(EnrolmentChange {
                of: of.clone(),
                what: what.to_owned(),
                was,
                is,
            });
        };
        if let Some(module) = seen.modules.iter().find(|module| !self.modules.contains(module)) {
            note("the module's SHA-256", self.modules.join(" or "), module.clone());
        }
        if self.key_id != seen.key_id {
            note("CKA_ID", told(&self.key_id), told(&seen.key_id));
        }
        if self.check_value != seen.check_value {
            let text = |value: &Option<String>| told(value.as_deref().unwrap_or_default());
            note(
                "the fingerprint CKA_CHECK_VALUE",
                text(&self.check_value),
                text(&seen.check_value),
            );
        }
        if self.scheme != seen.scheme {
            note("the scheme", self.scheme.clone(), seen.scheme.clone());
        }
        let names: std::collections::BTreeSet<_> =
            self.attributes.keys().chain(seen.attributes.keys()).collect();
        for name in names {
            let (was, is) = (self.attributes.get(name), seen.attributes.get(name));
            if was != is {
                let text =
                    |value: Option<&bool>| value.map_or_else(|| "not told".to_owned(), bool::to_string);
                note(&format!("CKA_{name}"), text(was), text(is));
            }
        }
        changes
    }
}

fn told(text: &str) -> String {
    match text {
        "" => "not told".to_owned(),
        text => text.to_owned(),
    }
}

/// The fingerprints of the keyring's keys, as a record names them.
pub fn fingerprints(keks: &[EnrolledKek]) -> BTreeMap<String, String> {
    let name = |kek: &EnrolledKek| format!("{} version {} in {}", kek.label, kek.version, kek.provider);
    keks.iter()
        .map(|kek| (name(kek), HEXLOWER.encode(&kek.fingerprint)))
        .collect()
}

impl EnrolmentRecord {
    /// The first record of a keyring.
    pub fn new(tenant: String, fingerprints: BTreeMap<String, String>, tokens: Vec<EnrolledToken>) -> Self {
        Self {
            record: "sceau enrolment".to_owned(),
            version: VERSION,
            tenant,
            serial: 1,
            fingerprints,
            tokens,
        }
    }

    /// Reads a document without trusting it: good for refusing, not for accepting. Its authenticator is the
    /// second answer.
    pub fn parse(document: &[u8]) -> Option<(Self, Vec<u8>, String)> {
        let text = std::str::from_utf8(document)
            .ok()
            .filter(|text| text.len() <= ENROLMENT_BYTES_MAX)?;
        let mut lines = text.lines();
        let (line, mac) = (lines.next()?, lines.next()?.strip_prefix(MAC_PREFIX)?);
        if lines.next().is_some() {
            return None;
        }
        let record: Self = serde_json::from_str(line).ok()?;
        let mac = HEXLOWER.decode(mac.as_bytes()).ok()?;
        let is_known = record.version == VERSION && record.record == "sceau enrolment" && record.serial > 0;
        is_known.then(|| (record, mac, line.to_owned()))
    }

    /// Whether a module of this digest was accepted for any token.
    pub fn has_module(&self, sha256: &str) -> bool {
        self.tokens
            .iter()
            .any(|token| token.modules.iter().any(|module| module == sha256))
    }

    /// Whether this token was ever accepted.
    pub fn knows(&self, seen: &EnrolledToken) -> bool {
        self.tokens.iter().any(|token| token.is_same_place(seen))
    }

    /// What is not as it was accepted. Tokens that are not known are no change; see [`Self::knows`].
    pub fn changes(
        &self,
        seen: &[EnrolledToken],
        fingerprints: &BTreeMap<String, String>,
    ) -> Vec<EnrolmentChange> {
        let mut changes = Vec::new();
        for (name, was) in &self.fingerprints {
            let is = fingerprints.get(name);
            // A key that is enrolled no more, after a rotation, is no change.
            if let Some(is) = is.filter(|is| *is != was) {
                changes.push(EnrolmentChange {
                    of: format!("key {name}"),
                    what: "the fingerprint".to_owned(),
                    was: was.clone(),
                    is: is.clone(),
                });
            }
        }
        for seen in seen {
            let mut known = self.tokens.iter();
            if let Some(token) = known.find(|token| token.is_same_place(seen)) {
                changes.extend(token.changes(seen));
            }
        }
        changes
    }

    /// The next record, in which `seen` is accepted. Modules accepted before stay so unless `only`.
    #[must_use]
    pub fn accepting(
        &self,
        seen: &[EnrolledToken],
        fingerprints: BTreeMap<String, String>,
        only: bool,
    ) -> Self {
        let mut next = self.clone();
        next.serial = self.serial.saturating_add(1);
        next.fingerprints = fingerprints;
        for seen in seen {
            let mut accepted = seen.clone();
            let mut tokens = next.tokens.iter_mut();
            match tokens.find(|token| token.is_same_place(seen)) {
                Some(token) => {
                    if !only {
                        let older = token
                            .modules
                            .iter()
                            .filter(|module| !seen.modules.contains(module));
                        accepted.modules.extend(older.cloned());
                        accepted.modules.truncate(MODULES_MAX);
                    }
                    *token = accepted;
                }
                None => next.tokens.push(accepted),
            }
        }
        next
    }
}

impl KeyringService {
    /// The document of a record, authenticated.
    ///
    /// # Errors
    /// [`KeyringFault`] when the MAC key is not at hand.
    pub async fn enrolment_document(&self, record: &EnrolmentRecord) -> Result<String, KeyringFault> {
        let line = serde_json::to_string(record).map_err(|_| KeyringFault::Random)?;
        let mac = self.enrolment_authenticator(&line).await?;
        Ok(format!("{line}\n{MAC_PREFIX}{}\n", HEXLOWER.encode(&mac)))
    }

    /// The record in `document` if it was made with the key of this keyring.
    ///
    /// # Errors
    /// [`KeyringFault`] when the MAC key is not at hand.
    pub async fn verified_enrolment(&self, document: &[u8]) -> Result<Option<EnrolmentRecord>, KeyringFault> {
        let Some((record, mac, line)) = EnrolmentRecord::parse(document) else {
            return Ok(None);
        };
        let expected = self.enrolment_authenticator(&line).await?;
        let is_ours = aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &mac).is_ok()
            && record.tenant == self.tenant().to_string();
        Ok(is_ours.then_some(record))
    }

    async fn enrolment_authenticator(&self, line: &str) -> Result<[u8; 48], KeyringFault> {
        let mac_key = self.loader().mac_key_of(&self.keyring()).await?;
        Ok(enrolment_mac(&mac_key.to_secret(), line.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(module: &str) -> EnrolledToken {
        EnrolledToken {
            token_serial: "1".to_owned(),
            token: "label".to_owned(),
            key_label: "kek".to_owned(),
            key_version: 1,
            key_id: "01".to_owned(),
            check_value: Some("aabbcc".to_owned()),
            scheme: "aes-kw".to_owned(),
            attributes: [("SENSITIVE".to_owned(), true), ("EXTRACTABLE".to_owned(), false)].into(),
            modules: vec![module.to_owned()],
        }
    }

    fn record() -> EnrolmentRecord {
        let prints = [("kek version 1 in 1".to_owned(), "00".to_owned())].into();
        EnrolmentRecord::new("t".to_owned(), prints, vec![token("m1")])
    }

    #[test]
    fn every_property_that_changed_is_named_with_what_it_was() {
        let (record, prints) = (record(), record().fingerprints);
        assert!(record.changes(&[token("m1")], &prints).is_empty());
        let changed = |change: &dyn Fn(&mut EnrolledToken)| {
            let mut seen = token("m1");
            change(&mut seen);
            let changes = record.changes(&[seen], &prints);
            assert_eq!(changes.len(), 1, "{changes:?}");
            changes[0].to_string()
        };
        assert!(changed(&|seen| seen.modules = vec!["m2".to_owned()]).contains("was m1 and is m2"));
        assert!(changed(&|seen| seen.key_id = "02".to_owned()).contains("CKA_ID was 01 and is 02"));
        assert!(changed(&|seen| seen.check_value = None).contains("was aabbcc and is not told"));
        assert!(changed(&|seen| seen.scheme = "hmac-kdf".to_owned()).contains("scheme"));
        let extractable = |seen: &mut EnrolledToken| {
            seen.attributes.insert("EXTRACTABLE".to_owned(), true);
        };
        assert!(changed(&extractable).contains("CKA_EXTRACTABLE was false and is true"));
        let silent = |seen: &mut EnrolledToken| {
            seen.attributes.remove("SENSITIVE");
        };
        assert!(changed(&silent).contains("CKA_SENSITIVE was true and is not told"));
        let other = [("kek version 1 in 1".to_owned(), "01".to_owned())].into();
        assert!(
            record.changes(&[token("m1")], &other)[0]
                .to_string()
                .contains("fingerprint was 00")
        );
    }

    #[test]
    fn what_was_accepted_stays_accepted_unless_only_the_present_is() {
        let next = record().accepting(&[token("m2")], record().fingerprints, false);
        assert_eq!(
            (next.serial, next.tokens[0].modules.as_slice()),
            (2, ["m2".to_owned(), "m1".to_owned()].as_slice())
        );
        assert!(next.changes(&[token("m1")], &next.fingerprints).is_empty());
        let only = next.accepting(&[token("m2")], next.fingerprints.clone(), true);
        assert!(!only.has_module("m1") && only.has_module("m2"));
        let many = (0..20).fold(record(), |record, n| {
            record.accepting(&[token(&format!("n{n}"))], record.fingerprints.clone(), false)
        });
        assert_eq!(many.tokens[0].modules.len(), MODULES_MAX);
        let mut stranger = token("m1");
        stranger.token_serial = "2".to_owned();
        assert!(!record().knows(&stranger) && record().knows(&token("m9")));
    }

    #[test]
    fn documents_of_another_form_are_no_records() {
        let line = serde_json::to_string(&record()).unwrap();
        let good = format!("{line}\n{MAC_PREFIX}00ff\n");
        assert!(EnrolmentRecord::parse(good.as_bytes()).is_some());
        for bad in [
            line.clone(),
            format!("{line}\n{MAC_PREFIX}xx\n"),
            format!("{good}more\n"),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("sceau enrolment", "sceau key destruction"),
            good.replace("\"serial\":1", "\"serial\":0"),
            good.replace("\"tenant\"", "\"tenants\""),
        ] {
            assert!(EnrolmentRecord::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
