//! Where the bytes of a model are: in a file mapping, in memory of our own, or in the caller's.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

/// The bytes of one file.
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
    Borrowed { data: *const u8, len: usize },
}

// SAFETY: the bytes are only read; whoever lent borrowed ones promised that they stay as they are.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
            // SAFETY: the promise of `File::from_raw`.
            Bytes::Borrowed { data, len } => unsafe { std::slice::from_raw_parts(*data, *len) },
        }
    }
}

impl Bytes {
    /// Maps a file, or reads it into private memory.
    pub(super) fn open(path: &Path, copied: bool) -> Result<Bytes> {
        let fail = |what: &str| {
            let what = format!("{what} {}", path.display());
            move |source| Error::Io { what, source }
        };
        let mut file = fs::File::open(path).map_err(fail("cannot open"))?;
        let metadata = file.metadata().map_err(fail("cannot read the size of"))?;
        if metadata.is_dir() {
            return Err(fail("cannot open")(std::io::ErrorKind::IsADirectory.into()));
        }
        let len = usize::try_from(metadata.len()).map_err(|_| Error::OutOfMemory)?;
        // An empty file cannot be mapped; what is wrong with it is said where the header is read.
        if copied || len == 0 {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
            file.by_ref().take(metadata.len()).read_to_end(&mut bytes).map_err(fail("cannot read"))?;
            return Ok(Bytes::Owned(bytes));
        }
        // SAFETY: the mapping is private and only read. A file that another process truncates while it is mapped makes
        // reads fault: the documentation of `File::open` says so and offers the copy.
        let map = unsafe { Mmap::map(&file) }.map_err(fail("cannot map"))?;
        Ok(Bytes::Mapped(map))
    }
}
