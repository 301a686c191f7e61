//! GGUF: bytes of a model file -> a checked directory of metadata and tensors.
//!
//! Nothing here knows about models. Opening reads the header only, believes no number in it before it was checked, and
//! allocates at most a small multiple of the file's size; big arrays and tensors stay where they are in the file.
//!
//! ```text
//! "GGUF" version | tensor count, key count | keys and values | tensor directory | padding | tensor data
//! ```
//!
//! Source: the GGUF specification, versions 2 and 3, little-endian.

mod cursor;
mod directory;
mod map;
mod metadata;
mod resident;
mod split;
mod stream;
mod value;
mod write;

pub use directory::TensorInfo;
pub use map::View;
pub use metadata::Metadata;
pub use value::{Array, Arrays, Kind, Numbers, Scalar, Strings, Value};
pub use write::{Item, Writer};

use crate::error::{Error, Result};
use cursor::Cursor;
use directory::Directory;
use map::Storage;
use resident::Resident;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The first bytes of every GGUF file.
const MAGIC: [u8; 4] = *b"GGUF";
/// The versions this reader knows. They differ in byte order declarations only.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Where tensor data begins and how tensors are aligned, unless [`ALIGNMENT_KEY`] says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";

/// An open model file, or the files of a split model. Immutable; a clone shares everything.
#[derive(Clone)]
pub struct File(Arc<Inner>);

struct Inner {
    shards: Vec<Arc<Storage>>,
    version: u32,
    metadata: Metadata,
    directory: Directory,
    /// Copies of tensors that were made resident.
    resident: Vec<OnceLock<Resident>>,
}

/// Where the bytes of a file at a path go.
#[derive(Clone, Copy)]
enum Access<'a> {
    Map,
    Copy(map::Watch<'a>),
}

impl File {
    /// Maps a file into memory and checks its directory. Any shard of a split model (`NAME-00001-of-00003.gguf`) opens
    /// the whole model.
    ///
    /// The file must not be cut or changed while it is open: the mapping shows every change, and reading a page that is
    /// gone ends the process ([`File::check`] sees what was cut before). [`File::open_copied`] has no such condition.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be opened, [`Error::Malformed`] with the byte offset when it is not a well-formed
    /// GGUF file, [`Error::Unsupported`] for versions, byte orders and element types this library does not know.
    pub fn open(path: &Path) -> Result<File> {
        split::open(path, Access::Map)
    }

    /// As [`File::open`], but reads the files into memory of this process.
    ///
    /// # Errors
    /// As [`File::open`], and [`Error::OutOfMemory`].
    pub fn open_copied(path: &Path) -> Result<File> {
        File::open_watched(path, &|_| Ok(()))
    }

    /// As [`File::open_copied`]; `watch` hears again and again how many more bytes were read, and its error ends the reading.
    ///
    /// # Errors
    /// As [`File::open_copied`], and that of `watch`.
    pub fn open_watched(path: &Path, watch: &dyn Fn(usize) -> Result<()>) -> Result<File> {
        split::open(path, Access::Copy(watch))
    }

    /// Copies a file that is in memory of the caller; `watch` as of [`File::open_watched`].
    ///
    /// # Errors
    /// As [`File::from_bytes`], that of `watch`, and [`Error::OutOfMemory`].
    pub fn copy_watched(bytes: &[u8], watch: &dyn Fn(usize) -> Result<()>) -> Result<File> {
        Self::from_storage(Storage::copy(bytes, watch)?)
    }

