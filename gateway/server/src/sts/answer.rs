//! The two operations of the STS interface, from a form to its XML.
//!
//! What lives here: which requests are for STS, their bodies, identities of callers, answers. What must
//! not: the exchange itself. Invariant: a form is bounded in bytes and in time before anything in it is
//! looked at, and no token or secret goes anywhere but into the answer.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use sceau_s3wire::amztime;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::sigv4::{Form, Presented};
use sceau_s3wire::sts::{
    self, AssumeRole, Assumed, CallerIdentity, FORM_BYTES_MAX, StsCode, StsError, StsRequest,
};

use super::{Exchanged, Sts};
use crate::app::Gateway;
use crate::auth::{self, RawRequest, Sender};
use crate::error::{GatewayError, Kind};
use crate::limits;
use crate::record::Record;
use crate::respond::Answer;

/// Whether a request is for STS: a form sent to the root of the service.
pub fn is_for_sts(request: &RawRequest) -> bool {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    request.method == Method::POST
        && request.name.bucket.is_none()
        && request.target.query().is_empty()
        && content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(sts::is_form)
}

/// Answers a request for STS, at Unix time `now`.
pub async fn answer(
    gateway: &Gateway,
    sts: &Sts,
    request: &RawRequest,
    body: Incoming,
    record: &mut Record,
    now: u64,
) -> Answer {
    record.operation = "Sts";
    let outcome = carry_out(gateway, sts, request, body, record, now).await;
    let label = outcome.as_ref().err().map_or("ok", |error| error.code.code());
    gateway.metrics.sts_request(record.operation, label);
    let (status, document) = match &outcome {
        Ok(document) => (200, document.clone()),
        Err(error) => {
            record.error = Some(error.code.code());
            record.side = Some(if error.code.http_status() >= 500 {
                "gateway"
            } else {
                "client"
            });
            tracing::debug!(
                request_id = record.id.as_str(),
                code = error.code.code(),
                "sts request refused"
            );
            (error.code.http_status(), error.to_xml(record.id.as_str()))
        }
    };
    let mut answer = Answer::xml(document);
    answer.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = &mut answer.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    // Credentials must not stay in a cache on the way.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(record.id.as_str()) {
        headers.insert("x-amzn-requestid", id);
    }
    if outcome.is_err_and(|error| error.code == StsCode::ValidationError) {
        // Perhaps not all of the body was read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn carry_out(
    gateway: &Gateway,
    sts: &Sts,
    request: &RawRequest,
    body: Incoming,
    record: &mut Record,
    now: u64,
) -> Result<Vec<u8>, StsError> {
    let body = collect(body).await?;
    record.bytes_in.add(body.len());
    match StsRequest::parse(&body)? {
        StsRequest::AssumeRole(asked) => {
            record.operation = "AssumeRoleWithWebIdentity";
            assume_role(gateway, sts, asked, record, now).await
        }
        StsRequest::CallerIdentity => {
            record.operation = "GetCallerIdentity";
            let sender = caller(gateway, request, &body, now).await?;
            record.principal = Some(sender.principal.as_str().to_owned());
            record.session = sender.session.as_ref().map(|session| session.name.clone());
            Ok(identity(sts, &sender).to_xml(record.id.as_str()))
        }
    }
}

/// The whole form.
async fn collect(body: Incoming) -> Result<Bytes, StsError> {
    let reading = Limited::new(body, FORM_BYTES_MAX).collect();
    match tokio::time::timeout(limits::FORM_WAIT, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) | Err(_) => Err(StsError::new(
            StsCode::ValidationError,
            "The form is too large, too slow or cut short.",
        )),
    }
}

