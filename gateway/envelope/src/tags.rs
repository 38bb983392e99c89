//! Object tags: the tag set of one object, sealed into tags of the store (§5.5).
//!
//! What lives here: sealing a set into pieces, recognising pieces among a store's tags, opening them.
//! What must not: S3's rules for tags, the store's tag documents. Invariant: a set opens only for the
//! object instance and the name that it was sealed for, only whole, and a store's tags are either all
//! pieces of one set or none of them is.
//!
//! Attacks considered. A piece changed, cut, added, left out, or taken from another set of the same
//! object: the pieces are one ciphertext, so it does not open. The set of another object, or of a copy,
//! which shares data key and identifier with its source: both the identifier and the context hash are
//! in the AAD. A set that a client writes under these names to be opened later: the names are refused
//! from clients (`is_reserved`), and it would not open. Not prevented: an older set of the same object
//! put back, and the whole set taken away (§11).

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::bytes_io::Cursor;
use crate::context::Context;
use crate::engine::{Engine, IV_BYTES, TAG_BYTES};
use crate::error::{SealError, TagsError};
use crate::header::Suite;
use crate::secrets::ObjectSecrets;

/// Start of the tag names that belong to the format, compared without regard to case.
pub const RESERVED_PREFIX: &str = "sceaut";
/// Most tags of one object, sealed or stored: S3's limit.
pub const TAGS_MAX: usize = 10;
/// Most bytes of an encoded tag set: one, and four for each tag beside its key and value.
pub const SET_BYTES_MAX: usize = plain_bytes(TAGS_MAX);

/// Name of every piece, before its letter.
const PIECE_NAME: &str = "sceaut1";
/// The letters of the pieces, in order.
const LETTERS: [char; TAGS_MAX] = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
/// Characters of one piece: S3's limit for the value of a tag.
const PIECE_CHARS: usize = 256;
/// Bytes of one piece.
const PIECE_BYTES: usize = 192;
/// The numbers of pieces that occur: all that a store learns of the length of a set.
const PIECE_COUNTS: [usize; 3] = [2, 5, TAGS_MAX];
const VERSION: u8 = 1;
/// Version and suite.
const PREFIX: usize = 2;

/// One tag: key and value. In a sealed set of tags, or a piece of it as a tag of the store.
pub type TagPair = (String, String);

/// Bytes of plaintext that so many pieces hold.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "constants: two pieces are far more than 30 bytes"
)]
const fn plain_bytes(pieces: usize) -> usize {
    pieces * PIECE_BYTES - PREFIX - IV_BYTES - TAG_BYTES
}

/// What a store's tags are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Ordinary tags, or none.
    Clear,
    /// At least one name of the format.
    Sealed,
}

