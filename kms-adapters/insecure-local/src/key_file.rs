//! The key file: plain lines, because it must be easy to see that it protects nothing.
//!
//! What lives here: reading and writing the file. What must not: wrapping. Invariant: a file that
//! anyone but its owner may read or write is never used, and one that exists is never overwritten by
//! [`create`].
//!
//! ```text
//! sceau-insecure-local 1
//! label NAME
//! key VERSION 64-HEXADECIMAL-DIGITS
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use sceau_keys::{KEY_BYTES, SecretKey};
use sceau_kms::KeyError;
use sceau_kms::secret_file::is_private;
use zeroize::Zeroizing;

/// Largest key file in bytes; some hundred versions.
const FILE_BYTES_MAX: u64 = 65_536;
const FIRST_LINE: &str = "sceau-insecure-local 1";

/// The content of a key file: versions ascend from the first line to the last.
pub(crate) struct KeyFile {
    pub(crate) label: String,
    pub(crate) keys: Vec<(u32, SecretKey)>,
}

pub(crate) fn misconfigured(what: &str) -> KeyError {
    KeyError::Misconfigured {
        what: what.to_owned(),
    }
}

fn with_path(what: &str, path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Misconfigured {
        what: format!("{what} {}: {error}", path.display()),
    }
}

/// Whether `label` is 1 to 64 letters, digits, dots, hyphens or underscores.
pub(crate) fn is_label(label: &str) -> bool {
    (1..=64).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Makes a new file, readable by its owner only, with one fresh key of version 1.
pub(crate) fn create(path: &Path, label: &str, key: &SecretKey) -> Result<(), KeyError> {
    if !is_label(label) {
        return Err(misconfigured(
            "a key label is 1 to 64 letters, digits, dots, hyphens or underscores",
        ));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| with_path("cannot create the key file", path, &error))?;
    let text = Zeroizing::new(format!("{FIRST_LINE}\nlabel {label}\n{}", *key_line(1, key)));
    store(&mut file, &text, path)
}

/// Appends a key of the next version to an open, checked file.
pub(crate) fn append(path: &Path, key: &SecretKey) -> Result<u32, KeyError> {
    let held = read(path)?;
    let last = held.keys.last().map_or(0, |(version, _)| *version);
    let version = last
        .checked_add(1)
        .ok_or_else(|| misconfigured("the key file has no version left"))?;
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|error| with_path("cannot extend the key file", path, &error))?;
    store(&mut file, &key_line(version, key), path)?;
    Ok(version)
}

fn key_line(version: u32, key: &SecretKey) -> Zeroizing<String> {
    let digits = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(key.expose()));
    Zeroizing::new(format!("key {version} {}\n", *digits))
}

fn store(file: &mut File, text: &str, path: &Path) -> Result<(), KeyError> {
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| with_path("cannot write the key file", path, &error))
}

/// Reads and checks a key file.
pub(crate) fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let file = File::open(path).map_err(|error| with_path("cannot open the key file", path, &error))?;
    let facts = file
        .metadata()
        .map_err(|error| with_path("cannot inspect the key file", path, &error))?;
    if !is_private(&facts) {
        return Err(misconfigured(
            "the key file must be a plain file that only its owner may read (mode 0600, or 0640 if root owns it)",
        ));
    }
    if facts.len() > FILE_BYTES_MAX {
        return Err(misconfigured("the key file is too large"));
    }
    // Room for the whole file at once: a growing buffer would leave unwiped copies behind.
    let room = usize::try_from(FILE_BYTES_MAX).map_err(|_| KeyError::Internal)?;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| with_path("cannot read the key file", path, &error))?;
    parse(&text).ok_or_else(|| misconfigured("the key file is damaged"))
}

fn parse(text: &str) -> Option<KeyFile> {
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    let label = lines
        .next()?
        .strip_prefix("label ")
        .filter(|label| is_label(label))?
        .to_owned();
    let mut keys: Vec<(u32, SecretKey)> = Vec::new();
    for line in lines {
        let (version, digits) = line.strip_prefix("key ")?.split_once(' ')?;
        let version = version.parse().ok()?;
        if keys.last().map_or(0, |(last, _)| *last) >= version {
            return None;
        }
        keys.push((version, decode_key(digits)?));
    }
    (!keys.is_empty()).then_some(KeyFile { label, keys })
}

fn decode_key(digits: &str) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if HEXLOWER_PERMISSIVE.decode_len(digits.len()) != Ok(KEY_BYTES) {
        return None;
    }
    HEXLOWER_PERMISSIVE
        .decode_mut(digits.as_bytes(), bytes.as_mut_slice())
        .ok()?;
    SecretKey::from_slice(bytes.as_slice())
}
