//! Requests: JSON bodies and the signature.
//!
//! What lives here: the four actions as bytes, signed. What must not: sending, the meaning of answers. Invariant:
//! every request names its key in full, and its signature covers the whole body.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use sceau_keys::{SecretKey, WrapContext};
use sceau_kms::KeyError;
use sceau_s3wire::sigv4::{self, PayloadHash, SignInput};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// More than a body with a key in it has: ARN, key and context.
const BODY_BYTES: usize = 1024;

/// Lends the credentials that sign. Asked for every call, so that renewed ones need no restart.
pub trait CredentialLender: Send + Sync {
    /// Calls `borrower` once with the credentials of now.
    fn lend(&self, borrower: &mut dyn FnMut(sigv4::Credentials<'_>));
}

/// What is asked of the service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    DescribeKey,
    Encrypt,
    Decrypt,
    GenerateRandom,
}

impl Action {
    fn target(self) -> &'static str {
        match self {
            Self::DescribeKey => "TrentService.DescribeKey",
            Self::Encrypt => "TrentService.Encrypt",
            Self::Decrypt => "TrentService.Decrypt",
            Self::GenerateRandom => "TrentService.GenerateRandom",
        }
    }
}

/// docs/format/ section 9.1. Names and values are letters, digits and hyphens.
fn entries(context: &WrapContext) -> String {
    format!(
        "{{\"sceau-wrap\":\"sof1\",\"sceau-record\":\"{}\",\"sceau-tenant\":\"{}\",\"sceau-bucket\":\"{}\",\"sceau-epoch\":\"{}\"}}",
        HEXLOWER.encode(&context.krid.0),
        HEXLOWER.encode(&context.tenant.0),
        HEXLOWER.encode(&context.bucket.0),
        context.epoch
    )
}

pub(crate) fn describe(key: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{{\"KeyId\":\"{key}\"}}").into_bytes())
}

pub(crate) fn encrypt(key: &str, plain: &SecretKey, context: &WrapContext) -> Zeroizing<Vec<u8>> {
    let plain = Zeroizing::new(BASE64.encode(plain.expose()));
    // In one piece of memory from the start: a body that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(BODY_BYTES));
    for piece in [
        "{\"KeyId\":\"",
        key,
        "\",\"Plaintext\":\"",
        plain.as_str(),
        "\",\"EncryptionContext\":",
        &entries(context),
        "}",
    ] {
        body.extend_from_slice(piece.as_bytes());
    }
    body
}

/// The key is named although the blob would tell it: what a blob says is the word of who wrote it.
pub(crate) fn decrypt(key: &str, blob: &[u8], context: &WrapContext) -> Zeroizing<Vec<u8>> {
    let body = format!(
        "{{\"KeyId\":\"{key}\",\"CiphertextBlob\":\"{}\",\"EncryptionContext\":{}}}",
        BASE64.encode(blob),
        entries(context)
    );
    Zeroizing::new(body.into_bytes())
}

pub(crate) fn random(bytes: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{{\"NumberOfBytes\":{bytes}}}").into_bytes())
}

/// A signed request to `base`.
pub(crate) fn signed(
    base: &str,
    region: &str,
    lender: &dyn CredentialLender,
    action: Action,
    body: Zeroizing<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, KeyError> {
    let method = Method::POST;
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    let host = HeaderValue::from_str(host).map_err(|_| KeyError::Internal)?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.1"),
    );
    headers.insert(
        HeaderName::from_static("x-amz-target"),
        HeaderValue::from_static(action.target()),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let payload = PayloadHash::Sha256(Sha256::digest(body.as_slice()).into());
    let mut is_signed = false;
    lender.lend(&mut |credentials| {
        let input = SignInput {
            method: &method,
            path: "/",
            query: &[],
            headers: &mut headers,
            payload,
            credentials,
            region,
            service: "kms",
            now,
        };
        is_signed = sigv4::sign(input).is_ok();
    });
    if !is_signed {
        return Err(KeyError::NeedsOperator {
            what: "there are no credentials for the key service that can sign".to_owned(),
        });
    }
    for name in [AUTHORIZATION.as_str(), "x-amz-security-token"] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{base}/"))
        .body(sceau_kms_http::body(body))
        .map_err(|_| KeyError::Internal)?;
    *request.headers_mut() = headers;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use sceau_keys::{BucketId, Krid, TenantId};

    use super::*;

    #[test]
    fn the_context_is_written_as_documented() {
        let context = WrapContext {
            krid: Krid([0xab; 16]),
            tenant: TenantId([1; 16]),
            bucket: BucketId([0; 16]),
            epoch: 70_000,
        };
        let body = decrypt("k", b"blob", &context);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["KeyId"], "k");
        assert_eq!(body["CiphertextBlob"], "YmxvYg==");
        let entries = body["EncryptionContext"].as_object().unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!(entries["sceau-wrap"], "sof1");
        assert_eq!(entries["sceau-record"], "ab".repeat(16));
        assert_eq!(entries["sceau-tenant"], "01".repeat(16));
        assert_eq!(entries["sceau-bucket"], "00".repeat(16));
        assert_eq!(entries["sceau-epoch"], "70000");
    }
}
