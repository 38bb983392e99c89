//! The shapes of the policy and credentials files.
//!
//! What lives here: serde types, as written by people. What must not: decisions. Invariant: an
//! unknown key is an error, so that a misspelt `deny` cannot silently allow.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::key_use::KeyUseEntry;
use crate::settings::BucketEntry;

/// A policy file: `[[allow]]`, `[[deny]]`, `[[bucket]]` and `[[key_use]]` tables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Rules that allow.
    #[serde(default)]
    pub allow: Vec<RuleEntry>,
    /// Rules that deny, and win.
    #[serde(default)]
    pub deny: Vec<RuleEntry>,
    /// What applies to everybody in a bucket; the first that names it speaks.
    #[serde(default)]
    pub bucket: Vec<BucketEntry>,
    /// For which reasons keys may be used.
    #[serde(default)]
    pub key_use: Vec<KeyUseEntry>,
}

/// One rule, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// A name for audit records; the rule's place in the file when absent.
    pub name: Option<String>,
    /// The principal; may end in `*`.
    pub principal: String,
    /// Bucket names; each may end in `*`.
    pub buckets: Vec<String>,
    /// Key prefixes; the whole bucket when absent. A trailing `*` is allowed and changes nothing.
    pub prefixes: Option<Vec<String>>,
    /// What is allowed or denied.
    pub verbs: Vec<Verb>,
}

/// What a rule speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Read objects and their metadata.
    Read,
    /// Create and replace objects, in one piece or in parts.
    Write,
    /// Delete objects.
    Delete,
    /// List names.
    List,
    /// Create the bucket.
    CreateBucket,
    /// Delete the bucket.
    DeleteBucket,
    /// Set and remove the documents about a bucket (versioning, lifecycle, CORS, bucket policy, bucket
    /// tags and so on) and about objects (ACL, retention, legal hold).
    Configure,
    /// Read those documents.
    ReadConfiguration,
}

/// A credentials file: `[[credential]]` tables.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsFile {
    /// Temporary credentials issued before this time of RFC 3339 are no longer accepted.
    pub sessions_not_before: Option<String>,
    /// The credentials.
    #[serde(default)]
    pub credential: Vec<CredentialEntry>,
}

/// One credential, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialEntry {
    /// The access key a client signs with; not secret.
    pub access_key: String,
    /// The secret access key.
    pub secret: SecretField,
    /// Whose key it is.
    pub principal: String,
}

/// A secret on its way from a file to its final type; wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct SecretField(#[serde(deserialize_with = "wiped")] Zeroizing<String>);

impl SecretField {
    /// Takes over a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    pub(crate) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
