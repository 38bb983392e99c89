//! Which stored bytes a read needs.
//!
//! What lives here: the first question to the store, before the layout is known; how to read the
//! answer's lengths; what the client's answer says about ranges. What must not: requests. Invariant:
//! a length that decides which bytes are plaintext comes from an authenticated header or trailer;
//! the store's own figures are only compared with it.

use http::{HeaderMap, StatusCode, header};
use sceau_envelope::size::{self, PlainRange, StoredRange};
use sceau_s3wire::range::RangeSpec;

use crate::error::{GatewayError, Integrity, Kind, Result};

/// Stored bytes to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The whole object, without a `Range` header.
    Whole,
    /// These bytes.
    Bytes(StoredRange),
    /// From this offset to the end.
    From(u64),
    /// The last bytes.
    Tail(u64),
}

impl Ask {
    /// The `Range` header, where one is needed.
    pub fn range_header(self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Bytes(range) => Some(format!("bytes={}-{}", range.first, range.last)),
            Self::From(first) => Some(format!("bytes={first}-")),
            Self::Tail(bytes) => Some(format!("bytes=-{bytes}")),
        }
    }
}

/// The first question of a read whose layout is not known: right for an object of a single PUT.
pub fn first_ask(range: Option<RangeSpec>, is_head: bool) -> Ask {
    if is_head {
        return Ask::Tail(size::FOOTER);
    }
    match range {
        None => Ask::Whole,
        // The length is needed before the range is known; the footer brings it.
        Some(RangeSpec::Suffix { length: _ }) => Ask::Tail(size::FOOTER),
        Some(RangeSpec::From { first }) => {
            speculative(first, first).map_or(Ask::Tail(size::FOOTER), |range| Ask::From(range.first))
        }
        Some(RangeSpec::Bounded { first, last }) => {
            speculative(first, last).map_or(Ask::Tail(size::FOOTER), Ask::Bytes)
        }
    }
}

fn speculative(first: u64, last: u64) -> Option<StoredRange> {
    size::speculative_range(PlainRange { first, last })
}

/// What the store says it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Offsets of the bytes in the body.
    pub range: StoredRange,
    /// Length of the whole stored object.
    pub stored_len: u64,
}

/// Reads the lengths of a successful answer and checks that it is an answer to `ask`.
pub fn sent(ask: Ask, status: StatusCode, headers: &HeaderMap) -> Result<Sent> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity" && !coding.is_empty())
    {
        return Err(range_fault("the store sent an encoded body"));
    }
    let length = number(headers.get(header::CONTENT_LENGTH).map(|value| value.as_bytes()));
    match (ask, status) {
        (Ask::Whole, StatusCode::OK) => {
            let stored_len = length.ok_or_else(|| range_fault("the store sent no length"))?;
            let range = StoredRange {
                first: 0,
                last: stored_len.saturating_sub(1),
            };
            Ok(Sent { range, stored_len })
        }
        (Ask::Bytes(_) | Ask::From(_) | Ask::Tail(_), StatusCode::PARTIAL_CONTENT) => {
            let sent = content_range(headers).ok_or_else(|| range_fault("no usable Content-Range"))?;
            if !answers(ask, sent) || length.is_some_and(|length| length != sent.range.len()) {
                return Err(range_fault("the store sent another range than was asked for"));
            }
            Ok(sent)
        }
        (Ask::Whole | Ask::Bytes(_) | Ask::From(_) | Ask::Tail(_), _) => {
            Err(range_fault("the store's status does not fit the question"))
        }
    }
}

fn answers(ask: Ask, sent: Sent) -> bool {
    let end = sent.stored_len.saturating_sub(1);
    match ask {
        Ask::Whole => sent.range == (StoredRange { first: 0, last: end }),
        Ask::Bytes(range) => {
            sent.range
                == (StoredRange {
                    first: range.first,
                    last: range.last.min(end),
                })
        }
        Ask::From(first) => sent.range == (StoredRange { first, last: end }),
        Ask::Tail(bytes) => {
            sent.range
                == (StoredRange {
                    first: sent.stored_len.saturating_sub(bytes),
                    last: end,
                })
        }
    }
}

