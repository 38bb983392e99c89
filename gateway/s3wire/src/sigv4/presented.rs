//! What a request presents to prove who sent it.
//!
//! What lives here: reading the `Authorization` header, the presigned query parameters, and the
//! payload mode. What must not: checking any of it against a secret, a clock or rules.
//! Invariant: a request either presents nothing, or exactly one complete signature.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE, HOST};

use super::error::AuthError;
use super::{ALGORITHM, AMZ_CONTENT_SHA256, AMZ_DATE, AMZ_SECURITY_TOKEN, TERMINATOR, UNSIGNED_PAYLOAD};
use crate::amztime::{AmzDate, parse_http_date};
use crate::target::{RawQuery, RequestTarget};

pub(super) const QUERY_ALGORITHM: &str = "X-Amz-Algorithm";
pub(super) const QUERY_CREDENTIAL: &str = "X-Amz-Credential";
pub(super) const QUERY_DATE: &str = "X-Amz-Date";
pub(super) const QUERY_EXPIRES: &str = "X-Amz-Expires";
pub(super) const QUERY_SIGNED_HEADERS: &str = "X-Amz-SignedHeaders";
pub(super) const QUERY_SIGNATURE: &str = "X-Amz-Signature";
pub(super) const QUERY_TOKEN: &str = "X-Amz-Security-Token";
const QUERY_SHA256: &str = "X-Amz-Content-Sha256";

/// Parameters that make a request a presigned one.
const QUERY_AUTH: [&str; 7] = [
    QUERY_ALGORITHM,
    QUERY_CREDENTIAL,
    QUERY_DATE,
    QUERY_EXPIRES,
    QUERY_SIGNED_HEADERS,
    QUERY_SIGNATURE,
    QUERY_TOKEN,
];

/// Headers with a meaning for the signature: more than one of them would leave open which is meant.
const SINGLE_HEADERS: [&str; 6] = [
    "authorization",
    "content-md5",
    "host",
    AMZ_CONTENT_SHA256,
    AMZ_DATE,
    AMZ_SECURITY_TOKEN,
];

/// Most names in `SignedHeaders`.
const SIGNED_HEADERS_MAX: usize = 256;

/// Where the signature was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query,
}

/// Credential scope, without the access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// Region.
    pub region: String,
    /// Service.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

/// How the body is protected, from `x-amz-content-sha256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadMode {
    /// The body's SHA-256 is signed.
    Sha256([u8; 32]),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: chunks with a chain of signatures.
    StreamingSigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same with a signed trailer.
    StreamingSignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: chunks without signatures, and a trailer.
    StreamingUnsignedTrailer,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
}

impl PayloadMode {
    /// Reads the header's value: a mode's name, or a SHA-256 in hexadecimal or base64.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, AuthError> {
        match value {
            b"UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::StreamingUnsignedTrailer),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSignedTrailer),
            _ if value.starts_with(b"STREAMING-AWS4-ECDSA-") => Err(AuthError::UnsupportedSigV4a),
            _ => {
                let digest = match value.len() {
                    64 => data_encoding::HEXLOWER_PERMISSIVE.decode(value).ok(),
                    44 => BASE64.decode(value).ok(),
                    _ => None,
                };
                let digest = digest.and_then(|digest| digest.try_into().ok());
                digest.map(Self::Sha256).ok_or(AuthError::InvalidContentSha256)
            }
        }
    }

    /// Whether the body is in aws-chunked framing.
    pub fn is_streaming(self) -> bool {
        match self {
            Self::StreamingSigned | Self::StreamingSignedTrailer | Self::StreamingUnsignedTrailer => true,
            Self::Sha256(_) | Self::Unsigned => false,
        }
    }
}

/// What a request presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// No credentials at all.
    Anonymous,
    /// One complete signature, not yet verified.
    Signed(Box<PresentedSignature>),
}

/// A signature and what it claims.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedSignature {
    pub(super) form: Form,
    pub(super) access_key: String,
    pub(super) scope: Scope,
    /// Lower case, ascending, no duplicates.
    pub(super) signed_headers: Vec<String>,
    /// `None` if the text is not a signature; it matches nothing then.
    pub(super) signature: Option<[u8; 32]>,
    pub(super) date: AmzDate,
    /// Life time of a presigned URL in seconds; zero for the header form.
    pub(super) expires_seconds: u64,
    pub(super) session_token: Option<String>,
    /// What goes into the last line of the canonical request.
    pub(super) payload: Vec<u8>,
    pub(super) payload_mode: PayloadMode,
}

