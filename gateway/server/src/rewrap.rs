//! Moves the headers of stored objects to the newest epoch of their bucket.
//!
//! What lives here: one object's move, and the pages of a bucket. What must not: payload; the store copies the
//! object onto itself and only its metadata is new. Invariant: a header is replaced only by one with the same
//! data key, lengths and metadata, and only while the object still has the entity tag under which it was read.
//!
//! The attack considered: the store answers with the header of another object, or an old one. It opens only
//! for this bucket and name, so an old header of the same object is all that it can have moved, which it could
//! serve without us as well.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sceau_envelope::SealedHeader;
use sceau_keys::{Epoch, Krid};
use sceau_kms::Reason;
use sceau_s3wire::copy_source;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::{CopyOutcome, ListPage};

use crate::app::Gateway;
use crate::error::{GatewayError, Kind, Result};
use crate::examine::decoded;
use crate::execute::put::{insert_sealed, seal_header};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{CopyRange, StoreUpload, done, odd_answer, send, success};
use crate::execute::stored_object::{self, HEADER_METADATA};
use crate::plan::fault;
use crate::upstream::StoreRequest;

/// Largest object that S3 copies in one request, in bytes.
pub const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// Smallest limit of a copy in bytes: S3 takes no smaller part but the last.
pub const COPY_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// Largest part of an object that is copied in parts, in bytes: one that a store copies well within the time of an
/// answer.
const PART_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Most parts of an upload (S3).
const PARTS_MAX: u64 = 10_000;

/// Keys asked for at once: a run that was cut looks at no more than these again.
const PAGE_KEYS: u16 = 250;

/// How often an object that changes meanwhile is tried.
const ATTEMPTS_MAX: u32 = 3;

/// What a copy with new metadata would lose, so it is repeated from what the store says of the object.
const REPEATED: [HeaderName; 10] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::EXPIRES,
    HeaderName::from_static("x-amz-storage-class"),
    HeaderName::from_static("x-amz-website-redirect-location"),
    HeaderName::from_static("x-amz-server-side-encryption"),
    HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"),
    HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled"),
];

/// Begins the names of user metadata at the store.
const METADATA_PREFIX: &str = "x-amz-meta-";

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// Its header is sealed under the newest epoch now; before it was under the named one.
    Yes(Epoch),
    /// It was there already.
    Already,
    /// It is of another epoch than the one to be moved from.
    OtherEpoch,
    /// It went away meanwhile.
    Gone,
    /// It was not written through a gateway.
    NotSealed,
    /// Object Lock holds it: a copy would be a new version without the lock.
    Locked,
    /// Too large for one copy, and not to be copied in parts: it has tags, which could change meanwhile unnoticed,
    /// or the store has no conditional completion.
    TooLarge,
    /// In a storage class that must be restored before it is copied.
    Archived,
}

/// A bucket whose headers are moved.
pub struct Mover {
    gateway: Arc<Gateway>,
    bucket: SealedBucket,
    target: String,
    from: Option<Epoch>,
    copy_max: u64,
}

impl Mover {
    /// Prepares a move to the epoch that seals each name now, from any other epoch or from the one named. Objects
    /// of more than `copy_max` bytes, from [`COPY_BYTES_MIN`] to [`COPY_BYTES_MAX`], are copied in parts.
    pub async fn new(
        gateway: Arc<Gateway>,
        bucket: &str,
        from: Option<Epoch>,
        copy_max: u64,
    ) -> Result<Self> {
        let bucket = SealedBucket::find(&gateway, bucket).await?;
        let keyring = gateway.keyring.keyring();
        let content = keyring.content();
        let id = bucket.entry().bucket;
        let newest = |domain| {
            content
                .newest_record(id, domain)
                .map(|record| record.krid.to_string())
        };
        let newest: Vec<_> = content.domains(id).into_iter().filter_map(newest).collect();
        Ok(Self {
            target: newest.join(" "),
            gateway,
            bucket,
            from,
            copy_max: copy_max.clamp(COPY_BYTES_MIN, COPY_BYTES_MAX),
        })
    }

    /// The records that headers are moved to: of the bucket, then of each of its shred domains.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the store keeps versions of this bucket's objects: each move then makes one.
    pub async fn keeps_versions(&self) -> Result<bool> {
        let mut ask = StoreRequest::new(Method::GET).bucket(self.bucket.name());
        ask.query.push(("versioning".to_owned(), None));
        let response = send(&self.gateway, ask).await?;
        if !response.head.status.is_success() {
            // Stores without versions have no such document.
            return Ok(false);
        }
        let (_, body) = success(response).await?;
        Ok(String::from_utf8_lossy(&body).contains("<Status>Enabled"))
    }

