//! The frames between the gateway and its helper.
//!
//! What lives here: their form, for both sides. What must not: sockets of the asynchronous side, and
//! any decision. Invariant: a frame is at most [`FRAME_BYTES_MAX`] long, and its buffer is wiped.
//!
//! ```text
//! request   length u32 | id u64 | op u8     | time left u32, ms | body
//! answer    length u32 | id u64 | status u8 | body
//! ```
//! All numbers are big-endian; the length counts what follows it. Request 0 is the set-up; its answer
//! tells that the helper is ready.

use std::io::{self, Read, Write};
use std::time::Duration;

use sceau_keys::{KEY_BYTES, WRAP_CONTEXT_BYTES};
use sceau_kms::KeyError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::PinSource;

/// Longest frame in bytes, without its length.
pub(crate) const FRAME_BYTES_MAX: usize = 4096;
/// Longest text of an error in bytes, so that it fits a frame.
const TEXT_BYTES_MAX: usize = 512;
/// Bytes of a request before its body.
const REQUEST_HEAD: usize = 8 + 1 + 4;
/// Bytes of an answer before its body.
const ANSWER_HEAD: usize = 8 + 1;

/// A buffer that is wiped when dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// What the helper is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// The first frame: the body is a [`Setup`].
    Setup,
    /// Context and key; answers IV and blob.
    Wrap,
    /// Context, IV and blob; answers the key.
    Unwrap,
    /// A length as u32; answers random bytes.
    Random,
    /// Unwraps the canary; answers nothing.
    Canary,
    /// Audits the key's attributes again; answers [`Audit`].
    Describe,
    /// Ends the helper.
    Shutdown,
    /// Looks at session, login and key without using the key; answers nothing.
    Look,
}

impl Op {
    fn code(self) -> u8 {
        match self {
            Self::Setup => 0,
            Self::Wrap => 1,
            Self::Unwrap => 2,
            Self::Random => 3,
            Self::Canary => 4,
            Self::Describe => 5,
            Self::Shutdown => 6,
            Self::Look => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [
            Self::Setup,
            Self::Wrap,
            Self::Unwrap,
            Self::Random,
            Self::Canary,
            Self::Describe,
            Self::Shutdown,
            Self::Look,
        ];
        all.into_iter().find(|op| op.code() == code)
    }
}

/// What a helper is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Serve wraps and unwraps until the socket closes.
    Serve,
    /// Report and end.
    Probe,
    /// Generate a key, answer its id and end.
    Generate,
}

/// The set-up of a helper. Holds no secret: the helper reads the PIN itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) task: Task,
    pub(crate) module: String,
    pub(crate) token_serial: Option<String>,
    pub(crate) token_label: Option<String>,
    pub(crate) key_label: String,
    pub(crate) key_id: Option<Vec<u8>>,
    pub(crate) pin: PinSource,
    pub(crate) pin_latch: Option<String>,
    pub(crate) workers: usize,
    /// Code of the pinned scheme; none before enrolment.
    pub(crate) scheme: Option<u32>,
    pub(crate) gcm_iv: Option<GcmIv>,
}

/// How a token that makes GCM's IV itself hands it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GcmIv {
    /// It writes it over the zeros it was given.
    WrittenBack,
    /// It is given none and appends it to the ciphertext.
    Appended,
}

/// One rung of the ladder at enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Code of the scheme.
    pub(crate) scheme: u32,
    /// Why it was refused; none if it passed.
    pub(crate) refusal: Option<String>,
}

/// What a helper tells about the key it generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generated {
    pub(crate) key_id: String,
    pub(crate) scheme: u32,
    /// Empty when the scheme was given.
    pub(crate) trials: Vec<Trial>,
}

/// Result of the audit of a key's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) key_id: String,
    pub(crate) check_value: Option<String>,
    pub(crate) attributes: Vec<(String, bool)>,
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// What a helper tells when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) token_serial: String,
    pub(crate) token_label: String,
    pub(crate) token_model: String,
    pub(crate) token_firmware: String,
    pub(crate) audit: Audit,
    /// Code of the scheme that was proved.
    pub(crate) scheme: u32,
    /// Empty when the scheme was pinned.
    pub(crate) trials: Vec<Trial>,
    pub(crate) tamper_codes: Vec<String>,
    pub(crate) canary_iv: String,
    pub(crate) canary_blob: String,
}

