//! The signature of a form: over its policy, and over nothing else.
//!
//! What lives here: the fields that authenticate, and the comparison. What must not: conditions, the
//! look-up of the secret, whether a session token is valid. Invariant: the text that is signed is the
//! field `policy` byte for byte, and only what a form's signature covers is believed of it.

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use super::error::PostError;
use super::request::PostForm;
use crate::amztime::AmzDate;
use crate::sigv4::{
    ALGORITHM, SERVICE_S3, Scope, SecretAccessKey, SigningKeyCache, VerifyRules, parse_scope,
};

/// What a form presents.
pub struct PolicySignature {
    access_key: String,
    scope: Scope,
    date: AmzDate,
    policy: String,
    session_token: Option<String>,
    /// `None` if the text is not a signature; it matches nothing then.
    signature: Option<[u8; 32]>,
}

impl PolicySignature {
    /// The signature of a form; `None` for a form that has none of the fields that authenticate.
    ///
    /// # Errors
    ///
    /// Some of the fields are there and others are not, or one cannot be read: a form that tries to
    /// authenticate and fails is never anonymous.
    pub fn of_form(form: &PostForm) -> Result<Option<Self>, PostError> {
        if form.get("awsaccesskeyid").is_some() || form.get("signature").is_some() {
            return Err(PostError::UnsupportedMechanism);
        }
        let names = [
            "policy",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-signature",
            "x-amz-security-token",
        ];
        if names.iter().all(|name| form.get(name).is_none()) {
            return Ok(None);
        }
        let required = |name: &'static str| form.get(name).ok_or(PostError::FieldMissing(name));
        let policy = required("policy")?;
        if required("x-amz-algorithm")? != ALGORITHM {
            return Err(PostError::UnsupportedMechanism);
        }
        let (access_key, scope) = parse_scope(required("x-amz-credential")?)
            .ok_or(PostError::FieldInvalid("the field x-amz-credential is malformed"))?;
        let date = AmzDate::parse(required("x-amz-date")?.as_bytes()).ok_or(PostError::FieldInvalid(
            "the field x-amz-date must be in the form yyyyMMddTHHmmssZ",
        ))?;
        let signature = HEXLOWER.decode(required("x-amz-signature")?.as_bytes()).ok();
        Ok(Some(Self {
            access_key,
            scope,
            date,
            policy: policy.to_owned(),
            session_token: form.get("x-amz-security-token").map(str::to_owned),
            signature: signature.and_then(|bytes| bytes.try_into().ok()),
        }))
    }

    /// The access key that the form claims.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The session token of temporary credentials. It is bound to the signature by the policy, which has
    /// to speak of its field.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// The policy as it was signed.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Verifies the signature against the secret of its access key at Unix time `now`.
    ///
    /// Attacks considered: another signature of the same key taken for that of a policy (what those sign
    /// begins with `AWS4-HMAC-SHA256` and a line break, which is not base64, so [`super::Policy::parse`]
    /// refuses it); a policy whose base64 has two readings (only the canonical one is read); a
    /// signature found by timing (compared in constant time).
    ///
    /// # Errors
    ///
    /// Another service, region or day than the credential's, a date that is still to come, or another
    /// signature.
    pub fn verify(
        &self,
        secret: &SecretAccessKey,
        cache: &SigningKeyCache,
        now: u64,
        rules: &VerifyRules,
    ) -> Result<(), PostError> {
        let wrong = PostError::FieldInvalid;
        if self.scope.service != SERVICE_S3 {
            return Err(wrong("the field x-amz-credential names another service than s3"));
        }
        if rules.other_region(&self.scope.region).is_some() {
            return Err(wrong("the field x-amz-credential names another region"));
        }
        if self.scope.date != self.date.date() {
            return Err(wrong("x-amz-credential and x-amz-date are of different days"));
        }
        if self.date.unix_seconds() > now.saturating_add(rules.clock_skew_seconds) {
            return Err(wrong("the field x-amz-date is in the future"));
        }
        let key = cache.find_or_derive(&self.access_key, secret, &self.scope);
        let expected = key.sign(&[self.policy.as_bytes()]);
        match self.signature {
            Some(signature) if bool::from(signature.ct_eq(&expected)) => {
                cache.keep(&self.access_key, secret, &self.scope, &key);
                Ok(())
            }
            Some(_) | None => Err(PostError::SignatureMismatch),
        }
    }
}
