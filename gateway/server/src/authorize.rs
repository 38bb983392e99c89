//! What a proven sender may do.
//!
//! What lives here: the question to the policy, and [`Authorized`], the answer that the rest of the
//! request path demands. What must not: rules (`sceau-policy`). Invariant: an `Authorized` exists only
//! after the policy, and the session's own where there is one, allowed the operation on the named bucket and key; names that appear later (a copy's
//! source, the keys in a DeleteObjects body) are asked for one by one through it.

use sceau_policy::{
    Action, BucketSettings, MalformedPolicy, Policy, Principal, RequestFacts, Resource, SessionPolicy,
};
use sceau_s3wire::copy_source::{self, CopySource};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::{Operation, Subject};
use std::sync::Arc;

use crate::access::AccessSnapshot;
use crate::auth::{Authenticated, RawRequest, anonymous};
use crate::error::{GatewayError, Result};

/// A request that the policy allows.
pub struct Authorized {
    /// The request and its sender.
    pub authenticated: Authenticated,
    /// What it asks for.
    pub operation: Operation,
    access: Arc<AccessSnapshot>,
    session_policy: Option<SessionPolicy>,
}

impl Authorized {
    /// Asks the policy.
    pub fn ask(
        access: Arc<AccessSnapshot>,
        authenticated: Authenticated,
        operation: Operation,
    ) -> Result<Self> {
        let session = authenticated.sender.session.as_ref();
        let session_policy = session
            .and_then(|session| session.policy.as_deref())
            .map(SessionPolicy::parse)
            .transpose()
            .map_err(|MalformedPolicy| GatewayError::code(ErrorCode::AccessDenied))?;
        let authorized = Self {
            authenticated,
            operation,
            access,
            session_policy,
        };
        if authorized.principal().is_anonymous() {
            anonymous::check(&authorized.authenticated.request, operation)?;
        }
        let name = &authorized.authenticated.request.name;
        let bucket = name.bucket.as_deref().unwrap_or_default();
        match operation.subject() {
            // Judged one by one when they are known.
            Subject::EachBucket => {}
            Subject::KeysInBody => authorized.need(Action::SeeBucket, bucket, None)?,
            Subject::Bucket => authorized.need(operation.action(), bucket, None)?,
            Subject::Key => authorized.need(operation.action(), bucket, name.key.as_deref())?,
            Subject::Prefix => {
                let prefix = authorized.authenticated.request.target.query().get("prefix");
                authorized.need(
                    operation.action(),
                    bucket,
                    prefix.filter(|prefix| !prefix.is_empty()),
                )?;
            }
            Subject::KeyAndSource => {
                authorized.need(operation.action(), bucket, name.key.as_deref())?;
                authorized.need_source()?;
            }
        }
        authorized.need_session()?;
        Ok(authorized)
    }

    /// What the session policy says to the operation itself; keys in the body are judged one by one.
    fn need_session(&self) -> Result<()> {
        let Some(policy) = &self.session_policy else {
            return Ok(());
        };
        let name = &self.authenticated.request.name;
        let bucket = name.bucket.as_deref().unwrap_or_default();
        let resource = match self.operation.subject() {
            Subject::KeysInBody => return Ok(()),
            Subject::EachBucket => Resource::Service,
            Subject::Bucket | Subject::Prefix => Resource::Bucket(bucket),
            Subject::Key | Subject::KeyAndSource => {
                Resource::Object(bucket, name.key.as_deref().unwrap_or_default())
            }
        };
        if policy.permits(self.operation, facts(&self.authenticated.request), resource) {
            Ok(())
        } else {
            Err(GatewayError::code(ErrorCode::AccessDenied))
        }
    }

    fn need_source(&self) -> Result<()> {
        let value = self.authenticated.request.headers.get("x-amz-copy-source");
        let source = value
            .map(|value| copy_source::parse(value.as_bytes()))
            .transpose();
        match source.map_err(GatewayError::code)? {
            Some(source) => {
                let within = self.session_policy.as_ref().is_none_or(|policy| {
                    policy.permits_source(&source.bucket, &source.key, source.version_id.is_some())
                });
                if !within {
                    return Err(GatewayError::code(ErrorCode::AccessDenied));
                }
                self.need(Action::Read, &source.bucket, Some(&source.key))
            }
            None => Err(GatewayError::code(ErrorCode::InvalidRequest)),
        }
    }

    fn need(&self, action: Action, bucket: &str, key: Option<&str>) -> Result<()> {
        if self.may(action, bucket, key) {
            Ok(())
        } else {
            Err(GatewayError::code(ErrorCode::AccessDenied))
        }
    }

    /// Whether the configured policy lets the sender also do this.
    pub fn may(&self, action: Action, bucket: &str, key: Option<&str>) -> bool {
        policy(&self.access)
            .decide(self.principal(), action, bucket, key)
            .allowed
    }

    /// Whether the sender may delete this key, or this version of it, named in a DeleteObjects body.
    pub fn may_delete(&self, bucket: &str, key: &str, has_version: bool) -> bool {
        let within = self.session_policy.as_ref().is_none_or(|policy| {
            let facts = RequestFacts {
                version: has_version,
                ..facts(&self.authenticated.request)
            };
            policy.permits(Operation::DeleteObjects, facts, Resource::Object(bucket, key))
        });
        within && self.may(Action::Delete, bucket, Some(key))
    }

    /// Whether the sender may have the tags of a copy's source put on the copy.
    ///
    /// Attack considered: a session that may read an object but not its tags copies it to where it may read
    /// both, or has tags set where it may not set any. The verbs of the configured policy, which were asked
    /// for, do not tell tags from objects.
    pub fn may_copy_tags(&self, source: &CopySource) -> bool {
        let Some(policy) = &self.session_policy else {
            return true;
        };
        let name = &self.authenticated.request.name;
        let (bucket, key) = (name.bucket.as_deref(), name.key.as_deref());
        let copy = Resource::Object(bucket.unwrap_or_default(), key.unwrap_or_default());
        let from = RequestFacts {
            version: source.version_id.is_some(),
            ..RequestFacts::default()
        };
        let tagged = Resource::Object(&source.bucket, &source.key);
        policy.permits(Operation::GetObjectTagging, from, tagged)
            && policy.permits(Operation::PutObjectTagging, RequestFacts::default(), copy)
    }

    /// What applies to everybody in a bucket, by the policy of this request.
    pub fn settings(&self, bucket: &str) -> &BucketSettings {
        self.access.settings(bucket)
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.authenticated.sender.principal
    }
}

/// What a request does besides its operation.
fn facts(request: &RawRequest) -> RequestFacts {
    let has = |name: &str| request.headers.contains_key(name);
    let grants = |name: &http::HeaderName| name.as_str().starts_with("x-amz-grant-");
    RequestFacts {
        version: request.target.query().contains("versionId"),
        acl: has("x-amz-acl") || request.headers.keys().any(grants),
        tagging: has("x-amz-tagging"),
        retention: has("x-amz-object-lock-mode") || has("x-amz-object-lock-retain-until-date"),
        legal_hold: has("x-amz-object-lock-legal-hold"),
        bypass: has("x-amz-bypass-governance-retention"),
        bucket_lock: has("x-amz-bucket-object-lock-enabled"),
        ownership: has("x-amz-object-ownership"),
    }
}

fn policy(access: &AccessSnapshot) -> &Policy {
    access.policy()
}
