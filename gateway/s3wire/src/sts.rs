//! The requests and answers of the STS interface, version 2011-06-15, as far as they are served.
//!
//! What lives here: reading the form, its limits, the XML of answers and errors. What must not: tokens'
//! meaning, roles, keys. Invariant: a parameter that is not understood refuses the request, because it
//! may narrow what the credentials allow.

use zeroize::Zeroizing;

use crate::target::percent_decode;
use crate::xml::write::XmlWriter;

/// Largest form, bytes.
pub const FORM_BYTES_MAX: usize = 20 * 1024;
/// Longest identity token, bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest session policy, characters and, once packed, bytes.
pub const POLICY_CHARS_MAX: usize = 2048;
/// Shortest life of credentials that can be asked for, seconds.
pub const DURATION_SECONDS_MIN: u64 = 900;
/// Longest, seconds.
pub const DURATION_SECONDS_MAX: u64 = 43_200;
/// The content type of a form.
pub const FORM_TYPE: &str = "application/x-www-form-urlencoded";

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const VERSION: &str = "2011-06-15";
const SESSION_NAME_CHARS_MIN: usize = 2;
const SESSION_NAME_CHARS_MAX: usize = 64;

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal; )+) => {
        /// An error code of the STS interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StsCode {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl StsCode {
            /// Every code, in declaration order.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The text of the `Code` element.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )+ }
            }

            /// The HTTP status of the answer.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $( Self::$name => $status, )+ }
            }
        }
    };
}

codes! {
    /// The role does not exist for this identity.
    AccessDenied = "AccessDenied", 403;
    /// The credentials that signed have run out.
    ExpiredToken = "ExpiredToken", 403;
    /// The identity token has run out.
    ExpiredTokenException = "ExpiredTokenException", 400;
    /// The issuer's keys cannot be had.
    IdpCommunicationError = "IDPCommunicationError", 400;
    /// The signature's fields cannot be read.
    IncompleteSignature = "IncompleteSignature", 400;
    /// A defect of the gateway.
    InternalFailure = "InternalFailure", 500;
    /// No such operation.
    InvalidAction = "InvalidAction", 400;
    /// The access key or its session token is not valid.
    InvalidClientTokenId = "InvalidClientTokenId", 403;
    /// The identity token is not acceptable.
    InvalidIdentityToken = "InvalidIdentityToken", 400;
    /// A parameter that is not known, or not offered.
    InvalidParameterValue = "InvalidParameterValue", 400;
    /// The session policy is not a policy.
    MalformedPolicyDocument = "MalformedPolicyDocument", 400;
    /// The request is not signed.
    MissingAuthenticationToken = "MissingAuthenticationToken", 403;
    /// The session policy is too large once packed.
    PackedPolicyTooLarge = "PackedPolicyTooLarge", 400;
    /// Too much at once, or the keys are out of reach.
    ServiceUnavailable = "ServiceUnavailable", 503;
    /// The signature is not the expected one.
    SignatureDoesNotMatch = "SignatureDoesNotMatch", 403;
    /// A parameter is missing or outside its limits.
    ValidationError = "ValidationError", 400;
}

/// Why a request is refused. The message is safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsError {
    /// The code, which also fixes the HTTP status.
    pub code: StsCode,
    /// What went wrong, for a person; never a part of a token.
    pub message: String,
}

impl StsError {
    /// An error.
    #[must_use]
    pub fn new(code: StsCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The XML document.
    #[must_use]
    pub fn to_xml(&self, request_id: &str) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root_in("ErrorResponse", NAMESPACE);
        xml.open("Error");
        let is_ours = self.code.http_status() >= 500;
        xml.element("Type", if is_ours { "Receiver" } else { "Sender" });
        xml.element("Code", self.code.code());
        xml.element("Message", &self.message);
        xml.close("Error");
        xml.element("RequestId", request_id);
        xml.close("ErrorResponse");
        xml.finish()
    }
}

/// What a form asks for.
pub enum StsRequest {
    /// `AssumeRoleWithWebIdentity`.
    AssumeRole(AssumeRole),
    /// `GetCallerIdentity`.
    CallerIdentity,
}

