//! Durations and sizes as written in the file: `"5m"`, `"64 KiB"`.
//!
//! What lives here: parsing, with errors that the TOML reader places under the value. What must
//! not: defaults. Invariant: a number without a unit is refused, so that nobody has to guess.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// Longest duration the file may give: ten years, so that sums never overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A duration such as `"250ms"`, `"10s"`, `"5m"`, `"2h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A size in bytes such as `"512 B"`, `"64 KiB"`, `"16 MiB"`, `"1 GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeText(pub u64);

impl<'de> serde::Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(TextVisitor {
                expects: DURATION_FORM,
                parse: parse_duration,
            })
            .map(Self)
    }
}

impl<'de> serde::Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(TextVisitor {
                expects: SIZE_FORM,
                parse: parse_size,
            })
            .map(Self)
    }
}

const DURATION_FORM: &str =
    "a duration in quotes with its unit, such as \"250ms\", \"10s\", \"5m\" or \"2h\"";
const SIZE_FORM: &str = "a size in quotes with its unit, such as \"512 B\", \"64 KiB\" or \"16 MiB\"";

struct TextVisitor<T> {
    expects: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expects)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format_args!("expected {}", self.expects)))
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        "d" => Duration::from_secs(number.checked_mul(86_400)?),
        _ => return None,
    };
    (duration <= DURATION_MAX).then_some(duration)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let scale: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Splits `"64 KiB"` into 64 and `KiB`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_known_unit() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("5 m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        for wrong in [
            "",
            "5",
            "m",
            "-5s",
            "5 minutes",
            "1.5s",
            "99999999999999999999s",
            "4000d",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(parse_size("64 KiB"), Some(65_536));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1 GiB"), Some(1 << 30));
        for wrong in ["64", "64 KB", "64 kib", "18446744073709551615 GiB", "x MiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
