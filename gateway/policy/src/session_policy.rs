//! Session policies: what the holder of temporary credentials asked to be held to.
//!
//! What lives here: reading the JSON of IAM as far as it is respected, the IAM actions of each operation,
//! the decision. What must not: the configured policy, which decides as well. Invariants: an element that
//! is not respected refuses the whole document; a session policy can only take away, so what the
//! configured policy denies stays denied.

use std::borrow::Cow;

use sceau_s3wire::op::{Document, Operation};
use serde::Deserialize;

/// Longest session policy, bytes.
pub const SESSION_POLICY_BYTES_MAX: usize = 8 * 1024;

const ARN_PREFIX: &str = "arn:aws:s3:::";
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];

/// The document is not a policy, or has an element that would not be respected: `NotAction`,
/// `NotResource`, `Condition`, `Principal`, a policy variable, a resource that is not S3's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPolicy;

/// A checked session policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    is_deny: bool,
    /// Lower case: IAM compares actions without case.
    actions: Vec<String>,
    resources: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PolicyText {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<StatementText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StatementText {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: EffectText,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum EffectText {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// What a request does besides its operation; each needs rights of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// It names a version.
    pub version: bool,
    /// It sets an ACL by headers.
    pub acl: bool,
    /// It sets tags by a header.
    pub tagging: bool,
    /// It sets a retention by headers.
    pub retention: bool,
    /// It sets a legal hold by a header.
    pub legal_hold: bool,
    /// It asks to bypass governance retention.
    pub bypass: bool,
    /// It makes a bucket with Object Lock.
    pub bucket_lock: bool,
    /// It makes a bucket with a rule of ownership.
    pub ownership: bool,
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// All buckets together.
    Service,
    /// A bucket.
    Bucket(&'a str),
    /// An object: bucket and key.
    Object(&'a str, &'a str),
}

impl Resource<'_> {
    fn arn(self) -> String {
        match self {
            Resource::Service => format!("{ARN_PREFIX}*"),
            Resource::Bucket(bucket) => format!("{ARN_PREFIX}{bucket}"),
            Resource::Object(bucket, key) => format!("{ARN_PREFIX}{bucket}/{key}"),
        }
    }
}

impl SessionPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`MalformedPolicy`]; nothing that stands in it is ever ignored.
    pub fn parse(text: &str) -> Result<Self, MalformedPolicy> {
        if text.len() > SESSION_POLICY_BYTES_MAX {
            return Err(MalformedPolicy);
        }
        let file: PolicyText = serde_json::from_str(text).map_err(|_| MalformedPolicy)?;
        let is_known = |version: &String| VERSIONS.contains(&version.as_str());
        if !file.version.as_ref().is_none_or(is_known) {
            return Err(MalformedPolicy);
        }
        let statements = file
            .statement
            .into_list()
            .into_iter()
            .map(Statement::check)
            .collect::<Option<Vec<_>>>()
            .filter(|statements| !statements.is_empty());
        statements
            .map(|statements| Self { statements })
            .ok_or(MalformedPolicy)
    }

    /// Whether every action that `operation` needs on `resource` is allowed.
    #[must_use]
    pub fn permits(&self, operation: Operation, facts: RequestFacts, resource: Resource<'_>) -> bool {
        let arn = resource.arn();
        iam_actions(operation, facts)
            .iter()
            .all(|action| self.allows(action, &arn))
    }

    /// Whether an object may be read as the source of a copy.
    #[must_use]
    pub fn permits_source(&self, bucket: &str, key: &str, has_version: bool) -> bool {
        let action = versioned(has_version, "s3:GetObjectVersion", "s3:GetObject");
        self.allows(action, &Resource::Object(bucket, key).arn())
    }

    /// One action on one resource: a deny wins, and what nobody allows is denied.
    fn allows(&self, action: &str, arn: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let speaks = |statement: &&Statement| {
            statement.actions.iter().any(|pattern| matches(pattern, &action))
                && statement.resources.iter().any(|pattern| matches(pattern, arn))
        };
        let mut speaking = self.statements.iter().filter(speaks).peekable();
        speaking.peek().is_some() && speaking.all(|statement| !statement.is_deny)
    }
}