    /// The keys under `prefix` that follow `after`, at most a store's page; and whether there are more.
    pub async fn page(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        let mut list = StoreRequest::new(Method::GET)
            .bucket(self.bucket.name())
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("max-keys", PAGE_KEYS.to_string())
            .query("prefix", prefix);
        if let Some(after) = after {
            list = list.query("start-after", after);
        }
        let (_, body) = success(send(&self.gateway, list).await?).await?;
        let page = ListPage::parse(&body).map_err(odd_answer)?;
        let keys = page.objects.into_iter().map(|object| match page.is_url_encoded {
            true => decoded(&object.key),
            false => Ok(object.key),
        });
        Ok((keys.collect::<Result<Vec<_>>>()?, page.is_truncated))
    }

    /// Moves one object's header; only looks if `is_trial`.
    pub async fn move_one(&self, key: &str, is_trial: bool) -> Result<Moved> {
        let mut attempts = 0;
        loop {
            attempts = u32::saturating_add(attempts, 1);
            match self.try_move(key, is_trial).await {
                // Replaced between the look and the copy: look again.
                Err(error)
                    if attempts < ATTEMPTS_MAX
                        && error.kind == Kind::Answer(ErrorCode::PreconditionFailed) => {}
                Err(error) if is_gone(&error) => return Ok(Moved::Gone),
                outcome => return outcome,
            }
        }
    }

    async fn try_move(&self, key: &str, is_trial: bool) -> Result<Moved> {
        let stored = self.look(key).await?;
        let Some(value) = stored.get(HEADER_METADATA) else {
            return Ok(Moved::NotSealed);
        };
        let value = value.to_str().map_err(|_| odd("the sealed header is not text"))?;
        let sealed = SealedHeader::parse(value).map_err(fault::header_error)?;
        let target = self.bucket.seal_keys(&self.gateway, key, Reason::Rewrap).await?;
        let epoch = match self.wanted(&sealed, target.krid()) {
            Ok(epoch) => epoch,
            Err(why_not) => return Ok(why_not),
        };
        let length = content_length(&stored)?;
        if let Some(hindrance) = hindrance(&stored) {
            return Ok(hindrance);
        }
        let is_large = length > self.copy_max;
        if is_large && !self.is_copied_in_parts(&stored, length) {
            return Ok(Moved::TooLarge);
        }
        if is_trial {
            return Ok(Moved::Yes(epoch));
        }
        self.bucket.check_suite(sealed.suite())?;
        let keys = self
            .bucket
            .open_keys(&self.gateway, sealed.krid(), Reason::Rewrap)
            .await?;
        let context = self.bucket.context(key);
        let object = sealed
            .open(&self.gateway.engine, &keys, &context)
            .map_err(fault::header_error)?;
        if !object.is_multi {
            // A header that does not belong to these bytes is not made to look newer than it is.
            object.check_stored_len(length).map_err(fault::header_error)?;
        }
        let value = seal_header(&self.gateway, &self.bucket, key, &object, &target)?;
        match is_large {
            true => self.copy_in_parts(key, &stored, &value, length).await?,
            false => self.copy_onto_itself(key, &stored, &value).await?,
        }
        self.check_renewed(key, &stored).await?;
        Ok(Moved::Yes(epoch))
    }

    /// The epoch of a header that is to be moved, or why it is not.
    fn wanted(&self, sealed: &SealedHeader, target: Krid) -> std::result::Result<Epoch, Moved> {
        if sealed.krid() == target {
            return Err(Moved::Already);
        }
        let keyring = self.gateway.keyring.keyring();
        let epoch = keyring.content().record(sealed.krid()).map(|record| record.epoch);
        match (self.from, epoch) {
            (Some(from), Some(epoch)) if epoch != from => Err(Moved::OtherEpoch),
            // A record that the keyring does not know is refused when the header is opened.
            (_, epoch) => Ok(epoch.unwrap_or_default()),
        }
    }

    /// HEAD: what the store says of the object, without a byte of it.
    async fn look(&self, key: &str) -> Result<HeaderMap> {
        let request = StoreRequest::new(Method::HEAD)
            .bucket(self.bucket.name())
            .key(key);
        let response = send(&self.gateway, request).await?;
        if response.head.status == StatusCode::OK {
            return Ok(response.head.headers);
        }
        Err(stored_object::refusal(response).await)
    }

    /// The source is the current object, never a version by its id: a copy of an older version would take the
    /// place of what a client wrote meanwhile.
    async fn copy_onto_itself(&self, key: &str, stored: &HeaderMap, value: &str) -> Result<()> {
        let mut request = StoreRequest::new(Method::PUT).bucket(self.bucket.name()).key(key);
        let source = copy_source::encode(self.bucket.name(), key, None);
        let source = HeaderValue::from_str(&source).map_err(|_| odd("the key"))?;
        request.headers = renewed(stored, value)?;
        let headers = &mut request.headers;
        headers.insert("x-amz-copy-source", source);
        headers.insert("x-amz-copy-source-if-match", entity_tag(stored)?.clone());
        headers.insert("x-amz-metadata-directive", HeaderValue::from_static("REPLACE"));
        if self.gateway.store.capabilities().object_tags {
            // Sealed tags belong to name and data key, which stay.
            headers.insert("x-amz-tagging-directive", HeaderValue::from_static("COPY"));
        }
        let (_, body) = success(send(&self.gateway, request).await?).await?;
        done(CopyOutcome::parse(&body))?;
        Ok(())
    }

