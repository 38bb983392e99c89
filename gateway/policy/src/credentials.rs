//! Access keys and whose they are.
//!
//! What lives here: the checked table a request's access key is looked up in. What must not:
//! signatures, files. Invariant: an access key belongs to exactly one principal, and no secret can
//! be printed.

use std::collections::HashMap;
use std::fmt;

use sceau_s3wire::amztime::parse_rfc3339;
use sceau_s3wire::sigv4::SecretAccessKey;

use crate::file::{CredentialEntry, CredentialsFile};
use crate::rules::Principal;

/// Shortest access key, bytes.
pub const ACCESS_KEY_BYTES_MIN: usize = 3;
/// Longest access key, bytes.
pub const ACCESS_KEY_BYTES_MAX: usize = 128;
/// Shortest secret, bytes: below this a captured signature can be searched.
pub const SECRET_BYTES_MIN: usize = 16;
/// Longest secret, bytes.
pub const SECRET_BYTES_MAX: usize = 256;
/// Credentials accepted in one file.
pub const CREDENTIALS_MAX: usize = 10_000;

/// How the access keys of temporary credentials begin. No permanent one may, so that the two kinds are
/// told apart by sight.
pub const SESSION_KEY_PREFIX: &str = "SCEAUTMP";

/// One credential.
pub struct Credential {
    /// The secret that signatures are checked with.
    pub secret: SecretAccessKey,
    /// Whose it is.
    pub principal: Principal,
}

/// Every credential the gateway accepts.
#[derive(Default)]
pub struct Credentials {
    by_access_key: HashMap<String, Credential>,
    sessions_not_before: u64,
}

/// Why a credentials file is refused. Indexes count from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// More than [`CREDENTIALS_MAX`].
    TooMany,
    /// The access key has a bad length, or characters other than letters, digits, `.`, `_`, `-`.
    AccessKey {
        /// Place in the file.
        index: usize,
    },
    /// The access key begins like those of temporary credentials.
    ReservedAccessKey {
        /// Place in the file.
        index: usize,
    },
    /// `sessions_not_before` is not a time of RFC 3339.
    SessionsNotBefore,
    /// The same access key stands in the file twice.
    Duplicate {
        /// Place of the second one.
        index: usize,
    },
    /// The secret is shorter or longer than allowed, or has blanks or control characters.
    Secret {
        /// Place in the file.
        index: usize,
    },
    /// The principal is not a name, or the reserved one.
    Principal {
        /// Place in the file.
        index: usize,
    },
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(out, "more than {CREDENTIALS_MAX} credentials"),
            Self::AccessKey { index } => write!(
                out,
                "credential[{index}]: access_key must be {ACCESS_KEY_BYTES_MIN} to {ACCESS_KEY_BYTES_MAX} letters, digits, dots, \
                 dashes or underscores"
            ),
            Self::ReservedAccessKey { index } => write!(
                out,
                "credential[{index}]: access_key must not begin with {SESSION_KEY_PREFIX}, which is for temporary credentials"
            ),
            Self::SessionsNotBefore => out
                .write_str("sessions_not_before must be a time in quotes, such as \"2026-01-31T12:00:00Z\""),
            Self::Duplicate { index } => write!(out, "credential[{index}]: access_key is already in use"),
            Self::Secret { index } => write!(
                out,
                "credential[{index}]: secret must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} printable characters without blanks"
            ),
            Self::Principal { index } => write!(
                out,
                "credential[{index}]: principal must be a name without a star, and not `anonymous`"
            ),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl Credentials {
    /// Checks a file's credentials; the file's secrets are moved, not copied.
    ///
    /// # Errors
    ///
    /// The first credential that is not valid.
    pub fn from_file(file: CredentialsFile) -> Result<Self, CredentialsError> {
        if file.credential.len() > CREDENTIALS_MAX {
            return Err(CredentialsError::TooMany);
        }
        let sessions_not_before = match file.sessions_not_before {
            None => 0,
            Some(text) => parse_rfc3339(&text).ok_or(CredentialsError::SessionsNotBefore)?,
        };
        let mut by_access_key = HashMap::with_capacity(file.credential.len());
        for (index, entry) in file.credential.into_iter().enumerate() {
            let (access_key, credential) = check(index, entry)?;
            if by_access_key.insert(access_key, credential).is_some() {
                return Err(CredentialsError::Duplicate { index });
            }
        }
        Ok(Self {
            by_access_key,
            sessions_not_before,
        })
    }

    /// One credential without the rules on lengths: development mode, where the user chooses.
    #[must_use]
    pub fn for_development(access_key: &str, secret: String, principal: Principal) -> Self {
        let credential = Credential {
            secret: SecretAccessKey::new(secret),
            principal,
        };
        Self {
            by_access_key: HashMap::from([(access_key.to_owned(), credential)]),
            sessions_not_before: 0,
        }
    }

    /// The credential of an access key.
    #[must_use]
    pub fn find(&self, access_key: &str) -> Option<&Credential> {
        self.by_access_key.get(access_key)
    }

    /// Temporary credentials issued before this Unix time are no longer accepted; zero without a limit.
    #[must_use]
    pub fn sessions_not_before(&self) -> u64 {
        self.sessions_not_before
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_access_key.len()
    }

    /// Whether nobody can sign in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_access_key.is_empty()
    }

    /// The principals, in no order, repeated when they have several access keys.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.by_access_key
            .values()
            .map(|credential| &credential.principal)
    }
}

fn check(index: usize, entry: CredentialEntry) -> Result<(String, Credential), CredentialsError> {
    let access_key = entry.access_key;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(ACCESS_KEY_BYTES_MIN..=ACCESS_KEY_BYTES_MAX).contains(&access_key.len())
        || !access_key.bytes().all(allowed)
    {
        return Err(CredentialsError::AccessKey { index });
    }
    if access_key.starts_with(SESSION_KEY_PREFIX) {
        return Err(CredentialsError::ReservedAccessKey { index });
    }
    let mut secret = entry.secret.into_text();
    let has_good_length = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len());
    if !has_good_length || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialsError::Secret { index });
    }
    let principal = Principal::new(&entry.principal).ok_or(CredentialsError::Principal { index })?;
    let secret = SecretAccessKey::new(std::mem::take(&mut *secret));
    Ok((access_key, Credential { secret, principal }))
}
