//! Where the bytes of a file live. The only memory mapping of the crate.

use crate::error::{Error, Result};
use crate::tensor::Buffer;
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the system reads ahead for one hint, at least where storage takes requests of a usual size.
const READ_AHEAD: usize = 1 << 20;

/// Bytes of a file that are read at a time: also from slow storage within milliseconds, which is how soon one can stop.
const PART: usize = 256 << 10;

/// Hears how many more bytes were read; its error ends the reading.
pub(super) type Watch<'a> = &'a dyn Fn(usize) -> Result<()>;

/// The bytes of one file. They do not move and do not change while this exists.
pub(super) enum Storage {
    Mapped(Mapped),
    Owned(Vec<u8>),
    Copied(Buffer<u8>),
    Borrowed(Borrowed),
}

/// A file in the address space, kept open to see whether it was cut.
pub(super) struct Mapped {
    map: memmap2::Mmap,
    file: File,
    path: PathBuf,
}

/// Bytes of the caller; see [`Storage::borrowed`].
pub(super) struct Borrowed {
    data: *const u8,
    len: usize,
}

// SAFETY: the bytes are only read, and `Storage::borrowed` demands that nobody writes them.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl Storage {
    /// Maps the file at `path`, read-only and shared with every other process that does.
    pub(super) fn map(path: &Path) -> Result<Storage> {
        let (file, len) = open(path)?;
        if len == 0 {
            return Ok(Storage::Owned(Vec::new()));
        }
        // The length comes from the open file, not from its name, and the mapping has exactly this length.
        let len = usize::try_from(len).map_err(|_| Error::OutOfMemory)?;
        // SAFETY: read-only; that nobody cuts or changes the file meanwhile is the documented duty of who opens it.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(&file) }.map_err(|source| io("cannot map", path, source))?;
        Ok(Storage::Mapped(Mapped { map, file, path: path.to_owned() }))
    }

    /// Sees whether a mapped file still has all its bytes: who reads one that is gone is ended by the system. Costs one
    /// system call, and cannot see what happens after it.
    pub(super) fn check(&self) -> Result<()> {
        let Storage::Mapped(Mapped { map, file, path }) = self else { return Ok(()) };
        let len = file.metadata().map_err(|source| io("cannot stat", path, source))?.len();
        if len >= map.len() as u64 {
            return Ok(());
        }
        let message = format!("the file was cut from {} bytes to {len} while it was open", map.len());
        Err(io("cannot read", path, std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message)))
    }

    /// Reads the file at `path` into private memory; `watch` hears of every part, and its error ends the reading.
    pub(super) fn read(path: &Path, watch: Watch) -> Result<Storage> {
        let (file, len) = open(path)?;
        let len = usize::try_from(len).map_err(|_| Error::OutOfMemory)?;
        Storage::fill(len, |_, part| (&file).read_exact(part).map_err(|source| io("cannot read", path, source)), watch)
    }

    /// Copies bytes into private memory.
    pub(super) fn copy(bytes: &[u8], watch: Watch) -> Result<Storage> {
        let copy = |at: usize, part: &mut [u8]| {
            part.copy_from_slice(&bytes[at..at + part.len()]);
            Ok(())
        };
        Storage::fill(bytes.len(), copy, watch)
    }

    /// Fills `len` bytes of private memory part by part.
    fn fill(len: usize, fill: impl Fn(usize, &mut [u8]) -> Result<()>, watch: Watch) -> Result<Storage> {
        let mut bytes = Buffer::new(len)?;
        for (number, part) in bytes.chunks_mut(PART).enumerate() {
            fill(number * PART, part)?;
            watch(part.len())?;
        }
        Ok(Storage::Copied(bytes))
    }

    /// Bytes of the caller.
    ///
    /// # Safety
    /// `data` must be valid for reads of `len` bytes, and those must not change, while the result and views of it exist.
    pub(super) unsafe fn borrowed(data: *const u8, len: usize) -> Storage {
        Storage::Borrowed(Borrowed { data, len })
    }

    /// Tells the system that a mapped range will not be needed soon: its pages leave the memory of this process.
    pub(super) fn release(&self, range: Range<usize>) {
        if let Storage::Mapped(Mapped { map, .. }) = self {
            // What goes wrong with a hint does not matter.
            // SAFETY: a read-only mapping of a file: pages that are touched again come back as they were.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
    }

    /// Lets the system begin to read a mapped range that will be needed soon.
    pub(super) fn read_ahead(&self, range: Range<usize>) {
        if let Storage::Mapped(Mapped { map, .. }) = self {
            // Where hints are not to be had, pages are read when they are touched. Of a long range the system takes only what it
            // reads ahead by itself.
            #[cfg(unix)]
            for start in range.clone().step_by(READ_AHEAD) {
                let _ = map.advise_range(memmap2::Advice::WillNeed, start, READ_AHEAD.min(range.end - start));
            }
            #[cfg(not(unix))]
            let _ = (map, range);
        }
    }

    /// As [`Storage::release`], and out of the memory of the system, too, unless another process maps the range.
    pub(super) fn forget(&self, range: Range<usize>) {
        self.release(range.clone());
        #[cfg(target_os = "linux")]
        if let Storage::Mapped(Mapped { file, .. }) = self {
            use std::os::fd::AsRawFd;
            let (start, len) = (range.start as libc::off_t, range.len() as libc::off_t);
            // SAFETY: a hint about an open file.
            let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, libc::POSIX_FADV_DONTNEED) };
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Mapped(Mapped { map, .. }) => map,
            Storage::Owned(bytes) => bytes,
            Storage::Copied(bytes) => bytes,
            Storage::Borrowed(Borrowed { len: 0, .. }) => &[],
            // SAFETY: who called `borrowed` vouches for the range.
            Storage::Borrowed(Borrowed { data, len }) => unsafe { std::slice::from_raw_parts(*data, *len) },
        }
    }
}

/// Opens a regular file and asks for its length. Anything else (a pipe, a device) could stall the caller.
fn open(path: &Path) -> Result<(File, u64)> {
    let regular = std::fs::metadata(path).map_err(|source| io("cannot open", path, source))?.is_file();
    if !regular {
        return Err(io("cannot open", path, std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let file = File::open(path).map_err(|source| io("cannot open", path, source))?;
    let len = file.metadata().map_err(|source| io("cannot stat", path, source))?.len();
    Ok((file, len))
}

fn io(action: &str, path: &Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::OutOfMemory {
        return Error::OutOfMemory;
    }
    Error::Io { what: format!("{action} {}", path.display()), source }
}

/// Some bytes of an open file, which stays open as long as they are held.
#[derive(Clone)]
pub struct View {
    storage: Arc<Storage>,
    range: Range<usize>,
}

impl View {
    /// Bytes `range` of `storage`; empty when it has no such bytes.
    pub(super) fn new(storage: &Arc<Storage>, range: Range<usize>) -> View {
        View { storage: Arc::clone(storage), range }
    }

    /// Where the bytes begin, from the start of the file.
    pub(super) fn start(&self) -> usize {
        self.range.start
    }

    /// The file that the bytes belong to.
    pub(super) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }
}

impl Deref for View {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.storage.bytes().get(self.range.clone()).unwrap_or_default()
    }
}
