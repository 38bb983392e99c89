//! Requests for encryption by the store (`x-amz-server-side-encryption*`), by the bucket's settings.
//!
//! What lives here: what a write asks for, what of it is sealed or sent on, what answers say. What must not:
//! keys of customers beyond handing them on (`customer_key`). Invariant: an answer says that a request was
//! taken only where the object is sealed with it; sealing itself is the same whatever was asked.

use http::{HeaderMap, HeaderName, HeaderValue};
use sceau_envelope::Metadata;
use sceau_policy::{BucketSettings, SseCMode, SseMode};
use sceau_s3wire::error::ErrorCode;

use crate::error::{GatewayError, Result};
use crate::plan::customer_key::{self, CustomerKey};

const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KEY_ID: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const BUCKET_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled");
const CONTEXT: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-context");

/// Each header, and the reserved user metadata that remembers it.
const REMEMBERED: [(HeaderName, &str); 4] = [
    (ALGORITHM, "sceau-sse"),
    (KEY_ID, "sceau-sse-key"),
    (BUCKET_KEY, "sceau-sse-bucket-key"),
    (CONTEXT, "sceau-sse-context"),
];

/// Longest encryption context, in bytes of base64.
const CONTEXT_CHARS_MAX: usize = 512;

/// What decides about encryption headers, besides the headers.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Settings of the bucket that is written to.
    pub settings: &'a BucketSettings,
    /// Whether the client's connection is encrypted up to here.
    pub is_tls: bool,
}

/// What becomes of a write's encryption headers.
#[derive(Debug, Default)]
pub struct SsePlan {
    /// What is sealed among the user metadata.
    pub sealed: Vec<(String, Vec<u8>)>,
    /// What is sent on to the store.
    pub store_headers: HeaderMap,
}

