//! Responses: streams of stored bytes, XML documents, and errors.
//!
//! What lives here: the body type and small constructors. What must not: decisions. Invariant: a
//! stream that fails ends the connection, so a short answer is never taken for a whole one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use sceau_s3wire::error::{ErrorCode, S3ErrorBody};
use tokio::sync::mpsc;

/// The body of every response.
pub(crate) enum ResponseBody {
    /// A document, or nothing.
    Ready(Option<Bytes>),
    /// Stored bytes; the length is what the head declares.
    Stream {
        steps: mpsc::Receiver<io::Result<Bytes>>,
        left: u64,
    },
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            ResponseBody::Ready(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ResponseBody::Stream { steps, left } => steps.poll_recv(cx).map(|step| {
                let step = step?;
                if let Ok(bytes) = &step {
                    *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                }
                Some(step.map(Frame::data))
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Ready(None) => SizeHint::with_exact(0),
            ResponseBody::Ready(Some(bytes)) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            ResponseBody::Stream { left, .. } => SizeHint::with_exact(*left),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Ready(bytes) => bytes.is_none(),
            ResponseBody::Stream { left, .. } => *left == 0,
        }
    }
}

/// A response of the store.
pub(crate) type Answer = Response<ResponseBody>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(ResponseBody::Ready(None));
    *answer.status_mut() = status;
    answer
}

/// An XML document.
pub(crate) fn document(xml: Vec<u8>) -> Answer {
    let mut answer = Response::new(ResponseBody::Ready(Some(Bytes::from(xml))));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// An error document; a 304 has no body.
pub(crate) fn error(code: ErrorCode, resource: &str, request_id: &str) -> Answer {
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    let mut answer = document(S3ErrorBody::new(code, resource, request_id).to_xml());
    *answer.status_mut() = status;
    answer
}

/// Sets a header whose value came from a client or from this store.
pub(crate) fn set(answer: &mut Answer, name: &str, value: &str) -> Result<(), ErrorCode> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ErrorCode::InvalidArgument)?;
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| ErrorCode::InvalidArgument)?;
    answer.headers_mut().insert(name, value);
    Ok(())
}
