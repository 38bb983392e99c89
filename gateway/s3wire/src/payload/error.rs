//! Why a body was refused.
//!
//! What lives here: the closed list of reasons. What must not: digests, signatures or body bytes.
//! Invariant: each reason maps to one S3 error code.

use std::fmt;

use crate::checksum::Algorithm;
use crate::error::ErrorCode;

/// Why a body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadError {
    /// A checksum in a header or trailer is not that of the body.
    ChecksumMismatch(Algorithm),
    /// A chunk's or the trailer's signature is not the expected one.
    ChunkSignatureMismatch,
    /// Headers or trailers about checksums contradict each other, or name something unknown.
    ConflictingChecksums(&'static str),
    /// `Content-MD5` is not the body's.
    ContentMd5Mismatch,
    /// `x-amz-content-sha256` is not the body's.
    ContentSha256Mismatch,
    /// The body has more or fewer bytes than declared, or ends before its terminating chunk.
    Incomplete,
    /// `Content-MD5` is not 128 bits in base64.
    InvalidContentMd5,
    /// A length header is not a number, or is repeated.
    InvalidLength,
    /// A checksum value is not the base64 form of its algorithm.
    InvalidChecksum(Algorithm),
    /// The form around a file is broken.
    MalformedForm(&'static str),
    /// The aws-chunked framing is broken.
    MalformedFraming(&'static str),
    /// The trailer is broken, has an unannounced field, or lacks an announced one.
    MalformedTrailer(&'static str),
    /// The length of the body is not declared.
    MissingLength,
}

impl PayloadError {
    /// The S3 error that the client gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ChecksumMismatch(_) | Self::ContentMd5Mismatch => ErrorCode::BadDigest,
            Self::ChunkSignatureMismatch => ErrorCode::SignatureDoesNotMatch,
            Self::ConflictingChecksums(_) | Self::InvalidChecksum(_) | Self::MalformedFraming(_) => {
                ErrorCode::InvalidRequest
            }
            Self::MalformedForm(_) => ErrorCode::MalformedPostRequest,
            Self::MalformedTrailer(_) => ErrorCode::MalformedTrailer,
            Self::ContentSha256Mismatch => ErrorCode::XAmzContentSha256Mismatch,
            Self::Incomplete => ErrorCode::IncompleteBody,
            Self::InvalidContentMd5 => ErrorCode::InvalidDigest,
            Self::InvalidLength => ErrorCode::InvalidArgument,
            Self::MissingLength => ErrorCode::MissingContentLength,
        }
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChecksumMismatch(algorithm) => {
                write!(
                    f,
                    "the {algorithm} you specified did not match the calculated checksum"
                )
            }
            Self::ChunkSignatureMismatch => f.write_str("the signature of a chunk or trailer does not match"),
            Self::ConflictingChecksums(what) | Self::MalformedTrailer(what) => f.write_str(what),
            Self::ContentMd5Mismatch => {
                f.write_str("the Content-MD5 you specified did not match what we received")
            }
            Self::Incomplete => f.write_str(ErrorCode::IncompleteBody.default_message()),
            Self::ContentSha256Mismatch => {
                f.write_str(ErrorCode::XAmzContentSha256Mismatch.default_message())
            }
            Self::InvalidContentMd5 => f.write_str("the Content-MD5 you specified is not valid"),
            Self::InvalidLength => f.write_str("the declared length of the body is not a number"),
            Self::InvalidChecksum(algorithm) => {
                write!(f, "value for {} header is invalid", algorithm.header_name())
            }
            Self::MalformedForm(what) => {
                write!(
                    f,
                    "The body of your POST request is not well-formed multipart/form-data: {what}."
                )
            }
            Self::MalformedFraming(what) => write!(f, "the aws-chunked body is malformed; {what}"),
            Self::MissingLength => f.write_str(ErrorCode::MissingContentLength.default_message()),
        }
    }
}

impl std::error::Error for PayloadError {}
