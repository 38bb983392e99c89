//! From an identity token to temporary credentials.
//!
//! What lives here: the one path from `AssumeRoleWithWebIdentity` to a sealed session. What must not:
//! HTTP, the fetching of keys. Invariant: credentials exist only after the token's signature, times and
//! audience were verified and a configured role named its issuer and its subject.

use std::sync::Arc;

use sceau_keys::SecretKey;
use sceau_policy::{MalformedPolicy, Principal, SessionPolicy};
use sceau_s3wire::sts::{AssumeRole, POLICY_CHARS_MAX, StsCode, StsError, role_name};

use super::Sts;
use super::issuers::Issuer;
use super::session::{Session, SessionCredentials};
use super::token::{Identity, Refusal, UnverifiedToken};
use crate::config::RoleConfig;

/// What an exchange ends in.
pub struct Exchanged {
    /// The session, for the record.
    pub session: Session,
    /// What the holder is given.
    pub credentials: SessionCredentials,
    /// The audience that was accepted.
    pub audience: String,
    /// The issuer.
    pub issuer: String,
}

impl Sts {
    /// Exchanges the token at Unix time `now`; the session is sealed under `root`.
    ///
    /// Attacks considered: a token for another service (audience), of another issuer with the same
    /// subject (a role names its issuer), a session name or subject made to look like another principal
    /// (the session name never gets into the principal; a subject only behind fixed text), finding out
    /// which roles exist (one answer for all refusals of a role).
    ///
    /// # Errors
    /// [`StsError`] with the interface's own codes.
    pub async fn exchange(
        &self,
        request: AssumeRole,
        root: &SecretKey,
        now: u64,
    ) -> Result<Exchanged, StsError> {
        let policy = request.policy.map(|text| packed(&text)).transpose()?;
        let token = UnverifiedToken::parse(&request.token).map_err(refused)?;
        let issuer = self.issuer_of(&token).ok_or_else(|| refused(Refusal::Issuer))?;
        let keys = issuer
            .keys_for(token.kid.as_deref(), token.algorithm)
            .await
            .map_err(|_| {
                StsError::new(
                    StsCode::IdpCommunicationError,
                    "The keys of the identity provider cannot be had; try again.",
                )
            })?;
        let config = issuer.config();
        let identity = token.verify(&keys, &config.audiences, now).map_err(refused)?;
        let role = self
            .role_for(&request.role_arn, &config.url, &identity)
            .ok_or_else(denied)?;
        let duration = duration(role, request.duration_seconds)?;
        let session = Session {
            principal: Principal::new(&role.principal_for(&identity.subject)).ok_or_else(denied)?,
            role: role.name.clone(),
            subject: identity.subject,
            name: request.session_name,
            issued_at: now,
            expires_at: now.saturating_add(duration),
            policy,
        };
        let credentials = session
            .seal(root)
            .ok_or_else(|| StsError::new(StsCode::InternalFailure, "The credentials cannot be made."))?;
        Ok(Exchanged {
            session,
            credentials,
            audience: identity.audience,
            issuer: config.url.clone(),
        })
    }

    fn issuer_of(&self, token: &UnverifiedToken<'_>) -> Option<&Arc<Issuer>> {
        let claimed = token.issuer()?;
        self.issuers()
            .iter()
            .find(|issuer| issuer.config().url == claimed)
    }

    fn role_for(&self, arn: &str, issuer: &str, identity: &Identity) -> Option<&RoleConfig> {
        let name = role_name(arn, self.account())?;
        let role = self.role(name)?;
        let has_claims = role
            .claims
            .iter()
            .all(|(name, wanted)| identity.holds(name, wanted));
        (role.issuer == issuer && role.admits(&identity.subject) && has_claims).then_some(role)
    }
}

fn refused(why: Refusal) -> StsError {
    let code = match why {
        Refusal::Expired => StsCode::ExpiredTokenException,
        Refusal::Form
        | Refusal::Algorithm
        | Refusal::Critical
        | Refusal::Issuer
        | Refusal::Key
        | Refusal::Signature
        | Refusal::Times
        | Refusal::NotYet
        | Refusal::Audience
        | Refusal::Subject => StsCode::InvalidIdentityToken,
    };
    tracing::info!(reason = why.name(), "identity token refused");
    StsError::new(code, why.message())
}

fn denied() -> StsError {
    StsError::new(
        StsCode::AccessDenied,
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )
}

fn duration(role: &RoleConfig, asked: Option<u64>) -> Result<u64, StsError> {
    const DEFAULT_SECONDS: u64 = 3600;
    let most = role.duration_max.as_secs();
    match asked {
        None => Ok(most.min(DEFAULT_SECONDS)),
        Some(seconds) if seconds <= most => Ok(seconds),
        Some(_) => Err(StsError::new(
            StsCode::ValidationError,
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )),
    }
}

/// Checks a session policy and takes out its blanks.
fn packed(text: &str) -> Result<String, StsError> {
    let malformed = || StsError::new(StsCode::MalformedPolicyDocument, "The policy is not valid.");
    // Read strictly before it is written anew: a second `Effect` must not vanish on the way.
    SessionPolicy::parse(text).map_err(|MalformedPolicy| malformed())?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| malformed())?;
    let packed = value.to_string();
    if packed.len() > POLICY_CHARS_MAX {
        return Err(StsError::new(
            StsCode::PackedPolicyTooLarge,
            "The policy is larger than 2048 bytes once packed.",
        ));
    }
    Ok(packed)
}
