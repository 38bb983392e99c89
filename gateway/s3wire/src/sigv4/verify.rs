//! Verification of a presented signature.
//!
//! What lives here: every check between a presented signature and [`Verified`]. What must not: the
//! look-up of the secret, the body. Invariant: [`Verified`] has no constructor outside this file,
//! and every header that can change what a request means was covered by the signature.

use std::sync::Arc;

use http::{HeaderMap, Method};
use subtle::ConstantTimeEq;

use super::canon::{CanonicalRequest, canonical_query, string_to_sign};
use super::chain::ChainSeed;
use super::error::{AuthError, SignatureMismatch};
use super::key::{SecretAccessKey, SigningKey, SigningKeyCache};
use super::presented::{Form, PayloadMode, PresentedSignature, QUERY_SIGNATURE, must_be_signed};
use super::{SERVICE_S3, SERVICE_STS, Scope};
use crate::target::{RequestTarget, is_unreserved};

/// Accepted difference between the request's clock and ours, seconds (S3's fifteen minutes).
pub const CLOCK_SKEW_SECONDS: u64 = 900;
/// Longest life of a presigned URL, seconds (S3's seven days).
pub const PRESIGN_SECONDS_MAX: u64 = 604_800;

/// The parts of a request that a signature covers, as received.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a RequestTarget,
    /// Headers, `host` among them with its port as received.
    pub headers: &'a HeaderMap,
}

/// What this endpoint accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRules {
    /// The only accepted service, [`SERVICE_S3`] or [`SERVICE_STS`].
    pub service: &'static str,
    /// The accepted regions, that of this endpoint first; none accepts any.
    pub regions: Vec<String>,
    /// Accepted clock difference in both directions, seconds.
    pub clock_skew_seconds: u64,
    /// Longest accepted life of a presigned URL, seconds.
    pub presign_seconds_max: u64,
}

impl Default for VerifyRules {
    fn default() -> Self {
        Self {
            service: SERVICE_S3,
            regions: Vec::new(),
            clock_skew_seconds: CLOCK_SKEW_SECONDS,
            presign_seconds_max: PRESIGN_SECONDS_MAX,
        }
    }
}

impl VerifyRules {
    /// This endpoint's own region, if `presented` is none of the accepted ones.
    pub fn other_region(&self, presented: &str) -> Option<&str> {
        let own = self.regions.first()?;
        let is_accepted = self.regions.iter().any(|region| region == presented);
        (!is_accepted).then_some(own)
    }
}

/// An authenticated request. The body is not covered yet: see `payload::PayloadPlan`.
pub struct Verified {
    access_key: String,
    form: Form,
    payload_mode: PayloadMode,
    signed_at: u64,
    signed_headers: Vec<String>,
    region: String,
    chain: Option<ChainSeed>,
}

impl Verified {
    /// The access key that signed.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// How the body is protected.
    pub fn payload_mode(&self) -> PayloadMode {
        self.payload_mode
    }

    /// Whether the signature was in a presigned URL.
    pub fn is_presigned(&self) -> bool {
        self.form == Form::Query
    }

    /// When the request was signed, Unix seconds.
    pub fn signed_at(&self) -> u64 {
        self.signed_at
    }

    /// The region the client signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether the signature covers the header `name` (lower case).
    pub fn covers(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed == name)
    }

    /// Start of the chunk signatures; `Some` in the two signed streaming modes.
    pub(crate) fn chain(&self) -> Option<&ChainSeed> {
        self.chain.as_ref()
    }
}

/// Verifies `presented` against the secret of its access key at Unix time `now`.
pub fn verify(
    head: &RequestHead<'_>,
    presented: &PresentedSignature,
    secret: &SecretAccessKey,
    now: u64,
    rules: &VerifyRules,
) -> Result<Verified, AuthError> {
    check_claims(head, presented, now, rules)?;
    let scope = &presented.scope;
    let key = SigningKey::derive(secret, &scope.date, &scope.region, &scope.service);
    check_signature(head, presented, Arc::new(key))
}

/// The same as [`verify`], with the derived key taken from and kept in `cache`.
pub fn verify_cached(
    head: &RequestHead<'_>,
    presented: &PresentedSignature,
    secret: &SecretAccessKey,
    cache: &SigningKeyCache,
    now: u64,
    rules: &VerifyRules,
) -> Result<Verified, AuthError> {
    check_claims(head, presented, now, rules)?;
    let key = cache.find_or_derive(&presented.access_key, secret, &presented.scope);
    let verified = check_signature(head, presented, Arc::clone(&key))?;
    cache.keep(&presented.access_key, secret, &presented.scope, &key);
    Ok(verified)
}

fn check_claims(
    head: &RequestHead<'_>,
    presented: &PresentedSignature,
    now: u64,
    rules: &VerifyRules,
) -> Result<(), AuthError> {
    check_scope(presented, rules)?;
    match presented.form {
        Form::Header => check_header_time(presented, now, rules)?,
        Form::Query => check_query_time(presented, now, rules)?,
    }
    check_signed_headers(head.headers, presented)
}

