//! Records in the forms of other systems.
//!
//! What lives here: [`cef`] and [`ocsf`], each one line for a record. What must not: reading of files. Invariant:
//! everything is made from a [`Line`] that was read back, so that an export says what is stored.

mod cef;
mod ocsf;

use std::net::SocketAddr;

pub use cef::cef;
pub use ocsf::{OCSF_VERSION, ocsf};

use crate::event::Class;
use crate::line::Line;

/// How grave a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gravity {
    /// As usual.
    Usual,
    /// Refused or failed.
    Refused,
    /// Stored data that did not verify, lost records.
    Alarming,
}

fn gravity(record: &Line<'_>) -> Gravity {
    let is_lost = record.class() == Some(Class::Lost);
    if is_lost || record.error == "ObjectIntegrityFailure" {
        return Gravity::Alarming;
    }
    match (&*record.decision, &*record.outcome) {
        ("denied", _) => Gravity::Refused,
        (_, "" | "ok") => Gravity::Usual,
        _ => Gravity::Refused,
    }
}

/// The operation, or the event where there is none.
fn action<'r>(record: &'r Line<'_>) -> &'r str {
    if record.operation.is_empty() {
        &record.event
    } else {
        &record.operation
    }
}

fn client(record: &Line<'_>) -> Option<SocketAddr> {
    record.client.parse().ok()
}

fn milliseconds(record: &Line<'_>) -> u64 {
    record.time_ns().checked_div(1_000_000).unwrap_or_default()
}
