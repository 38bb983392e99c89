//! For which reasons keys may be used.
//!
//! What lives here: the `[[key_use]]` tables of the policy file and the decision. What must not: keys, the
//! request. Invariant: the reasons are a closed list; a table that denies wins over every one that allows;
//! what no table speaks of is allowed for what clients do and denied for what operators do to data
//! ([`KeyReason::Scan`], [`KeyReason::BreakGlass`]).

use std::fmt;

use serde::Deserialize;

use crate::pattern::Pattern;

/// `[[key_use]]` tables accepted in one policy: a use of a key walks all of them.
pub const KEY_USE_TABLES_MAX: usize = 256;

/// Principals, buckets and reasons accepted in one table.
pub const KEY_USE_NAMES_MAX: usize = 256;

/// Why a key is used, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyReason {
    /// A client reads a whole object.
    ClientRead,
    /// A client writes an object.
    ClientWrite,
    /// A client reads part of an object.
    RangeRead,
    /// A client copies an object.
    Copy,
    /// A multipart upload starts, continues or completes.
    Multipart,
    /// A listing needs names or sizes.
    Listing,
    /// An operator has stored objects read and verified.
    Scan,
    /// An operator opens an object without gateway and store.
    BreakGlass,
}

impl KeyReason {
    fn is_allowed_by_default(self) -> bool {
        match self {
            Self::ClientRead
            | Self::ClientWrite
            | Self::RangeRead
            | Self::Copy
            | Self::Multipart
            | Self::Listing => true,
            Self::Scan | Self::BreakGlass => false,
        }
    }
}

/// One `[[key_use]]` table, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyUseEntry {
    /// Principals, each may end in `*`; everybody when absent.
    #[serde(default = "everything")]
    pub principals: Vec<String>,
    /// Bucket names, each may end in `*`; all when absent.
    #[serde(default = "everything")]
    pub buckets: Vec<String>,
    /// Reasons that are allowed.
    #[serde(default)]
    pub allow: Vec<KeyReason>,
    /// Reasons that are denied.
    #[serde(default)]
    pub deny: Vec<KeyReason>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Why a policy file's `[[key_use]]` tables are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUseError {
    /// Place of the first bad table, from zero.
    pub index: usize,
    /// What is wrong with it.
    pub problem: KeyUseProblem,
}

/// What is wrong with a `[[key_use]]` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUseProblem {
    /// More than [`KEY_USE_TABLES_MAX`] tables.
    TooManyTables,
    /// More than [`KEY_USE_NAMES_MAX`] names in one table.
    TooManyNames,
    /// No name, an empty one, or a star before the end of one.
    Names,
    /// Neither `allow` nor `deny`.
    NoReason,
}

impl fmt::Display for KeyUseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            KeyUseProblem::TooManyTables => "too many tables",
            KeyUseProblem::TooManyNames => "too many names in one table",
            KeyUseProblem::Names => {
                "principals and buckets must list names, each with a star at its end at most"
            }
            KeyUseProblem::NoReason => "allow or deny must list reasons",
        };
        write!(out, "key_use[{}]: {problem}", self.index)
    }
}

impl std::error::Error for KeyUseError {}

#[derive(Clone, Debug)]
struct Rule {
    principals: Vec<Pattern>,
    buckets: Vec<Pattern>,
    allow: Vec<KeyReason>,
    deny: Vec<KeyReason>,
}

/// The checked `[[key_use]]` tables of a policy.
#[derive(Clone, Debug, Default)]
pub struct KeyRules(Vec<Rule>);

