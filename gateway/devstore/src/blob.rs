//! Runs of stored bytes: written once, shared by objects, parts and copies, removed with the last of them.
//!
//! What lives here: the bytes and how they are written and read. What must not: names of objects.
//! Invariant: a blob that no record uses disappears when its last reader does; a blob that a record
//! uses stays, also when the process ends.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes read from a file, or sent to a client, in one step.
const READ_STEP_BYTES: usize = 256 * 1024;
/// Bytes gathered before one write to a file.
const WRITE_STEP_BYTES: usize = 512 * 1024;
/// Steps that may wait for a slow client.
const READ_AHEAD_STEPS: usize = 2;
/// What a store in memory may hold altogether.
pub(crate) const MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Where new blobs go.
pub(crate) enum BlobRoom {
    /// Files of this folder.
    Folder(PathBuf),
    /// Memory, with the number of bytes in use.
    Memory(Arc<AtomicU64>),
}

enum Body {
    File(PathBuf),
    Memory(Vec<Bytes>, Arc<AtomicU64>),
}

/// Bytes that never change.
pub(crate) struct Blob {
    id: String,
    bytes: u64,
    body: Body,
    uses: AtomicUsize,
}

/// A run of one blob.
#[derive(Clone)]
pub(crate) struct Piece {
    pub blob: Arc<Blob>,
    pub offset: u64,
    pub bytes: u64,
}

impl Blob {
    /// A blob found in the folder when the store was opened.
    pub fn found(folder: &Path, id: &str) -> io::Result<Arc<Blob>> {
        let path = folder.join(id);
        let bytes = fs::metadata(&path)?.len();
        let blob = Blob {
            id: id.to_owned(),
            bytes,
            body: Body::File(path),
            uses: AtomicUsize::new(0),
        };
        Ok(Arc::new(blob))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One more record uses this blob.
    pub fn retain(&self) {
        self.uses.fetch_add(1, Ordering::SeqCst);
    }

    /// One record fewer uses this blob.
    pub fn release(&self) {
        let _ = self
            .uses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |uses| uses.checked_sub(1));
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        let unused = self.uses.load(Ordering::SeqCst) == 0;
        match &self.body {
            Body::File(path) if unused => {
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!(%error, "unused data file not removed; the next start removes it");
                }
            }
            Body::File(_) => {}
            Body::Memory(_, used) => {
                used.fetch_sub(self.bytes, Ordering::SeqCst);
            }
        }
    }
}

/// Receives the bytes of one blob; leaves nothing behind unless finished.
pub(crate) struct BlobWriter {
    id: String,
    bytes: u64,
    sink: Sink,
}

enum Sink {
    File {
        file: tokio::fs::File,
        path: Partial,
        pending: Vec<u8>,
    },
    Memory {
        frames: Vec<Bytes>,
        share: MemoryShare,
    },
    Finished,
}

/// The path of an unfinished file, which is removed on drop.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Memory taken by an unfinished blob, which is given back on drop.
struct MemoryShare {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl MemoryShare {
    fn grow(&mut self, by: u64) -> io::Result<()> {
        let room = |used: u64| used.checked_add(by).filter(|total| *total <= MEMORY_BYTES_MAX);
        if self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, room)
            .is_err()
        {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the store in memory is full",
            ));
        }
        self.bytes = self.bytes.saturating_add(by);
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

impl BlobRoom {
    /// Starts a blob with a fresh random name.
    pub async fn writer(&self) -> io::Result<BlobWriter> {
        let id = random_id()?;
        let sink = match self {
            BlobRoom::Folder(folder) => {
                let path = folder.join(format!("{id}.tmp"));
                let file = tokio::fs::File::create_new(&path).await?;
                Sink::File {
                    file,
                    path: Partial(path),
                    pending: Vec::new(),
                }
            }
            BlobRoom::Memory(used) => {
                let share = MemoryShare {
                    used: Arc::clone(used),
                    bytes: 0,
                };
                Sink::Memory {
                    frames: Vec::new(),
                    share,
                }
            }
        };
        Ok(BlobWriter { id, bytes: 0, sink })
    }
}

