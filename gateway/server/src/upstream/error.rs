//! What can go wrong between the gateway and the store.
//!
//! What lives here: [`StoreError`] and the enums it is made of. What must not: response bodies,
//! header values, credentials. Invariant: no variant can carry a secret or a piece of an object.

use std::fmt;

use http::StatusCode;

use super::fault::UpstreamFault;

/// Why a request to the store has no usable response.
#[derive(Debug)]
pub enum StoreError {
    /// The source of the request body gave an error or ended short of its length, so the request
    /// was dropped before its end. The caller knows the reason: it made the body.
    BodyAborted,
    /// All connections to the store stayed in use for too long.
    Busy,
    /// The configuration cannot be used; the text says which part.
    Config(&'static str),
    /// No connection could be made.
    Connect(ConnectFault),
    /// The gateway has no usable credentials for the store.
    Credentials(CredentialFault),
    /// The store broke HTTP, or promised something that this client does not accept.
    Protocol(&'static str),
    /// The store answered with an error that the caller (the control bucket) has no meaning for.
    Refused {
        /// Status of the answer.
        status: StatusCode,
        /// What the answer means.
        fault: UpstreamFault,
    },
    /// The request cannot be expressed in HTTP; the text says which part.
    Request(&'static str),
    /// The connection broke before the end of the response.
    Reset {
        /// Whether any byte of the request body may have left the gateway.
        body_sent: bool,
    },
    /// The store was silent for too long.
    Timeout(Wait),
    /// A response body was larger than the caller's limit.
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
}

/// What the gateway was waiting for when the time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The head of the response.
    Head,
    /// The next bytes of the response body.
    Idle,
}

/// Which step of opening a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// Name resolution or TCP.
    Tcp,
    /// The connection was not ready in time.
    Timeout,
    /// The TLS handshake or the check of the store's certificate.
    Tls,
}

/// What is wrong with the gateway's credentials for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// A variable, file, section or entry is absent.
    Absent,
    /// A value is empty or has characters that no credential has.
    Malformed,
    /// The credentials file is open to group or others.
    Open,
    /// The credentials file cannot be read.
    Unreadable,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrySafety {
    /// It would fail again, or might act twice.
    Never,
    /// Only when no byte of the body was sent.
    OnlyIfNoByteSent,
    /// Nothing reached the store.
    Safe,
}

impl StoreError {
    /// Whether the caller may send the same request again.
    pub fn retry(&self) -> RetrySafety {
        match self {
            Self::Busy | Self::Connect(ConnectFault::Tcp | ConnectFault::Timeout) => RetrySafety::Safe,
            Self::Reset { .. } | Self::Timeout(Wait::Head) => RetrySafety::OnlyIfNoByteSent,
            Self::BodyAborted
            | Self::Config(_)
            | Self::Connect(ConnectFault::Tls)
            | Self::Credentials(_)
            | Self::Protocol(_)
            | Self::Refused { .. }
            | Self::Request(_)
            | Self::Timeout(Wait::Idle)
            | Self::TooLarge { .. } => RetrySafety::Never,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyAborted => f.write_str("the request body ended early and the request was dropped"),
            Self::Busy => f.write_str("all connections to the store are in use"),
            Self::Config(what) => write!(f, "store configuration: {what}"),
            Self::Connect(ConnectFault::Tcp) => f.write_str("no connection to the store"),
            Self::Connect(ConnectFault::Timeout) => f.write_str("connecting to the store took too long"),
            Self::Connect(ConnectFault::Tls) => f.write_str("no trusted TLS session with the store"),
            Self::Credentials(CredentialFault::Absent) => f.write_str("no credentials for the store"),
            Self::Credentials(CredentialFault::Malformed) => {
                f.write_str("malformed credentials for the store")
            }
            Self::Credentials(CredentialFault::Open) => {
                f.write_str("the store's credentials file is open to group or others: chmod 600")
            }
            Self::Credentials(CredentialFault::Unreadable) => {
                f.write_str("the store's credentials file cannot be read")
            }
            Self::Protocol(what) => write!(f, "the store broke the protocol: {what}"),
            Self::Refused { status, fault } => write!(f, "the store answered {status} ({fault})"),
            Self::Request(what) => write!(f, "the request cannot be sent: {what}"),
            Self::Reset { .. } => f.write_str("the store closed the connection early"),
            Self::Timeout(Wait::Head) => f.write_str("the store did not answer in time"),
            Self::Timeout(Wait::Idle) => f.write_str("the store stopped sending"),
            Self::TooLarge { limit_bytes } => write!(f, "the store's answer exceeds {limit_bytes} bytes"),
        }
    }
}

impl std::error::Error for StoreError {}
