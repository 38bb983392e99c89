//! Whose secret a signature is to be verified with: a permanent credential's, or a session's.
//!
//! What lives here: the choice between the two, and the opening of presented session tokens. What must
//! not: the making of sessions (`sts`). Invariant: a session token is looked at only with an access key
//! of the reserved form, and such a key is never looked for among the permanent ones.

use sceau_policy::SESSION_KEY_PREFIX;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::sigv4::SecretAccessKey;

use crate::app::Gateway;
use crate::error::{GatewayError, Result};
use crate::plan::fault;
use crate::sts::session::{Session, TokenFault};

/// The session that a request presents, with its secret; `None` when it presents no token.
///
/// Attacks considered: a token beside a permanent access key (refused: it would say nothing, and an SDK
/// that sends one believes it has narrower rights), a session key without its token (there is no such
/// permanent key), a session of a role that was taken away or changed, or of a
/// principal that its role does not give (refused: whoever could forge a token would still be held to the
/// configured roles).
pub(super) async fn open(
    gateway: &Gateway,
    access_key: &str,
    token: Option<&str>,
    now: u64,
) -> Result<Option<(Session, SecretAccessKey)>> {
    let Some(token) = token else {
        return Ok(None);
    };
    let invalid = || GatewayError::code(ErrorCode::InvalidToken);
    let sts = gateway.sts.as_ref().ok_or_else(invalid)?;
    if !access_key.starts_with(SESSION_KEY_PREFIX) {
        return Err(invalid());
    }
    let root = gateway
        .keyring
        .session_root()
        .await
        .map_err(|error| fault::keyring_error(&error))?;
    let not_before = gateway.access.snapshot().sessions_not_before();
    let (session, secret) = Session::open(&root, token, access_key, now, not_before).map_err(|fault| {
        GatewayError::code(match fault {
            TokenFault::Invalid => ErrorCode::InvalidToken,
            TokenFault::Expired => ErrorCode::ExpiredToken,
        })
    })?;
    // As the configuration is now, not as it was when the session began.
    let holds = sts.role(&session.role).is_some_and(|role| {
        role.admits(&session.subject) && role.principal_for(&session.subject) == session.principal.as_str()
    });
    if !holds {
        return Err(invalid());
    }
    Ok(Some((session, secret)))
}
