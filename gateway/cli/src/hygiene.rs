//! What the process does to itself before it holds secrets.
//!
//! What lives here: no core dumps, no tracing, enough file descriptors, and what to warn about. What
//! must not: settings of the host. Invariant: called before any key or credential is read.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use sceau_keys::{LockedKey, SecretKey};

/// File descriptors beside connections: listeners, pools, logs, the helper.
const FILES_BESIDE: u64 = 128;

/// Switches off core dumps and tracing of this process. The first act of every command: any may hold a key.
/// Answers whether it could.
pub fn shield() -> bool {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let is_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err();
    setrlimit(Resource::Core, none).is_ok() && !is_dumpable
}

/// Raises the number of files towards what `connections` client connections need, each with one to the
/// store; warns of what is not as it should be.
pub fn harden(connections: usize) {
    // Once more, to be able to say so: there were no logs when the command began.
    if !shield() {
        tracing::warn!("core dumps could not be switched off: a crash may write keys to disk");
    }
    let needed = files_needed(connections);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        // What cannot be raised is reported below.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                maximum: limit.maximum,
            },
        );
    }
    for warning in warnings(connections) {
        tracing::warn!("{warning}");
    }
}

/// What of the host's limits is not as it should be.
pub fn warnings(connections: usize) -> Vec<String> {
    let mut found = Vec::new();
    let needed = files_needed(connections);
    let limit = getrlimit(Resource::Nofile);
    // Up to the maximum the gateway helps itself.
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        found.push(format!(
            "{maximum} open files are allowed, limits.connections = {connections} needs {needed}: raise LimitNOFILE or lower limits.connections"
        ));
    }
    let can_lock = LockedKey::new(SecretKey::new([0; 32])).is_locked();
    if !can_lock && is_swap_on() {
        found.push("swap is on and memory cannot be locked: keys may reach the disk; raise LimitMEMLOCK or switch swap off".to_owned());
    }
    found
}

fn files_needed(connections: usize) -> u64 {
    u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(FILES_BESIDE)
}

/// The table has one line of heading and one for each swap area.
fn is_swap_on() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|table| table.lines().count() > 1)
}