/// The parameters of `AssumeRoleWithWebIdentity`, within their limits. Not printable: it holds a token.
pub struct AssumeRole {
    /// The role, as written.
    pub role_arn: String,
    /// The caller's name for the session.
    pub session_name: String,
    /// The identity token.
    pub token: Zeroizing<String>,
    /// Life of the credentials in seconds, if asked for.
    pub duration_seconds: Option<u64>,
    /// The session policy, as written.
    pub policy: Option<String>,
}

/// Whether `content_type` is that of a form.
#[must_use]
pub fn is_form(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case(FORM_TYPE)
}

impl StsRequest {
    /// Reads a form.
    ///
    /// # Errors
    ///
    /// `InvalidAction` for an operation or a version that is not served, `InvalidParameterValue` for a
    /// parameter that is not known, `ValidationError` for one that is missing, repeated or out of bounds.
    pub fn parse(body: &[u8]) -> Result<Self, StsError> {
        let mut fields = Fields::parse(body)?;
        let action = fields.take("Action").unwrap_or_default();
        let version = fields.take("Version").unwrap_or_default();
        let request = match (action.as_str(), version.as_str()) {
            ("AssumeRoleWithWebIdentity", VERSION) => Self::AssumeRole(assume_role(&mut fields)?),
            ("GetCallerIdentity", VERSION) => Self::CallerIdentity,
            _ => {
                return Err(StsError::new(
                    StsCode::InvalidAction,
                    "This endpoint serves AssumeRoleWithWebIdentity and GetCallerIdentity of version 2011-06-15.",
                ));
            }
        };
        match fields.0.is_empty() {
            true => Ok(request),
            false => Err(StsError::new(
                StsCode::InvalidParameterValue,
                "The request has a parameter that is not supported.",
            )),
        }
    }
}

fn assume_role(fields: &mut Fields) -> Result<AssumeRole, StsError> {
    let role_arn = fields.required("RoleArn", 20..=2048)?;
    let session_name = fields.required("RoleSessionName", SESSION_NAME_CHARS_MIN..=SESSION_NAME_CHARS_MAX)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !session_name.bytes().all(is_name) {
        return Err(out_of_bounds("RoleSessionName"));
    }
    let token = fields.required("WebIdentityToken", 4..=TOKEN_BYTES_MAX)?;
    let duration_seconds = match fields.take("DurationSeconds") {
        None => None,
        Some(text) => Some(duration(&text).ok_or_else(|| out_of_bounds("DurationSeconds"))?),
    };
    let policy = fields.take("Policy").map(|text| text.to_string());
    if policy
        .as_ref()
        .is_some_and(|text| text.is_empty() || text.chars().count() > POLICY_CHARS_MAX)
    {
        return Err(out_of_bounds("Policy"));
    }
    Ok(AssumeRole {
        role_arn: role_arn.to_string(),
        session_name: session_name.to_string(),
        token,
        duration_seconds,
        policy,
    })
}

fn duration(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| digits)?;
    (DURATION_SECONDS_MIN..=DURATION_SECONDS_MAX)
        .contains(&seconds)
        .then_some(seconds)
}

fn out_of_bounds(name: &str) -> StsError {
    StsError::new(
        StsCode::ValidationError,
        format!("The parameter {name} is missing, repeated or outside its limits."),
    )
}

/// The parameters that were not taken yet; wiped, because one of them is a token.
struct Fields(Vec<(String, Zeroizing<String>)>);

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, StsError> {
        let malformed = || StsError::new(StsCode::ValidationError, "The form cannot be read.");
        if body.len() > FORM_BYTES_MAX {
            return Err(malformed());
        }
        let mut fields: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default()).ok_or_else(malformed)?;
            let value = decode(halves.next().unwrap_or_default()).ok_or_else(malformed)?;
            // Two values would leave open which one counts.
            if fields.iter().any(|(seen, _)| *seen == *name) {
                return Err(malformed());
            }
            fields.push((name.to_string(), value));
        }
        Ok(Self(fields))
    }

    fn take(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(place).1)
    }

    fn required(
        &mut self,
        name: &str,
        chars: std::ops::RangeInclusive<usize>,
    ) -> Result<Zeroizing<String>, StsError> {
        self.take(name)
            .filter(|value| chars.contains(&value.chars().count()))
            .ok_or_else(|| out_of_bounds(name))
    }
}

