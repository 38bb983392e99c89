//! Accepts connections and turns them into requests.
//!
//! What lives here: the accept loop, TLS, connection limits and the refusal of ambiguous framing.
//! What must not: signatures, operations. Invariant: a request that leaves this room has exactly one
//! reading of where its head and body end.

mod framing;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use framing::check_framing;
pub use tls::acceptor;

use crate::lanes::Lanes;
use crate::limits;
use crate::patience::{Patience, PatientStream};
use crate::respond::ResponseBody;

/// What the listener needs to know of whoever answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Never fails: errors are answers too.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        remote: SocketAddr,
        is_tls: bool,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Settings of one listener.
pub struct ListenOptions {
    /// Connections served at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Largest request head in bytes.
    pub head_bytes_max: usize,
    /// How long a client may take to send a request head, idle time before it included.
    pub header_read_wait: Duration,
    /// How slowly a client may take an answer that is ready for it.
    pub patience: Patience,
    /// How long requests under way may take after the stop signal.
    pub drain_wait: Duration,
    /// Threads among which connections are spread; with zero they run where the listener does.
    pub lanes: usize,
}

/// Serves `listener` until `stop` turns true, then drains. Returns how many connections were cut.
pub async fn serve<S: Service>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    options: ListenOptions,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) -> usize {
    let permits = Arc::new(Semaphore::new(options.connections_max));
    let mut connections = JoinSet::new();
    let lanes = Lanes::start(options.lanes).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot start threads for connections: they share those of the process");
        Lanes::default()
    });
    loop {
        while connections.try_join_next().is_some() {}
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = stopped(&mut stop) => break,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: wait for some to come back instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = Connection {
            remote,
            service: Arc::clone(&service),
            header_read_wait: options.header_read_wait,
            head_bytes_max: options.head_bytes_max,
            patience: options.patience,
            stop: stop.clone(),
        };
        let tls = tls.clone();
        let Some(place) = lanes.place() else {
            connections.spawn(async move {
                connection.run(stream, tls).await;
                drop(permit);
            });
            continue;
        };
        // The stream leaves this runtime and is taken up by the lane's.
        let Ok(stream) = stream.into_std() else { continue };
        let lane = place.handle.clone();
        let served = async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection.run(stream, tls).await;
            }
            drop((place, permit));
        };
        connections.spawn_on(served, &lane);
    }
    drop(listener);
    drain(connections, options.drain_wait).await
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender means that nobody can ask for more service: the same as a stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn drain(mut connections: JoinSet<()>, wait: Duration) -> usize {
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(wait, all_done).await.is_ok() {
        return 0;
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

struct Connection<S> {
    remote: SocketAddr,
    service: Arc<S>,
    header_read_wait: Duration,
    head_bytes_max: usize,
    patience: Patience,
    stop: watch::Receiver<bool>,
}

impl<S: Service> Connection<S> {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Small answers must not wait for an acknowledgement (RFC 896 delays them).
        let _ = stream.set_nodelay(true);
        // What is in the kernel's buffer looks taken. Without this a client that reads 16 KiB a second leaves
        // the gateway without progress for a minute and more, until a third of megabytes is free again.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(limits::UNSENT_BYTES_MAX);
        let stream = PatientStream::new(stream, self.patience);
        let remote = self.remote;
        match tls {
            None => self.serve(stream, false).await,
            Some(acceptor) => {
                match tokio::time::timeout(limits::TLS_HANDSHAKE_WAIT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.serve(stream, true).await,
                    Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake refused"),
                    Err(_) => tracing::debug!(%remote, "TLS handshake too slow"),
                }
            }
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, is_tls: bool) {
        let service = self.service;
        let remote = self.remote;
        let answer = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, std::convert::Infallible>(service.call(request, remote, is_tls).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_read_wait)
            .max_headers(limits::REQUEST_HEADERS_MAX)
            .max_header_size(self.head_bytes_max)
            .max_buf_size(limits::CONNECTION_BUFFER_BYTES_MAX)
            .keep_alive(true)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut self.stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%remote, %error, "connection ended early");
        }
    }
}
