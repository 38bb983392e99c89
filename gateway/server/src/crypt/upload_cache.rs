//! Opened states of multipart uploads.
//!
//! What lives here: a bounded, ageing cache. What must not: reading or writing state objects. Invariant:
//! no entry outlives [`limits::UPLOAD_CACHE_AGE_MAX`], so that a key that was disabled stops working.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
pub struct UploadCache(Mutex<HashMap<UploadName, (Instant, Arc<OpenUpload>)>>);

impl UploadCache {
    /// The opened state, if it is fresh.
    pub fn find(&self, name: &UploadName) -> Option<Arc<OpenUpload>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (opened, upload) = entries.get(name)?;
        (opened.elapsed() < limits::UPLOAD_CACHE_AGE_MAX).then(|| Arc::clone(upload))
    }

    /// Keeps an opened state.
    pub fn keep(&self, name: UploadName, upload: Arc<OpenUpload>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, (opened, _)| opened.elapsed() < limits::UPLOAD_CACHE_AGE_MAX);
        if entries.len() >= limits::UPLOAD_CACHE_ENTRIES_MAX {
            let oldest = entries
                .iter()
                .min_by_key(|(_, (opened, _))| *opened)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| entries.remove(&name));
        }
        entries.insert(name, (Instant::now(), upload));
    }

    /// Forgets an upload that ended.
    pub fn forget(&self, name: &UploadName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
