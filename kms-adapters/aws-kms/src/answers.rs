//! The service's answers as data.
//!
//! What lives here: the parts of its JSON that are used, what the facts of a key and its errors mean. What must
//! not: calls. Invariant: no text of an answer reaches an error of ours.

use sceau_kms::{Finding, KeyError, Residency, Severity};
use sceau_kms_http::{Answer, Base64Secret};

/// When to come back to a service that failed.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    pub(crate) key_metadata: KeyFacts,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Encrypted {
    pub(crate) ciphertext_blob: String,
    pub(crate) key_id: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Decrypted {
    pub(crate) plaintext: Base64Secret,
    pub(crate) key_id: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Drawn {
    pub(crate) plaintext: Base64Secret,
}

#[derive(serde::Deserialize)]
struct Named {
    #[serde(rename = "__type")]
    kind: String,
}

/// What the service says about the key.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyFacts {
    pub(crate) arn: String,
    pub(crate) key_state: String,
    key_usage: Option<String>,
    /// Services that are not up to date know the older name only.
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    origin: Option<String>,
    #[serde(default)]
    creation_date: serde_json::Value,
    valid_to: Option<serde_json::Value>,
    multi_region: Option<bool>,
}

impl KeyFacts {
    /// When the key was made: tells it from another one of the same name.
    pub(crate) fn made(&self) -> String {
        self.creation_date.to_string()
    }

    fn is_imported(&self) -> bool {
        self.origin.as_deref() == Some("EXTERNAL")
    }

    /// Imported key material existed elsewhere.
    pub(crate) fn residency(&self) -> Residency {
        match self.is_imported() {
            true => Residency::RemoteKmsExportable,
            false => Residency::RemoteKms,
        }
    }

    /// Refuses a kind of key that cannot keep what wraps promise.
    pub(crate) fn check_kind(&self) -> Result<(), KeyError> {
        let spec = self.key_spec.as_ref().or(self.customer_master_key_spec.as_ref());
        let is_symmetric = spec.is_some_and(|spec| spec == "SYMMETRIC_DEFAULT");
        if is_symmetric && self.key_usage.as_deref() == Some("ENCRYPT_DECRYPT") {
            return Ok(());
        }
        Err(KeyError::Misconfigured {
            what: "the key must be symmetric (SYMMETRIC_DEFAULT) and for ENCRYPT_DECRYPT".to_owned(),
        })
    }

    /// Whether the key may wrap and unwrap. What the service allows is not asked: some that speak its protocol go
    /// on with a key that is disabled.
    pub(crate) fn check_state(&self) -> Result<(), KeyError> {
        match self.key_state.as_str() {
            // A key whose primary region is being changed is as good as before.
            "Enabled" | "Updating" => Ok(()),
            // The store behind the key, an HSM of the customer's, is away.
            "Unavailable" => Err(unavailable()),
            _ => Err(KeyError::KeyNotUsable),
        }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let facts = [
            (self.is_imported(), "the key was imported: it existed elsewhere"),
            (
                self.valid_to.as_ref().is_some_and(|end| !end.is_null()),
                "the imported key expires",
            ),
            (
                self.multi_region == Some(true),
                "the key may be replicated to further regions of the service",
            ),
        ];
        let holds = facts.into_iter().filter(|(holds, _)| *holds);
        holds
            .map(|(_, what)| Finding {
                severity: Severity::Warning,
                what: what.to_owned(),
            })
            .collect()
    }
}

fn unavailable() -> KeyError {
    KeyError::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

/// What a success says.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(answer: &'a Answer) -> Result<T, KeyError> {
    // The error's text could show what was read.
    serde_json::from_slice(&answer.body).map_err(|_| KeyError::Internal)
}

