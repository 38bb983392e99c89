//! ETags between client and store (§8.4).
//!
//! What lives here: the two reversible spellings. What must not: quoting, lists, HTTP. Invariant:
//! what a client is shown maps back to what the store said.

use crate::ticket::TICKET_CHARS;

/// Ends the ETag of a part whose ticket is not known.
pub const UNPINNED_SUFFIX: &str = "-u";
/// Ends the ETag of an object that is not multipart, so that no client takes it for an MD5.
pub const SINGLE_SUFFIX: &str = "-0";

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

/// The object ETag shown to a client, without quotes: `-0` is added to 32 hexadecimal digits.
pub fn to_client(store: &str) -> String {
    if is_md5(store) {
        format!("{store}{SINGLE_SUFFIX}")
    } else {
        store.to_owned()
    }
}

/// The inverse of [`to_client`].
pub fn to_store(client: &str) -> &str {
    client
        .strip_suffix(SINGLE_SUFFIX)
        .filter(|etag| is_md5(etag))
        .unwrap_or(client)
}

fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
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

    #[test]
    fn object_etags_map_back() {
        let md5 = "9a0364b9e99bb480dd25e1f0284c8555";
        assert_eq!(to_client(md5), format!("{md5}-0"));
        for store in [md5, &format!("{md5}-3"), "0x8D4BCC2E4835CD0"] {
            assert_eq!(to_store(&to_client(store)), store);
        }
        assert_eq!(to_store("abc-0"), "abc-0");
    }
}
