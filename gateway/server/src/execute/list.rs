//! Listings: buckets, objects, uploads.
//!
//! What lives here: the store's listing, with sizes and ETags in the client's terms. What must not:
//! per-object cryptography: one odd object must not break a listing. Invariant: a listed size is the
//! inverse of the stored size and nothing else; whoever needs it authenticated asks for the object.

use http::Method;
use sceau_envelope::size;
use sceau_policy::Action;
use sceau_s3wire::xml;

use crate::app::Gateway;
use crate::authorize::Authorized;
use crate::error::Result;
use crate::execute::folders;
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, send, success};
use crate::respond::Answer;
use crate::upstream::StoreRequest;

/// Parameters of a listing that the store gets as the client sent them.
const LISTING_PARAMETERS: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-uploads",
    "prefix",
    "start-after",
    "upload-id-marker",
    "uploads",
    "version-id-marker",
    "versions",
];

/// ListBuckets: those of the store that the sender may see and the keyring knows.
pub async fn buckets(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let (headers, body) = success(send(gateway, listing(request, None)).await?).await?;
    let keep =
        |name: &str| gateway.keyring.bucket(name).is_some() && request.may(Action::SeeBucket, name, None);
    let mut answer = Answer::xml(xml::filter_buckets(&body, keep).map_err(odd_answer)?);
    answer
        .headers
        .extend(sceau_s3wire::headers::passed_headers(&headers));
    Ok(answer)
}

/// Of these, the ones that are sent without a value when they came without one.
const FLAGS: &[&str] = &["uploads", "versions"];

/// ListObjects, both versions, and ListObjectVersions.
pub async fn objects(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let bucket = named_bucket(gateway, request).await?;
    let (headers, body) = success(send(gateway, listing(request, Some(bucket.name()))).await?).await?;
    let rewritten = xml::rewrite_listing(&body, size::plain_len).map_err(odd_answer)?;
    let odd = rewritten
        .unsized_keys
        .iter()
        .find(|key| !folders::is_expected(gateway, key));
    if odd.is_some() {
        tracing::warn!(
            target: "sceau::security",
            class = "listing",
            bucket = bucket.name(),
            entries = rewritten.unsized_count,
            first = odd,
            "a listing names objects that were not sealed here"
        );
    }
    let mut answer = Answer::xml(rewritten.xml);
    answer
        .headers
        .extend(sceau_s3wire::headers::passed_headers(&headers));
    Ok(answer)
}

/// ListMultipartUploads.
pub async fn uploads(gateway: &Gateway, request: &Authorized) -> Result<Answer> {
    let bucket = named_bucket(gateway, request).await?;
    let (_, body) = success(send(gateway, listing(request, Some(bucket.name()))).await?).await?;
    Ok(Answer::xml(
        xml::rewrite_upload_listing(&body).map_err(odd_answer)?,
    ))
}

async fn named_bucket(gateway: &Gateway, request: &Authorized) -> Result<SealedBucket> {
    let name = request.authenticated.request.name.bucket.as_deref();
    SealedBucket::find(gateway, name.unwrap_or_default()).await
}

fn listing(request: &Authorized, bucket: Option<&str>) -> StoreRequest {
    let mut listing = StoreRequest::new(Method::GET);
    listing.bucket = bucket.map(str::to_owned);
    for pair in request.authenticated.request.target.query().pairs() {
        if LISTING_PARAMETERS.contains(&pair.name.as_str()) {
            let value =
                (!pair.value.is_empty() || !FLAGS.contains(&pair.name.as_str())).then(|| pair.value.clone());
            listing.query.push((pair.name.clone(), value));
        }
    }
    listing
}