/// A request as the helper reads it.
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) op: Op,
    pub(crate) time_left: Duration,
    pub(crate) body: Secret,
}

fn frame(head: &[&[u8]], body: &[u8]) -> Secret {
    let length = head
        .iter()
        .fold(body.len(), |sum, part| sum.saturating_add(part.len()));
    // The whole frame at once: a growing buffer would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(4)));
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    head.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.extend_from_slice(body);
    bytes
}

/// A request, with its length in front.
pub(crate) fn request(id: u64, op: Op, time_left: Duration, body: &[u8]) -> Secret {
    let millis = u32::try_from(time_left.as_millis()).unwrap_or(u32::MAX);
    frame(&[&id.to_be_bytes(), &[op.code()], &millis.to_be_bytes()], body)
}

/// Reads a request; `None` if it is none.
pub(crate) fn read_request(bytes: &[u8]) -> Option<Request> {
    let (head, body) = bytes.split_at_checked(REQUEST_HEAD)?;
    let (id, head) = head.split_first_chunk()?;
    let (&op, head) = head.split_first()?;
    let millis = u32::from_be_bytes(*head.first_chunk()?);
    Some(Request {
        id: u64::from_be_bytes(*id),
        op: Op::from_code(op)?,
        time_left: Duration::from_millis(millis.into()),
        body: Zeroizing::new(body.to_vec()),
    })
}

/// An answer, with its length in front.
pub(crate) fn answer(id: u64, result: &Result<Secret, KeyError>) -> Secret {
    let id = id.to_be_bytes();
    match result {
        Ok(body) => frame(&[&id, &[0]], body),
        Err(error) => frame(&[&id, &[status(error)]], &error_body(error)),
    }
}

fn status(error: &KeyError) -> u8 {
    match error {
        KeyError::Unavailable { .. } => 1,
        KeyError::Timeout => 2,
        KeyError::Throttled => 3,
        KeyError::Denied => 4,
        KeyError::KeyNotFound => 5,
        KeyError::KeyNotUsable => 6,
        KeyError::InvalidCiphertext => 7,
        KeyError::NeedsOperator { .. } => 8,
        KeyError::Misconfigured { .. } => 9,
        KeyError::Internal => 10,
    }
}

fn error_body(error: &KeyError) -> Vec<u8> {
    match error {
        KeyError::Unavailable { retry_after } => u32::try_from(retry_after.as_millis())
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec(),
        KeyError::NeedsOperator { what } | KeyError::Misconfigured { what } => {
            what.bytes().take(TEXT_BYTES_MAX).collect()
        }
        KeyError::Timeout
        | KeyError::Throttled
        | KeyError::Denied
        | KeyError::KeyNotFound
        | KeyError::KeyNotUsable
        | KeyError::InvalidCiphertext
        | KeyError::Internal => Vec::new(),
    }
}

/// Reads an answer: its request and its result; `None` if it is none.
pub(crate) fn read_answer(bytes: &[u8]) -> Option<(u64, Result<Secret, KeyError>)> {
    let (head, body) = bytes.split_at_checked(ANSWER_HEAD)?;
    let (id, status) = head.split_first_chunk()?;
    let text = || String::from_utf8_lossy(body).into_owned();
    let result = match status.first()? {
        0 => Ok(Zeroizing::new(body.to_vec())),
        1 => {
            let millis = u32::from_be_bytes(*body.first_chunk()?);
            Err(KeyError::Unavailable {
                retry_after: Duration::from_millis(millis.into()),
            })
        }
        2 => Err(KeyError::Timeout),
        3 => Err(KeyError::Throttled),
        4 => Err(KeyError::Denied),
        5 => Err(KeyError::KeyNotFound),
        6 => Err(KeyError::KeyNotUsable),
        7 => Err(KeyError::InvalidCiphertext),
        8 => Err(KeyError::NeedsOperator { what: text() }),
        9 => Err(KeyError::Misconfigured { what: text() }),
        10 => Err(KeyError::Internal),
        _ => return None,
    };
    Some((u64::from_be_bytes(*id), result))
}

