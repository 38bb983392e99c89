//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging, and the tags of writes and copies.
//!
//! What lives here: a set of tags between client and store, sealed or in clear as the bucket's policy
//! says. What must not: the rules for tags (`plan`), the seal (`sceau-envelope`). Invariants: a sealed
//! bucket's store sees no key, value or number of tags; a set that does not verify is refused and not
//! shown as none; a change goes only to a store that showed that it knows tags: others may take
//! `PUT /bucket/key?tagging` for a new object, and `DELETE` for the deletion of the object.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sceau_envelope::keyring::{EncryptionMode, MetadataExposure};
use sceau_envelope::secrets::ObjectSecrets;
use sceau_envelope::tags::{self, Form, TagPair};
use sceau_kms::Reason;
use sceau_s3wire::checksum::{Algorithm, Hasher, md5_base64};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::{headers, tagging, xml};

use crate::app::Gateway;
use crate::auth::Upload;
use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, send, success};
use crate::execute::stored_object::{self, HEADER_METADATA, ObjectQuery, Reader, StoredObject};
use crate::execute::{insert_text, pass};
use crate::limits;
use crate::plan::fault;
use crate::plan::request::TagsPlan;
use crate::plan::tagging::{TAGGING, TAGGING_COUNT, from_document};
use crate::respond::Answer;
use crate::upstream::{StoreBody, StoreRequest};

/// Whose tags, at the store.
pub struct TagsOf<'a> {
    /// The bucket of the object.
    pub bucket: &'a SealedBucket,
    /// Its key.
    pub key: &'a str,
    /// The version asked for; `None` for the current one.
    pub version: Option<&'a str>,
    /// Headers for the store.
    pub headers: &'a HeaderMap,
    /// Why its key is used.
    pub reason: Reason,
}

impl<'a> TagsOf<'a> {
    fn plan(bucket: &'a SealedBucket, plan: &'a TagsPlan, reason: Reason) -> Self {
        Self {
            bucket,
            key: &plan.name.key,
            version: plan.version.as_deref(),
            headers: &plan.store_headers,
            reason,
        }
    }

    fn request(&self, method: Method) -> StoreRequest {
        let mut request = StoreRequest::new(method).bucket(self.bucket.name()).key(self.key);
        request.query.push(("tagging".to_owned(), None));
        if let Some(version) = self.version {
            request = request.query("versionId", version);
        }
        request.headers = self.headers.clone();
        request
    }

    async fn object(&self, gateway: &Gateway, version: Option<&str>) -> Result<StoredObject> {
        let query = ObjectQuery {
            bucket: self.bucket,
            key: self.key,
            version,
            conditions: &HeaderMap::new(),
            reason: self.reason,
            reader: Reader::NoPlaintext,
        };
        stored_object::head(gateway, &query).await
    }
}

/// GetObjectTagging.
pub async fn get(gateway: &Gateway, plan: &TagsPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let (tags, store) = read(gateway, &TagsOf::plan(&bucket, plan, Reason::ClientRead)).await?;
    let mut answer = Answer::xml(xml::write_tagging(&tags));
    answer.headers.extend(headers::passed_headers(&store));
    Ok(answer)
}

/// PutObjectTagging.
pub async fn put(gateway: &Gateway, plan: &TagsPlan, document: Upload) -> Result<Answer> {
    let document = document.collect(gateway, limits::DOCUMENT_BYTES_MAX).await?;
    let set = from_document(&document.bytes)?;
    drop(document);
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let of = TagsOf::plan(&bucket, plan, Reason::ClientWrite);
    prepare_change(gateway, &of).await?;
    if stores_clear(&bucket) {
        return write(gateway, &of, set.pairs()).await;
    }
    let mut object = of.object(gateway, of.version).await?;
    for _ in 0..limits::READ_ATTEMPTS_MAX {
        let sealed = seal(gateway, &bucket, of.key, &object.header.secrets, set.pairs())?;
        let answer = write(gateway, &of, &sealed).await?;
        // An object that was replaced in between has now tags that do not open for it: seal them again,
        // as if they had come after it.
        let now = of.object(gateway, of.version).await?;
        if now.header_value == object.header_value {
            return Ok(answer);
        }
        object = now;
    }
    Err(GatewayError::new(
        Kind::StoreUnavailable,
        "the object changed during each attempt to write its tags",
    ))
}

/// DeleteObjectTagging. Needs no key, so that tags that do not verify can be removed.
pub async fn delete(gateway: &Gateway, plan: &TagsPlan) -> Result<Answer> {
    let bucket = SealedBucket::find(gateway, &plan.name.bucket).await?;
    let of = TagsOf::plan(&bucket, plan, Reason::ClientWrite);
    prepare_change(gateway, &of).await?;
    let (store, _) = success(send(gateway, of.request(Method::DELETE)).await?).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    answer.headers = headers::passed_headers(&store);
    Ok(answer)
}

/// Puts the tags of a write into the headers for the store; none where there are none.
pub fn insert(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    secrets: &ObjectSecrets,
    tags: &[TagPair],
    store_headers: &mut HeaderMap,
) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let encoded = if stores_clear(bucket) {
        tagging::encode(tags)
    } else {
        tagging::encode(&seal(gateway, bucket, key, secrets, tags)?)
    };
    let value = HeaderValue::from_str(&encoded).map_err(|_| GatewayError::new(Kind::Internal, "tags"))?;
    store_headers.insert(TAGGING, value);
    Ok(())
}

