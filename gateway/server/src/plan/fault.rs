//! What the errors of other rooms and crates mean for the client.
//!
//! What lives here: one conversion for each foreign error type, and nothing else converts them. What
//! must not: I/O. Invariant: an answer never quotes the store's own text, which may show the gateway's
//! canonical request and access key.

use http::StatusCode;
use sceau_envelope::error::{
    HeaderError, OpenError, SealError, StateError, TagsError, TicketError, TrailerError,
};
use sceau_kms::KeyError;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::payload::PayloadError;
use sceau_s3wire::post::PostError;

use crate::error::{GatewayError, Integrity, Kind};
use crate::keyring::{EpochKeyError, KeyringFault};
use crate::upstream::{StoreError, UpstreamFault, classify_error};

/// A request to the store that has no answer.
pub fn store_error(error: &StoreError) -> GatewayError {
    let kind = match error {
        StoreError::Busy => Kind::Overloaded,
        StoreError::Connect(_) | StoreError::Reset { .. } | StoreError::Timeout(_) => Kind::StoreUnavailable,
        StoreError::Credentials(_) | StoreError::Config(_) => Kind::StoreRefusesUs,
        StoreError::Protocol(_) | StoreError::TooLarge { .. } => Kind::StoreProtocol,
        StoreError::BodyAborted | StoreError::Request(_) => Kind::Internal,
        StoreError::Refused { status: _, fault } => return upstream_fault(fault, error.to_string()),
    };
    GatewayError::new(kind, error.to_string())
}

/// An error answer of the store.
pub fn store_answer(status: StatusCode, body: &[u8]) -> GatewayError {
    if status == StatusCode::NOT_MODIFIED {
        return GatewayError::new(Kind::Answer(ErrorCode::NotModified), "");
    }
    upstream_fault(
        &classify_error(status, body),
        format!("the store answered {}", status.as_u16()),
    )
}

/// An error document inside a success.
pub fn store_failure(code: &str) -> GatewayError {
    let known = ErrorCode::ALL.iter().copied().find(|known| known.code() == code);
    let kind = match known {
        Some(ErrorCode::InternalError | ErrorCode::ServiceUnavailable | ErrorCode::SlowDown) | None => {
            Kind::StoreUnavailable
        }
        Some(code) => Kind::Answer(code),
    };
    GatewayError::new(kind, format!("the store failed after its answer began: {code}"))
}

fn upstream_fault(fault: &UpstreamFault, context: String) -> GatewayError {
    let (kind, code) = match fault {
        UpstreamFault::ClientFault(code) | UpstreamFault::NotFound(code) => {
            let known = ErrorCode::ALL.iter().copied().find(|known| known.code() == code);
            (
                Kind::Answer(known.unwrap_or(ErrorCode::InvalidRequest)),
                code.as_str(),
            )
        }
        UpstreamFault::OurCredentials(code) => (Kind::StoreRefusesUs, code.as_str()),
        UpstreamFault::Throttled => (Kind::Overloaded, "throttled"),
        UpstreamFault::Unavailable => (Kind::StoreUnavailable, "unavailable"),
    };
    GatewayError::new(kind, format!("{context}: {code}"))
}

/// A refused request body.
pub fn payload_error(error: &PayloadError) -> GatewayError {
    GatewayError::client(error.code(), error.to_string())
}

/// A refused form upload.
pub fn post_error(error: &PostError) -> GatewayError {
    let mut answer = GatewayError::client(error.code(), error.to_string());
    answer.extra = error.details();
    answer
}

/// A refused object header.
pub fn header_error(error: HeaderError) -> GatewayError {
    let class = match error {
        HeaderError::Malformed | HeaderError::Corrupted => Integrity::Header,
        HeaderError::UnknownSuite => Integrity::Policy,
        HeaderError::NotForThisName => Integrity::Context,
        HeaderError::WrongStoredLength => Integrity::Length,
    };
    GatewayError::integrity(class, error.to_string())
}

/// Refused payload bytes.
pub fn open_error(error: OpenError) -> GatewayError {
    match error {
        OpenError::Corrupted => GatewayError::integrity(Integrity::Tag, error.to_string()),
        OpenError::OutOfRange
        | OpenError::WrongLength
        | OpenError::PartHeaderMissing
        | OpenError::Finished => GatewayError::new(Kind::Internal, error.to_string()),
    }
}

