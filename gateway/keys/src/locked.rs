//! A cached key in memory that is never written to swap.
//!
//! What lives here: [`LockedKey`]. What must not: any cache or life-time rule. Invariant: the page
//! belongs to this key alone, so unlocking it cannot unlock a neighbour's.

use region::LockGuard;
use zeroize::Zeroize;

use crate::secret::{KEY_BYTES, SecretKey};

/// One memory page. Locking works on whole pages, and `munlock` does not count, so two keys must
/// not share one.
#[repr(align(4096))]
struct Page([u8; 4096]);

/// A key kept for longer than one request, in a page of its own locked into memory.
///
/// Where the process may not lock memory (a `memlock` limit of zero), the key is still held and
/// wiped, and [`LockedKey::is_locked`] tells, so that the caller can warn.
pub struct LockedKey {
    // Field order is drop order: the wipe in `Drop` runs first, then the page is unlocked, then freed.
    guard: Option<LockGuard>,
    page: Box<Page>,
}

impl LockedKey {
    /// Moves `key` into a locked page; the source is wiped.
    pub fn new(key: SecretKey) -> Self {
        let mut page = Box::new(Page([0; 4096]));
        let guard = region::lock(page.0.as_ptr(), page.0.len()).ok();
        for (to, from) in page.0.iter_mut().zip(key.expose()) {
            *to = *from;
        }
        Self { guard, page }
    }

    /// Whether the operating system agreed to keep the page out of swap.
    pub fn is_locked(&self) -> bool {
        self.guard.is_some()
    }

    /// The key's bytes, for a cryptographic call only.
    pub fn expose(&self) -> &[u8] {
        self.page.0.get(..KEY_BYTES).unwrap_or_default()
    }

    /// A short-lived copy, for an operation that takes a key by value.
    pub fn to_secret(&self) -> SecretKey {
        let mut bytes = [0; KEY_BYTES];
        for (to, from) in bytes.iter_mut().zip(&self.page.0) {
            *to = *from;
        }
        let key = SecretKey::new(bytes);
        bytes.zeroize();
        key
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_back_and_the_page_is_its_own() {
        let one = LockedKey::new(SecretKey::new([5; 32]));
        let two = LockedKey::new(SecretKey::new([6; 32]));
        assert_eq!(one.expose(), [5; 32]);
        assert!(two.to_secret().ct_eq(&SecretKey::new([6; 32])));
        assert_eq!(one.page.0.as_ptr().addr() % 4096, 0);
        assert_ne!(
            one.page.0.as_ptr().addr() / 4096,
            two.page.0.as_ptr().addr() / 4096
        );
    }
}