fn check_scope(presented: &PresentedSignature, rules: &VerifyRules) -> Result<(), AuthError> {
    let Scope {
        date,
        region,
        service,
    } = &presented.scope;
    let malformed = |what| AuthError::Malformed(presented.form, what);
    if service != rules.service {
        return Err(malformed(match rules.service {
            SERVICE_STS => "incorrect service in the credential; this request belongs to \"sts\"",
            _ => "incorrect service in the credential; this endpoint belongs to \"s3\"",
        }));
    }
    if let Some(own) = rules.other_region(region) {
        let form = presented.form;
        return Err(AuthError::WrongRegion {
            form,
            presented: region.clone(),
            expected: own.to_owned(),
        });
    }
    if date != presented.date.date() {
        return Err(malformed(
            "invalid credential date; it is not the same as X-Amz-Date",
        ));
    }
    Ok(())
}

fn check_header_time(presented: &PresentedSignature, now: u64, rules: &VerifyRules) -> Result<(), AuthError> {
    let request_time = presented.date.unix_seconds();
    if request_time.abs_diff(now) > rules.clock_skew_seconds {
        return Err(AuthError::TimeTooSkewed {
            request_time,
            server_time: now,
            allowed_seconds: rules.clock_skew_seconds,
        });
    }
    Ok(())
}

fn check_query_time(presented: &PresentedSignature, now: u64, rules: &VerifyRules) -> Result<(), AuthError> {
    if presented.expires_seconds > rules.presign_seconds_max {
        return Err(AuthError::Malformed(
            Form::Query,
            "X-Amz-Expires must be at most a week (604800 seconds)",
        ));
    }
    let signed_at = presented.date.unix_seconds();
    if signed_at > now.saturating_add(rules.clock_skew_seconds) {
        return Err(AuthError::NotYetValid);
    }
    let expired_at = signed_at.saturating_add(presented.expires_seconds);
    if now > expired_at {
        return Err(AuthError::Expired {
            expired_at,
            server_time: now,
        });
    }
    Ok(())
}

/// A header that is not covered could have been added by anybody who saw the request: an unsigned
/// `x-amz-copy-source` turns a presigned upload into a read with the signer's rights.
fn check_signed_headers(headers: &HeaderMap, presented: &PresentedSignature) -> Result<(), AuthError> {
    let is_signed = |name: &str| presented.signed_headers.iter().any(|signed| signed == name);
    if !is_signed("host") {
        return Err(AuthError::HostNotSigned);
    }
    let mut names = headers.keys().map(http::HeaderName::as_str);
    if let Some(name) = names.find(|name| must_be_signed(name, presented.form) && !is_signed(name)) {
        return Err(AuthError::UnsignedHeader(name.to_owned()));
    }
    // An absent header and an empty one have the same canonical form, so absence is checked here.
    match presented
        .signed_headers
        .iter()
        .find(|name| !headers.contains_key(name.as_str()))
    {
        Some(name) => Err(AuthError::SignedHeaderAbsent(name.clone())),
        None => Ok(()),
    }
}

fn check_signature(
    head: &RequestHead<'_>,
    presented: &PresentedSignature,
    key: Arc<SigningKey>,
) -> Result<Verified, AuthError> {
    let left_out = (presented.form == Form::Query).then_some(QUERY_SIGNATURE);
    let query = canonical_query(head.target.query().pairs(), left_out, false);
    let path = head.target.canonical_path();
    let mut canonical = CanonicalRequest {
        method: head.method.as_str(),
        path: path.as_bytes(),
        query: &query,
        headers: head.headers,
        signed_headers: &presented.signed_headers,
        payload: &presented.payload,
    };
    let strict = string_to_sign(&presented.date, &presented.scope, &canonical.to_bytes());
    let mut is_match = matches(presented, &key, &strict);
    if !is_match && has_unencoded_reserved(head.target.raw_path()) {
        // Some clients sign the path as they send it, with `!`, `(` and the like unencoded.
        canonical.path = head.target.raw_path();
        let raw = string_to_sign(&presented.date, &presented.scope, &canonical.to_bytes());
        is_match = matches(presented, &key, &raw);
    }
    if is_match {
        return Ok(into_verified(presented, key));
    }
    let shown = canonical_query(head.target.query().pairs(), left_out, true);
    Err(AuthError::SignatureMismatch(Box::new(SignatureMismatch {
        access_key: presented.access_key.clone(),
        canonical_request: CanonicalRequest {
            path: path.as_bytes(),
            query: &shown,
            ..canonical
        }
        .to_masked_text(),
        string_to_sign: strict,
    })))
}

fn matches(presented: &PresentedSignature, key: &SigningKey, string_to_sign: &str) -> bool {
    let expected = key.sign(&[string_to_sign.as_bytes()]);
    presented
        .signature
        .is_some_and(|signature| signature.ct_eq(&expected).into())
}

fn has_unencoded_reserved(raw_path: &[u8]) -> bool {
    raw_path
        .iter()
        .any(|byte| !is_unreserved(*byte) && !matches!(byte, b'/' | b'%'))
}

fn into_verified(presented: &PresentedSignature, key: Arc<SigningKey>) -> Verified {
    let is_chained = match presented.payload_mode {
        PayloadMode::StreamingSigned | PayloadMode::StreamingSignedTrailer => true,
        PayloadMode::Sha256(_) | PayloadMode::StreamingUnsignedTrailer | PayloadMode::Unsigned => false,
    };
    let chain = presented
        .signature
        .filter(|_| is_chained)
        .map(|signature| ChainSeed {
            key,
            date: presented.date,
            scope: presented.scope.clone(),
            signature,
        });
    Verified {
        access_key: presented.access_key.clone(),
        form: presented.form,
        payload_mode: presented.payload_mode,
        signed_at: presented.date.unix_seconds(),
        signed_headers: presented.signed_headers.clone(),
        region: presented.scope.region.clone(),
        chain,
    }
}
