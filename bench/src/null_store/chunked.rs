//! Taking aws-chunked framing off a body.
//!
//! What lives here: chunk lines and the trailer. What must not: signatures and checksums, which this store
//! never checks. Invariant: what is handed out is exactly what stands between the chunk lines.

/// Longest chunk line or trailer line, bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// A body that is not aws-chunked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Where in the framing the next byte stands.
#[derive(Debug)]
enum At {
    Line,
    Data(u64),
    /// The line end behind the data of a chunk.
    DataEnd,
    Trailer,
}

/// Reads one body.
#[derive(Debug)]
pub struct Deframer {
    at: At,
    line: Vec<u8>,
}

impl Deframer {
    /// At the start of a body.
    pub fn new() -> Self {
        Self {
            at: At::Line,
            line: Vec::new(),
        }
    }

    /// Takes the next bytes of the body; `give` gets those that are content.
    pub fn push(&mut self, mut bytes: &[u8], mut give: impl FnMut(&[u8])) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if let At::Data(left) = self.at {
                let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (content, rest) = bytes.split_at_checked(take).ok_or(Malformed)?;
                give(content);
                bytes = rest;
                let left = left.saturating_sub(take as u64);
                self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.keep(bytes)?;
                return Ok(());
            };
            let (line, rest) = bytes.split_at_checked(end.saturating_add(1)).ok_or(Malformed)?;
            self.keep(line)?;
            bytes = rest;
            self.line_ended()?;
        }
        Ok(())
    }

    /// Whether the last chunk came.
    pub fn is_complete(&self) -> bool {
        matches!(self.at, At::Trailer)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.line.extend_from_slice(bytes);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(())
    }

    fn line_ended(&mut self) -> Result<(), Malformed> {
        let line = std::mem::take(&mut self.line);
        self.at = match self.at {
            At::Line => match length_of(&line).ok_or(Malformed)? {
                0 => At::Trailer,
                length => At::Data(length),
            },
            At::DataEnd if line == b"\r\n" => At::Line,
            At::Trailer => At::Trailer,
            At::DataEnd | At::Data(_) => return Err(Malformed),
        };
        Ok(())
    }
}

fn length_of(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let digits = line.split(';').next()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], cut: usize) -> Result<(Vec<u8>, bool), Malformed> {
        let mut deframer = Deframer::new();
        let mut content = Vec::new();
        for piece in body.chunks(cut) {
            deframer.push(piece, |bytes| content.extend_from_slice(bytes))?;
        }
        Ok((content, deframer.is_complete()))
    }

    #[test]
    fn content_is_the_same_however_the_body_is_cut() {
        let body = b"5;chunk-signature=ab\r\nhel\nl\r\nb\r\no, world!!!\r\n0;chunk-signature=cd\r\nx-amz-checksum-crc32:AA==\r\n\r\n";
        for cut in 1..body.len() {
            assert_eq!(
                read(body, cut),
                Ok((b"hel\nlo, world!!!".to_vec(), true)),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_cut_body_is_incomplete_and_a_plain_one_malformed() {
        assert_eq!(read(b"5\r\nhel", 3), Ok((b"hel".to_vec(), false)));
        assert_eq!(read(b"plain text\n", 4), Err(Malformed));
        assert_eq!(read(b"1\r\nab\r\n", 9), Err(Malformed));
    }
}
