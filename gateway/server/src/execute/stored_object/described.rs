//! Reads what the end of a stored object says: its parts and the checksum that came after its body.
//!
//! What lives here: the tail read of objects whose bytes are not asked for. What must not: plaintext.
//! Invariant: a manifest that leaves here belongs to the header it is returned with.

use std::sync::Arc;

use bytes::Bytes;
use sceau_envelope::size;
use sceau_envelope::trailer::Suffix;

use super::{Answered, ObjectQuery, StoredObject, again, ask, collect, learn, short_body, single_layout};
use crate::app::Gateway;
use crate::crypt::layout_cache::LearntLayout;
use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::limits;
use crate::plan::fault;
use crate::plan::read::Ask;

/// Manifest and footer of an object of one part, in bytes (docs/format/, "Trailer").
const SINGLE_TRAILER_BYTES: u64 = size::MANIFEST_FIXED + size::MANIFEST_ENTRY + size::FOOTER;

/// Reads header, length and manifest: one request to the store, one or two more for an upload that was
/// not read lately.
pub async fn describe(gateway: &Gateway, query: &ObjectQuery<'_>) -> Result<StoredObject> {
    for _ in 0..limits::READ_ATTEMPTS_MAX {
        if let Some(object) = try_describe(gateway, query).await? {
            return Ok(object);
        }
    }
    Err(GatewayError::new(
        Kind::StoreUnavailable,
        "the object changed during each attempt to read its parts",
    ))
}

/// One attempt; `None` when the object was replaced between two requests.
async fn try_describe(gateway: &Gateway, query: &ObjectQuery<'_>) -> Result<Option<StoredObject>> {
    let mut answered = ask(gateway, query, Ask::Tail(SINGLE_TRAILER_BYTES), None).await?;
    let learnt = if answered.header.is_multi {
        match known(gateway, query, &answered) {
            Some(learnt) => learnt,
            None => match learn(gateway, query, &answered).await? {
                Some(learnt) => learnt,
                None => return Ok(None),
            },
        }
    } else {
        single_layout(&answered)?;
        let length = usize::try_from(answered.sent.range.len()).map_err(|_| short_body())?;
        let tail = collect(&mut answered.body, length).await?;
        let suffix = Suffix::open(&gateway.engine, &answered.header, &tail).map_err(fault::trailer_error)?;
        of_single(suffix, &answered.header_value, answered.sent.stored_len)?
    };
    let layout = learnt.manifest.layout().clone();
    Ok(Some(answered.into_object(&layout, Some(learnt)).0))
}

/// The manifest of an object of a single PUT that was opened without it; `None` when the object was
/// replaced since.
pub async fn trailing_manifest(
    gateway: &Gateway,
    query: &ObjectQuery<'_>,
    object: &StoredObject,
) -> Result<Option<Arc<LearntLayout>>> {
    let Some((mut body, sent)) = again(gateway, query, object, Ask::Tail(SINGLE_TRAILER_BYTES)).await? else {
        return Ok(None);
    };
    let length = usize::try_from(sent.range.len()).map_err(|_| short_body())?;
    let tail: Bytes = collect(&mut body, length).await?;
    let suffix = Suffix::open(&gateway.engine, &object.header, &tail).map_err(fault::trailer_error)?;
    of_single(suffix, &object.header_value, object.stored_len).map(Some)
}

/// What the cache knows of exactly this object.
fn known(gateway: &Gateway, query: &ObjectQuery<'_>, answered: &Answered) -> Option<Arc<LearntLayout>> {
    let learnt = gateway.layouts.find(query.bucket.name(), query.key)?;
    let is_same =
        learnt.header_value == answered.header_value && learnt.stored_len == answered.sent.stored_len;
    is_same.then_some(learnt)
}

fn of_single(suffix: Suffix, header_value: &str, stored_len: u64) -> Result<Arc<LearntLayout>> {
    match suffix {
        Suffix::Complete(_, manifest) => Ok(Arc::new(LearntLayout {
            header_value: header_value.to_owned(),
            stored_len,
            manifest,
        })),
        Suffix::Need(..) => Err(GatewayError::integrity(
            Integrity::Trailer,
            "the manifest of a single object has more than one part",
        )),
    }
}
