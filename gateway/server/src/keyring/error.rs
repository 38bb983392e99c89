//! What can go wrong with the keyring, and with one of its keys.
//!
//! What lives here: two closed lists. What must not: the S3 answers that follow from them.
//! Invariant: no text holds key bytes or bytes of a wrap.

use std::fmt;
use std::path::PathBuf;

use sceau_envelope::RecordState;
use sceau_envelope::error::KeyringError;
use sceau_keys::Krid;
use sceau_kms::KeyError;

use crate::crypt::key_cache::CacheFault;

/// Which copy of the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The object in the control bucket.
    Control,
    /// A file that an operator brings back.
    Import,
    /// The file on this host, which pins the generation.
    Local,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "the control bucket's copy of the keyring",
            Self::Import => "the keyring to be imported",
            Self::Local => "the local copy of the keyring",
        })
    }
}

/// Why the keyring cannot be loaded or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyringFault {
    /// There is no keyring yet.
    Absent,
    /// The bucket's entry is not in the keyring.
    BucketUnknown,
    /// Other gateways kept changing the keyring at the same time.
    Contended,
    /// The control bucket cannot be read or written.
    Control {
        /// The store client's reason.
        why: String,
    },
    /// The control bucket is not for clients.
    ControlBucketName,
    /// A copy is malformed, not authentic, or would exceed its limits.
    Document {
        /// Which copy.
        place: Place,
        /// What is wrong with it.
        error: KeyringError,
    },
    /// A destroyed epoch does not come back.
    EpochDestroyed,
    /// The bucket has no such epoch.
    EpochUnknown,
    /// There is a keyring already.
    Exists {
        /// Where it was found.
        place: Place,
    },
    /// A copy belongs to another tenant than the keyring seen before.
    Foreign {
        /// Which copy.
        place: Place,
    },
    /// Two different keyrings of one generation.
    Fork {
        /// That generation.
        generation: u64,
    },
    /// A record has no other wrap that was tried, so this one cannot be dropped.
    KekNeeded {
        /// The record.
        krid: Krid,
    },
    /// The key provider's key-encryption key is not, or no longer, enrolled in the keyring.
    KekRetired,
    /// The local file cannot be read or written.
    Local {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        why: String,
    },
    /// A prefix that is to begin as a shred domain is one.
    DomainKnown,
    /// A prefix is no shred domain.
    DomainUnknown,
    /// Only disabled epochs can be destroyed.
    NotDisabled,
    /// The keyring changed after the operator was shown what would happen.
    Outdated,
    /// Keys wrapped for development meet a production key provider, or the other way round.
    ProviderMix {
        /// Whether the key provider in use is a production one.
        is_production: bool,
    },
    /// The key provider refused or failed.
    Provider(KeyError),
    /// No randomness.
    Random,
    /// A key record of the keyring cannot be used.
    Record {
        /// Which.
        krid: Krid,
        /// Why.
        error: EpochKeyError,
    },
    /// A copy is older than the keyring seen before.
    Rollback {
        /// Which copy.
        place: Place,
        /// The generation it claims.
        found: u64,
        /// The highest generation seen here.
        seen: u64,
    },
    /// A record cannot take one more wrap.
    TooManyWraps {
        /// The record.
        krid: Krid,
    },
}

impl KeyringFault {
    /// The searchable id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Absent => "E-KEYS-001",
            Self::Exists { .. } => "E-KEYS-002",
            Self::Local { .. } => "E-KEYS-003",
            Self::Control { .. } => "E-KEYS-004",
            Self::Document { .. } => "E-KEYS-005",
            Self::Rollback { .. } => "E-KEYS-006",
            Self::Fork { .. } => "E-KEYS-007",
            Self::Foreign { .. } => "E-KEYS-008",
            Self::ProviderMix { .. } => "E-KEYS-009",
            Self::Provider(_) => "E-KEYS-010",
            Self::Record { .. } => "E-KEYS-011",
            Self::BucketUnknown | Self::ControlBucketName => "E-KEYS-012",
            Self::Contended => "E-KEYS-013",
            Self::Random => "E-KEYS-014",
            Self::EpochUnknown | Self::EpochDestroyed => "E-KEYS-017",
            Self::DomainKnown | Self::DomainUnknown => "E-KEYS-025",
            Self::NotDisabled => "E-KEYS-018",
            Self::Outdated => "E-KEYS-019",
            Self::KekRetired => "E-KEYS-020",
            Self::KekNeeded { .. } | Self::TooManyWraps { .. } => "E-KEYS-021",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Absent => "make one with `sceau keys enrol`",
            Self::Exists { .. } => "a keyring is made once; use `sceau keys list` to look at it",
            Self::Local { .. } => "check the path, its folder and their owner",
            Self::Control { .. } => {
                "check that the control bucket exists and that the store credentials may read and write it"
            }
            Self::Document { .. } => "restore a good copy from backup; never repair one by hand",
            Self::Rollback { .. } => {
                "someone put an old copy back, or this host's copy belongs to a later time: find out which before going on"
            }
            Self::Fork { .. } => {
                "two gateways wrote without conditional writes: decide which copy is right and remove the other"
            }
            Self::Foreign { .. } => {
                "check store.control_bucket and keys.keyring: they are of different installations"
            }
            Self::ProviderMix { .. } => "use the key provider that the keyring was made with",
            Self::Provider(_) => "see the key provider's own log",
            Self::Record { .. } => {
                "check that the key provider holds the key-encryption key that was enrolled"
            }
            Self::BucketUnknown => {
                "create the bucket through the gateway, or enrol it with `sceau keys new-epoch`"
            }
            Self::ControlBucketName => "choose another bucket",
            Self::Contended => "try again",
            Self::Random => "check the operating system's random generator",
            Self::EpochUnknown | Self::EpochDestroyed => "look at `sceau keys list`",
            Self::DomainKnown => "leave --begin out to begin its next epoch",
            Self::DomainUnknown => {
                "`sceau keys show` lists them; `sceau keys new-epoch --prefix PREFIX --begin` makes one"
            }
            Self::NotDisabled => {
                "disable the epoch with `sceau keys disable` first, and see for some time who misses it"
            }
            Self::Outdated => "look at the plan again: the keyring has changed since",
            Self::KekRetired => {
                "restart this gateway with the configuration of the key-encryption key in use; see docs/operations.md"
            }
            Self::KekNeeded { .. } => {
                "run `sceau keys rotate-kek` again without --finish, so that every record gets the new wrap"
            }
            Self::TooManyWraps { .. } => "drop key-encryption keys that are no longer used",
        }
    }
}

