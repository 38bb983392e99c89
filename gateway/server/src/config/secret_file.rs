//! Reading files that hold secrets.
//!
//! What lives here: the permission rule and the bounded read. What must not: what the secrets are
//! for. Invariant: a file that group or others can open is refused before its content is read. In the
//! folder of systemd credentials the group's right to read may be the mask of the access list by which systemd
//! lets the service's user read a file of root's; nothing else is different there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sceau_keys::SecretText;
use zeroize::Zeroizing;

use super::ConfigError;
use super::secret_source::is_credential;

/// Largest secret file in bytes: a credentials file with several thousand entries.
pub const SECRET_FILE_BYTES_MAX: u64 = 1 << 20;

/// Permission bits that must be clear: any access by group or others.
const OTHERS: u32 = 0o077;

/// The same for a systemd credential.
const OTHERS_OF_CREDENTIAL: u32 = 0o037;

/// Reads a whole file that holds secrets, for example the credentials file.
///
/// # Errors
/// [`ConfigError::SecretMode`] when others may open it, [`ConfigError::SecretUnreadable`] or
/// [`ConfigError::SecretForm`] when it cannot be read, is too large or is not UTF-8.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let unreadable = |source| ConfigError::SecretUnreadable {
        path: path.to_owned(),
        source,
    };
    let form = |why| ConfigError::SecretForm {
        path: path.to_owned(),
        why,
    };
    // The mode is asked of the open file, so it cannot be exchanged between check and read.
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(form("not a regular file"));
    }
    let mode = metadata.mode() & 0o7777;
    let forbidden = match is_credential(path) {
        true => OTHERS_OF_CREDENTIAL,
        false => OTHERS,
    };
    if mode & forbidden != 0 {
        return Err(ConfigError::SecretMode {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > SECRET_FILE_BYTES_MAX {
        return Err(form("larger than 1 MiB"));
    }
    // Reserved up front, so that growing does not leave copies behind.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    match file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(form("not UTF-8 text")),
        Err(error) => Err(unreadable(error)),
    }
}

/// Reads a file that holds one secret as one line; the line end is dropped.
///
/// # Errors
/// As [`read_secret_file`], and [`ConfigError::SecretForm`] when it is empty or has several lines.
pub fn read_secret(path: &Path) -> Result<SecretText, ConfigError> {
    let text = read_secret_file(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\r', '\0']) {
        return Err(ConfigError::SecretForm {
            path: path.to_owned(),
            why: "does not hold exactly one line of text",
        });
    }
    Ok(SecretText::new(line.to_owned()))
}
