//! Keys that customers send with requests (SSE-C).
//!
//! What lives here: reading such a key from a request, the commitment by which an object is bound to it, and
//! the check of both. What must not: sealing; the object's own keys do not depend on a customer's. Invariant:
//! the key is wiped with the request, and nothing derived from it but a salted commitment and its MD5 is kept,
//! both sealed.
//!
//! What is promised: the gateway opens a bound object for whoever shows its key, and for nobody else. It is a
//! condition of access and not a second encryption: who holds the gateway's keys can open the object without it.

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue};
use sceau_envelope::Metadata;
use sceau_keys::SecretKey;
use sceau_s3wire::checksum::{Algorithm, Hasher};
use sceau_s3wire::error::ErrorCode;
use zeroize::Zeroizing;

use crate::error::{GatewayError, Kind, Result};

/// Name of the reserved user metadata that binds an object to a customer's key.
pub const BOUND: &str = "sceau-sse-c";

const LABEL: &[u8] = b"sceau/sse-c/1\0";
const SALT_BYTES: usize = 16;
const COMMITMENT_BYTES: usize = 32;
const MD5_BYTES: usize = 16;

/// Names of the three headers.
struct Names {
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

const REQUEST: Names = Names {
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    md5: "x-amz-server-side-encryption-customer-key-md5",
};
const COPY_SOURCE: Names = Names {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// A key that a customer sent.
pub struct CustomerKey {
    key: SecretKey,
    md5: [u8; MD5_BYTES],
}

/// Shows nothing: plans are shown in tests.
impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

impl CustomerKey {
    /// The key for the object that a request names.
    ///
    /// # Errors
    /// `InvalidRequest` without TLS, `InvalidArgument` for headers that are missing or contradict each other.
    pub fn from_request(client: &HeaderMap, is_tls: bool) -> Result<Option<Self>> {
        read(client, &REQUEST, is_tls)
    }

    /// The key for the source of a copy. Errors as [`CustomerKey::from_request`].
    pub fn of_copy_source(client: &HeaderMap, is_tls: bool) -> Result<Option<Self>> {
        read(client, &COPY_SOURCE, is_tls)
    }

    /// What binds an object to this key: salt, commitment, and the MD5 that answers show.
    ///
    /// Attacks considered: the store reads the commitment and searches for the key (it is sealed, and salted,
    /// so that equal keys do not show); another object's commitment is put in its place (metadata is
    /// authenticated with the object's name).
    pub fn bind(&self) -> Result<(String, Vec<u8>)> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| GatewayError::new(Kind::Internal, "no randomness"))?;
        let bound = [&salt[..], self.commit(&salt).as_ref(), &self.md5].concat();
        Ok((BOUND.to_owned(), bound))
    }

    fn commit(&self, salt: &[u8]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.expose());
        hmac::sign(&key, &[LABEL, salt].concat())
    }

    /// Whether `bound` was made with this key, in time that does not depend on where they differ.
    fn fits(&self, bound: &[u8]) -> bool {
        let Some((salt, rest)) = bound.split_first_chunk::<SALT_BYTES>() else {
            return false;
        };
        let Some((commitment, _)) = rest.split_first_chunk::<COMMITMENT_BYTES>() else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.expose());
        hmac::verify(&key, &[LABEL, salt].concat(), commitment).is_ok()
    }
}

/// Whether a request has any header about a key for the object that it names.
pub fn is_sent(client: &HeaderMap) -> bool {
    let names = [REQUEST.algorithm, REQUEST.key, REQUEST.md5];
    names.into_iter().any(|name| client.contains_key(name))
}

