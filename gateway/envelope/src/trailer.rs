//! The end of every object: padding, manifest, footer (§7).
//!
//! What lives here: their bytes. What must not: segments. Invariant: a [`Manifest`] exists only if
//! its parts add up to an object of this format, and its bytes are read only after the footer that
//! bounds their number verified.

use bytes::{BufMut, Bytes, BytesMut};
use subtle::ConstantTimeEq;

use crate::bytes_io::{Cursor, u40_bytes};
use crate::engine::{Engine, IV_BYTES, TAG_BYTES};
use crate::error::{SealError, TrailerError};
use crate::header::{ObjectHeader, Suite};
pub use crate::layout::{Layout, PartEntry};
use crate::metadata::{Checksum, ChecksumAlgorithm};
use crate::secrets::{FloeIv, ObjectSecrets, PartNumber};
use crate::size;

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 64;
/// Longest trailer in bytes: what `F` reserves beyond the segments of an object of most parts.
pub const TRAILER_BYTES_MAX: usize = 1_600_000;

const MAGIC: [u8; 4] = *b"SOFF";
const VERSION: u8 = 1;
/// Footer bytes that its MAC covers.
const FOOTER_PREFIX: usize = 32;
/// Room for a checksum value in a manifest.
const CHECKSUM_ROOM: usize = 64;
const FLAG_COMPOSITE: u16 = 1;
const ENTRY_PINNED: u8 = 1;

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

impl Manifest {
    /// The manifest of a single PUT.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`size::PART_PLAIN_MAX`].
    pub fn single(plain_len: u64, iv: FloeIv, checksum: Option<Checksum>) -> Result<Self, SealError> {
        let part = PartEntry {
            number: PartNumber::SINGLE,
            plain_len,
            iv: Some(iv),
            crc64: [0; 8],
        };
        let layout = Layout::from_parts(false, vec![part]).ok_or(SealError::TooLong)?;
        Ok(Self { layout, checksum })
    }

    /// The manifest of a completed upload.
    ///
    /// # Errors
    /// [`SealError::InvalidParts`] unless there are 1 to 9 999 parts in ascending order, all but the
    /// last of at least 5 MiB, none above [`size::UPLOAD_PART_PLAIN_MAX`].
    pub fn multipart(parts: Vec<PartEntry>, checksum: Option<Checksum>) -> Result<Self, SealError> {
        let layout = Layout::from_parts(true, parts).ok_or(SealError::InvalidParts)?;
        Ok(Self { layout, checksum })
    }

    /// Opens the sealed manifest that belongs to an authentic footer.
    ///
    /// # Errors
    /// [`TrailerError::NotAuthentic`]; [`TrailerError::Inconsistent`] if it verifies but contradicts
    /// the footer, the header or itself.
    pub fn open(
        engine: &Engine,
        header: &ObjectHeader,
        footer: &Footer,
        sealed: &[u8],
    ) -> Result<Self, TrailerError> {
        let manifest = Self::open_under(engine, &header.secrets, header.is_multi, footer, sealed)?;
        let agrees = match Layout::single(header) {
            Some(single) => manifest.layout.is_same_as(&single),
            None => header.is_multi,
        };
        if agrees {
            Ok(manifest)
        } else {
            Err(TrailerError::Inconsistent)
        }
    }

    /// As [`Manifest::open`], without a header to compare with.
    pub(crate) fn open_under(
        engine: &Engine,
        secrets: &ObjectSecrets,
        is_multi: bool,
        footer: &Footer,
        sealed: &[u8],
    ) -> Result<Self, TrailerError> {
        if u32::try_from(sealed.len()) != Ok(footer.manifest_len) {
            return Err(TrailerError::Malformed);
        }
        let (iv, text) = sealed
            .split_first_chunk::<IV_BYTES>()
            .ok_or(TrailerError::Malformed)?;
        let mut text = text.to_vec();
        let key = engine
            .key(&secrets.manifest_key())
            .map_err(|_| TrailerError::NotAuthentic)?;
        key.open(iv, &footer.prefix(), &mut text)
            .map_err(|_| TrailerError::NotAuthentic)?;
        let (text, _tag) = text
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(TrailerError::Malformed)?;
        let manifest = Self::decode(is_multi, footer.parts, text).ok_or(TrailerError::Inconsistent)?;
        if manifest.footer() == Some(*footer) {
            Ok(manifest)
        } else {
            Err(TrailerError::Inconsistent)
        }
    }

