//! How the file names where a secret comes from.
//!
//! What lives here: the two prefixes beside plain paths, `credential:` and `prompt:`. What must not: reading or
//! asking. Invariant: a secret is never in the configuration itself nor in the environment; the only variable
//! looked at is systemd's, which names a folder.

use std::path::{Path, PathBuf};

/// The variable in which systemd names the folder of a service's credentials.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Begins the name of a systemd credential.
const CREDENTIAL: &str = "credential:";

/// Asks for the secret.
const PROMPT: &str = "prompt:";

/// Longest name of a credential in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A file in the folder of the service's systemd credentials.
    Credential(PathBuf),
    /// A question on the terminal: what `credential:` means as well outside of the unit that has it.
    Prompt,
}

impl SecretSource {
    /// The file, unless somebody is asked.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Credential(path) => Some(path),
            Self::Prompt => None,
        }
    }

    /// What `written` names; plain paths are looked up in `folder`. An error says what is wrong.
    pub(super) fn parse(written: &Path, folder: &Path) -> Result<Self, &'static str> {
        Self::parse_in(written, folder, credentials_directory().as_deref())
    }

    fn parse_in(written: &Path, folder: &Path, directory: Option<&Path>) -> Result<Self, &'static str> {
        let Some(text) = written.to_str() else {
            return Ok(Self::File(folder.join(written)));
        };
        if let Some(rest) = text.strip_prefix(PROMPT) {
            return match rest.is_empty() {
                true => Ok(Self::Prompt),
                false => Err("nothing follows `prompt:`"),
            };
        }
        let Some(name) = text.strip_prefix(CREDENTIAL) else {
            return Ok(Self::File(folder.join(written)));
        };
        let is_name =
            (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('/') && !matches!(name, "." | "..");
        if !is_name {
            return Err("`credential:` is followed by the name of a systemd credential, without a slash");
        }
        match directory {
            Some(directory) => Ok(Self::Credential(directory.join(name))),
            // A command that an operator runs by hand, with the configuration of the service.
            None => Ok(Self::Prompt),
        }
    }
}

fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY)
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_path_a_credential_or_a_question_and_nothing_else() {
        let (folder, directory) = (
            Path::new("/etc/sceau"),
            Path::new("/run/credentials/sceau.service"),
        );
        let parse = |text: &str| SecretSource::parse_in(Path::new(text), folder, Some(directory));
        assert_eq!(parse("pin"), Ok(SecretSource::File("/etc/sceau/pin".into())));
        assert_eq!(parse("/run/pin"), Ok(SecretSource::File("/run/pin".into())));
        assert_eq!(
            parse("credential:hsm-pin"),
            Ok(SecretSource::Credential(directory.join("hsm-pin")))
        );
        assert_eq!(parse("prompt:"), Ok(SecretSource::Prompt));
        for wrong in ["credential:", "credential:a/b", "credential:..", "prompt:please"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let by_hand = SecretSource::parse_in(Path::new("credential:pin"), folder, None);
        assert_eq!(
            by_hand,
            Ok(SecretSource::Prompt),
            "outside of the unit somebody must be there"
        );
    }
}
