//! Opened states of multipart uploads.
//!
//! What lives here: a bounded, ageing cache. What must not: reading or writing state objects. Invariant:
//! no entry is used for longer than [`limits::UPLOAD_CACHE_AGE_MAX`], so that a key that was disabled
//! stops working, and none that was opened before [`UploadCache::drop_all`] is kept after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sceau_envelope::UploadState;

use crate::limits;

/// Names one upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadName {
    /// Bucket name in the store.
    pub bucket: String,
    /// Object key.
    pub key: String,
    /// The store's upload id.
    pub upload_id: String,
}

/// An upload whose state was opened.
pub struct OpenUpload {
    /// The state.
    pub state: UploadState,
    /// Name of the state object in the control bucket; stashed parts are beside it.
    pub state_name: String,
}

/// The cache.
#[derive(Default)]
pub struct UploadCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_name: HashMap<UploadName, (Instant, Arc<OpenUpload>)>,
    drops: u64,
}

/// A moment between two drops: what was opened before a drop is not kept after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opening(u64);

impl UploadCache {
    /// To be taken before the keys that open a state are asked for.
    pub fn opening(&self) -> Opening {
        Opening(self.lock().drops)
    }

    /// The opened state, if it is fresh.
    pub fn find(&self, name: &UploadName) -> Option<Arc<OpenUpload>> {
        let entries = self.lock();
        let (opened, upload) = entries.by_name.get(name)?;
        is_fresh(*opened).then(|| Arc::clone(upload))
    }

    /// Keeps a state that was opened since `opening`.
    pub fn keep(&self, opening: Opening, name: UploadName, upload: Arc<OpenUpload>) {
        let mut entries = self.lock();
        if opening.0 != entries.drops {
            return;
        }
        let by_name = &mut entries.by_name;
        by_name.retain(|_, (opened, _)| is_fresh(*opened));
        if by_name.len() >= limits::UPLOAD_CACHE_ENTRIES_MAX {
            let oldest = by_name
                .iter()
                .min_by_key(|(_, (opened, _))| *opened)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| by_name.remove(&name));
        }
        by_name.insert(name, (Instant::now(), upload));
    }

    /// Forgets an upload that ended.
    pub fn forget(&self, name: &UploadName) {
        self.lock().by_name.remove(name);
    }

    /// Wipes what is no longer used.
    pub fn wipe_expired(&self) {
        self.lock().by_name.retain(|_, (opened, _)| is_fresh(*opened));
    }

    /// Wipes all data keys held here.
    pub fn drop_all(&self) {
        let mut entries = self.lock();
        entries.drops = entries.drops.saturating_add(1);
        entries.by_name.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(opened: Instant) -> bool {
    opened.elapsed() < limits::UPLOAD_CACHE_AGE_MAX
}

#[cfg(test)]
mod tests {
    use sceau_envelope::metadata::Metadata;
    use sceau_envelope::secrets::ObjectSecrets;
    use sceau_keys::{Oid, SecretKey};

    use super::*;

    #[test]
    fn a_state_opened_before_a_drop_is_not_kept_after_it() {
        let cache = UploadCache::default();
        let name = UploadName {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            upload_id: "u".to_owned(),
        };
        let upload = || {
            Arc::new(OpenUpload {
                state: UploadState {
                    secrets: Arc::new(ObjectSecrets::from_parts(SecretKey::new([7; 32]), Oid([1; 16]))),
                    created_ms: 0,
                    metadata: Metadata::default(),
                },
                state_name: String::new(),
            })
        };
        let before = cache.opening();
        cache.keep(before, name.clone(), upload());
        assert!(cache.find(&name).is_some());
        cache.drop_all();
        assert!(cache.find(&name).is_none());
        cache.keep(before, name.clone(), upload());
        assert!(
            cache.find(&name).is_none(),
            "opened with a key from before the drop"
        );
        cache.keep(cache.opening(), name.clone(), upload());
        assert!(cache.find(&name).is_some());
    }
}
