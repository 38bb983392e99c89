//! The `Range` header, as S3 reads it.
//!
//! What lives here: parsing, and resolution against a plaintext length. What must not: stored
//! offsets. Invariant: a resolved range is never empty and never ends beyond the object.

/// One byte range as the client wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-last`, both included, `first <= last`.
    Bounded {
        /// First byte.
        first: u64,
        /// Last byte, included.
        last: u64,
    },
    /// `bytes=first-`
    From {
        /// First byte.
        first: u64,
    },
    /// `bytes=-length`: the last bytes.
    Suffix {
        /// How many bytes from the end.
        length: u64,
    },
}

/// The range lies outside the object: the answer is 416 with `Content-Range: bytes */length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsatisfiable;

/// Reads a `Range` header value.
///
/// Returns `None` for anything that S3 ignores, which means the whole object: another unit, a
/// syntax error, several ranges, or a last byte before the first.
#[must_use]
pub fn parse(value: &[u8]) -> Option<RangeSpec> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    match (first, last) {
        ("", length) => Some(RangeSpec::Suffix {
            length: number(length)?,
        }),
        (first, "") => Some(RangeSpec::From {
            first: number(first)?,
        }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(RangeSpec::Bounded { first, last })
        }
    }
}

/// The first and last byte (included) of a range in an object of `plain_len` bytes.
///
/// `None` in and `None` out both mean the whole object.
///
/// # Errors
///
/// [`Unsatisfiable`] when the range starts at or after the end, asks for the last zero bytes, or
/// the object is empty.
pub fn resolve(spec: Option<RangeSpec>, plain_len: u64) -> Result<Option<(u64, u64)>, Unsatisfiable> {
    let Some(spec) = spec else { return Ok(None) };
    let final_byte = plain_len.checked_sub(1).ok_or(Unsatisfiable)?;
    let (first, last) = match spec {
        RangeSpec::Bounded { first, last } => (first, last.min(final_byte)),
        RangeSpec::From { first } => (first, final_byte),
        RangeSpec::Suffix { length: 0 } => return Err(Unsatisfiable),
        RangeSpec::Suffix { length } => (plain_len.saturating_sub(length), final_byte),
    };
    if first > final_byte {
        Err(Unsatisfiable)
    } else {
        Ok(Some((first, last)))
    }
}

/// Digits only; a number beyond 64 bits means "past any object" and is held at the maximum.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(
            parse(b"bytes=0-0"),
            Some(RangeSpec::Bounded { first: 0, last: 0 })
        );
        assert_eq!(parse(b"bytes=5-"), Some(RangeSpec::From { first: 5 }));
        assert_eq!(parse(b"bytes=-5"), Some(RangeSpec::Suffix { length: 5 }));
        assert_eq!(
            parse(b" Bytes= 1-2 "),
            Some(RangeSpec::Bounded { first: 1, last: 2 })
        );
        assert_eq!(
            parse(b"bytes=0-99999999999999999999"),
            Some(RangeSpec::Bounded {
                first: 0,
                last: u64::MAX
            })
        );
    }

    #[test]
    fn what_s3_ignores_is_the_whole_object() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=--1",
            "bytes=0x1-2",
            "0-1",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse(b"bytes=0-\xff"), None);
    }

    #[test]
    fn ranges_are_cut_at_the_end() {
        let rows = [
            (RangeSpec::Bounded { first: 0, last: 9 }, 10, Ok(Some((0, 9)))),
            (
                RangeSpec::Bounded {
                    first: 0,
                    last: u64::MAX,
                },
                10,
                Ok(Some((0, 9))),
            ),
            (RangeSpec::Bounded { first: 9, last: 9 }, 10, Ok(Some((9, 9)))),
            (RangeSpec::Bounded { first: 10, last: 11 }, 10, Err(Unsatisfiable)),
            (RangeSpec::From { first: 9 }, 10, Ok(Some((9, 9)))),
            (RangeSpec::From { first: 10 }, 10, Err(Unsatisfiable)),
            (RangeSpec::Suffix { length: 3 }, 10, Ok(Some((7, 9)))),
            (RangeSpec::Suffix { length: 30 }, 10, Ok(Some((0, 9)))),
            (RangeSpec::Suffix { length: 0 }, 10, Err(Unsatisfiable)),
            (RangeSpec::Suffix { length: 1 }, 0, Err(Unsatisfiable)),
            (RangeSpec::From { first: 0 }, 0, Err(Unsatisfiable)),
            (RangeSpec::Bounded { first: 0, last: 0 }, 0, Err(Unsatisfiable)),
            (RangeSpec::From { first: u64::MAX }, u64::MAX, Err(Unsatisfiable)),
        ];
        for (spec, plain_len, expected) in rows {
            assert_eq!(
                resolve(Some(spec), plain_len),
                expected,
                "{spec:?} of {plain_len}"
            );
        }
        assert_eq!(resolve(None, 0), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn a_resolved_range_lies_in_the_object(text in "bytes=[0-9]{0,20}-[0-9]{0,20}", plain_len: u64) {
            if let Ok(Some((first, last))) = resolve(parse(text.as_bytes()), plain_len) {
                proptest::prop_assert!(first <= last && last < plain_len);
            }
        }
    }
}