fn read(client: &HeaderMap, names: &Names, is_tls: bool) -> Result<Option<CustomerKey>> {
    let get = |name| single(client, name);
    let (algorithm, key, md5) = (get(names.algorithm)?, get(names.key)?, get(names.md5)?);
    if algorithm.is_none() && key.is_none() && md5.is_none() {
        return Ok(None);
    }
    // Attack considered: a key in clear on the network is everybody's. Proxies are not asked whether they had TLS.
    if !is_tls {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
        ));
    }
    let missing = |what: &str| {
        argument(format!(
            "Requests specifying Server Side Encryption with Customer provided keys must provide {what}."
        ))
    };
    let algorithm = algorithm.ok_or_else(|| missing("a valid encryption algorithm"))?;
    let key = key.ok_or_else(|| missing("an appropriate secret key"))?;
    let md5 = md5.ok_or_else(|| missing("the client calculated MD5 of the secret key"))?;
    if algorithm != b"AES256" {
        return Err(GatewayError::code(ErrorCode::InvalidEncryptionAlgorithm));
    }
    let bytes = Zeroizing::new(BASE64.decode(key).unwrap_or_default());
    let key = SecretKey::from_slice(&bytes)
        .ok_or_else(|| argument("The secret key was invalid for the specified algorithm.".to_owned()))?;
    let found = Hasher::of(Algorithm::Md5, &bytes);
    if BASE64.decode(md5).ok().as_deref() != Some(found.bytes()) {
        return Err(argument(
            "The calculated MD5 hash of the key did not match the hash that was provided.".to_owned(),
        ));
    }
    let md5 = found.bytes().try_into().unwrap_or_default();
    Ok(Some(CustomerKey { key, md5 }))
}

fn single<'a>(client: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>> {
    let mut values = client.get_all(name).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    match values.next() {
        None => Ok(first),
        Some(_) => Err(argument(format!("The header {name} is repeated."))),
    }
}

fn argument(message: String) -> GatewayError {
    GatewayError::client(ErrorCode::InvalidArgument, message)
}

fn bound(metadata: &Metadata) -> Option<&[u8]> {
    let found = metadata.user.iter().find(|(name, _)| name == BOUND);
    found.map(|(_, value)| value.as_slice())
}

/// Whether an object with this metadata may be read with the key that was shown, if any.
///
/// Attacks considered: reading a bound object without its key or with another (refused before the first byte,
/// and before its metadata is told); learning the key from how long the refusal takes (constant time);
/// a bound object that is opened as an unbound one (the binding is in the header that was authenticated).
///
/// # Errors
/// `InvalidRequest` where a key is missing or not needed, `AccessDenied` for a wrong one.
pub fn check_read(metadata: &Metadata, shown: Option<&CustomerKey>) -> Result<()> {
    let refused = |message| Err(GatewayError::client(ErrorCode::InvalidRequest, message));
    match (bound(metadata), shown) {
        (None, None) => Ok(()),
        (None, Some(_)) => refused("The encryption parameters are not applicable to this object."),
        (Some(_), None) => refused(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
        ),
        (Some(bound), Some(key)) if key.fits(bound) => Ok(()),
        (Some(_), Some(_)) => Err(GatewayError::code(ErrorCode::AccessDenied)),
    }
}

/// Whether a part may be added to an upload with this metadata: with the key that the upload began with, or
/// with none.
///
/// # Errors
/// `InvalidRequest`.
pub fn check_part(metadata: &Metadata, shown: Option<&CustomerKey>) -> Result<()> {
    let message = match (bound(metadata), shown) {
        (None, None) => return Ok(()),
        (Some(bound), Some(key)) if key.fits(bound) => return Ok(()),
        (None, Some(_)) => {
            "The multipart upload initiate did not request encryption with a customer provided key."
        }
        (Some(_), None) => {
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
        }
        (Some(_), Some(_)) => "The provided encryption parameters did not match the ones used originally.",
    };
    Err(GatewayError::client(ErrorCode::InvalidRequest, message))
}

