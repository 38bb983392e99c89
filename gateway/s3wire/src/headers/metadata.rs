//! The metadata of an object, taken from the request that writes it.
//!
//! What lives here: collection, limits, the removal of `aws-chunked`. What must not: sealing.
//! Invariant: what is collected here is exactly what a later read shows, so nothing is guessed,
//! decoded or reordered.

use std::fmt;

use http::HeaderMap;
use http::header::HeaderName;

use super::request::{RESERVED_METADATA_PREFIX, USER_METADATA_PREFIX};
use crate::error::ErrorCode;

/// Longest user metadata, bytes of names (without `x-amz-meta-`) and values together: S3's limit.
pub const USER_METADATA_BYTES_MAX: usize = 2_048;

/// Longest content headers, bytes of values together: S3 allows 8 KB of headers in all.
pub const SYSTEM_METADATA_BYTES_MAX: usize = 4_096;

/// The metadata a client gives an object. All of it is sealed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SealedMetadata {
    /// `Content-Type`
    pub content_type: Option<Vec<u8>>,
    /// `Cache-Control`
    pub cache_control: Option<Vec<u8>>,
    /// `Content-Disposition`
    pub content_disposition: Option<Vec<u8>>,
    /// `Content-Encoding`, without `aws-chunked`
    pub content_encoding: Option<Vec<u8>>,
    /// `Content-Language`
    pub content_language: Option<Vec<u8>>,
    /// `Expires`
    pub expires: Option<Vec<u8>>,
    /// `x-amz-website-redirect-location`
    pub website_redirect: Option<Vec<u8>>,
    /// `x-amz-meta-*`: names in lower case without the prefix, values as sent, in the order sent.
    /// Values of a repeated name are joined with a comma.
    pub user: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for SealedMetadata {
    /// Counts only: names and values are the client's secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SealedMetadata")
            .field("user_entries", &self.user.len())
            .finish_non_exhaustive()
    }
}

/// Why metadata is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// User or system metadata is larger than allowed.
    TooLarge,
    /// The client tried to set a name that belongs to the gateway.
    ReservedName,
    /// A content header is repeated, or a metadata name is empty.
    Malformed,
}

impl MetadataError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::MetadataTooLarge,
            Self::ReservedName | Self::Malformed => ErrorCode::InvalidArgument,
        }
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TooLarge => "metadata is larger than allowed",
            Self::ReservedName => "metadata names that start with sceau are reserved",
            Self::Malformed => "a metadata header is repeated or has no name",
        })
    }
}

impl std::error::Error for MetadataError {}

impl SealedMetadata {
    /// The response headers a read shows for this metadata, names in lower case.
    #[must_use]
    pub fn response_headers(&self) -> Vec<(String, &[u8])> {
        let system = [
            ("content-type", &self.content_type),
            ("cache-control", &self.cache_control),
            ("content-disposition", &self.content_disposition),
            ("content-encoding", &self.content_encoding),
            ("content-language", &self.content_language),
            ("expires", &self.expires),
            ("x-amz-website-redirect-location", &self.website_redirect),
        ];
        let system = system
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?)));
        let user = self
            .user
            .iter()
            .map(|(name, value)| ([USER_METADATA_PREFIX, name].concat(), value.as_slice()));
        system.chain(user).collect()
    }
}

/// Collects the metadata that a PUT, a CreateMultipartUpload or a replacing copy gives its object.
///
/// # Errors
///
/// See [`MetadataError`].
pub fn metadata_from_request(headers: &HeaderMap) -> Result<SealedMetadata, MetadataError> {
    let metadata = SealedMetadata {
        content_type: single(headers, "content-type")?,
        cache_control: single(headers, "cache-control")?,
        content_disposition: single(headers, "content-disposition")?,
        content_encoding: content_encoding(headers),
        content_language: single(headers, "content-language")?,
        expires: single(headers, "expires")?,
        website_redirect: single(headers, "x-amz-website-redirect-location")?,
        user: user_metadata(headers)?,
    };
    let system = [
        &metadata.content_type,
        &metadata.cache_control,
        &metadata.content_disposition,
        &metadata.content_encoding,
        &metadata.content_language,
        &metadata.expires,
        &metadata.website_redirect,
    ];
    let system_bytes: usize = system.into_iter().flatten().map(Vec::len).sum();
    if system_bytes > SYSTEM_METADATA_BYTES_MAX {
        return Err(MetadataError::TooLarge);
    }
    Ok(metadata)
}

fn single(headers: &HeaderMap, name: &'static str) -> Result<Option<Vec<u8>>, MetadataError> {
    let mut values = headers.get_all(HeaderName::from_static(name)).iter();
    let first = values.next().map(|value| value.as_bytes().to_vec());
    if values.next().is_some() {
        Err(MetadataError::Malformed)
    } else {
        Ok(first)
    }
}

/// All codings in order, without `aws-chunked`, which is framing of this one request.
fn content_encoding(headers: &HeaderMap) -> Option<Vec<u8>> {
    let values = headers.get_all(http::header::CONTENT_ENCODING).iter();
    let codings: Vec<&[u8]> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"aws-chunked"))
        .collect();
    (!codings.is_empty()).then(|| codings.join(b",".as_slice()))
}

fn user_metadata(headers: &HeaderMap) -> Result<Vec<(String, Vec<u8>)>, MetadataError> {
    let mut user = Vec::new();
    let mut bytes = 0_usize;
    for name in headers.keys() {
        let Some(own) = name.as_str().strip_prefix(USER_METADATA_PREFIX) else {
            continue;
        };
        if own.starts_with(RESERVED_METADATA_PREFIX) {
            return Err(MetadataError::ReservedName);
        }
        if own.is_empty() {
            return Err(MetadataError::Malformed);
        }
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes().trim_ascii())
            .collect();
        let value = values.join(b",".as_slice());
        bytes = bytes.saturating_add(own.len()).saturating_add(value.len());
        if bytes > USER_METADATA_BYTES_MAX {
            return Err(MetadataError::TooLarge);
        }
        user.push((own.to_owned(), value));
    }
    Ok(user)
}
