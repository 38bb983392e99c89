//! Answers going out.
//!
//! What lives here: the body of an answer, error documents. What must not: decisions. Invariant: content
//! leaves as the blocks it is kept in, without a copy.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use sceau_s3wire::error::{ErrorCode, S3ErrorBody};

use super::receive::Content;

/// Body of an answer.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

/// An answer.
pub type Answer = Response<Pieces>;

impl From<Content> for Pieces {
    fn from(content: Content) -> Self {
        Self {
            left: content.length,
            pieces: content.pieces.into(),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = self.left.saturating_sub(length);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// No body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Pieces::default());
    *answer.status_mut() = status;
    answer
}

/// An XML document.
pub fn document(status: StatusCode, xml: Vec<u8>) -> Answer {
    let content = Content {
        length: xml.len() as u64,
        pieces: vec![Bytes::from(xml)],
    };
    let mut answer = Response::new(Pieces::from(content));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// An error; of a HEAD without its document.
pub fn error(code: ErrorCode, path: &str, is_head: bool) -> Answer {
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if is_head {
        let mut answer = empty(status);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
        return answer;
    }
    document(status, S3ErrorBody::new(code, path, "0").to_xml())
}
