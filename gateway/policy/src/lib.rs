//! Who may do what to which bucket.
//!
//! What lives here: principals, credentials, rules, and one pure decision function. What must not:
//! requests in flight, HTTP, files, clocks, object keys' bytes beyond comparing them. Invariant:
//! what no rule allows is denied, and a deny rule always wins.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod credentials;
mod file;
mod key_use;
mod pattern;
mod rules;
mod session_policy;
mod settings;

pub use credentials::{
    ACCESS_KEY_BYTES_MAX, ACCESS_KEY_BYTES_MIN, CREDENTIALS_MAX, Credential, Credentials, CredentialsError,
    SECRET_BYTES_MAX, SECRET_BYTES_MIN, SESSION_KEY_PREFIX,
};
pub use file::{CredentialEntry, CredentialsFile, PolicyFile, RuleEntry, SecretField, Verb};
pub use key_use::{
    KEY_USE_NAMES_MAX, KEY_USE_TABLES_MAX, KeyReason, KeyRules, KeyUseEntry, KeyUseError, KeyUseProblem,
};
pub use rules::{
    Decision, Effect, PATTERNS_PER_RULE_MAX, Policy, PolicyError, Principal, Problem, RULES_MAX, RuleRef,
};
pub use sceau_s3wire::op::Action;
pub use session_policy::{
    MalformedPolicy, RequestFacts, Resource, SESSION_POLICY_BYTES_MAX, SessionPolicy, iam_actions,
};
pub use settings::{
    BUCKET_TABLES_MAX, BucketEntry, BucketSettings, KMS_KEY_NAME_BYTES_MAX, KeyCacheMode,
    NAMES_PER_TABLE_MAX, Settings, SettingsError, SettingsProblem, SseCMode, SseMode,
};
