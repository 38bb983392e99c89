//! How the parts of an upload become an object.
//!
//! What lives here: the rules of CompleteMultipartUpload. What must not: the index, HTTP.
//! Invariant: the entity tag of the result is S3's own: MD5 over the parts' MD5s, and their number.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use sceau_s3wire::error::ErrorCode;

use crate::blob::Piece;
use crate::record::{Upload, total_bytes};

/// Smallest part that may be followed by another.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// Highest part number.
pub(crate) const PART_NUMBER_MAX: u32 = 10_000;

/// One part as the client names it at the end.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct CompletedPart {
    pub number: u32,
    /// Without quotes.
    pub etag: String,
}

/// Checks the client's list and puts the pieces in order.
pub(crate) fn assemble(upload: &Upload, parts: &[CompletedPart]) -> Result<(String, Vec<Piece>), ErrorCode> {
    let in_order = parts
        .iter()
        .zip(parts.iter().skip(1))
        .all(|(one, next)| one.number < next.number);
    if !in_order {
        return Err(ErrorCode::InvalidPartOrder);
    }
    let mut hash = Md5::new();
    let mut pieces = Vec::new();
    for (index, named) in parts.iter().enumerate() {
        let part = upload
            .parts
            .get(&named.number)
            .filter(|part| part.etag == named.etag);
        let part = part.ok_or(ErrorCode::InvalidPart)?;
        let is_last = index.saturating_add(1) == parts.len();
        if !is_last && total_bytes(&part.pieces) < PART_BYTES_MIN {
            return Err(ErrorCode::EntityTooSmall);
        }
        let digest = HEXLOWER
            .decode(part.etag.as_bytes())
            .map_err(|_| ErrorCode::InternalError)?;
        hash.update(&digest);
        pieces.extend(part.pieces.iter().cloned());
    }
    if parts.is_empty() {
        return Err(ErrorCode::MalformedXml);
    }
    let etag = format!("{}-{}", HEXLOWER.encode(&hash.finalize()), parts.len());
    Ok((etag, pieces))
}
