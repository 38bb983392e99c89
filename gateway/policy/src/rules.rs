//! Rules and the decision.
//!
//! What lives here: the checked policy and [`Policy::decide`]. What must not: knowledge of how a
//! request looks. Invariant: an error in any rule refuses the whole file.

use std::fmt;

use sceau_s3wire::op::Action;

use crate::file::{PolicyFile, RuleEntry, Verb};
use crate::pattern::Pattern;

/// Rules accepted in one policy, allow and deny together: a decision walks all of them.
pub const RULES_MAX: usize = 1_000;

/// Buckets, and prefixes, accepted in one rule.
pub const PATTERNS_PER_RULE_MAX: usize = 256;

/// The name of whoever sends no credentials. No credential can have it.
const ANONYMOUS: &str = "anonymous";

/// Who sends a request: the name a credential belongs to, or [`Principal::anonymous`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(String);

impl Principal {
    /// A principal of this name; `None` when it is empty, longer than 256 bytes, has a star or a
    /// control character in it, or is the reserved name `anonymous`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let bad = name.is_empty()
            || name.len() > 256
            || name.contains('*')
            || name.contains(char::is_control)
            || name == ANONYMOUS;
        (!bad).then(|| Self(name.to_owned()))
    }

    /// Whoever sends no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(ANONYMOUS.to_owned())
    }

    /// Whether this is [`Principal::anonymous`].
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0 == ANONYMOUS
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An `[[allow]]` rule.
    Allow,
    /// A `[[deny]]` rule.
    Deny,
}

/// The place of a rule in its file; written `allow[0]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Which of the two lists.
    pub effect: Effect,
    /// Place in the list, from zero.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        write!(out, "{list}[{}]", self.index)
    }
}

/// What the policy says about one action, and which rule said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the action may go on.
    pub allowed: bool,
    /// The rule that decided; `None` when no rule speaks of the action, which denies it.
    pub rule: Option<RuleRef>,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// More than [`RULES_MAX`] rules.
    TooManyRules,
    /// More than [`PATTERNS_PER_RULE_MAX`] buckets or prefixes.
    TooManyPatterns,
    /// The principal is empty, or has a star before its end.
    Principal,
    /// No bucket, an empty bucket name, or a star before the end of one.
    Buckets,
    /// An empty list of prefixes, which would allow nothing: leave it out for the whole bucket.
    Prefixes,
    /// No verb.
    Verbs,
    /// `create-bucket` or `delete-bucket` in a rule with prefixes.
    BucketVerbWithPrefix,
    /// A rule that allows `anonymous` more than to read, list and write.
    AnonymousVerbs,
}

/// Why a policy file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The first bad rule.
    pub rule: RuleRef,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::TooManyRules => "too many rules",
            Problem::TooManyPatterns => "too many buckets or prefixes in one rule",
            Problem::Principal => "principal must be a name, with a star at its end at most",
            Problem::Buckets => "buckets must list names, each with a star at its end at most",
            Problem::Prefixes => "prefixes is an empty list; leave it out to mean the whole bucket",
            Problem::Verbs => "verbs is an empty list",
            Problem::BucketVerbWithPrefix => "create-bucket and delete-bucket cannot be limited to prefixes",
            Problem::AnonymousVerbs => "anonymous can be allowed read, list and write, and nothing else",
        };
        write!(out, "{}: {problem}", self.rule)
    }
}

impl std::error::Error for PolicyError {}

/// A checked policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: Option<String>,
    effect: Effect,
    principal: Pattern,
    buckets: Vec<Pattern>,
    /// Empty means the whole bucket.
    prefixes: Vec<String>,
    verbs: Vec<Verb>,
}

impl Policy {
    /// Checks a file's rules.
    ///
    /// # Errors
    ///
    /// The first rule that is not valid.
    pub fn from_file(file: &PolicyFile) -> Result<Self, PolicyError> {
        let rules = file.allow.len().saturating_add(file.deny.len());
        if rules > RULES_MAX {
            let rule = RuleRef {
                effect: Effect::Allow,
                index: 0,
            };
            return Err(PolicyError {
                rule,
                problem: Problem::TooManyRules,
            });
        }
        Ok(Self {
            allow: check_all(Effect::Allow, &file.allow)?,
            deny: check_all(Effect::Deny, &file.deny)?,
        })
    }

    /// Decides one action of one principal on one bucket.
    ///
    /// `key` is the object's key; for [`Action::List`] it is the prefix asked for, and `None` means
    /// the whole bucket. Actions on a bucket take no key. [`Action::Configure`] and
    /// [`Action::ReadConfiguration`] take the key of an object's document and none for a bucket's, which
    /// a rule with prefixes does not speak of. Any other action on an object without a key is denied.
    #[must_use]
    pub fn decide(&self, principal: &Principal, action: Action, bucket: &str, key: Option<&str>) -> Decision {
        let speaks = |rule: &Rule| rule.speaks_of(principal, bucket);
        let verb = match (action, key) {
            (Action::SeeBucket, _) => return self.decide_sight(principal, bucket),
            (Action::Read | Action::Write | Action::Delete, None) => {
                return Decision {
                    allowed: false,
                    rule: None,
                };
            }
            (Action::Read, Some(_)) => Verb::Read,
            (Action::Write, Some(_)) => Verb::Write,
            (Action::Delete, Some(_)) => Verb::Delete,
            (Action::List, _) => Verb::List,
            (Action::CreateBucket, _) => Verb::CreateBucket,
            (Action::DeleteBucket, _) => Verb::DeleteBucket,
            (Action::Configure, _) => Verb::Configure,
            (Action::ReadConfiguration, _) => Verb::ReadConfiguration,
        };
        let key = key.unwrap_or_default();
        let denies = |rule: &Rule| {
            speaks(rule)
                && rule.verbs.contains(&verb)
                && (rule.covers(key) || (verb == Verb::List && rule.reaches_below(key)))
        };
        if let Some(index) = self.deny.iter().position(denies) {
            return Decision {
                allowed: false,
                rule: Some(RuleRef {
                    effect: Effect::Deny,
                    index,
                }),
            };
        }
        let allows = |rule: &Rule| speaks(rule) && rule.verbs.contains(&verb) && rule.covers(key);
        allowed_by(self.allow.iter().position(allows))
    }

