//! How many stored objects were refused lately.
//!
//! What lives here: [`RecentFailures`]. What must not: metrics, logging. Invariant: it remembers no more
//! than [`INTEGRITY_ALARM_FAILURES`] moments.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of stored objects within [`INTEGRITY_ALARM_WINDOW`] that raise the alarm. One damaged object that
/// an SDK asks for a few times does not; somebody who tries forgeries does.
pub const INTEGRITY_ALARM_FAILURES: usize = 10;

/// Over how long refusals are counted for the alarm, and how long it stays raised after the last of them.
pub const INTEGRITY_ALARM_WINDOW: Duration = Duration::from_secs(60);

/// The moments of the last refusals.
#[derive(Default)]
pub struct RecentFailures(Mutex<VecDeque<Instant>>);

impl RecentFailures {
    /// Notes one; true if this one raised the alarm.
    pub fn note(&self, now: Instant) -> bool {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_raised = is_full(&moments, now);
        moments.push_back(now);
        if moments.len() > INTEGRITY_ALARM_FAILURES {
            moments.pop_front();
        }
        !was_raised && is_full(&moments, now)
    }

    /// Whether the alarm is raised.
    pub fn is_raised(&self, now: Instant) -> bool {
        is_full(&self.0.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

fn is_full(moments: &VecDeque<Instant>, now: Instant) -> bool {
    let is_recent = |at: &Instant| now.saturating_duration_since(*at) < INTEGRITY_ALARM_WINDOW;
    moments.len() >= INTEGRITY_ALARM_FAILURES && moments.front().is_some_and(is_recent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_within_the_window_raise_the_alarm_once_and_few_never_do() {
        let failures = RecentFailures::default();
        let begin = Instant::now();
        let step = INTEGRITY_ALARM_WINDOW / 20;
        let raised: Vec<bool> = (0..12).map(|index| failures.note(begin + step * index)).collect();
        let expected: Vec<bool> = (0..12).map(|index| index == 9).collect();
        assert_eq!(raised, expected);
        let last = begin + step * 11;
        assert!(failures.is_raised(last));
        assert!(!failures.is_raised(last + INTEGRITY_ALARM_WINDOW));
        let slow = RecentFailures::default();
        let step = INTEGRITY_ALARM_WINDOW / 8;
        assert!((0..50).all(|index| !slow.note(begin + step * index)));
    }
}
