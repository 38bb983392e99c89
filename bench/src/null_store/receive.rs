//! Bodies coming in.
//!
//! What lives here: reading a body into blocks that are used again. What must not: names of objects.
//! Invariant: each byte is copied once, into memory that is warm; fresh pages from the kernel for each upload
//! would cost more than everything else that this store does.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::chunked::Deframer;

/// Size of a block, bytes.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bodies up to this size are kept in memory of their own size, bytes.
const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// Largest document that is read as a whole, bytes (a completion of 10 000 parts is below 2 MiB).
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Blocks that are not in use.
#[derive(Clone, Default)]
pub struct Blocks(Arc<Mutex<Vec<Vec<u8>>>>);

impl Blocks {
    fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }
}

/// A block that goes back when nobody reads it any more.
struct Block {
    bytes: Vec<u8>,
    blocks: Blocks,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.blocks.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(bytes);
    }
}

/// A received body.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// Its bytes in order.
    pub pieces: Vec<Bytes>,
    /// How many they are.
    pub length: u64,
}

impl Content {
    /// Adds the bytes of another one.
    pub fn append(&mut self, other: &Self) {
        self.pieces.extend(other.pieces.iter().cloned());
        self.length = self.length.saturating_add(other.length);
    }

    /// The bytes from `first` to `last`, included.
    pub fn cut(&self, first: u64, last: u64) -> Self {
        let mut cut = Self::default();
        let mut at = 0_u64;
        for piece in &self.pieces {
            let end = at.saturating_add(piece.len() as u64);
            let from = first.max(at).saturating_sub(at);
            let to = last.saturating_add(1).min(end).saturating_sub(at);
            if from < to {
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
                cut.pieces.push(piece.slice(range));
                cut.length = cut.length.saturating_add(to.saturating_sub(from));
            }
            at = end;
        }
        cut
    }
}

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreceived {
    /// It broke off, or its framing is wrong.
    Broken,
    /// A document above the bound.
    TooLarge,
}

/// Collects content.
struct Collector<'b> {
    blocks: &'b Blocks,
    open: Option<Vec<u8>>,
    content: Content,
    is_kept: bool,
}

impl Collector<'_> {
    fn add(&mut self, mut bytes: &[u8]) {
        self.content.length = self.content.length.saturating_add(bytes.len() as u64);
        if !self.is_kept {
            return;
        }
        while !bytes.is_empty() {
            let block = self.open.get_or_insert_with(|| self.blocks.take());
            let room = BLOCK_BYTES.saturating_sub(block.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            block.extend_from_slice(now);
            bytes = later;
            if block.len() >= BLOCK_BYTES {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        if let Some(bytes) = self.open.take() {
            let blocks = self.blocks.clone();
            self.content
                .pieces
                .push(Bytes::from_owner(Block { bytes, blocks }));
        }
    }

    fn finish(mut self) -> Content {
        self.close();
        self.content
    }
}

/// Reads the body of an object or part. With `limit`, a longer one is read and dropped, and has no pieces.
pub async fn content(
    headers: &HeaderMap,
    mut body: Incoming,
    blocks: &Blocks,
    limit: u64,
) -> Result<Content, Unreceived> {
    let framed = headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    let announced = body.size_hint().exact();
    let mut deframer = framed.then(Deframer::new);
    let is_small = announced.is_some_and(|length| length <= SMALL_BYTES_MAX);
    let mut collector = Collector {
        blocks,
        open: is_small.then(|| Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0))),
        content: Content::default(),
        is_kept: announced.is_none_or(|length| length <= limit),
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreceived::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        match &mut deframer {
            None => collector.add(data),
            Some(deframer) => deframer
                .push(data, |bytes| collector.add(bytes))
                .map_err(|_| Unreceived::Broken)?,
        }
    }
    if deframer.is_some_and(|deframer| !deframer.is_complete()) {
        return Err(Unreceived::Broken);
    }
    if let Some(small) = collector.open.take_if(|_| is_small)
        && !small.is_empty()
    {
        collector.content.pieces.push(Bytes::from(small));
    }
    Ok(collector.finish())
}

/// Reads a small document whole.
pub async fn document(mut body: Incoming) -> Result<Vec<u8>, Unreceived> {
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreceived::Broken)?;
        document.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(Unreceived::TooLarge);
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_the_slice_of_the_whole() {
        let whole: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let pieces = whole.chunks(300).map(Bytes::copy_from_slice).collect();
        let content = Content { pieces, length: 1000 };
        for (first, last) in [(0, 999), (0, 0), (299, 300), (300, 599), (250, 950), (999, 999)] {
            let cut = content.cut(first, last);
            assert_eq!(cut.pieces.concat(), whole[first as usize..=last as usize]);
            assert_eq!(cut.length, last - first + 1);
        }
    }

    #[test]
    fn a_block_is_used_again_when_its_last_reader_is_gone() {
        let blocks = Blocks::default();
        let collect = |byte| {
            let mut collector = Collector {
                blocks: &blocks,
                open: None,
                content: Content::default(),
                is_kept: true,
            };
            collector.add(&vec![byte; BLOCK_BYTES + 10]);
            collector.finish()
        };
        let first = collect(1);
        let address = first.pieces[0].as_ptr();
        let reader = first.pieces[0].clone();
        drop(first);
        let second = collect(2);
        assert!(second.pieces.iter().all(|piece| piece.as_ptr() != address));
        assert!(reader.iter().all(|byte| *byte == 1));
        drop(reader);
        assert!(collect(3).pieces.iter().any(|piece| piece.as_ptr() == address));
    }
}
