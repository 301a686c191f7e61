//! Checked reading of a byte range: nothing is believed, every error knows its offset.

use crate::error::{Error, Result};

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { bytes, at }
    }

    /// Bytes from here to the end.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// An error at this place.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        malformed(self.at, message)
    }

    /// The next `len` bytes; `what` names them if the file ends before.
    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let bytes = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let bytes =
            bytes.ok_or_else(|| self.error(format!("the file ends inside {what}: {len} bytes needed, {} left", self.left())))?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things of at least `least` bytes each, which must fit the rest of the file.
    pub(super) fn count(&mut self, least: usize, what: &str) -> Result<usize> {
        let place = self.at;
        let count = self.u64(what)?;
        match usize::try_from(count).ok().filter(|&count| count.checked_mul(least).is_some_and(|bytes| bytes <= self.left())) {
            Some(count) => Ok(count),
            None => Err(malformed(
                place,
                format!("{what}: a count of {count} does not fit the {} bytes left in the file", self.left()),
            )),
        }
    }

    /// Bytes with their length in front.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.count(1, what)?;
        self.take(len, what)
    }

    /// A name: short, UTF-8, without control characters.
    pub(super) fn name(&mut self, what: &str, longest: usize) -> Result<&'a str> {
        let place = self.at;
        let bytes = self.string(what)?;
        if bytes.is_empty() || bytes.len() > longest {
            return Err(malformed(place, format!("{what} is {} bytes long, expected 1 to {longest}", bytes.len())));
        }
        let name = std::str::from_utf8(bytes).map_err(|_| malformed(place, format!("{what} is not UTF-8")))?;
        if name.contains(|c: char| c.is_control()) {
            return Err(malformed(place, format!("{what} has control characters")));
        }
        Ok(name)
    }
}

/// An error at an offset.
pub(super) fn malformed(offset: usize, message: impl Into<String>) -> Error {
    Error::Malformed { offset: offset as u64, message: message.into() }
}