fn content_range(headers: &HeaderMap) -> Option<Sent> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = StoredRange {
        first: number(Some(first.as_bytes()))?,
        last: number(Some(last.as_bytes()))?,
    };
    let stored_len = number(Some(total.as_bytes()))?;
    (range.first <= range.last && range.last < stored_len).then_some(Sent { range, stored_len })
}

/// A decimal number and nothing else; Rust's own parser would take a sign.
fn number(text: Option<&[u8]>) -> Option<u64> {
    let text = text.filter(|text| text.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn range_fault(context: &'static str) -> GatewayError {
    GatewayError::integrity(Integrity::Range, context)
}

/// The plaintext length that the stored length stands for, where the store is honest.
pub fn claimed_plain_len(stored_len: u64) -> Result<u64> {
    size::plain_len(stored_len).ok_or_else(|| {
        GatewayError::new(
            Kind::Integrity(Integrity::Length),
            "no sealed object has this length",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const E: u64 = size::SEGMENT_STORED;

    #[test]
    fn the_first_question_is_right_for_single_objects() {
        let bounded = |first, last| Some(RangeSpec::Bounded { first, last });
        let rows = [
            (None, false, Ask::Whole),
            (None, true, Ask::Tail(64)),
            (
                bounded(0, 0),
                false,
                Ask::Bytes(StoredRange {
                    first: 74,
                    last: 73 + E,
                }),
            ),
            (
                bounded(65_535, 65_536),
                false,
                Ask::Bytes(StoredRange {
                    first: 74,
                    last: 73 + 2 * E,
                }),
            ),
            (
                bounded(65_536, 65_536),
                false,
                Ask::Bytes(StoredRange {
                    first: 74 + E,
                    last: 73 + 2 * E,
                }),
            ),
            (Some(RangeSpec::From { first: 70_000 }), false, Ask::From(74 + E)),
            (Some(RangeSpec::Suffix { length: 5 }), false, Ask::Tail(64)),
            (bounded(0, u64::MAX), false, Ask::Tail(64)),
        ];
        for (range, is_head, ask) in rows {
            assert_eq!(first_ask(range, is_head), ask, "{range:?} {is_head}");
        }
    }

    fn answer(status: u16, headers: &[(&str, &str)], ask: Ask) -> Result<Sent> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                http::HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        sent(ask, StatusCode::from_u16(status).unwrap(), &map)
    }

    #[test]
    fn an_honest_answer_is_understood() {
        let whole = answer(200, &[("content-length", "352")], Ask::Whole).unwrap();
        assert_eq!(
            whole,
            Sent {
                range: StoredRange { first: 0, last: 351 },
                stored_len: 352
            }
        );
        let tail = answer(
            206,
            &[("content-range", "bytes 288-351/352"), ("content-length", "64")],
            Ask::Tail(64),
        );
        assert_eq!(tail.unwrap().range.first, 288);
        let beyond = Ask::Bytes(StoredRange {
            first: 74,
            last: 65_641,
        });
        assert!(answer(206, &[("content-range", "bytes 74-351/352")], beyond).is_ok());
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let ask = Ask::Bytes(StoredRange { first: 74, last: 200 });
        type Row<'a> = (u16, &'a [(&'a str, &'a str)], Ask);
        let rows: &[Row<'_>] = &[
            (200, &[("content-length", "352")], ask),
            (206, &[("content-range", "bytes 0-126/352")], ask),
            (206, &[("content-range", "bytes 74-199/352")], ask),
            (
                206,
                &[("content-range", "bytes 74-200/352"), ("content-length", "126")],
                ask,
            ),
            (206, &[("content-range", "bytes 74-200/*")], ask),
            (206, &[("content-range", "bytes 74-+200/352")], ask),
            (206, &[("content-range", "bytes 74-400/352")], ask),
            (
                206,
                &[
                    ("content-range", "bytes 74-200/352"),
                    ("content-encoding", "gzip"),
                ],
                ask,
            ),
            (206, &[], ask),
            (206, &[("content-range", "bytes 0-351/352")], Ask::Whole),
            (200, &[], Ask::Whole),
        ];
        for (status, headers, ask) in rows {
            let error = answer(*status, headers, *ask).unwrap_err();
            assert_eq!(
                error.kind,
                Kind::Integrity(Integrity::Range),
                "{status} {headers:?}"
            );
        }
    }
}
