//! Bodies of requests.
//!
//! What lives here: content on its way out, plain or aws-chunked, and its digests. What must not: signing.
//! Invariant: the announced length is the length of what is sent, and no more than a few pieces of a large
//! body are in memory at a time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sceau_s3wire::checksum::{Algorithm, Hasher};
use sceau_s3wire::payload::ChunkEncoder;
use sha2::{Digest, Sha256};
use tokio::time::Sleep;

use crate::content::Content;

/// Largest body that is made before the clock starts, bytes; larger ones are made while they are sent.
const READY_BYTES_MAX: u64 = 4 << 20;
/// Piece in which a larger body is made, bytes.
const PIECE_BYTES: u64 = 128 << 10;
/// Content of an aws-chunked chunk, bytes: what SDKs use.
pub const CHUNK_BYTES: u64 = 64 << 10;
/// Checksum of the trailer.
pub const TRAILER_ALGORITHM: Algorithm = Algorithm::Crc64Nvme;
/// Length of `;chunk-signature=` and a signature in hexadecimal.
const SIGNATURE_BYTES: u64 = 17 + 64;

/// What is to be sent.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// These bytes.
    Ready(Bytes),
    /// Part of a content that is made when it is needed.
    Drawn {
        /// The content.
        content: Content,
        /// Where it starts.
        offset: u64,
        /// How long it is.
        length: u64,
    },
}

impl Payload {
    /// `length` bytes of a content.
    pub fn of(content: Content, offset: u64, length: u64) -> Self {
        let drawn = Self::Drawn {
            content,
            offset,
            length,
        };
        match usize::try_from(length) {
            Ok(size) if length <= READY_BYTES_MAX => Self::Ready(content.bytes_at(offset, size).into()),
            _ => drawn,
        }
    }

    /// How many bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Ready(bytes) => bytes.len() as u64,
            Self::Drawn { length, .. } => *length,
        }
    }

    /// SHA-256 of all.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut rest = self.clone();
        while let Some(piece) = rest.next(PIECE_BYTES) {
            hash.update(&piece);
        }
        hash.finalize().into()
    }

    /// MD5 of all, as `Content-MD5` carries it.
    pub fn md5(&self) -> String {
        let mut hash = Hasher::new(Algorithm::Md5);
        let mut rest = self.clone();
        while let Some(piece) = rest.next(PIECE_BYTES) {
            hash.update(&piece);
        }
        hash.finish().to_base64()
    }

    fn next(&mut self, most: u64) -> Option<Bytes> {
        match self {
            Self::Empty => None,
            Self::Ready(bytes) => {
                let take = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
                let piece = bytes.split_to(take);
                (!piece.is_empty()).then_some(piece)
            }
            Self::Drawn {
                content,
                offset,
                length,
            } => {
                let take = (*length).min(most);
                let piece = content.bytes_at(*offset, usize::try_from(take).unwrap_or(0));
                *offset = offset.saturating_add(take);
                *length = length.saturating_sub(take);
                (!piece.is_empty()).then(|| piece.into())
            }
        }
    }
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As it is.
    Plain,
    /// aws-chunked.
    Chunked {
        /// Whether each chunk is signed.
        is_signed: bool,
        /// Whether a checksum follows.
        has_trailer: bool,
    },
}

impl Framing {
    /// Bytes on the wire of content of this length.
    pub fn wire_length(self, length: u64) -> u64 {
        let Self::Chunked {
            is_signed,
            has_trailer,
        } = self
        else {
            return length;
        };
        let signature = if is_signed { SIGNATURE_BYTES } else { 0 };
        let line = |length: u64| hex_digits(length).saturating_add(signature).saturating_add(2);
        let whole = length / CHUNK_BYTES;
        let rest = length % CHUNK_BYTES;
        let mut wire = whole.saturating_mul(line(CHUNK_BYTES).saturating_add(CHUNK_BYTES).saturating_add(2));
        if rest > 0 {
            wire = wire
                .saturating_add(line(rest))
                .saturating_add(rest)
                .saturating_add(2);
        }
        wire = wire.saturating_add(line(0)).saturating_add(2);
        if has_trailer {
            let name = TRAILER_ALGORITHM.header_name().len() as u64;
            let value = TRAILER_ALGORITHM.digest_bytes().div_ceil(3).saturating_mul(4) as u64;
            wire = wire
                .saturating_add(name)
                .saturating_add(1)
                .saturating_add(value)
                .saturating_add(2);
            if is_signed {
                let field = "x-amz-trailer-signature:".len() as u64;
                wire = wire.saturating_add(field).saturating_add(64).saturating_add(2);
            }
        }
        wire
    }
}

