//! The canonical request and the string to sign.
//!
//! What lives here: the one canonicaliser of verifier and signer. What must not: any decision.
//! Invariant: it works on bytes and is total; a header value that is not UTF-8 is signed as it is.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::{ALGORITHM, AMZ_SECURITY_TOKEN, Scope};
use crate::amztime::AmzDate;
use crate::target::{QueryPair, encode_component};

/// What stands for a credential in a canonical request that is shown to somebody.
const MASK: &str = "(hidden)";

pub(super) struct CanonicalRequest<'a> {
    pub(super) method: &'a str,
    /// Path in the form to sign.
    pub(super) path: &'a [u8],
    /// Query in canonical form.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// Lower-case names in ascending order.
    pub(super) signed_headers: &'a [String],
    /// Value of `x-amz-content-sha256`, or what stands for it.
    pub(super) payload: &'a [u8],
}

impl CanonicalRequest<'_> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.write(false)
    }

    /// The same with credentials masked, for the body of an error.
    pub(super) fn to_masked_text(&self) -> String {
        String::from_utf8_lossy(&self.write(true)).into_owned()
    }

    fn write(&self, mask: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        for line in [self.method.as_bytes(), self.path, self.query.as_bytes()] {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        for name in self.signed_headers {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            if mask && is_credential(name) {
                out.extend_from_slice(MASK.as_bytes());
            } else {
                push_values(&mut out, self.headers, name);
            }
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.join(";").as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload);
        out
    }
}

/// Headers whose value must not be echoed: tokens and customer-provided keys.
fn is_credential(name: &str) -> bool {
    name == AMZ_SECURITY_TOKEN || name == "authorization" || name.ends_with("-customer-key")
}

fn push_values(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_trimmed(out, value.as_bytes());
    }
}

/// Spaces and tabs are trimmed at both ends, and runs of them become one space: so do botocore and the
/// signature checks of SeaweedFS and MinIO, where the description of the signature speaks of spaces only.
/// Quoted strings are not special (as in S3, unlike the generic description of the signature).
///
/// Attack considered: someone in between turns a tab into a space. RFC 9110 lets every hop do so, and no
/// header means one thing with a tab and another with a space.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(start, |last| last.saturating_add(1));
    let mut after_blank = false;
    for byte in value.get(start..end).unwrap_or_default() {
        let is_blank = is_blank(byte);
        if !is_blank {
            out.push(*byte);
        } else if !after_blank {
            out.push(b' ');
        }
        after_blank = is_blank;
    }
}

/// The canonical query: encoded, sorted by encoded name and value; `left_out` names a parameter
/// that is not part of it.
pub(super) fn canonical_query(pairs: &[QueryPair], left_out: Option<&str>, mask: bool) -> String {
    let mut encoded: Vec<(String, String)> = pairs
        .iter()
        .filter(|pair| left_out != Some(pair.name.as_str()))
        .map(|pair| {
            let hidden = mask && pair.name.eq_ignore_ascii_case(AMZ_SECURITY_TOKEN);
            let value = if hidden {
                MASK.to_owned()
            } else {
                encode_component(&pair.value)
            };
            (encode_component(&pair.name), value)
        })
        .collect();
    encoded.sort_unstable();
    let mut query = String::new();
    for (name, value) in &encoded {
        if !query.is_empty() {
            query.push('&');
        }
        // Writing to a String cannot fail.
        let _ = write!(query, "{name}={value}");
    }
    query
}

pub(super) fn string_to_sign(date: &AmzDate, scope: &Scope, canonical: &[u8]) -> String {
    format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        date.as_str(),
        HEXLOWER.encode(&Sha256::digest(canonical))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(value: &str) -> String {
        let mut out = Vec::new();
        push_trimmed(&mut out, value.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_trimmed_and_runs_of_white_space_become_one_space() {
        assert_eq!(trimmed(" \t a   b\t\tc\td \t e\t"), "a b c d e");
        assert_eq!(trimmed("\"a   b\""), "\"a b\"");
        assert_eq!(trimmed("  "), "");
        assert_eq!(trimmed(""), "");
    }

    #[test]
    fn the_query_sorts_by_encoded_bytes() {
        let pair = |name: &str, value: &str| QueryPair {
            name: name.into(),
            value: value.into(),
        };
        let pairs = [
            pair("b", "2"),
            pair("a", "z/"),
            pair("a", "A B+"),
            pair("B", ""),
            pair("ä", "~"),
            pair("a-", ""),
        ];
        assert_eq!(
            canonical_query(&pairs, Some("b"), false),
            "%C3%A4=~&B=&a=A%20B%2B&a=z%2F&a-="
        );
    }
}