impl Statement {
    fn check(text: StatementText) -> Option<Self> {
        let actions: Vec<String> = text
            .action
            .into_list()
            .iter()
            .map(|action| action.to_ascii_lowercase())
            .collect();
        let resources = text.resource.into_list();
        let is_whole = !actions.is_empty()
            && !resources.is_empty()
            && actions.iter().all(|action| is_action(action))
            && resources.iter().all(|resource| is_resource(resource));
        is_whole.then_some(Self {
            is_deny: text.effect == EffectText::Deny,
            actions,
            resources,
        })
    }
}

/// `*`, or `service:name` with wildcards in the name. Actions of other services match nothing here.
fn is_action(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((service, name)) = text.split_once(':') else {
        return false;
    };
    !service.is_empty()
        && service
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'?'))
}

fn is_resource(text: &str) -> bool {
    let is_named = text
        .strip_prefix(ARN_PREFIX)
        .is_some_and(|name| !name.is_empty() && !name.starts_with('/'));
    // A policy variable stands for something that is not known here.
    text == "*" || (is_named && !text.contains("${"))
}

/// Wildcards of IAM: `*` is any text, `?` one character.
///
/// Greedy with one place to return to: at most the product of both lengths in steps.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What to try again with once the star has taken one character more.
    let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        match pattern.next() {
            Some('*') => {
                again = Some((pattern.clone(), text.clone()));
                continue;
            }
            None if text.as_str().is_empty() => return true,
            wanted => {
                let found = text.next();
                match (wanted, found) {
                    (Some('?'), Some(_)) => continue,
                    (Some(wanted), Some(found)) if wanted == found => continue,
                    (_, _) => {}
                }
            }
        }
        let Some((after_star, mut rest)) = again.take() else {
            return false;
        };
        if rest.next().is_none() {
            return false;
        }
        pattern = after_star.clone();
        text = rest.clone();
        again = Some((after_star, rest));
    }
}

fn versioned(has_version: bool, with: &'static str, without: &'static str) -> &'static str {
    if has_version { with } else { without }
}

/// The IAM actions that a request needs, as the service authorization reference of S3 lists them.
#[must_use]
pub fn iam_actions(operation: Operation, facts: RequestFacts) -> Vec<Cow<'static, str>> {
    let pick = |with, without| Cow::Borrowed(versioned(facts.version, with, without));
    let mut actions: Vec<Cow<'static, str>> = match operation {
        Operation::ListBuckets => vec!["s3:ListAllMyBuckets".into()],
        Operation::CreateBucket => vec!["s3:CreateBucket".into()],
        Operation::DeleteBucket => vec!["s3:DeleteBucket".into()],
        Operation::GetBucketLocation => vec!["s3:GetBucketLocation".into()],
        Operation::HeadBucket | Operation::ListObjects | Operation::ListObjectsV2 => {
            vec!["s3:ListBucket".into()]
        }
        Operation::ListObjectVersions => vec!["s3:ListBucketVersions".into()],
        Operation::ListMultipartUploads => vec!["s3:ListBucketMultipartUploads".into()],
        Operation::DeleteObject | Operation::DeleteObjects => {
            vec![pick("s3:DeleteObjectVersion", "s3:DeleteObject")]
        }
        Operation::GetObject | Operation::HeadObject => vec![pick("s3:GetObjectVersion", "s3:GetObject")],
        Operation::GetObjectAttributes => vec![
            pick("s3:GetObjectVersion", "s3:GetObject"),
            pick("s3:GetObjectVersionAttributes", "s3:GetObjectAttributes"),
        ],
        Operation::GetObjectTagging => vec![pick("s3:GetObjectVersionTagging", "s3:GetObjectTagging")],
        Operation::PutObjectTagging => vec![pick("s3:PutObjectVersionTagging", "s3:PutObjectTagging")],
        Operation::DeleteObjectTagging => {
            vec![pick("s3:DeleteObjectVersionTagging", "s3:DeleteObjectTagging")]
        }
        Operation::PutObject
        | Operation::PostObject
        | Operation::CopyObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload => vec!["s3:PutObject".into()],
        Operation::AbortMultipartUpload => vec!["s3:AbortMultipartUpload".into()],
        Operation::ListParts => vec!["s3:ListMultipartUploadParts".into()],
        Operation::Document(document) => vec![document_action(document, facts.version)],
    };
    let acl = if operation == Operation::CreateBucket {
        "s3:PutBucketAcl"
    } else {
        "s3:PutObjectAcl"
    };
    let is_document = matches!(operation, Operation::Document(_));
    let further = [
        (facts.acl && !is_document, acl),
        (facts.tagging && !is_document, "s3:PutObjectTagging"),
        (facts.retention, "s3:PutObjectRetention"),
        (facts.legal_hold, "s3:PutObjectLegalHold"),
        (facts.bypass, "s3:BypassGovernanceRetention"),
        (facts.bucket_lock, "s3:PutBucketObjectLockConfiguration"),
        (facts.bucket_lock, "s3:PutBucketVersioning"),
        (facts.ownership, "s3:PutBucketOwnershipControls"),
    ];
    actions.extend(
        further
            .iter()
            .filter(|(needed, _)| *needed)
            .map(|(_, name)| Cow::Borrowed(*name)),
    );
    actions
}

