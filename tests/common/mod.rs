//! What several tests share.

#![allow(dead_code)] // No test uses all of it.

#[path = "../../examples/synth/model.rs"]
mod synth;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use synth::{Shape, Types};

/// A small llama model with random weights of a type or mix, made once and kept among the build outputs.
pub fn synthetic_model(shape: &str, types: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{shape}-{types}.gguf"));
    let shape = Shape::ALL.iter().find(|known| known.name == shape).expect("a known shape");
    // Tests run in parallel: each writes a file of its own, and the last one to rename it wins.
    let unique = folder.join(format!("{}-{:?}.part", std::process::id(), std::thread::current().id()));
    let out = BufWriter::new(File::create(&unique).expect("the build folder is writable"));
    synth::write(out, shape, Types::by_name(types).expect("a known type"), 1, |_, _| ()).expect("the model is written");
    std::fs::rename(&unique, &path).expect("the build folder is writable");
    path
}