    /// The layout it proves.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The checksum of the object, if one was known at its end.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    /// The footer that belongs to it.
    pub fn footer(&self) -> Option<Footer> {
        Footer::of(&self.layout)
    }

    /// The whole trailer: padding, sealed manifest, footer; [`TRAILER_BYTES_MAX`] at most.
    ///
    /// # Errors
    /// [`SealError::Random`], [`SealError::Engine`].
    pub fn seal_trailer(&self, engine: &Engine, secrets: &ObjectSecrets) -> Result<Bytes, SealError> {
        let footer = self.footer().ok_or(SealError::InvalidParts)?;
        let mut text = self.encode().ok_or(SealError::InvalidParts)?;
        let key = engine.key(&secrets.manifest_key())?;
        let (iv, tag) = key.seal(&footer.prefix(), &mut text)?;
        let pad = usize::try_from(footer.pad).map_err(|_| SealError::InvalidParts)?;
        let suffix = usize::try_from(footer.suffix_len()).map_err(|_| SealError::InvalidParts)?;
        let length = pad
            .checked_add(suffix)
            .filter(|length| *length <= TRAILER_BYTES_MAX);
        let mut out = BytesMut::with_capacity(length.ok_or(SealError::InvalidParts)?);
        out.put_bytes(0, pad);
        for piece in [&iv[..], &text, &tag, &footer.encode(secrets)] {
            out.extend_from_slice(piece);
        }
        Ok(out.freeze())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.layout.plain_len().to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.layout.parts().len()).ok()?.to_be_bytes());
        let checksum = self.checksum.as_ref();
        let value = checksum.map_or(&[][..], Checksum::value);
        let flags = if checksum.is_some_and(Checksum::is_composite) {
            FLAG_COMPOSITE
        } else {
            0
        };
        out.push(checksum.map_or(0, |checksum| checksum.algorithm() as u8));
        out.push(u8::try_from(value.len()).ok()?);
        out.extend_from_slice(&flags.to_be_bytes());
        let mut room = [0; CHECKSUM_ROOM];
        room.get_mut(..value.len())?.copy_from_slice(value);
        out.extend_from_slice(&room);
        for part in self.layout.parts() {
            out.extend_from_slice(&part.number.to_bytes());
            out.push(if part.iv.is_some() { ENTRY_PINNED } else { 0 });
            out.extend_from_slice(&u40_bytes(part.plain_len)?);
            out.extend_from_slice(&part.iv.unwrap_or_default());
            out.extend_from_slice(&part.crc64);
        }
        Some(out)
    }

    fn decode(is_multi: bool, parts: u32, text: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let plain_len = cursor.u64()?;
        if cursor.u32()? != parts {
            return None;
        }
        let checksum = decode_checksum(&mut cursor)?;
        let mut entries = Vec::with_capacity(usize::try_from(parts.min(size::PARTS_MAX)).ok()?);
        for _ in 0..parts {
            entries.push(decode_entry(&mut cursor)?);
        }
        let layout = Layout::from_parts(is_multi, entries)?;
        (cursor.is_empty() && layout.plain_len() == plain_len).then_some(Self { layout, checksum })
    }
}

/// The checksum fields of a manifest: outer `None` if they are not canonical.
fn decode_checksum(cursor: &mut Cursor<'_>) -> Option<Option<Checksum>> {
    let (code, length, flags) = (cursor.u8()?, usize::from(cursor.u8()?), cursor.u16()?);
    let (value, rest) = cursor.take(CHECKSUM_ROOM)?.split_at_checked(length)?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    match (code, flags) {
        (0, 0) => (length == 0).then_some(None),
        (_, 0) => Checksum::full(ChecksumAlgorithm::from_code(code)?, value).map(Some),
        (_, FLAG_COMPOSITE) => Checksum::composite(ChecksumAlgorithm::from_code(code)?, value).map(Some),
        _ => None,
    }
}

fn decode_entry(cursor: &mut Cursor<'_>) -> Option<PartEntry> {
    let number = PartNumber::decode(cursor.u16()?)?;
    let flags = cursor.u8()?;
    let plain_len = cursor.u40()?;
    let iv: FloeIv = cursor.array()?;
    let crc64 = cursor.array()?;
    let iv = match flags {
        ENTRY_PINNED => Some(iv),
        0 if iv == [0; 32] => None,
        _ => return None,
    };
    Some(PartEntry {
        number,
        plain_len,
        iv,
        crc64,
    })
}

