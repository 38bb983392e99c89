//! `[sts]`: who may exchange an identity token for temporary credentials.
//!
//! What lives here: the tables as written, the checked types, the rules between them. What must not:
//! fetching of keys, tokens. Invariant: a role in hand names a configured issuer, and at least one
//! subject; without an issuer there is no [`StsConfig`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::units::DurationText;

/// Longest life of credentials, seconds: what the interface allows.
const DURATION_MAX: Duration = Duration::from_secs(43_200);
/// Shortest.
const DURATION_MIN: Duration = Duration::from_secs(900);
/// Most issuers: an exchange compares with all of them.
const ISSUERS_MAX: usize = 64;
/// Most roles.
const ROLES_MAX: usize = 1_000;
/// What a principal's template may hold.
const ROLE_FIELD: &str = "{role}";
const SUBJECT_FIELD: &str = "{subject}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSts {
    account: Option<String>,
    #[serde(default)]
    issuer: Vec<FileIssuer>,
    #[serde(default)]
    role: Vec<FileRole>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIssuer {
    url: String,
    audiences: Vec<String>,
    jwks_uri: Option<String>,
    jwks_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRole {
    name: String,
    issuer: String,
    subjects: Vec<String>,
    #[serde(default)]
    claims: BTreeMap<String, Vec<String>>,
    principal: Option<String>,
    duration_max: Option<DurationText>,
}

/// `[sts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsConfig {
    /// The account in names of roles and sessions. Default twelve zeros.
    pub account: String,
    /// At least one.
    pub issuers: Vec<IssuerConfig>,
    /// Roles, each of one of the issuers.
    pub roles: Vec<RoleConfig>,
}

/// `[[sts.issuer]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The issuer as its tokens spell it.
    pub url: String,
    /// Audiences that are meant for this gateway.
    pub audiences: Vec<String>,
    /// Where its keys come from.
    pub keys: IssuerKeys,
    /// PEM file of trust anchors for its certificate; replaces the system's store.
    pub ca_file: Option<PathBuf>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// The discovery document under the issuer's URL names the place.
    Discovery,
    /// This place, whatever the discovery document says.
    Uri(Uri),
    /// A file, for gateways that cannot reach the issuer.
    File(PathBuf),
}

/// `[[sts.role]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleConfig {
    /// The last part of the role's ARN.
    pub name: String,
    /// URL of a configured issuer.
    pub issuer: String,
    /// Subjects that may take the role; each may end in `*`.
    pub subjects: Vec<String>,
    /// Further claims, each with the values of which one must be there.
    pub claims: BTreeMap<String, Vec<String>>,
    /// What the policy knows its holders as; `{role}` and `{subject}` are filled in. Default `role/{role}`.
    pub principal: String,
    /// Longest life of its credentials. Default 1 h.
    pub duration_max: Duration,
}

impl RoleConfig {
    /// Whether this subject may take the role, as far as its name goes.
    pub fn admits(&self, subject: &str) -> bool {
        self.subjects
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => subject.starts_with(beginning),
                None => subject == pattern,
            })
    }

    /// The principal of a holder.
    pub fn principal_for(&self, subject: &str) -> String {
        // The subject comes last: what stands in it is not a template.
        self.principal
            .replace(ROLE_FIELD, &self.name)
            .replace(SUBJECT_FIELD, subject)
    }
}

/// Whether keys and documents may be fetched from there: over TLS, or from this host.
pub fn is_fetchable(uri: &Uri) -> bool {
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => is_loopback(uri),
        _ => false,
    }
}

/// Whether a URL names this host by a loopback address, or by the name that stands for them.
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A URL that can be fetched, without user, query or fragment.
fn url(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_plain = !text.contains(['#', '?']) && !uri.authority()?.as_str().contains('@');
    (is_plain && is_fetchable(&uri)).then_some(uri)
}

