//! What can go wrong with a key provider.
//!
//! What lives here: [`KeyError`]. What must not: the S3 answer that follows from it. Invariant: no text
//! in here ever comes from key bytes, a PIN, or bytes of a wrap.

use std::fmt;
use std::time::Duration;

/// Why a key provider did not do what it was asked. Closed: callers match every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The provider cannot be reached now; asking again after `retry_after` may succeed.
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer within the deadline. The operation may have been carried out.
    Timeout,
    /// Too many requests are waiting.
    Throttled,
    /// The provider refused this use of the key.
    Denied,
    /// The wrap names a key, version or scheme that this provider does not serve.
    KeyNotFound,
    /// The key exists but its state or attributes forbid this use.
    KeyNotUsable,
    /// The wrap or its context was altered, or belongs to another key. Never retried.
    InvalidCiphertext,
    /// Nothing will work until a person acts; the provider does not try by itself.
    NeedsOperator {
        /// What to do, in words.
        what: String,
    },
    /// The configuration cannot work as it stands.
    Misconfigured {
        /// What is wrong, in words.
        what: String,
    },
    /// A defect in the adapter or an answer that makes no sense.
    Internal,
}

impl KeyError {
    /// Whether the same call may succeed soon, here or on another provider of the same key.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout | Self::Throttled => true,
            Self::Denied
            | Self::KeyNotFound
            | Self::KeyNotUsable
            | Self::InvalidCiphertext
            | Self::NeedsOperator { .. }
            | Self::Misconfigured { .. }
            | Self::Internal => false,
        }
    }

    /// Stable label for metrics and audit records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::KeyNotFound => "key-not-found",
            Self::KeyNotUsable => "key-not-usable",
            Self::InvalidCiphertext => "invalid-ciphertext",
            Self::NeedsOperator { .. } => "needs-operator",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { retry_after } => {
                write!(
                    f,
                    "the key provider is unavailable, retry after {} ms",
                    retry_after.as_millis()
                )
            }
            Self::Timeout => f.write_str("the key provider did not answer in time"),
            Self::Throttled => f.write_str("too many requests wait for the key provider"),
            Self::Denied => f.write_str("the key provider refused this use of the key"),
            Self::KeyNotFound => f.write_str("the key provider does not serve this key, version or scheme"),
            Self::KeyNotUsable => f.write_str("the key exists but may not be used"),
            Self::InvalidCiphertext => f.write_str("the wrapped key or its context was altered"),
            Self::NeedsOperator { what } => write!(f, "an operator must act: {what}"),
            Self::Misconfigured { what } => write!(f, "the key provider is misconfigured: {what}"),
            Self::Internal => f.write_str("the key provider adapter failed"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_wrap_is_never_retried_and_an_outage_is() {
        assert!(!KeyError::InvalidCiphertext.is_retryable());
        assert!(!KeyError::NeedsOperator { what: String::new() }.is_retryable());
        assert!(
            KeyError::Unavailable {
                retry_after: Duration::from_secs(1)
            }
            .is_retryable()
        );
        assert!(KeyError::Timeout.is_retryable());
    }
}
