//! A store's body in, verified plaintext out.
//!
//! What lives here: [`PlainBody`]. What must not: which range to ask for (`plan`), decryption rules
//! (`sceau-envelope`). Invariant: every byte handed on comes from a `VerifiedSegment`; the last bytes
//! of a whole read are held back until the trailer and the end of the store's body were checked too.
//!
//! Cancel safety: dropping the body at any time drops the store's connection; nothing is left behind.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use sceau_envelope::Manifest;
use sceau_envelope::open::{Need, Opener};

use crate::error::{GatewayError, Integrity, Kind, Result};
use crate::plan::fault;
use crate::upstream::StoreResponseBody;

/// What may follow the last needed byte in the store's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: exactly the needed range was asked for.
    Nothing,
    /// The end of the object, which an open-ended range brings along.
    Ignored,
}

/// Verified plaintext of one read.
pub struct PlainBody {
    source: StoreResponseBody,
    opener: Opener,
    rest: Rest,
    /// Received but not yet part of a unit.
    frame: Bytes,
    /// The unit being gathered: a part header, a segment or the trailer.
    unit: BytesMut,
    /// Plaintext that verified and may be handed on.
    ready: Option<Bytes>,
    /// The read's last plaintext, kept until everything after it verified.
    held: Option<Bytes>,
    remaining: u64,
    is_done: bool,
}

impl PlainBody {
    /// A body of `plain_bytes` of plaintext that `opener` will find in `source`.
    pub fn new(source: StoreResponseBody, opener: Opener, plain_bytes: u64, rest: Rest) -> Self {
        Self {
            source,
            opener,
            rest,
            frame: Bytes::new(),
            unit: BytesMut::new(),
            ready: None,
            held: None,
            remaining: plain_bytes,
            is_done: false,
        }
    }

    /// Plaintext bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The object's manifest, once a whole read has verified it: for an object of one segment that is as
    /// soon as the body is primed.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.opener.manifest()
    }

    /// Waits until the first plaintext verified, so that a damaged object is refused with an error
    /// document and not with a cut connection where that is possible.
    pub async fn prime(&mut self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_ready_plain(context)).await
    }

    /// The next verified plaintext; `None` at the end.
    pub fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Err(error) = ready!(self.poll_ready_plain(context)) {
            self.is_done = true;
            self.remaining = 0;
            return Poll::Ready(Some(Err(error)));
        }
        let Some(plain) = self.ready.take() else {
            return Poll::Ready(None);
        };
        self.remaining = self.remaining.saturating_sub(plain.len() as u64);
        Poll::Ready(Some(Ok(plain)))
    }

    /// Works until `ready` holds plaintext or the body is done.
    fn poll_ready_plain(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.ready.is_none() && !self.is_done {
            match self.opener.need() {
                Need::Exactly(bytes) => {
                    ready!(self.poll_gather(bytes, context))?;
                    self.supply()?;
                }
                Need::Done => {
                    ready!(self.poll_source_end(context))?;
                    self.is_done = true;
                    self.ready = self.held.take();
                    self.check_complete()?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_gather(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.unit.capacity() == 0 {
            self.unit.reserve(bytes);
        }
        loop {
            let missing = bytes.saturating_sub(self.unit.len());
            let take = missing.min(self.frame.len());
            // The one copy of the payload: units must be contiguous to be opened in place.
            self.unit.extend_from_slice(&self.frame.split_to(take));
            if self.unit.len() >= bytes {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_frame(context)) {
                Some(frame) => self.frame = frame?,
                None => {
                    let class = Integrity::Length;
                    return Poll::Ready(Err(GatewayError::integrity(
                        class,
                        "the store's body is too short",
                    )));
                }
            }
        }
    }

    fn supply(&mut self) -> Result<()> {
        let unit = std::mem::take(&mut self.unit);
        let segment = self.opener.supply(unit).map_err(fault::open_error)?;
        let Some(plain) = segment
            .map(|segment| segment.into_bytes())
            .filter(|plain| !plain.is_empty())
        else {
            return Ok(());
        };
        if plain.len() as u64 == self.remaining {
            self.held = Some(plain);
        } else {
            self.ready = Some(plain);
        }
        Ok(())
    }

    fn poll_source_end(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.rest == Rest::Ignored {
            return Poll::Ready(Ok(()));
        }
        let is_ended = self.frame.is_empty()
            && match ready!(self.poll_frame(context)) {
                None => true,
                Some(frame) => frame?.is_empty(),
            };
        Poll::Ready(if is_ended {
            Ok(())
        } else {
            Err(GatewayError::integrity(
                Integrity::Length,
                "the store's body is too long",
            ))
        })
    }

    fn check_complete(&self) -> Result<()> {
        let held = self.ready.as_ref().map_or(0, |plain| plain.len() as u64);
        if held == self.remaining {
            return Ok(());
        }
        Err(GatewayError::new(
            Kind::Internal,
            "an opened body does not have the planned length",
        ))
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.source).poll_frame(context)) {
                None => None,
                Some(Err(error)) => Some(Err(fault::store_error(&error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => Some(Ok(data)),
                    Err(_trailers) => continue,
                },
            });
        }
    }
}