impl BlobWriter {
    /// Appends one frame. If the future is dropped the blob must be dropped too.
    pub async fn write(&mut self, frame: Bytes) -> io::Result<()> {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        match &mut self.sink {
            Sink::File { file, pending, .. } => {
                pending.extend_from_slice(&frame);
                if pending.len() >= WRITE_STEP_BYTES {
                    file.write_all(pending).await?;
                    pending.clear();
                }
                Ok(())
            }
            Sink::Memory { frames, share } => {
                share.grow(length)?;
                frames.push(frame);
                Ok(())
            }
            Sink::Finished => Err(io::Error::other("blob already finished")),
        }
    }

    /// Makes the bytes durable and gives the blob its final name.
    pub async fn finish(mut self) -> io::Result<Arc<Blob>> {
        let body = match std::mem::replace(&mut self.sink, Sink::Finished) {
            Sink::File {
                mut file,
                path,
                pending,
            } => {
                file.write_all(&pending).await?;
                file.flush().await?;
                file.sync_data().await?;
                let target = path.0.with_extension("");
                tokio::fs::rename(&path.0, &target).await?;
                Body::File(target)
            }
            Sink::Memory { frames, mut share } => {
                // The blob now answers for the memory.
                share.bytes = 0;
                Body::Memory(frames, Arc::clone(&share.used))
            }
            Sink::Finished => return Err(io::Error::other("blob already finished")),
        };
        let blob = Blob {
            id: self.id,
            bytes: self.bytes,
            body,
            uses: AtomicUsize::new(0),
        };
        Ok(Arc::new(blob))
    }
}

/// Writes a small file so that a reader sees the old content or the new one.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("tmp");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}

/// Selects `bytes` bytes from `offset` of a run of pieces; the caller has checked the bounds.
pub(crate) fn select(pieces: &[Piece], offset: u64, bytes: u64) -> Vec<Piece> {
    let mut skip = offset;
    let mut left = bytes;
    let mut chosen = Vec::new();
    for piece in pieces {
        let skipped = skip.min(piece.bytes);
        skip = skip.saturating_sub(skipped);
        let taken = piece.bytes.saturating_sub(skipped).min(left);
        left = left.saturating_sub(taken);
        if taken > 0 {
            let offset = piece.offset.saturating_add(skipped);
            chosen.push(Piece {
                blob: Arc::clone(&piece.blob),
                offset,
                bytes: taken,
            });
        }
    }
    chosen
}

/// Streams pieces in order; the receiver's end means the end of the bytes or one error.
pub(crate) fn stream(pieces: Vec<Piece>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD_STEPS);
    tokio::spawn(async move {
        for piece in pieces {
            if let Err(error) = send_piece(&piece, &sender).await {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    });
    receiver
}

async fn send_piece(piece: &Piece, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the reader left");
    match &piece.blob.body {
        Body::Memory(frames, _) => {
            for frame in cut(frames, piece.offset, piece.bytes) {
                sender.send(Ok(frame)).await.map_err(|_| gone())?;
            }
        }
        Body::File(path) => {
            let mut file = tokio::fs::File::open(path).await?;
            file.seek(io::SeekFrom::Start(piece.offset)).await?;
            let mut left = piece.bytes;
            while left > 0 {
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(READ_STEP_BYTES);
                let mut buffer = vec![0_u8; step];
                file.read_exact(&mut buffer).await?;
                left = left.saturating_sub(u64::try_from(step).unwrap_or(u64::MAX));
                sender.send(Ok(Bytes::from(buffer))).await.map_err(|_| gone())?;
            }
        }
    }
    Ok(())
}

fn cut(frames: &[Bytes], offset: u64, bytes: u64) -> Vec<Bytes> {
    let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut chosen = Vec::new();
    for frame in frames {
        let from = skip.min(frame.len());
        skip = skip.saturating_sub(from);
        let to = from.saturating_add(left).min(frame.len());
        left = left.saturating_sub(to.saturating_sub(from));
        if to > from {
            chosen.push(frame.slice(from..to));
        }
    }
    chosen
}

/// A fresh name of 128 random bits.
pub(crate) fn random_id() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(HEXLOWER.encode(&bytes))
}
