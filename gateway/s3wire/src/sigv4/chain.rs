//! The chain of chunk signatures of a streaming upload, shared by reader and writer.
//!
//! What lives here: the two strings to sign and the running signature. What must not: framing.
//! Invariant: each signature covers the one before it, so chunks cannot be reordered or dropped.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::key::SigningKey;
use super::{EMPTY_SHA256_HEX, Scope};
use crate::amztime::AmzDate;

/// Where a chain starts: the request's own signature, and what chunk signatures are made with.
///
/// It holds the signing key, so it cannot be printed.
#[derive(Clone)]
pub struct ChainSeed {
    pub(super) key: Arc<SigningKey>,
    pub(super) date: AmzDate,
    pub(super) scope: Scope,
    pub(super) signature: [u8; 32],
}

/// The running chain.
pub(crate) struct ChunkChain {
    seed: ChainSeed,
    previous: [u8; 32],
}

impl ChunkChain {
    pub(crate) fn new(seed: ChainSeed) -> Self {
        let previous = seed.signature;
        Self { seed, previous }
    }

    /// Signature of the next chunk, given the SHA-256 of its data; the chain moves on.
    pub(crate) fn next_chunk(&mut self, sha256: &[u8; 32]) -> [u8; 32] {
        let tail = format!("{EMPTY_SHA256_HEX}\n{}", HEXLOWER.encode(sha256));
        self.step("AWS4-HMAC-SHA256-PAYLOAD", &tail)
    }

    /// Signature of the trailer, given the SHA-256 of its canonical lines; the chain ends.
    pub(crate) fn trailer(mut self, sha256: &[u8; 32]) -> [u8; 32] {
        self.step("AWS4-HMAC-SHA256-TRAILER", &HEXLOWER.encode(sha256))
    }

    fn step(&mut self, kind: &str, tail: &str) -> [u8; 32] {
        let text = format!(
            "{kind}\n{}\n{}\n{}\n{tail}",
            self.seed.date.as_str(),
            self.seed.scope,
            HEXLOWER.encode(&self.previous)
        );
        self.previous = self.seed.key.sign(&[text.as_bytes()]);
        self.previous
    }
}
