//! A response of the store.
//!
//! What lives here: [`StoreResponse`] and its body, with its idle timer. What must not: the meaning
//! of statuses. Invariant: a body that is shorter than the store promised ends in an error, never
//! in a clean end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::body::UploadGuard;
use super::error::{StoreError, Wait};

/// A response of the store: the head is here, the body is still to be read.
pub struct StoreResponse {
    /// Status and headers as received.
    pub head: Parts,
    /// The body; dropping it closes the connection unless it was read to its end.
    pub body: StoreResponseBody,
}

impl StoreResponse {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above `max_bytes`; otherwise what reading a body can give.
    pub async fn collect(mut self, max_bytes: usize) -> Result<(Parts, Bytes), StoreError> {
        let bytes = self.body.read_up_to(max_bytes).await?;
        if bytes.is_none() {
            return Err(StoreError::TooLarge {
                limit_bytes: max_bytes,
            });
        }
        Ok((self.head, bytes.unwrap_or_default()))
    }

    /// Reads up to `max_bytes` of the body ahead and leaves them in place, so that the whole can
    /// still be passed on. Stores send errors in chunks, so the length is not known before.
    pub(super) async fn peek(&mut self, max_bytes: usize) -> Result<Bytes, StoreError> {
        let mut ahead = BytesMut::new();
        while ahead.len() < max_bytes
            && let Some(frame) = self.body.frame().await
        {
            if let Ok(data) = frame?.into_data() {
                ahead.extend_from_slice(&data);
            }
        }
        let ahead = ahead.freeze();
        self.body.prefix = Some(ahead.clone()).filter(|bytes| !bytes.is_empty());
        Ok(ahead)
    }
}

/// The body of a response.
pub struct StoreResponseBody {
    /// Bytes that were read ahead.
    prefix: Option<Bytes>,
    /// The connection's end; `None` when it is used up.
    live: Option<Live>,
    received: u64,
}

struct Live {
    incoming: Incoming,
    idle_read: Duration,
    /// Armed while the store owes bytes; a slow consumer does not run it down.
    timer: Option<Pin<Box<Sleep>>>,
    // Dropped after `incoming`: first the answer goes, then the connection, then its place.
    _upload: Option<UploadGuard>,
    _permit: OwnedSemaphorePermit,
}

impl StoreResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        idle_read: Duration,
        upload: Option<UploadGuard>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let live = Live {
            incoming,
            idle_read,
            timer: None,
            _upload: upload,
            _permit: permit,
        };
        let mut body = Self {
            prefix: None,
            live: Some(live),
            received: 0,
        };
        body.settle();
        body
    }

    /// Bytes received from the store so far.
    pub fn bytes_received(&self) -> u64 {
        self.received
    }

    /// `None` when the body is longer than `max_bytes`.
    async fn read_up_to(&mut self, max_bytes: usize) -> Result<Option<Bytes>, StoreError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > max_bytes.saturating_sub(whole.len()) {
                return Ok(None);
            }
            whole.extend_from_slice(&data);
        }
        Ok(Some(whole.freeze()))
    }

    /// Lets go of the connection as soon as its answer is complete.
    fn settle(&mut self) {
        if self
            .live
            .as_ref()
            .is_some_and(|live| live.incoming.is_end_stream())
        {
            self.live = None;
        }
    }
}

impl Live {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        if let Poll::Ready(item) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.timer = None;
            return Poll::Ready(item.map(|frame| frame.map_err(|error| read_fault(&error))));
        }
        let idle_read = self.idle_read;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_read)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(StoreError::Timeout(Wait::Idle))))
    }
}

fn read_fault(error: &hyper::Error) -> StoreError {
    if error.is_parse() {
        StoreError::Protocol("malformed response body")
    } else {
        StoreError::Reset { body_sent: true }
    }
}

impl Body for StoreResponseBody {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        if let Some(prefix) = self.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(prefix))));
        }
        let Some(live) = &mut self.live else {
            return Poll::Ready(None);
        };
        let item = ready!(live.poll(cx));
        match &item {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.received = self.received.saturating_add(bytes as u64);
                self.settle();
            }
            Some(Err(_)) | None => self.live = None,
        }
        Poll::Ready(item)
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.live.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.prefix.as_ref().map_or(0, |prefix| prefix.len() as u64);
        match &self.live {
            None => SizeHint::with_exact(ahead),
            Some(live) if ahead == 0 => live.incoming.size_hint(),
            // Read ahead of a longer body: what is left is not counted, only bounded below.
            Some(_) => {
                let mut hint = SizeHint::new();
                hint.set_lower(ahead);
                hint
            }
        }
    }
}
