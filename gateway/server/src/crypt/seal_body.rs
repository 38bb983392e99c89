//! Plaintext in, a sealed store body out.
//!
//! What lives here: [`SealSource`], which pulls plaintext, seals it segment by segment and ends with
//! the trailer where there is one, and [`SealedBody`], a stretch of it as a body for the store. What
//! must not: headers, the store's answer. Invariant: the last frame of an upload is made only after
//! the plaintext's source proved that everything the client promised about it holds; until then the
//! store has fewer bytes than it was promised and cannot commit.
//!
//! Cancel safety: dropping a body drops the client's and the store's connections; the store is left
//! with a request short of its length.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use sceau_envelope::seal::{BodySealer, SegmentBuf};
use sceau_envelope::secrets::{FloeIv, ObjectSecrets, PartNumber};
use sceau_envelope::trailer::Manifest;
use sceau_envelope::{Checksum, Engine};
use sceau_s3wire::checksum::{Algorithm, Hasher, Value};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::payload::{PayloadReader, VerifiedPayload};

use crate::crypt::open_body::PlainBody;
use crate::error::{GatewayError, Kind, Result};
use crate::patience::{Patience, Watch};
use crate::plan::fault;
use crate::plan::metadata::WholeChecksum;
use crate::record::ByteCount;
use crate::upstream::BodyError;

/// Where plaintext comes from.
pub enum PlainSource {
    /// A client's request body.
    Client(Box<ClientBody>),
    /// A stored object, opened: the source of a part copy.
    Stored(Box<PlainBody>),
    /// Nothing: an empty object.
    Empty,
}

/// A client's request body behind its framing and its integrity checks.
pub struct ClientBody {
    incoming: Incoming,
    reader: Option<PayloadReader>,
    watch: Watch,
    count: ByteCount,
}

impl ClientBody {
    /// A body that is read through `reader` from a client that is granted `patience`.
    pub fn new(incoming: Incoming, reader: PayloadReader, patience: Patience, count: ByteCount) -> Self {
        Self {
            incoming,
            reader: Some(reader),
            watch: Watch::new(patience),
            count,
        }
    }

    /// The next decoded plaintext; `None` at the end of the body.
    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let Some(reader) = &mut self.reader else {
                return Poll::Ready(None);
            };
            match reader.next() {
                Err(error) => return Poll::Ready(Some(Err(fault::payload_error(&error)))),
                Ok(Some(plain)) => return Poll::Ready(Some(Ok(plain))),
                Ok(None) => {}
            }
            match ready!(self.poll_incoming(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(data)) => self.push(data),
            }
        }
    }

    fn push(&mut self, data: Bytes) {
        self.count.add(data.len());
        if let Some(reader) = &mut self.reader {
            reader.push(data);
        }
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
                ready!(self.watch.poll_late(context));
                return Poll::Ready(Some(Err(GatewayError::code(ErrorCode::RequestTimeout))));
            };
            return Poll::Ready(match frame {
                None => None,
                Some(Err(error)) => Some(Err(gone(&error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => {
                        self.watch.moved(data.len());
                        Some(Ok(data))
                    }
                    // HTTP trailers carry nothing that S3 defines: its trailers are inside the body.
                    Err(_trailers) => continue,
                },
            });
        }
    }

    /// The verdict over the whole body, once.
    fn finish(&mut self) -> Result<VerifiedPayload> {
        let reader = self
            .reader
            .take()
            .ok_or_else(|| GatewayError::new(Kind::Internal, "a body ended twice"))?;
        reader.finish().map_err(|error| fault::payload_error(&error))
    }

    /// Reads a small body whole. More than `bytes_max` is refused.
    pub async fn collect(mut self, bytes_max: usize) -> Result<(Bytes, VerifiedPayload)> {
        let mut whole = bytes::BytesMut::new();
        while let Some(plain) = std::future::poll_fn(|context| self.poll_plain(context)).await {
            let plain = plain?;
            if whole.len().saturating_add(plain.len()) > bytes_max {
                return Err(GatewayError::code(ErrorCode::MaxMessageLengthExceeded));
            }
            whole.extend_from_slice(&plain);
        }
        let verified = self.finish()?;
        Ok((whole.freeze(), verified))
    }
}

