//! What an error answer of the store means for a client.
//!
//! What lives here: [`classify_error`]. What must not: the answer's message, which may quote the
//! gateway's canonical request and access key. Invariant: only the error code leaves this file, and
//! only when it has the form of one.

use std::fmt;

use http::StatusCode;

/// Longest error code that is taken for one, in bytes; the longest known has fewer than 60.
const CODE_BYTES_MAX: usize = 80;
/// How far into an error body the code is looked for, in bytes.
const SEARCHED_BYTES_MAX: usize = 64 << 10;

/// What an error answer of the store means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// The client's request is at fault; its own error code can be passed on.
    ClientFault(String),
    /// The bucket, object, version or upload does not exist; the code says which.
    NotFound(String),
    /// The store does not accept the gateway's own signature, key, token or clock. The client must
    /// see an internal error; the code is for the log.
    OurCredentials(String),
    /// The store asks for fewer requests.
    Throttled,
    /// The store failed or is down.
    Unavailable,
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientFault(code) | Self::NotFound(code) => f.write_str(code),
            Self::OurCredentials(code) => write!(f, "the gateway's credentials: {code}"),
            Self::Throttled => f.write_str("throttled"),
            Self::Unavailable => f.write_str("unavailable"),
        }
    }
}

/// Classifies an error answer by its status and XML body (empty for HEAD).
pub fn classify_error(status: StatusCode, body: &[u8]) -> UpstreamFault {
    let code = element(body, "Code").unwrap_or_default();
    match code {
        "AuthorizationHeaderMalformed"
        | "AuthorizationQueryParametersError"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "InvalidToken"
        | "MissingSecurityHeader"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired"
        | "UnauthorizedAccess" => UpstreamFault::OurCredentials(code.to_owned()),
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" | "ServiceUnavailable" => {
            UpstreamFault::Throttled
        }
        _ => classify_status(status, code),
    }
}

fn classify_status(status: StatusCode, code: &str) -> UpstreamFault {
    let or = |fallback: &str| {
        if code.is_empty() {
            fallback.to_owned()
        } else {
            code.to_owned()
        }
    };
    match status.as_u16() {
        401 => UpstreamFault::OurCredentials(or("Unauthorized")),
        403 => UpstreamFault::ClientFault(or("AccessDenied")),
        404 => UpstreamFault::NotFound(or("NoSuchKey")),
        405 => UpstreamFault::ClientFault(or("MethodNotAllowed")),
        409 => UpstreamFault::ClientFault(or("OperationAborted")),
        412 => UpstreamFault::ClientFault(or("PreconditionFailed")),
        416 => UpstreamFault::ClientFault(or("InvalidRange")),
        429 => UpstreamFault::Throttled,
        501 => UpstreamFault::ClientFault(or("NotImplemented")),
        500.. => UpstreamFault::Unavailable,
        _ => UpstreamFault::ClientFault(or("InvalidRequest")),
    }
}

/// The text of the first `<name>` element in `body`, when it is a plain token (letters, digits,
/// dots, hyphens). A search rather than a parse: the answer may be cut off or not XML at all, and a
/// token cannot carry anything else along.
pub(super) fn element<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let searched = body.get(..SEARCHED_BYTES_MAX).unwrap_or(body);
    let open = format!("<{name}>");
    let start = searched
        .windows(open.len())
        .position(|window| window == open.as_bytes())?;
    let rest = searched.get(start.checked_add(open.len())?..)?;
    let end = rest
        .iter()
        .take(CODE_BYTES_MAX.saturating_add(1))
        .position(|byte| *byte == b'<')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (!text.is_empty() && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(code: &str) -> Vec<u8> {
        format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>AKIASECRET</Message></Error>")
            .into()
    }

    #[test]
    fn faults_of_our_credentials_are_not_the_clients() {
        for code in [
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "ExpiredToken",
            "RequestTimeTooSkewed",
        ] {
            let fault = classify_error(StatusCode::FORBIDDEN, &xml(code));
            assert_eq!(fault, UpstreamFault::OurCredentials(code.to_owned()));
        }
    }

    #[test]
    fn codes_and_statuses_are_mapped() {
        let of = |status: u16, body: &[u8]| classify_error(StatusCode::from_u16(status).unwrap(), body);
        assert_eq!(
            of(403, &xml("AccessDenied")),
            UpstreamFault::ClientFault("AccessDenied".into())
        );
        assert_eq!(
            of(404, &xml("NoSuchUpload")),
            UpstreamFault::NotFound("NoSuchUpload".into())
        );
        assert_eq!(of(404, b""), UpstreamFault::NotFound("NoSuchKey".into()));
        assert_eq!(of(503, &xml("SlowDown")), UpstreamFault::Throttled);
        assert_eq!(of(500, &xml("InternalError")), UpstreamFault::Unavailable);
        assert_eq!(
            of(412, b""),
            UpstreamFault::ClientFault("PreconditionFailed".into())
        );
    }

    #[test]
    fn a_code_that_is_not_a_token_is_not_passed_on() {
        let fault = classify_error(
            StatusCode::BAD_REQUEST,
            b"<Error><Code>a secret, with spaces</Code></Error>",
        );
        assert_eq!(fault, UpstreamFault::ClientFault("InvalidRequest".into()));
        let endless = [b"<Code>".as_slice(), &[b'a'; 500]].concat();
        assert_eq!(element(&endless, "Code"), None);
    }
}
