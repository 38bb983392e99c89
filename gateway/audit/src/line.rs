//! A record as it is stored: one line of JSON.
//!
//! What lives here: the fields, their order, and reading a line back. What must not: the chain's arithmetic.
//! Invariant: the order of fields is that of [`Line`], empty ones are left out, and there is no white space,
//! so that one record has one line.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Class;

/// Version of the record's fields. A reader refuses others.
pub const SCHEMA_VERSION: u16 = 1;

/// Longest line that is read, in bytes, without its end: an object key of 1024 bytes, each escaped to six,
/// beside fields that are all shorter.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a hash in hexadecimal.
pub(crate) const HASH_TEXT_BYTES: usize = 64;

/// What stands in front of the authenticator, which is a checkpoint's last field.
const MAC_FIELD: &str = ",\"mac\":\"";
/// Its end.
const MAC_END: &str = "\"}";

/// Why a line cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// Not JSON with the fields of a record.
    Form,
    /// Made by another version.
    Version,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

/// The fields of a record. What is empty does not apply.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "docs/operations.md lists the fields; `Event` says what each is"
)]
pub struct Line<'a> {
    pub v: u16,
    pub seq: u64,
    #[serde(borrow)]
    pub prev: Cow<'a, str>,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub instance: Cow<'a, str>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub request_id: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub client: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub principal: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub session: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub auth: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub method: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub operation: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub reason: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub bucket: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub key: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub key_hash: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub key_record: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub decision: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub outcome: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub error: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub side: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub detail: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub mac_key: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "is_empty")]
    pub mac: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// Reads one line, without its end.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| LineError::Form)?;
        let parsed: Line<'a> = serde_json::from_str(text).map_err(|_| LineError::Form)?;
        if parsed.v != SCHEMA_VERSION {
            return Err(LineError::Version);
        }
        let is_whole = parsed.prev.len() == HASH_TEXT_BYTES
            && crate::parse_time(&parsed.time).is_some()
            && !parsed.instance.is_empty()
            && parsed.class().is_some();
        is_whole.then_some(parsed).ok_or(LineError::Form)
    }

    /// Which kind of event it is; `None` for a name that is not known.
    pub fn class(&self) -> Option<Class> {
        Class::parse(&self.event)
    }

    /// Its time in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        crate::parse_time(&self.time).unwrap_or_default()
    }

    /// The line's bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Texts and numbers into memory: there is nothing that could fail.
        let _ = serde_json::to_writer(out, self);
    }
}

/// The hash of a line, which the next one names.
pub(crate) fn hash(line: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(line))
}

/// Puts `mac` behind the last field of the checkpoint in `line`.
pub(crate) fn attach_mac(line: &mut Vec<u8>, mac: &str) {
    line.pop();
    for piece in [MAC_FIELD, mac, MAC_END] {
        line.extend_from_slice(piece.as_bytes());
    }
}

/// The bytes of a checkpoint that its authenticator covers, with the bracket that it stood before; `None` if
/// the authenticator is not the last field.
pub(crate) fn covered_by_mac(line: &[u8], mac: &str) -> Option<Vec<u8>> {
    let rest = line.strip_suffix(MAC_END.as_bytes())?;
    let rest = rest
        .strip_suffix(mac.as_bytes())?
        .strip_suffix(MAC_FIELD.as_bytes())?;
    let mut covered = rest.to_vec();
    covered.push(b'}');
    Some(covered)
}