    /// The name a rule was given, or its place in the file.
    #[must_use]
    pub fn rule_name(&self, rule: RuleRef) -> String {
        let rules = match rule.effect {
            Effect::Allow => &self.allow,
            Effect::Deny => &self.deny,
        };
        rules
            .get(rule.index)
            .and_then(|found| found.name.clone())
            .unwrap_or_else(|| rule.to_string())
    }

    /// A bucket is seen by who is allowed anything in it that is not denied for the whole of it.
    fn decide_sight(&self, principal: &Principal, bucket: &str) -> Decision {
        let is_denied = |verb: &Verb| {
            self.deny.iter().any(|rule| {
                rule.speaks_of(principal, bucket) && rule.prefixes.is_empty() && rule.verbs.contains(verb)
            })
        };
        let shows =
            |rule: &Rule| rule.speaks_of(principal, bucket) && rule.verbs.iter().any(|verb| !is_denied(verb));
        allowed_by(self.allow.iter().position(shows))
    }
}

fn allowed_by(index: Option<usize>) -> Decision {
    let rule = index.map(|index| RuleRef {
        effect: Effect::Allow,
        index,
    });
    Decision {
        allowed: rule.is_some(),
        rule,
    }
}

impl Rule {
    /// Whoever sends no credentials is allowed only what a rule for exactly `anonymous` allows: a rule for
    /// everybody with a star was written with named principals in mind. A denial with a star does reach
    /// them, since the opposite mistake would open what somebody closed.
    fn speaks_of(&self, principal: &Principal, bucket: &str) -> bool {
        let is_named =
            self.effect == Effect::Deny || !principal.is_anonymous() || self.principal.is_literal();
        is_named
            && self.principal.matches(principal.as_str())
            && self.buckets.iter().any(|pattern| pattern.matches(bucket))
    }

    fn covers(&self, key: &str) -> bool {
        self.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|prefix| key.starts_with(prefix.as_str()))
    }

    /// Whether a listing under `prefix` would show names this rule speaks of.
    fn reaches_below(&self, prefix: &str) -> bool {
        self.prefixes.iter().any(|own| own.starts_with(prefix))
    }
}

fn check_all(effect: Effect, entries: &[RuleEntry]) -> Result<Vec<Rule>, PolicyError> {
    let numbered = entries.iter().enumerate();
    numbered
        .map(|(index, entry)| {
            check(effect, entry).map_err(|problem| PolicyError {
                rule: RuleRef { effect, index },
                problem,
            })
        })
        .collect()
}

fn check(effect: Effect, entry: &RuleEntry) -> Result<Rule, Problem> {
    let prefixes = entry.prefixes.as_deref();
    if entry.buckets.len() > PATTERNS_PER_RULE_MAX
        || prefixes.is_some_and(|list| list.len() > PATTERNS_PER_RULE_MAX)
    {
        return Err(Problem::TooManyPatterns);
    }
    let principal = Pattern::new(&entry.principal).ok_or(Problem::Principal)?;
    let buckets: Option<Vec<Pattern>> = entry.buckets.iter().map(|bucket| Pattern::new(bucket)).collect();
    let buckets = buckets.filter(|list| !list.is_empty()).ok_or(Problem::Buckets)?;
    if prefixes.is_some_and(<[String]>::is_empty) {
        return Err(Problem::Prefixes);
    }
    let prefixes = whole_bucket_is_empty(prefixes.unwrap_or_default());
    if entry.verbs.is_empty() {
        return Err(Problem::Verbs);
    }
    let has_bucket_verb = entry
        .verbs
        .iter()
        .any(|verb| matches!(verb, Verb::CreateBucket | Verb::DeleteBucket));
    if has_bucket_verb && !prefixes.is_empty() {
        return Err(Problem::BucketVerbWithPrefix);
    }
    let is_harmless = |verb: &Verb| matches!(verb, Verb::Read | Verb::List | Verb::Write);
    if effect == Effect::Allow && entry.principal == ANONYMOUS && !entry.verbs.iter().all(is_harmless) {
        return Err(Problem::AnonymousVerbs);
    }
    Ok(Rule {
        name: entry.name.clone(),
        effect,
        principal,
        buckets,
        prefixes,
        verbs: entry.verbs.clone(),
    })
}

/// Strips trailing stars. A prefix that is then empty is the whole bucket, as is no prefix at all.
fn whole_bucket_is_empty(prefixes: &[String]) -> Vec<String> {
    let strip = |prefix: &String| prefix.strip_suffix('*').unwrap_or(prefix).to_owned();
    let stripped: Vec<String> = prefixes.iter().map(strip).collect();
    if stripped.iter().any(String::is_empty) {
        Vec::new()
    } else {
        stripped
    }
}
