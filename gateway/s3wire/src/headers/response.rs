//! Response headers.
//!
//! What lives here: one row per header a store may send. What must not: values. Invariant: a header
//! without a row is removed; nothing about the ciphertext reaches a client as if it were about the
//! plaintext.

use http::HeaderMap;
use http::header::HeaderName;

/// What happens to a header of the store's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTreatment {
    /// Sent to the client as it came.
    Passed,
    /// Set anew by the gateway, from the plaintext or the sealed metadata.
    Recomputed,
    /// Not sent.
    Removed,
}

use ResponseTreatment::{Passed, Recomputed, Removed};

const EXACT: &[(&str, ResponseTreatment)] = &[
    ("last-modified", Passed),
    ("x-amz-version-id", Passed),
    ("x-amz-copy-source-version-id", Passed),
    ("x-amz-delete-marker", Passed),
    ("x-amz-expiration", Passed),
    ("x-amz-restore", Passed),
    ("x-amz-storage-class", Passed),
    ("x-amz-archive-status", Passed),
    ("x-amz-replication-status", Passed),
    ("x-amz-request-charged", Passed),
    ("x-amz-bucket-region", Passed),
    ("x-amz-transition-default-minimum-object-size", Passed),
    ("x-amz-abort-date", Passed),
    ("x-amz-abort-rule-id", Passed),
    ("x-amz-server-side-encryption", Passed),
    ("x-amz-server-side-encryption-aws-kms-key-id", Passed),
    ("x-amz-server-side-encryption-bucket-key-enabled", Passed),
    ("retry-after", Passed),
    ("etag", Recomputed),
    ("content-length", Recomputed),
    ("content-range", Recomputed),
    ("accept-ranges", Recomputed),
    ("content-type", Recomputed),
    ("cache-control", Recomputed),
    ("content-disposition", Recomputed),
    ("content-encoding", Recomputed),
    ("content-language", Recomputed),
    ("expires", Recomputed),
    ("x-amz-website-redirect-location", Recomputed),
    ("location", Recomputed),
    ("x-amz-request-id", Recomputed),
    ("x-amz-id-2", Recomputed),
    // The store counts the pieces of a sealed set.
    ("x-amz-tagging-count", Recomputed),
    // The store counts the trailer as a part, and metadata it cannot show is ours.
    ("x-amz-mp-parts-count", Recomputed),
    ("x-amz-missing-meta", Removed),
    ("x-amz-object-size", Recomputed),
    ("date", Recomputed),
];

const PREFIXES: &[(&str, ResponseTreatment)] = &[
    ("x-amz-meta-", Recomputed),
    ("x-amz-checksum-", Removed),
    ("x-amz-object-lock-", Passed),
];

/// What happens to the response header of this name; names are lower case.
#[must_use]
pub fn response_treatment(name: &str) -> ResponseTreatment {
    let exact = EXACT.iter().find(|(known, _)| *known == name);
    let row = exact.or_else(|| PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)));
    row.map_or(Removed, |(_, treatment)| *treatment)
}

/// The headers of the store's answer that the client gets as they came.
#[must_use]
pub fn passed_headers(store: &HeaderMap) -> HeaderMap {
    let is_passed = |name: &HeaderName| response_treatment(name.as_str()) == Passed;
    store
        .iter()
        .filter(|(name, _)| is_passed(name))
        .fold(HeaderMap::new(), |mut kept, (name, value)| {
            kept.append(name.clone(), value.clone());
            kept
        })
}
