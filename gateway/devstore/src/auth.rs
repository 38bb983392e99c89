//! The signature of a request.
//!
//! What lives here: the one credential and the call of the checker. What must not: how signatures
//! are computed. Invariant: a request without a valid signature of the one credential is refused.

use http::{HeaderMap, Method};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::sigv4::{
    PayloadMode, Presented, RequestHead, SecretAccessKey, SigningKeyCache, VerifyRules, verify_cached,
};
use sceau_s3wire::target::RequestTarget;

use crate::Credentials;
use crate::REGION;
use crate::request::Announced;
use crate::state::now_ms;

/// Checks signatures against the one credential.
pub(crate) struct Verifier {
    access_key: String,
    secret: SecretAccessKey,
    keys: SigningKeyCache,
    rules: VerifyRules,
}

impl Verifier {
    pub fn new(credentials: Credentials) -> Verifier {
        Verifier {
            access_key: credentials.access_key,
            secret: SecretAccessKey::new(credentials.secret_key),
            keys: SigningKeyCache::new(),
            rules: VerifyRules {
                regions: vec![REGION.to_owned()],
                ..VerifyRules::default()
            },
        }
    }

    /// Checks one request and says what it announced about its body.
    pub fn verify(
        &self,
        method: &Method,
        target: &RequestTarget,
        headers: &HeaderMap,
    ) -> Result<Announced, ErrorCode> {
        let signed = match Presented::parse(target, headers).map_err(|error| error.code())? {
            Presented::Anonymous => return Err(ErrorCode::AccessDenied),
            Presented::Signed(signed) => signed,
        };
        if signed.access_key() != self.access_key {
            return Err(ErrorCode::InvalidAccessKeyId);
        }
        if signed.session_token().is_some() {
            return Err(ErrorCode::InvalidToken);
        }
        let head = RequestHead {
            method,
            target,
            headers,
        };
        let now = now_ms().checked_div(1000).unwrap_or_default();
        let verified = verify_cached(&head, &signed, &self.secret, &self.keys, now, &self.rules)
            .map_err(|error| error.code())?;
        match verified.payload_mode() {
            PayloadMode::Sha256(digest) => Ok(Announced { sha256: Some(digest) }),
            PayloadMode::Unsigned => Ok(Announced { sha256: None }),
            PayloadMode::StreamingSigned
            | PayloadMode::StreamingSignedTrailer
            | PayloadMode::StreamingUnsignedTrailer => Err(ErrorCode::NotImplemented),
        }
    }
}
