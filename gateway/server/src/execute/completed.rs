//! A CompleteMultipartUpload that comes again after it was carried out.
//!
//! What lives here: the proof that the object which is there now is what that completion made. What must
//! not: completing. Invariant: nothing is written, and only an object whose manifest has exactly the parts
//! named, each vouched for by its ticket under the object's own secrets, is answered as the result.

use http::{HeaderMap, header};
use sceau_envelope::Ticket;
use sceau_envelope::etag::{split_checksum, split_part_etag};
use sceau_envelope::secrets::{ObjectSecrets, PartNumber};
use sceau_envelope::ticket::verify_checksum;
use sceau_envelope::trailer::PartEntry;
use sceau_kms::Reason;
use sceau_s3wire::etag;
use sceau_s3wire::xml::CompletedPart;

use crate::app::Gateway;
use crate::execute::etag_to_client;
use crate::execute::multipart::{Completed, whole_crc};
use crate::execute::read::whole_checksum;
use crate::execute::sealing::SealedBucket;
use crate::execute::stored_object::{self, ObjectQuery, Reader};
use crate::plan::metadata::WholeChecksum;
use crate::plan::request::UploadRef;
use crate::plan::sse;

const VERSION_ID: &str = "x-amz-version-id";

/// The result of the completion of `upload` with these parts, if it was carried out and its object was not
/// replaced since. `None` also when nothing can be proven: parts without tickets, or the object cannot be
/// read now.
///
/// Attack considered: another object of the same name is taken for the result (tickets are under the data
/// key and identifier that the upload drew; a copy shares both, and has the same bytes).
pub(super) async fn find(
    gateway: &Gateway,
    bucket: &SealedBucket,
    upload: &UploadRef,
    listed: &[CompletedPart],
) -> Option<Completed> {
    let query = ObjectQuery {
        bucket,
        key: &upload.name.key,
        version: None,
        conditions: &HeaderMap::new(),
        reason: Reason::Multipart,
        reader: Reader::NoPlaintext,
    };
    let object = stored_object::describe(gateway, &query).await.ok()?;
    let entries = object.manifest.as_ref()?.manifest.layout().parts();
    let secrets = &object.header.secrets;
    let is_same = !listed.is_empty()
        && listed.len() == entries.len()
        && listed
            .iter()
            .zip(entries)
            .all(|(part, entry)| is_of(secrets, part, entry));
    if !is_same {
        return None;
    }
    let etag = object.store_headers.get(header::ETAG).and_then(etag_to_client)?;
    let mut headers = HeaderMap::new();
    sse::echo(&object.header.metadata, &mut headers);
    if let Some(version) = object.store_headers.get(VERSION_ID) {
        headers.insert(VERSION_ID, version.clone());
    }
    Some(Completed {
        etag: etag::opaque(etag.to_str().ok()?).to_owned(),
        crc: whole_crc(entries.iter()).map(WholeChecksum::Full),
        checksum: whole_checksum(&object),
        headers,
    })
}

/// Whether the ETag that an upload of a part answered is that of this entry.
fn is_of(secrets: &ObjectSecrets, part: &CompletedPart, entry: &PartEntry) -> bool {
    let Some(number) = PartNumber::upload(part.number).filter(|number| *number == entry.number) else {
        return false;
    };
    let Some(ticket) = ticket(secrets, number, &part.etag) else {
        return false;
    };
    entry.iv == Some(ticket.iv) && entry.plain_len == ticket.plain_len && entry.crc64 == ticket.crc64
}

fn ticket(secrets: &ObjectSecrets, number: PartNumber, etag: &str) -> Option<Ticket> {
    let (checksum, rest) = split_checksum(etag);
    let is_announced =
        checksum.is_some_and(|checksum| verify_checksum(checksum, secrets, number, rest).is_some());
    let etag = split_part_etag(if is_announced { rest } else { etag })?;
    Ticket::verify(etag.ticket?, secrets, number, etag.store).ok()
}
