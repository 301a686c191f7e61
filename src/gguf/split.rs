//! Models in several files: `name-00001-of-00003.gguf` and so on.

use super::map::Bytes;
use super::{File, Shard, named};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Opens a file, and the rest of its set if it belongs to one.
pub(super) fn open(path: &Path, copied: bool) -> Result<File> {
    let shard = Shard::read(Bytes::open(path, copied)?)?;
    let count = shard.split_count()?;
    if count == 1 {
        return File::assemble(vec![shard]);
    }
    let number = shard.metadata.u32("split.no")?.unwrap_or(0);
    let expected = shard.metadata.u64("split.tensors.count")?;
    let mut shards = Vec::new();
    let mut opened = Some(shard);
    for index in 0..count {
        let member = member(path, number, index, count)?;
        let shard = match opened.take_if(|_| index == number) {
            Some(shard) => shard,
            None => Bytes::open(&member, copied).and_then(|bytes| named(Shard::read(bytes), &member))?,
        };
        let (found, of) = (shard.metadata.u32("split.no")?.unwrap_or(0), shard.split_count()?);
        if (found, of) != (index, count) {
            let message = format!("this file is number {found} of {of}, its name says {index} of {count} (counted from 0)");
            return named(Err(Error::InvalidModel(message)), &member);
        }
        shards.push(shard);
    }
    let total: usize = shards.iter().map(|shard| shard.tensors.len()).sum();
    if let Some(expected) = expected.filter(|&expected| expected != total as u64) {
        return Err(Error::InvalidModel(format!(
            "metadata key split.tensors.count: {expected} tensors expected, {total} found in {count} files"
        )));
    }
    File::assemble(shards)
}

/// The path of member `index`, given that of member `number`.
fn member(path: &Path, number: u32, index: u32, count: u32) -> Result<PathBuf> {
    let ending = |index: u32| format!("-{:05}-of-{count:05}.gguf", u64::from(index) + 1);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(&ending(number)).ok_or_else(|| {
        Error::InvalidModel(format!(
            "file {number} of {count} (counted from 0) of a split model must be named *{}, not {name}",
            ending(number)
        ))
    })?;
    Ok(path.with_file_name(format!("{stem}{}", ending(index))))
}