async fn assume_role(
    gateway: &Gateway,
    sts: &Sts,
    asked: AssumeRole,
    record: &mut Record,
    now: u64,
) -> Result<Vec<u8>, StsError> {
    let waiting = tokio::time::timeout(limits::EXCHANGE_WAIT, sts.places.acquire());
    let Ok(Ok(_place)) = waiting.await else {
        return Err(unavailable("Too many exchanges at once; try again."));
    };
    let root = gateway.keyring.session_root().await.map_err(|error| {
        tracing::warn!(error_id = error.id(), "no session can be sealed: {error}");
        unavailable("Credentials cannot be made now; try again.")
    })?;
    let Exchanged {
        session,
        credentials,
        audience,
        issuer,
    } = sts.exchange(asked, &root, now).await?;
    record.principal = Some(session.principal.as_str().to_owned());
    record.session = Some(session.name.clone());
    tracing::info!(
        request_id = record.id.as_str(),
        role = session.role,
        session = session.name,
        issuer,
        subject = session.subject,
        access_key = credentials.access_key,
        seconds = session.expires_at.saturating_sub(now),
        has_policy = session.policy.is_some(),
        "temporary credentials issued"
    );
    let assumed = Assumed {
        access_key: &credentials.access_key,
        secret: &credentials.secret,
        session_token: &credentials.token,
        expiration: &amztime::format_iso8601(session.expires_at),
        subject: &session.subject,
        audience: &audience,
        provider: &issuer,
        arn: &session_arn(sts, &session.role, &session.name),
        assumed_role_id: &session_id(sts, &session.role, &session.name),
    };
    Ok(assumed.to_xml(record.id.as_str()))
}

fn unavailable(message: &str) -> StsError {
    StsError::new(StsCode::ServiceUnavailable, message)
}

/// Who signed a form. Only the header form of a signature is served: it covers the body.
async fn caller(gateway: &Gateway, request: &RawRequest, body: &[u8], now: u64) -> Result<Sender, StsError> {
    let hash = digest(&SHA256, body);
    let hash = hash.as_ref().try_into().unwrap_or_default();
    let presented = Presented::parse_with_body(&request.target, &request.headers, hash)
        .map_err(|error| caller_error(&auth::auth_error(error)))?;
    let Presented::Signed(presented) = presented else {
        return Err(StsError::new(
            StsCode::MissingAuthenticationToken,
            "Request is missing Authentication Token",
        ));
    };
    if presented.form() != Form::Header {
        return Err(StsError::new(
            StsCode::IncompleteSignature,
            "This request takes its signature in the Authorization header.",
        ));
    }
    auth::prove_sender(gateway, request, &presented, &gateway.sts_rules, now)
        .await
        .map(|(sender, _)| sender)
        .map_err(|error| caller_error(&error))
}

fn caller_error(error: &GatewayError) -> StsError {
    let code = match error.kind {
        Kind::Client(ErrorCode::SignatureDoesNotMatch | ErrorCode::RequestTimeTooSkewed) => {
            StsCode::SignatureDoesNotMatch
        }
        Kind::Client(ErrorCode::InvalidAccessKeyId | ErrorCode::InvalidToken) => {
            StsCode::InvalidClientTokenId
        }
        Kind::Client(ErrorCode::ExpiredToken) => StsCode::ExpiredToken,
        Kind::Client(ErrorCode::AccessDenied) => StsCode::AccessDenied,
        Kind::KeysUnavailable
        | Kind::KeysRefused
        | Kind::StoreUnavailable
        | Kind::Overloaded
        | Kind::Unrecorded => StsCode::ServiceUnavailable,
        Kind::Client(_)
        | Kind::Answer(_)
        | Kind::Integrity(_)
        | Kind::UploadState
        | Kind::NotSealed
        | Kind::StoreRefusesUs
        | Kind::StoreProtocol
        | Kind::ClientGone
        | Kind::Internal => StsCode::IncompleteSignature,
    };
    let message = error
        .message
        .as_deref()
        .unwrap_or(error.kind.code().default_message());
    StsError::new(code, message)
}

fn identity(sts: &Sts, sender: &Sender) -> CallerIdentity {
    let account = sts.account().to_owned();
    let name = sender.principal.as_str();
    match &sender.session {
        Some(session) => CallerIdentity {
            arn: session_arn(sts, &session.role, &session.name),
            user_id: session_id(sts, &session.role, &session.name),
            account,
        },
        None => CallerIdentity {
            arn: format!("arn:aws:iam::{account}:user/{name}"),
            user_id: format!("AIDA{}", short_id(&account, name)),
            account,
        },
    }
}

fn session_arn(sts: &Sts, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{}:assumed-role/{role}/{session}", sts.account())
}

fn session_id(sts: &Sts, role: &str, session: &str) -> String {
    format!("AROA{}:{session}", short_id(sts.account(), role))
}

/// Sixteen characters that stay the same for the same name.
fn short_id(account: &str, name: &str) -> String {
    let hash = digest(&SHA256, format!("{account}/{name}").as_bytes());
    BASE32_NOPAD.encode(hash.as_ref()).chars().take(16).collect()
}
