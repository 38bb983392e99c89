//! Who sends a request.
//!
//! What lives here: from a raw request to an [`Authenticated`] one. What must not: what the sender may
//! do. Invariant: an `Authenticated` with a named principal exists only after `sigv4::verify_cached`
//! accepted the request's signature, or `PolicySignature::verify` that of a form ([`post`]); whoever
//! presents nothing at all is the principal `anonymous`, whom only a rule of its own allows anything.

pub mod anonymous;
mod body;
pub mod post;

mod session;

use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, header, request::Parts};
use hyper::body::Incoming;
use sceau_policy::Principal;
use sceau_s3wire::checksum::Value;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::payload::{BodyRole, PayloadPlan};
use sceau_s3wire::post::PostForm;
use sceau_s3wire::sigv4::{
    self, Presented, PresentedSignature, RequestHead, SecretAccessKey, Verified, VerifyRules,
};
use sceau_s3wire::target::{Addressing, RequestTarget, Target};
use tokio::sync::SemaphorePermit;

use crate::app::Gateway;
pub use crate::auth::body::RequestBody;
use crate::crypt::seal_body::{ClientBody, PlainSource};
use crate::error::{GatewayError, Kind, Result};
use crate::limits;
use crate::plan::fault;
use crate::record::ByteCount;
use crate::sts::session::Session;

/// A request as it arrived, with its target taken apart.
pub struct RawRequest {
    /// Method.
    pub method: Method,
    /// Path and query as received and decoded.
    pub target: RequestTarget,
    /// Bucket and key.
    pub name: Target,
    /// Headers.
    pub headers: HeaderMap,
    /// The client's address.
    pub remote: SocketAddr,
    /// Whether it came over TLS.
    pub is_tls: bool,
}

impl RawRequest {
    /// Takes a request head apart; the body stays with the caller.
    pub fn parse(parts: Parts, remote: SocketAddr, is_tls: bool, domains: &[String]) -> Result<Self> {
        let raw = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let target = RequestTarget::parse(raw.as_bytes()).map_err(|error| target_error(&error))?;
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let name =
            Addressing::split(host, target.raw_path(), domains).map_err(|error| target_error(&error))?;
        Ok(Self {
            method: parts.method,
            target,
            name,
            headers: parts.headers,
            remote,
            is_tls,
        })
    }
}

fn target_error(error: &sceau_s3wire::target::TargetError) -> GatewayError {
    GatewayError::client(error.code(), error.to_string())
}

/// A request whose sender is proven.
pub struct Authenticated {
    /// The request.
    pub request: RawRequest,
    /// Who sent it.
    pub sender: Sender,
    /// The form, if the request is one.
    pub form: Option<SentForm>,
    proof: Proof,
}

/// What a principal was believed for.
enum Proof {
    /// The signature of the request.
    Signature(Box<Verified>),
    /// The signature of a form's policy.
    Policy,
    /// Nothing: the principal is `anonymous`.
    Nothing,
}

/// A form and where it was sent.
pub struct SentForm {
    /// The form.
    pub form: PostForm,
    /// Scheme and host of the request, and its bucket where the host does not name it.
    pub root: String,
}

/// Who sent a request.
pub struct Sender {
    /// What the policy knows them as.
    pub principal: Principal,
    /// The session they act in, with temporary credentials.
    pub session: Option<Session>,
}

impl Authenticated {
    /// Proves who sent `request`, at Unix time `now` in seconds.
    ///
    /// Attacks considered: unsigned `x-amz-*` headers added by someone in between (refused by the
    /// verifier), replay (bounded by the 15-minute window, as in S3; TLS keeps the request from being
    /// seen), two mechanisms at once (refused), guessing whether an access key exists by timing (key
    /// ids are not secret in S3, whose own answer tells).
    pub async fn prove(gateway: &Gateway, request: RawRequest, now: u64) -> Result<Self> {
        match Presented::parse(&request.target, &request.headers).map_err(auth_error)? {
            Presented::Signed(presented) => {
                let rules = &gateway.verify_rules;
                let (sender, verified) = prove_sender(gateway, &request, &presented, rules, now).await?;
                Ok(Self {
                    request,
                    sender,
                    form: None,
                    proof: Proof::Signature(Box::new(verified)),
                })
            }
            Presented::Anonymous => {
                anonymous::check_head(&request.headers)?;
                Ok(Self {
                    request,
                    sender: Sender {
                        principal: Principal::anonymous(),
                        session: None,
                    },
                    form: None,
                    proof: Proof::Nothing,
                })
            }
        }
    }

