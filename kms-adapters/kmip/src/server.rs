//! The server: the operations that are asked for, and what refusals mean.
//!
//! What lives here: [`Server`]. What must not: the judgement of a refusal that whoever writes wraps may have
//! provoked. Invariant: every answer is that of the operation, for the key asked for.

use std::time::{Duration, Instant};

use sceau_kms::KeyError;
use sceau_kms_ttlv::Item;
use zeroize::Zeroizing;

use crate::facts::{AES, KeyFacts, SYMMETRIC_KEY};
use crate::link::Pool;
use crate::wire::{Operation, Refusal, Version, answer, bytes, enumeration, integer, request, tag, text};

/// Block Cipher Mode: CBC.
const CBC: u32 = 1;
/// Block Cipher Mode: GCM.
const GCM: u32 = 9;
/// Length of a GCM tag in bytes.
pub(crate) const TAG_BYTES: usize = 16;
/// Query Function: operations.
const QUERY_OPERATIONS: u32 = 1;
/// Query Function: the server's name.
const QUERY_SERVER_INFORMATION: u32 = 3;
/// When to come back to a server that says it failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest unique identifier and vendor's name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Why an operation did not succeed.
#[derive(Debug, Clone)]
pub(crate) enum Fail {
    /// The server said so.
    Refused(Refusal),
    /// There was no answer, or none that makes sense.
    Error(KeyError),
}

impl From<KeyError> for Fail {
    fn from(error: KeyError) -> Self {
        Self::Error(error)
    }
}

impl Fail {
    /// What it means where nobody else chose the input.
    pub(crate) fn error(self) -> KeyError {
        match self {
            Self::Error(error) => error,
            Self::Refused(refusal) => refusal.error(),
        }
    }
}

impl Refusal {
    /// Whether it says that the server has no such operation, mode or field. A refusal of this key or of this
    /// client, or a server in trouble, is none.
    pub(crate) fn is_absence(self) -> bool {
        matches!(self.0, 0x04..=0x08 | 0x0a | 0x24 | 0x26 | 0x3b | 0x3d | 0x3e)
    }

    /// What it means where nobody else chose the input.
    fn error(self) -> KeyError {
        match self.0 {
            0x01 | 0x36 | 0x37 => KeyError::KeyNotFound,
            0x03 | 0x14 | 0x15 => KeyError::NeedsOperator {
                what: "the KMIP server does not accept this client".to_owned(),
            },
            0x05 | 0x08 | 0x3e | 0x3f => KeyError::Misconfigured {
                what: "the KMIP server cannot do what its key is asked for".to_owned(),
            },
            0x0a | 0x0b | 0x0d | 0x1a | 0x29 | 0x43 => KeyError::KeyNotUsable,
            // Keys of others and keys in another state look the same.
            0x0c | 0x39 => KeyError::Denied,
            0x3a => KeyError::Throttled,
            0x2a | 0x44 | 0x100 => KeyError::Unavailable {
                retry_after: RETRY_AFTER,
            },
            _ => KeyError::Internal,
        }
    }
}

/// A server that was greeted.
pub(crate) struct Server {
    pool: Pool,
    pub(crate) version: Version,
    operations: Vec<u32>,
    pub(crate) vendor: String,
}

fn unusable(what: String) -> KeyError {
    KeyError::Misconfigured { what }
}

/// Text of the server that is shown to operators.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_ascii_graphic() || *letter == ' ')
        .take(NAME_BYTES_MAX)
        .collect()
}

