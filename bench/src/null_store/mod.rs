//! The null store: an S3 endpoint that costs as little as possible.
//!
//! What lives here: listening, connections, TLS. What must not: what requests mean (`answer`), objects
//! (`shelf`). Invariant: nothing is kept on disk, and no signature is ever checked: it stands in for a store
//! so that what is in front of it can be measured, and must never hold anything of worth.

mod answer;
mod chunked;
mod receive;
mod reply;
mod shelf;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use self::answer::respond;
pub use self::shelf::Shelf;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait after the listener failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most bytes that a connection reads or writes at once: large ones save system calls.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shelf: Arc<Shelf>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (tls, shelf) = (tls.clone(), Arc::clone(&shelf));
        tokio::spawn(async move { connection(stream, tls, shelf).await });
    }
}

/// Listens on `address` and tells where.
pub async fn listen(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

/// A client that leaves, or whose TLS fails, is no event here.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shelf: Arc<Shelf>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => exchange(stream, shelf).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                exchange(stream, shelf).await;
            }
        }
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, shelf: Arc<Shelf>) {
    let service = service_fn(move |request| {
        let shelf = Arc::clone(&shelf);
        async move { Ok::<_, Infallible>(respond(&shelf, request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
