//! Looks at stored objects for an operator: what is there, and does it verify.
//!
//! What lives here: the questions behind `sceau inspect` and `sceau verify`. What must not: output, and
//! any way to get plaintext. Invariant: an object is opened by the very code that opens it for clients;
//! its plaintext is dropped as soon as it verified.

use std::future::poll_fn;

use http::{HeaderMap, Method};
use sceau_envelope::SealedHeader;
use sceau_kms::Reason;
use sceau_s3wire::xml::{ListPage, ListedObject};

use crate::app::Gateway;
use crate::error::{GatewayError, Result};
use crate::execute::folders;
use crate::execute::sealing::SealedBucket;
use crate::execute::store_upload::{odd_answer, send, success};
use crate::execute::stored_object::{self, ObjectQuery, Reader};
use crate::plan::fault;
use crate::upstream::StoreRequest;

/// What an object's header says.
#[derive(Debug)]
pub struct Inspection {
    /// Suite code.
    pub suite: u8,
    /// Key record that the header names.
    pub krid: String,
    /// Epoch of that record.
    pub epoch: u32,
    /// Where the epoch key is wrapped: provider, key label, version, scheme.
    pub wraps: Vec<String>,
    /// Whether the object has the multipart layout.
    pub is_multi: bool,
    /// Authenticated plaintext length in bytes.
    pub plain_len: u64,
    /// Stored length in bytes.
    pub stored_len: u64,
    /// When it was sealed, ms since 1970.
    pub write_time_ms: u64,
    /// Which gateway sealed it, hexadecimal.
    pub writer: String,
    /// That gateway's running number.
    pub writer_seq: u64,
    /// How many user metadata entries are sealed in the header.
    pub user_metadata: usize,
    /// Characters of the sealed header.
    pub header_chars: usize,
    /// First bytes that the store holds, hexadecimal.
    pub stored_start: String,
}

/// Bytes of the stored object that [`inspect`] shows.
const SHOWN_BYTES: u64 = 64;

/// Opens the header of one object and reads its length. No plaintext is read.
pub async fn inspect(gateway: &Gateway, bucket: &str, key: &str) -> Result<Inspection> {
    let bucket = SealedBucket::find(gateway, bucket).await?;
    let conditions = HeaderMap::new();
    let query = ObjectQuery {
        bucket: &bucket,
        key,
        version: None,
        conditions: &conditions,
        reason: Reason::Scan,
        reader: Reader::NoPlaintext,
    };
    let object = stored_object::head(gateway, &query).await?;
    let sealed = SealedHeader::parse(&object.header_value).map_err(fault::header_error)?;
    let keyring = gateway.keyring.keyring();
    let record = keyring.content().record(sealed.krid());
    let wraps = record.map(|record| record.wraps.iter().map(describe_wrap).collect());
    Ok(Inspection {
        suite: sealed.suite().code(),
        krid: sealed.krid().to_string(),
        epoch: record.map_or(0, |record| record.epoch),
        wraps: wraps.unwrap_or_default(),
        is_multi: object.header.is_multi,
        plain_len: object.plain_len,
        stored_len: object.stored_len,
        write_time_ms: object.header.write_time_ms,
        writer: data_encoding::HEXLOWER.encode(&object.header.writer_id),
        writer_seq: object.header.writer_seq,
        user_metadata: object.header.metadata.user.len(),
        header_chars: object.header_value.len(),
        stored_start: stored_start(gateway, bucket.name(), key).await?,
    })
}

fn describe_wrap(wrap: &sceau_keys::Wrap) -> String {
    format!(
        "{} {} version {} ({})",
        wrap.provider,
        wrap.key_label,
        wrap.key_version,
        wrap.scheme.name()
    )
}

async fn stored_start(gateway: &Gateway, bucket: &str, key: &str) -> Result<String> {
    let mut request = StoreRequest::new(Method::GET).bucket(bucket).key(key);
    let range = format!("bytes=0-{}", SHOWN_BYTES.saturating_sub(1));
    if let Ok(range) = http::HeaderValue::try_from(range) {
        request.headers.insert(http::header::RANGE, range);
    }
    let (_, body) = success(send(gateway, request).await?).await?;
    Ok(data_encoding::HEXLOWER.encode(&body))
}

/// Opens one object whole, trailer included; answers its plaintext length. A folder's marker, where they are
/// plain, has none and nothing to verify.
pub async fn verify(gateway: &Gateway, bucket: &str, key: &str) -> Result<u64> {
    let bucket = SealedBucket::find(gateway, bucket).await?;
    let conditions = HeaderMap::new();
    let query = ObjectQuery {
        bucket: &bucket,
        key,
        version: None,
        conditions: &conditions,
        reason: Reason::Scan,
        reader: Reader::NoPlaintext,
    };
    if folders::find(gateway, &query).await?.is_some() {
        return Ok(0);
    }
    let mut opened = stored_object::open(gateway, &query, None).await?;
    while let Some(plain) = poll_fn(|context| opened.body.poll_plain(context)).await {
        plain?;
    }
    Ok(opened.object.plain_len)
}

/// One page of the objects under a prefix, and where the next begins.
pub async fn page(
    gateway: &Gateway,
    bucket: &str,
    prefix: &str,
    token: Option<String>,
) -> Result<(Vec<ListedObject>, Option<String>)> {
    let bucket = SealedBucket::find(gateway, bucket).await?;
    let mut list = StoreRequest::new(Method::GET)
        .bucket(bucket.name())
        .query("list-type", "2")
        .query("encoding-type", "url");
    list = list.query("prefix", prefix);
    if let Some(token) = token {
        list = list.query("continuation-token", token);
    }
    let (_, body) = success(send(gateway, list).await?).await?;
    let page = ListPage::parse(&body).map_err(odd_answer)?;
    let mut objects = page.objects;
    if page.is_url_encoded {
        for object in &mut objects {
            object.key = decoded(&object.key)?;
        }
    }
    Ok((
        objects,
        page.next_continuation_token.filter(|_| page.is_truncated),
    ))
}

/// Keys in listings are percent-encoded as in forms: a plus sign is a blank.
pub(crate) fn decoded(key: &str) -> Result<String> {
    let key = key.replace('+', " ");
    let bytes = sceau_s3wire::target::percent_decode(key.as_bytes());
    bytes
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.into_owned()).ok())
        .ok_or_else(|| {
            GatewayError::new(
                crate::error::Kind::StoreProtocol,
                "a listed key is not valid text",
            )
        })
}
