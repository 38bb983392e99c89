//! What a proven sender may do.
//!
//! What lives here: the question to the policy, and [`Authorized`], the answer that the rest of the
//! request path demands. What must not: rules (`sceau-policy`). Invariant: an `Authorized` exists only
//! after the policy allowed the operation on the named bucket and key; names that appear later (a copy's
//! source, the keys in a DeleteObjects body) are asked for one by one through it.

use sceau_policy::{Action, Policy, Principal};
use sceau_s3wire::copy_source;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::{Operation, Subject};
use std::sync::Arc;

use crate::access::AccessSnapshot;
use crate::auth::{Authenticated, anonymous};
use crate::error::{GatewayError, Result};

/// A request that the policy allows.
pub struct Authorized {
    /// The request and its sender.
    pub authenticated: Authenticated,
    /// What it asks for.
    pub operation: Operation,
    access: Arc<AccessSnapshot>,
}

impl Authorized {
    /// Asks the policy.
    pub fn ask(
        access: Arc<AccessSnapshot>,
        authenticated: Authenticated,
        operation: Operation,
    ) -> Result<Self> {
        let authorized = Self {
            authenticated,
            operation,
            access,
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
        Ok(authorized)
    }

    fn need_source(&self) -> Result<()> {
        let value = self.authenticated.request.headers.get("x-amz-copy-source");
        let source = value
            .map(|value| copy_source::parse(value.as_bytes()))
            .transpose();
        match source.map_err(GatewayError::code)? {
            Some(source) => self.need(Action::Read, &source.bucket, Some(&source.key)),
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

    /// Whether the sender may also do this.
    pub fn may(&self, action: Action, bucket: &str, key: Option<&str>) -> bool {
        policy(&self.access)
            .decide(self.principal(), action, bucket, key)
            .allowed
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.authenticated.sender.principal
    }
}

fn policy(access: &AccessSnapshot) -> &Policy {
    access.policy()
}
