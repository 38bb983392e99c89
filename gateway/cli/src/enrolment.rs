//! The enrolment record at a start: read, verified, compared, and refused or renewed.
//!
//! What lives here: the record's two copies, and what a command does about a difference. What must not: what
//! counts as one (`sceau_server::keyring`). Invariant: a module whose digest was never accepted is not loaded by
//! a command that serves or changes keys, and a gateway does not serve with a key, token or module that is not as
//! an operator accepted it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sceau_envelope::keyring::UnverifiedKeyring;
use sceau_kms_pkcs11::{TokenFacts, module_digest};
use sceau_server::config::{KeysConfig, ProviderConfig};
use sceau_server::keyring::{
    Canary, ENROLMENT_OBJECT, EnrolledToken, EnrolmentRecord, KeyringService, LocalCopy, fingerprints,
    try_canary,
};
use sceau_server::upstream::Condition;

use crate::exit::{Failure, Part};
use crate::parts::{self, Foundations, Provider};

/// What a look at record and tokens found.
pub struct Look {
    seen: Vec<EnrolledToken>,
    /// The newest verified record, or the one that would be made now; none without tokens.
    record: Option<EnrolmentRecord>,
    /// Whether that record is made now, or has tokens that the kept one did not have.
    is_new: bool,
    /// What is not as it was accepted, in words.
    differences: Vec<String>,
    /// The control bucket's copy has to be written.
    is_control_behind: bool,
}

impl Look {
    /// The record, and whether it is new.
    ///
    /// # Errors
    /// `E-KEYS-023`, naming each difference.
    pub fn refuse(self) -> Result<Option<(EnrolmentRecord, bool)>, Failure> {
        if !self.differences.is_empty() {
            return Err(changed(&self.differences));
        }
        Ok(self.record.map(|record| (record, self.is_new)))
    }

    /// Each difference, in words.
    pub fn differences(&self) -> &[String] {
        &self.differences
    }
}

fn changed(differences: &[String]) -> Failure {
    Failure::new(
        Part::Keys,
        format!("not as it was accepted: {}", differences.join("; ")),
    )
    .with_id("E-KEYS-023")
    .with_hint(
        "find out who changed it; if it was meant (an update of the vendor's package, an act of the crypto officer), \
         accept it with `sceau keys accept --config FILE`",
    )
}

/// A token as the adapter tells it.
pub fn token(facts: &TokenFacts) -> EnrolledToken {
    EnrolledToken {
        token_serial: facts.serial.clone(),
        token: format!("{}, {}, firmware {}", facts.label, facts.model, facts.firmware),
        key_label: facts.key_label.clone(),
        key_version: facts.key_version,
        key_id: facts.key_id.clone(),
        check_value: facts.check_value.clone(),
        scheme: facts.scheme.name().to_owned(),
        attributes: facts.attributes.iter().cloned().collect(),
        modules: vec![facts.module_sha256.clone()],
    }
}

/// Where the host's copy of the record is: beside the keyring.
fn local_path(keyring: &Path) -> PathBuf {
    let mut name = keyring.as_os_str().to_owned();
    name.push(".enrolment");
    name.into()
}

/// Refuses a module before it is loaded, by the host's copies of record and keyring, which nothing verifies yet:
/// good enough to refuse. Without a record everything passes here; the start goes on to look at it.
pub async fn refuse_changed_module(keys: &KeysConfig) -> Result<(), Failure> {
    let ProviderConfig::Pkcs11(config) = &keys.provider else {
        return Ok(());
    };
    let copy = LocalCopy::new(local_path(&keys.keyring)).read();
    let Some(document) = copy.map_err(Failure::keyring)? else {
        return Ok(());
    };
    let Some((record, _, _)) = EnrolmentRecord::parse(&document) else {
        return Err(unreadable(keys));
    };
    let keyring = LocalCopy::new(keys.keyring.clone())
        .read()
        .map_err(Failure::keyring)?;
    let keyring = keyring.and_then(|document| UnverifiedKeyring::parse(&document).ok());
    let mut differences = Vec::new();
    for endpoint in config.all() {
        let adapter = parts::pkcs11(endpoint, &keys.keyring, None)?;
        let is = module_digest(&adapter).await.map_err(Failure::keys)?;
        let keks = keyring.as_ref().map(UnverifiedKeyring::keks).unwrap_or_default();
        let is_enrolled = keks.iter().any(|kek| kek.module_sha256 == is);
        if !record.has_module(&is) && !is_enrolled {
            let was: Vec<_> = record
                .tokens
                .iter()
                .flat_map(|token| token.modules.clone())
                .collect();
            differences.push(format!(
                "the SHA-256 of {} was {} and is {is}, so it is not loaded",
                endpoint.module.display(),
                was.join(" or ")
            ));
        }
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(changed(&differences)),
    }
}

