//! The trail in files of a folder.
//!
//! What lives here: [`FileSink`]: names, rotation, taking a chain up again. What must not: chaining, sealing.
//! Invariants: a file holds whole lines only, but for the one that a killed process was writing; a file is
//! never written by two processes, nor opened again by a later one; nothing is ever deleted.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sceau_audit::{Chain, LINE_BYTES_MAX};

use super::AuditError;
use super::writer::Sink;
use crate::config::AuditConfig;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
const LOCK: &str = "lock";

/// The files of a trail, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            names.push(path);
        }
    }
    // Numbers have a fixed width, so the order of names is that of records.
    names.sort();
    Ok(names)
}

/// Files of one folder, one after the other.
pub struct FileSink {
    folder: PathBuf,
    file: Option<File>,
    whole_bytes: u64,
    opened: Instant,
    rotate_bytes: u64,
    rotate_age: Duration,
    _lock: File,
}

impl FileSink {
    /// Locks the folder and finds where its chain stands.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn open(config: &AuditConfig) -> Result<(Self, Chain), AuditError> {
        let folder = &config.directory;
        let failed = |path: &Path, error: &io::Error| AuditError::Folder {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(folder, &error))?;
        let lock_path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path);
        let lock = lock.map_err(|error| failed(&lock_path, &error))?;
        lock.try_lock()
            .map_err(|_| AuditError::Locked { path: folder.clone() })?;
        let chain = match last_line(folder).map_err(|error| failed(folder, &error))? {
            Some((path, line)) => Chain::resume(&line).map_err(|_| AuditError::Tail { path })?,
            None => Chain::begin(draw_instance()?),
        };
        let sink = Self {
            folder: folder.clone(),
            file: None,
            whole_bytes: 0,
            opened: Instant::now(),
            rotate_bytes: config.rotate_size,
            rotate_age: config.rotate_age,
            _lock: lock,
        };
        Ok((sink, chain))
    }

    fn create(&self, first_seq: u64) -> io::Result<File> {
        let path = self.folder.join(format!("{PREFIX}{first_seq:020}{SUFFIX}"));
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&path)?;
        // A file of this name has no whole line: its first would have this number, and the chain would stand
        // behind it.
        let mut start = Vec::new();
        (&mut file).take(LINE_BYTES_MAX as u64).read_to_end(&mut start)?;
        if start.contains(&b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                path.display().to_string(),
            ));
        }
        file.set_len(0)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }
}

impl Sink for FileSink {
    fn write(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.create(first_seq)?;
                (self.whole_bytes, self.opened) = (0, Instant::now());
                self.file.insert(file)
            }
        };
        if let Err(error) = file.write_all(lines) {
            // Half a line must not stay in front of the next attempt.
            if file.set_len(self.whole_bytes).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.whole_bytes = self.whole_bytes.saturating_add(lines.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    fn is_full(&self) -> bool {
        self.file.is_some()
            && (self.whole_bytes >= self.rotate_bytes || self.opened.elapsed() >= self.rotate_age)
    }

    fn rotate(&mut self) {
        self.file = None;
    }
}

/// The last whole line of the newest file that has one.
fn last_line(folder: &Path) -> io::Result<Option<(PathBuf, Vec<u8>)>> {
    for path in files_of(folder)?.into_iter().rev() {
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len();
        // A torn line and the whole one before it.
        let window = 2_u64.saturating_mul(LINE_BYTES_MAX as u64);
        file.seek(SeekFrom::Start(length.saturating_sub(window)))?;
        let mut tail = Vec::new();
        file.take(window).read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        tail.truncate(end);
        let start = tail.iter().rposition(|byte| *byte == b'\n');
        let line = tail.split_off(start.map_or(0, |at| at.saturating_add(1)));
        return Ok(Some((path, line)));
    }
    Ok(None)
}

fn draw_instance() -> Result<String, AuditError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| AuditError::Host)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