impl KeyRules {
    /// Checks a file's tables.
    ///
    /// # Errors
    ///
    /// The first table that is not valid.
    pub fn from_entries(entries: &[KeyUseEntry]) -> Result<Self, KeyUseError> {
        if entries.len() > KEY_USE_TABLES_MAX {
            let (index, problem) = (KEY_USE_TABLES_MAX, KeyUseProblem::TooManyTables);
            return Err(KeyUseError { index, problem });
        }
        let check_one = |(index, entry)| check(entry).map_err(|problem| KeyUseError { index, problem });
        let rules = entries.iter().enumerate().map(check_one);
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `principal` may cause a use of `bucket`'s keys for this reason.
    #[must_use]
    pub fn permits(&self, reason: KeyReason, principal: &str, bucket: &str) -> bool {
        let mut is_allowed = reason.is_allowed_by_default();
        let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|own| own.matches(name));
        for rule in &self.0 {
            if any(&rule.principals, principal) && any(&rule.buckets, bucket) {
                if rule.deny.contains(&reason) {
                    return false;
                }
                is_allowed |= rule.allow.contains(&reason);
            }
        }
        is_allowed
    }
}

fn check(entry: &KeyUseEntry) -> Result<Rule, KeyUseProblem> {
    let lengths = [
        entry.principals.len(),
        entry.buckets.len(),
        entry.allow.len(),
        entry.deny.len(),
    ];
    if lengths.iter().any(|length| *length > KEY_USE_NAMES_MAX) {
        return Err(KeyUseProblem::TooManyNames);
    }
    if entry.allow.is_empty() && entry.deny.is_empty() {
        return Err(KeyUseProblem::NoReason);
    }
    let patterns = |names: &[String]| {
        let patterns: Option<Vec<_>> = names.iter().map(|name| Pattern::new(name)).collect();
        patterns
            .filter(|list| !list.is_empty())
            .ok_or(KeyUseProblem::Names)
    };
    Ok(Rule {
        principals: patterns(&entry.principals)?,
        buckets: patterns(&entry.buckets)?,
        allow: entry.allow.clone(),
        deny: entry.deny.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyFile;

    fn rules(text: &str) -> Result<KeyRules, KeyUseError> {
        KeyRules::from_entries(&toml::from_str::<PolicyFile>(text).unwrap().key_use)
    }

    #[test]
    fn clients_are_allowed_and_operators_denied_until_a_table_says_otherwise() {
        let none = KeyRules::default();
        assert!(none.permits(KeyReason::ClientRead, "p", "b"));
        assert!(none.permits(KeyReason::Multipart, "p", "b"));
        assert!(!none.permits(KeyReason::Scan, "operator", "b"));
        assert!(!none.permits(KeyReason::BreakGlass, "operator", "b"));
        let some = rules(
            "[[key_use]]\nallow=['scan','copy']\nbuckets=['a*']\n[[key_use]]\nprincipals=['op*']\ndeny=['scan','copy']\nbuckets=['ab']\n",
        )
        .unwrap();
        assert!(some.permits(KeyReason::Scan, "operator", "aa"));
        assert!(!some.permits(KeyReason::Scan, "operator", "ab"), "deny wins");
        assert!(some.permits(KeyReason::Scan, "somebody", "ab"));
        assert!(!some.permits(KeyReason::Scan, "operator", "b"));
        assert!(!some.permits(KeyReason::Copy, "operator", "ab"));
        assert!(!some.permits(KeyReason::BreakGlass, "operator", "aa"));
    }

    #[test]
    fn a_bad_table_refuses_the_file() {
        for (table, problem) in [
            ("allow=['scan']\nbuckets=[]", KeyUseProblem::Names),
            ("allow=['scan']\nprincipals=['a*b']", KeyUseProblem::Names),
            ("buckets=['a']", KeyUseProblem::NoReason),
        ] {
            let error = rules(&format!("[[key_use]]\nallow=['scan']\n[[key_use]]\n{table}\n")).unwrap_err();
            assert_eq!(error, KeyUseError { index: 1, problem }, "{table}");
        }
        for unknown in ["allow=['snooping']", "allow=['health']", "reasons=['scan']"] {
            assert!(toml::from_str::<PolicyFile>(&format!("[[key_use]]\n{unknown}\n")).is_err());
        }
    }
}
