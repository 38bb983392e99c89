//! Whether a member of a group is asked in its turn.
//!
//! What lives here: [`Breaker`]. What must not: requests, canaries. Invariant: once open, it closes by a success
//! only: by the canary's, or by a request's where no other member was left to ask.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Requests in a row that a second member answered first, from which a member is asked last: it answers, so it
/// did not fail, but every request to it costs the time until the second one is asked.
const LATE_MAX: u32 = 3;

/// Open: the member is asked last. One failure is enough, because a member that is away would cost every
/// request some of its time.
pub(crate) struct Breaker {
    is_open: AtomicBool,
    /// Late answers since the last that was in time.
    late: AtomicU32,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            is_open: AtomicBool::new(false),
            late: AtomicU32::new(0),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) {
        self.open();
    }

    pub(crate) fn succeeded(&self) {
        self.close();
    }

    /// Another member, asked later, answered first.
    pub(crate) fn was_late(&self) {
        if self.late.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= LATE_MAX {
            self.open();
        }
    }

    pub(crate) fn open(&self) {
        if !self.is_open.swap(true, Ordering::Relaxed) {
            tracing::warn!("an HSM of the group is asked last until its canary comes back");
        }
    }

    pub(crate) fn close(&self) {
        self.late.store(0, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_opens_it_and_late_answers_do_in_a_row_only() {
        let breaker = Breaker::new();
        breaker.was_late();
        breaker.was_late();
        breaker.succeeded();
        breaker.was_late();
        breaker.was_late();
        assert!(!breaker.is_open());
        breaker.was_late();
        assert!(breaker.is_open());
        breaker.close();
        assert!(!breaker.is_open());
        breaker.failed();
        assert!(breaker.is_open());
    }
}
