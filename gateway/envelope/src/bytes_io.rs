//! Reading fixed layouts without panics.
//!
//! What lives here: a cursor over received bytes. What must not: meaning. Invariant: every read
//! says how many bytes it wants and gets none if there are fewer.

/// A cursor over bytes that may be hostile.
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 40-bit number.
    pub(crate) fn u40(&mut self) -> Option<u64> {
        let low: [u8; 5] = self.array()?;
        let mut wide = [0; 8];
        for (to, from) in wide.iter_mut().skip(3).zip(low) {
            *to = from;
        }
        Some(u64::from_be_bytes(wide))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `u32`-length-prefixed field of at most `max` bytes.
    pub(crate) fn lp(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?)
            .ok()
            .filter(|length| *length <= max)?;
        self.take(length)
    }
}

/// The low 40 bits of `value`, big-endian; `None` if it does not fit.
pub(crate) fn u40_bytes(value: u64) -> Option<[u8; 5]> {
    let [0, 0, 0, rest @ ..] = value.to_be_bytes() else {
        return None;
    };
    Some(rest)
}

/// Appends a `u32`-length-prefixed field; `None` if it is 4 GiB or more.
pub(crate) fn put_lp(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}
