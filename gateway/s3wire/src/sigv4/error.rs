//! Why a request was not authenticated.
//!
//! What lives here: the closed list of reasons and what the client is told. What must not: secrets
//! and computed signatures. Invariant: each reason maps to one S3 error code.

use std::fmt;

use super::presented::Form;
use crate::amztime::format_iso8601;
use crate::error::ErrorCode;

/// What the server signed, for the client's comparison. Credentials in it are masked, and neither
/// the expected nor the presented signature is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureMismatch {
    /// Access key the request names.
    pub access_key: String,
    /// The canonical request, not UTF-8 replaced.
    pub canonical_request: String,
    /// The string to sign.
    pub string_to_sign: String,
}

/// Why a request was not authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// An `Authorization` header and query parameters at once.
    BothMechanisms,
    /// A presigned URL has run out.
    Expired {
        /// Last second of validity, Unix time.
        expired_at: u64,
        /// The server's clock, Unix time.
        server_time: u64,
    },
    /// The signature does not cover the `host` header.
    HostNotSigned,
    /// `x-amz-content-sha256` is none of the known forms.
    InvalidContentSha256,
    /// The `Authorization` header or the query parameters cannot be read.
    Malformed(Form, &'static str),
    /// A header-signed request has no `x-amz-content-sha256`.
    MissingContentSha256,
    /// A header-signed request has no valid date.
    MissingDate,
    /// A presigned URL is not valid yet.
    NotYetValid,
    /// A header that may appear once appears more often.
    RepeatedHeader(&'static str),
    /// A header named in `SignedHeaders` is not there.
    SignedHeaderAbsent(String),
    /// The signature is not the expected one.
    SignatureMismatch(Box<SignatureMismatch>),
    /// A streaming payload mode in a presigned URL.
    StreamingPresigned,
    /// The request's time and the server's differ too much.
    TimeTooSkewed {
        /// Unix time the request claims.
        request_time: u64,
        /// The server's clock, Unix time.
        server_time: u64,
        /// Difference that would have been accepted, seconds.
        allowed_seconds: u64,
    },
    /// A header that must be signed is not; its name.
    UnsignedHeader(String),
    /// A mechanism other than AWS4-HMAC-SHA256, SigV2 included.
    UnsupportedMechanism,
    /// Asymmetric signatures (SigV4A), in the request or in its chunks.
    UnsupportedSigV4a,
    /// The credential scope names another region.
    WrongRegion {
        /// Where the signature was.
        form: Form,
        /// Region in the scope.
        presented: String,
        /// Region of this endpoint.
        expected: String,
    },
}

impl AuthError {
    /// The S3 error that the client gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Expired { .. }
            | Self::HostNotSigned
            | Self::MissingDate
            | Self::NotYetValid
            | Self::UnsignedHeader(_) => ErrorCode::AccessDenied,
            Self::BothMechanisms
            | Self::MissingContentSha256
            | Self::RepeatedHeader(_)
            | Self::StreamingPresigned
            | Self::UnsupportedMechanism => ErrorCode::InvalidRequest,
            Self::InvalidContentSha256 => ErrorCode::InvalidArgument,
            Self::Malformed(form, _) | Self::WrongRegion { form, .. } => match form {
                Form::Header => ErrorCode::AuthorizationHeaderMalformed,
                Form::Query => ErrorCode::AuthorizationQueryParametersError,
            },
            Self::SignatureMismatch(_) | Self::SignedHeaderAbsent(_) => ErrorCode::SignatureDoesNotMatch,
            Self::TimeTooSkewed { .. } => ErrorCode::RequestTimeTooSkewed,
            Self::UnsupportedSigV4a => ErrorCode::NotImplemented,
        }
    }

    /// Further elements of the error body: names and texts.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::SignatureMismatch(mismatch) => vec![
                ("AWSAccessKeyId", mismatch.access_key.clone()),
                ("StringToSign", mismatch.string_to_sign.clone()),
                ("CanonicalRequest", mismatch.canonical_request.clone()),
            ],
            Self::TimeTooSkewed {
                request_time,
                server_time,
                allowed_seconds,
            } => vec![
                ("RequestTime", format_iso8601(*request_time)),
                ("ServerTime", format_iso8601(*server_time)),
                (
                    "MaxAllowedSkewMilliseconds",
                    allowed_seconds.saturating_mul(1000).to_string(),
                ),
            ],
            Self::Expired {
                expired_at,
                server_time,
            } => vec![
                ("Expires", format_iso8601(*expired_at)),
                ("ServerTime", format_iso8601(*server_time)),
            ],
            Self::UnsignedHeader(name) => vec![("HeadersNotSigned", name.clone())],
            Self::WrongRegion { expected, .. } => vec![("Region", expected.clone())],
            Self::BothMechanisms
            | Self::HostNotSigned
            | Self::InvalidContentSha256
            | Self::Malformed(..)
            | Self::MissingContentSha256
            | Self::MissingDate
            | Self::NotYetValid
            | Self::RepeatedHeader(_)
            | Self::SignedHeaderAbsent(_)
            | Self::StreamingPresigned
            | Self::UnsupportedMechanism
            | Self::UnsupportedSigV4a => Vec::new(),
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothMechanisms => f.write_str("only one auth mechanism allowed"),
            Self::Expired { .. } => f.write_str("Request has expired"),
            Self::HostNotSigned => f.write_str("the host header must be signed"),
            Self::InvalidContentSha256 => f.write_str(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER \
                 or a valid sha256 value",
            ),
            Self::Malformed(Form::Header, what) => write!(f, "the authorization header is malformed; {what}"),
            Self::Malformed(Form::Query, what) => f.write_str(what),
            Self::MissingContentSha256 => {
                f.write_str("missing required header for this request: x-amz-content-sha256")
            }
            Self::MissingDate => f.write_str("AWS authentication requires a valid Date or x-amz-date header"),
            Self::NotYetValid => f.write_str("Request is not valid yet"),
            Self::RepeatedHeader(name) => write!(f, "the header {name} may appear once"),
            Self::SignedHeaderAbsent(name) => write!(f, "the signed header {name} did not arrive"),
            Self::SignatureMismatch(_) => f.write_str(ErrorCode::SignatureDoesNotMatch.default_message()),
            Self::StreamingPresigned => f.write_str("a presigned request cannot use a streaming payload"),
            Self::TimeTooSkewed { .. } => f.write_str(ErrorCode::RequestTimeTooSkewed.default_message()),
            Self::UnsignedHeader(_) => {
                f.write_str("there were headers present in the request which were not signed")
            }
            Self::UnsupportedMechanism => f.write_str(
                "the authorization mechanism you have provided is not supported; please use AWS4-HMAC-SHA256",
            ),
            Self::UnsupportedSigV4a => {
                f.write_str("AWS4-ECDSA-P256-SHA256 is not implemented; please use AWS4-HMAC-SHA256")
            }
            Self::WrongRegion {
                presented, expected, ..
            } => {
                write!(f, "the region '{presented}' is wrong; expecting '{expected}'")
            }
        }
    }
}

impl std::error::Error for AuthError {}
