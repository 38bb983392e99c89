//! The policy of a form: what its signer allows.
//!
//! What lives here: the document, its conditions, their check against a form. What must not: the
//! signature. Invariant: every field of the form is spoken of by a condition that holds, or is one of the
//! few that S3 exempts.

use std::fmt;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::PostError;
use super::request::PostForm;

/// Most conditions in one policy.
pub const CONDITIONS_MAX: usize = 200;

/// A POST policy, read but not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    expires_at: u64,
    conditions: Vec<Condition>,
}

/// One condition. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Equals { name: String, value: String },
    StartsWith { name: String, start: String },
    Length(LengthRange),
}

/// Allowed lengths of the file, in bytes of plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthRange {
    /// Shortest.
    pub min: u64,
    /// Longest.
    pub max: u64,
}

impl LengthRange {
    /// Any length.
    pub const ANY: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    /// Compares the length of a file, before any of it is stored.
    ///
    /// # Errors
    ///
    /// Too large or too small.
    pub fn check(self, length: u64) -> Result<(), PostError> {
        if length > self.max {
            Err(PostError::TooLarge {
                length,
                max: self.max,
            })
        } else if length < self.min {
            Err(PostError::TooSmall {
                length,
                min: self.min,
            })
        } else {
            Ok(())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Value>,
}

impl Policy {
    /// Reads the field `policy`: base64 of a JSON document. Its size is bounded by that of the form, its
    /// depth by the JSON reader.
    ///
    /// # Errors
    ///
    /// What S3 calls an invalid policy document.
    pub fn parse(base64: &str) -> Result<Self, PostError> {
        let invalid = PostError::PolicyInvalid;
        let text = BASE64
            .decode(base64.as_bytes())
            .map_err(|_| invalid("it is not base64"))?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(|_| invalid("it is not a JSON document of 'expiration' and 'conditions'"))?;
        if document.conditions.len() > CONDITIONS_MAX {
            return Err(invalid("it has too many conditions"));
        }
        let mut conditions = Vec::new();
        for condition in &document.conditions {
            read_condition(condition, &mut conditions)?;
        }
        Ok(Self {
            expires_at: expiration(&document.expiration)
                .ok_or(invalid("its expiration is not a UTC time"))?,
            conditions,
        })
    }

    /// Checks a form against the policy at Unix time `now` in seconds; what is left to check is the
    /// length of its file.
    ///
    /// # Errors
    ///
    /// The policy's time is over, a condition does not hold, or a field is not spoken of.
    pub fn check(&self, form: &PostForm, now: u64) -> Result<LengthRange, PostError> {
        if now > self.expires_at {
            return Err(PostError::PolicyExpired);
        }
        let mut range = LengthRange::ANY;
        for condition in &self.conditions {
            if let Condition::Length(own) = condition {
                range.min = range.min.max(own.min);
                range.max = range.max.min(own.max);
            } else if !condition.holds(form) {
                return Err(PostError::ConditionFailed(condition.to_string()));
            }
        }
        let names = std::iter::once("bucket").chain(form.names());
        let extra: Vec<String> = names
            .filter(|name| !is_exempt(name) && !self.speaks_of(name))
            .map(str::to_owned)
            .collect();
        if !extra.is_empty() {
            return Err(PostError::ExtraFields(extra));
        }
        form.check_redirect(self.fixed_starts("success_action_redirect"))?;
        Ok(range)
    }

    fn speaks_of(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equals { name: own, .. } | Condition::StartsWith { name: own, .. } => own == name,
            Condition::Length(_) => false,
        })
    }

    /// What the conditions on a field say it begins with.
    fn fixed_starts<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        self.conditions
            .iter()
            .filter_map(move |condition| match condition {
                Condition::Equals { name, value } if name == field => Some(value.as_str()),
                Condition::StartsWith { name, start } if name == field => Some(start.as_str()),
                Condition::Equals { .. } | Condition::StartsWith { .. } | Condition::Length(_) => None,
            })
    }
}

/// S3's exemptions. The file's content is covered by `content-length-range` alone.
fn is_exempt(name: &str) -> bool {
    matches!(name, "policy" | "x-amz-signature" | "file") || name.starts_with("x-ignore-")
}

impl Condition {
    fn holds(&self, form: &PostForm) -> bool {
        match self {
            // A field that is not there equals nothing and starts with nothing.
            Self::Equals { name, value } => form.get(name) == Some(value),
            Self::StartsWith { name, start } => form.get(name).is_some_and(|value| {
                if name == "content-type" {
                    // S3 reads several types in one field as a list.
                    value.split(',').all(|one| one.trim().starts_with(start.as_str()))
                } else {
                    value.starts_with(start.as_str())
                }
            }),
            Self::Length(_) => true,
        }
    }
}

/// As S3 quotes a condition that failed.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operator, name, value) = match self {
            Self::Equals { name, value } => ("eq", name, value),
            Self::StartsWith { name, start } => ("starts-with", name, start),
            Self::Length(range) => {
                return write!(f, "[\"content-length-range\", {}, {}]", range.min, range.max);
            }
        };
        // A customer's key, or a session token, must not get into answers and logs.
        let value = if is_secret(name) { "..." } else { value };
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        write!(
            f,
            "[{}, {}, {}]",
            quoted(operator),
            quoted(&format!("${name}")),
            quoted(value)
        )
    }
}

fn is_secret(name: &str) -> bool {
    [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-security-token",
    ]
    .contains(&name)
}

fn read_condition(condition: &Value, conditions: &mut Vec<Condition>) -> Result<(), PostError> {
    let invalid = PostError::PolicyInvalid("a condition is not of a known form");
    match condition {
        Value::Object(pairs) => {
            for (name, value) in pairs {
                let value = value.as_str().ok_or_else(|| invalid.clone())?;
                conditions.push(Condition::Equals {
                    name: name.to_ascii_lowercase(),
                    value: value.to_owned(),
                });
            }
            Ok(())
        }
        Value::Array(items) => {
            let [operator, first, second] = items.as_slice() else {
                return Err(invalid);
            };
            let operator = operator.as_str().unwrap_or_default().to_ascii_lowercase();
            conditions.push(match operator.as_str() {
                "content-length-range" => Condition::Length(length_range(first, second).ok_or(invalid)?),
                "eq" | "starts-with" => {
                    let name = first.as_str().and_then(|name| name.strip_prefix('$'));
                    let (name, value) = name.zip(second.as_str()).ok_or(invalid)?;
                    let (name, value) = (name.to_ascii_lowercase(), value.to_owned());
                    if operator == "eq" {
                        Condition::Equals { name, value }
                    } else {
                        Condition::StartsWith { name, start: value }
                    }
                }
                _ => return Err(invalid),
            });
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(invalid),
    }
}

fn length_range(min: &Value, max: &Value) -> Option<LengthRange> {
    // Some programs write the numbers as texts.
    let number = |value: &Value| match value {
        Value::String(text) if !text.starts_with('+') => text.parse::<u64>().ok(),
        Value::Number(number) => number.as_u64(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let range = LengthRange {
        min: number(min)?,
        max: number(max)?,
    };
    (range.min <= range.max).then_some(range)
}

/// `2026-11-30T12:00:00.000Z`, with or without a fraction, in UTC.
fn expiration(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let is_utc = text.ends_with('Z');
    u64::try_from(at.unix_timestamp()).ok().filter(|_| is_utc)
}