/// A refused trailer.
pub fn trailer_error(error: TrailerError) -> GatewayError {
    let class = match error {
        TrailerError::Malformed | TrailerError::NotAuthentic => Integrity::Trailer,
        TrailerError::Inconsistent => Integrity::Length,
    };
    GatewayError::integrity(class, error.to_string())
}

/// Something that could not be sealed.
pub fn seal_error(error: SealError) -> GatewayError {
    match error {
        SealError::MetadataTooLarge => GatewayError::code(ErrorCode::MetadataTooLarge),
        SealError::MetadataInvalid => GatewayError::client(
            ErrorCode::InvalidArgument,
            "the metadata has a name or value that cannot be stored",
        ),
        SealError::TooLong => GatewayError::code(ErrorCode::EntityTooLarge),
        SealError::TooShort => GatewayError::code(ErrorCode::IncompleteBody),
        SealError::InvalidParts => GatewayError::code(ErrorCode::InvalidPart),
        SealError::Random | SealError::Engine => GatewayError::new(Kind::Internal, error.to_string()),
    }
}

/// Refused tags of a stored object.
pub fn tags_error(error: TagsError) -> GatewayError {
    GatewayError::integrity(Integrity::Tags, error.to_string())
}

/// Tags that could not be sealed.
pub fn seal_tags_error(error: SealError) -> GatewayError {
    if error == SealError::MetadataTooLarge {
        return GatewayError::client(
            ErrorCode::InvalidTag,
            "The tags are too long to be sealed: four bytes for each tag and the UTF-8 bytes of all keys and values \
             may be 1889 bytes together.",
        );
    }
    seal_error(error)
}

/// A refused upload state. To the client, an upload whose state does not verify does not exist.
pub fn state_error(error: StateError) -> GatewayError {
    GatewayError::new(Kind::UploadState, error.to_string())
}

/// A refused part ticket.
pub fn ticket_error(error: TicketError) -> GatewayError {
    let mut answer = GatewayError::code(ErrorCode::InvalidPart);
    answer.context = error.to_string().into();
    answer
}

/// An epoch key that cannot be used. Which key a stored header names is the store's word: a record that
/// is unknown, of another bucket or of another purpose makes the object suspect, not the keys.
pub fn epoch_key_error(error: &EpochKeyError) -> GatewayError {
    let kind = match error {
        EpochKeyError::Provider(error) => return key_error(error),
        EpochKeyError::Busy => Kind::KeysUnavailable,
        EpochKeyError::Unknown | EpochKeyError::WrongBucket | EpochKeyError::WrongPurpose => {
            Kind::Integrity(Integrity::Policy)
        }
        EpochKeyError::CheckFailed
        | EpochKeyError::NotNow
        | EpochKeyError::NotUsable(_)
        | EpochKeyError::NoWrap => Kind::KeysRefused,
    };
    GatewayError::new(kind, error.to_string())
}

/// A keyring that could not be changed or read.
pub fn keyring_error(error: &KeyringFault) -> GatewayError {
    let kind = match error {
        KeyringFault::Control { .. } => Kind::StoreUnavailable,
        KeyringFault::Provider(error) => return key_error(error),
        KeyringFault::Contended => Kind::Overloaded,
        KeyringFault::Absent
        | KeyringFault::BucketUnknown
        | KeyringFault::ControlBucketName
        | KeyringFault::Document { .. }
        | KeyringFault::DomainKnown
        | KeyringFault::DomainUnknown
        | KeyringFault::EpochDestroyed
        | KeyringFault::EpochUnknown
        | KeyringFault::Exists { .. }
        | KeyringFault::Foreign { .. }
        | KeyringFault::Fork { .. }
        | KeyringFault::KekNeeded { .. }
        | KeyringFault::KekRetired
        | KeyringFault::Local { .. }
        | KeyringFault::NotDisabled
        | KeyringFault::Outdated
        | KeyringFault::ProviderMix { .. }
        | KeyringFault::Random
        | KeyringFault::Record { .. }
        | KeyringFault::Rollback { .. }
        | KeyringFault::TooManyWraps { .. } => Kind::KeysRefused,
    };
    GatewayError::new(kind, error.to_string())
}

/// A key that could not be had.
pub fn key_error(error: &KeyError) -> GatewayError {
    let kind = if error.is_retryable() || matches!(error, KeyError::NeedsOperator { .. }) {
        Kind::KeysUnavailable
    } else {
        Kind::KeysRefused
    };
    GatewayError::new(kind, error.to_string())
}
