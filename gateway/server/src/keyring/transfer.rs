//! The keyring document as a file: out for a backup, in again when both copies are lost.
//!
//! What lives here: [`KeyringService::document`] and [`import`]. What must not: the form of the document.
//! Invariant: a document is put in place only if it is authentic, of the tenant of whatever copies there are,
//! and not older than any of them.

use bytes::Bytes;

use super::copies::LocalCopy;
use super::error::{KeyringFault, Place};
use super::load::Loader;
use super::{KeyringParts, KeyringService, Loaded};
use crate::crypt::key_cache::KeyCache;

/// What became of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Generation of the document.
    pub generation: u64,
    /// Whether the control bucket's copy was written.
    pub control_written: bool,
    /// Whether the local copy was written.
    pub local_written: bool,
}

impl KeyringService {
    /// The verified document in use, as both copies hold it.
    pub fn document(&self) -> Bytes {
        self.loaded().document.clone()
    }
}

/// Puts `document` into the places of `parts` where it is missing or newer.
///
/// The attack considered: someone hands the operator an old keyring, in which a destroyed key is whole or a
/// dropped key-encryption key still counts. It is refused as long as one copy knows better; with none left,
/// only the operator's note of the last generation tells, so `generation_min` takes it.
///
/// # Errors
/// [`KeyringFault::Rollback`] for an older document, [`KeyringFault::Foreign`], [`KeyringFault::Fork`],
/// [`KeyringFault::Document`] for one that does not verify. A copy that is damaged is an error unless
/// `replace_damaged`.
pub async fn import(
    parts: KeyringParts,
    document: Bytes,
    generation_min: u64,
    replace_damaged: bool,
) -> Result<Imported, KeyringFault> {
    let provider = parts.provider();
    let local = LocalCopy::new(parts.options.local);
    let cache = KeyCache::new(parts.options.cache_ttl, 1, std::sync::Arc::clone(&parts.metrics));
    let loader = Loader {
        provider: &provider,
        control: parts.control.as_ref(),
        local: &local,
        cache: &cache,
        metrics: &parts.metrics,
    };
    let incoming = loader
        .verify(document.clone(), Place::Import, generation_min)
        .await?;
    let generation = incoming.keyring.content().generation;
    let mut write_local = true;
    if let Some(held) = local.read()? {
        write_local = is_newer(&loader, &incoming, held, Place::Local, replace_damaged).await?;
    }
    let found = parts.control.read().await?;
    let mut write_control = true;
    if let Some((held, _)) = &found {
        write_control = is_newer(&loader, &incoming, held.clone(), Place::Control, replace_damaged).await?;
    }
    if write_control {
        let etag = found.as_ref().map(|(_, etag)| etag.as_str());
        if !parts.control.write(document.clone(), etag).await? {
            return Err(KeyringFault::Contended);
        }
    }
    if write_local {
        local.write(document).await?;
    }
    Ok(Imported {
        generation,
        control_written: write_control,
        local_written: write_local,
    })
}

/// Whether `incoming` must replace the copy `held`; `false` if they are the same.
async fn is_newer(
    loader: &Loader<'_>,
    incoming: &Loaded,
    held: Bytes,
    place: Place,
    replace_damaged: bool,
) -> Result<bool, KeyringFault> {
    if held == incoming.document {
        return Ok(false);
    }
    let held = match loader.verify(held, place, 0).await {
        Ok(held) => held,
        Err(KeyringFault::Document { .. }) if replace_damaged => return Ok(true),
        Err(fault) => return Err(fault),
    };
    let (new, old) = (incoming.keyring.content(), held.keyring.content());
    if new.tenant != old.tenant {
        return Err(KeyringFault::Foreign { place });
    }
    if new.generation < old.generation {
        return Err(KeyringFault::Rollback {
            place: Place::Import,
            found: new.generation,
            seen: old.generation,
        });
    }
    if new.generation == old.generation {
        return match new == old {
            true => Ok(false),
            false => Err(KeyringFault::Fork {
                generation: new.generation,
            }),
        };
    }
    Ok(true)
}
