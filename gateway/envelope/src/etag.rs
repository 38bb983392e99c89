//! The ETag of a part with the ticket of its attempt (§8.4).
//!
//! What lives here: joining and splitting. What must not: quoting, and the ETags of objects, which
//! are the S3 front's matter. Invariant: what a client is shown splits into what the store said.

use crate::ticket::TICKET_CHARS;

/// Ends the ETag of a part whose ticket is not known.
pub const UNPINNED_SUFFIX: &str = "-u";

/// A part's ETag as a client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEtag<'a> {
    /// The store's own ETag.
    pub store: &'a str,
    /// The ticket; `None` for the unpinned form.
    pub ticket: Option<&'a str>,
}

/// Splits a part's ETag, without quotes. `None` if it is neither form.
pub fn split_part_etag(client: &str) -> Option<PartEtag<'_>> {
    if let Some(store) = client
        .strip_suffix(UNPINNED_SUFFIX)
        .filter(|store| !store.is_empty())
        && client.len() <= TICKET_CHARS
    {
        return Some(PartEtag { store, ticket: None });
    }
    // From the end, by length: a ticket may itself contain hyphens.
    let (rest, ticket) = client.split_at_checked(client.len().checked_sub(TICKET_CHARS)?)?;
    let store = rest.strip_suffix('-').filter(|store| !store.is_empty())?;
    Some(PartEtag {
        store,
        ticket: Some(ticket),
    })
}

/// The part ETag shown to a client.
pub fn join_part_etag(store: &str, ticket: Option<&str>) -> String {
    match ticket {
        Some(ticket) => format!("{store}-{ticket}"),
        None => format!("{store}{UNPINNED_SUFFIX}"),
    }
}

/// Splits off the checksum in front of a part's ETag (§8.3), if there is one.
pub fn split_checksum(client: &str) -> (Option<&str>, &str) {
    match client.split_once('.') {
        Some((checksum, rest)) => (Some(checksum), rest),
        None => (None, client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_etags_split_as_they_were_joined() {
        let hyphens = "-".repeat(TICKET_CHARS);
        for (store, ticket) in [
            ("abc", None),
            ("a-u", None),
            ("abc", Some(&*hyphens)),
            ("a-b", Some(&*hyphens)),
        ] {
            let joined = join_part_etag(store, ticket);
            assert_eq!(split_part_etag(&joined), Some(PartEtag { store, ticket }));
        }
        for bad in [
            "",
            "-u",
            "abc",
            &hyphens,
            &format!("-{hyphens}"),
            "\u{e9}\u{e9}-u\u{e9}",
        ] {
            assert_eq!(split_part_etag(bad), None, "{bad}");
        }
    }
}