fn hex_digits(number: u64) -> u64 {
    u64::from(
        u64::BITS
            .saturating_sub(number.leading_zeros())
            .div_ceil(4)
            .max(1),
    )
}

/// A body on its way.
pub struct Outgoing {
    payload: Payload,
    piece_bytes: u64,
    framing: Option<(ChunkEncoder, Hasher)>,
    queue: VecDeque<Bytes>,
    left: u64,
    throttle: Option<Throttle>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// Keeps to a rate.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    bytes_per_second: u64,
    start: Instant,
    moved: u64,
}

impl Throttle {
    /// From now on.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            start: Instant::now(),
            moved: 0,
        }
    }

    /// Counts bytes; gives when the next ones may move.
    pub fn count(&mut self, bytes: usize) -> Instant {
        self.moved = self.moved.saturating_add(bytes as u64);
        let due = Duration::from_secs_f64(self.moved as f64 / self.bytes_per_second.max(1) as f64);
        self.start.checked_add(due).unwrap_or(self.start)
    }
}

impl Outgoing {
    /// The payload as it is.
    pub fn plain(payload: Payload, throttle: Option<u64>) -> Self {
        Self {
            throttle: throttle.map(Throttle::new),
            pause: None,
            left: payload.length(),
            piece_bytes: match payload {
                Payload::Ready(_) if throttle.is_some() => PIECE_BYTES,
                Payload::Drawn { .. } => PIECE_BYTES,
                Payload::Empty | Payload::Ready(_) => u64::MAX,
            },
            payload,
            framing: None,
            queue: VecDeque::new(),
        }
    }

    /// The payload in chunks; `wire_length` comes from [`Framing::wire_length`].
    pub fn chunked(payload: Payload, encoder: ChunkEncoder, wire_length: u64, throttle: Option<u64>) -> Self {
        Self {
            throttle: throttle.map(Throttle::new),
            pause: None,
            payload,
            piece_bytes: CHUNK_BYTES,
            framing: Some((encoder, Hasher::new(TRAILER_ALGORITHM))),
            queue: VecDeque::new(),
            left: wire_length,
        }
    }

    fn step(&mut self) {
        let piece = self.payload.next(self.piece_bytes);
        match (piece, self.framing.take()) {
            (Some(piece), None) => self.queue.push_back(piece),
            (Some(piece), Some((mut encoder, mut hasher))) => {
                hasher.update(&piece);
                // An empty chunk, the only error, does not come from `next`.
                self.queue.extend(encoder.chunk(piece).into_iter().flatten());
                self.framing = Some((encoder, hasher));
            }
            (None, Some((encoder, hasher))) => self.queue.push_back(encoder.finish(Some(hasher.finish()))),
            (None, None) => {}
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.queue.is_empty() {
            self.step();
        }
        let piece = self.queue.pop_front();
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = self.left.saturating_sub(length);
        if let Some(throttle) = &mut self.throttle {
            let next = throttle.count(usize::try_from(length).unwrap_or(0));
            self.pause = Some(Box::pin(tokio::time::sleep_until(next.into())));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sceau_s3wire::checksum;

    fn collect(mut body: Outgoing) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            bytes.extend_from_slice(&frame.into_data().unwrap());
        }
        assert!(body.is_end_stream());
        bytes
    }

    #[test]
    fn a_body_made_on_the_way_is_the_one_made_before() {
        let content = Content::new(1, 2);
        let length = READY_BYTES_MAX + 12_345;
        let drawn = Payload::of(content, 7, length);
        assert!(matches!(drawn, Payload::Drawn { .. }));
        let whole = content.bytes_at(7, length as usize);
        assert_eq!(drawn.sha256(), <[u8; 32]>::from(Sha256::digest(&whole)));
        assert_eq!(drawn.md5(), checksum::md5_base64(&whole));
        assert!(collect(Outgoing::plain(drawn, None)) == whole);
    }

    #[tokio::test]
    async fn a_throttled_body_takes_its_time() {
        use http_body_util::BodyExt;
        let start = Instant::now();
        let payload = Payload::of(Content::new(1, 2), 0, 1 << 20);
        let body = Outgoing::plain(payload, Some(8 << 20));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 1 << 20);
        // The last piece leaves when those before it had their time.
        assert!(start.elapsed() >= Duration::from_millis(109));
    }

    #[test]
    fn a_chunked_body_is_as_long_as_announced() {
        for length in [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 300_000] {
            let framing = Framing::Chunked {
                is_signed: false,
                has_trailer: true,
            };
            let payload = Payload::of(Content::new(1, 2), 0, length);
            let wire = framing.wire_length(length);
            let body = Outgoing::chunked(payload, ChunkEncoder::unsigned_with_trailer(), wire, None);
            assert_eq!(collect(body).len() as u64, wire, "{length}");
        }
    }
}