    /// Whether an object that is too large for one copy can be copied in parts and lose nothing.
    fn is_copied_in_parts(&self, stored: &HeaderMap, length: u64) -> bool {
        let has_tags = stored
            .get("x-amz-tagging-count")
            .is_some_and(|count| count.as_bytes() != b"0");
        self.gateway.store.capabilities().conditional_writes
            && !has_tags
            && length.div_ceil(self.part_bytes()) <= PARTS_MAX
    }

    fn part_bytes(&self) -> u64 {
        self.copy_max.min(PART_BYTES_MAX)
    }

    /// As [`Self::copy_onto_itself`], by an upload whose parts the store copies. It is completed only if the object
    /// still is the one that was read.
    async fn copy_in_parts(&self, key: &str, stored: &HeaderMap, value: &str, length: u64) -> Result<()> {
        let headers = renewed(stored, value)?;
        let upload = StoreUpload::create(&self.gateway, self.bucket.name(), key, headers).await?;
        let outcome = self.fill(&upload, key, entity_tag(stored)?, length).await;
        if outcome.is_err() {
            upload.abort().await;
        }
        outcome
    }

    async fn fill(&self, upload: &StoreUpload<'_>, key: &str, etag: &HeaderValue, length: u64) -> Result<()> {
        let mut parts = Vec::new();
        let mut first = 0;
        for number in 1.. {
            if first >= length {
                break;
            }
            let end = u64::saturating_add(first, self.part_bytes()).min(length);
            let range = CopyRange {
                source: copy_source::encode(self.bucket.name(), key, None),
                etag,
                first,
                last: end.saturating_sub(1),
            };
            parts.push((number, upload.copy_part(number, &range).await?));
            first = end;
        }
        let conditions = HeaderMap::from_iter([(header::IF_MATCH, etag.clone())]);
        upload.complete(&parts, conditions).await.map(|_| ())
    }

    /// Some stores answer 200 and keep the old metadata.
    async fn check_renewed(&self, key: &str, stored: &HeaderMap) -> Result<()> {
        let after = self.look(key).await?;
        match after.get(HEADER_METADATA) == stored.get(HEADER_METADATA) {
            true => Err(odd("the store copied the object and kept its old metadata")),
            false => Ok(()),
        }
    }
}

/// What the object has beside its content, with another sealed header.
fn renewed(stored: &HeaderMap, value: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in stored {
        if REPEATED.contains(name) || name.as_str().starts_with(METADATA_PREFIX) {
            headers.append(name.clone(), value.clone());
        }
    }
    insert_sealed(&mut headers, value)?;
    if let Some(kind) = stored.get(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    Ok(headers)
}

fn entity_tag(stored: &HeaderMap) -> Result<&HeaderValue> {
    stored
        .get(header::ETAG)
        .ok_or_else(|| odd("the store sent no ETag"))
}

/// What keeps an object from being copied onto itself.
fn hindrance(stored: &HeaderMap) -> Option<Moved> {
    let is = |name: &str, value: &str| stored.get(name).is_some_and(|found| found == value);
    if stored.contains_key("x-amz-object-lock-mode") || is("x-amz-object-lock-legal-hold", "ON") {
        return Some(Moved::Locked);
    }
    let class = stored.get("x-amz-storage-class").map(HeaderValue::as_bytes);
    let is_archived = matches!(class, Some(b"GLACIER" | b"DEEP_ARCHIVE"));
    is_archived.then_some(Moved::Archived)
}

fn content_length(stored: &HeaderMap) -> Result<u64> {
    let length = stored.get(header::CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .ok_or_else(|| odd("the store sent no length"))
}

fn is_gone(error: &GatewayError) -> bool {
    matches!(
        error.kind,
        Kind::Answer(ErrorCode::NoSuchKey | ErrorCode::MethodNotAllowed)
    )
}

fn odd(what: &'static str) -> GatewayError {
    GatewayError::new(Kind::StoreProtocol, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_a_copy_would_break_is_left_alone() {
        for (pairs, expected) in [
            (vec![], None),
            (
                vec![("x-amz-object-lock-mode", "GOVERNANCE")],
                Some(Moved::Locked),
            ),
            (vec![("x-amz-object-lock-legal-hold", "ON")], Some(Moved::Locked)),
            (vec![("x-amz-object-lock-legal-hold", "OFF")], None),
            (vec![("x-amz-storage-class", "GLACIER")], Some(Moved::Archived)),
            (vec![("x-amz-storage-class", "STANDARD_IA")], None),
        ] {
            assert_eq!(hindrance(&stored(&pairs)), expected, "{pairs:?}");
        }
    }
}
