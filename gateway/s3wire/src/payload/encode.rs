//! The client's side of aws-chunked, for tests and for the load tool.
//!
//! What lives here: writing chunks and trailers. What must not: the choice of chunk sizes.
//! Invariant: it shares the signature chain with the reader, and nothing else.

use std::fmt;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::checksum::Value;
use crate::sigv4::{ChainSeed, ChunkChain};

/// A use of the encoder that would give a body no server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// An empty chunk would end the body.
    EmptyChunk,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyChunk => f.write_str("an empty chunk would end the body"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Writes one aws-chunked body.
pub struct ChunkEncoder {
    chain: Option<ChunkChain>,
    has_trailer: bool,
}

impl ChunkEncoder {
    /// For `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    pub fn signed(seed: ChainSeed) -> Self {
        Self {
            chain: Some(ChunkChain::new(seed)),
            has_trailer: false,
        }
    }

    /// For `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    pub fn signed_with_trailer(seed: ChainSeed) -> Self {
        Self {
            chain: Some(ChunkChain::new(seed)),
            has_trailer: true,
        }
    }

    /// For `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    pub fn unsigned_with_trailer() -> Self {
        Self {
            chain: None,
            has_trailer: true,
        }
    }

    /// One chunk with `data`, in the three pieces to send: line, data, line end.
    pub fn chunk(&mut self, data: Bytes) -> Result<[Bytes; 3], EncodeError> {
        if data.is_empty() {
            return Err(EncodeError::EmptyChunk);
        }
        let line = self.line(&data);
        Ok([line, data, Bytes::from_static(b"\r\n")])
    }

    /// The last chunk and the trailer; `checksum` is left out where the mode has no trailer.
    pub fn finish(mut self, checksum: Option<Value>) -> Bytes {
        let mut end = self.line(&[]).to_vec();
        if self.has_trailer {
            let mut canonical = String::new();
            if let Some(value) = checksum {
                let field = format!("{}:{}", value.algorithm().header_name(), value.to_base64());
                end.extend_from_slice(format!("{field}\r\n").as_bytes());
                canonical = format!("{field}\n");
            }
            if let Some(chain) = self.chain {
                let signature = chain.trailer(&Sha256::digest(canonical).into());
                let field = format!("x-amz-trailer-signature:{}\r\n", HEXLOWER.encode(&signature));
                end.extend_from_slice(field.as_bytes());
            }
        }
        end.extend_from_slice(b"\r\n");
        end.into()
    }

    fn line(&mut self, data: &[u8]) -> Bytes {
        let length = data.len();
        match &mut self.chain {
            None => format!("{length:x}\r\n").into(),
            Some(chain) => {
                let signature = chain.next_chunk(&Sha256::digest(data).into());
                format!("{length:x};chunk-signature={}\r\n", HEXLOWER.encode(&signature)).into()
            }
        }
    }
}
