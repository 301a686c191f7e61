//! What several tests share.

#![allow(dead_code)] // No test uses all of it.

pub mod heap;
pub mod kinds;
pub mod npy;
pub mod raw;
#[path = "../../examples/synth/model.rs"]
mod synth;
pub mod vocabulary;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use synth::{Shape, Types};

/// Writes a model among the build outputs. Tests run in parallel: each writes a file of its own, and the last one to rename
/// it wins.
fn written(name: &str, write: impl FnOnce(BufWriter<File>) -> Result<(), String>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}.gguf"));
    let unique = folder.join(format!("{}-{:?}.part", std::process::id(), std::thread::current().id()));
    write(BufWriter::new(File::create(&unique).expect("the build folder is writable"))).expect("the model is written");
    std::fs::rename(&unique, &path).expect("the build folder is writable");
    path
}

/// A small llama model with random weights of a type or mix, made once and kept among the build outputs.
pub fn synthetic_model(shape: &str, types: &str) -> PathBuf {
    let name = format!("{shape}-{types}");
    let shape = Shape::ALL.iter().find(|known| known.name == shape).expect("a known shape");
    let types = Types::by_name(types).expect("a known type");
    written(&name, |out| synth::write(out, shape, types, 1, |_, _| ()))
}

/// A folder of the conformance data, or `None` with a line about the skipped test.
pub fn conformance(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CHORD_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"), PathBuf::from);
    let path = root.join(folder);
    if !path.is_dir() {
        eprintln!("skipped: no conformance data in {}", path.display());
        return None;
    }
    Some(path)
}

/// The files of `folder` with this extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let paths = entries.map(|entry| entry.expect("the folder is readable").path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}