    /// Takes a file that is already in memory.
    ///
    /// # Errors
    /// As [`File::open`]; a shard of a split model cannot be opened this way.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<File> {
        Self::from_storage(Storage::Owned(bytes))
    }

    /// Uses a file in memory of the caller.
    ///
    /// # Errors
    /// As [`File::from_bytes`].
    ///
    /// # Safety
    /// `data` must be valid for reads of `len` bytes, and those must not change, until the last clone of this file and
    /// the last [`Value`] taken from it are gone.
    pub unsafe fn from_raw(data: *const u8, len: usize) -> Result<File> {
        // SAFETY: passed on to the caller.
        Self::from_storage(unsafe { Storage::borrowed(data, len) })
    }

    fn from_storage(storage: Storage) -> Result<File> {
        let shard = Shard::parse(storage)?;
        if let Some(place) = split::place(&shard.metadata)? {
            let message = format!("this is shard {} of a model of {}: open it by its path", place.number + 1, place.count);
            return Err(Error::Unsupported(message));
        }
        Self::from_shards(vec![shard])
    }

    /// Joins parsed shards, the first of which speaks for all.
    fn from_shards(shards: Vec<Shard>) -> Result<File> {
        let mut storages = Vec::new();
        let mut tensors = Vec::new();
        let mut head = None;
        for (number, shard) in shards.into_iter().enumerate() {
            storages.push(shard.storage);
            tensors.try_reserve(shard.tensors.len()).map_err(|_| Error::OutOfMemory)?;
            tensors.extend(shard.tensors.into_iter().map(|tensor| TensorInfo { shard: number, ..tensor }));
            head.get_or_insert((shard.version, shard.metadata));
        }
        let Some((version, metadata)) = head else {
            return Err(Error::Internal("a file without shards".to_owned()));
        };
        tensors.iter_mut().enumerate().for_each(|(index, tensor)| tensor.index = index);
        let mut resident = Vec::new();
        resident.try_reserve_exact(tensors.len()).map_err(|_| Error::OutOfMemory)?;
        resident.resize_with(tensors.len(), OnceLock::new);
        let directory = Directory::new(tensors)?;
        Ok(File(Arc::new(Inner { shards: storages, version, metadata, directory, resident })))
    }

    /// Sees whether mapped files still have all their bytes: to be asked before they are read.
    ///
    /// # Errors
    /// [`Error::Io`]: one was cut.
    pub fn check(&self) -> Result<()> {
        self.0.shards.iter().try_for_each(|shard| shard.check())
    }

    /// The format version: 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The metadata; of a split model, that of its first shard.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// All tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        self.0.directory.tensors()
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.0.directory.find(name)
    }

    /// The `tensor.len` bytes of a tensor as they stand in the file: rows of blocks, last dimension slowest. Empty for a tensor
    /// that does not lie inside this file.
    #[must_use]
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let bytes = self.0.shards.get(tensor.shard).map_or(&[][..], |shard| shard.bytes());
        tensor.range().and_then(|range| bytes.get(range)).unwrap_or_default()
    }

    /// How many bytes all shards have together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.shards.iter().map(|shard| shard.bytes().len() as u64).sum()
    }
}

/// One parsed file.
struct Shard {
    storage: Arc<Storage>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
}

impl Shard {
    /// Checks and reads everything before the tensor data.
    fn parse(storage: Storage) -> Result<Shard> {
        let storage = Arc::new(storage);
        let cursor = &mut Cursor::new(&storage);
        let version = header(cursor)?;
        let tensor_count = directory::count(cursor)?;
        let metadata = Metadata::parse(cursor)?;
        let tensors = directory::parse(cursor, tensor_count, alignment(&metadata)?)?;
        Ok(Shard { version, metadata, tensors, storage })
    }
}

/// Magic and version.
fn header(cursor: &mut Cursor) -> Result<u32> {
    match cursor.peek(MAGIC.len()) {
        [] => return Err(cursor.malformed("not a GGUF file: it is empty")),
        b"FUGG" => return Err(big_endian()),
        magic if magic == MAGIC => cursor.take(MAGIC.len() as u64)?,
        start if MAGIC.starts_with(start) => return Err(cursor.malformed("the file ends inside the header")),
        start => return Err(cursor.malformed(format!("not a GGUF file: it begins with {}", cursor::quoted(start)))),
    };
    let version = cursor.u32()?;
    match version {
        _ if VERSIONS.contains(&version) => Ok(version),
        _ if VERSIONS.contains(&version.swap_bytes()) => Err(big_endian()),
        _ => Err(Error::Unsupported(format!("GGUF version {version} is not supported (versions 2 and 3 are)"))),
    }
}

fn big_endian() -> Error {
    Error::Unsupported("big-endian GGUF files are not supported".to_owned())
}

fn alignment(metadata: &Metadata) -> Result<u64> {
    match metadata.u32(ALIGNMENT_KEY)? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(alignment) if alignment.is_power_of_two() => Ok(u64::from(alignment)),
        Some(alignment) => {
            Err(Error::InvalidModel(format!("metadata key \"{ALIGNMENT_KEY}\": {alignment} is not a power of two")))
        }
    }
}

/// A copy of `text`. Keys and names are copied because a mapped file could still change under a `&str`.
fn owned(text: &str) -> Result<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| Error::OutOfMemory)?;
    copy.push_str(text);
    Ok(copy)
}

/// The numbers below `len`, which fits u32, sorted by `key`, and one of them whose key another one has too.
fn sorted<K: Ord>(len: usize, key: impl Fn(usize) -> K) -> Result<(Vec<u32>, Option<usize>)> {
    let mut order = Vec::new();
    order.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
    order.extend(0..len as u32);
    order.sort_unstable_by_key(|&i| key(i as usize));
    let twice = order.windows(2).find(|pair| key(pair[0] as usize) == key(pair[1] as usize));
    let twice = twice.map(|pair| pair[0].max(pair[1]) as usize);
    Ok((order, twice))
}

/// The number whose key is `wanted`, by bisection of a table of [`sorted`].
fn find<'a>(order: &[u32], wanted: &str, key: impl Fn(usize) -> &'a str) -> Option<usize> {
    let at = order.binary_search_by_key(&wanted, |&i| key(i as usize)).ok()?;
    Some(order[at] as usize)
}