/// Leaves out the signature and the token.
impl fmt::Debug for PresentedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedSignature")
            .field("form", &self.form)
            .field("access_key", &self.access_key)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Presented {
    /// Reads what the request presents.
    ///
    /// Refuses both forms at once, repeated parameters and headers, other mechanisms than
    /// AWS4-HMAC-SHA256, and every incomplete form: a request that tries to authenticate and
    /// fails is never anonymous.
    pub fn parse(target: &RequestTarget, headers: &HeaderMap) -> Result<Self, AuthError> {
        Self::read(target, headers, None)
    }

    /// The same for a service other than S3, whose clients sign the hash of a small body without
    /// sending it in a header: `body_sha256` is the hash of the body as received, and a header that
    /// says anything else is refused.
    pub fn parse_with_body(
        target: &RequestTarget,
        headers: &HeaderMap,
        body_sha256: [u8; 32],
    ) -> Result<Self, AuthError> {
        Self::read(target, headers, Some(body_sha256))
    }

    fn read(
        target: &RequestTarget,
        headers: &HeaderMap,
        body_sha256: Option<[u8; 32]>,
    ) -> Result<Self, AuthError> {
        for name in SINGLE_HEADERS {
            if headers.get_all(name).iter().nth(1).is_some() {
                return Err(AuthError::RepeatedHeader(name));
            }
        }
        let query = target.query();
        let has_query_auth = query.pairs().iter().any(|pair| is_auth_parameter(&pair.name));
        let is_v2_query = query.contains("AWSAccessKeyId") || query.contains("Signature");
        match (headers.get(AUTHORIZATION), has_query_auth || is_v2_query) {
            (Some(_), true) => Err(AuthError::BothMechanisms),
            (Some(value), false) => parse_header(value.as_bytes(), headers, body_sha256)
                .map(|signature| Self::Signed(Box::new(signature))),
            (None, true) if is_v2_query => Err(AuthError::UnsupportedMechanism),
            (None, true) => parse_query(query, headers).map(|signature| Self::Signed(Box::new(signature))),
            (None, false) => Ok(Self::Anonymous),
        }
    }

    /// The access key to look up; `None` for an anonymous request.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Signed(signature) => Some(&signature.access_key),
        }
    }
}

impl PresentedSignature {
    /// Where the signature was.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The access key the request claims.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The session token of temporary credentials. The caller decides whether it belongs to the
    /// access key; it is covered by the signature.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// The credential scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// Compared without case, so that a misspelt parameter fails instead of making the request anonymous.
fn is_auth_parameter(name: &str) -> bool {
    QUERY_AUTH.iter().any(|known| known.eq_ignore_ascii_case(name))
        || name.eq_ignore_ascii_case("X-Amz-Region-Set")
}

fn parse_header(
    value: &[u8],
    headers: &HeaderMap,
    body_sha256: Option<[u8; 32]>,
) -> Result<PresentedSignature, AuthError> {
    let malformed = |what| AuthError::Malformed(Form::Header, what);
    let text = std::str::from_utf8(value)
        .map_err(|_| malformed("it is not text"))?
        .trim();
    let (mechanism, fields) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    check_algorithm(mechanism)?;
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in fields.split(',') {
        let (name, value) = field
            .trim()
            .split_once('=')
            .ok_or(malformed("a field is not of the form name=value"))?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(malformed("it has an unknown field")),
        };
        if slot.replace(value).is_some() {
            return Err(malformed("it repeats a field"));
        }
    }
    let credential = credential.ok_or(malformed("the Credential field is missing"))?;
    let signed_headers = signed_headers.ok_or(malformed("the SignedHeaders field is missing"))?;
    let signature = signature.ok_or(malformed("the Signature field is missing"))?;
    let (access_key, scope) = parse_credential(credential, Form::Header)?;
    let payload = header_payload(headers, body_sha256)?;
    Ok(PresentedSignature {
        form: Form::Header,
        access_key,
        scope,
        signed_headers: parse_signed_headers(signed_headers, Form::Header)?,
        signature: parse_signature(signature),
        date: header_date(headers)?,
        expires_seconds: 0,
        session_token: text_header(headers, AMZ_SECURITY_TOKEN)?,
        payload_mode: PayloadMode::parse(&payload)?,
        payload,
    })
}

/// Payload hash of a header-signed request: the header's, or the body's own where that is known.
fn header_payload(headers: &HeaderMap, body_sha256: Option<[u8; 32]>) -> Result<Vec<u8>, AuthError> {
    let header = headers.get(AMZ_CONTENT_SHA256).map(http::HeaderValue::as_bytes);
    match (header, body_sha256) {
        (Some(header), None) => Ok(header.to_vec()),
        (Some(header), Some(hash)) if PayloadMode::parse(header)? == PayloadMode::Sha256(hash) => {
            Ok(header.to_vec())
        }
        (Some(_), Some(_)) => Err(AuthError::InvalidContentSha256),
        (None, Some(hash)) => Ok(HEXLOWER.encode(&hash).into_bytes()),
        (None, None) => Err(AuthError::MissingContentSha256),
    }
}

