//! Logs and metrics.
//!
//! What lives here: the set-up of tracing and the metric handles. What must not: decisions about
//! what is worth logging; the phase that owns an event reports it. Invariant: no label takes a
//! value chosen by a client (no key, bucket or principal).

mod labels;
mod metrics;
mod recent;

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use labels::{CacheOutcome, Direction, DropCause, Phase, ReloadSource};
pub use metrics::Metrics;
pub use recent::{INTEGRITY_ALARM_FAILURES, INTEGRITY_ALARM_WINDOW};

use crate::config::{LogConfig, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryError {
    /// Logging was set up before in this process.
    AlreadySet,
    /// The level is neither a level nor a filter.
    Filter,
}

impl fmt::Display for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadySet => "logging is already set up in this process",
            Self::Filter => "the log level is neither a level nor a filter",
        })
    }
}

impl std::error::Error for TelemetryError {}

/// Sends log lines to standard error from now on.
///
/// # Errors
/// [`TelemetryError`] when the filter is wrong or logging was set up before.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = check_filter(&config.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Told on standard error too, by a macro that panics when that is what cannot be written.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let outcome = match config.format {
        LogFormat::Text => {
            let is_coloured = std::io::stderr().is_terminal() && !crate::config::is_colour_unwanted();
            builder.with_ansi(is_coloured).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    outcome.map_err(|_| TelemetryError::AlreadySet)
}

/// Parses a level or filter.
///
/// # Errors
/// [`TelemetryError::Filter`]: also for a bare word that is not a level, which the filter syntax
/// would read as the name of a module and so switch all other output off.
pub fn check_filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let is_plain = |part: &str| {
        !part.trim().is_empty() && (part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok())
    };
    if !level.split(',').all(is_plain) {
        return Err(TelemetryError::Filter);
    }
    EnvFilter::try_new(level).map_err(|_| TelemetryError::Filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_and_filters_are_accepted() {
        for right in ["info", "DEBUG", "info,sceau_server=debug", "off"] {
            assert!(check_filter(right).is_ok(), "{right}");
        }
        for wrong in ["", "verbose", "info,chatty", "info,sceau_server=loud"] {
            assert!(check_filter(wrong).is_err(), "{wrong}");
        }
    }
}