/// The length of the frame that follows; an error beyond the limit.
pub(crate) fn length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    Ok(length)
}

/// Reads one frame, without its length. An error includes the end of the stream.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Secret> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut bytes = Zeroizing::new(vec![0; length(head)?]);
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes one frame made by [`request`] or [`answer`].
pub(crate) fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// An IV and a blob, one after the other: the answer to [`Op::Wrap`] and the end of [`Op::Unwrap`]. The
/// length of the IV, in one byte, is in front.
pub(crate) fn wrap_bytes(iv: &[u8], blob: &[u8]) -> Vec<u8> {
    let length = u8::try_from(iv.len()).unwrap_or(u8::MAX);
    [&[length], iv, blob].concat()
}

/// Takes [`wrap_bytes`] apart: IV and blob.
pub(crate) fn wrap_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Takes the body of [`Op::Unwrap`] apart: context, IV and blob.
pub(crate) fn unwrap_parts(body: &[u8]) -> Option<(&[u8; WRAP_CONTEXT_BYTES], &[u8], &[u8])> {
    let (context, rest) = body.split_first_chunk()?;
    let (iv, blob) = wrap_of(rest)?;
    Some((context, iv, blob))
}

/// Takes the body of [`Op::Wrap`] apart: context and key.
pub(crate) fn wrap_parts(body: &[u8]) -> Option<(&[u8; WRAP_CONTEXT_BYTES], &[u8; KEY_BYTES])> {
    let (context, rest) = body.split_first_chunk()?;
    Some((context, rest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_and_long_ones_are_refused() {
        let sent = request(7, Op::Unwrap, Duration::from_millis(1500), b"body");
        let frame = read(&mut sent.as_slice()).unwrap();
        let back = read_request(&frame).unwrap();
        assert_eq!(
            (back.id, back.op, back.time_left.as_millis()),
            (7, Op::Unwrap, 1500)
        );
        assert_eq!(back.body.as_slice(), b"body");
        assert!(read(&mut [0, 0, 0x10, 0x01].as_slice()).is_err());
        assert!(read_request(&frame[..12]).is_none());
    }

    #[test]
    fn every_error_crosses_the_socket() {
        let what = "the PIN is locked".to_owned();
        let errors = [
            KeyError::Unavailable {
                retry_after: Duration::from_millis(250),
            },
            KeyError::Timeout,
            KeyError::Throttled,
            KeyError::Denied,
            KeyError::KeyNotFound,
            KeyError::KeyNotUsable,
            KeyError::InvalidCiphertext,
            KeyError::NeedsOperator { what: what.clone() },
            KeyError::Misconfigured { what },
            KeyError::Internal,
        ];
        for error in errors {
            let sent = answer(3, &Err(error.clone()));
            let (id, back) = read_answer(&sent[4..]).unwrap();
            assert_eq!(id, 3);
            assert!(back.is_err_and(|back| back == error));
        }
    }

    /// Whoever takes the helper over writes any bytes: what is read of them is written the same, or refused.
    #[test]
    fn bytes_of_a_helper_that_was_taken_over_are_read_one_way() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            // xorshift: the same bytes at every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let length = usize::try_from(draw() % 40).unwrap();
            let mut bytes: Vec<u8> = (0..length).map(|_| draw().to_le_bytes()[0]).collect();
            if let Some(status) = bytes.get_mut(8) {
                *status %= 12;
            }
            if let Some((id, result)) = read_answer(&bytes) {
                let again = answer(id, &result);
                let back = read_answer(&again[4..]).unwrap();
                assert_eq!((back.0, back.1.is_ok()), (id, result.is_ok()));
                assert_eq!(back.1.err(), result.err());
            }
            if let Some((iv, blob)) = wrap_of(&bytes) {
                assert_eq!(wrap_bytes(iv, blob), bytes);
            }
            if let Some(request) = read_request(&bytes) {
                let again = super::request(request.id, request.op, request.time_left, &request.body);
                assert_eq!(&again[4..], &bytes[..]);
            }
            let _ = serde_json::from_slice::<Report>(&bytes);
            let _ = serde_json::from_slice::<Audit>(&bytes);
        }
    }
}
