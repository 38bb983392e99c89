//! The body of one request on its way to the store.
//!
//! What lives here: [`Upload`], shared between the connection (which pulls frames) and the sender
//! (which watches progress), and the two ends it can come to. What must not: where the bytes come
//! from. Invariant: the stream ends well only after exactly the declared number of bytes; in every
//! other case it ends in an error, and the connection is closed short of its `Content-Length`.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use tokio::time::Instant;

use super::request::StoreBody;

/// Why a body ended early. It carries no reason of its source: the caller that made the source keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The request was given up.
    Dropped,
    /// The source yields more bytes than declared.
    Long,
    /// The source ended short of its declared length.
    Short,
    /// The source failed.
    Source,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "the request was given up",
            Self::Long => "the source yields more bytes than declared",
            Self::Short => "the source ended short of its declared length",
            Self::Source => "the source of the body failed",
        })
    }
}

impl std::error::Error for BodyError {}

/// One sending of one body.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<State>>);

struct State {
    source: Source,
    phase: Phase,
    length: u64,
    sent: u64,
    polled: bool,
    source_failed: bool,
    waiting_on_source: bool,
    progress: Instant,
    waker: Option<Waker>,
}

enum Source {
    Bytes(Bytes),
    None,
    Stream(BoxBody<Bytes, BodyError>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Frames flow.
    Running,
    /// The store has answered: no more frames, but the connection stays for its answer.
    Held,
    /// The connection must go.
    Dropped,
}

impl Upload {
    /// Starts a sending. A stream is moved out of `body`; [`Self::give_back`] returns it.
    pub(super) fn start(body: &mut StoreBody) -> Self {
        let (source, length) = match body {
            StoreBody::Empty => (Source::None, 0),
            StoreBody::Bytes(bytes) => (Source::Bytes(bytes.clone()), bytes.len() as u64),
            StoreBody::Stream { length, .. } => {
                let length = *length;
                match std::mem::replace(body, StoreBody::Empty) {
                    StoreBody::Stream { body, .. } => (Source::Stream(body), length),
                    StoreBody::Bytes(_) | StoreBody::Empty => (Source::None, length),
                }
            }
        };
        Self(Arc::new(Mutex::new(State {
            source,
            phase: Phase::Running,
            length,
            sent: 0,
            polled: false,
            source_failed: false,
            waiting_on_source: false,
            progress: Instant::now(),
            waker: None,
        })))
    }

    /// The end that the connection pulls from.
    pub(super) fn frames(&self) -> RequestBody {
        RequestBody(self.clone())
    }

    /// Ends this sending and puts an untouched stream back into `body`. True when `body` can be
    /// sent (again) from its first byte.
    pub(super) fn give_back(&self, body: &mut StoreBody) -> bool {
        let mut state = self.state();
        match std::mem::replace(&mut state.source, Source::None) {
            Source::Stream(stream) if !state.polled => {
                *body = StoreBody::Stream {
                    length: state.length,
                    body: stream,
                };
                true
            }
            Source::Stream(_) => false,
            // A stream that was begun leaves `Empty` behind, and has a length.
            Source::Bytes(_) | Source::None => match body {
                StoreBody::Empty => state.length == 0,
                StoreBody::Bytes(_) => true,
                StoreBody::Stream { .. } => false,
            },
        }
    }

    /// Stops the frames because the response head is here. True when the body was complete.
    pub(super) fn hold(&self) -> bool {
        let mut state = self.state();
        if state.sent == state.length {
            return true;
        }
        state.phase = Phase::Held;
        if state.polled {
            state.source = Source::None;
        }
        false
    }

    /// Makes the connection close unless the body is complete.
    pub(super) fn drop_connection(&self) {
        let mut state = self.state();
        if state.sent != state.length {
            state.phase = Phase::Dropped;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// Whether the connection has asked for any frame.
    pub(super) fn was_polled(&self) -> bool {
        self.state().polled
    }

    /// Whether the source broke its promise or failed.
    pub(super) fn source_failed(&self) -> bool {
        self.state().source_failed
    }

    /// Returns when the store has taken no byte, and owed the next step, for `limit`. Time spent
    /// waiting for the source does not count: whoever made the source watches it.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let deadline = {
                let state = self.state();
                let since = if state.waiting_on_source {
                    now
                } else {
                    state.progress
                };
                since.checked_add(limit).unwrap_or(now)
            };
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match &mut self.source {
            Source::None => Poll::Ready(None),
            Source::Bytes(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Source::Stream(stream) => loop {
                let frame = match ready!(Pin::new(&mut *stream).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => frame,
                };
                // Trailers mean nothing to a store without chunked framing.
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Poll::Ready(Some(Ok(data)));
                }
            },
        }
    }

    fn next_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.polled = true;
        let item = match self.poll_source(cx) {
            Poll::Pending => {
                self.waiting_on_source = true;
                return Poll::Pending;
            }
            Poll::Ready(item) => item,
        };
        self.waiting_on_source = false;
        self.progress = Instant::now();
        match item {
            Some(Ok(data)) if data.len() as u64 <= self.length.saturating_sub(self.sent) => {
                self.sent = self.sent.saturating_add(data.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Ok(_)) => Poll::Ready(Some(Err(self.fail(BodyError::Long)))),
            Some(Err(error)) => Poll::Ready(Some(Err(self.fail(error)))),
            None => Poll::Ready(Some(Err(self.fail(BodyError::Short)))),
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.source_failed = true;
        self.source = Source::None;
        self.phase = Phase::Dropped;
        error
    }
}

/// The end of an [`Upload`] that the connection pulls from.
pub(super) struct RequestBody(Upload);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.state();
        if state.sent == state.length {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        match state.phase {
            Phase::Running => state.next_frame(cx),
            Phase::Held => Poll::Pending,
            Phase::Dropped => Poll::Ready(Some(Err(BodyError::Dropped))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state();
        state.sent == state.length
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.state();
        SizeHint::with_exact(state.length.saturating_sub(state.sent))
    }
}

/// Makes the connection of an unfinished upload close when the answer is read or given up.
pub(super) struct UploadGuard(pub(super) Upload);

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.0.drop_connection();
    }
}