/// Whether a tag of this key belongs to the format and not to clients.
pub fn is_reserved(key: &str) -> bool {
    key.get(..RESERVED_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
}

/// Recognises a sealed set by its names, nothing verified.
pub fn form(stored: &[TagPair]) -> Form {
    if stored.iter().any(|(key, _)| is_reserved(key)) {
        Form::Sealed
    } else {
        Form::Clear
    }
}

/// Seals a set for one object instance under one name: 2, 5 or 10 tags for the store, in order. The order
/// of the tags given is not kept.
///
/// # Errors
/// [`SealError::MetadataTooLarge`] if it has more than [`TAGS_MAX`] tags or [`SET_BYTES_MAX`] encoded
/// bytes; [`SealError::MetadataInvalid`] if a key occurs twice; [`SealError::Random`],
/// [`SealError::Engine`].
pub fn seal(
    engine: &Engine,
    secrets: &ObjectSecrets,
    context: &Context,
    tags: &[TagPair],
) -> Result<Vec<TagPair>, SealError> {
    let mut plain = encode(tags)?;
    let room = PIECE_COUNTS
        .iter()
        .map(|pieces| plain_bytes(*pieces))
        .find(|room| plain.len() <= *room)
        .ok_or(SealError::MetadataTooLarge)?;
    plain.resize(room, 0);
    let prefix = [VERSION, Suite::FloeAes256Gcm.code()];
    let key = engine.key(&secrets.tags_key())?;
    let (iv, tag) = key.seal(&secrets.tags_aad(prefix, context), &mut plain)?;
    let sealed = [&prefix[..], &iv, &plain, &tag].concat();
    let pieces = sealed.chunks(PIECE_BYTES).zip(LETTERS);
    Ok(pieces
        .map(|(piece, letter)| (format!("{PIECE_NAME}{letter}"), BASE64URL_NOPAD.encode(piece)))
        .collect())
}

/// Opens the tags of a store that are of [`Form::Sealed`]; their order does not matter. The set comes
/// with its keys in ascending order of their bytes.
///
/// # Errors
/// [`TagsError::Malformed`] when they are not exactly the pieces of one set; [`TagsError::NotAuthentic`]
/// when that set was not sealed for this object and name, or was changed.
pub fn open(
    engine: &Engine,
    secrets: &ObjectSecrets,
    context: &Context,
    stored: &[TagPair],
) -> Result<Vec<TagPair>, TagsError> {
    let sealed = join(stored).ok_or(TagsError::Malformed)?;
    let (prefix, rest) = sealed.split_first_chunk::<PREFIX>().ok_or(TagsError::Malformed)?;
    if *prefix != [VERSION, Suite::FloeAes256Gcm.code()] {
        return Err(TagsError::Malformed);
    }
    let (iv, text) = rest.split_first_chunk::<IV_BYTES>().ok_or(TagsError::Malformed)?;
    let mut plain = Zeroizing::new(text.to_vec());
    let key = engine
        .key(&secrets.tags_key())
        .map_err(|_| TagsError::NotAuthentic)?;
    key.open(iv, &secrets.tags_aad(*prefix, context), &mut plain)
        .map_err(|_| TagsError::NotAuthentic)?;
    let (plain, _tag) = plain
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(TagsError::Malformed)?;
    decode(plain).ok_or(TagsError::NotAuthentic)
}

/// The bytes of the pieces, if these are the pieces of one set and nothing else.
fn join(stored: &[TagPair]) -> Option<Vec<u8>> {
    if !PIECE_COUNTS.contains(&stored.len()) {
        return None;
    }
    let mut sealed = Vec::new();
    // As many names as tags, each found: no other tag has room, and none occurs twice.
    for letter in LETTERS.iter().take(stored.len()) {
        let name = format!("{PIECE_NAME}{letter}");
        let (_, value) = stored.iter().find(|(key, _)| *key == name)?;
        if value.len() != PIECE_CHARS {
            return None;
        }
        sealed.extend(BASE64URL_NOPAD.decode(value.as_bytes()).ok()?);
    }
    Some(sealed)
}

/// `u8` count, then for each tag in ascending order of its key `u16` length ‖ key ‖ `u16` length ‖ value.
/// The result has room for the largest padding, so that growing leaves no copy behind.
fn encode(tags: &[TagPair]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let count = u8::try_from(tags.len()).map_err(|_| SealError::MetadataTooLarge)?;
    if tags.len() > TAGS_MAX {
        return Err(SealError::MetadataTooLarge);
    }
    let mut sorted: Vec<&TagPair> = tags.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| key.as_bytes());
    let is_repeated = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .any(|(one, next)| one.0 == next.0);
    if is_repeated {
        return Err(SealError::MetadataInvalid);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(SET_BYTES_MAX));
    plain.push(count);
    for text in sorted.iter().flat_map(|(key, value)| [key, value]) {
        let length = u16::try_from(text.len()).map_err(|_| SealError::MetadataTooLarge)?;
        let after = plain.len().saturating_add(text.len()).saturating_add(2);
        if after > SET_BYTES_MAX {
            return Err(SealError::MetadataTooLarge);
        }
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
    }
    Ok(plain)
}

/// The set, if it is encoded as a writer encodes it.
fn decode(plain: &[u8]) -> Option<Vec<TagPair>> {
    let mut cursor = Cursor::new(plain);
    let count = usize::from(cursor.u8()?);
    let mut tags: Vec<TagPair> = Vec::new();
    for _ in 0..count {
        let mut text = || {
            let length = usize::from(cursor.u16()?);
            String::from_utf8(cursor.take(length)?.to_vec()).ok()
        };
        let tag = (text()?, text()?);
        if tags
            .last()
            .is_some_and(|(last, _)| last.as_bytes() >= tag.0.as_bytes())
        {
            return None;
        }
        tags.push(tag);
    }
    let padding = cursor.rest();
    let used = plain.len().saturating_sub(padding.len());
    let room = PIECE_COUNTS
        .iter()
        .map(|pieces| plain_bytes(*pieces))
        .find(|room| used <= *room);
    let is_canonical =
        count <= TAGS_MAX && room == Some(plain.len()) && padding.iter().all(|byte| *byte == 0);
    is_canonical.then_some(tags)
}