impl fmt::Display for KeyringFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no keyring, neither in the control bucket nor here"),
            Self::BucketUnknown => f.write_str("the bucket is not in the keyring"),
            Self::Contended => f.write_str("the keyring kept changing while it was to be changed"),
            Self::Control { why } => write!(f, "the control bucket does not answer as it should: {why}"),
            Self::ControlBucketName => f.write_str("the control bucket is not available to clients"),
            Self::Document { place, error } => write!(f, "{place}: {error}"),
            Self::EpochDestroyed => f.write_str("the epoch is destroyed; nothing brings it back"),
            Self::EpochUnknown => f.write_str("the bucket has no such epoch"),
            Self::Exists { place } => write!(f, "{place} exists already"),
            Self::Foreign { place } => write!(f, "{place} belongs to another tenant"),
            Self::Fork { generation } => {
                write!(f, "there are two different keyrings of generation {generation}")
            }
            Self::KekNeeded { krid } => write!(f, "key record {krid} has no other wrap that was tried"),
            Self::KekRetired => f.write_str("the key-encryption key in use here is not enrolled in the keyring"),
            Self::Local { path, why } => write!(f, "{}: {why}", path.display()),
            Self::DomainKnown => f.write_str("the prefix is a shred domain already"),
            Self::DomainUnknown => f.write_str("the prefix is no shred domain of this bucket"),
            Self::NotDisabled => f.write_str("the epoch is not disabled, so it is not destroyed"),
            Self::Outdated => f.write_str("the keyring changed after the plan was made"),
            Self::ProviderMix { is_production: true } => f.write_str(
                "the keyring holds keys wrapped by insecure-local; a production key provider refuses to be used with them",
            ),
            Self::ProviderMix { is_production: false } => f.write_str(
                "the keyring holds keys wrapped by a production key provider; insecure-local refuses to be used with them",
            ),
            Self::Provider(error) => write!(f, "{error}"),
            Self::Random => f.write_str("the random generator failed"),
            Self::Record { krid, error } => write!(f, "key record {krid}: {error}"),
            Self::Rollback { place, found, seen } => {
                write!(f, "{place} is of generation {found}, but generation {seen} was seen here before")
            }
            Self::TooManyWraps { krid } => write!(f, "key record {krid} has as many wraps as it can hold"),
        }
    }
}

impl std::error::Error for KeyringFault {}

impl From<KeyError> for KeyringFault {
    fn from(error: KeyError) -> Self {
        Self::Provider(error)
    }
}

/// Why an epoch key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochKeyError {
    /// Too many keys are being unwrapped, or the answer was lost: try again.
    Busy,
    /// The unwrapped key is not the record's key.
    CheckFailed,
    /// The record is outside its time for sealing.
    NotNow,
    /// The record's state forbids this use.
    NotUsable(RecordState),
    /// No wrap in the record is for this key provider.
    NoWrap,
    /// The key provider refused or failed.
    Provider(KeyError),
    /// No record of this identifier in the keyring.
    Unknown,
    /// The record is of another bucket.
    WrongBucket,
    /// The record's key is not for objects.
    WrongPurpose,
}

impl EpochKeyError {
    /// Whether the same request may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Provider(error) => error.is_retryable(),
            Self::CheckFailed
            | Self::NotNow
            | Self::NotUsable(_)
            | Self::NoWrap
            | Self::Unknown
            | Self::WrongBucket
            | Self::WrongPurpose => false,
        }
    }
}

impl fmt::Display for EpochKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many keys are being unwrapped"),
            Self::CheckFailed => f.write_str("the unwrapped key does not belong to its record"),
            Self::NotNow => f.write_str("the key is outside its time"),
            Self::NotUsable(RecordState::EncryptDecrypt) => f.write_str("the key may be used"),
            Self::NotUsable(RecordState::DecryptOnly) => f.write_str("the key only opens, it does not seal"),
            Self::NotUsable(RecordState::Disabled) => f.write_str("the key is disabled"),
            Self::NotUsable(RecordState::Destroyed) => f.write_str("the key is destroyed"),
            Self::NoWrap => f.write_str("the key is not wrapped for this key provider"),
            Self::Provider(error) => write!(f, "{error}"),
            Self::Unknown => f.write_str("the key is not in the keyring"),
            Self::WrongBucket => f.write_str("the key belongs to another bucket"),
            Self::WrongPurpose => f.write_str("the key is not for objects"),
        }
    }
}

impl std::error::Error for EpochKeyError {}

impl From<CacheFault> for EpochKeyError {
    fn from(fault: CacheFault) -> Self {
        match fault {
            CacheFault::Busy | CacheFault::Lost => Self::Busy,
        }
    }
}
