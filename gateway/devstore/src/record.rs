//! What the store remembers about buckets, objects and uploads, and its form on disk.
//!
//! What lives here: plain values. What must not: files or locks. Invariant: the form on disk names
//! everything a restart needs; the index in memory is only ever rebuilt from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blob::Piece;

/// Version of the form on disk.
pub(crate) const FORM_VERSION: u32 = 1;

/// Headers that are kept with an object and answered with it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Attributes {
    /// Content-Type and its kin, lower-case names.
    pub headers: BTreeMap<String, String>,
    /// User metadata, without the `x-amz-meta-` prefix.
    pub metadata: BTreeMap<String, String>,
    /// Tags, by key.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// One object.
#[derive(Clone)]
pub(crate) struct Object {
    /// Entity tag without quotes.
    pub etag: String,
    pub modified_ms: u64,
    pub attributes: Attributes,
    /// The multipart upload this version was completed from.
    pub upload: Option<String>,
    pub pieces: Vec<Piece>,
}

/// One part of an open upload.
#[derive(Clone)]
pub(crate) struct Part {
    /// Entity tag without quotes: the MD5 in hex.
    pub etag: String,
    pub modified_ms: u64,
    pub pieces: Vec<Piece>,
}

/// One open upload.
#[derive(Clone)]
pub(crate) struct Upload {
    pub key: String,
    pub started_ms: u64,
    pub attributes: Attributes,
    pub parts: BTreeMap<u32, Part>,
}

/// One bucket.
#[derive(Default)]
pub(crate) struct Bucket {
    pub created_ms: u64,
    /// By key, in UTF-8 byte order.
    pub objects: BTreeMap<String, Object>,
    /// By upload id.
    pub uploads: BTreeMap<String, Upload>,
}

/// Length of a run of pieces.
pub(crate) fn total_bytes(pieces: &[Piece]) -> u64 {
    pieces
        .iter()
        .fold(0, |sum, piece| sum.saturating_add(piece.bytes))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PieceFile {
    pub blob: String,
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketFile {
    pub version: u32,
    pub name: String,
    pub created_ms: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectFile {
    pub version: u32,
    pub bucket: String,
    pub key: String,
    pub etag: String,
    pub modified_ms: u64,
    pub attributes: Attributes,
    pub upload: Option<String>,
    pub pieces: Vec<PieceFile>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UploadFile {
    pub version: u32,
    pub bucket: String,
    pub key: String,
    pub id: String,
    pub started_ms: u64,
    pub attributes: Attributes,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartFile {
    pub version: u32,
    pub bucket: String,
    pub upload: String,
    pub number: u32,
    pub etag: String,
    pub modified_ms: u64,
    pub pieces: Vec<PieceFile>,
}

/// The form of pieces on disk.
pub(crate) fn piece_files(pieces: &[Piece]) -> Vec<PieceFile> {
    let form = |piece: &Piece| PieceFile {
        blob: piece.blob.id().to_owned(),
        offset: piece.offset,
        bytes: piece.bytes,
    };
    pieces.iter().map(form).collect()
}
