//! One connection to the endpoint.
//!
//! What lives here: sending, and checking the answer of each operation. What must not: retries, choice of
//! requests. Invariant: a request is sent at most once, and after any failure its connection is not used
//! again, so nothing a failed request left behind can spoil the next.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, RANGE};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sceau_s3wire::copy_source;
use sceau_s3wire::xml::{
    CompletedUpload, InitiatedUpload, ListPage, StoreAnswer, parse_error, write_completed_parts,
};

use crate::body::{Outgoing, Payload, Throttle};
use crate::content::Content;
use crate::target::{Call, Target, document};

/// Largest answer that is not an object, bytes; a page of 1 000 long names is below it.
const ANSWER_MAX: usize = 4 << 20;
/// Longest error code that is reported, bytes; S3's are shorter.
const CODE_MAX: usize = 64;
/// Most bytes that a connection reads at once: large ones save system calls.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Transport,
    /// The endpoint answered with an error.
    Status(u16, String),
    /// A byte that was read is not the one written, at this offset.
    Differs(u64),
    /// Fewer or more bytes than were written.
    Length(u64),
    /// A listing does not name what was written, or with another size.
    Listing,
    /// An answer that lacks what S3 promises.
    Answer,
    /// The request could not be made from the options.
    Unsendable,
}

impl Fault {
    /// Whether data was wrong, rather than missing.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Length(_) | Self::Listing)
    }
}

/// The kind of fault: few values, so that they can be counted.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Timeout => f.write_str("timeout"),
            Self::Transport => f.write_str("connection broke"),
            Self::Status(status, code) => write!(f, "{status} {code}"),
            Self::Differs(_) => f.write_str("content differs"),
            Self::Length(_) => f.write_str("length differs"),
            Self::Listing => f.write_str("listing differs"),
            Self::Answer => f.write_str("answer is incomplete"),
            Self::Unsendable => f.write_str("request cannot be made"),
        }
    }
}

/// A connection that is opened when it is first needed, and again after a fault.
pub struct Connection {
    target: Arc<Target>,
    sender: Option<SendRequest<Outgoing>>,
    spent: Duration,
    is_verified: bool,
}

/// What a write answered.
pub struct Written {
    /// The version, in a bucket that has versions.
    pub version: Option<String>,
    etag: Option<String>,
}

impl Connection {
    /// One that is not open yet. Reads compare every byte if `is_verified`, else lengths only.
    pub fn new(target: Arc<Target>, is_verified: bool) -> Self {
        Self {
            target,
            sender: None,
            spent: Duration::ZERO,
            is_verified,
        }
    }

    /// Time on the wire since this was asked last: from sending to the last byte of the answer, without
    /// making and signing requests.
    pub fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// Writes an object.
    pub async fn put(&mut self, key: &str, payload: Payload) -> Result<Written, Fault> {
        let mut call = Call::new(Method::PUT, key);
        call.payload = payload;
        self.write(call).await
    }

    /// Reads an object and compares it.
    pub async fn get(&mut self, key: &str, content: Content, size: u64) -> Result<(), Fault> {
        let (is_verified, throttle) = (self.is_verified, self.target.throttle);
        self.exchange(Call::new(Method::GET, key), async |answer| {
            compared(answer, is_verified.then_some(content), 0, size, throttle).await
        })
        .await
    }

    /// Reads `length` bytes from `offset` and compares them.
    pub async fn range(
        &mut self,
        key: &str,
        content: Content,
        offset: u64,
        length: u64,
    ) -> Result<(), Fault> {
        let (is_verified, throttle) = (self.is_verified, self.target.throttle);
        let mut call = Call::new(Method::GET, key);
        let last = offset.saturating_add(length).saturating_sub(1);
        call.headers
            .push((RANGE, header(format!("bytes={offset}-{last}"))?));
        self.exchange(call, async |answer| {
            if answer.status() != 206 {
                return Err(Fault::Answer);
            }
            compared(answer, is_verified.then_some(content), offset, length, throttle).await
        })
        .await
    }

