//! Who else may read a file that holds a secret.
//!
//! What lives here: the one rule for all such files (PINs, tokens, store and client secrets, TLS keys).
//! What must not: reading them. Invariant: no file that others than its owner may read passes, but one
//! that root owns and hands to a group, and that nobody else may change.
//!
//! The second form is what PostgreSQL accepts for its keys as well: the service's account can read what
//! root keeps for it and cannot change it, and it is the only form in which Kubernetes mounts a Secret
//! for a process that is not root (`fsGroup`); systemd's credentials are root's too, with an access list whose mask shows as
//! the group's right to read. Considered: a host where unrelated accounts share that
//! group; root put them there, and root can read the file in any case.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Permission bits of group and others.
const NOT_OWNER: u32 = 0o077;
/// The same without "the group may read".
const NOT_OWNER_NOR_READING_GROUP: u32 = 0o037;

/// Whether a file of these facts may hold a secret: a plain file that only its owner may use (mode 0600 or less),
/// or that root owns and its group may read (mode 0640 or less). Ask the facts of the open file, so that it
/// cannot be exchanged in between.
#[must_use]
pub fn is_private(facts: &Metadata) -> bool {
    facts.is_file() && is_private_mode(facts.uid(), facts.mode())
}

fn is_private_mode(owner: u32, mode: u32) -> bool {
    mode & NOT_OWNER == 0 || (owner == 0 && mode & NOT_OWNER_NOR_READING_GROUP == 0)
}

#[cfg(test)]
mod tests {
    use super::is_private_mode;

    #[test]
    fn the_owner_alone_or_a_reading_group_of_roots_file() {
        for (owner, mode, expected) in [
            (1000, 0o600, true),
            (1000, 0o400, true),
            (1000, 0o640, false),
            (1000, 0o440, false),
            (0, 0o600, true),
            (0, 0o640, true),
            (0, 0o440, true),
            (0, 0o660, false),
            (0, 0o650, false),
            (0, 0o644, false),
            (0, 0o604, false),
            (0, 0o641, false),
        ] {
            assert_eq!(is_private_mode(owner, mode), expected, "{owner} {mode:o}");
        }
    }
}
