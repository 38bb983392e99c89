//! How long the gateway waits for a client that is slow.
//!
//! What lives here: the longest silence and the lowest rate of a body, and a stream that holds answers to
//! them. What must not: what a late client is told. Invariant: only time spent waiting for the client
//! counts, never time in which the gateway or the store had not asked for or made the next byte.
//!
//! Attack considered: a client that holds places with a byte now and then. The silence alone never ends it;
//! the rate does, after one window. A burst in each window that keeps the rate is served: it pays for its
//! place in bandwidth.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a client is granted while a body is under way, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time without any byte.
    pub silence: Duration,
    /// Fewest bytes in [`Self::window`]; zero asks for none.
    pub window_bytes: u64,
    /// The time over which bytes are counted, as far as it was spent waiting for the client.
    pub window: Duration,
}

impl Patience {
    /// A lowest rate in bytes per second over a window.
    pub fn new(silence: Duration, rate: u64, window: Duration) -> Self {
        Self {
            silence,
            window_bytes: rate.saturating_mul(window.as_millis().try_into().unwrap_or(u64::MAX)) / 1000,
            window,
        }
    }
}

impl Default for Patience {
    /// As `[limits]` without any key.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self::new(minute, 1024, minute)
    }
}

/// The account of one direction of one client. Times are arguments.
struct Pace {
    patience: Patience,
    /// Since when nothing moves, if the client is waited for.
    silent_since: Option<Instant>,
    /// Up to when waiting is in [`Self::waited`], if the client is waited for.
    counted: Option<Instant>,
    /// Time waited in this window.
    waited: Duration,
    /// Bytes of this window.
    moved: u64,
}

impl Pace {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            silent_since: None,
            counted: None,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// Bytes came from the client, or went to it.
    fn moved(&mut self, now: Instant, bytes: usize) {
        self.count(now);
        self.counted = None;
        self.silent_since = None;
        self.moved = self.moved.saturating_add(bytes as u64);
    }

    /// The client is waited for: how long at most from now on, or `None` when it is late.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.count(now);
        self.counted = Some(now);
        let silent = now.saturating_duration_since(*self.silent_since.get_or_insert(now));
        let Patience {
            silence,
            window,
            window_bytes,
        } = self.patience;
        if silent >= silence {
            return None;
        }
        if self.waited >= window {
            if self.moved < window_bytes {
                return None;
            }
            self.waited = Duration::ZERO;
            self.moved = 0;
        }
        let window_left = window.saturating_sub(self.waited);
        Some(silence.saturating_sub(silent).min(window_left))
    }

    fn count(&mut self, now: Instant) {
        if let Some(counted) = self.counted {
            let more = now.saturating_duration_since(counted);
            self.waited = self.waited.saturating_add(more);
        }
    }
}

/// Watches one direction of one client.
pub struct Watch {
    pace: Pace,
    /// Made when the client is waited for the first time: most bodies arrive with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// Nothing is waited for yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            pace: Pace::new(patience),
            timer: None,
        }
    }

    /// Bytes came from the client, or went to it.
    pub fn moved(&mut self, bytes: usize) {
        self.pace.moved(Instant::now(), bytes);
    }

    /// To be called whenever the client has nothing, or takes nothing; ready when it is late.
    pub fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let Some(wait) = self.pace.wait(now) else {
                return Poll::Ready(());
            };
            let deadline = now.checked_add(wait).unwrap_or(now);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(context));
        }
    }
}

/// A connection that ends when its peer takes what is written too slowly. Reading is not watched: who
/// reads knows what to expect.
pub struct PatientStream<S> {
    inner: S,
    watch: Watch,
}

impl<S> PatientStream<S> {
    /// Watches the writing to `inner`.
    pub fn new(inner: S, patience: Patience) -> Self {
        Self {
            inner,
            watch: Watch::new(patience),
        }
    }

    fn watched(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.watch.moved(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.watch.poll_late(context));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client takes its answer too slowly",
                )))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends `bytes` each `pause` for ten minutes; when the client was late, if it was.
    fn late_after(bytes: usize, pause: Duration) -> Option<Duration> {
        let mut pace = Pace::new(Patience::new(60 * SECOND, 1024, 60 * SECOND));
        let begun = Instant::now();
        let mut now = begun;
        while now - begun < 600 * SECOND {
            let next = now + pause;
            while now < next {
                match pace.wait(now) {
                    None => return Some(now - begun),
                    Some(wait) => now = next.min(now + wait),
                }
            }
            pace.moved(now, bytes);
        }
        None
    }

    #[test]
    fn silence_ends_a_client() {
        assert_eq!(late_after(1 << 20, 61 * SECOND), Some(60 * SECOND));
        assert_eq!(late_after(1 << 20, 59 * SECOND), None);
    }

    #[test]
    fn a_trickle_ends_a_client_after_one_window_and_a_slow_one_goes_on() {
        for (bytes, pause) in [(1, 30 * SECOND), (1, SECOND), (1023, SECOND), (100, SECOND / 10)] {
            assert_eq!(late_after(bytes, pause), Some(60 * SECOND), "{bytes} {pause:?}");
        }
        // rclone --bwlimit 16k; one burst in a while; just enough.
        for (bytes, pause) in [(16 * 1024, SECOND), (64 * 1024, 50 * SECOND), (1024, SECOND)] {
            assert_eq!(late_after(bytes, pause), None, "{bytes} {pause:?}");
        }
    }

    #[test]
    fn a_good_beginning_buys_one_window_only() {
        let mut pace = Pace::new(Patience::new(60 * SECOND, 1024, 60 * SECOND));
        let begun = Instant::now();
        pace.moved(begun, 1 << 30);
        let mut now = begun;
        let late = loop {
            match pace.wait(now) {
                None => break now - begun,
                Some(wait) => now += wait.min(10 * SECOND),
            }
            pace.moved(now, 1);
        };
        assert_eq!(late, 120 * SECOND);
    }

    #[test]
    fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut pace = Pace::new(Patience::new(60 * SECOND, 1024, 60 * SECOND));
        let begun = Instant::now();
        assert_eq!(pace.wait(begun), Some(60 * SECOND));
        pace.moved(begun + SECOND, 1);
        // The store is slow for an hour.
        let later = begun + 3600 * SECOND;
        assert_eq!(pace.wait(later), Some(59 * SECOND));
        pace.moved(later, 1);
        assert_eq!(pace.wait(later + 3600 * SECOND), Some(59 * SECOND));
    }

    #[test]
    fn no_rate_means_silence_only() {
        let mut pace = Pace::new(Patience::new(60 * SECOND, 0, 60 * SECOND));
        let mut now = Instant::now();
        for _ in 0..100 {
            assert!(pace.wait(now).is_some());
            now += 59 * SECOND;
            assert!(pace.wait(now).is_some());
            pace.moved(now, 1);
        }
    }
}
