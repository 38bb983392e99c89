//! A key of its own for each wrap, derived in the server by AES-CBC; AES-256-GCM under it in this process.
//!
//! What lives here: the scheme `aes-cbc-kdf` (docs/format/ section 9.1) for servers without AES-GCM. What must
//! not: the choice of it. Invariant: the bytes are those of the same scheme in an HSM; a derived key wraps
//! once, so its IV may be fixed.
//!
//! Attack considered: the server as an oracle for other clients of the key. The message begins with a label of
//! this format and has one fixed length, so nothing that another use computes can be a derived key; altered
//! salts, contexts and blobs all end in a refused tag here. That the server pads the message, where it insists,
//! changes none of its blocks.

use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sceau_keys::{KEY_BYTES, SecretKey, WRAP_CONTEXT_BYTES};
use sceau_kms::KeyError;
use zeroize::Zeroizing;

use crate::server::{Fail, Server};

/// Length of the salt in bytes.
pub(crate) const SALT_BYTES: usize = 32;
/// With the zero byte and the number one block.
const LABEL: &[u8] = b"sof1/wrap-cbc";
/// Length of an AES block in bytes.
const BLOCK_BYTES: usize = 16;
/// Zero bytes that fill the last block: the context has 61.
const FILL: [u8; 3] = [0; 3];

/// The key of one wrap, and where it is from.
pub(crate) struct Derivation<'a> {
    pub(crate) server: &'a Server,
    pub(crate) id: &'a str,
    /// Padding Method asked for.
    pub(crate) padding: u32,
    pub(crate) deadline: Instant,
}

impl Derivation<'_> {
    async fn key(
        &self,
        salt: &[u8],
        context: &[u8; WRAP_CONTEXT_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fail> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (number, half) in (1_u16..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
            let number = number.to_be_bytes();
            let message = [LABEL, &[0], number.as_slice(), salt, context, &FILL].concat();
            let chain = self
                .server
                .chain(self.id, self.padding, &message, self.deadline)
                .await?;
            let is_whole =
                chain.len() == message.len() || chain.len() == message.len().saturating_add(BLOCK_BYTES);
            let last = chain
                .get(..message.len())
                .and_then(<[u8]>::last_chunk::<BLOCK_BYTES>);
            half.copy_from_slice(last.filter(|_| is_whole).ok_or(KeyError::Internal)?);
        }
        Ok(key)
    }

    pub(crate) async fn seal(
        &self,
        salt: &[u8],
        context: &[u8; WRAP_CONTEXT_BYTES],
        key: &SecretKey,
    ) -> Result<Vec<u8>, Fail> {
        let aead = aead(&self.key(salt, context).await?)?;
        // With room for the tag, so that no unwiped copy of the key is left behind by growing.
        let mut blob = Zeroizing::new(Vec::with_capacity(KEY_BYTES.saturating_add(BLOCK_BYTES)));
        blob.extend_from_slice(key.expose());
        aead.seal_in_place_append_tag(iv(), Aad::from(context), &mut *blob)
            .map_err(|_| KeyError::Internal)?;
        Ok(blob.to_vec())
    }

    pub(crate) async fn open(
        &self,
        salt: &[u8],
        context: &[u8; WRAP_CONTEXT_BYTES],
        blob: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fail> {
        let aead = aead(&self.key(salt, context).await?)?;
        let mut blob = Zeroizing::new(blob.to_vec());
        let key = aead
            .open_in_place(iv(), Aad::from(context), &mut blob)
            .map_err(|_| KeyError::InvalidCiphertext)?;
        Ok(Zeroizing::new(key.to_vec()))
    }
}

fn aead(key: &Zeroizing<[u8; KEY_BYTES]>) -> Result<LessSafeKey, KeyError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError::Internal)?;
    Ok(LessSafeKey::new(key))
}

fn iv() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