/// Form decoding: `+` is a space, the rest is percent-encoded UTF-8.
fn decode(raw: &[u8]) -> Option<Zeroizing<String>> {
    let spaced = Zeroizing::new(
        raw.iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect::<Vec<u8>>(),
    );
    let bytes = percent_decode(&spaced).ok()?.into_owned();
    String::from_utf8(bytes).ok().map(Zeroizing::new)
}

/// What `AssumeRoleWithWebIdentity` answers with.
pub struct Assumed<'a> {
    /// Access key.
    pub access_key: &'a str,
    /// Secret access key.
    pub secret: &'a str,
    /// Session token.
    pub session_token: &'a str,
    /// End of the credentials' life, as `2009-10-12T17:50:30Z`.
    pub expiration: &'a str,
    /// The identity's subject.
    pub subject: &'a str,
    /// The audience that was accepted.
    pub audience: &'a str,
    /// The issuer.
    pub provider: &'a str,
    /// Name of the session.
    pub arn: &'a str,
    /// Identifier of the role and name of the session.
    pub assumed_role_id: &'a str,
}

impl Assumed<'_> {
    /// The XML document.
    #[must_use]
    pub fn to_xml(&self, request_id: &str) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root_in("AssumeRoleWithWebIdentityResponse", NAMESPACE);
        xml.open("AssumeRoleWithWebIdentityResult");
        xml.element("SubjectFromWebIdentityToken", self.subject);
        xml.element("Audience", self.audience);
        xml.open("AssumedRoleUser");
        xml.element("Arn", self.arn);
        xml.element("AssumedRoleId", self.assumed_role_id);
        xml.close("AssumedRoleUser");
        xml.open("Credentials");
        xml.element("AccessKeyId", self.access_key);
        xml.element("SecretAccessKey", self.secret);
        xml.element("SessionToken", self.session_token);
        xml.element("Expiration", self.expiration);
        xml.close("Credentials");
        xml.element("Provider", self.provider);
        xml.close("AssumeRoleWithWebIdentityResult");
        metadata(&mut xml, request_id);
        xml.close("AssumeRoleWithWebIdentityResponse");
        xml.finish()
    }
}

/// What `GetCallerIdentity` answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// Account, twelve digits.
    pub account: String,
    /// Name of the principal or of the session.
    pub arn: String,
    /// Identifier of the principal or of the session.
    pub user_id: String,
}

impl CallerIdentity {
    /// The XML document.
    #[must_use]
    pub fn to_xml(&self, request_id: &str) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open_root_in("GetCallerIdentityResponse", NAMESPACE);
        xml.open("GetCallerIdentityResult");
        xml.element("Arn", &self.arn);
        xml.element("UserId", &self.user_id);
        xml.element("Account", &self.account);
        xml.close("GetCallerIdentityResult");
        metadata(&mut xml, request_id);
        xml.close("GetCallerIdentityResponse");
        xml.finish()
    }
}

fn metadata(xml: &mut XmlWriter, request_id: &str) {
    xml.open("ResponseMetadata");
    xml.element("RequestId", request_id);
    xml.close("ResponseMetadata");
}

