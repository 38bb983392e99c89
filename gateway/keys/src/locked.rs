//! Keys held for longer than one request, in memory that is never written to swap or to a core file.
//!
//! What lives here: [`LockedKey`] and the one arena of the process. What must not: any cache or
//! life-time rule. Invariant: a slot belongs to one key, is wiped before it is free again, and is read
//! by nobody but its key.
//!
//! The arena is mapped once, at the first use: locked into memory (`mlock`), left out of core files
//! (`MADV_DONTDUMP`) and absent from children of a fork (`MADV_DONTFORK`). `memfd_secret`, which would keep
//! the kernel itself out, has no safe interface in a library that is looked after.

use std::sync::{OnceLock, PoisonError, RwLock};

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

use crate::secret::{KEY_BYTES, SecretKey};

/// Keys that the arena holds; further ones are held outside of it and say so. Within the 8 MiB that a
/// process may usually lock.
const SLOTS: usize = 8192;

/// Length of the arena in bytes: 256 KiB.
const ARENA_BYTES: usize = SLOTS * KEY_BYTES;

struct Arena {
    pages: MmapMut,
    /// Slots without a key, the next one to use last.
    free: Vec<usize>,
    is_locked: bool,
}

impl Arena {
    fn map() -> Option<RwLock<Self>> {
        let pages = MmapMut::map_anon(ARENA_BYTES).ok()?;
        let is_locked = pages.lock().is_ok();
        // Kernels without one of these still keep the pages out of swap, which counts most.
        let _ = pages.advise(Advice::DontDump);
        let _ = pages.advise(Advice::DontFork);
        Some(RwLock::new(Self {
            pages,
            free: (0..SLOTS).rev().collect(),
            is_locked,
        }))
    }

    fn slot(&self, slot: usize) -> &[u8] {
        let start = slot.saturating_mul(KEY_BYTES);
        let end = start.saturating_add(KEY_BYTES);
        self.pages.get(start..end).unwrap_or_default()
    }

    fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        let start = slot.saturating_mul(KEY_BYTES);
        let end = start.saturating_add(KEY_BYTES);
        self.pages.get_mut(start..end).unwrap_or_default()
    }
}

/// The arena of this process; nothing where no memory can be mapped.
fn arena() -> Option<&'static RwLock<Arena>> {
    static ARENA: OnceLock<Option<RwLock<Arena>>> = OnceLock::new();
    ARENA.get_or_init(Arena::map).as_ref()
}

/// A key kept for longer than one request.
///
/// Where the process may not lock memory (a `memlock` limit of zero), or the arena is full, the key is
/// still held and wiped, and [`LockedKey::is_locked`] tells, so that the caller can warn.
pub struct LockedKey(Place);

enum Place {
    Arena(usize),
    Heap(SecretKey),
}

impl LockedKey {
    /// Moves `key` into the arena; the source is wiped.
    pub fn new(key: SecretKey) -> Self {
        let Some(arena) = arena() else {
            return Self(Place::Heap(key));
        };
        // A panic elsewhere leaves no half-made state: every change is one slot.
        let mut arena = arena.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = arena.free.pop() else {
            return Self(Place::Heap(key));
        };
        for (to, from) in arena.slot_mut(slot).iter_mut().zip(key.expose()) {
            *to = *from;
        }
        Self(Place::Arena(slot))
    }

    /// Whether the operating system agreed to keep the key out of swap.
    pub fn is_locked(&self) -> bool {
        match &self.0 {
            Place::Arena(_) => {
                arena().is_some_and(|arena| arena.read().unwrap_or_else(PoisonError::into_inner).is_locked)
            }
            Place::Heap(_) => false,
        }
    }

    /// Gives the key's bytes to `use_key`, a cryptographic call only: no key can be added or wiped
    /// meanwhile. `use_key` must not make or drop a [`LockedKey`].
    pub fn with<T>(&self, use_key: impl FnOnce(&[u8]) -> T) -> T {
        match &self.0 {
            Place::Arena(slot) => match arena() {
                Some(arena) => use_key(arena.read().unwrap_or_else(PoisonError::into_inner).slot(*slot)),
                // Not reached: there was an arena when the key was made.
                None => use_key(&[]),
            },
            Place::Heap(key) => use_key(key.expose()),
        }
    }

    /// A short-lived copy, for an operation that takes a key by value.
    pub fn to_secret(&self) -> SecretKey {
        self.with(|bytes| {
            SecretKey::written_by(|copy| {
                for (to, from) in copy.iter_mut().zip(bytes) {
                    *to = *from;
                }
            })
        })
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        let Place::Arena(slot) = &self.0 else { return };
        if let Some(arena) = arena() {
            let mut arena = arena.write().unwrap_or_else(PoisonError::into_inner);
            arena.slot_mut(*slot).zeroize();
            arena.free.push(*slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The tests of the process's one arena take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn keys_come_back_and_a_slot_is_wiped_before_it_is_used_again() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let one = LockedKey::new(SecretKey::new([5; 32]));
        let two = LockedKey::new(SecretKey::new([6; 32]));
        one.with(|bytes| assert_eq!(bytes, [5; 32]));
        assert!(two.to_secret().ct_eq(&SecretKey::new([6; 32])));
        let Place::Arena(slot) = one.0 else {
            panic!("not in the arena")
        };
        drop(one);
        let kept = arena().unwrap().read().unwrap();
        assert_eq!(kept.slot(slot), [0; 32]);
        assert!(kept.free.contains(&slot));
    }

    #[test]
    fn a_full_arena_holds_keys_outside_and_says_so() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = (0..SLOTS + 1)
            .map(|_| LockedKey::new(SecretKey::new([7; 32])))
            .collect();
        let outside = all.iter().find(|key| matches!(key.0, Place::Heap(_))).unwrap();
        assert!(!outside.is_locked());
        outside.with(|bytes| assert_eq!(bytes, [7; 32]));
    }
}
