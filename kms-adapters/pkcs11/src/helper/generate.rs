//! Generating a key-encryption key.
//!
//! What lives here: the template of a new key. What must not: the service. Invariant: an existing key
//! is never touched, and the new one can never leave the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use data_encoding::HEXLOWER;
use sceau_keys::KEY_BYTES;
use sceau_kms::KeyError;

use super::fault::name;
use super::token::{Token, unavailable};
use crate::config::misconfigured;

/// Length of a random `CKA_ID` in bytes.
const ID_BYTES: usize = 16;

/// Generates the configured key; answers its id in hexadecimal.
pub(super) fn generate(token: &Token) -> Result<String, KeyError> {
    let session = token.officer_session()?;
    let found = session
        .find_objects(&token.key_template())
        .map_err(|error| unavailable("looking for a key of that name", &error))?;
    if !found.is_empty() {
        return Err(misconfigured(
            "the token already holds a key of that name; it is left alone",
        ));
    }
    let id = match &token.setup().key_id {
        Some(id) => id.clone(),
        None => {
            let mut id = vec![0; ID_BYTES];
            getrandom::fill(&mut id).map_err(|_| KeyError::Internal)?;
            id
        }
    };
    let length = u64::try_from(KEY_BYTES).map_err(|_| KeyError::Internal)?;
    let template = [
        Attribute::ValueLen(length.into()),
        Attribute::Label(token.setup().key_label.clone().into_bytes()),
        Attribute::Id(id.clone()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .map_err(|error| misconfigured(format!("the token refuses to generate the key: {}", name(&error))))?;
    Ok(HEXLOWER.encode(&id))
}