/// The role named by `arn:aws:iam::ACCOUNT:role/NAME`, if it is of this account; any partition.
#[must_use]
pub fn role_name<'a>(arn: &'a str, account: &str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.next() == Some("arn");
    let is_partition = parts
        .next()
        .is_some_and(|partition| partition == "aws" || partition.starts_with("aws-"));
    let is_iam = parts.next() == Some("iam") && parts.next() == Some("");
    let is_account = parts.next() == Some(account);
    let name = parts.next()?.strip_prefix("role/")?;
    (is_arn && is_partition && is_iam && is_account && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Freports\
                        &RoleSessionName=job-1&WebIdentityToken=aaaa.bbbb.cccc";

    fn refused(form: &str) -> StsCode {
        match StsRequest::parse(form.as_bytes()) {
            Ok(_) => panic!("accepted: {form}"),
            Err(error) => error.code,
        }
    }

    #[test]
    fn a_form_is_read() {
        let form = format!("{FORM}&DurationSeconds=900&Policy=%7B%22a%22%3A+1%7D");
        let Ok(StsRequest::AssumeRole(request)) = StsRequest::parse(form.as_bytes()) else {
            panic!("refused");
        };
        assert_eq!(role_name(&request.role_arn, "000000000000"), Some("reports"));
        assert_eq!(request.session_name, "job-1");
        assert_eq!(request.token.as_str(), "aaaa.bbbb.cccc");
        assert_eq!(request.duration_seconds, Some(900));
        assert_eq!(request.policy.as_deref(), Some("{\"a\": 1}"));
        let identity = StsRequest::parse(b"Action=GetCallerIdentity&Version=2011-06-15");
        assert!(matches!(identity, Ok(StsRequest::CallerIdentity)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        use StsCode::{InvalidAction, InvalidParameterValue, ValidationError};
        let long = |n| "x".repeat(n);
        let cases = [
            ("".to_owned(), InvalidAction),
            ("Action=AssumeRole&Version=2011-06-15".to_owned(), InvalidAction),
            ("Action=GetCallerIdentity".to_owned(), InvalidAction),
            (
                "Action=GetCallerIdentity&Version=2012-01-01".to_owned(),
                InvalidAction,
            ),
            (
                "Action=GetCallerIdentity&Version=2011-06-15&Action=AssumeRoleWithWebIdentity".to_owned(),
                ValidationError,
            ),
            (
                format!("{FORM}&ProviderId=www.example.com"),
                InvalidParameterValue,
            ),
            (
                format!("{FORM}&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/X"),
                InvalidParameterValue,
            ),
            (format!("{FORM}&DurationSeconds=899"), ValidationError),
            (format!("{FORM}&DurationSeconds=43201"), ValidationError),
            (format!("{FORM}&DurationSeconds=%2B900"), ValidationError),
            (format!("{FORM}&DurationSeconds="), ValidationError),
            (format!("{FORM}&Policy="), ValidationError),
            (format!("{FORM}&Policy={}", long(2049)), ValidationError),
            (format!("{FORM}&RoleSessionName=again"), ValidationError),
            (FORM.replace("job-1", "j"), ValidationError),
            (FORM.replace("job-1", "a%2Fb"), ValidationError),
            (FORM.replace("job-1", "%FF%FE"), ValidationError),
            (FORM.replace("job-1", &long(65)), ValidationError),
            (
                FORM.replace("aaaa.bbbb.cccc", &long(TOKEN_BYTES_MAX + 1)),
                ValidationError,
            ),
            (FORM.replace("aaaa.bbbb.cccc", ""), ValidationError),
            (FORM.replace("RoleArn", "RoleArm"), ValidationError),
            (format!("{FORM}&x={}", long(FORM_BYTES_MAX)), ValidationError),
        ];
        for (form, code) in cases {
            assert_eq!(refused(&form), code, "{form}");
        }
    }

    #[test]
    fn only_roles_of_the_account_have_a_name() {
        let name = |arn| role_name(arn, "000000000000");
        assert_eq!(name("arn:aws:iam::000000000000:role/r"), Some("r"));
        assert_eq!(name("arn:aws-cn:iam::000000000000:role/a/b"), Some("a/b"));
        for arn in [
            "arn:aws:iam::000000000001:role/r",
            "arn:aws:iam::000000000000:user/r",
            "arn:aws:iam::000000000000:role/",
            "arn:aws:sts::000000000000:role/r",
            "arn:aws:iam:eu:000000000000:role/r",
            "arn:azure:iam::000000000000:role/r",
            "role/r",
        ] {
            assert_eq!(name(arn), None, "{arn}");
        }
    }

    #[test]
    fn answers_are_escaped() {
        let error = StsError::new(StsCode::InvalidIdentityToken, "a<b");
        let text = String::from_utf8(error.to_xml("R1")).unwrap();
        assert!(
            text.contains("<Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>a&lt;b</Message>")
        );
        assert!(text.ends_with("<RequestId>R1</RequestId></ErrorResponse>"));
        let identity = CallerIdentity {
            account: "0".repeat(12),
            arn: "arn:<".to_owned(),
            user_id: "u".to_owned(),
        };
        assert!(
            String::from_utf8(identity.to_xml("R"))
                .unwrap()
                .contains("arn:&lt;")
        );
    }

    #[test]
    fn a_form_is_told_by_its_type() {
        assert!(is_form("application/x-www-form-urlencoded; charset=utf-8"));
        assert!(is_form("Application/X-WWW-Form-Urlencoded"));
        assert!(!is_form("multipart/form-data; boundary=x"));
        assert!(!is_form("application/x-www-form-urlencodedx"));
    }
}
