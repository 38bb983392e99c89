//! From the shape of a request to one operation of the allow-list.
//!
//! What lives here: the match of method, path shape, query and copy-source header against the rows
//! of [`crate::op`]. What must not: authentication (done before), authorisation (done after).
//! Invariant: a request that has any parameter its row does not name is refused, so a parameter
//! we do not know can never be taken for one we do.

use http::HeaderMap;

use crate::error::ErrorCode;
use crate::op::{Operation, REFUSED, Refused, Row, Scope};
use crate::target::QueryPair;

/// Query parameters accepted in one request; S3's longest has eleven besides a signature.
pub const QUERY_PARAMETERS_MAX: usize = 64;

/// Highest part number a client may use; the store's last one is kept for the trailer.
pub const PART_NUMBER_MAX: u16 = 9_999;

/// Longest message fragment quoted back to the client, bytes.
const QUOTED_BYTES_MAX: usize = 64;

/// Parameters that say nothing about the operation: the signature's own, and hints SDKs add.
const IGNORED_PARAMETERS: &[&str] = &[
    "x-id",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-checksum-mode",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-user-agent",
];

/// Why a request has no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// The code to answer with.
    pub code: ErrorCode,
    /// A message that is safe to show.
    pub message: String,
}

impl RouteError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Finds the operation of a request.
///
/// `query` holds decoded pairs; a parameter without `=` has the empty value. `headers` are those
/// the signature covers: only `x-amz-copy-source` is looked at.
///
/// # Errors
///
/// `NotImplemented` when no row matches, `InvalidArgument` when a parameter is repeated or there
/// are more than [`QUERY_PARAMETERS_MAX`].
pub fn route(
    method: &str,
    has_bucket: bool,
    has_key: bool,
    query: &[QueryPair],
    headers: &HeaderMap,
) -> Result<Operation, RouteError> {
    let scope = match (has_bucket, has_key) {
        (false, _) => Scope::Service,
        (true, false) => Scope::Bucket,
        (true, true) => Scope::Object,
    };
    let parameters = routing_parameters(query)?;
    let copy_source = headers.contains_key("x-amz-copy-source");
    let row = Operation::all().map(Operation::row).find(|row| {
        row.scope == scope && row.method == method && row.copy_source == copy_source && fits(row, &parameters)
    });
    let refused = REFUSED.iter().find(|refused| {
        refused.scope == scope && refused.method == method && resembles(refused, &parameters, headers)
    });
    match (row, refused) {
        // Told from a form by its header alone.
        (Some(_), Some(refused)) if refused.header.is_some() => Err(by_name(refused)),
        (Some(row), _) => Ok(row.operation),
        (None, Some(refused)) => Err(by_name(refused)),
        (None, None) => Err(no_row(method, scope, &parameters)),
    }
}

/// Reads the part number of an upload.
///
/// # Errors
///
/// `InvalidArgument` when it is not a decimal number between 1 and [`PART_NUMBER_MAX`].
pub fn part_number(text: &str) -> Result<u16, RouteError> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(number @ 1..=PART_NUMBER_MAX) if digits_only => Ok(number),
        _ => Err(RouteError::new(
            ErrorCode::InvalidArgument,
            format!("Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive."),
        )),
    }
}

fn routing_parameters(query: &[QueryPair]) -> Result<Vec<(&str, &str)>, RouteError> {
    if query.len() > QUERY_PARAMETERS_MAX {
        return Err(RouteError::new(
            ErrorCode::InvalidArgument,
            "The request has too many query parameters.",
        ));
    }
    let mut parameters: Vec<(&str, &str)> = Vec::with_capacity(query.len());
    for pair in query {
        let (key, value) = (pair.name.as_str(), pair.value.as_str());
        if IGNORED_PARAMETERS
            .iter()
            .any(|ignored| ignored.eq_ignore_ascii_case(key))
        {
            continue;
        }
        if parameters.iter().any(|(seen, _)| *seen == key) {
            let message = format!("The query parameter '{}' is repeated.", quoted(key));
            return Err(RouteError::new(ErrorCode::InvalidArgument, message));
        }
        parameters.push((key, value));
    }
    Ok(parameters)
}

fn fits(row: &Row, parameters: &[(&str, &str)]) -> bool {
    let selected = row.selectors.iter().all(|selector| {
        parameters
            .iter()
            .any(|(key, value)| *key == selector.key() && selector.accepts(value))
    });
    selected && parameters.iter().all(|(key, _)| names(row, key))
}

/// Whether a request is of this refused operation, as far as words go.
fn resembles(refused: &Refused, parameters: &[(&str, &str)], headers: &HeaderMap) -> bool {
    let selected = refused.selectors.iter().all(|selector| {
        parameters
            .iter()
            .any(|(key, value)| *key == selector.key() && selector.accepts(value))
    });
    selected && refused.header.is_none_or(|name| headers.contains_key(name))
}

fn by_name(refused: &Refused) -> RouteError {
    RouteError::new(
        ErrorCode::NotImplemented,
        format!("The operation {} is not supported.", refused.name),
    )
}

fn names(row: &Row, key: &str) -> bool {
    row.allowed.contains(&key) || row.selectors.iter().any(|selector| selector.key() == key)
}

/// Says what stood in the way, as far as one thing did.
fn no_row(method: &str, scope: Scope, parameters: &[(&str, &str)]) -> RouteError {
    let known = |key: &str| {
        Operation::all()
            .map(Operation::row)
            .any(|row| row.scope == scope && row.method == method && names(row, key))
    };
    let message = match parameters.iter().find(|(key, _)| !known(key)) {
        Some((key, _)) => format!(
            "The query parameter '{}' is not supported with this request.",
            quoted(key)
        ),
        None if parameters.is_empty() => "This method is not supported on this resource.".to_owned(),
        None => "This combination of method, query parameters and headers is not supported.".to_owned(),
    };
    RouteError::new(ErrorCode::NotImplemented, message)
}

fn quoted(text: &str) -> String {
    let mut end = text.len().min(QUOTED_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end)
        .unwrap_or_default()
        .chars()
        .filter(|character| !character.is_control())
        .collect()
}
