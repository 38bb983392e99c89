//! What an operator says about one store.
//!
//! What lives here: [`StoreConfig`] and its defaults. What must not: file formats (the
//! configuration room owns them). Invariant: every wait and every pool has a limit.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::credentials::CredentialSource;

/// Time allowed for name resolution, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// Time from the last byte of the request to the head of the response. CompleteMultipartUpload is
/// the slow case: stores assemble thousands of parts before they answer.
const RESPONSE_HEAD: Duration = Duration::from_secs(60);
/// Silence allowed between two reads of a response body.
const IDLE_READ: Duration = Duration::from_secs(60);
/// Life of an idle connection for requests that can be repeated: below the twenty seconds after
/// which large stores close.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// Life of an idle connection for bodies that cannot be repeated: a connection that the store has
/// just closed costs the client its upload.
const POOL_IDLE_STREAM: Duration = Duration::from_secs(5);
/// Connections per pool (one pool for requests that can be repeated, one for streams).
const CONNECTIONS_MAX: usize = 512;

/// One store and how to reach it.
pub struct StoreConfig {
    /// Scheme, host and optional port; no path.
    pub endpoint: Uri,
    /// Region in the signing scope until a bucket teaches another.
    pub region: String,
    /// Where the bucket's name goes.
    pub style: AddressingStyle,
    /// PEM file with the trusted roots; the system's trust store when `None`.
    pub ca_file: Option<PathBuf>,
    /// Where the gateway's own credentials come from.
    pub credentials: CredentialSource,
    /// Limits of every wait.
    pub timeouts: Timeouts,
    /// What this store can do beyond the common ground.
    pub capabilities: Capabilities,
    /// Most simultaneous connections in each of the two pools.
    pub max_connections: usize,
}

impl StoreConfig {
    /// A configuration with the default limits: path style, system trust, a modern store.
    pub fn new(endpoint: Uri, region: impl Into<String>, credentials: CredentialSource) -> Self {
        Self {
            endpoint,
            region: region.into(),
            style: AddressingStyle::Path,
            ca_file: None,
            credentials,
            timeouts: Timeouts::default(),
            capabilities: Capabilities::default(),
            max_connections: CONNECTIONS_MAX,
        }
    }
}

/// Where the bucket's name goes in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressingStyle {
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`; buckets whose names do not fit (dots under TLS, characters
    /// that no host name has) and endpoints that are IP addresses use the path style.
    VirtualHost,
}

/// Limits of every wait on the store.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// From the last byte of the request to the head of the response.
    pub response_head: Duration,
    /// Silence within a response body.
    pub idle_read: Duration,
    /// Life of an idle connection for requests that can be repeated.
    pub pool_idle: Duration,
    /// Life of an idle connection for streamed bodies; five seconds at most.
    pub pool_idle_stream: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: CONNECT,
            response_head: RESPONSE_HEAD,
            idle_read: IDLE_READ,
            pool_idle: POOL_IDLE,
            pool_idle_stream: POOL_IDLE_STREAM,
        }
    }
}

impl Timeouts {
    /// The stream pool's idle life, held below its ceiling.
    pub(super) fn stream_idle(&self) -> Duration {
        self.pool_idle_stream.min(POOL_IDLE_STREAM)
    }
}

/// What a store can do beyond the common ground.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// `If-None-Match: *` and `If-Match` on PutObject are honoured.
    pub conditional_writes: bool,
    /// Whether it keeps tags of objects: as documents, in headers of writes and copies, and counted in
    /// headers of reads.
    pub object_tags: bool,
    /// What becomes of objects whose names end in a slash.
    pub folder_markers: FolderMarkers,
}

/// What becomes of objects whose names end in a slash, which many programs write to mark a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderMarkers {
    /// They are sealed like any other, on a store that showed that it keeps them.
    Sealed,
    /// They are empty and not sealed: the store keeps neither content nor metadata under such names.
    Plain,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            conditional_writes: true,
            object_tags: true,
            folder_markers: FolderMarkers::Sealed,
        }
    }
}