impl Footer {
    /// Verifies a footer and its agreement with the header.
    ///
    /// # Errors
    /// [`TrailerError::NotAuthentic`]; [`TrailerError::Inconsistent`] if it verifies but contradicts
    /// the header or itself.
    pub fn open(bytes: &[u8; FOOTER_BYTES], header: &ObjectHeader) -> Result<Self, TrailerError> {
        let (prefix, mac) = bytes
            .split_first_chunk::<FOOTER_PREFIX>()
            .ok_or(TrailerError::Malformed)?;
        if !bool::from(header.secrets.footer_mac(prefix).ct_eq(mac)) {
            return Err(TrailerError::NotAuthentic);
        }
        let footer = Self::decode(prefix).ok_or(TrailerError::Malformed)?;
        let agrees = match Layout::single(header) {
            Some(single) => Self::of(&single) == Some(footer),
            None => header.plain_len.is_none_or(|length| length == footer.plain_len),
        };
        if agrees {
            Ok(footer)
        } else {
            Err(TrailerError::Inconsistent)
        }
    }

    /// The footer that belongs to a layout; `None` for one without trailer.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let parts = u32::try_from(layout.parts().len()).ok()?;
        let manifest_len = u32::try_from(size::manifest_len(parts)?).ok()?;
        Some(Self {
            plain_len: layout.plain_len(),
            parts,
            manifest_len,
            pad: layout.pad()?,
        })
    }

    fn decode(prefix: &[u8; FOOTER_PREFIX]) -> Option<Self> {
        let mut cursor = Cursor::new(prefix);
        let start = (cursor.array::<4>()?, cursor.u8()?, cursor.u8()?, cursor.u16()?);
        if start != (MAGIC, VERSION, Suite::FloeAes256Gcm.code(), 0) {
            return None;
        }
        let footer = Self {
            plain_len: cursor.u64()?,
            parts: cursor.u32()?,
            manifest_len: cursor.u32()?,
            pad: cursor.u64()?,
        };
        let suits = size::manifest_len(footer.parts) == Some(u64::from(footer.manifest_len))
            && size::stored_len(footer.plain_len).is_some_and(|stored| footer.pad < stored);
        suits.then_some(footer)
    }

    /// The 32 bytes that the MAC and the manifest's AAD cover.
    fn prefix(&self) -> [u8; FOOTER_PREFIX] {
        let mut prefix = [0; FOOTER_PREFIX];
        let fields = MAGIC
            .into_iter()
            .chain([VERSION, Suite::FloeAes256Gcm.code(), 0, 0])
            .chain(self.plain_len.to_be_bytes())
            .chain(self.parts.to_be_bytes())
            .chain(self.manifest_len.to_be_bytes())
            .chain(self.pad.to_be_bytes());
        for (to, from) in prefix.iter_mut().zip(fields) {
            *to = from;
        }
        prefix
    }

    /// The footer's bytes.
    pub(crate) fn encode(&self, secrets: &ObjectSecrets) -> [u8; FOOTER_BYTES] {
        let prefix = self.prefix();
        let mut footer = [0; FOOTER_BYTES];
        for (to, from) in footer
            .iter_mut()
            .zip(prefix.iter().chain(&secrets.footer_mac(&prefix)))
        {
            *to = *from;
        }
        footer
    }

    /// Checks it against the length that the store reports.
    ///
    /// # Errors
    /// [`TrailerError::Inconsistent`].
    pub fn check_stored_len(&self, stored: u64) -> Result<(), TrailerError> {
        if size::stored_len(self.plain_len) == Some(stored) {
            Ok(())
        } else {
            Err(TrailerError::Inconsistent)
        }
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

    /// How many bytes a read of the object's end must span to hold manifest and footer.
    pub fn suffix_len(&self) -> u64 {
        u64::from(self.manifest_len).saturating_add(size::FOOTER)
    }
}

/// What the last bytes of a stored body hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suffix {
    /// The manifest was inside.
    Complete(Footer, Manifest),
    /// The footer is authentic, the manifest begins earlier: read this many bytes from the end.
    Need(Footer, u64),
}