/// hyper's error of a request body: the connection broke, or the chunked framing is wrong. Either
/// way fewer bytes arrived than were announced.
fn gone(error: &hyper::Error) -> GatewayError {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return GatewayError::new(Kind::ClientGone, error.to_string());
    }
    let mut answer = GatewayError::code(ErrorCode::IncompleteBody);
    answer.context = error.to_string().into();
    answer
}

/// What is known once a body was sealed whole.
#[derive(Clone)]
pub struct SealedFacts {
    /// Checksums of the plaintext that the client sent and that were verified.
    pub checksums: Vec<Value>,
    /// The checksum that the upload announced.
    pub announced: Option<Value>,
    /// CRC-64/NVME of the plaintext.
    pub crc64: Value,
}

/// How a sealing ended. Shared between the body, which the store client owns, and the request.
#[derive(Default)]
enum Ending {
    #[default]
    Open,
    Sealed(SealedFacts),
    Failed(GatewayError),
}

/// The request's view of a sealing under way.
#[derive(Clone, Default)]
pub struct Sealing(Arc<Mutex<Ending>>);

impl Sealing {
    /// The error that ended the sealing, if one did.
    pub fn error(&self) -> Option<GatewayError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Ending::Failed(error) => Some(error.clone()),
            Ending::Open | Ending::Sealed(_) => None,
        }
    }

    /// What became known of the plaintext; an error unless the whole of it was sealed.
    pub fn facts(&self) -> Result<SealedFacts> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Ending::Sealed(facts) => Ok(facts.clone()),
            Ending::Failed(error) => Err(error.clone()),
            Ending::Open => Err(GatewayError::new(
                Kind::StoreProtocol,
                "the store accepted an unfinished body",
            )),
        }
    }

    fn end(&self, ending: Ending) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ending;
    }
}

/// What follows the part.
pub enum Tail {
    /// Nothing: a part of an upload.
    Nothing,
    /// The trailer of an object of one part.
    SingleTrailer {
        /// Checksum that the object header carries already, if any.
        is_checksum_in_header: bool,
    },
    /// Bytes that were made before: the trailer of an upload behind its last part.
    Made(Bytes),
}

enum Step {
    Header,
    Segments,
    Tail,
    Done,
}

/// Seals one part as its bytes are pulled.
pub struct SealSource {
    plain: PlainSource,
    engine: Engine,
    secrets: Arc<ObjectSecrets>,
    sealer: BodySealer,
    plain_len: u64,
    taken: u64,
    frame: Bytes,
    segment: SegmentBuf,
    crc64: Option<Hasher>,
    announced: Option<Hasher>,
    tail: Tail,
    facts: Option<SealedFacts>,
    step: Step,
    sealing: Sealing,
}

/// What to seal.
pub struct SealInput {
    /// Where the plaintext comes from.
    pub plain: PlainSource,
    /// Its exact length in bytes.
    pub plain_len: u64,
    /// The object's secrets.
    pub secrets: Arc<ObjectSecrets>,
    /// The part's number.
    pub part: PartNumber,
    /// What follows the part.
    pub tail: Tail,
    /// The checksum that the upload announced, to be computed.
    pub announced: Option<Algorithm>,
}