/// What an answer other than 200 means where nobody else chose the input.
pub(crate) fn fault(answer: &Answer) -> KeyError {
    let named = serde_json::from_slice::<Named>(&answer.body).ok();
    // Some put a namespace before the name.
    let name = named
        .as_ref()
        .and_then(|named| named.kind.rsplit('#').next())
        .unwrap_or_default();
    match name {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "LimitExceededException" => KeyError::Throttled,
        "KMSInternalException" | "DependencyTimeoutException" | "KeyUnavailableException" => unavailable(),
        "DisabledException" | "KMSInvalidStateException" | "InvalidKeyUsageException" => {
            KeyError::KeyNotUsable
        }
        "NotFoundException" => KeyError::KeyNotFound,
        "AccessDeniedException" => KeyError::Denied,
        "InvalidCiphertextException" | "IncorrectKeyException" => KeyError::InvalidCiphertext,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "OptInRequired" => KeyError::NeedsOperator {
            what: "the key service refuses the credentials, or the clock is wrong".to_owned(),
        },
        _ => by_status(answer.status.as_u16()),
    }
}

fn by_status(status: u16) -> KeyError {
    match status {
        // The service names its reasons; who does not is something on the way to it.
        401 | 403 => KeyError::NeedsOperator {
            what: "the key service or something before it refuses the gateway without a reason".to_owned(),
        },
        429 => KeyError::Throttled,
        500..=599 => unavailable(),
        _ => KeyError::Internal,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use zeroize::Zeroizing;

    use super::*;

    fn meaning(status: u16, body: &str) -> &'static str {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        };
        fault(&answer).code()
    }

    #[test]
    fn errors_are_told_by_name_and_then_by_status() {
        for (status, name, code) in [
            (400, "ThrottlingException", "throttled"),
            (400, "LimitExceededException", "throttled"),
            (500, "KMSInternalException", "unavailable"),
            (400, "DisabledException", "key-not-usable"),
            (
                400,
                "com.amazonaws.kms#KMSInvalidStateException",
                "key-not-usable",
            ),
            (400, "NotFoundException", "key-not-found"),
            (400, "AccessDeniedException", "denied"),
            (400, "InvalidCiphertextException", "invalid-ciphertext"),
            (400, "IncorrectKeyException", "invalid-ciphertext"),
            (400, "ExpiredTokenException", "needs-operator"),
            (400, "UnrecognizedClientException", "needs-operator"),
            (403, "InvalidSignatureException", "needs-operator"),
            (400, "SomethingNew", "internal"),
            (503, "SomethingNew", "unavailable"),
        ] {
            let body = format!("{{\"__type\":\"{name}\",\"message\":\"m\"}}");
            assert_eq!(meaning(status, &body), code, "{name}");
        }
        assert_eq!(meaning(403, "<html>"), "needs-operator");
        assert_eq!(meaning(429, ""), "throttled");
        assert_eq!(meaning(502, "<html>"), "unavailable");
        assert_eq!(meaning(301, ""), "internal");
    }

    fn facts(more: &str) -> KeyFacts {
        let text = format!(
            "{{\"Arn\":\"a\",\"KeyUsage\":\"ENCRYPT_DECRYPT\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",{more}}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_an_enabled_key_is_used() {
        for (state, code) in [
            ("Enabled", "ok"),
            ("Updating", "ok"),
            ("Unavailable", "unavailable"),
            ("Disabled", "key-not-usable"),
            ("PendingDeletion", "key-not-usable"),
            ("PendingReplicaDeletion", "key-not-usable"),
            ("PendingImport", "key-not-usable"),
            ("Creating", "key-not-usable"),
            ("", "key-not-usable"),
        ] {
            let facts = facts(&format!("\"KeyState\":\"{state}\""));
            let found = facts.check_state().err();
            assert_eq!(found.as_ref().map_or("ok", KeyError::code), code, "{state}");
        }
    }

    #[test]
    fn an_imported_key_counts_as_exportable() {
        let own = facts("\"KeyState\":\"Enabled\",\"Origin\":\"AWS_KMS\",\"ValidTo\":null");
        assert_eq!((own.residency(), own.findings().len()), (Residency::RemoteKms, 0));
        let imported = facts("\"KeyState\":\"Enabled\",\"Origin\":\"EXTERNAL\",\"ValidTo\":1.5");
        assert_eq!(imported.residency(), Residency::RemoteKmsExportable);
        assert_eq!(imported.findings().len(), 2);
    }
}
