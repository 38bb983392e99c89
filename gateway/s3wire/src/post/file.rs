//! Where the file of a form ends.
//!
//! What lives here: the file's length, from the lengths around it, and the check of what follows it.
//! What must not: the file's bytes. Invariant: a file is taken as whole only if the delimiter stands
//! exactly behind it and nowhere within it, so no reader of the same body finds another file in it.

use bytes::Bytes;

use super::error::PostError;
use super::form::Boundary;
use crate::payload::PayloadError;

/// The file of a form that is about to be read.
pub struct FormFile {
    pub(crate) end: FormEnd,
    /// Bytes of the body behind the form's head that arrived already.
    pub(crate) received: Bytes,
    pub(crate) length: u64,
}

impl FormFile {
    /// A file that is still arriving: its length follows from that of the body, since only the closing
    /// delimiter may follow it.
    ///
    /// # Errors
    ///
    /// The body is shorter than its delimiter.
    pub fn arriving(
        boundary: &Boundary,
        body_length: u64,
        file_offset: u64,
        received: Bytes,
    ) -> Result<Self, PostError> {
        let end = FormEnd::new(boundary, false);
        let around = file_offset.checked_add(end.closing.len() as u64);
        let length = around.and_then(|around| body_length.checked_sub(around));
        Ok(Self {
            length: length.ok_or(PostError::Malformed("it ends before its closing delimiter"))?,
            end,
            received,
        })
    }

    /// A file of which the body arrived whole: `rest` is all of the body behind the form's head. Fields
    /// that follow the file are ignored, as in S3.
    ///
    /// # Errors
    ///
    /// There is no delimiter.
    pub fn arrived(boundary: &Boundary, rest: Bytes) -> Result<Self, PostError> {
        let end = FormEnd::new(boundary, true);
        let at = rest
            .windows(end.delimiter_length)
            .position(|window| end.closing.get(..end.delimiter_length) == Some(window));
        let at = at.ok_or(PostError::Malformed("it ends before its closing delimiter"))?;
        let behind = rest
            .get(at.saturating_add(end.delimiter_length)..)
            .unwrap_or_default();
        if !behind.starts_with(b"--") && !behind.starts_with(b"\r\n") {
            return Err(PostError::Malformed(
                "a delimiter is not followed by a line break",
            ));
        }
        Ok(Self {
            length: at as u64,
            end,
            received: rest,
        })
    }

    /// Length of the file in bytes. A promise: it is kept or the upload is refused.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// The check of a file's end.
pub(crate) struct FormEnd {
    /// Line break, two dashes, boundary, two dashes, line break.
    closing: Vec<u8>,
    /// How much of `closing` is the delimiter between two parts.
    delimiter_length: usize,
    /// Whether other fields may follow.
    may_go_on: bool,
    /// How much of a delimiter the last bytes of the file look like.
    alike: usize,
    /// How much was read behind the file.
    seen: usize,
}

impl FormEnd {
    fn new(boundary: &Boundary, may_go_on: bool) -> Self {
        let delimiter = boundary.delimiter();
        Self {
            delimiter_length: delimiter.len(),
            closing: [&*delimiter, b"--\r\n"].concat(),
            may_go_on,
            alike: 0,
            seen: 0,
        }
    }

    /// Looks at bytes of the file.
    pub(crate) fn within(&mut self, mut file: &[u8]) -> Result<(), PayloadError> {
        while let Some(byte) = file.first() {
            if self.alike == 0 {
                // The delimiter has a carriage return at its beginning and nowhere else.
                let Some(at) = file.iter().position(|byte| *byte == b'\r') else {
                    return Ok(());
                };
                self.alike = 1;
                file = file.get(at.saturating_add(1)..).unwrap_or_default();
                continue;
            }
            if self.closing.get(self.alike) == Some(byte) {
                self.alike = self.alike.saturating_add(1);
                if self.alike == self.delimiter_length {
                    return Err(PayloadError::MalformedForm("the file must be the last field"));
                }
                file = file.get(1..).unwrap_or_default();
            } else {
                // Looked at again: it may be a carriage return.
                self.alike = 0;
            }
        }
        Ok(())
    }

    /// Looks at bytes behind the file.
    pub(crate) fn behind(&mut self, bytes: &[u8]) -> Result<(), PayloadError> {
        for byte in bytes {
            let is_over = self.may_go_on && self.seen >= self.delimiter_length;
            if !is_over && self.closing.get(self.seen) != Some(byte) {
                return Err(PayloadError::MalformedForm(
                    "the file is not followed by the closing delimiter and a line break",
                ));
            }
            self.seen = self.seen.saturating_add(1);
        }
        Ok(())
    }

    /// The body is over.
    pub(crate) fn finish(&self) -> Result<(), PayloadError> {
        let needed = if self.may_go_on {
            self.delimiter_length
        } else {
            self.closing.len()
        };
        if self.seen >= needed {
            Ok(())
        } else {
            Err(PayloadError::MalformedForm(
                "it ends before its closing delimiter",
            ))
        }
    }
}
