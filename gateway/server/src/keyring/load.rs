//! Reading, verifying and reconciling the two copies of the keyring.
//!
//! What lives here: [`Loader`]. What must not: changes to the keyring. Invariant: a keyring that
//! comes out of here is authentic, of the expected tenant, and not older than any seen before.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sceau_envelope::error::KeyringError;
use sceau_envelope::{Keyring, KeyringContent, UnverifiedKeyring};
use sceau_keys::{LockedKey, WrapScheme};
use sceau_kms::{KeyProvider, Reason};

use super::copies::{ControlCopy, LocalCopy};
use super::error::{EpochKeyError, KeyringFault, Place};
use super::{KeyringParts, Loaded, unwrap_record};
use crate::crypt::key_cache::KeyCache;
use crate::telemetry::Metrics;

/// Which copies there are, and whether they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Both, and they agree.
    Agree,
    /// The local copy is behind, as after a change by another gateway; it is repaired at start.
    LocalBehind,
    /// Only the control bucket's; the local one is written at start.
    OnlyControl,
    /// Only the local one; the control bucket's is written again at start.
    OnlyLocal,
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agree => "both copies agree",
            Self::LocalBehind => "the local copy is behind and will be repaired",
            Self::OnlyControl => "there is no local copy yet",
            Self::OnlyLocal => "the control bucket's copy is missing and will be restored",
        })
    }
}

/// Verifies both copies as a start would, without changing either.
///
/// # Errors
/// [`KeyringFault`]: what a start would end with.
pub async fn inspect(parts: KeyringParts) -> Result<(KeyringContent, Copies), KeyringFault> {
    let provider = parts.provider();
    let local = LocalCopy::new(parts.options.local);
    let cache = KeyCache::new(parts.options.cache_ttl, 1, Arc::clone(&parts.metrics));
    let loader = Loader {
        provider: &provider,
        control: parts.control.as_ref(),
        local: &local,
        cache: &cache,
        metrics: &parts.metrics,
    };
    let pinned = match local.read()? {
        Some(document) => Some(loader.verify(document, Place::Local, 0).await?),
        None => None,
    };
    let control = parts.control.read().await?;
    match (pinned, control) {
        (None, None) => Err(KeyringFault::Absent),
        (Some(pinned), None) => Ok((pinned.keyring.content().clone(), Copies::OnlyLocal)),
        (None, Some((document, _))) => {
            let loaded = loader.verify(document, Place::Control, 0).await?;
            Ok((loaded.keyring.content().clone(), Copies::OnlyControl))
        }
        (Some(pinned), Some((document, _))) => match loader.newer(&pinned, document).await? {
            None => Ok((pinned.keyring.content().clone(), Copies::Agree)),
            Some(newer) => Ok((newer.keyring.content().clone(), Copies::LocalBehind)),
        },
    }
}

/// What is needed to read and verify copies.
pub(super) struct Loader<'a> {
    pub(super) provider: &'a Arc<dyn KeyProvider>,
    pub(super) control: &'a dyn ControlCopy,
    pub(super) local: &'a LocalCopy,
    pub(super) cache: &'a KeyCache<EpochKeyError>,
    pub(super) metrics: &'a Arc<Metrics>,
}