/// The tags of a copy's source. The store's count decides whether they are asked for; a store that
/// denies them could take them away as well.
pub async fn of_source(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    version: Option<&str>,
    source: &StoredObject,
) -> Result<Vec<TagPair>> {
    let count = source.store_headers.get(TAGGING_COUNT);
    let has_none = count.is_none_or(|count| count.as_bytes() == b"0");
    if has_none || !gateway.store.capabilities().object_tags {
        return Ok(Vec::new());
    }
    let of = TagsOf {
        bucket,
        key,
        version: version.or(stored_object::version(&source.store_headers)),
        headers: &HeaderMap::new(),
        reason: Reason::Copy,
    };
    read(gateway, &of).await.map(|(tags, _)| tags)
}

/// How many tags a read tells its client: the store's number, where it is that of the client's tags.
pub fn count(bucket: &SealedBucket, store: &HeaderMap) -> Option<HeaderValue> {
    let count = store.get(TAGGING_COUNT)?;
    stores_clear(bucket).then(|| count.clone())
}

fn stores_clear(bucket: &SealedBucket) -> bool {
    match bucket.entry().policy.exposure {
        MetadataExposure::TagsClear => true,
        MetadataExposure::Sealed | MetadataExposure::TagsOnceClear => false,
    }
}

/// Reads the tags of an object, whichever form they have, in ascending order of their keys.
async fn read(gateway: &Gateway, of: &TagsOf<'_>) -> Result<(Vec<TagPair>, HeaderMap)> {
    let (mut stored, mut headers) = ask(gateway, of).await?;
    for _ in 0..limits::READ_ATTEMPTS_MAX {
        if tags::form(&stored) == Form::Clear {
            return clear(gateway, of, stored).await.map(|tags| (tags, headers));
        }
        let version = of.version.or(stored_object::version(&headers));
        let object = of.object(gateway, version).await?;
        let context = of.bucket.context(of.key);
        let refused = match tags::open(&gateway.engine, &object.header.secrets, &context, &stored) {
            Ok(tags) => return Ok((tags, headers)),
            Err(error) => fault::tags_error(error),
        };
        // The object, or its tags, may have been replaced between the two requests.
        let (again, again_headers) = ask(gateway, of).await?;
        if again == stored && of.object(gateway, version).await?.header_value == object.header_value {
            return Err(refused);
        }
        (stored, headers) = (again, again_headers);
    }
    Err(GatewayError::new(
        Kind::StoreUnavailable,
        "the object changed during each attempt to read its tags",
    ))
}

/// Tags that the store holds in clear, where the bucket's policy takes its word for them.
async fn clear(gateway: &Gateway, of: &TagsOf<'_>, mut stored: Vec<TagPair>) -> Result<Vec<TagPair>> {
    let policy = of.bucket.entry().policy;
    let is_accepted = match policy.exposure {
        MetadataExposure::TagsClear | MetadataExposure::TagsOnceClear => true,
        MetadataExposure::Sealed => {
            stored.is_empty()
                || (policy.mode == EncryptionMode::Migration && is_plaintext(gateway, of).await?)
        }
    };
    if !is_accepted {
        return Err(GatewayError::integrity(
            Integrity::Tags,
            "tags in clear, which the bucket's policy does not have",
        ));
    }
    stored.sort_unstable();
    Ok(stored)
}

/// Whether the object was not written through a gateway.
async fn is_plaintext(gateway: &Gateway, of: &TagsOf<'_>) -> Result<bool> {
    match of.object(gateway, of.version).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind == Kind::NotSealed => Ok(true),
        Err(error) => Err(error),
    }
}

/// Asks the store for an object's tags.
async fn ask(gateway: &Gateway, of: &TagsOf<'_>) -> Result<(Vec<TagPair>, HeaderMap)> {
    let answered = success(send(gateway, of.request(Method::GET)).await?).await;
    let (store, body) = match answered {
        // Some stores have this word for an object without tags.
        Err(error) if error.kind == Kind::Answer(ErrorCode::NoSuchTagSet) => {
            return Ok((Vec::new(), HeaderMap::new()));
        }
        answered => answered?,
    };
    // A store that overlooks the parameter answers with the object.
    let is_document = !store.contains_key(HEADER_METADATA) && xml::root_name(&body) == Ok("Tagging");
    if !is_document {
        return Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "The store behind this gateway has no tags of objects.",
        ));
    }
    let stored = xml::parse_stored_tags(&body).map_err(odd_answer)?;
    Ok((stored, store))
}

/// Makes sure that the store understands a change before it gets one.
async fn prepare_change(gateway: &Gateway, of: &TagsOf<'_>) -> Result<()> {
    if of.version.is_some() {
        pass::check_versions(gateway, of.bucket).await?;
    }
    ask(gateway, of).await.map(drop)
}

fn seal(
    gateway: &Gateway,
    bucket: &SealedBucket,
    key: &str,
    secrets: &ObjectSecrets,
    tags: &[TagPair],
) -> Result<Vec<TagPair>> {
    tags::seal(&gateway.engine, secrets, &bucket.context(key), tags).map_err(fault::seal_tags_error)
}

/// Gives the store the tags of an object.
async fn write(gateway: &Gateway, of: &TagsOf<'_>, stored: &[TagPair]) -> Result<Answer> {
    let body = Bytes::from(xml::write_tagging(stored));
    // Setting the same tags twice is setting them once.
    let mut request = of.request(Method::PUT).replayable();
    // Stores differ in which of the two they demand.
    insert_text(&mut request.headers, "content-md5", &md5_base64(&body));
    let sum = Hasher::of(Algorithm::Sha256, &body).to_base64();
    insert_text(&mut request.headers, "x-amz-checksum-sha256", &sum);
    request
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    request.body = StoreBody::Bytes(body);
    let (store, _) = success(send(gateway, request).await?).await?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = headers::passed_headers(&store);
    Ok(answer)
}