/// Turns the tables into checked types; `None` without an issuer, or with a problem.
pub(super) fn resolve(
    file: FileSts,
    path: impl Fn(PathBuf) -> PathBuf,
    problem: &mut impl FnMut(&'static str, String),
) -> Option<StsConfig> {
    let account = file.account.unwrap_or_else(|| "0".repeat(12));
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        problem("sts.account", "must be twelve digits".to_owned());
    }
    if file.issuer.len() > ISSUERS_MAX || file.role.len() > ROLES_MAX {
        problem(
            "sts",
            format!("at most {ISSUERS_MAX} issuers and {ROLES_MAX} roles"),
        );
    }
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for entry in file.issuer {
        if issuers.iter().any(|known| known.url == entry.url) {
            problem("sts.issuer", format!("\"{}\" stands there twice", entry.url));
        }
        issuers.extend(issuer(entry, &path, problem));
    }
    let mut roles: Vec<RoleConfig> = Vec::new();
    for entry in file.role {
        if roles.iter().any(|known| known.name == entry.name) {
            problem("sts.role", format!("\"{}\" stands there twice", entry.name));
        }
        if !issuers.iter().any(|known| known.url == entry.issuer) {
            problem(
                "sts.role",
                format!("\"{}\": its issuer is not in [[sts.issuer]]", entry.name),
            );
        }
        roles.push(role(entry, problem));
    }
    (!issuers.is_empty()).then_some(StsConfig {
        account,
        issuers,
        roles,
    })
}

