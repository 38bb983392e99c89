//! Reading files that hold secrets.
//!
//! What lives here: the bounded read. What must not: what the secrets are
//! for. Invariant: a file that others can open ([`sceau_kms::secret_file`]) is refused before its content is read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sceau_keys::SecretText;
use sceau_kms::secret_file::is_private;
use zeroize::Zeroizing;

use super::ConfigError;

/// Largest secret file in bytes: a credentials file with several thousand entries.
pub const SECRET_FILE_BYTES_MAX: u64 = 1 << 20;

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
    if !is_private(&metadata) {
        return Err(ConfigError::SecretMode {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
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
