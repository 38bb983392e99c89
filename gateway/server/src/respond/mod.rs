//! Turns outcomes into HTTP responses.
//!
//! What lives here: the response body, error documents, and what an error does to the log. What must
//! not: decisions. Invariant: the body of an answer is either bytes made by the gateway or a
//! [`PlainBody`] of verified segments; there is no way to hand on the store's own body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use sceau_s3wire::error::S3ErrorBody;

use crate::crypt::open_body::PlainBody;
use crate::error::{GatewayError, Kind, Side};
use crate::limits;
use crate::record::{Record, RequestId};

/// An answer before it is bound to its access record.
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers other than those every answer carries.
    pub headers: HeaderMap,
    /// Body.
    pub body: AnswerBody,
}

/// Where an answer's body comes from.
pub enum AnswerBody {
    /// No body; a `Content-Length` in the headers tells what a GET would have sent.
    Empty,
    /// Bytes made by the gateway.
    Full(Bytes),
    /// Verified plaintext.
    Plain(Box<PlainBody>),
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: AnswerBody::Empty,
        }
    }

    /// An XML document.
    pub fn xml(document: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Self {
            status: StatusCode::OK,
            headers,
            body: AnswerBody::Full(document.into()),
        }
    }
}

/// The body of a response, with the record that is written when it ends.
pub struct ResponseBody {
    inner: AnswerBody,
    record: Record,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        let this = self.get_mut();
        let polled = match &mut this.inner {
            AnswerBody::Empty => Poll::Ready(None),
            AnswerBody::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            AnswerBody::Full(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            AnswerBody::Plain(body) => body.poll_plain(context),
        };
        polled.map(|item| match item {
            None => {
                this.record.finish();
                None
            }
            Some(Ok(bytes)) => {
                this.record.bytes_out.add(bytes.len());
                if this.inner.remaining() == 0 {
                    this.record.finish();
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => {
                // The status line is gone: cutting the connection is the only honest answer left.
                this.record.note_error(&error);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.inner.remaining())
    }
}

impl AnswerBody {
    fn remaining(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Full(bytes) => bytes.len() as u64,
            Self::Plain(body) => body.remaining(),
        }
    }
}

/// Binds an answer to its record.
pub fn finish(answer: Answer, mut record: Record) -> Response<ResponseBody> {
    let Answer {
        status,
        mut headers,
        body,
    } = answer;
    record.answer(status.as_u16());
    common_headers(&mut headers, &record.id);
    let has_own_length = headers.contains_key(header::CONTENT_LENGTH);
    if body.remaining() == 0 {
        record.finish();
    }
    if !has_own_length && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.remaining()));
    }
    let mut response = Response::new(ResponseBody { inner: body, record });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer to an error: S3's document, or only the status for HEAD.
pub fn error_answer(error: &GatewayError, id: &RequestId, resource: &str, is_head: bool) -> Answer {
    let code = error.kind.code();
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = if is_head || status == StatusCode::NOT_MODIFIED {
        Answer::empty(status)
    } else {
        let mut document = S3ErrorBody::new(code, resource, id.as_str());
        if let Some(message) = &error.message {
            document = document.with_message(message.as_ref());
        }
        document.extra.clone_from(&error.extra);
        let mut answer = Answer::xml(document.to_xml());
        answer.status = status;
        answer
    };
    answer.headers.extend(error.headers.clone());
    if error.kind.is_temporary() {
        answer.headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(limits::RETRY_AFTER_SECONDS),
        );
    }
    answer
}

fn common_headers(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-amz-request-id", value);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("Sceau"));
}

/// Logs an error at the level its side deserves: the client's faults are its own business, a stored
/// object that does not verify is an alarm.
pub fn log_error(
    id: &RequestId,
    operation: &str,
    bucket: Option<&str>,
    key: Option<&str>,
    error: &GatewayError,
) {
    let request_id = id.as_str();
    if let Some(class) = error.kind.security_class() {
        tracing::error!(
            target: "sceau::security", request_id, operation, bucket, key, class, %error,
            "what the store holds was refused"
        );
        return;
    }
    match error.kind.side() {
        Side::Client => tracing::debug!(request_id, operation, bucket, key, %error, "request refused"),
        Side::Store if matches!(error.kind, Kind::Answer(_)) => {
            tracing::debug!(request_id, operation, bucket, key, %error, "the store's answer");
        }
        Side::Gateway | Side::Keys | Side::Store => {
            tracing::warn!(request_id, operation, bucket, key, side = error.kind.side().name(), %error, "request failed");
        }
    }
}