    /// Asks for an object's size and compares it.
    pub async fn head(&mut self, key: &str, size: u64) -> Result<(), Fault> {
        self.exchange(Call::new(Method::HEAD, key), async |answer| {
            let length = answer
                .headers()
                .get(CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok());
            let length: u64 = length.and_then(|text| text.parse().ok()).ok_or(Fault::Answer)?;
            match length == size {
                true => drained(answer).await,
                false => Err(Fault::Length(length)),
            }
        })
        .await
    }

    /// Lists one page below `prefix`; gives names and sizes, and whether there is more.
    pub async fn list(&mut self, prefix: &str, entries: u16) -> Result<(Vec<(String, u64)>, bool), Fault> {
        let mut call = Call::new(Method::GET, "");
        call.query = vec![
            ("list-type", "2".to_owned()),
            ("max-keys", entries.to_string()),
            ("prefix", prefix.to_owned()),
        ];
        self.exchange(call, async |answer| {
            let page = ListPage::parse(&collected(answer).await?).map_err(|_| Fault::Answer)?;
            let objects = page.objects.into_iter();
            let named = objects.map(|object| (object.key, object.size)).collect();
            Ok((named, page.is_truncated))
        })
        .await
    }

    /// Deletes an object or one version of it.
    pub async fn delete(&mut self, key: &str, version: Option<&str>) -> Result<(), Fault> {
        let mut call = Call::new(Method::DELETE, key);
        call.query
            .extend(version.map(|version| ("versionId", version.to_owned())));
        self.exchange(call, drained).await
    }

    /// Copies an object of the same bucket.
    pub async fn copy(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        let source = copy_source::encode(&self.target.bucket, from, None);
        let mut call = Call::new(Method::PUT, to);
        let name = HeaderName::from_static("x-amz-copy-source");
        call.headers.push((name, header(source)?));
        // A copy can fail after its 200 was sent; then the document is an error.
        self.exchange(call, async |answer| succeeded(&collected(answer).await?))
            .await
    }

    /// Writes an object in parts of `part_bytes`.
    pub async fn multipart(
        &mut self,
        key: &str,
        content: Content,
        size: u64,
        part_bytes: u64,
    ) -> Result<(), Fault> {
        let mut call = Call::new(Method::POST, key);
        call.query.push(("uploads", String::new()));
        let started = self.exchange(call, collected).await?;
        let Ok(StoreAnswer::Done(started)) = InitiatedUpload::parse(&started) else {
            return Err(Fault::Answer);
        };
        let done = self
            .parts(key, &started.upload_id, content, size, part_bytes)
            .await;
        if done.is_err() {
            let mut call = Call::new(Method::DELETE, key);
            call.query.push(("uploadId", started.upload_id));
            // The first failure is the one to report.
            let _ = self.exchange(call, drained).await;
        }
        done
    }

    async fn parts(
        &mut self,
        key: &str,
        upload: &str,
        content: Content,
        size: u64,
        part_bytes: u64,
    ) -> Result<(), Fault> {
        let mut tags: Vec<(u16, String)> = Vec::new();
        let mut offset = 0_u64;
        while offset < size || tags.is_empty() {
            let length = part_bytes.min(size.saturating_sub(offset));
            let number = u16::try_from(tags.len().saturating_add(1)).map_err(|_| Fault::Unsendable)?;
            let mut call = Call::new(Method::PUT, key);
            call.query = vec![
                ("partNumber", number.to_string()),
                ("uploadId", upload.to_owned()),
            ];
            call.payload = Payload::of(content, offset, length);
            let written = self.write(call).await?;
            tags.push((number, written.etag.ok_or(Fault::Answer)?));
            offset = offset.saturating_add(length);
        }
        let mut call = Call::new(Method::POST, key);
        call.query.push(("uploadId", upload.to_owned()));
        let parts = tags.iter().map(|(number, tag)| (*number, tag.as_str()));
        call.payload = document(write_completed_parts(parts));
        self.exchange(call, async |answer| {
            match CompletedUpload::parse(&collected(answer).await?) {
                Ok(StoreAnswer::Done(_)) => Ok(()),
                Ok(StoreAnswer::Failed(error)) => Err(Fault::Status(200, plain(&error.code))),
                Err(_) => Err(Fault::Answer),
            }
        })
        .await
    }