fn unreadable(keys: &KeysConfig) -> Failure {
    let path = local_path(&keys.keyring);
    Failure::new(
        Part::Keys,
        format!("{}: no enrolment record of this keyring", path.display()),
    )
    .with_id("E-KEYS-024")
    .with_hint(
        "it was altered, or belongs to another keyring: restore it, or look at the HSM and make it anew with \
         `sceau keys accept --config FILE`",
    )
}

/// Compares what is seen with what was accepted; changes nothing.
pub async fn look(
    foundations: &Foundations,
    service: &KeyringService,
    provider: &Provider,
) -> Result<Look, Failure> {
    let seen = provider.tokens();
    if seen.is_empty() {
        return Ok(Look {
            seen,
            record: None,
            is_new: false,
            differences: Vec::new(),
            is_control_behind: false,
        });
    }
    let keys = &foundations.config.keys;
    let local = LocalCopy::new(local_path(&keys.keyring))
        .read()
        .map_err(Failure::keyring)?;
    let local = match local {
        Some(document) => Some(
            verified(service, &document)
                .await?
                .ok_or_else(|| unreadable(keys))?,
        ),
        None => None,
    };
    let control = control_copy(foundations, service, local.is_some()).await?;
    let serial = |record: &Option<EnrolmentRecord>| record.as_ref().map_or(0, |record| record.serial);
    let is_control_behind = serial(&control) < serial(&local).max(1);
    let kept = match serial(&control) > serial(&local) {
        true => control,
        false => local,
    };
    compare(foundations, service, provider, seen, kept, is_control_behind).await
}

async fn verified(service: &KeyringService, document: &[u8]) -> Result<Option<EnrolmentRecord>, Failure> {
    service
        .verified_enrolment(document)
        .await
        .map_err(Failure::keyring)
}

/// The control bucket's copy, if it is there and authentic. The store may withhold or alter it: then the host's
/// copy decides.
async fn control_copy(
    foundations: &Foundations,
    service: &KeyringService,
    has_local: bool,
) -> Result<Option<EnrolmentRecord>, Failure> {
    let document = match foundations.control.get(ENROLMENT_OBJECT).await {
        Ok(found) => found.map(|(document, _)| document),
        Err(error) if has_local => {
            tracing::warn!("the control bucket's copy of the enrolment record cannot be read: {error}");
            None
        }
        Err(error) => return Err(Failure::store(error)),
    };
    let Some(document) = document else { return Ok(None) };
    let record = verified(service, &document).await?;
    if record.is_none() {
        tracing::warn!(
            target: "sceau::security",
            "the control bucket's copy of the enrolment record is not authentic and is not used"
        );
    }
    Ok(record)
}

