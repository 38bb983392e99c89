//! The token's file.
//!
//! What lives here: reading it. What must not: its use. Invariant: a file that group or others can open is
//! refused before it is read, and the token is wiped and never printed.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use http::HeaderValue;
use sceau_kms::KeyError;
use sceau_kms::secret_file::is_private;
use zeroize::Zeroizing;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Reads the token. Done for every call, so that an agent that renews it needs to tell nobody.
pub(crate) fn read(path: &Path) -> Result<HeaderValue, KeyError> {
    let operator = |what: &str| KeyError::NeedsOperator {
        what: format!("{}: {what}", path.display()),
    };
    let file = File::open(path).map_err(|_| operator("the token file cannot be opened"))?;
    let facts = file
        .metadata()
        .map_err(|_| operator("the token file cannot be inspected"))?;
    if !is_private(&facts) {
        return Err(operator(
            "the token file must be a plain file that only its owner may read (mode 0600, or 0640 if root owns it)",
        ));
    }
    if facts.len() > TOKEN_BYTES_MAX {
        return Err(operator("the token file is too large"));
    }
    let mut text = Zeroizing::new(String::with_capacity(8192));
    file.take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|_| operator("the token file is no text"))?;
    let mut value = HeaderValue::from_str(text.trim_end())
        .map_err(|_| operator("the token file does not hold one line of text"))?;
    if value.is_empty() {
        return Err(operator("the token file is empty"));
    }
    value.set_sensitive(true);
    Ok(value)
}
