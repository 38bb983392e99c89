//! What can go wrong with a request, whose fault it is, and whether to try again.
//!
//! What lives here: [`GatewayError`] and the one table from kind to S3 answer. What must not: the
//! writing of the answer (`respond`), anything secret. Invariant: each [`Kind`] has exactly one S3
//! code, one side and one retry class.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, HeaderValue};
use sceau_s3wire::error::ErrorCode;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request is wrong; sending it again unchanged will fail again.
    Client,
    /// A defect or limit of the gateway.
    Gateway,
    /// The key provider or the keyring.
    Keys,
    /// The store, or what it holds.
    Store,
}

impl Side {
    /// The word used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Keys => "keys",
            Self::Store => "store",
        }
    }
}

/// Why a stored object was refused. The class goes to the log and the metrics; the client is told
/// only that the object failed verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// The header was not made for this name, bucket or key.
    Context,
    /// The header was made for this name but does not open.
    Header,
    /// A length or a position does not agree with what was authenticated.
    Length,
    /// A segment, part header or tag does not verify.
    Tag,
    /// The object's tags do not verify.
    Tags,
    /// The manifest or footer does not verify.
    Trailer,
    /// The store answered a range with something else.
    Range,
    /// The header names a suite or a key record that is not allowed here.
    Policy,
}

impl Integrity {
    /// The word used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Header => "header",
            Self::Length => "length",
            Self::Tag => "tag",
            Self::Tags => "tags",
            Self::Trailer => "trailer",
            Self::Range => "range",
            Self::Policy => "policy",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client's request, refused with this S3 code.
    Client(ErrorCode),
    /// The store's own answer to a valid request: no such key, precondition failed, and so on.
    Answer(ErrorCode),
    /// The stored object did not verify.
    Integrity(Integrity),
    /// The stored state of an upload did not verify. To the client, such an upload does not exist.
    UploadState,
    /// The object carries no seal, in a bucket that holds sealed objects only.
    NotSealed,
    /// The key provider is out of reach or busy.
    KeysUnavailable,
    /// The key provider or the keyring refuses the key.
    KeysRefused,
    /// The store is out of reach, busy or failing.
    StoreUnavailable,
    /// The store refuses the gateway's own credentials.
    StoreRefusesUs,
    /// The store's answer makes no sense.
    StoreProtocol,
    /// The client went away.
    ClientGone,
    /// Too much at once.
    Overloaded,
    /// The audit trail cannot take a record, and nothing is served without one.
    Unrecorded,
    /// A defect of the gateway.
    Internal,
}

impl Kind {
    /// The one S3 code of this kind.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Client(code) | Self::Answer(code) => code,
            Self::Integrity(_) => ErrorCode::ObjectIntegrityFailure,
            Self::UploadState => ErrorCode::NoSuchUpload,
            Self::NotSealed => ErrorCode::ObjectNotSealed,
            Self::KeysUnavailable | Self::StoreUnavailable | Self::Unrecorded => {
                ErrorCode::ServiceUnavailable
            }
            Self::KeysRefused => ErrorCode::AccessDenied,
            Self::StoreRefusesUs | Self::StoreProtocol | Self::Internal => ErrorCode::InternalError,
            Self::ClientGone => ErrorCode::RequestTimeout,
            Self::Overloaded => ErrorCode::SlowDown,
        }
    }

    /// Whose fault it is.
    pub fn side(self) -> Side {
        match self {
            Self::Client(_) | Self::ClientGone => Side::Client,
            Self::Overloaded | Self::Unrecorded | Self::Internal => Side::Gateway,
            Self::KeysUnavailable | Self::KeysRefused => Side::Keys,
            Self::Answer(_)
            | Self::Integrity(_)
            | Self::UploadState
            | Self::NotSealed
            | Self::StoreUnavailable
            | Self::StoreRefusesUs
            | Self::StoreProtocol => Side::Store,
        }
    }

    /// The class of a refusal of what the store holds, as security events and metrics call it. Clients
    /// are not told: one answer for every class tells whoever tries forgeries nothing.
    pub fn security_class(self) -> Option<&'static str> {
        match self {
            Self::Integrity(class) => Some(class.name()),
            Self::UploadState => Some("state"),
            Self::NotSealed => Some("unsealed"),
            Self::Client(_)
            | Self::Answer(_)
            | Self::KeysUnavailable
            | Self::KeysRefused
            | Self::StoreUnavailable
            | Self::StoreRefusesUs
            | Self::StoreProtocol
            | Self::ClientGone
            | Self::Overloaded
            | Self::Unrecorded
            | Self::Internal => None,
        }
    }

    /// Whether the client is told to come back, with `Retry-After`.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable | Self::StoreUnavailable | Self::Overloaded | Self::Unrecorded
        )
    }
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct GatewayError {
    /// What went wrong.
    pub kind: Kind,
    /// What the client is told, when it differs from the code's own message. Never secret.
    pub message: Option<Cow<'static, str>>,
    /// What the log is told in addition. Never secret.
    pub context: Cow<'static, str>,
    /// Further elements of the error document, such as `StringToSign`.
    pub extra: Vec<(&'static str, String)>,
    /// Headers that belong to the answer: the ETag of a 304, the length behind a 416.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl GatewayError {
    /// An error of this kind; `context` goes to the log only.
    pub fn new(kind: Kind, context: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: None,
            context: context.into(),
            extra: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The client's fault, with what to tell it.
    pub fn client(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self {
            kind: Kind::Client(code),
            message: Some(message),
            context: "".into(),
            extra: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The client's fault, told with the code's own message.
    pub fn code(code: ErrorCode) -> Self {
        Self::new(Kind::Client(code), "")
    }

    /// The stored object was refused.
    pub fn integrity(class: Integrity, context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Integrity(class), context)
    }

    /// The same error with a message for the client.
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.code().code())?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if !self.context.is_empty() {
            write!(f, " ({})", self.context)?;
        }
        Ok(())
    }
}

impl std::error::Error for GatewayError {}

/// What the request path returns.
pub type Result<T> = std::result::Result<T, GatewayError>;
