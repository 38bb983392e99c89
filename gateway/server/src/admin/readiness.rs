//! Whether this gateway should receive traffic.
//!
//! What lives here: the state of each component and the rule that combines them. What must not:
//! probes; whoever owns a component reports it. Invariant: a gateway that was ready stays ready for
//! the grace time when a component fails, because if every replica turned unready the moment the
//! HSM blinked, clients would see refused connections instead of an S3 error that they retry.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something that must work before requests can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The key provider answers.
    Keys,
    /// A verified keyring is loaded.
    Keyring,
    /// The store answers.
    Store,
}

impl Component {
    const ALL: [Self; 3] = [Self::Keys, Self::Keyring, Self::Store];

    fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Keyring => "keyring",
            Self::Store => "store",
        }
    }
}

/// How a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It does not work, and why, in words without secrets.
    Failing(String),
    /// It works.
    Ready,
    /// Nothing is known yet.
    Starting,
}

/// The state of all components, shared by whoever reports and whoever asks.
pub struct Readiness {
    grace: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    components: [Entry; 3],
    is_draining: bool,
}

struct Entry {
    component: Component,
    state: State,
    /// Since when it has been failing; kept while the reason changes.
    failing_since: Option<Instant>,
    /// Whether it ever worked: the grace time is for failures after that.
    was_ready: bool,
}

impl Readiness {
    /// All components are starting. After a component worked once, its failure turns the gateway
    /// unready only when it lasts longer than `grace`.
    pub fn new(grace: Duration) -> Self {
        let components = Component::ALL.map(|component| Entry {
            component,
            state: State::Starting,
            failing_since: None,
            was_ready: false,
        });
        Self {
            grace,
            inner: Mutex::new(Inner {
                components,
                is_draining: false,
            }),
        }
    }

    /// Reports the state of `component`.
    pub fn set(&self, component: Component, state: State) {
        self.set_at(component, state, Instant::now());
    }

    /// The gateway is about to stop: it is unready from now on, whatever its components say.
    pub fn drain(&self) {
        self.lock().is_draining = true;
    }

    /// Whether the gateway should receive traffic.
    pub fn is_ready(&self) -> bool {
        self.is_ready_at(Instant::now())
    }

    /// The answer in words; with `is_verbose`, one line for each component.
    pub fn report(&self, is_verbose: bool) -> String {
        let mut text = String::from(if self.is_ready() { "ready\n" } else { "not ready\n" });
        if is_verbose {
            let inner = self.lock();
            for entry in &inner.components {
                // Writing to a string cannot fail.
                let _ = match &entry.state {
                    State::Failing(why) => writeln!(text, "{}: failing: {why}", entry.component.name()),
                    State::Ready => writeln!(text, "{}: ready", entry.component.name()),
                    State::Starting => writeln!(text, "{}: starting", entry.component.name()),
                };
            }
            if inner.is_draining {
                text.push_str("draining\n");
            }
        }
        text
    }

    fn set_at(&self, component: Component, state: State, now: Instant) {
        let mut inner = self.lock();
        let Some(entry) = inner
            .components
            .iter_mut()
            .find(|entry| entry.component == component)
        else {
            return;
        };
        match &state {
            State::Failing(_) => {
                entry.failing_since.get_or_insert(now);
            }
            State::Ready => {
                entry.failing_since = None;
                entry.was_ready = true;
            }
            State::Starting => entry.failing_since = None,
        }
        entry.state = state;
    }

    fn is_ready_at(&self, now: Instant) -> bool {
        let inner = self.lock();
        let is_up = |entry: &Entry| match entry.state {
            State::Ready => true,
            State::Starting => false,
            State::Failing(_) => {
                let in_grace = entry
                    .failing_since
                    .is_some_and(|since| now.saturating_duration_since(since) < self.grace);
                entry.was_ready && in_grace
            }
        };
        !inner.is_draining && inner.components.iter().all(is_up)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is one assignment, so a panic elsewhere leaves no half-made state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing() -> State {
        State::Failing("gone".to_owned())
    }

    fn all_ready(readiness: &Readiness, now: Instant) {
        Component::ALL
            .iter()
            .for_each(|component| readiness.set_at(*component, State::Ready, now));
    }

    #[test]
    fn a_failure_is_borne_for_the_grace_time_only() {
        let readiness = Readiness::new(Duration::from_secs(30));
        let start = Instant::now();
        assert!(!readiness.is_ready_at(start), "nothing is known yet");
        all_ready(&readiness, start);
        assert!(readiness.is_ready_at(start));
        readiness.set_at(Component::Keys, failing(), start);
        readiness.set_at(Component::Keys, failing(), start + Duration::from_secs(20));
        assert!(readiness.is_ready_at(start + Duration::from_secs(29)));
        assert!(
            !readiness.is_ready_at(start + Duration::from_secs(30)),
            "the first failure counts"
        );
        readiness.set_at(Component::Keys, State::Ready, start + Duration::from_secs(40));
        assert!(readiness.is_ready_at(start + Duration::from_secs(40)));
    }

    #[test]
    fn what_never_worked_gets_no_grace_and_draining_wins() {
        let readiness = Readiness::new(Duration::from_secs(30));
        let now = Instant::now();
        readiness.set_at(Component::Keys, State::Ready, now);
        readiness.set_at(Component::Keyring, State::Ready, now);
        readiness.set_at(Component::Store, failing(), now);
        assert!(!readiness.is_ready_at(now));
        readiness.set_at(Component::Store, State::Ready, now);
        assert!(readiness.is_ready_at(now));
        readiness.drain();
        assert!(!readiness.is_ready_at(now));
        assert!(readiness.report(true).contains("draining"));
    }
}