fn parse_query(query: &RawQuery, headers: &HeaderMap) -> Result<PresentedSignature, AuthError> {
    let malformed = |what| AuthError::Malformed(Form::Query, what);
    for pair in query.pairs().iter().filter(|pair| is_auth_parameter(&pair.name)) {
        if query.count(&pair.name) > 1 {
            return Err(malformed("an X-Amz authentication parameter is repeated"));
        }
    }
    let required = |name| {
        query.get(name).ok_or(malformed(
            "query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
             X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters",
        ))
    };
    check_algorithm(required(QUERY_ALGORITHM)?)?;
    let (access_key, scope) = parse_credential(required(QUERY_CREDENTIAL)?, Form::Query)?;
    let date = AmzDate::parse(required(QUERY_DATE)?.as_bytes()).ok_or(malformed(
        "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
    ))?;
    let expires = required(QUERY_EXPIRES)?;
    let expires_seconds = Some(expires)
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(malformed("X-Amz-Expires should be a number"))?;
    if headers.contains_key(AMZ_SECURITY_TOKEN) {
        return Err(AuthError::BothMechanisms);
    }
    let payload = query_payload(query, headers)?;
    let payload_mode = PayloadMode::parse(&payload)?;
    if payload_mode.is_streaming() {
        return Err(AuthError::StreamingPresigned);
    }
    Ok(PresentedSignature {
        form: Form::Query,
        access_key,
        scope,
        signed_headers: parse_signed_headers(required(QUERY_SIGNED_HEADERS)?, Form::Query)?,
        signature: parse_signature(required(QUERY_SIGNATURE)?),
        date,
        expires_seconds,
        session_token: query.get(QUERY_TOKEN).map(str::to_owned),
        payload,
        payload_mode,
    })
}

/// Payload hash of a presigned request: the header if there is one, else the parameter some SDKs
/// write, else unsigned.
fn query_payload(query: &RawQuery, headers: &HeaderMap) -> Result<Vec<u8>, AuthError> {
    let parameter = query
        .pairs()
        .iter()
        .find(|pair| pair.name.eq_ignore_ascii_case(QUERY_SHA256));
    match (headers.get(AMZ_CONTENT_SHA256), parameter) {
        (Some(header), Some(pair)) if header.as_bytes() != pair.value.as_bytes() => {
            Err(AuthError::InvalidContentSha256)
        }
        (Some(header), _) => Ok(header.as_bytes().to_vec()),
        (None, Some(pair)) => Ok(pair.value.clone().into_bytes()),
        (None, None) => Ok(UNSIGNED_PAYLOAD.as_bytes().to_vec()),
    }
}

fn check_algorithm(name: &str) -> Result<(), AuthError> {
    if name == ALGORITHM {
        Ok(())
    } else if name.starts_with("AWS4-ECDSA-") {
        Err(AuthError::UnsupportedSigV4a)
    } else {
        Err(AuthError::UnsupportedMechanism)
    }
}

/// Access key and scope in the credential of a form; `None` if it is not one.
pub(crate) fn parse_scope(text: &str) -> Option<(String, Scope)> {
    parse_credential(text, Form::Query).ok()
}

fn parse_credential(text: &str, form: Form) -> Result<(String, Scope), AuthError> {
    let malformed = |what| AuthError::Malformed(form, what);
    let shape = || {
        malformed(
            "the credential is malformed; expecting \"<access key>/YYYYMMDD/REGION/SERVICE/aws4_request\"",
        )
    };
    // From the right: an access key may contain slashes, a scope may not.
    let mut parts = text.rsplitn(5, '/');
    let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or_else(shape);
    let (terminator, service, region, date, access_key) = (next()?, next()?, next()?, next()?, next()?);
    if terminator != TERMINATOR {
        return Err(malformed(
            "incorrect terminal; this endpoint uses \"aws4_request\"",
        ));
    }
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed(
            "incorrect date format; the credential date must be in the format \"yyyyMMdd\"",
        ));
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Ok((access_key.to_owned(), scope))
}

fn parse_signed_headers(text: &str, form: Form) -> Result<Vec<String>, AuthError> {
    let mut names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte > b' ' && !byte.is_ascii_uppercase())
    };
    if names.len() > SIGNED_HEADERS_MAX || !names.iter().all(is_name) {
        return Err(AuthError::Malformed(
            form,
            "SignedHeaders must be lower-case names separated by semicolons",
        ));
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    if names.len() != count {
        return Err(AuthError::Malformed(form, "SignedHeaders repeats a name"));
    }
    Ok(names)
}

fn parse_signature(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// `x-amz-date` if present, else `Date`.
fn header_date(headers: &HeaderMap) -> Result<AmzDate, AuthError> {
    if let Some(value) = headers.get(AMZ_DATE) {
        return AmzDate::parse(value.as_bytes()).ok_or(AuthError::MissingDate);
    }
    let mut dates = headers.get_all(DATE).iter();
    let (Some(value), None) = (dates.next(), dates.next()) else {
        return Err(AuthError::MissingDate);
    };
    if let Some(date) = AmzDate::parse(value.as_bytes()) {
        return Ok(date);
    }
    let text = value.to_str().map_err(|_| AuthError::MissingDate)?;
    parse_http_date(text)
        .map(AmzDate::from_unix)
        .ok_or(AuthError::MissingDate)
}

fn text_header(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, AuthError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| AuthError::Malformed(Form::Header, "the token is not text"))?;
    Ok(Some(text.to_owned()))
}

/// Whether a header must be covered by the signature if it is there.
pub(super) fn must_be_signed(name: &str, form: Form) -> bool {
    name == HOST.as_str() || name.starts_with("x-amz-") || (form == Form::Header && name == "content-md5")
}
