//! Entity tags: the mark that keeps a store's tag from looking like an MD5 of the plaintext.
//!
//! What lives here: the mapping T (32 hex digits get `-0`, anything else stays) and its inverse, on
//! single tags in any spelling and on lists. What must not: part tickets. Invariant: for every tag
//! a store can give, `to_store(to_client(tag)) == tag`, because no store ends a tag in `-0`.

use std::borrow::Cow;

/// Length of the tags that clients take for an MD5, hex digits.
const MD5_HEX_CHARS: usize = 32;

/// What is appended to them.
const MARK: &str = "-0";

/// The tag shown to a client for a tag of the store. Quotes and a weak prefix are kept.
#[must_use]
pub fn to_client(tag: &str) -> Cow<'_, str> {
    let (before, opaque, after) = split(tag);
    if is_md5_like(opaque) {
        Cow::Owned([before, opaque, MARK, after].concat())
    } else {
        Cow::Borrowed(tag)
    }
}

/// The tag of the store for a tag that a client sent. Quotes and a weak prefix are kept; a tag the
/// gateway never gave out stays as it is.
#[must_use]
pub fn to_store(tag: &str) -> Cow<'_, str> {
    let (before, opaque, after) = split(tag);
    match opaque.strip_suffix(MARK) {
        Some(stored) if is_md5_like(stored) => Cow::Owned([before, stored, after].concat()),
        _ => Cow::Borrowed(tag),
    }
}

/// The tag without quotes and without a weak prefix.
#[must_use]
pub fn opaque(tag: &str) -> &str {
    split(tag).1
}

/// The tag in double quotes, whether it had them or not; a weak prefix is dropped.
#[must_use]
pub fn quoted(tag: &str) -> String {
    ["\"", opaque(tag), "\""].concat()
}

/// Maps every tag of an `If-Match` or `If-None-Match` list to the store's form; `*` stays.
#[must_use]
pub fn list_to_store(list: &str) -> String {
    let mut out = String::with_capacity(list.len());
    let mut rest = list;
    while !rest.is_empty() {
        let (member, remaining) = rest.split_at_checked(member_end(rest)).unwrap_or((rest, ""));
        let trimmed = member.trim_matches([' ', '\t']);
        if !trimmed.is_empty() {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(&to_store(trimmed));
        }
        rest = remaining.strip_prefix(',').unwrap_or(remaining);
    }
    out
}

/// Offset of the comma that ends the first member; a comma inside quotes does not.
fn member_end(list: &str) -> usize {
    let mut in_quotes = false;
    for (offset, character) in list.char_indices() {
        match character {
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => return offset,
            _ => {}
        }
    }
    list.len()
}

/// Splits a tag into what stands before the opaque part, the opaque part, and what stands after.
fn split(tag: &str) -> (&str, &str, &str) {
    let weak = if tag.starts_with("W/") { 2 } else { 0 };
    let (prefix, rest) = tag.split_at_checked(weak).unwrap_or(("", tag));
    let inner = rest.strip_prefix('"').and_then(|open| open.strip_suffix('"'));
    match inner {
        Some(inner) => {
            let (before, _) = tag.split_at_checked(weak.saturating_add(1)).unwrap_or(("", tag));
            (before, inner, "\"")
        }
        None => (prefix, rest, ""),
    }
}

fn is_md5_like(opaque: &str) -> bool {
    opaque.len() == MD5_HEX_CHARS && opaque.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9e107d9d372bb6826bd81d3542a419d6";

    #[test]
    fn every_spelling_is_mapped_and_mapped_back() {
        for (before, after) in [("", ""), ("\"", "\""), ("W/\"", "\"")] {
            let stored = format!("{before}{HEX}{after}");
            let shown = format!("{before}{HEX}-0{after}");
            assert_eq!(to_client(&stored), shown);
            assert_eq!(to_store(&shown), stored);
        }
    }

    #[test]
    fn multipart_tags_and_oddities_stay() {
        let multipart = format!("\"{HEX}-7\"");
        for tag in [
            multipart.as_str(),
            "*",
            "",
            "\"",
            "\"\"",
            "W/",
            "\"-0\"",
            "\"0x8D\"",
            "abc-0",
        ] {
            assert_eq!(to_client(tag), tag);
            assert_eq!(to_store(tag), tag);
        }
    }

    #[test]
    fn lists_are_mapped_member_by_member() {
        assert_eq!(
            list_to_store(&format!("\"{HEX}-0\" ,W/\"{HEX}-0\",, {HEX}-0, \"a,b-0\", *")),
            format!("\"{HEX}\", W/\"{HEX}\", {HEX}, \"a,b-0\", *")
        );
        assert_eq!(list_to_store("\"unterminated, x"), "\"unterminated, x");
        assert_eq!(list_to_store(""), "");
    }

    proptest::proptest! {
        #[test]
        fn the_inverse_undoes_the_mapping(opaque in "[0-9a-f]{32}|[0-9a-f]{32}-[1-9][0-9]{0,3}|[!#-~]{0,40}[1-9a-z]", form in 0..3) {
            let tag = match form { 0 => opaque, 1 => format!("\"{opaque}\""), _ => format!("W/\"{opaque}\"") };
            let shown = to_client(&tag);
            proptest::prop_assert_eq!(to_store(&shown), tag.as_str());
        }
    }
}
