//! The end of every object: padding, manifest, footer (§7).
//!
//! What lives here: their bytes, and the layout they prove. What must not: segments. Invariant: a
//! [`Manifest`] exists only if its parts add up to an object of this format.

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{SealError, TrailerError};
use crate::header::ObjectHeader;
use crate::metadata::Checksum;
use crate::secrets::{FloeIv, ObjectSecrets, PartNumber};
use crate::size;

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 64;

/// One part in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEntry {
    /// Its number.
    pub number: PartNumber,
    /// Its plaintext length.
    pub plain_len: u64,
    /// Its FLOE IV; `None` if the attempt is not pinned.
    pub iv: Option<FloeIv>,
    /// CRC-64/NVME of its plaintext, big-endian; zero if unknown.
    pub crc64: [u8; 8],
}

/// Parts of an object in order, with consistent lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<PartEntry>,
    plain_len: u64,
    parts_stored: u64,
    pad: u64,
}

/// The list of parts of an object and its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    layout: Layout,
    checksum: Option<Checksum>,
}

/// An authentic footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    plain_len: u64,
    parts: u32,
    manifest_len: u32,
    pad: u64,
}

impl Layout {
    /// The layout of an object whose authentic header carries its length; `None` for the multipart
    /// layout.
    pub fn single(header: &ObjectHeader) -> Option<Self> {
        let _ = header;
        None
    }

    /// The parts in order.
    pub fn parts(&self) -> &[PartEntry] {
        &self.parts
    }

    /// Plaintext length of the object.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Stored length of all parts together: where the padding begins.
    pub fn parts_stored(&self) -> u64 {
        self.parts_stored
    }

    /// Bytes of padding.
    pub fn pad(&self) -> u64 {
        self.pad
    }
}

impl Manifest {
    /// The manifest of a single PUT.
    ///
    /// # Errors
    /// [`SealError::TooLong`].
    pub fn single(plain_len: u64, iv: FloeIv, checksum: Option<Checksum>) -> Result<Self, SealError> {
        let _ = (plain_len, iv, checksum);
        Err(SealError::Engine)
    }

    /// The manifest of a completed upload.
    ///
    /// # Errors
    /// [`SealError::InvalidParts`] unless there are 1 to 9 999 parts in ascending order, all but the
    /// last of at least 5 MiB, none above [`size::PART_PLAIN_MAX`].
    pub fn multipart(parts: Vec<PartEntry>, checksum: Option<Checksum>) -> Result<Self, SealError> {
        let _ = (parts, checksum);
        Err(SealError::InvalidParts)
    }

    /// Opens the sealed manifest that belongs to an authentic footer.
    ///
    /// # Errors
    /// [`TrailerError`].
    pub fn open(
        engine: &Engine,
        header: &ObjectHeader,
        footer: &Footer,
        sealed: &[u8],
    ) -> Result<Self, TrailerError> {
        let _ = (engine, header, footer, sealed);
        Err(TrailerError::Malformed)
    }

    /// The layout it proves.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The checksum of the object, if one was known at its end.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    /// The whole trailer: padding, sealed manifest, footer. At most about 2.1 MB.
    ///
    /// # Errors
    /// [`SealError::Random`], [`SealError::Engine`].
    pub fn seal_trailer(&self, engine: &Engine, secrets: &ObjectSecrets) -> Result<Bytes, SealError> {
        let _ = (engine, secrets);
        Err(SealError::Engine)
    }
}

impl Footer {
    /// Verifies a footer and its agreement with the header.
    ///
    /// # Errors
    /// [`TrailerError`].
    pub fn open(bytes: &[u8; FOOTER_BYTES], header: &ObjectHeader) -> Result<Self, TrailerError> {
        let _ = (bytes, header);
        Err(TrailerError::Malformed)
    }

    /// Plaintext length of the object.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Number of parts.
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// Stored length of the sealed manifest.
    pub fn manifest_len(&self) -> u32 {
        self.manifest_len
    }

    /// Bytes of padding.
    pub fn pad(&self) -> u64 {
        self.pad
    }

    /// How many bytes the last read of the object must span to hold manifest and footer.
    pub fn suffix_len(&self) -> u64 {
        u64::from(self.manifest_len).saturating_add(size::FOOTER)
    }
}

/// Reads footer and manifest out of the last bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suffix {
    /// The manifest was inside.
    Complete(Footer, Manifest),
    /// The footer is authentic, the manifest begins earlier: read this many bytes from the end.
    Need(Footer, u64),
}

impl Suffix {
    /// Opens what `tail`, the last bytes of the stored body, holds.
    ///
    /// # Errors
    /// [`TrailerError`]; [`TrailerError::Malformed`] below 64 bytes.
    pub fn open(engine: &Engine, header: &ObjectHeader, tail: &[u8]) -> Result<Self, TrailerError> {
        let _ = (engine, header, tail);
        Err(TrailerError::Malformed)
    }
}
