//! What can be wrong with the configuration, each with a searchable id and a hint.
//!
//! What lives here: the error type and its texts. What must not: reading. Invariant: no message
//! contains the content of a secret file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One rule that a well-formed file breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key at fault, dotted (`listen.admin`).
    pub key: &'static str,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column, the line itself with a caret, and what was expected.
        report: String,
    },
    /// `version` is absent or not one this program reads.
    Version {
        /// The file.
        path: PathBuf,
        /// What was found, if anything.
        found: Option<String>,
    },
    /// The file is well-formed but breaks rules; all of them are listed.
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every rule broken.
        problems: Vec<Problem>,
    },
    /// A file that holds a secret can be read by others.
    SecretMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that holds a secret cannot be read.
    SecretUnreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file that holds a secret does not hold one.
    SecretForm {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its content.
        why: &'static str,
    },
}

impl ConfigError {
    /// The searchable id.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::TooLarge { .. } => "E-CONF-001",
            Self::Syntax { .. } => "E-CONF-002",
            Self::Version { .. } => "E-CONF-003",
            Self::Invalid { .. } => "E-CONF-004",
            Self::SecretMode { .. } => "E-CONF-005",
            Self::SecretUnreadable { .. } | Self::SecretForm { .. } => "E-CONF-006",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "give the file with --config and make it readable to this user",
            Self::TooLarge { .. } => "check that --config names the gateway's own file",
            Self::Syntax { .. } => "compare with the commented sample, deploy/sceau.toml",
            Self::Version { .. } => "write `version = 1` as the first line",
            Self::Invalid { .. } => "correct the keys listed; each line says how",
            Self::SecretMode { .. } => {
                "make it readable to its owner only: chmod 600; or owned by root and readable to the group of the service: 0640"
            }
            Self::SecretUnreadable { .. } => "check the path and the owner of the file",
            Self::SecretForm { .. } => "the file holds the secret alone, as one line of text",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "{}: cannot be read: {source}", path.display()),
            Self::TooLarge { path } => write!(f, "{}: larger than 1 MiB", path.display()),
            Self::Syntax { path, report } => write!(f, "{}: {report}", path.display()),
            Self::Version { path, found: None } => write!(f, "{}: `version` is missing", path.display()),
            Self::Version {
                path,
                found: Some(found),
            } => {
                write!(
                    f,
                    "{}: version {found} is not one this program reads",
                    path.display()
                )
            }
            Self::Invalid { path, problems } => {
                write!(f, "{}:", path.display())?;
                problems
                    .iter()
                    .try_for_each(|p| write!(f, "\n  {}: {}", p.key, p.message))
            }
            Self::SecretMode { path, mode } => write!(
                f,
                "{}: holds a secret but has mode {mode:04o}; others must have no access",
                path.display()
            ),
            Self::SecretUnreadable { path, source } => {
                write!(f, "{}: secret file cannot be read: {source}", path.display())
            }
            Self::SecretForm { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } | Self::SecretUnreadable { source, .. } => Some(source),
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::Version { .. }
            | Self::Invalid { .. }
            | Self::SecretMode { .. }
            | Self::SecretForm { .. } => None,
        }
    }
}