impl Suffix {
    /// Opens `tail`, the last bytes of the stored body. 4 KiB hold up to 81 parts, 16 KiB 337.
    ///
    /// # Errors
    /// [`TrailerError`]; [`TrailerError::Malformed`] below 64 bytes.
    pub fn open(engine: &Engine, header: &ObjectHeader, tail: &[u8]) -> Result<Self, TrailerError> {
        let (before, footer) = tail
            .split_last_chunk::<FOOTER_BYTES>()
            .ok_or(TrailerError::Malformed)?;
        let footer = Footer::open(footer, header)?;
        let sealed = usize::try_from(footer.manifest_len)
            .ok()
            .and_then(|length| before.len().checked_sub(length))
            .and_then(|start| before.get(start..));
        match sealed {
            Some(sealed) => Manifest::open(engine, header, &footer, sealed)
                .map(|manifest| Self::Complete(footer, manifest)),
            None => Ok(Self::Need(footer, footer.suffix_len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sceau_keys::{Oid, SecretKey};

    use super::*;
    use crate::metadata::Metadata;

    fn header(plain_len: Option<u64>, iv0: FloeIv, is_multi: bool) -> ObjectHeader {
        ObjectHeader {
            secrets: Arc::new(ObjectSecrets::from_parts(SecretKey::new([1; 32]), Oid([2; 16]))),
            is_multi,
            is_name_hidden: false,
            plain_len,
            write_time_ms: 0,
            writer_id: [0; 8],
            writer_seq: 0,
            iv0,
            metadata: Metadata::default(),
        }
    }

    /// The sealed form of `text` under the AAD of `footer`, as a faulty writer could make it.
    fn seal(engine: &Engine, secrets: &ObjectSecrets, footer: &Footer, mut text: Vec<u8>) -> Vec<u8> {
        let key = engine.key(&secrets.manifest_key()).unwrap();
        let (iv, tag) = key.seal(&footer.prefix(), &mut text).unwrap();
        [&iv[..], &text, &tag].concat()
    }

    #[test]
    fn authentic_trailers_that_contradict_the_header_are_refused() {
        let engine = Engine::fastest();
        let honest = header(Some(5), [3; 32], false);
        let manifest = Manifest::single(5, [3; 32], None).unwrap();
        let trailer = manifest.seal_trailer(&engine, &honest.secrets).unwrap();
        let open = |header: &ObjectHeader| Suffix::open(&engine, header, &trailer);
        assert!(matches!(open(&honest), Ok(Suffix::Complete(..))));
        let contradictions = [
            header(Some(6), [3; 32], false),
            header(Some(5), [4; 32], false),
            header(Some(5), [0; 32], true),
            header(Some(6), [0; 32], true),
            header(None, [0; 32], true),
        ];
        for header in &contradictions {
            assert_eq!(open(header), Err(TrailerError::Inconsistent));
        }
        // A HEAD request sees the footer only: a wrong length must be refused there already.
        let footer = trailer.last_chunk().unwrap();
        assert_eq!(
            Footer::open(footer, &contradictions[0]),
            Err(TrailerError::Inconsistent)
        );
        assert_eq!(
            Footer::open(footer, &contradictions[3]),
            Err(TrailerError::Inconsistent)
        );
    }

    #[test]
    fn authentic_manifests_that_contradict_themselves_or_the_footer_are_refused() {
        let engine = Engine::fastest();
        let header = header(None, [0; 32], true);
        let entry = |number, plain_len| PartEntry {
            number: PartNumber::upload(number).unwrap(),
            plain_len,
            iv: Some([5; 32]),
            crc64: [0; 8],
        };
        let manifest = Manifest::multipart(vec![entry(1, 100)], None).unwrap();
        let footer = manifest.footer().unwrap();
        let text = manifest.encode().unwrap();
        let open = |footer: &Footer, text: Vec<u8>| {
            Manifest::open(
                &engine,
                &header,
                footer,
                &seal(&engine, &header.secrets, footer, text),
            )
        };
        assert_eq!(open(&footer, text.clone()), Ok(manifest));
        for wrong in [
            Footer {
                plain_len: 101,
                ..footer
            },
            Footer {
                pad: footer.pad.wrapping_add(1),
                ..footer
            },
            Footer { parts: 2, ..footer },
        ] {
            assert_eq!(open(&wrong, text.clone()), Err(TrailerError::Inconsistent));
        }
        // n, m, checksum algorithm, length, flags, unused value bytes, number, flags, length.
        for at in [7, 11, 12, 13, 14, 15, 16, 79, 80, 82, 87] {
            let mut twin = text.clone();
            twin[at] ^= 0x80;
            assert_eq!(open(&footer, twin), Err(TrailerError::Inconsistent), "byte {at}");
        }
    }
}
