//! FLOE: the segmented authenticated encryption of one part (§6.1, C2SP FLOE).
//!
//! What lives here: key derivation and one-segment operations, with the segment length and the
//! key-rotation interval as parameters so that the public vectors run on this code. What must not:
//! the decision which segment is where or which is last. Invariant: position and finality are
//! arguments, taken by the callers from authenticated lengths, never from the stored bytes.

use sceau_keys::SecretKey;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::engine::{AeadKey, Engine, IV_BYTES, TAG_BYTES};
use crate::error::{OpenError, SealError};
use crate::prf::{KeyedHmac, PRF_BYTES, hmac_sha384};
use crate::secrets::FloeIv;

/// Bytes before a segment's ciphertext: marker or length, and IV.
pub const SEGMENT_PREFIX: usize = 16;
/// Bytes that a segment adds to its plaintext.
pub const SEGMENT_OVERHEAD: usize = SEGMENT_PREFIX + TAG_BYTES;
/// Bytes of a FLOE header: parameters, IV, header tag.
pub const HEADER_BYTES: usize = 74;

const PARAMETER_BYTES: usize = 10;
const HEADER_TAG_BYTES: usize = 32;
/// In place of a length: this segment is not the last.
const NOT_FINAL: u32 = u32::MAX;

/// The parameters of a FLOE instance: AES-256-GCM and SHA-384 with a 32-byte IV, and a segment length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    segment_stored: u32,
    rotation_bits: u32,
}

impl Parameters {
    /// Those of suite 0x01.
    pub const SOF1: Self = Self {
        segment_stored: 65_568,
        rotation_bits: 20,
    };

    /// Others, for the public vectors: `None` if the segment has no room for a byte or the rotation
    /// exceeds 63 bits.
    pub const fn new(segment_stored: u32, rotation_bits: u32) -> Option<Self> {
        if segment_stored as usize <= SEGMENT_OVERHEAD || rotation_bits > 63 || segment_stored == NOT_FINAL {
            return None;
        }
        Some(Self {
            segment_stored,
            rotation_bits,
        })
    }

    /// Stored bytes of a full segment.
    pub const fn segment_stored(&self) -> usize {
        self.segment_stored as usize
    }

    /// Plaintext bytes of a full segment.
    pub const fn segment_plain(&self) -> usize {
        self.segment_stored().saturating_sub(SEGMENT_OVERHEAD)
    }

    /// Their encoding: AEAD 0, KDF 0, segment length, IV length 32.
    pub fn encode(&self) -> [u8; PARAMETER_BYTES] {
        let [a, b, c, d] = self.segment_stored.to_be_bytes();
        [0, 0, a, b, c, d, 0, 0, 0, 32]
    }

    /// The number that a segment's key is derived from: its index without the low bits.
    fn key_index(&self, index: u64) -> u64 {
        index >> self.rotation_bits << self.rotation_bits
    }
}

/// The keys of one FLOE ciphertext.
pub struct Floe {
    parameters: Parameters,
    iv: FloeIv,
    aad: Vec<u8>,
    message_key: Zeroizing<[u8; PRF_BYTES]>,
    header_tag: [u8; HEADER_TAG_BYTES],
    engine: Engine,
    segment_key: Option<(u64, AeadKey)>,
}

impl Floe {
    /// Derives the keys of the ciphertext that has this IV.
    pub fn new(engine: &Engine, parameters: Parameters, key: &SecretKey, iv: FloeIv, aad: &[u8]) -> Self {
        let encoded = parameters.encode();
        let keyed = KeyedHmac::new(key.expose());
        let derive = |purpose: &[u8]| keyed.hmac(&[&encoded, &iv, purpose, aad, &[1]]);
        let tag = derive(b"HEADER_TAG:");
        Self {
            parameters,
            iv,
            aad: aad.to_vec(),
            message_key: derive(b"MESSAGE_KEY:"),
            header_tag: tag.first_chunk().copied().unwrap_or_default(),
            engine: engine.clone(),
            segment_key: None,
        }
    }

    /// Derives the keys of the ciphertext with this header, after checking its parameters and tag.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`].
    pub fn from_header(
        engine: &Engine,
        parameters: Parameters,
        key: &SecretKey,
        header: &[u8; HEADER_BYTES],
        aad: &[u8],
    ) -> Result<Self, OpenError> {
        let iv = header.get(PARAMETER_BYTES..).and_then(|rest| rest.first_chunk());
        let floe = Self::new(engine, parameters, key, *iv.ok_or(OpenError::Corrupted)?, aad);
        floe.check_header(header)?;
        Ok(floe)
    }