async fn compare(
    foundations: &Foundations,
    service: &KeyringService,
    provider: &Provider,
    seen: Vec<EnrolledToken>,
    kept: Option<EnrolmentRecord>,
    is_control_behind: bool,
) -> Result<Look, Failure> {
    let keyring = service.keyring();
    let keks = &keyring.content().keks;
    let prints = fingerprints(keks);
    let mut differences = Vec::new();
    let shared = provider.audited(foundations);
    for kek in keks {
        if try_canary(shared.as_ref(), kek).await.map_err(Failure::keys)? == Canary::Stranger {
            differences.push(format!(
                "the key {} version {} in token {} does not open its canary: it is another key",
                kek.label, kek.version, kek.provider
            ));
        }
    }
    if let Some(kept) = &kept {
        differences.extend(kept.changes(&seen, &prints).iter().map(ToString::to_string));
    }
    // A token that no record has: after a rotation of the key, or with a keyring from before there were records.
    // The keyring, which is authentic, says which module its key was enrolled with.
    let mut unknown = Vec::new();
    for token in &seen {
        if kept.as_ref().is_some_and(|kept| kept.knows(token)) {
            continue;
        }
        let is_accepted = |module: &String| {
            let is_of = |kek: &&sceau_envelope::keyring::EnrolledKek| {
                kek.label == token.key_label && kek.version == token.key_version
            };
            keks.iter().filter(is_of).any(|kek| kek.module_sha256 == *module)
                || kept.as_ref().is_some_and(|kept| kept.has_module(module))
        };
        if !token.modules.iter().all(is_accepted) {
            let enrolled: Vec<_> = keks.iter().map(|kek| kek.module_sha256.as_str()).collect();
            differences.push(format!(
                "token {}: no record has it, and the module's SHA-256 was {} at enrolment and is {}",
                token.token_serial,
                enrolled.join(" or "),
                token.modules.join(" ")
            ));
        }
        unknown.push(token.clone());
    }
    let is_new = !unknown.is_empty();
    let record = match kept {
        None => EnrolmentRecord::new(service.tenant().to_string(), prints, seen.clone()),
        Some(kept) if is_new => kept.accepting(&unknown, prints, false),
        Some(kept) => kept,
    };
    Ok(Look {
        seen,
        record: Some(record),
        is_new,
        differences,
        is_control_behind,
    })
}

/// Refuses what is not as it was accepted; makes the record where there is none, and repairs its copies.
pub async fn verify(
    foundations: &Foundations,
    service: &KeyringService,
    provider: &Provider,
) -> Result<(), Failure> {
    let look = look(foundations, service, provider).await?;
    let is_control_behind = look.is_control_behind;
    let Some((record, is_new)) = look.refuse()? else {
        return Ok(());
    };
    if is_new {
        tracing::warn!(
            record = record.serial,
            "tokens without an enrolment record are accepted as they are: compare `sceau keys accept --dry-run` with the ceremony's papers"
        );
    }
    write(foundations, service, &record, is_control_behind || is_new).await
}

/// Makes what is seen the accepted state; answers the record and what was different.
pub async fn accept(
    foundations: &Foundations,
    service: &KeyringService,
    provider: &Provider,
    only: bool,
) -> Result<Option<(EnrolmentRecord, Vec<String>)>, Failure> {
    // A record that is no longer readable is replaced: this is the operator's word.
    let path = local_path(&foundations.config.keys.keyring);
    if let Some(document) = LocalCopy::new(path.clone()).read().map_err(Failure::keyring)?
        && verified(service, &document).await?.is_none()
    {
        std::fs::remove_file(&path).map_err(|error| Failure::file(&path, &error))?;
    }
    let look = look(foundations, service, provider).await?;
    let differences = look.differences.clone();
    let Some(record) = look.record else {
        return Ok(None);
    };
    let keyring = service.keyring();
    let record = match look.is_new && record.serial == 1 {
        true => record,
        false => record.accepting(&look.seen, fingerprints(&keyring.content().keks), only),
    };
    write(foundations, service, &record, true).await?;
    Ok(Some((record, differences)))
}

/// The host's copy first: what was accepted once stays known here.
async fn write(
    foundations: &Foundations,
    service: &KeyringService,
    record: &EnrolmentRecord,
    to_control: bool,
) -> Result<(), Failure> {
    let document = service
        .enrolment_document(record)
        .await
        .map_err(Failure::keyring)?;
    let document = Bytes::from(document);
    let local = LocalCopy::new(local_path(&foundations.config.keys.keyring));
    local.write(document.clone()).await.map_err(Failure::keyring)?;
    if to_control {
        let put = foundations
            .control
            .put(ENROLMENT_OBJECT, document, Condition::None);
        put.await.map_err(Failure::store)?;
    }
    Ok(())
}