impl SsePlan {
    /// Plans a write.
    ///
    /// # Errors
    /// The code that S3 has for a contradiction; `NotImplemented` for what the bucket's settings refuse;
    /// `KMS.NotFoundException` for a key that they do not list.
    pub fn for_write(client: &HeaderMap, around: Surroundings<'_>) -> Result<Self> {
        let mut plan = Self::default();
        if let Some(key) = CustomerKey::from_request(client, around.is_tls)? {
            if client.contains_key(ALGORITHM) {
                return Err(argument(
                    "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
                ));
            }
            match around.settings.sse_c {
                SseCMode::Refuse => {
                    return Err(not_here(
                        "The settings of this bucket refuse customer provided keys.",
                    ));
                }
                SseCMode::Bind => plan.sealed.push(key.bind()?),
            }
        }
        let is_asked = REMEMBERED.iter().any(|(name, _)| client.contains_key(name));
        match around.settings.sse {
            _ if !is_asked => {}
            SseMode::Refuse => {
                return Err(not_here(
                    "The settings of this bucket refuse server-side encryption headers.",
                ));
            }
            SseMode::Forward if client.contains_key(CONTEXT) => {
                // Free text of the application: the store would read it.
                return Err(not_here(
                    "The settings of this bucket refuse an encryption context.",
                ));
            }
            SseMode::Forward => {
                for name in [ALGORITHM, KEY_ID, BUCKET_KEY] {
                    for value in client.get_all(&name) {
                        plan.store_headers.append(name.clone(), value.clone());
                    }
                }
            }
            SseMode::Accept => {
                check(client, around.settings)?;
                for (header, name) in REMEMBERED {
                    if let Some(value) = client.get(header) {
                        plan.sealed.push((name.to_owned(), value.as_bytes().to_vec()));
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Replaces what `metadata` says of encryption.
    pub fn seal_into(&self, metadata: &mut Metadata) {
        let is_ours =
            |name: &str| name == customer_key::BOUND || REMEMBERED.iter().any(|(_, own)| *own == name);
        metadata.user.retain(|(name, _)| !is_ours(name));
        metadata.user.extend(self.sealed.iter().cloned());
    }
}

/// Whether a request has any header about the encryption of the object that it writes.
pub fn is_asked(client: &HeaderMap) -> bool {
    REMEMBERED.iter().any(|(name, _)| client.contains_key(name)) || customer_key::is_sent(client)
}

fn check(client: &HeaderMap, settings: &BucketSettings) -> Result<()> {
    let mut texts = REMEMBERED.map(|_| None);
    for (text, (name, _)) in texts.iter_mut().zip(&REMEMBERED) {
        let mut values = client.get_all(name).iter();
        *text = values.next().map(|value| value.to_str().unwrap_or_default());
        if values.next().is_some() {
            return Err(argument("A server-side encryption header is repeated."));
        }
    }
    let [algorithm, key_id, bucket_key, context] = texts;
    let is_kms = match algorithm {
        Some("AES256") | None => false,
        Some("aws:kms" | "aws:kms:dsse") => true,
        Some(_) => return Err(GatewayError::code(ErrorCode::InvalidEncryptionAlgorithm)),
    };
    if !is_kms && (key_id.is_some() || context.is_some()) {
        return Err(argument(
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
        ));
    }
    if let Some(id) = key_id.filter(|id| !settings.has_kms_key(id)) {
        // The id is the client's own; what is not text was read as nothing.
        let message = format!("Key '{id}' is not in kms_key_names of this bucket's settings.");
        return Err(GatewayError::client(ErrorCode::KmsNotFound, message));
    }
    if bucket_key
        .is_some_and(|flag| !flag.eq_ignore_ascii_case("true") && !flag.eq_ignore_ascii_case("false"))
    {
        return Err(argument(
            "x-amz-server-side-encryption-bucket-key-enabled must be true or false.",
        ));
    }
    match context {
        Some(context) if !is_context(context) => Err(argument(
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map",
        )),
        Some(_) | None => Ok(()),
    }
}

fn is_context(text: &str) -> bool {
    let Some(json) = data_encoding::BASE64.decode(text.as_bytes()).ok() else {
        return false;
    };
    text.len() <= CONTEXT_CHARS_MAX
        && serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&json).is_ok()
}

/// Tells what an object was asked to be encrypted with. The store's own word on it is then left out: it
/// would be about the ciphertext.
pub fn echo(metadata: &Metadata, answer: &mut HeaderMap) {
    let is_bound = customer_key::echo(metadata, answer);
    let remembered = |own: &str| metadata.user.iter().find(|(name, _)| name == own);
    if !is_bound && !REMEMBERED.iter().any(|(_, own)| remembered(own).is_some()) {
        return;
    }
    for (header, own) in REMEMBERED {
        answer.remove(&header);
        // S3 never shows the context again.
        if header == CONTEXT {
            continue;
        }
        if let Some((_, value)) = remembered(own)
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            answer.insert(header, value);
        }
    }
}

fn argument(message: &'static str) -> GatewayError {
    GatewayError::client(ErrorCode::InvalidArgument, message)
}

fn not_here(message: &'static str) -> GatewayError {
    GatewayError::client(ErrorCode::NotImplemented, message)
}

#[cfg(test)]
mod tests {
    use sceau_policy::{PolicyFile, Settings};

    use super::*;

    fn planned(table: &str, rows: &[(&'static str, &'static str)]) -> Result<SsePlan> {
        let file: PolicyFile = toml::from_str(&format!("[[bucket]]\nbuckets=['b']\n{table}\n")).unwrap();
        let settings = Settings::from_entries(&file.bucket).unwrap();
        let mut client = HeaderMap::new();
        for (name, value) in rows {
            client.append(*name, HeaderValue::from_static(value));
        }
        let around = Surroundings {
            settings: settings.of("b"),
            is_tls: true,
        };
        SsePlan::for_write(&client, around)
    }

    fn code(table: &str, rows: &[(&'static str, &'static str)]) -> ErrorCode {
        planned(table, rows).unwrap_err().kind.code()
    }

    const SSE: &str = "x-amz-server-side-encryption";
    const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
    const CTX: &str = "x-amz-server-side-encryption-context";

    #[test]
    fn what_is_accepted_is_sealed_and_echoed_and_not_sent_on() {
        let rows = [
            (SSE, "aws:kms"),
            (KEY, "alias/own"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            (CTX, "eyJhIjoiYiJ9"),
        ];
        let plan = planned("kms_key_names=['own']", &rows).unwrap();
        assert!(plan.store_headers.is_empty());
        let mut metadata = Metadata::default();
        plan.seal_into(&mut metadata);
        let mut answer = HeaderMap::new();
        answer.insert(ALGORITHM, HeaderValue::from_static("AES256"));
        echo(&metadata, &mut answer);
        let expected: Vec<_> = rows[..3].iter().map(|(name, value)| (*name, *value)).collect();
        let shown: Vec<_> = answer
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(shown, expected);
        // A copy asks anew.
        SsePlan::default().seal_into(&mut metadata);
        assert!(metadata.user.is_empty());
    }

    #[test]
    fn each_mode_keeps_its_word() {
        let aes = [(SSE, "AES256")];
        let sent = planned("sse='forward'", &[(SSE, "odd"), (KEY, "any")]).unwrap();
        assert_eq!((sent.sealed.len(), sent.store_headers.len()), (0, 2));
        assert_eq!(
            code("sse='forward'", &[(SSE, "aws:kms"), (CTX, "e30=")]),
            ErrorCode::NotImplemented
        );
        assert_eq!(code("sse='refuse'", &aes), ErrorCode::NotImplemented);
        assert!(planned("sse='refuse'", &[]).unwrap().sealed.is_empty());
        assert_eq!(
            planned("", &aes).unwrap().sealed,
            [("sceau-sse".to_owned(), b"AES256".to_vec())]
        );
    }

    #[test]
    fn contradictions_have_s3_codes() {
        assert_eq!(
            code("", &[(SSE, "AES128")]),
            ErrorCode::InvalidEncryptionAlgorithm
        );
        assert_eq!(
            code("", &[(SSE, "AES256"), (SSE, "AES256")]),
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            code("", &[(SSE, "AES256"), (KEY, "own")]),
            ErrorCode::InvalidArgument
        );
        assert_eq!(code("", &[(KEY, "own")]), ErrorCode::InvalidArgument);
        assert_eq!(
            code("", &[(SSE, "aws:kms"), (KEY, "own")]),
            ErrorCode::KmsNotFound
        );
        for context in ["%", "W10=", "eyJhIjoxfQ==", "eyJhIjp7fX0="] {
            let rows = [(SSE, "aws:kms"), (CTX, context)];
            assert_eq!(code("", &rows), ErrorCode::InvalidArgument, "{context}");
        }
    }
}
