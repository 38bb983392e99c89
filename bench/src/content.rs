//! What the objects contain.
//!
//! What lives here: the generator and the comparison. What must not: requests, memory of what was sent.
//! Invariant: a byte depends only on the run's seed, the object's number and the byte's offset, so any read
//! can be checked at any offset without having kept what was written.

const WORD_BYTES: u64 = 8;
/// Bytes generated at a time for a comparison; stays in the first cache level.
const SCRATCH_BYTES: usize = 8 * 1024;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scatters a number over all 64 bits (the finalizer of SplitMix64); a bijection, not cryptography.
pub fn scatter(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The content of one object, of any length; it does not compress.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    seed: u64,
}

impl Content {
    /// The content of object `number` in the run with `seed`.
    pub fn new(seed: u64, number: u64) -> Self {
        Self {
            seed: scatter(seed.wrapping_add(GOLDEN) ^ scatter(number.wrapping_add(1))),
        }
    }

    /// `length` bytes from `offset` on.
    pub fn bytes_at(self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes);
        bytes
    }

    /// Offset of the first byte of `received` that is not the content at `offset`.
    pub fn first_difference(self, offset: u64, received: &[u8]) -> Option<u64> {
        let mut scratch = [0; SCRATCH_BYTES];
        let mut at = offset;
        for piece in received.chunks(SCRATCH_BYTES) {
            let expected = scratch.split_at_mut(piece.len()).0;
            self.fill(at, expected);
            if expected != piece {
                let same = expected.iter().zip(piece).take_while(|(a, b)| a == b).count();
                return Some(at.saturating_add(same as u64));
            }
            at = at.saturating_add(piece.len() as u64);
        }
        None
    }

    fn fill(self, offset: u64, into: &mut [u8]) {
        let mut word = offset / WORD_BYTES;
        let skip = usize::try_from(offset % WORD_BYTES).unwrap_or(0);
        let head = if skip == 0 {
            0
        } else {
            8_usize.saturating_sub(skip).min(into.len())
        };
        let (head, rest) = into.split_at_mut(head);
        if !head.is_empty() {
            let bytes = self.word(word);
            head.iter_mut()
                .zip(bytes.iter().skip(skip))
                .for_each(|(to, from)| *to = *from);
            word = word.wrapping_add(1);
        }
        let (words, tail) = rest.as_chunks_mut::<8>();
        for to in words {
            *to = self.word(word);
            word = word.wrapping_add(1);
        }
        tail.iter_mut()
            .zip(self.word(word))
            .for_each(|(to, from)| *to = from);
    }

    fn word(self, number: u64) -> [u8; 8] {
        scatter(self.seed.wrapping_add(number.wrapping_mul(GOLDEN))).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_the_content_compares_equal() {
        let content = Content::new(7, 3);
        let whole = content.bytes_at(0, 3 * SCRATCH_BYTES + 5);
        for start in [0, 1, 7, 8, 9, SCRATCH_BYTES - 1, 2 * SCRATCH_BYTES + 3] {
            for end in [start, start + 1, start + 3, whole.len()] {
                assert_eq!(content.first_difference(start as u64, &whole[start..end]), None);
            }
        }
    }

    #[test]
    fn one_changed_bit_is_found_where_it_is() {
        let content = Content::new(7, 3);
        for at in [0, 5, SCRATCH_BYTES, 2 * SCRATCH_BYTES + 1] {
            let mut bytes = content.bytes_at(0, 2 * SCRATCH_BYTES + 2);
            bytes[at] ^= 0x10;
            assert_eq!(content.first_difference(0, &bytes), Some(at as u64));
        }
    }

    #[test]
    fn another_object_seed_or_offset_is_another_content() {
        let bytes = Content::new(7, 3).bytes_at(0, 64);
        assert!(Content::new(7, 4).first_difference(0, &bytes).is_some());
        assert!(Content::new(8, 3).first_difference(0, &bytes).is_some());
        assert!(Content::new(7, 3).first_difference(8, &bytes).is_some());
    }
}
