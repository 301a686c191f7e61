//! Models split over several files, named `NAME-00001-of-00003.gguf`.

use super::map::Storage;
use super::{Access, File, Metadata, Shard};
use crate::error::{Error, Result, ResultExt};
use std::path::{Path, PathBuf};

/// Which shard a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 0.
    pub(super) number: u32,
    /// Of how many, at least 2.
    pub(super) count: u32,
}

/// Which shard the file with this metadata is; `None` for a model in one file.
pub(super) fn place(metadata: &Metadata) -> Result<Option<Place>> {
    let count = metadata.u32("split.count")?.unwrap_or(1);
    let number = metadata.u32("split.no")?.unwrap_or(0);
    if count <= 1 {
        return Ok(None);
    }
    if number >= count {
        return Err(Error::InvalidModel(format!("metadata says shard {} of {count}", u64::from(number) + 1)));
    }
    Ok(Some(Place { number, count }))
}

/// Opens the file at `path` and, if it is a shard, the model that it belongs to.
pub(super) fn open(path: &Path, access: Access) -> Result<File> {
    let opened = shard(path, access)?;
    let Some(opened_place) = place(&opened.metadata)? else {
        return File::from_shards(vec![opened]);
    };
    let count = opened_place.count;
    let name = name(path, opened_place)?;
    let mut opened = Some(opened);
    let mut shards = Vec::new();
    for number in 0..count {
        let path = name.of(Place { number, count });
        let at = || format!("shard {} of {count}", number + 1);
        let shard = match opened.take_if(|_| number == opened_place.number) {
            Some(opened) => opened,
            None => shard(&path, access).context_with(at)?,
        };
        if place(&shard.metadata)? != Some(Place { number, count }) {
            let message = format!("{} does not say that it is this shard", path.display());
            return Err(Error::InvalidModel(message).context(at()));
        }
        shards.push(shard);
    }
    let tensors: usize = shards.iter().map(|shard| shard.tensors.len()).sum();
    let expected = shards.first().map_or(Ok(None), |first| first.metadata.u64("split.tensors.count"))?;
    if let Some(expected) = expected.filter(|&expected| expected != tensors as u64) {
        return Err(Error::InvalidModel(format!(
            "the {count} shards have {tensors} tensors, split.tensors.count says {expected}"
        )));
    }
    File::from_shards(shards)
}

fn shard(path: &Path, access: Access) -> Result<Shard> {
    let storage = match access {
        Access::Map => Storage::map(path),
        Access::Copy(watch) => Storage::read(path, watch),
    }?;
    Shard::parse(storage).context_with(|| path.display())
}

/// A shard's path without what tells it from its siblings.
struct Name {
    folder: PathBuf,
    stem: String,
}

impl Name {
    fn of(&self, place: Place) -> PathBuf {
        self.folder.join(format!("{}{}", self.stem, suffix(place)))
    }
}

fn suffix(Place { number, count }: Place) -> String {
    format!("-{:05}-of-{count:05}.gguf", u64::from(number) + 1)
}

/// Splits the path of a shard; an error when it is not named as its siblings must be.
fn name(path: &Path, place: Place) -> Result<Name> {
    let suffix = suffix(place);
    let file_name = path.file_name().and_then(|name| name.to_str());
    let Some(stem) = file_name.and_then(|name| name.strip_suffix(&suffix)) else {
        let Place { number, count } = place;
        let message = format!("{} is shard {} of {count}, but its name does not end in {suffix}", path.display(), number + 1);
        return Err(Error::InvalidModel(message));
    };
    Ok(Name { folder: path.parent().unwrap_or(Path::new("")).to_owned(), stem: stem.to_owned() })
}