impl Loader<'_> {
    /// Loads at start: the local copy pins the generation, the control bucket's copy may be newer.
    pub(super) async fn start(&self) -> Result<Loaded, KeyringFault> {
        let pinned = match self.local.read()? {
            Some(document) => match self.verify(document.clone(), Place::Local, 0).await {
                Err(fault) if is_without_wrap(&fault) => {
                    return self.start_after_rotation(&document, fault).await;
                }
                verified => Some(verified?),
            },
            None => None,
        };
        if let Some(pinned) = pinned {
            let (newer, _) = self.refresh(&pinned).await?;
            return Ok(newer.unwrap_or(pinned));
        }
        let (document, _) = self.control.read().await?.ok_or(KeyringFault::Absent)?;
        let loaded = self.verify(document, Place::Control, 0).await?;
        tracing::warn!(
            generation = loaded.keyring.content().generation,
            "no local copy of the keyring: the control bucket's is taken as it is, and pinned from now on"
        );
        self.local.write(loaded.document.clone()).await?;
        Ok(loaded)
    }

    /// The local copy is from before a rotation of the key-encryption key, so that the key in use opens
    /// nothing of it. It still pins: the control bucket's copy must verify, belong to the same tenant and not
    /// be older than the local one claims to be.
    ///
    /// The attack considered: nothing authenticates that claim here. Who alters the local file could as well
    /// remove it, and the pin with it; who writes to the store only cannot.
    async fn start_after_rotation(&self, local: &[u8], fault: KeyringFault) -> Result<Loaded, KeyringFault> {
        let Some((document, _)) = self.control.read().await? else {
            return Err(fault);
        };
        let claimed = UnverifiedKeyring::parse(local).map_err(|error| KeyringFault::Document {
            place: Place::Local,
            error,
        })?;
        let loaded = self
            .verify(document, Place::Control, claimed.generation())
            .await?;
        let tenant = loaded.keyring.content().tenant;
        if claimed.mac_record().is_none_or(|record| record.tenant != tenant) {
            return Err(KeyringFault::Foreign {
                place: Place::Control,
            });
        }
        tracing::info!("the local copy of the keyring is from before a rotation of the key-encryption key");
        self.local.write(loaded.document.clone()).await?;
        Ok(loaded)
    }

    /// Compares the control bucket's copy with the one in use; answers a newer keyring if there is
    /// one, and the copy's entity tag.
    pub(super) async fn refresh(
        &self,
        seen: &Loaded,
    ) -> Result<(Option<Loaded>, Option<String>), KeyringFault> {
        let Some((document, etag)) = self.control.read().await? else {
            return self.restore(seen).await.map(|()| (None, None));
        };
        let newer = self.newer(seen, document).await?;
        if let Some(newer) = &newer {
            // The local copy is written before the keyring is used: what was used once must stay pinned.
            self.local.write(newer.document.clone()).await?;
        }
        Ok((newer, Some(etag)))
    }

    /// The keyring in `document` if it is newer than `seen`; every other difference is refused.
    async fn newer(&self, seen: &Loaded, document: Bytes) -> Result<Option<Loaded>, KeyringFault> {
        if document == seen.document {
            return Ok(None);
        }
        let seen = seen.keyring.content();
        let newer = self.verify(document, Place::Control, seen.generation).await?;
        let content = newer.keyring.content();
        if content.tenant != seen.tenant {
            return Err(KeyringFault::Foreign {
                place: Place::Control,
            });
        }
        if content.generation > seen.generation {
            return Ok(Some(newer));
        }
        match content == seen {
            true => Ok(None),
            false => Err(KeyringFault::Fork {
                generation: content.generation,
            }),
        }
    }

    /// Puts back the control bucket's copy when it has gone.
    async fn restore(&self, seen: &Loaded) -> Result<(), KeyringFault> {
        tracing::warn!(
            generation = seen.keyring.content().generation,
            "the control bucket holds no keyring: it is written again from here"
        );
        match self.control.write(seen.document.clone(), None).await? {
            true => Ok(()),
            // Someone was faster; the next look decides.
            false => Err(KeyringFault::Contended),
        }
    }

    /// Verifies a document.
    pub(super) async fn verify(
        &self,
        document: Bytes,
        place: Place,
        generation_min: u64,
    ) -> Result<Loaded, KeyringFault> {
        let wrong = |error| KeyringFault::Document { place, error };
        let unverified = UnverifiedKeyring::parse(&document).map_err(wrong)?;
        let found = unverified.generation();
        // A provider of the other kind is told apart before it is asked to unwrap anything.
        let schemes = unverified.keks().iter().map(|kek| kek.scheme);
        self.check_schemes(schemes)?;
        let record = unverified
            .mac_record()
            .cloned()
            .ok_or(wrong(KeyringError::Inconsistent))?;
        let mac_key = self.mac_key(record).await?;
        let keyring =
            unverified
                .verify(&mac_key.to_secret(), generation_min)
                .map_err(|error| match error {
                    KeyringError::Rollback => KeyringFault::Rollback {
                        place,
                        found,
                        seen: generation_min,
                    },
                    KeyringError::Malformed
                    | KeyringError::UnknownVersion
                    | KeyringError::Inconsistent
                    | KeyringError::NotAuthentic => wrong(error),
                })?;
        self.check_schemes(wrap_schemes(keyring.content()))?;
        Ok(Loaded { keyring, document })
    }

    /// The MAC key, from the cache or the key provider.
    async fn mac_key(&self, record: sceau_envelope::KeyRecord) -> Result<Arc<LockedKey>, KeyringFault> {
        let krid = record.krid;
        let unwrap = unwrap_record(
            Arc::clone(self.provider),
            record,
            Reason::Keyring,
            Arc::clone(self.metrics),
        );
        self.cache.key(krid, unwrap).await.map_err(|error| match error {
            EpochKeyError::Provider(error) => KeyringFault::Provider(error),
            EpochKeyError::Busy
            | EpochKeyError::CheckFailed
            | EpochKeyError::NotNow
            | EpochKeyError::NotUsable(_)
            | EpochKeyError::NoWrap
            | EpochKeyError::Unknown
            | EpochKeyError::WrongBucket
            | EpochKeyError::WrongPurpose => KeyringFault::Record { krid, error },
        })
    }

    /// The MAC key of a keyring that was verified before.
    pub(super) async fn mac_key_of(&self, keyring: &Keyring) -> Result<Arc<LockedKey>, KeyringFault> {
        let record = keyring.content().mac_record().cloned();
        let missing = KeyringFault::Document {
            place: Place::Control,
            error: KeyringError::Inconsistent,
        };
        self.mac_key(record.ok_or(missing)?).await
    }

    /// Keys for development and production keys never mix.
    fn check_schemes(&self, mut schemes: impl Iterator<Item = WrapScheme>) -> Result<(), KeyringFault> {
        let is_production = self.provider.info().is_production_grade;
        let is_foreign = |scheme: WrapScheme| (scheme == WrapScheme::InsecureLocal) == is_production;
        match schemes.any(is_foreign) {
            true => Err(KeyringFault::ProviderMix { is_production }),
            false => Ok(()),
        }
    }
}

fn wrap_schemes(content: &KeyringContent) -> impl Iterator<Item = WrapScheme> {
    content
        .records
        .iter()
        .flat_map(|record| record.wraps.iter().map(|wrap| wrap.scheme))
}

/// Whether the key provider in use has no wrap of the MAC key.
fn is_without_wrap(fault: &KeyringFault) -> bool {
    matches!(
        fault,
        KeyringFault::Record {
            error: EpochKeyError::NoWrap,
            ..
        }
    )
}