fn issuer(
    entry: FileIssuer,
    path: &impl Fn(PathBuf) -> PathBuf,
    problem: &mut impl FnMut(&'static str, String),
) -> Option<IssuerConfig> {
    const FORM: &str =
        "write https://host[:port][/path] without user, query or fragment (http for loopback addresses only)";
    if url(&entry.url).is_none() {
        problem("sts.issuer.url", format!("\"{}\": {FORM}", entry.url));
    }
    if entry.audiences.is_empty() || entry.audiences.iter().any(String::is_empty) {
        // Without an audience any token of the issuer would do, also those made for other services.
        problem(
            "sts.issuer.audiences",
            format!("\"{}\": name at least one audience", entry.url),
        );
    }
    let keys = match (entry.jwks_uri, entry.jwks_file) {
        (None, None) => Some(IssuerKeys::Discovery),
        (None, Some(file)) => Some(IssuerKeys::File(path(file))),
        (Some(text), None) => {
            let found = url(&text).map(IssuerKeys::Uri);
            if found.is_none() {
                problem("sts.issuer.jwks_uri", format!("\"{text}\": {FORM}"));
            }
            found
        }
        (Some(_), Some(_)) => {
            problem(
                "sts.issuer",
                format!("\"{}\": jwks_uri or jwks_file, not both", entry.url),
            );
            None
        }
    };
    Some(IssuerConfig {
        url: entry.url,
        audiences: entry.audiences,
        keys: keys?,
        ca_file: entry.ca_file.map(path),
    })
}

fn role(entry: FileRole, problem: &mut impl FnMut(&'static str, String)) -> RoleConfig {
    let FileRole {
        name,
        issuer,
        subjects,
        claims,
        principal,
        duration_max,
    } = entry;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name) {
        problem(
            "sts.role.name",
            format!("\"{name}\": 1 to 64 letters, digits or any of _+=,.@-"),
        );
    }
    let is_pattern =
        |text: &String| !text.is_empty() && !text.strip_suffix('*').unwrap_or(text).contains('*');
    if subjects.is_empty() || !subjects.iter().all(is_pattern) {
        problem(
            "sts.role.subjects",
            format!("\"{name}\": name at least one subject, each with a star at its end at most"),
        );
    }
    if claims.values().any(Vec::is_empty) {
        problem("sts.role.claims", format!("\"{name}\": each claim needs a value"));
    }
    let principal = principal.unwrap_or_else(|| format!("role/{ROLE_FIELD}"));
    // A principal that begins with what the issuer writes could be that of a permanent credential.
    let rest = principal.replace(ROLE_FIELD, "r").replace(SUBJECT_FIELD, "s");
    if principal.starts_with(SUBJECT_FIELD) || principal.is_empty() || rest.contains(['*', '{', '}']) {
        problem(
            "sts.role.principal",
            format!(
                "\"{name}\": a name, in which {ROLE_FIELD} and, not at its beginning, {SUBJECT_FIELD} are filled in"
            ),
        );
    }
    let duration_max = duration_max.map_or(Duration::from_secs(3600), |text| text.0);
    if !(DURATION_MIN..=DURATION_MAX).contains(&duration_max) {
        problem(
            "sts.role.duration_max",
            format!("\"{name}\": between 15m and 12h"),
        );
    }
    RoleConfig {
        name,
        issuer,
        subjects,
        claims,
        principal,
        duration_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[issuer]]
        url = "https://issuer.example.com/realm"
        audiences = ["sts.amazonaws.com"]
        [[issuer]]
        url = "http://127.0.0.1:8080"
        audiences = ["a"]
        jwks_file = "keys.json"
        [[role]]
        name = "reports"
        issuer = "https://issuer.example.com/realm"
        subjects = ["system:serviceaccount:reports:*"]
    "#;

    fn resolved(text: &str) -> (Option<StsConfig>, Vec<&'static str>) {
        let mut problems = Vec::new();
        let file = toml::from_str(text).unwrap();
        let config = resolve(file, |path| PathBuf::from("/conf").join(path), &mut |key, _| {
            problems.push(key)
        });
        (config, problems)
    }

    #[test]
    fn defaults_are_filled_in() {
        let (config, problems) = resolved(GOOD);
        assert_eq!(problems, Vec::<&str>::new());
        let config = config.unwrap();
        assert_eq!(config.account, "000000000000");
        assert_eq!(config.issuers[0].keys, IssuerKeys::Discovery);
        assert_eq!(
            config.issuers[1].keys,
            IssuerKeys::File(PathBuf::from("/conf/keys.json"))
        );
        assert_eq!(config.roles[0].principal_for("x"), "role/reports");
        assert_eq!(config.roles[0].duration_max, Duration::from_secs(3600));
        assert_eq!(resolved("").0, None, "no issuer: off");
    }

    #[test]
    fn subjects_are_names_or_beginnings() {
        let role = resolved(GOOD).0.unwrap().roles.remove(0);
        assert!(role.admits("system:serviceaccount:reports:nightly"));
        assert!(!role.admits("system:serviceaccount:reports"));
        assert!(!role.admits("x:system:serviceaccount:reports:nightly"));
    }

    #[test]
    fn a_subject_cannot_fill_in_fields_or_begin_a_principal() {
        let role = RoleConfig {
            principal: "ci/{role}/{subject}".to_owned(),
            ..resolved(GOOD).0.unwrap().roles.remove(0)
        };
        assert_eq!(role.principal_for("{role}"), "ci/reports/{role}");
    }

    #[test]
    fn every_rule_is_told() {
        let cases = [
            (
                "https://issuer.example.com/realm\"\n        audiences = [\"sts",
                "http://issuer.example.com\"\n        audiences = [\"sts",
                "sts.issuer.url",
            ),
            ("[\"sts.amazonaws.com\"]", "[]", "sts.issuer.audiences"),
            (
                "jwks_file = \"keys.json\"",
                "jwks_uri = \"http://other.example.com/keys\"",
                "sts.issuer.jwks_uri",
            ),
            (
                "jwks_file = \"keys.json\"",
                "jwks_file = \"k\"\njwks_uri = \"https://h/k\"",
                "sts.issuer",
            ),
            (
                "http://127.0.0.1:8080",
                "https://issuer.example.com/realm",
                "sts.issuer",
            ),
            ("http://127.0.0.1:8080", "https://user@host", "sts.issuer.url"),
            ("http://127.0.0.1:8080", "https://host/?x", "sts.issuer.url"),
            ("[\"system:serviceaccount:reports:*\"]", "[]", "sts.role.subjects"),
            ("reports:*\"", "*:x\"", "sts.role.subjects"),
            ("name = \"reports\"", "name = \"a/b\"", "sts.role.name"),
            (
                "name = \"reports\"",
                "name = \"r\"\nprincipal = \"{subject}\"",
                "sts.role.principal",
            ),
            (
                "name = \"reports\"",
                "name = \"r\"\nprincipal = \"x{session}\"",
                "sts.role.principal",
            ),
            (
                "name = \"reports\"",
                "name = \"r\"\nduration_max = \"13h\"",
                "sts.role.duration_max",
            ),
            (
                "name = \"reports\"",
                "name = \"r\"\nclaims = { groups = [] }",
                "sts.role.claims",
            ),
        ];
        for (from, to, key) in cases {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert!(resolved(&text).1.contains(&key), "{key}: {to}");
        }
        assert_eq!(resolved("account = \"1\"").1, ["sts.account"]);
    }
}
