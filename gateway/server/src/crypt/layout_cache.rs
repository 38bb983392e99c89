//! Layouts of multipart objects that were read lately.
//!
//! What lives here: a bounded cache from (bucket, key) to what a read needs besides the header. What
//! must not: keys, plaintext. Invariant: an entry is used only with the very header value it was
//! learnt with, and the header itself is opened again for every read, so that the cache can bypass
//! neither the key's life time nor the bucket's policy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sceau_envelope::Manifest;

use crate::limits;

/// What was learnt from an object's trailer.
pub struct LearntLayout {
    /// The sealed header value that the trailer belongs to.
    pub header_value: String,
    /// Length of the whole stored object in bytes.
    pub stored_len: u64,
    /// The verified manifest.
    pub manifest: Manifest,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<(String, String), (u64, Arc<LearntLayout>)>,
    parts: usize,
    clock: u64,
}

/// The cache. One short lock; nothing waits under it.
#[derive(Default)]
pub struct LayoutCache(Mutex<Entries>);

impl LayoutCache {
    /// What is known about an object.
    pub fn find(&self, bucket: &str, key: &str) -> Option<Arc<LearntLayout>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock = entries.clock.saturating_add(1);
        let now = entries.clock;
        let (used, layout) = entries.by_name.get_mut(&(bucket.to_owned(), key.to_owned()))?;
        *used = now;
        Some(Arc::clone(layout))
    }

    /// Forgets an object whose layout turned out to be another.
    pub fn forget(&self, bucket: &str, key: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, old)) = entries.by_name.remove(&(bucket.to_owned(), key.to_owned())) {
            entries.parts = entries.parts.saturating_sub(old.manifest.layout().parts().len());
        }
    }

    /// Forgets everything.
    pub fn drop_all(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Entries::default();
    }

    /// Remembers what a trailer said.
    pub fn learn(&self, bucket: &str, key: &str, layout: Arc<LearntLayout>) {
        let parts = layout.manifest.layout().parts().len();
        if parts > limits::LAYOUT_CACHE_PARTS_MAX {
            return;
        }
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock = entries.clock.saturating_add(1);
        let now = entries.clock;
        let name = (bucket.to_owned(), key.to_owned());
        if let Some((_, old)) = entries.by_name.insert(name, (now, layout)) {
            entries.parts = entries.parts.saturating_sub(old.manifest.layout().parts().len());
        }
        entries.parts = entries.parts.saturating_add(parts);
        entries.shrink();
    }
}

impl Entries {
    fn shrink(&mut self) {
        while self.by_name.len() > limits::LAYOUT_CACHE_ENTRIES_MAX
            || self.parts > limits::LAYOUT_CACHE_PARTS_MAX
        {
            let oldest = self
                .by_name
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(name, _)| name.clone());
            let Some((_, layout)) = oldest.and_then(|name| self.by_name.remove(&name)) else {
                return;
            };
            self.parts = self.parts.saturating_sub(layout.manifest.layout().parts().len());
        }
    }
}
