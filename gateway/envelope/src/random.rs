//! Random bytes and their health check.
//!
//! What lives here: the source trait, the operating system's generator, and the check that every
//! output passes. What must not: a generator of our own. Invariant: no output that is all zero, or
//! that begins like the output before it, ever becomes a key, salt or IV.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Outputs shorter than this are not health-checked, because honest short outputs do repeat.
const CHECKED_BYTES_MIN: usize = 12;

/// The generator failed, or its output failed the health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random generator failed or repeats itself")
    }
}

impl std::error::Error for RandomError {}

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills all of `out`.
    ///
    /// # Errors
    /// When the source cannot deliver; `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator. It reseeds after fork and snapshot restore by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(out).map_err(|_| RandomError)
    }
}

/// A source behind the health check.
pub(crate) struct CheckedRandom {
    source: Arc<dyn Random>,
    /// Digest of the first bytes of the last output, never the bytes themselves: they may be a key.
    last: AtomicU64,
}

impl CheckedRandom {
    pub(crate) fn new(source: Arc<dyn Random>) -> Self {
        Self {
            source,
            last: AtomicU64::new(0),
        }
    }

    /// Checks bytes that another generator (inside the engine) drew.
    pub(crate) fn observe(&self, output: &[u8]) -> Result<(), RandomError> {
        let Some(head) = output.get(..CHECKED_BYTES_MIN) else {
            return Ok(());
        };
        if output.iter().all(|byte| *byte == 0) {
            return Err(RandomError);
        }
        let digest = Sha256::digest(head);
        let digest = digest
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // A false alarm needs a 64-bit collision between neighbours.
        if self.last.swap(digest, Ordering::Relaxed) == digest {
            Err(RandomError)
        } else {
            Ok(())
        }
    }
}

impl Random for CheckedRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        let outcome = self.source.fill(out).and_then(|()| self.observe(out));
        if outcome.is_err() {
            out.zeroize();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Random for Constant {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
            out.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn zeros_and_repeats_are_refused() {
        let mut out = [9; 32];
        let zeros = CheckedRandom::new(Arc::new(Constant(0)));
        assert_eq!(zeros.fill(&mut out), Err(RandomError));
        let stuck = CheckedRandom::new(Arc::new(Constant(7)));
        assert_eq!(stuck.fill(&mut out), Ok(()));
        assert_eq!(stuck.fill(&mut out), Err(RandomError));
        assert_eq!(out, [0; 32], "refused output must not be usable");
        // A repeat is seen across lengths too: a stuck generator does not care how much is asked.
        assert_eq!(stuck.fill(&mut [0; 12]), Err(RandomError));
    }

    #[test]
    fn the_system_generator_passes() {
        let random = CheckedRandom::new(Arc::new(OsRandom));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            let mut out = [0; 16];
            random.fill(&mut out).unwrap();
            assert!(seen.insert(out));
        }
    }
}
