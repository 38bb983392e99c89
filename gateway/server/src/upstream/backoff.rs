//! When a request is sent again.
//!
//! What lives here: the count, the pauses and the total time of repeated sendings. What must not:
//! the question whether repeating is safe (the sender answers it). Invariant: attempts, pauses and
//! their sum are bounded.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

/// Most sendings of one request, the first included.
const ATTEMPTS_MAX: u32 = 3;
/// Pause before the second sending, doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause; also the most of a `Retry-After` that is honoured.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// No sending starts later than this after the first: clients have timers of their own.
const TOTAL_MAX: Duration = Duration::from_secs(10);

/// The repetitions of one request.
pub(super) struct Attempts {
    made: u32,
    started: Instant,
}

impl Attempts {
    /// Counts the first sending.
    pub(super) fn first() -> Self {
        Self {
            made: 1,
            started: Instant::now(),
        }
    }

    /// Waits for the next turn; false when there is none.
    pub(super) async fn next(&mut self, answer: Option<&HeaderMap>) -> bool {
        if self.made >= ATTEMPTS_MAX {
            return false;
        }
        let pause = self.pause(asked_for(answer));
        if self.started.elapsed().saturating_add(pause) > TOTAL_MAX {
            return false;
        }
        self.made = self.made.saturating_add(1);
        tokio::time::sleep(pause).await;
        true
    }

    /// Between half and the whole of the exponential pause, so that many senders spread out.
    fn pause(&self, asked_for: Duration) -> Duration {
        let doubled =
            PAUSE_FIRST.saturating_mul(1_u32.checked_shl(self.made.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(PAUSE_MAX).checked_div(2).unwrap_or_default();
        let random = u64::from(getrandom::u32().unwrap_or(u32::MAX));
        let jitter_nanos = (half.as_nanos() as u64).saturating_mul(random) >> 32;
        half.saturating_add(Duration::from_nanos(jitter_nanos))
            .max(asked_for)
    }
}

fn asked_for(answer: Option<&HeaderMap>) -> Duration {
    let seconds = answer
        .and_then(|headers| headers.get(RETRY_AFTER))
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<u64>().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs).min(PAUSE_MAX)
}
