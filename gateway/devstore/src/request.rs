//! A request as the operations see it: names decoded, signature checked, body still to come.
//!
//! What lives here: reading the head of a request, and its body by frames or as a small document.
//! What must not: operations. Invariant: a body is taken for received only when every announced
//! byte came and its declared digests agree.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use md5::{Digest, Md5};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::target::{RawQuery, RequestTarget};
use sha2::Sha256;

use crate::blob::{Blob, BlobWriter};
use crate::state::{State, failed};

/// Largest XML body: DeleteObjects with a thousand keys of a thousand bytes, and its tags.
const DOCUMENT_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Largest object or part, S3's own limit.
const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// The head of a request, after its signature was checked.
pub(crate) struct Head {
    pub method: Method,
    /// Empty for the service itself.
    pub bucket: String,
    /// Empty for a bucket.
    pub key: String,
    pub query: RawQuery,
    pub headers: HeaderMap,
}

/// What the client announced about its body.
pub(crate) struct Announced {
    /// `None` for `UNSIGNED-PAYLOAD`.
    pub sha256: Option<[u8; 32]>,
}

/// A body that has not been read.
pub(crate) struct RequestBody {
    pub incoming: Incoming,
    pub announced: Announced,
}

impl Head {
    /// Splits the target into bucket and key, path style.
    pub fn new(method: Method, target: &RequestTarget, headers: HeaderMap) -> Result<Head, ErrorCode> {
        let at = sceau_s3wire::target::Addressing::split("", target.raw_path(), &[]);
        let at = at.map_err(|error| refused_target(&error))?;
        Ok(Head {
            method,
            bucket: at.bucket.unwrap_or_default(),
            key: at.key.unwrap_or_default(),
            query: target.query().clone(),
            headers,
        })
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter as a number, or a default.
    pub fn number(&self, name: &str, default: u32) -> Result<u32, ErrorCode> {
        match self.query.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| ErrorCode::InvalidArgument),
        }
    }
}

pub(crate) fn refused_target(error: &sceau_s3wire::target::TargetError) -> ErrorCode {
    use sceau_s3wire::target::TargetError;
    match error {
        TargetError::BucketName => ErrorCode::InvalidBucketName,
        TargetError::KeyTooLong => ErrorCode::KeyTooLong,
        TargetError::Escape
        | TargetError::NotAPath
        | TargetError::NotUtf8
        | TargetError::TooManyParameters => ErrorCode::InvalidUri,
    }
}

/// Bytes that arrived whole, with their MD5.
pub(crate) struct Received {
    pub blob: Arc<Blob>,
    pub md5: [u8; 16],
}

impl Received {
    /// The entity tag of these bytes.
    pub fn etag(&self) -> String {
        HEXLOWER.encode(&self.md5)
    }
}

impl RequestBody {
    /// Streams the body into a new blob. Dropping the future leaves nothing behind.
    pub async fn receive(mut self, head: &Head, state: &State) -> Result<Received, ErrorCode> {
        let announced = length(head)?;
        if announced > OBJECT_BYTES_MAX {
            return Err(ErrorCode::EntityTooLarge);
        }
        let mut writer = state.room().writer().await.map_err(|error| failed(&error))?;
        let mut digests = Digests::new(&self.announced);
        let got = self.frames(&mut writer, &mut digests).await?;
        if got != announced {
            return Err(ErrorCode::IncompleteBody);
        }
        let md5 = digests.check(head, &self.announced)?;
        let blob = writer.finish().await.map_err(|error| failed(&error))?;
        Ok(Received { blob, md5 })
    }

    async fn frames(&mut self, writer: &mut BlobWriter, digests: &mut Digests) -> Result<u64, ErrorCode> {
        let mut got = 0_u64;
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|_| ErrorCode::IncompleteBody)?;
            let Ok(data) = frame.into_data() else { continue };
            got = got.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            digests.update(&data);
            writer.write(data).await.map_err(|error| failed(&error))?;
        }
        Ok(got)
    }

    /// Reads a small body.
    pub async fn document(mut self, head: &Head) -> Result<Bytes, ErrorCode> {
        if length(head)? > DOCUMENT_BYTES_MAX {
            return Err(ErrorCode::MaxMessageLengthExceeded);
        }
        let mut digests = Digests::new(&self.announced);
        let mut document = Vec::new();
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|_| ErrorCode::IncompleteBody)?;
            if let Ok(data) = frame.into_data() {
                digests.update(&data);
                document.extend_from_slice(&data);
            }
        }
        digests.check(head, &self.announced)?;
        Ok(Bytes::from(document))
    }
}

/// The declared length of the body.
fn length(head: &Head) -> Result<u64, ErrorCode> {
    let text = head
        .header("content-length")
        .ok_or(ErrorCode::MissingContentLength)?;
    text.parse().map_err(|_| ErrorCode::InvalidArgument)
}

struct Digests {
    md5: Md5,
    sha256: Option<Sha256>,
}

impl Digests {
    fn new(announced: &Announced) -> Digests {
        Digests {
            md5: Md5::new(),
            sha256: announced.sha256.map(|_| Sha256::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
    }

    fn check(self, head: &Head, announced: &Announced) -> Result<[u8; 16], ErrorCode> {
        let sha256 = self.sha256.map(|sha256| <[u8; 32]>::from(sha256.finalize()));
        if sha256 != announced.sha256 {
            return Err(ErrorCode::XAmzContentSha256Mismatch);
        }
        let md5: [u8; 16] = self.md5.finalize().into();
        match head
            .header("content-md5")
            .map(|text| BASE64.decode(text.as_bytes()))
        {
            None => Ok(md5),
            Some(Ok(declared)) if declared == md5 => Ok(md5),
            Some(Ok(declared)) if declared.len() == md5.len() => Err(ErrorCode::BadDigest),
            Some(Ok(_) | Err(_)) => Err(ErrorCode::InvalidDigest),
        }
    }
}
