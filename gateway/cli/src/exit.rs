//! How commands end.
//!
//! What lives here: [`Failure`], its exit codes and how it is shown. What must not: command logic.
//! Invariant: an exit code means the same for every command; messages go to standard error, and say whose
//! fault it is and what to do.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use sceau_kms::KeyError;
use sceau_server::access::AccessError;
use sceau_server::audit::AuditError;
use sceau_server::config::ConfigError;
use sceau_server::keyring::KeyringFault;
use sceau_server::upstream::StoreError;

/// Which part failed. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The command ran and found something wrong.
    Finding = 1,
    /// The command line, the configuration, or a file that it names.
    Usage = 2,
    /// The key provider or the keyring.
    Keys = 3,
    /// The store.
    Store = 4,
    /// A defect or limit of this program or its host.
    Internal = 5,
    /// The key provider is out of reach or busy: the same command may work later.
    KeysUnavailable = 6,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    part: Part,
    id: Option<&'static str>,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of `part`.
    pub fn new(part: Part, message: impl Into<String>) -> Self {
        Self {
            part,
            id: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure with what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with its searchable id.
    pub fn with_id(mut self, id: &'static str) -> Self {
        self.id = Some(id);
        self
    }

    /// The searchable id, where there is one.
    pub fn id(&self) -> Option<&'static str> {
        self.id
    }

    /// What went wrong, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The configuration is wrong.
    pub fn config(error: &ConfigError) -> Self {
        Self::new(Part::Usage, error.to_string())
            .with_id(error.id())
            .with_hint(error.hint())
    }

    /// The credentials or the policy are wrong.
    pub fn access(error: &AccessError) -> Self {
        Self::new(Part::Usage, error.to_string())
            .with_id(error.id())
            .with_hint(error.hint())
    }

    /// The command line or a file is wrong.
    pub fn usage(error: impl Display) -> Self {
        Self::new(Part::Usage, error.to_string())
    }

    /// A defect or limit of the host.
    pub fn internal(error: impl Display) -> Self {
        Self::new(Part::Internal, error.to_string())
    }

    /// A file or folder cannot be used.
    pub fn file(path: &Path, error: &dyn Display) -> Self {
        Self::new(Part::Usage, format!("{}: {error}", path.display()))
    }

    /// The listening address cannot be had.
    pub fn listen(address: SocketAddr, error: &dyn Display) -> Self {
        Self::new(Part::Usage, format!("cannot listen on {address}: {error}"))
            .with_hint("another process may have the address; name another one")
    }

    /// The key provider failed.
    pub fn keys(error: KeyError) -> Self {
        let hint = match &error {
            KeyError::Unavailable { .. } | KeyError::Timeout | KeyError::Throttled => {
                "try again; see the log of the HSM"
            }
            KeyError::Denied | KeyError::KeyNotFound | KeyError::KeyNotUsable => {
                "check the key's label, id and attributes, and the user that the PIN belongs to"
            }
            KeyError::InvalidCiphertext => "restore a good copy of the keyring",
            KeyError::NeedsOperator { .. } | KeyError::Misconfigured { .. } => {
                "correct [keys] in the configuration"
            }
            KeyError::Internal => "see the log of the helper process",
        };
        Self::new(keys_part(&error), error.to_string())
            .with_id("E-KEYS-010")
            .with_hint(hint)
    }

    /// The keyring cannot be used.
    pub fn keyring(fault: KeyringFault) -> Self {
        let part = match &fault {
            KeyringFault::Control { .. } => Part::Store,
            KeyringFault::Provider(error) => keys_part(error),
            KeyringFault::Absent
            | KeyringFault::BucketUnknown
            | KeyringFault::Contended
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
            | KeyringFault::TooManyWraps { .. } => Part::Keys,
        };
        Self::new(part, fault.to_string())
            .with_id(fault.id())
            .with_hint(fault.hint())
    }

    /// The audit trail cannot be kept.
    pub fn audit(error: &AuditError) -> Self {
        Self::new(Part::Usage, error.to_string())
            .with_id(error.id())
            .with_hint(error.hint())
    }

    /// The store failed.
    pub fn store(error: StoreError) -> Self {
        Self::new(Part::Store, error.to_string())
            .with_id("E-STORE-001")
            .with_hint("check [store] in the configuration: endpoint, region, credentials and trust")
    }

    /// The trust anchors of an identity provider, or the provider itself, cannot be used.
    pub fn issuers(why: String) -> Self {
        Self::new(Part::Usage, why)
            .with_id("E-STS-001")
            .with_hint("check [[sts.issuer]] in the configuration: url, jwks_uri and ca_file")
    }

    /// Shows the failure and gives the exit code.
    #[expect(clippy::print_stderr, reason = "a command's message to its user")]
    pub fn report(&self) -> ExitCode {
        match self.id {
            Some(id) => eprintln!("sceau: {id}: {}", self.message),
            None => eprintln!("sceau: {}", self.message),
        }
        if let Some(hint) = &self.hint {
            eprintln!("  help: {hint}");
        }
        ExitCode::from(self.part as u8)
    }
}

/// A service manager tries again what may work later, and must not try again what needs a person: a
/// wrong PIN tried often enough locks the token.
fn keys_part(error: &KeyError) -> Part {
    if error.is_retryable() {
        Part::KeysUnavailable
    } else {
        Part::Keys
    }
}
