//! What applies to everybody in a bucket.
//!
//! What lives here: the `[[bucket]]` tables of the policy file, and which of them a bucket has. What must
//! not: who may do what (see [`crate::Policy`]), headers. Invariant: the first table that names a bucket
//! is the only one that speaks of it, and an error in any refuses the whole file.

use std::fmt;

use serde::Deserialize;

use crate::pattern::Pattern;

/// `[[bucket]]` tables accepted in one policy: a request walks all of them.
pub const BUCKET_TABLES_MAX: usize = 1_000;

/// Buckets, and KMS key names, accepted in one table.
pub const NAMES_PER_TABLE_MAX: usize = 256;

/// Longest KMS key name, in bytes.
pub const KMS_KEY_NAME_BYTES_MAX: usize = 256;

/// What becomes of the headers `x-amz-server-side-encryption*` of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SseMode {
    /// Taken as asked for and answered as S3 does; nothing goes to the store.
    #[default]
    Accept,
    /// Sent on to the store, which encrypts once more.
    Forward,
    /// Refused.
    Refuse,
}

/// What becomes of a write with a key of the customer's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SseCMode {
    /// The object is bound to the key: whoever reads it must show it.
    Bind,
    /// Refused.
    #[default]
    Refuse,
}

/// Whether unwrapped epoch keys of a bucket may be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyCacheMode {
    /// For the configured time.
    #[default]
    On,
    /// Never: every request has its keys unwrapped.
    Off,
}

/// One `[[bucket]]` table, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketEntry {
    /// Bucket names; each may end in `*`.
    pub buckets: Vec<String>,
    /// Headers that ask for encryption by the store.
    #[serde(default)]
    pub sse: SseMode,
    /// Keys of the customer's own.
    #[serde(default)]
    pub sse_c: SseCMode,
    /// Names that requests for KMS encryption may give.
    #[serde(default)]
    pub kms_key_names: Vec<String>,
    /// Whether unwrapped keys are held.
    #[serde(default)]
    pub key_cache: KeyCacheMode,
}

/// What applies to everybody in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Headers that ask for encryption by the store.
    pub sse: SseMode,
    /// Keys of the customer's own.
    pub sse_c: SseCMode,
    /// Whether unwrapped keys are held.
    pub key_cache: KeyCacheMode,
    kms_key_names: Vec<String>,
}

impl BucketSettings {
    /// Whether requests may name this KMS key: a listed name, `alias/NAME`, `key/NAME`, or either at the end
    /// of an ARN of KMS.
    #[must_use]
    pub fn has_kms_key(&self, id: &str) -> bool {
        let resource = if id.starts_with("arn:") {
            let mut fields = id.splitn(6, ':').skip(2);
            match (fields.next(), fields.nth(2)) {
                (Some("kms"), Some(resource)) if resource.contains('/') => resource,
                _ => return false,
            }
        } else {
            id
        };
        let name = resource
            .strip_prefix("alias/")
            .or_else(|| resource.strip_prefix("key/"))
            .unwrap_or(resource);
        self.kms_key_names.iter().any(|own| own == name)
    }
}

/// What is wrong with a `[[bucket]]` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsProblem {
    /// More than [`BUCKET_TABLES_MAX`] tables.
    TooManyTables,
    /// More than [`NAMES_PER_TABLE_MAX`] buckets or key names.
    TooManyNames,
    /// No bucket, an empty bucket name, or a star before the end of one.
    Buckets,
    /// A key name that is empty, too long, or has a slash, a colon or anything but printable ASCII in it.
    KmsKeyNames,
    /// Key names where no request can use one.
    KmsKeyNamesUnused,
}

/// Why a policy file's `[[bucket]]` tables are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Place of the first bad table, from zero.
    pub index: usize,
    /// What is wrong with it.
    pub problem: SettingsProblem,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            SettingsProblem::TooManyTables => "too many tables",
            SettingsProblem::TooManyNames => "too many buckets or key names in one table",
            SettingsProblem::Buckets => "buckets must list names, each with a star at its end at most",
            SettingsProblem::KmsKeyNames => {
                "kms_key_names must list bare names, without alias/, key/ or an ARN around them"
            }
            SettingsProblem::KmsKeyNamesUnused => "kms_key_names needs sse = \"accept\"",
        };
        write!(out, "bucket[{}]: {problem}", self.index)
    }
}

impl std::error::Error for SettingsError {}

/// The checked `[[bucket]]` tables of a policy.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    tables: Vec<(Vec<Pattern>, BucketSettings)>,
    otherwise: BucketSettings,
}

impl Settings {
    /// Checks a file's tables.
    ///
    /// # Errors
    ///
    /// The first table that is not valid.
    pub fn from_entries(entries: &[BucketEntry]) -> Result<Self, SettingsError> {
        if entries.len() > BUCKET_TABLES_MAX {
            let (index, problem) = (BUCKET_TABLES_MAX, SettingsProblem::TooManyTables);
            return Err(SettingsError { index, problem });
        }
        let check_one = |(index, entry)| check(entry).map_err(|problem| SettingsError { index, problem });
        Ok(Self {
            tables: entries
                .iter()
                .enumerate()
                .map(check_one)
                .collect::<Result<_, _>>()?,
            otherwise: BucketSettings::default(),
        })
    }

