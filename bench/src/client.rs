//! One connection to the endpoint.
//!
//! What lives here: signing, sending, and checking the answer of a single request. What must not: retries,
//! clocks of measurements, choice of requests. Invariant: a request is sent at most once, and after any
//! failure its connection is not used again, so nothing a failed request left behind can spoil the next.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sceau_s3wire::sigv4::{self, Credentials, PayloadHash, SecretAccessKey, SignInput, SigningKeyCache};
use sceau_s3wire::target::{QueryPair, encode_component, encode_path};
use sceau_s3wire::xml::parse_error;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::content::Content;

/// Largest answer that is not an object, bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Longest error code that is reported, bytes; S3's are shorter.
const CODE_MAX: usize = 64;
const AGENT: &str = concat!("sceau-bench/", env!("CARGO_PKG_VERSION"));

/// Where requests go and who signs them.
pub struct Target {
    /// `host:port`, for connecting.
    pub address: String,
    /// The `host` header.
    pub host: HeaderValue,
    /// Bucket, addressed in the path.
    pub bucket: String,
    /// Region in the signatures.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret: SecretAccessKey,
    /// Session token of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
    /// Derived keys.
    pub cache: SigningKeyCache,
    /// Longest time for one request, its connection included.
    pub timeout: Duration,
}

/// Address and `host` header of an endpoint URL.
pub fn parse_endpoint(url: &str) -> Result<(String, HeaderValue), String> {
    let uri: Uri = url.parse().map_err(|_| "--endpoint is not a URL".to_owned())?;
    if uri.scheme_str() != Some("http") {
        return Err("--endpoint must start with http://; HTTPS is not supported yet".to_owned());
    }
    let authority = uri.authority().filter(|it| !it.as_str().contains('@'));
    let authority = authority.ok_or("--endpoint must name a host, and no user")?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("--endpoint must have no path and no query".to_owned());
    }
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    Ok((address, host))
}

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
    /// The request could not be made from the options.
    Unsendable,
}

impl Fault {
    /// Whether data was wrong, rather than missing.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Length(_))
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
            Self::Unsendable => f.write_str("request cannot be made"),
        }
    }
}

/// A connection that is opened when it is first needed, and again after a fault.
pub struct Connection<'t> {
    target: &'t Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl<'t> Connection<'t> {
    /// One that is not open yet.
    pub fn new(target: &'t Target) -> Self {
        Self { target, sender: None }
    }

    /// Writes an object; the result is its version, in a bucket that has versions.
    pub async fn put(&mut self, key: &str, body: Bytes, hash: PayloadHash) -> Result<Option<String>, Fault> {
        let request = self.request(Method::PUT, key, None, body, hash)?;
        let version = |answer: &Response<Incoming>| {
            let version = answer.headers().get("x-amz-version-id")?.to_str().ok()?;
            Some(version.to_owned())
        };
        self.within_time(request, async |answer| {
            let version = version(&answer);
            drained(answer).await.map(|()| version)
        })
        .await
    }

    /// Reads an object and compares it.
    pub async fn get(&mut self, key: &str, content: Content, size: u64) -> Result<(), Fault> {
        let request = self.request(Method::GET, key, None, Bytes::new(), PayloadHash::Empty)?;
        self.within_time(request, async |answer| compared(answer, content, size).await)
            .await
    }

    /// Deletes an object or one version of it.
    pub async fn delete(&mut self, key: &str, version: Option<&str>) -> Result<(), Fault> {
        let request = self.request(Method::DELETE, key, version, Bytes::new(), PayloadHash::Empty)?;
        self.within_time(request, drained).await
    }

    async fn within_time<T>(
        &mut self,
        request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let limit = self.target.timeout;
        let exchange = async {
            let answer = self.send(request).await?;
            if answer.status().is_success() {
                read(answer).await
            } else {
                Err(refusal(answer).await)
            }
        };
        let result = tokio::time::timeout(limit, exchange).await;
        let result = result.unwrap_or(Err(Fault::Timeout));
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        // An endpoint may close a connection between two requests; that is no failure.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            None => self.sender.insert(open(&self.target.address).await?),
        };
        sender.send_request(request).await.map_err(|_| Fault::Transport)
    }

    fn request(
        &self,
        method: Method,
        key: &str,
        version: Option<&str>,
        body: Bytes,
        payload: PayloadHash,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let target = self.target;
        let path = encode_path(&format!("/{}/{key}", target.bucket));
        let query: Vec<QueryPair> = version
            .map(|value| QueryPair {
                name: "versionId".to_owned(),
                value: value.to_owned(),
            })
            .into_iter()
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, target.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if method == Method::PUT {
            // Also when it is zero, which an HTTP library leaves out and S3 demands.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        sigv4::sign(SignInput {
            method: &method,
            path: &path,
            query: &query,
            headers: &mut headers,
            payload,
            credentials: Credentials {
                access_key: &target.access_key,
                secret: &target.secret,
                session_token: target.session_token.as_ref().map(|token| token.as_str()),
                cache: Some(&target.cache),
            },
            region: &target.region,
            service: sigv4::SERVICE_S3,
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        })
        .map_err(|_| Fault::Unsendable)?;
        let uri = match version {
            Some(version) => format!("{path}?versionId={}", encode_component(version)),
            None => path,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|_| Fault::Unsendable)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

async fn open(address: &str) -> Result<SendRequest<Full<Bytes>>, Fault> {
    let stream = TcpStream::connect(address).await.map_err(|_| Fault::Connect)?;
    stream.set_nodelay(true).map_err(|_| Fault::Connect)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|_| Fault::Connect)?;
    // It ends with its sender; its error is also the error of the request in flight.
    tokio::spawn(connection);
    Ok(sender)
}

async fn drained(answer: Response<Incoming>) -> Result<(), Fault> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    body.map(drop).map_err(|_| Fault::Transport)
}

async fn refusal(answer: Response<Incoming>) -> Fault {
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let code = body.ok().and_then(|body| parse_error(&body.to_bytes()).ok());
    let code = code.map_or_else(|| "no-code".to_owned(), |error| error.code);
    Fault::Status(
        status,
        code.chars()
            .filter(char::is_ascii_graphic)
            .take(CODE_MAX)
            .collect(),
    )
}

async fn compared(answer: Response<Incoming>, content: Content, size: u64) -> Result<(), Fault> {
    let mut body = answer.into_body();
    let mut at = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::Transport)?;
        let Some(data) = frame.data_ref() else { continue };
        let end = at.saturating_add(data.len() as u64);
        if let Some(offset) = content.first_difference(at, data).filter(|offset| *offset < size) {
            return Err(Fault::Differs(offset));
        }
        if end > size {
            return Err(Fault::Length(end));
        }
        at = end;
    }
    if at == size {
        Ok(())
    } else {
        Err(Fault::Length(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http_without_path() {
        let (address, host) = parse_endpoint("http://store.example").unwrap();
        assert_eq!(
            (address.as_str(), host.as_bytes()),
            ("store.example:80", &b"store.example"[..])
        );
        assert_eq!(parse_endpoint("http://[::1]:9000/").unwrap().0, "[::1]:9000");
        for bad in [
            "https://h",
            "h:9000",
            "http://h/path",
            "http://h/?a",
            "http://u:p@h",
            "http://",
        ] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }
}