    async fn write(&mut self, call: Call<'_>) -> Result<Written, Fault> {
        self.exchange(call, async |answer| {
            let text = |name: HeaderName| {
                let value = answer.headers().get(name)?;
                Some(value.to_str().ok()?.to_owned())
            };
            let written = Written {
                version: text(HeaderName::from_static("x-amz-version-id")),
                etag: text(ETAG),
            };
            drained(answer).await.map(|()| written)
        })
        .await
    }

    async fn exchange<T>(
        &mut self,
        call: Call<'_>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let request = self.target.request(call)?;
        let start = Instant::now();
        let limit = self.target.timeout;
        let work = async {
            let answer = self.send(request).await?;
            if answer.status().is_success() {
                read(answer).await
            } else {
                Err(refusal(answer).await)
            }
        };
        let result = tokio::time::timeout(limit, work).await;
        let result = result.unwrap_or(Err(Fault::Timeout));
        self.spent = self.spent.saturating_add(start.elapsed());
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Fault> {
        // An endpoint may close a connection between two requests; that is no failure.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            None => self.sender.insert(open(&self.target).await?),
        };
        sender.send_request(request).await.map_err(|_| Fault::Transport)
    }
}

async fn open(target: &Target) -> Result<SendRequest<Outgoing>, Fault> {
    let stream = target.endpoint.connect().await.map_err(|_| Fault::Connect)?;
    let handshake = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.map_err(|_| Fault::Connect)?;
    // It ends with its sender; its error is also the error of the request in flight.
    tokio::spawn(connection);
    Ok(sender)
}

fn header(text: String) -> Result<HeaderValue, Fault> {
    HeaderValue::try_from(text).map_err(|_| Fault::Unsendable)
}

async fn drained(answer: Response<Incoming>) -> Result<(), Fault> {
    collected(answer).await.map(drop)
}

async fn collected(answer: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    Ok(body.map_err(|_| Fault::Transport)?.to_bytes())
}

/// Whether a document is not an error in disguise.
fn succeeded(document: &[u8]) -> Result<(), Fault> {
    match parse_error(document) {
        Ok(error) => Err(Fault::Status(200, plain(&error.code))),
        Err(_) => Ok(()),
    }
}

async fn refusal(answer: Response<Incoming>) -> Fault {
    let status = answer.status().as_u16();
    let body = collected(answer).await.ok();
    let code = body.and_then(|body| parse_error(&body).ok());
    let code = code.map_or_else(|| "no-code".to_owned(), |error| plain(&error.code));
    Fault::Status(status, code)
}

/// A code that can stand on a terminal.
fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_graphic)
        .take(CODE_MAX)
        .collect()
}

/// Reads `size` bytes, which are the content from `offset` on; without a content only their number counts.
async fn compared(
    answer: Response<Incoming>,
    content: Option<Content>,
    offset: u64,
    size: u64,
    throttle: Option<u64>,
) -> Result<(), Fault> {
    let mut body = answer.into_body();
    let mut throttle = throttle.map(Throttle::new);
    let mut got = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::Transport)?;
        let Some(data) = frame.data_ref() else { continue };
        let end = got.saturating_add(data.len() as u64);
        let at = offset.saturating_add(got);
        let limit = offset.saturating_add(size);
        let differs = content.and_then(|content| content.first_difference(at, data));
        if let Some(place) = differs.filter(|place| *place < limit) {
            return Err(Fault::Differs(place));
        }
        if end > size {
            return Err(Fault::Length(end));
        }
        got = end;
        if let Some(throttle) = &mut throttle {
            tokio::time::sleep_until(throttle.count(data.len()).into()).await;
        }
    }
    if got == size {
        Ok(())
    } else {
        Err(Fault::Length(got))
    }
}