    /// What applies in the bucket of this name.
    #[must_use]
    pub fn of(&self, bucket: &str) -> &BucketSettings {
        let speaks = |(patterns, _): &&(Vec<Pattern>, _)| patterns.iter().any(|own| own.matches(bucket));
        let first = self.tables.iter().find(speaks);
        first.map_or(&self.otherwise, |(_, settings)| settings)
    }
}

fn check(entry: &BucketEntry) -> Result<(Vec<Pattern>, BucketSettings), SettingsProblem> {
    if entry.buckets.len() > NAMES_PER_TABLE_MAX || entry.kms_key_names.len() > NAMES_PER_TABLE_MAX {
        return Err(SettingsProblem::TooManyNames);
    }
    let patterns: Option<Vec<Pattern>> = entry.buckets.iter().map(|bucket| Pattern::new(bucket)).collect();
    let patterns = patterns
        .filter(|list| !list.is_empty())
        .ok_or(SettingsProblem::Buckets)?;
    let is_name = |name: &String| {
        !name.is_empty()
            && name.len() <= KMS_KEY_NAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
    };
    if !entry.kms_key_names.iter().all(is_name) {
        return Err(SettingsProblem::KmsKeyNames);
    }
    if !entry.kms_key_names.is_empty() && entry.sse != SseMode::Accept {
        return Err(SettingsProblem::KmsKeyNamesUnused);
    }
    let settings = BucketSettings {
        sse: entry.sse,
        sse_c: entry.sse_c,
        key_cache: entry.key_cache,
        kms_key_names: entry.kms_key_names.clone(),
    };
    Ok((patterns, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyFile;

    fn settings(text: &str) -> Result<Settings, SettingsError> {
        let file: PolicyFile = toml::from_str(text).unwrap();
        Settings::from_entries(&file.bucket)
    }

    #[test]
    fn the_first_table_that_names_a_bucket_speaks() {
        let all = settings(
            "[[bucket]]\nbuckets=['a']\nsse='refuse'\nsse_c='bind'\n[[bucket]]\nbuckets=['a','b*']\nsse='forward'\n",
        )
        .unwrap();
        assert_eq!(
            (all.of("a").sse, all.of("a").sse_c),
            (SseMode::Refuse, SseCMode::Bind)
        );
        assert_eq!(
            (all.of("bb").sse, all.of("bb").sse_c),
            (SseMode::Forward, SseCMode::Refuse)
        );
        assert_eq!(all.of("c"), &BucketSettings::default());
        assert_eq!(all.of("c").key_cache, KeyCacheMode::On);
        let off = settings("[[bucket]]\nbuckets=['vault*']\nkey_cache='off'\n").unwrap();
        assert_eq!(off.of("vault-1").key_cache, KeyCacheMode::Off);
        assert_eq!(
            (all.of("c").sse, all.of("c").sse_c),
            (SseMode::Accept, SseCMode::Refuse)
        );
    }

    #[test]
    fn listed_keys_are_known_in_every_form_and_others_in_none() {
        let all = settings("[[bucket]]\nbuckets=['*']\nkms_key_names=['own']\n").unwrap();
        for id in [
            "own",
            "alias/own",
            "key/own",
            "arn:aws:kms:eu-west-1:111122223333:key/own",
            "arn:aws:kms:eu-west-1:111122223333:alias/own",
        ] {
            assert!(all.of("b").has_kms_key(id), "{id}");
            assert!(!BucketSettings::default().has_kms_key(id), "{id}");
        }
        for id in [
            "",
            "other",
            "Own",
            "own2",
            "alias/alias/own",
            "arn:aws:s3:::key/own",
            "arn:aws:kms:eu-west-1:111122223333:own",
            "arn:aws:kms:own",
            "x/own",
        ] {
            assert!(!all.of("b").has_kms_key(id), "{id}");
        }
    }

    #[test]
    fn a_bad_table_refuses_the_file() {
        for (table, problem) in [
            ("buckets=[]", SettingsProblem::Buckets),
            ("buckets=['a*b']", SettingsProblem::Buckets),
            ("buckets=['a']\nkms_key_names=['']", SettingsProblem::KmsKeyNames),
            (
                "buckets=['a']\nkms_key_names=['alias/x']",
                SettingsProblem::KmsKeyNames,
            ),
            (
                "buckets=['a']\nsse='forward'\nkms_key_names=['x']",
                SettingsProblem::KmsKeyNamesUnused,
            ),
        ] {
            let error = settings(&format!("[[bucket]]\nbuckets=['ok']\n[[bucket]]\n{table}\n")).unwrap_err();
            assert_eq!(error, SettingsError { index: 1, problem }, "{table}");
        }
        assert!(toml::from_str::<PolicyFile>("[[bucket]]\nbuckets=['a']\nsse='encrypt'\n").is_err());
        assert!(toml::from_str::<PolicyFile>("[[bucket]]\nbuckets=['a']\nssec='bind'\n").is_err());
        assert!(toml::from_str::<PolicyFile>("[[bucket]]\nbuckets=['a']\nkey_cache='no'\n").is_err());
    }
}