    /// Checks that `header` is exactly this ciphertext's header.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`].
    pub fn check_header(&self, header: &[u8]) -> Result<(), OpenError> {
        if self.header().as_slice().ct_eq(header).into() {
            Ok(())
        } else {
            Err(OpenError::Corrupted)
        }
    }

    /// The header: parameters, IV, tag.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let parameters = self.parameters.encode();
        for (to, from) in header
            .iter_mut()
            .zip(parameters.iter().chain(&self.iv).chain(&self.header_tag))
        {
            *to = *from;
        }
        header
    }

    /// The IV.
    pub fn iv(&self) -> &FloeIv {
        &self.iv
    }

    /// Seals a segment in place: [`SEGMENT_PREFIX`] bytes of room, plaintext, room for the tag. A
    /// segment that is not final must be full.
    ///
    /// # Errors
    /// [`SealError::TooShort`] or [`SealError::TooLong`] for the wrong length, [`SealError::Random`],
    /// [`SealError::Engine`].
    pub fn seal_segment(&mut self, index: u64, is_final: bool, segment: &mut [u8]) -> Result<(), SealError> {
        let length = segment.len();
        let full = self.parameters.segment_stored();
        if length > full {
            return Err(SealError::TooLong);
        }
        if length < SEGMENT_OVERHEAD || (!is_final && length != full) {
            return Err(SealError::TooShort);
        }
        let marker = marker(is_final, length).ok_or(SealError::TooLong)?;
        let aad = segment_aad(index, is_final);
        let (prefix, rest) = segment
            .split_at_mut_checked(SEGMENT_PREFIX)
            .ok_or(SealError::TooShort)?;
        let (text, tag_room) = rest
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(SealError::TooShort)?;
        let (iv, tag) = self.segment_key(index)?.seal(&aad, text)?;
        *tag_room = tag;
        for (to, from) in prefix.iter_mut().zip(marker.iter().chain(&iv)) {
            *to = *from;
        }
        Ok(())
    }

    /// Opens a segment in place; the plaintext then lies after [`SEGMENT_PREFIX`] bytes and before
    /// the tag. The segment is wiped when it does not open.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`].
    pub fn open_segment(&mut self, index: u64, is_final: bool, segment: &mut [u8]) -> Result<(), OpenError> {
        let opened = self.try_open_segment(index, is_final, segment);
        if opened.is_err() {
            segment.zeroize();
        }
        opened
    }

    fn try_open_segment(&mut self, index: u64, is_final: bool, segment: &mut [u8]) -> Result<(), OpenError> {
        let length = segment.len();
        let full = self.parameters.segment_stored();
        let fits = length >= SEGMENT_OVERHEAD && length <= full && (is_final || length == full);
        let expected = marker(is_final, length)
            .filter(|_| fits)
            .ok_or(OpenError::Corrupted)?;
        let (found, rest) = segment.split_first_chunk_mut::<4>().ok_or(OpenError::Corrupted)?;
        let (iv, sealed) = rest
            .split_first_chunk_mut::<IV_BYTES>()
            .ok_or(OpenError::Corrupted)?;
        if *found != expected {
            return Err(OpenError::Corrupted);
        }
        let aad = segment_aad(index, is_final);
        let key = self.segment_key(index).map_err(|_| OpenError::Corrupted)?;
        key.open(iv, &aad, sealed).map_err(|_| OpenError::Corrupted)
    }

    fn segment_key(&mut self, index: u64) -> Result<&AeadKey, SealError> {
        let wanted = self.parameters.key_index(index);
        let key = match self.segment_key.take() {
            Some((held, key)) if held == wanted => key,
            _ => self.derive_segment_key(wanted)?,
        };
        Ok(&self.segment_key.insert((wanted, key)).1)
    }

    fn derive_segment_key(&self, key_index: u64) -> Result<AeadKey, SealError> {
        let parameters = self.parameters.encode();
        let number = key_index.to_be_bytes();
        let pieces: [&[u8]; 6] = [&parameters, &self.iv, b"DEK:", &number, &self.aad, &[1]];
        let output = hmac_sha384(&self.message_key[..], &pieces);
        let key = output
            .get(..32)
            .and_then(SecretKey::from_slice)
            .ok_or(SealError::Engine)?;
        self.engine.key(&key)
    }
}

fn marker(is_final: bool, length: usize) -> Option<[u8; 4]> {
    let value = if is_final {
        u32::try_from(length).ok()?
    } else {
        NOT_FINAL
    };
    Some(value.to_be_bytes())
}

fn segment_aad(index: u64, is_final: bool) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    [a, b, c, d, e, f, g, h, u8::from(is_final)]
}
