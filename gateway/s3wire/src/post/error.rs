//! Why a form upload was refused.
//!
//! What lives here: the closed list of reasons and what the client is told. What must not: signatures,
//! tokens, field values. Invariant: each reason maps to one S3 error code.

use std::fmt;

use crate::error::ErrorCode;
use crate::tagging::TagError;

/// Why a form upload was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostError {
    /// A condition of the policy does not hold; the condition as the policy has it.
    ConditionFailed(String),
    /// Fields that no condition of the policy speaks of.
    ExtraFields(Vec<String>),
    /// A field has a value that it cannot have.
    FieldInvalid(&'static str),
    /// A field that must stand in front of the file is missing; its name.
    FieldMissing(&'static str),
    /// A field is there twice; its name.
    FieldRepeated(String),
    /// A field asks for something that is not offered with a form; its name.
    FieldUnsupported(String),
    /// The form has no file.
    FileMissing,
    /// The name that the form gives the object is too long.
    KeyTooLong,
    /// The body is not the form that its head announces.
    Malformed(&'static str),
    /// The body's length is not declared, so that of the file cannot be known.
    MissingLength,
    /// The form has more in front of the file than is read.
    HeadTooLong,
    /// The policy's time is over.
    PolicyExpired,
    /// The policy is not one.
    PolicyInvalid(&'static str),
    /// The policy does not fix where a redirect leads.
    RedirectNotFixed,
    /// The policy's signature is not the expected one.
    SignatureMismatch,
    /// The field `tagging` has no set of tags that S3 allows.
    Tagging(TagError),
    /// The file is larger than the policy allows.
    TooLarge {
        /// Length of the file, bytes.
        length: u64,
        /// What the policy allows, bytes.
        max: u64,
    },
    /// The file is smaller than the policy allows.
    TooSmall {
        /// Length of the file, bytes.
        length: u64,
        /// What the policy demands, bytes.
        min: u64,
    },
    /// A signature of another mechanism than AWS4-HMAC-SHA256.
    UnsupportedMechanism,
}

impl PostError {
    /// The S3 error that the client gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ConditionFailed(_)
            | Self::ExtraFields(_)
            | Self::PolicyExpired
            | Self::RedirectNotFixed => ErrorCode::AccessDenied,
            Self::FieldInvalid(_) | Self::FieldMissing(_) | Self::FieldRepeated(_) => {
                ErrorCode::InvalidArgument
            }
            Self::FieldUnsupported(_) => ErrorCode::NotImplemented,
            Self::FileMissing => ErrorCode::IncorrectNumberOfFilesInPostRequest,
            Self::KeyTooLong => ErrorCode::KeyTooLong,
            Self::Malformed(_) => ErrorCode::MalformedPostRequest,
            Self::MissingLength => ErrorCode::MissingContentLength,
            Self::HeadTooLong => ErrorCode::MaxPostPreDataLengthExceeded,
            Self::PolicyInvalid(_) => ErrorCode::InvalidPolicyDocument,
            Self::SignatureMismatch => ErrorCode::SignatureDoesNotMatch,
            Self::Tagging(error) => error.code(),
            Self::TooLarge { .. } => ErrorCode::EntityTooLarge,
            Self::TooSmall { .. } => ErrorCode::EntityTooSmall,
            Self::UnsupportedMechanism => ErrorCode::InvalidRequest,
        }
    }

    /// Further elements of the error body: names and texts.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::TooLarge { length, max } => vec![
                ("ProposedSize", length.to_string()),
                ("MaxSizeAllowed", max.to_string()),
            ],
            Self::TooSmall { length, min } => vec![
                ("ProposedSize", length.to_string()),
                ("MinSizeAllowed", min.to_string()),
            ],
            Self::FieldMissing(name) => vec![("ArgumentName", (*name).to_owned())],
            Self::ConditionFailed(_)
            | Self::ExtraFields(_)
            | Self::FieldInvalid(_)
            | Self::FieldRepeated(_)
            | Self::FieldUnsupported(_)
            | Self::FileMissing
            | Self::KeyTooLong
            | Self::Malformed(_)
            | Self::MissingLength
            | Self::HeadTooLong
            | Self::PolicyExpired
            | Self::PolicyInvalid(_)
            | Self::RedirectNotFixed
            | Self::SignatureMismatch
            | Self::Tagging(_)
            | Self::UnsupportedMechanism => Vec::new(),
        }
    }
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConditionFailed(condition) => {
                write!(
                    f,
                    "Invalid according to Policy: Policy Condition failed: {condition}"
                )
            }
            Self::ExtraFields(names) => {
                write!(
                    f,
                    "Invalid according to Policy: Extra input fields: {}",
                    names.join(", ")
                )
            }
            Self::FieldInvalid(what) => f.write_str(what),
            Self::FieldMissing(name) => write!(
                f,
                "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
            ),
            Self::FieldRepeated(name) => write!(f, "The form has the field '{name}' more than once."),
            Self::FieldUnsupported(name) => write!(f, "The form field '{name}' is not supported here."),
            Self::Malformed(what) => write!(
                f,
                "The body of your POST request is not well-formed multipart/form-data: {what}."
            ),
            Self::PolicyExpired => f.write_str("Invalid according to Policy: Policy expired."),
            Self::PolicyInvalid(what) => write!(f, "Invalid Policy: {what}."),
            Self::RedirectNotFixed => f.write_str(
                "Invalid according to Policy: success_action_redirect needs a condition that fixes its scheme and host.",
            ),
            Self::Tagging(error) => f.write_str(error.message()),
            Self::UnsupportedMechanism => f.write_str(
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ),
            Self::FileMissing
            | Self::KeyTooLong
            | Self::MissingLength
            | Self::HeadTooLong
            | Self::SignatureMismatch
            | Self::TooLarge { .. }
            | Self::TooSmall { .. } => f.write_str(self.code().default_message()),
        }
    }
}

impl std::error::Error for PostError {}
