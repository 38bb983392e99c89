//! Which region a bucket is signed for.
//!
//! What lives here: the regions that buckets taught, and reading one out of an answer. What must
//! not: hosts: nothing learnt here changes where a request goes. Invariant: at most
//! [`REGIONS_MAX`] buckets are remembered, and a region is a plain token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode};

use super::fault::element;

/// Most buckets whose region is remembered.
const REGIONS_MAX: usize = 1024;
/// Longest region name, in bytes.
const REGION_BYTES_MAX: usize = 64;

/// The regions that buckets taught.
#[derive(Default)]
pub(super) struct Regions(Mutex<Learnt>);

#[derive(Default)]
struct Learnt {
    of_bucket: HashMap<String, String>,
    oldest_first: VecDeque<String>,
}

impl Regions {
    /// The region that `bucket` taught.
    pub(super) fn of(&self, bucket: &str) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of_bucket
            .get(bucket)
            .cloned()
    }

    /// Remembers the region of `bucket`; the oldest entry makes room.
    pub(super) fn remember(&self, bucket: &str, region: String) {
        let mut learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if learnt.of_bucket.insert(bucket.to_owned(), region).is_none() {
            learnt.oldest_first.push_back(bucket.to_owned());
        }
        if learnt.oldest_first.len() > REGIONS_MAX
            && let Some(oldest) = learnt.oldest_first.pop_front()
        {
            learnt.of_bucket.remove(&oldest);
        }
    }
}

/// Whether an answer with this status may name the right region.
pub(super) fn may_name_region(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 307 | 400)
}

/// The region an answer names, in its header or, for the errors that are about regions, its body.
pub(super) fn named_region(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let in_header = headers
        .get("x-amz-bucket-region")
        .and_then(|value| value.to_str().ok());
    let in_body = || {
        let code = element(body, "Code")?;
        matches!(
            code,
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "Redirect"
        )
        .then(|| element(body, "Region"))
        .flatten()
    };
    in_header
        .or_else(in_body)
        .filter(|region| is_region(region))
        .map(str::to_owned)
}

/// Whether `text` can stand in a credential scope.
pub(super) fn is_region(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=REGION_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bucket_makes_room() {
        let regions = Regions::default();
        for bucket in 0..=REGIONS_MAX {
            regions.remember(&bucket.to_string(), "r".to_owned());
        }
        assert_eq!(regions.of("0"), None);
        assert_eq!(regions.of(&REGIONS_MAX.to_string()).as_deref(), Some("r"));
        regions.remember("5", "other".to_owned());
        assert_eq!(regions.of("5").as_deref(), Some("other"));
    }

    #[test]
    fn a_region_is_read_from_errors_about_regions_only() {
        let body = |code: &str| format!("<Error><Code>{code}</Code><Region>eu-west-1</Region></Error>");
        let none = HeaderMap::new();
        let of = |code: &str| named_region(&none, body(code).as_bytes());
        assert_eq!(of("AuthorizationHeaderMalformed").as_deref(), Some("eu-west-1"));
        assert_eq!(of("InvalidRequest"), None);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-bucket-region", "a/b".parse().unwrap());
        assert_eq!(
            named_region(&headers, b""),
            None,
            "a slash would end the scope early"
        );
    }
}