/// The action on a document: named like its operation, but for those that are not.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most are named like their operation; a test holds the whole table"
)]
fn document_action(document: Document, has_version: bool) -> Cow<'static, str> {
    use Document as D;
    let name = match document {
        D::GetBucketAccelerateConfiguration => "s3:GetAccelerateConfiguration",
        D::PutBucketAccelerateConfiguration => "s3:PutAccelerateConfiguration",
        D::ListBucketAnalyticsConfigurations | D::GetBucketAnalyticsConfiguration => {
            "s3:GetAnalyticsConfiguration"
        }
        D::PutBucketAnalyticsConfiguration | D::DeleteBucketAnalyticsConfiguration => {
            "s3:PutAnalyticsConfiguration"
        }
        D::GetBucketCors => "s3:GetBucketCORS",
        D::PutBucketCors | D::DeleteBucketCors => "s3:PutBucketCORS",
        D::GetBucketEncryption => "s3:GetEncryptionConfiguration",
        D::PutBucketEncryption | D::DeleteBucketEncryption => "s3:PutEncryptionConfiguration",
        D::ListBucketIntelligentTieringConfigurations | D::GetBucketIntelligentTieringConfiguration => {
            "s3:GetIntelligentTieringConfiguration"
        }
        D::PutBucketIntelligentTieringConfiguration | D::DeleteBucketIntelligentTieringConfiguration => {
            "s3:PutIntelligentTieringConfiguration"
        }
        D::ListBucketInventoryConfigurations | D::GetBucketInventoryConfiguration => {
            "s3:GetInventoryConfiguration"
        }
        D::PutBucketInventoryConfiguration | D::DeleteBucketInventoryConfiguration => {
            "s3:PutInventoryConfiguration"
        }
        D::GetBucketLifecycleConfiguration => "s3:GetLifecycleConfiguration",
        D::PutBucketLifecycleConfiguration | D::DeleteBucketLifecycle => "s3:PutLifecycleConfiguration",
        D::ListBucketMetricsConfigurations | D::GetBucketMetricsConfiguration => "s3:GetMetricsConfiguration",
        D::PutBucketMetricsConfiguration | D::DeleteBucketMetricsConfiguration => {
            "s3:PutMetricsConfiguration"
        }
        D::GetBucketNotificationConfiguration => "s3:GetBucketNotification",
        D::PutBucketNotificationConfiguration => "s3:PutBucketNotification",
        D::GetObjectLockConfiguration => "s3:GetBucketObjectLockConfiguration",
        D::PutObjectLockConfiguration => "s3:PutBucketObjectLockConfiguration",
        D::DeleteBucketOwnershipControls => "s3:PutBucketOwnershipControls",
        D::GetPublicAccessBlock => "s3:GetBucketPublicAccessBlock",
        D::PutPublicAccessBlock | D::DeletePublicAccessBlock => "s3:PutBucketPublicAccessBlock",
        D::GetBucketReplication => "s3:GetReplicationConfiguration",
        D::PutBucketReplication | D::DeleteBucketReplication => "s3:PutReplicationConfiguration",
        D::DeleteBucketTagging => "s3:PutBucketTagging",
        D::GetObjectAcl if has_version => "s3:GetObjectVersionAcl",
        D::PutObjectAcl if has_version => "s3:PutObjectVersionAcl",
        _ => return Cow::Owned(format!("s3:{}", document.row().name)),
    };
    Cow::Borrowed(name)
}