impl SealSource {
    /// Starts sealing. Fails only for a length that the format does not have, or without randomness.
    pub fn new(engine: &Engine, input: SealInput) -> Result<Self> {
        let sealer = BodySealer::new(engine, &input.secrets, input.part, input.plain_len)
            .map_err(fault::seal_error)?;
        Ok(Self {
            plain: input.plain,
            engine: engine.clone(),
            secrets: input.secrets,
            sealer,
            plain_len: input.plain_len,
            taken: 0,
            frame: Bytes::new(),
            segment: SegmentBuf::new(),
            crc64: Some(Hasher::new(Algorithm::Crc64Nvme)),
            announced: input.announced.map(Hasher::new),
            tail: input.tail,
            facts: None,
            step: Step::Header,
            sealing: Sealing::default(),
        })
    }

    /// The part's FLOE IV.
    pub fn iv(&self) -> FloeIv {
        self.sealer.iv()
    }

    /// The request's view of this sealing.
    pub fn sealing(&self) -> Sealing {
        self.sealing.clone()
    }

    fn poll_sealed(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let polled = ready!(self.poll_step(context));
        if let Some(Err(error)) = &polled {
            self.sealing.end(Ending::Failed(error.clone()));
            self.step = Step::Done;
        }
        Poll::Ready(polled)
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.step {
            Step::Header => {
                self.step = Step::Segments;
                Poll::Ready(Some(Ok(Bytes::copy_from_slice(&self.sealer.header()))))
            }
            Step::Segments => self.poll_segment(context).map(Some),
            Step::Tail => {
                let tail = self.make_tail();
                self.step = Step::Done;
                Poll::Ready(tail.transpose())
            }
            Step::Done => Poll::Ready(None),
        }
    }

    fn poll_segment(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes>> {
        while self.segment.len() < self.sealer.next_len() {
            if self.frame.is_empty() {
                match ready!(self.plain.poll_plain(context)) {
                    Some(plain) => self.take_frame(plain?)?,
                    None => return Poll::Ready(Err(self.plain.ended_early())),
                }
            }
            self.segment.fill(&mut self.frame);
        }
        let is_last = self.taken == self.plain_len && self.frame.is_empty();
        if is_last {
            ready!(self.poll_verdict(context))?;
        }
        let segment = std::mem::take(&mut self.segment);
        let sealed = self.sealer.seal(segment).map_err(fault::seal_error)?;
        if self.sealer.is_done() {
            self.step = Step::Tail;
            if matches!(self.tail, Tail::Nothing) {
                // Nobody asks for more once the announced length is out: this was the last frame.
                self.step = Step::Done;
                self.make_tail()?;
            }
        }
        Poll::Ready(Ok(sealed))
    }

    fn take_frame(&mut self, plain: Bytes) -> Result<()> {
        self.taken = self.taken.saturating_add(plain.len() as u64);
        if self.taken > self.plain_len {
            return Err(GatewayError::client(
                ErrorCode::IncompleteBody,
                "the body is longer than announced",
            ));
        }
        if let Some(crc64) = &mut self.crc64 {
            crc64.update(&plain);
        }
        if let Some(announced) = &mut self.announced {
            announced.update(&plain);
        }
        self.frame = plain;
        Ok(())
    }

    /// All plaintext is in; waits for the end of its source and the verdict over it.
    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match ready!(self.plain.poll_plain(context)) {
            None => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(more)) => return Poll::Ready(self.take_frame(more)),
        }
        let checksums = self.plain.finish()?;
        let crc64 = self.crc64.take().map(Hasher::finish);
        let crc64 = crc64.ok_or_else(|| GatewayError::new(Kind::Internal, "a body was judged twice"))?;
        let announced = self.announced.take().map(Hasher::finish);
        self.facts = Some(SealedFacts {
            checksums,
            announced,
            crc64,
        });
        Poll::Ready(Ok(()))
    }

    fn make_tail(&mut self) -> Result<Option<Bytes>> {
        let facts = self
            .facts
            .take()
            .ok_or_else(|| GatewayError::new(Kind::Internal, "a tail before the verdict"))?;
        let tail = match std::mem::replace(&mut self.tail, Tail::Nothing) {
            Tail::Nothing => None,
            Tail::Made(bytes) => Some(bytes),
            Tail::SingleTrailer {
                is_checksum_in_header,
            } => {
                let checksum = if is_checksum_in_header {
                    None
                } else {
                    trailer_checksum(&facts)
                };
                let manifest = Manifest::single(self.plain_len, self.sealer.iv(), checksum)
                    .map_err(fault::seal_error)?;
                Some(
                    manifest
                        .seal_trailer(&self.engine, &self.secrets)
                        .map_err(fault::seal_error)?,
                )
            }
        };
        self.sealing.end(Ending::Sealed(facts));
        Ok(tail)
    }
}

