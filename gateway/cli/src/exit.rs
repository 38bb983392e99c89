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
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    part: Part,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of `part`.
    pub fn new(part: Part, message: impl Into<String>) -> Self {
        Self {
            part,
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure with what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
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
        Self::new(Part::Keys, error.to_string())
    }

    /// The keyring cannot be used.
    pub fn keyring(fault: KeyringFault) -> Self {
        let hint = fault.hint();
        Self::new(Part::Keys, format!("{} {fault}", fault.id())).with_hint(hint)
    }

    /// The store failed.
    pub fn store(error: StoreError) -> Self {
        Self::new(Part::Store, error.to_string())
    }

    /// Shows the failure and gives the exit code.
    #[expect(clippy::print_stderr, reason = "a command's message to its user")]
    pub fn report(&self) -> ExitCode {
        eprintln!("sceau: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("  help: {hint}");
        }
        ExitCode::from(self.part as u8)
    }
}
