//! Times in records: UTC with nanoseconds, always 30 characters.
//!
//! What lives here: formatting and parsing. What must not: a clock. Invariant: a formatted time parses back
//! to itself.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const FORM: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// `unix_ns`, nanoseconds since 1970, as `2026-11-22T07:45:00.000000000Z`. The last time is in the year 2554.
pub fn format_time(unix_ns: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns));
    at.ok().and_then(|at| at.format(FORM).ok()).unwrap_or_default()
}

/// Nanoseconds since 1970; `None` for any other form.
pub fn parse_time(text: &str) -> Option<u64> {
    let at = PrimitiveDateTime::parse(text, FORM).ok()?.assume_utc();
    u64::try_from(at.unix_timestamp_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for ns in [0, 1, 1_700_000_000_123_456_789, u64::MAX] {
            let text = format_time(ns);
            assert_eq!(text.len(), 30, "{text}");
            assert_eq!(parse_time(&text), Some(ns));
        }
        assert_eq!(parse_time("2026-11-22T07:45:00Z"), None);
    }
}
