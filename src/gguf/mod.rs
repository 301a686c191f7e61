//! GGUF: the bytes of a model file -> a checked directory of metadata and tensors.
//!
//! Nothing in a file is believed before it is checked: counts, lengths, offsets, types, overlaps. Errors carry the byte
//! offset and the name of the key or tensor. Source: the GGUF specification, versions 2 and 3.

mod cursor;
mod map;
mod metadata;
mod split;
mod tensors;
mod value;
mod write;

pub use metadata::Metadata;
pub use tensors::TensorInfo;
pub use value::{Array, Kind, Strings, Value};
pub use write::{Item, Writer};

use crate::error::{Error, Result, ResultExt};
use cursor::{Cursor, malformed};
use map::Bytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// An open model file, or a set of split files that belong together. Clones share it.
#[derive(Clone)]
pub struct File {
    inner: Arc<Inner>,
}

struct Inner {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<Box<str>, usize>,
    /// The files; a tensor knows in which one it is.
    shards: Vec<Arc<Bytes>>,
}

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: [u32; 2] = [2, 3];
/// More pairs or tensors than any model has; keeps what a hostile file can allocate within bounds.
const MAX_PAIRS: usize = 1 << 16;
const MAX_TENSORS: usize = 1 << 17;

impl File {
    /// Maps a file; of a split set, any member opens the whole.
    ///
    /// The mapping shows the file as it is: when another process truncates it, reading the lost part faults. Use
    /// [`File::open_copied`] where that can happen.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] with the offset, [`Error::Unsupported`].
    pub fn open(path: &Path) -> Result<File> {
        split::open(path, false)
    }

    /// Reads a file into private memory.
    ///
    /// # Errors
    /// As [`File::open`], and [`Error::OutOfMemory`].
    pub fn open_copied(path: &Path) -> Result<File> {
        split::open(path, true)
    }

    /// Takes a file that is in memory.
    ///
    /// # Errors
    /// As [`File::open`]; a member of a split set.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<File> {
        File::alone(Bytes::Owned(bytes))
    }

    /// Borrows a file that is in the caller's memory.
    ///
    /// # Errors
    /// As [`File::from_bytes`].
    ///
    /// # Safety
    /// `data` must be readable for `len` bytes, and stay so and unchanged while the file and its clones live.
    pub unsafe fn from_raw(data: *const u8, len: usize) -> Result<File> {
        File::alone(Bytes::Borrowed { data, len })
    }

    fn alone(bytes: Bytes) -> Result<File> {
        let shard = Shard::read(bytes)?;
        if shard.split_count()? > 1 {
            return Err(Error::Unsupported("a split model must be opened from its files".into()));
        }
        File::assemble(vec![shard])
    }

    /// Puts the shards of a model together; the first one's metadata are the model's.
    fn assemble(shards: Vec<Shard>) -> Result<File> {
        let mut inner = None::<Inner>;
        for (number, shard) in shards.into_iter().enumerate() {
            let inner = inner.get_or_insert_with(|| Inner {
                version: shard.version,
                metadata: shard.metadata,
                tensors: Vec::new(),
                by_name: HashMap::new(),
                shards: Vec::new(),
            });
            inner.shards.push(shard.bytes);
            for tensor in shard.tensors {
                if inner.by_name.insert(tensor.name.as_str().into(), inner.tensors.len()).is_some() {
                    return Err(Error::InvalidModel(format!("tensor {} stands twice", tensor.name)));
                }
                inner.tensors.push(TensorInfo { shard: number, ..tensor });
            }
        }
        let inner = inner.ok_or_else(|| Error::Internal("a model without files".into()))?;
        Ok(File { inner: Arc::new(inner) })
    }

    /// Version of the format.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// Keys and values.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// The tensors, in the order of the directory.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// The tensor of a name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.inner.by_name.get(name).and_then(|&index| self.inner.tensors.get(index))
    }

    /// The bytes of one of this file's tensors; empty for one of another file that does not fit here.
    #[must_use]
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let range = || Some(tensor.offset..tensor.offset.checked_add(tensor.len)?);
        let shard = self.inner.shards.get(tensor.shard);
        shard.zip(range()).and_then(|(bytes, range)| bytes.get(range)).unwrap_or_default()
    }
}

/// One file of a model.
struct Shard {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    bytes: Arc<Bytes>,
}

impl Shard {
    fn read(bytes: Bytes) -> Result<Shard> {
        let bytes = Arc::new(bytes);
        let mut cursor = Cursor::new(&bytes, 0);
        let version = header(&mut cursor)?;
        let tensor_count = limited(&mut cursor, "the tensor count", MAX_TENSORS)?;
        let pair_count = limited(&mut cursor, "the metadata count", MAX_PAIRS)?;
        let metadata = Metadata::read(&mut cursor, &bytes, pair_count)?;
        let alignment = alignment(&metadata)?;
        let tensors = tensors::read(&mut cursor, tensor_count, alignment, bytes.len())?;
        Ok(Shard { version, metadata, tensors, bytes })
    }

    /// Files of the set this one belongs to.
    fn split_count(&self) -> Result<u32> {
        Ok(self.metadata.u32("split.count")?.unwrap_or(1).max(1))
    }
}

/// Magic and version.
fn header(cursor: &mut Cursor) -> Result<u32> {
    if cursor.left() == 0 {
        return Err(malformed(0, "the file is empty"));
    }
    let magic = cursor.take(4, "the magic number")?;
    if magic != MAGIC {
        return Err(malformed(0, format!("not a GGUF file: it starts with \"{}\"", magic.escape_ascii())));
    }
    let place = cursor.at;
    let version = cursor.u32("the version")?;
    let supported = || VERSIONS.map(|version| version.to_string()).join(" and ");
    match version {
        version if VERSIONS.contains(&version) => Ok(version),
        version if VERSIONS.contains(&version.swap_bytes()) => {
            Err(Error::Unsupported("a big-endian GGUF file (supported: little-endian)".into()))
        }
        version => Err(Error::Unsupported(format!("GGUF version {version} at byte {place} (supported: {})", supported()))),
    }
}

fn limited(cursor: &mut Cursor, what: &str, most: usize) -> Result<usize> {
    let place = cursor.at;
    // A pair and a tensor take more than 8 bytes; the exact size is checked as they are read.
    let count = cursor.count(8, what)?;
    if count > most { Err(malformed(place, format!("{what} is {count}, at most {most} are read"))) } else { Ok(count) }
}

/// What the starts of tensors are a multiple of.
fn alignment(metadata: &Metadata) -> Result<usize> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.u32(KEY)?.unwrap_or(32) as usize;
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(Error::InvalidModel(format!("metadata key {KEY}: {alignment} is not a power of two up to 2^20")));
    }
    Ok(alignment)
}

/// Puts the file's name in front of an error.
fn named<T>(result: Result<T>, path: &Path) -> Result<T> {
    result.context_with(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}