/// What the manifest keeps: the client's own checksum if it sent one as a trailer, else ours.
fn trailer_checksum(facts: &SealedFacts) -> Option<Checksum> {
    let sealed = |value: &Value| WholeChecksum::Full(*value).to_sealed();
    // The format has no place behind the body for some of the algorithms.
    facts
        .checksums
        .first()
        .and_then(sealed)
        .or_else(|| sealed(&facts.crc64))
}

impl PlainSource {
    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self {
            Self::Client(body) => body.poll_plain(context),
            Self::Stored(body) => body.poll_plain(context),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn finish(&mut self) -> Result<Vec<Value>> {
        match self {
            Self::Client(body) => Ok(body
                .finish()?
                .checksums()
                .iter()
                .map(|checksum| checksum.value)
                .collect()),
            Self::Stored(_) | Self::Empty => Ok(Vec::new()),
        }
    }

    /// The source ended before its length. The client's own checks give the better reason.
    fn ended_early(&mut self) -> GatewayError {
        match self {
            Self::Client(body) => body
                .finish()
                .err()
                .unwrap_or_else(|| GatewayError::code(ErrorCode::IncompleteBody)),
            Self::Stored(_) | Self::Empty => GatewayError::new(Kind::Internal, "a source ended early"),
        }
    }
}

/// A stretch of a sealing as the body of one store request. One sealing may fill several requests,
/// one after the other.
pub struct SealedBody {
    source: Arc<Mutex<Stretch>>,
    left: u64,
}

/// A sealing shared by consecutive requests.
pub struct Stretch {
    source: SealSource,
    /// Sealed bytes that did not fit into the last request.
    rest: Bytes,
}

impl SealedBody {
    /// The whole of `source` is `stored_bytes` long and goes into one request.
    pub fn whole(source: SealSource, stored_bytes: u64) -> Self {
        Self::stretch(&Self::share(source), stored_bytes)
    }

    /// Makes `source` ready for several requests.
    pub fn share(source: SealSource) -> Arc<Mutex<Stretch>> {
        Arc::new(Mutex::new(Stretch {
            source,
            rest: Bytes::new(),
        }))
    }

    /// The next `stored_bytes` of a shared sealing.
    pub fn stretch(source: &Arc<Mutex<Stretch>>, stored_bytes: u64) -> Self {
        Self {
            source: Arc::clone(source),
            left: stored_bytes,
        }
    }
}

impl Body for SealedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        // Only one request at a time reads a shared sealing, so the lock is never waited for.
        let mut bytes = {
            let mut stretch = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            if stretch.rest.is_empty() {
                match ready!(stretch.source.poll_sealed(context)) {
                    Some(Ok(bytes)) => bytes,
                    // The reason is kept in the sealing, where the request finds it.
                    Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Source))),
                    None => return Poll::Ready(Some(Err(BodyError::Short))),
                }
            } else {
                std::mem::take(&mut stretch.rest)
            }
        };
        if bytes.len() as u64 > self.left {
            let here = usize::try_from(self.left).unwrap_or(bytes.len());
            let rest = bytes.split_off(here);
            self.source.lock().unwrap_or_else(PoisonError::into_inner).rest = rest;
        }
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
