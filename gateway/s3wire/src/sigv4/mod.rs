//! AWS Signature Version 4 as S3 uses it: what a request presents, its verification, and signing.
//!
//! What lives here: parsing of the `Authorization` header and of presigned queries, the canonical
//! request, key derivation, the chain of chunk signatures. What must not: who the access key belongs
//! to, session tokens' validity, clocks. Invariant: there is one canonicaliser and one verification
//! function, and [`Verified`] comes out of nothing else.
//!
//! Entry: [`Presented::parse`], then look up the secret, then [`verify`] or [`verify_cached`].

mod canon;
mod chain;
mod error;
mod key;
mod presented;
mod sign;
mod verify;

pub use chain::ChainSeed;
pub use error::{AuthError, SignatureMismatch};
pub use key::{SIGNING_KEYS_MAX, SecretAccessKey, SigningKey, SigningKeyCache};
pub use presented::{Form, PayloadMode, Presented, PresentedSignature, Scope};
pub use sign::{Credentials, PayloadHash, PresignInput, SignError, SignInput, presign, sign};
pub use verify::{
    CLOCK_SKEW_SECONDS, PRESIGN_SECONDS_MAX, RequestHead, Verified, VerifyRules, verify, verify_cached,
};

pub(crate) use chain::ChunkChain;
pub(crate) use presented::parse_scope;

/// The one algorithm that is verified and produced.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Last element of every credential scope.
pub(crate) const TERMINATOR: &str = "aws4_request";
/// Name of the signed service.
pub const SERVICE_S3: &str = "s3";
/// Name of the service that answers who a credential belongs to.
pub const SERVICE_STS: &str = "sts";
/// Payload hash of a request whose body is not covered by the signature.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// SHA-256 of no bytes, in lower-case hexadecimal.
pub const EMPTY_SHA256_HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
pub(crate) const AMZ_DATE: &str = "x-amz-date";
pub(crate) const AMZ_CONTENT_SHA256: &str = "x-amz-content-sha256";
pub(crate) const AMZ_SECURITY_TOKEN: &str = "x-amz-security-token";
