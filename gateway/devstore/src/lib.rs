//! The embedded store of `sceau dev`: a small S3-compatible server for one process on loopback.
//!
//! What lives here: buckets, objects and multipart uploads over HTTP, kept in memory or in one
//! directory. What must not: keys, envelopes, or any knowledge that the bytes it keeps are
//! sealed; the gateway reaches it through the same store client as any other store. Invariant:
//! an object is either its old version or its new one, never a mixture, also after a crash.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod auth;
mod blob;
mod condition;
mod disk;
mod document;
mod multipart;
mod ops;
mod record;
mod request;
mod response;
mod server;
mod state;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::auth::Verifier;
use crate::state::State;

/// The only region; signatures for any other are refused.
pub const REGION: &str = "us-east-1";

/// Where the bytes are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DataLocation {
    /// In this process's memory; gone when it ends. At most 1 GiB altogether.
    Memory,
    /// Under this directory, which is made if it does not exist.
    Directory(PathBuf),
}

/// The one access key a server accepts.
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

/// A store that is open but not yet served.
pub struct DevStore {
    state: State,
}

/// Stops the server when dropped.
pub struct ServerHandle {
    task: tokio::task::JoinHandle<()>,
}

impl DevStore {
    /// Opens the store, reading the index of an existing directory.
    ///
    /// # Errors
    /// The directory cannot be made, read, or holds a file this version does not understand.
    pub fn open(location: DataLocation) -> io::Result<DevStore> {
        Ok(DevStore {
            state: State::open(location)?,
        })
    }

    /// Serves on `listener` until the future is dropped. The only region is [`REGION`].
    ///
    /// # Errors
    /// The listener stopped working.
    pub async fn serve(self, listener: TcpListener, credentials: Credentials) -> io::Result<()> {
        server::serve(
            Arc::new(self.state),
            Arc::new(Verifier::new(credentials)),
            listener,
        )
        .await
    }

    /// Binds a free loopback port and serves in a task of the current runtime.
    ///
    /// # Errors
    /// No loopback port could be bound.
    pub async fn spawn(self, credentials: Credentials) -> io::Result<(SocketAddr, ServerHandle)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            if let Err(error) = self.serve(listener, credentials).await {
                tracing::error!(%error, "embedded store stopped");
            }
        });
        Ok((address, ServerHandle { task }))
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
