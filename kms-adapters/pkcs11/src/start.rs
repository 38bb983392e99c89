//! Starting helpers again: how long each start may take, and how long to pause between them.
//!
//! What lives here: [`Starter`] and the back-off. What must not: requests. Invariant: a helper of another
//! token than the first one's is never handed out.

use std::sync::Arc;
use std::time::Duration;

use sceau_kms::KeyError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{PinSource, Pkcs11Config, misconfigured};
use crate::frame::{Report, Task};
use crate::link::{Link, START_LIMIT};

/// Delay before the second restart in a row; the first is immediate.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// Longest delay between restarts.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Least time that a restart gets: a module that hangs in it costs no more than this the first time.
const RESTART_LEAST: Duration = Duration::from_secs(5);
/// A restart gets so many times what the last good start took.
const RESTART_FACTOR: u32 = 4;

/// What it takes to start a helper like the first one.
pub(crate) struct Starter {
    facts: Arc<Facts>,
    /// How long the last good start took.
    last_good: Duration,
    /// Starts in a row that did not end in their time.
    overdue: u32,
}

struct Facts {
    config: Pkcs11Config,
    module: String,
    /// The token of the first helper; a later one must find the same.
    serial: String,
}

/// A start under way; ends with its helper when it is dropped.
pub(crate) struct Starting {
    task: JoinHandle<Result<Link, KeyError>>,
    begun: Instant,
    limit: Duration,
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Starter {
    pub(crate) fn new(config: Pkcs11Config, module: String, serial: String, took: Duration) -> Self {
        Self {
            facts: Arc::new(Facts {
                config,
                module,
                serial,
            }),
            last_good: took,
            overdue: 0,
        }
    }

    /// Requests that the helper works on at a time.
    pub(crate) fn workers(&self) -> usize {
        self.facts.config.workers
    }

    pub(crate) fn pin(&self) -> &PinSource {
        &self.facts.config.pin
    }

    /// How long the next start may take: by the last good one, and longer after one that was overdue, in
    /// case the device became slow and does not hang.
    fn limit(&self) -> Duration {
        let usual = self.last_good.saturating_mul(RESTART_FACTOR);
        let usual = usual.clamp(RESTART_LEAST, START_LIMIT);
        usual
            .saturating_mul(2_u32.saturating_pow(self.overdue))
            .min(START_LIMIT)
    }

    /// Begins a start in the background.
    pub(crate) fn begin(&self) -> Starting {
        let (facts, limit) = (Arc::clone(&self.facts), self.limit());
        let start = async move {
            let (link, body) = Link::start(&facts.config, &facts.module, Task::Serve, limit).await?;
            let report: Report = serde_json::from_slice(&body).map_err(|_| KeyError::Internal)?;
            if report.token_serial == facts.serial {
                return Ok(link);
            }
            link.end().await;
            Err(misconfigured("another token answers than at the start"))
        };
        Starting {
            task: tokio::spawn(start),
            begun: Instant::now(),
            limit,
        }
    }

    /// Waits for a start. Cancel-safe.
    pub(crate) async fn finish(&mut self, starting: &mut Starting) -> Result<Link, KeyError> {
        let outcome = (&mut starting.task).await.unwrap_or(Err(KeyError::Internal));
        let took = starting.begun.elapsed();
        match &outcome {
            Ok(_) => (self.last_good, self.overdue) = (took, 0),
            Err(_) if took >= starting.limit => self.overdue = self.overdue.saturating_add(1),
            Err(_) => self.overdue = 0,
        }
        outcome
    }
}

/// Delay before the next start after `failures` in a row.
pub(crate) fn back_off(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 2_u32.saturating_pow(doublings);
            BACK_OFF_FIRST.saturating_mul(factor).min(BACK_OFF_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HelperCommand, TokenSelection};

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer() {
        let millis = |failures| back_off(failures).as_millis();
        assert_eq!([0, 1, 2, 3].map(millis), [0, 100, 200, 400]);
        assert_eq!(millis(40), 30_000);
    }

    #[test]
    fn a_start_that_hangs_costs_five_seconds_unless_starts_are_slow() {
        let helper = HelperCommand {
            program: "/helper".into(),
            args: Vec::new(),
        };
        let pin = PinSource::File("/pin".into());
        let config = Pkcs11Config::new(
            "/module".into(),
            TokenSelection::default(),
            "kek".to_owned(),
            pin,
            helper,
        );
        let mut starter = Starter::new(config, String::new(), String::new(), Duration::from_millis(8));
        let seconds = |starter: &Starter| starter.limit().as_secs();
        assert_eq!(seconds(&starter), 5);
        starter.overdue = 2;
        assert_eq!(seconds(&starter), 20);
        starter.overdue = 40;
        assert_eq!(seconds(&starter), 30);
        (starter.overdue, starter.last_good) = (0, Duration::from_secs(4));
        assert_eq!(seconds(&starter), 16);
    }
}