impl Server {
    /// Agrees on the best version, not beyond `most`, and asks what the server can do.
    pub(crate) async fn greet(
        pool: Pool,
        most: Option<Version>,
        deadline: Instant,
    ) -> Result<Self, KeyError> {
        let mut server = Self {
            pool,
            version: Version::LEAST,
            operations: Vec::new(),
            vendor: String::new(),
        };
        let wanted = Version::ALL
            .into_iter()
            .filter(|version| most.is_none_or(|most| *version <= most));
        let ours: Vec<_> = wanted.collect();
        let payload = ours.iter().map(|version| version.item()).collect();
        let answer = server.ask(Operation::DiscoverVersions, payload, deadline).await;
        let answer = answer.map_err(Fail::error)?;
        let theirs: Vec<_> = answer
            .all(tag::PROTOCOL_VERSION)
            .filter_map(Version::read)
            .collect();
        let version = ours.into_iter().find(|version| theirs.contains(version));
        server.version = version
            .ok_or_else(|| unusable("the KMIP server speaks no version from 1.2 to 2.1".to_owned()))?;
        let payload = [QUERY_OPERATIONS, QUERY_SERVER_INFORMATION]
            .map(|function| enumeration(tag::QUERY_FUNCTION, function))
            .into();
        let answer = server.ask(Operation::Query, payload, deadline).await;
        let answer = answer.map_err(Fail::error)?;
        server.operations = answer.all(tag::OPERATION).filter_map(Item::enumeration).collect();
        server.vendor = answer
            .one(tag::VENDOR_IDENTIFICATION)
            .and_then(Item::text)
            .map(shown)
            .unwrap_or_default();
        for operation in [Operation::Locate, Operation::GetAttributes, Operation::Encrypt] {
            if !server.can(operation) {
                return Err(unusable(format!(
                    "the KMIP server does not offer {}",
                    operation.name()
                )));
            }
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> String {
        self.pool.address()
    }

    /// Whether the server says that it offers the operation.
    pub(crate) fn can(&self, operation: Operation) -> bool {
        self.operations.contains(&operation.code())
    }

    async fn ask(&self, operation: Operation, payload: Vec<Item>, deadline: Instant) -> Result<Item, Fail> {
        let message = request(self.version, operation, payload);
        let message = self.pool.call(&message, deadline).await?;
        answer(message, operation)?.map_err(Fail::Refused)
    }

    /// The identifiers of the symmetric keys with this name; two at most.
    pub(crate) async fn locate(&self, name: &str, deadline: Instant) -> Result<Vec<String>, KeyError> {
        let name = || vec![text(tag::NAME_VALUE, name), enumeration(tag::NAME_TYPE, 1)];
        let mut payload = vec![integer(tag::MAXIMUM_ITEMS, 2)];
        if self.version >= Version::TAGGED_LEAST {
            let wanted = vec![
                Item::structure(tag::NAME, name()),
                enumeration(tag::OBJECT_TYPE, SYMMETRIC_KEY),
            ];
            payload.push(Item::structure(tag::ATTRIBUTES, wanted));
        } else {
            let attribute =
                |label, value| Item::structure(tag::ATTRIBUTE, vec![text(tag::ATTRIBUTE_NAME, label), value]);
            payload.push(attribute("Name", Item::structure(tag::ATTRIBUTE_VALUE, name())));
            payload.push(attribute(
                "Object Type",
                enumeration(tag::ATTRIBUTE_VALUE, SYMMETRIC_KEY),
            ));
        }
        let answer = self.ask(Operation::Locate, payload, deadline).await;
        let answer = answer.map_err(Fail::error)?;
        let found = answer.all(tag::UNIQUE_IDENTIFIER).filter_map(Item::text);
        found
            .map(|id| (shown(id) == id && !id.is_empty()).then(|| id.to_owned()))
            .collect::<Option<_>>()
            .ok_or_else(|| unusable("the KMIP server's identifiers are longer than 128 letters".to_owned()))
    }

    /// What the server says about the key.
    pub(crate) async fn attributes(&self, id: &str, deadline: Instant) -> Result<KeyFacts, KeyError> {
        // Without names it tells all.
        let payload = vec![text(tag::UNIQUE_IDENTIFIER, id)];
        let answer = self.ask(Operation::GetAttributes, payload, deadline).await;
        let answer = answer.map_err(Fail::error)?;
        if !is_of(&answer, id) {
            return Err(KeyError::Internal);
        }
        Ok(KeyFacts::read(&answer, self.version))
    }

    /// AES-GCM in the server: ciphertext with its tag.
    pub(crate) async fn seal(
        &self,
        id: &str,
        iv: &[u8],
        aad: &[u8],
        plain: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, Fail> {
        let payload = vec![
            text(tag::UNIQUE_IDENTIFIER, id),
            gcm(),
            bytes(tag::DATA, plain),
            bytes(tag::IV_COUNTER_NONCE, iv),
            bytes(tag::AEAD_ADDITIONAL_DATA, aad),
        ];
        let answer = self.ask(Operation::Encrypt, payload, deadline).await?;
        let field = |tag| answer.one(tag).and_then(Item::bytes);
        let other_iv = field(tag::IV_COUNTER_NONCE).is_some_and(|theirs| theirs != iv);
        let (Some(data), Some(tag)) = (field(tag::DATA), field(tag::AEAD_TAG)) else {
            return Err(KeyError::Internal.into());
        };
        if !is_of(&answer, id) || other_iv || data.len() != plain.len() || tag.len() != TAG_BYTES {
            return Err(KeyError::Internal.into());
        }
        Ok([data, tag].concat())
    }

    /// Opens what [`Self::seal`] made.
    pub(crate) async fn open(
        &self,
        id: &str,
        iv: &[u8],
        aad: &[u8],
        blob: &[u8],
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, Fail> {
        let at = blob.len().saturating_sub(TAG_BYTES);
        let (data, tag) = blob.split_at_checked(at).ok_or(KeyError::Internal)?;
        let payload = vec![
            text(tag::UNIQUE_IDENTIFIER, id),
            gcm(),
            bytes(tag::DATA, data),
            bytes(tag::IV_COUNTER_NONCE, iv),
            bytes(tag::AEAD_ADDITIONAL_DATA, aad),
            bytes(tag::AEAD_TAG, tag),
        ];
        let answer = self.ask(Operation::Decrypt, payload, deadline).await?;
        data_of(&answer, id).map_err(Fail::Error)
    }

    /// AES-CBC in the server with the IV zero. `padding` is a Padding Method; a padded answer is longer.
    pub(crate) async fn chain(
        &self,
        id: &str,
        padding: u32,
        plain: &[u8],
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, Fail> {
        let parameters = vec![
            enumeration(tag::BLOCK_CIPHER_MODE, CBC),
            enumeration(tag::PADDING_METHOD, padding),
            enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES),
        ];
        let payload = vec![
            text(tag::UNIQUE_IDENTIFIER, id),
            Item::structure(tag::CRYPTOGRAPHIC_PARAMETERS, parameters),
            bytes(tag::DATA, plain),
            bytes(tag::IV_COUNTER_NONCE, &[0; 16]),
        ];
        let answer = self.ask(Operation::Encrypt, payload, deadline).await?;
        data_of(&answer, id).map_err(Fail::Error)
    }

    /// Random bytes of the server.
    pub(crate) async fn random(
        &self,
        count: usize,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let length = i32::try_from(count).map_err(|_| KeyError::Internal)?;
        let payload = vec![integer(tag::DATA_LENGTH, length)];
        let answer = self.ask(Operation::RngRetrieve, payload, deadline).await;
        let answer = answer.map_err(Fail::error)?;
        let data = answer.one(tag::DATA).and_then(Item::bytes);
        let data = data
            .filter(|data| data.len() == count)
            .ok_or(KeyError::Internal)?;
        Ok(Zeroizing::new(data.to_vec()))
    }
}

fn gcm() -> Item {
    let parameters = vec![
        enumeration(tag::BLOCK_CIPHER_MODE, GCM),
        enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES),
        integer(tag::TAG_LENGTH, 16),
    ];
    Item::structure(tag::CRYPTOGRAPHIC_PARAMETERS, parameters)
}

/// Whether the answer is about this key. Required in all answers that name one.
fn is_of(answer: &Item, id: &str) -> bool {
    answer.one(tag::UNIQUE_IDENTIFIER).and_then(Item::text) == Some(id)
}

fn data_of(answer: &Item, id: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let data = answer.one(tag::DATA).and_then(Item::bytes);
    let data = data.filter(|_| is_of(answer, id)).ok_or(KeyError::Internal)?;
    Ok(Zeroizing::new(data.to_vec()))
}
