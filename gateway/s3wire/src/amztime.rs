//! Times as S3 writes them: `YYYYMMDDTHHMMSSZ`, RFC 7231 dates and ISO 8601 with milliseconds.
//!
//! What lives here: parsing and formatting. What must not: reading a clock; the time is always an
//! argument, in seconds since 1970-01-01T00:00:00Z. Invariant: what is accepted has exactly one
//! meaning, so a formatted time parses back to itself.

use std::time::{Duration, SystemTime};

use time::{Date, Month, OffsetDateTime, Time};

/// 9999-12-31T23:59:59Z, the last second that has a four-digit year.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;

/// A point in time in the form of `x-amz-date`: `YYYYMMDDTHHMMSSZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmzDate {
    text: [u8; 16],
    unix_seconds: u64,
}

impl AmzDate {
    /// Formats `unix_seconds`; times after the year 9999 become its last second.
    pub fn from_unix(unix_seconds: u64) -> Self {
        let unix_seconds = unix_seconds.min(UNIX_SECONDS_MAX);
        let at = date_time(unix_seconds);
        let written = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        );
        let mut text = *b"19700101T000000Z";
        for (to, from) in text.iter_mut().zip(written.bytes()) {
            *to = from;
        }
        Self { text, unix_seconds }
    }

    /// Parses exactly `YYYYMMDDTHHMMSSZ`; `None` for any other form, for an impossible date and
    /// for a time before 1970.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let fixed: [u8; 16] = text.try_into().ok()?;
        let (date, rest) = fixed.split_at_checked(8)?;
        let (mark, rest) = rest.split_first()?;
        let (clock, zone) = rest.split_at_checked(6)?;
        if *mark != b'T' || zone != b"Z" {
            return None;
        }
        let month = Month::try_from(u8::try_from(digits(date.get(4..6)?)?).ok()?).ok()?;
        let date = Date::from_calendar_date(
            i32::try_from(digits(date.get(..4)?)?).ok()?,
            month,
            u8::try_from(digits(date.get(6..)?)?).ok()?,
        )
        .ok()?;
        let clock = Time::from_hms(
            u8::try_from(digits(clock.get(..2)?)?).ok()?,
            u8::try_from(digits(clock.get(2..4)?)?).ok()?,
            u8::try_from(digits(clock.get(4..)?)?).ok()?,
        )
        .ok()?;
        let unix_seconds = u64::try_from(date.with_time(clock).assume_utc().unix_timestamp()).ok()?;
        Some(Self {
            text: fixed,
            unix_seconds,
        })
    }

    /// The sixteen characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The date alone, `YYYYMMDD`, as it stands in a credential scope.
    pub fn date(&self) -> &str {
        self.as_str().get(..8).unwrap_or_default()
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds
    }
}

/// Parses an HTTP date (RFC 7231 section 7.1.1.1, all three forms); `None` before 1970.
pub fn parse_http_date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// Parses a time of RFC 3339 (`2026-01-31T12:00:00Z`, also with an offset); `None` before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp()).ok()
}

/// Formats an HTTP date: `Fri, 24 May 2013 00:00:00 GMT`.
pub fn format_http_date(unix_seconds: u64) -> String {
    let since = Duration::from_secs(unix_seconds.min(UNIX_SECONDS_MAX));
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .map(httpdate::fmt_http_date)
        .unwrap_or_default()
}

/// Formats a time as S3's XML bodies carry it: `2009-10-12T17:50:30.000Z`.
pub fn format_iso8601(unix_seconds: u64) -> String {
    let at = date_time(unix_seconds.min(UNIX_SECONDS_MAX));
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn date_time(unix_seconds: u64) -> OffsetDateTime {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Decimal digits only: the standard parser would also take a leading plus.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit & 0x0f))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling() {
        let at = AmzDate::parse(b"20130524T000000Z").unwrap();
        assert_eq!(at.unix_seconds(), 1_369_353_600);
        assert_eq!(AmzDate::from_unix(1_369_353_600), at);
        assert_eq!(at.date(), "20130524");
        assert_eq!(format_http_date(1_369_353_600), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(
            parse_http_date("Fri, 24 May 2013 00:00:00 GMT"),
            Some(1_369_353_600)
        );
        assert_eq!(format_iso8601(1_255_369_830), "2009-10-12T17:50:30.000Z");
        assert_eq!(AmzDate::from_unix(u64::MAX).as_str(), "99991231T235959Z");
    }

    #[test]
    fn a_time_of_rfc_3339_may_have_an_offset() {
        assert_eq!(parse_rfc3339("2013-05-24T00:00:00Z"), Some(1_369_353_600));
        assert_eq!(parse_rfc3339("2013-05-24T02:00:00+02:00"), Some(1_369_353_600));
        for text in ["2013-05-24", "2013-05-24 00:00:00", "1969-01-01T00:00:00Z", ""] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn loose_spellings_are_refused() {
        for text in [
            "2013-05-24T00:00:00Z",
            "20130524T000000",
            "20130524 000000Z",
            "20130524T000000z",
            "20130230T000000Z",
            "20130524T240000Z",
            "+2130524T000000Z",
            "20130524T0000+1Z",
            "19691231T235959Z",
            "20130024T000000Z",
            "",
        ] {
            assert_eq!(AmzDate::parse(text.as_bytes()), None, "{text}");
        }
    }
}