/// Tells which key an object is bound to, by the key's MD5; whether it is.
pub fn echo(metadata: &Metadata, answer: &mut HeaderMap) -> bool {
    let Some(md5) = bound(metadata).and_then(|bound| bound.split_last_chunk::<MD5_BYTES>()) else {
        return false;
    };
    answer.insert(REQUEST.algorithm, HeaderValue::from_static("AES256"));
    if let Ok(md5) = HeaderValue::try_from(BASE64.encode(md5.1)) {
        answer.insert(REQUEST.md5, md5);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let md5 = Hasher::of(Algorithm::Md5, key).to_base64();
        headers.insert(REQUEST.algorithm, HeaderValue::from_static("AES256"));
        headers.insert(REQUEST.key, BASE64.encode(key).try_into().unwrap());
        headers.insert(REQUEST.md5, md5.try_into().unwrap());
        headers
    }

    fn key(byte: u8) -> CustomerKey {
        CustomerKey::from_request(&sent(&[byte; 32]), true)
            .unwrap()
            .unwrap()
    }

    fn code(headers: &HeaderMap, is_tls: bool) -> ErrorCode {
        CustomerKey::from_request(headers, is_tls)
            .unwrap_err()
            .kind
            .code()
    }

    #[test]
    fn a_bound_object_opens_with_its_key_only() {
        let mut metadata = Metadata::default();
        assert!(check_read(&metadata, None).is_ok());
        assert!(check_part(&metadata, None).is_ok());
        assert!(check_read(&metadata, Some(&key(1))).is_err());
        assert!(check_part(&metadata, Some(&key(1))).is_err());
        metadata.user.push(key(1).bind().unwrap());
        let reads =
            |shown: Option<&CustomerKey>| check_read(&metadata, shown).map_err(|error| error.kind.code());
        assert_eq!(reads(Some(&key(1))), Ok(()));
        assert_eq!(reads(Some(&key(2))), Err(ErrorCode::AccessDenied));
        assert_eq!(reads(None), Err(ErrorCode::InvalidRequest));
        assert!(check_part(&metadata, Some(&key(1))).is_ok());
        assert!(check_part(&metadata, Some(&key(2))).is_err());
        assert!(check_part(&metadata, None).is_err());
        let mut answer = HeaderMap::new();
        assert!(echo(&metadata, &mut answer));
        assert_eq!(answer[REQUEST.md5], sent(&[1; 32])[REQUEST.md5]);
        assert!(!answer.contains_key(REQUEST.key));
    }

    #[test]
    fn bindings_are_salted_and_hold_no_key() {
        let (first, second) = (key(1).bind().unwrap().1, key(1).bind().unwrap().1);
        assert_ne!(first[..48], second[..48]);
        assert!(!first.windows(8).any(|window| window == [1; 8]));
        assert!(!key(1).fits(&[]) && !key(1).fits(&first[..47]));
        assert_eq!(format!("{:?}", key(1)), "CustomerKey");
    }

    #[test]
    fn contradictory_or_open_keys_are_refused() {
        let good = sent(&[1; 32]);
        assert_eq!(code(&good, false), ErrorCode::InvalidRequest);
        for name in [REQUEST.algorithm, REQUEST.key, REQUEST.md5] {
            let mut lacking = good.clone();
            lacking.remove(name);
            assert_eq!(code(&lacking, true), ErrorCode::InvalidArgument, "{name}");
            let mut twice = good.clone();
            twice.append(name, good[name].clone());
            assert_eq!(code(&twice, true), ErrorCode::InvalidArgument, "{name}");
        }
        assert_eq!(code(&sent(&[1; 31]), true), ErrorCode::InvalidArgument);
        let mut other = good.clone();
        other.insert(REQUEST.md5, sent(&[2; 32])[REQUEST.md5].clone());
        assert_eq!(code(&other, true), ErrorCode::InvalidArgument);
        let mut other = good;
        other.insert(REQUEST.algorithm, HeaderValue::from_static("AES128"));
        assert_eq!(code(&other, true), ErrorCode::InvalidEncryptionAlgorithm);
    }
}
