//! When requests start.
//!
//! What lives here: the schedule of an open loop. What must not: requests. Invariant: intended start times
//! depend on nothing that the endpoint does, so a slow endpoint is asked as often as a fast one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::content::scatter;
use crate::draw::unit;

/// Most requests that wait for a free worker. Beyond it the load tool is the one that fails.
const BACKLOG_MAX: usize = 1_000_000;
/// Longest sleep of the thread that keeps the schedule, so that it sees the end of the phase.
const NAP: Duration = Duration::from_millis(50);

/// When requests start.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// Each worker starts its next request when the last one is answered.
    Closed,
    /// So many requests each second, whatever the endpoint does.
    Open {
        /// Requests per second.
        rate: f64,
        /// Random gaps, as of many users who know nothing of each other, instead of equal ones.
        is_random: bool,
    },
}

struct Shared {
    waiting: Mutex<VecDeque<Instant>>,
    permits: Semaphore,
    unstarted: AtomicU64,
}

/// The schedule of one phase.
pub struct Pacer(Arc<Shared>);

impl Pacer {
    /// Starts the schedule; a closed loop has none. It ends by itself.
    pub fn start(
        pace: &Pace,
        seed: u64,
        start: Instant,
        deadline: Option<Instant>,
        limit: u64,
        workers: u16,
    ) -> Option<Self> {
        let Pace::Open { rate, is_random } = *pace else {
            return None;
        };
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            permits: Semaphore::new(0),
            unstarted: AtomicU64::new(0),
        });
        let pacer = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut at = start;
            for number in 0..limit {
                let gap = gap(rate, is_random, scatter(seed ^ scatter(number)));
                let Some(next) = at.checked_add(gap) else { break };
                at = next;
                if deadline.is_some_and(|deadline| at >= deadline) || !wait_until(at, &shared) {
                    break;
                }
                shared.release(at);
            }
            shared.end(deadline, workers);
        });
        Some(pacer)
    }

    /// Waits for the next request to be due; gives its intended start. `None` at the end.
    pub async fn ticket(&self) -> Option<Instant> {
        self.0.permits.acquire().await.ok()?.forget();
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    }

    /// Requests that were due and found no free worker until the end.
    pub fn unstarted(&self) -> u64 {
        self.0.unstarted.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn release(&self, at: Instant) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < BACKLOG_MAX {
            waiting.push_back(at);
            self.permits.add_permits(1);
        } else {
            self.unstarted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// With a deadline, what still waits will not be started. Each worker learns it by a ticket without time.
    fn end(&self, deadline: Option<Instant>, workers: u16) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline.is_some() {
            self.unstarted.fetch_add(waiting.len() as u64, Ordering::Relaxed);
            waiting.clear();
        }
        self.permits.add_permits(usize::from(workers));
    }
}

/// Sleeps to a moment; `false` when nobody waits for tickets any more.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread is its own: timers of the runtime are a millisecond late"
)]
fn wait_until(at: Instant, shared: &Arc<Shared>) -> bool {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
        if Arc::strong_count(shared) == 1 {
            return false;
        }
    }
}

fn gap(rate: f64, is_random: bool, drawn: u64) -> Duration {
    let mean = 1.0 / rate;
    Duration::from_secs_f64(match is_random {
        true => -mean * (1.0 - unit(drawn)).ln(),
        false => mean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_gaps_have_the_mean_of_the_rate() {
        let sum: f64 = (0..100_000)
            .map(|n| gap(500.0, true, scatter(n)).as_secs_f64())
            .sum();
        assert!((sum - 200.0).abs() < 4.0, "{sum}");
        assert_eq!(gap(500.0, false, 7), Duration::from_millis(2));
    }

    #[tokio::test]
    async fn intended_starts_do_not_wait_for_anybody() {
        let start = Instant::now();
        let pace = Pace::Open {
            rate: 1000.0,
            is_random: false,
        };
        let pacer = Pacer::start(&pace, 1, start, None, 5, 1).unwrap();
        // Nobody takes a ticket while all of them become due.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for number in 1..=5 {
            assert_eq!(pacer.ticket().await, Some(start + Duration::from_millis(number)));
        }
        assert_eq!(pacer.ticket().await, None);
        assert_eq!(pacer.unstarted(), 0);
    }

    #[tokio::test]
    async fn what_waits_at_the_deadline_is_counted_as_unstarted() {
        let start = Instant::now();
        let pace = Pace::Open {
            rate: 1000.0,
            is_random: false,
        };
        let deadline = start + Duration::from_millis(10);
        let pacer = Pacer::start(&pace, 1, start, Some(deadline), u64::MAX, 2).unwrap();
        while pacer.0.permits.available_permits() < 9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let taken = [pacer.ticket().await, pacer.ticket().await];
        assert!(taken.iter().all(Option::is_none));
        assert_eq!(pacer.unstarted(), 9);
    }
}