    /// The word for how the sender proved who they are, for records.
    pub fn method(&self) -> &'static str {
        match (&self.proof, &self.sender.session) {
            (Proof::Nothing, _) => "none",
            (Proof::Policy, _) => "form",
            (Proof::Signature(_), None) => "signature",
            (Proof::Signature(_), Some(_)) => "session",
        }
    }

    /// What must hold for the body, given its role in the operation.
    pub fn payload(&self, role: BodyRole) -> Result<PayloadPlan> {
        let headers = &self.request.headers;
        let plan = match &self.proof {
            Proof::Signature(verified) => PayloadPlan::for_body(verified, headers, role),
            Proof::Nothing => PayloadPlan::for_anonymous(headers, role),
            Proof::Policy => {
                return Err(GatewayError::new(Kind::Internal, "a form has a file, not a body"));
            }
        };
        plan.map_err(|error| fault::payload_error(&error))
    }
}

/// Verifies a presented signature with the secret of who presents it.
///
/// # Errors
/// The answer to a client whose credential is not known, not valid or not the one that signed.
pub async fn prove_sender(
    gateway: &Gateway,
    request: &RawRequest,
    presented: &PresentedSignature,
    rules: &VerifyRules,
    now: u64,
) -> Result<(Sender, Verified)> {
    let head = RequestHead {
        method: &request.method,
        target: &request.target,
        headers: &request.headers,
    };
    find_sender(
        gateway,
        presented.access_key(),
        presented.session_token(),
        now,
        |secret| {
            sigv4::verify_cached(&head, presented, secret, &gateway.signing_keys, now, rules)
                .map_err(auth_error)
        },
    )
    .await
}

/// Finds whose access key and session token these are, and believes it once `verify` accepted the
/// secret that belongs to them.
async fn find_sender<T>(
    gateway: &Gateway,
    access_key: &str,
    session_token: Option<&str>,
    now: u64,
    verify: impl FnOnce(&SecretAccessKey) -> Result<T>,
) -> Result<(Sender, T)> {
    if let Some((session, secret)) = session::open(gateway, access_key, session_token, now).await? {
        let verified = verify(&secret)?;
        let sender = Sender {
            principal: session.principal.clone(),
            session: Some(session),
        };
        return Ok((sender, verified));
    }
    let access = gateway.access.snapshot();
    let credential = access
        .credential(access_key)
        .ok_or_else(|| GatewayError::code(ErrorCode::InvalidAccessKeyId))?;
    let verified = verify(&credential.secret)?;
    let sender = Sender {
        principal: credential.principal.clone(),
        session: None,
    };
    Ok((sender, verified))
}

/// What the client is told about a signature that was not accepted.
pub fn auth_error(error: sigv4::AuthError) -> GatewayError {
    let mut answer = GatewayError::client(error.code(), error.to_string());
    answer.extra = error.details();
    answer
}

/// A request body that was not read yet, with what must hold for it.
pub struct Upload {
    incoming: Incoming,
    payload: PayloadPlan,
    count: ByteCount,
}

impl Upload {
    /// Binds a body to its plan.
    pub fn new(incoming: Incoming, payload: PayloadPlan, count: ByteCount) -> Self {
        Self {
            incoming,
            payload,
            count,
        }
    }

    /// Length of the plaintext in bytes, as declared.
    pub fn plain_len(&self) -> u64 {
        self.payload.decoded_length()
    }

    /// The checksum that the client declared before the body.
    pub fn declared_checksum(&self) -> Option<Value> {
        self.payload.header_checksum()
    }

    /// The body as a source of plaintext.
    pub fn into_source(self, gateway: &Gateway) -> PlainSource {
        PlainSource::Client(Box::new(self.into_body(gateway)))
    }

    fn into_body(self, gateway: &Gateway) -> ClientBody {
        ClientBody::new(
            self.incoming,
            self.payload.into_reader(),
            gateway.settings.patience,
            self.count,
        )
    }

    /// The whole of a small body, verified. Only so many of them are held at a time that their memory
    /// stays bounded whatever clients send.
    pub async fn collect(self, gateway: &Gateway, bytes_max: usize) -> Result<Document<'_>> {
        let plain_len = self.plain_len();
        if plain_len > bytes_max as u64 {
            return Err(GatewayError::code(ErrorCode::MaxMessageLengthExceeded));
        }
        let permit = if plain_len > limits::SMALL_DOCUMENT_BYTES {
            gateway.documents.acquire().await.ok()
        } else {
            None
        };
        let bytes = self.into_body(gateway).collect(bytes_max).await?.0;
        Ok(Document {
            bytes,
            _permit: permit,
        })
    }
}

/// A small body held in memory.
pub struct Document<'a> {
    /// The body.
    pub bytes: bytes::Bytes,
    _permit: Option<SemaphorePermit<'a>>,
}

/// Splits a request into what authentication looks at and the body.
pub fn split(request: Request<Incoming>) -> (Parts, Incoming) {
    request.into_parts()
}
