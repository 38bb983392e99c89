//! Lanes: threads with a runtime of their own, each for its share of the connections.
//!
//! What lives here: the threads, which lane a connection goes to, which lane the present code runs on. What must
//! not: what connections do. Invariant: everything of one request, its connection to the store included, stays on
//! one thread, so that its buffers stay in one core's cache and nothing has to wake another thread.
//!
//! The keyring, reloads, health and accepting stay on the runtime of the process. A lane must never be blocked: all
//! its connections would wait.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::limits::LANES_MAX;

thread_local! {
    /// Number of this thread's lane; zero outside of lanes.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// How many lanes this machine gets: one for each core.
pub fn count() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(LANES_MAX))
}

/// Number of the present thread's lane, from 1 to [`count`]; zero outside of lanes.
pub fn current() -> usize {
    LANE.get()
}

/// The lanes of one listener; none by default. Dropping them ends their threads, and what still runs there.
#[derive(Default)]
pub struct Lanes(Vec<Lane>);

struct Lane {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    /// The thread waits for its end.
    _stop: oneshot::Sender<()>,
}

/// A place on a lane, for one connection.
pub struct Place {
    /// Where the connection is to run.
    pub handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts `count` lanes.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize) -> io::Result<Self> {
        (1..=count.min(LANES_MAX))
            .map(Lane::start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// A place on the lane with the fewest connections; none without lanes.
    pub fn place(&self) -> Option<Place> {
        let busy = |lane: &&Lane| lane.connections.load(Ordering::Relaxed);
        let lane = self.0.iter().min_by_key(busy)?;
        lane.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            handle: lane.handle.clone(),
            connections: Arc::clone(&lane.connections),
        })
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || {
                LANE.set(number);
                // Ends when the sender is dropped: nothing is ever sent.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            connections: Arc::default(),
            _stop: stop,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_places_come_back() {
        let lanes = Lanes::start(2).unwrap();
        let number = |place: &Place| place.handle.spawn(async { current() });
        let (first, second) = (lanes.place().unwrap(), lanes.place().unwrap());
        let both = [number(&first).await.unwrap(), number(&second).await.unwrap()];
        assert_eq!(both, [1, 2]);
        drop(second);
        assert_eq!(number(&lanes.place().unwrap()).await.unwrap(), 2);
        assert_eq!(current(), 0, "this thread is none");
    }

    #[tokio::test]
    async fn without_lanes_there_is_no_place() {
        assert!(Lanes::start(0).unwrap().place().is_none());
    }
}
