//! Reading forward through bytes that nobody vouches for.

use super::map::{Storage, View};
use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A position in a file. Every read is checked, and what fails says where.
pub(super) struct Cursor<'a> {
    storage: &'a Arc<Storage>,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub(super) fn new(storage: &'a Arc<Storage>) -> Cursor<'a> {
        Cursor { storage, bytes: storage.bytes(), position: 0 }
    }

    /// Reads the bytes of `view` again; offsets in errors still count from the start of the file.
    pub(super) fn over(view: &'a View) -> Cursor<'a> {
        let bytes = view.storage().bytes();
        let end = view.start().saturating_add(view.len()).min(bytes.len());
        Cursor { storage: view.storage(), bytes: &bytes[..end], position: view.start() }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The number of bytes from here to the end.
    pub(super) fn left(&self) -> u64 {
        self.rest().len() as u64
    }

    /// Up to `len` of the next bytes, without moving.
    pub(super) fn peek(&self, len: usize) -> &'a [u8] {
        let rest = self.rest();
        &rest[..len.min(rest.len())]
    }

    /// An error at this position.
    pub(super) fn malformed(&self, message: impl Into<String>) -> Error {
        malformed(self.position as u64, message)
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let rest = self.rest();
        let Some(bytes) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else {
            return Err(self.malformed(format!("the file ends too early: {len} bytes are needed and {} are left", rest.len())));
        };
        self.position += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.position as u64;
        self.take(N as u64)?.try_into().map_err(|_| malformed(at, "short read"))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-prefixed string, which need not be UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(len)
    }

    /// A length-prefixed string of 1 to `limit` bytes of UTF-8 without control characters: the name of something.
    pub(super) fn name(&mut self, what: &str, limit: usize) -> Result<&'a str> {
        let at = self.position as u64;
        let len = self.u64()?;
        if len == 0 || len > limit as u64 {
            return Err(malformed(at, format!("a {what} of {len} bytes (1 to {limit} are allowed)")));
        }
        let name = self.take(len)?;
        match std::str::from_utf8(name) {
            Ok(text) if !text.contains(char::is_control) => Ok(text),
            Ok(_) => Err(malformed(at, format!("the {what} {} has control characters", quoted(name)))),
            Err(_) => Err(malformed(at, format!("the {what} {} is not valid UTF-8", quoted(name)))),
        }
    }

    /// A number of things that follow, each at least `size` bytes: more than the file can hold is an error, so whatever
    /// is allocated for them is in proportion to the file.
    pub(super) fn count(&mut self, what: &str, size: u64) -> Result<usize> {
        let at = self.position as u64;
        let count = self.u64()?;
        if count.checked_mul(size).is_none_or(|bytes| bytes > self.left()) {
            return Err(malformed(at, format!("{count} {what} do not fit the {} bytes that follow", self.left())));
        }
        usize::try_from(count).map_err(|_| Error::OutOfMemory)
    }

    /// A view of bytes that were already read.
    pub(super) fn view(&self, range: Range<usize>) -> View {
        View::new(self.storage, range)
    }
}

/// An error at `offset`.
pub(super) fn malformed(offset: u64, message: impl Into<String>) -> Error {
    Error::Malformed { offset, message: message.into() }
}

/// Bytes of a file as one short line for messages: quoted, escaped, abbreviated.
pub(super) fn quoted(bytes: impl AsRef<[u8]>) -> impl fmt::Display {
    const LIMIT: usize = 96;
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(LIMIT)]);
    let more = if bytes.len() > LIMIT { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_debug())
}
