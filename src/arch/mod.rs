//! Architectures. One file each: hyper-parameters, weight binding, forward pass as a program over a batch.

mod llama;
mod params;
mod pass;
mod program;
mod weights;

pub use params::Params;
pub use pass::{Pass, Scratch, Segment};
pub use program::Program;

use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::Kernels;
use program::Builder;

/// What builds the program of an architecture.
type Build = fn(&mut Builder) -> Result<()>;

/// `general.architecture` -> its file here.
const ARCHITECTURES: &[(&str, Build)] = &[("llama", llama::build)];

/// Reads the hyper-parameters, binds the weights and writes down the forward pass.
///
/// # Errors
/// An unknown architecture, or a key or tensor that is missing, of the wrong type or shape.
pub fn build(file: &File, kernels: &Kernels) -> Result<Program> {
    let params = Params::read(file.metadata())?;
    let Some((_, build)) = ARCHITECTURES.iter().find(|(name, _)| *name == params.architecture) else {
        let names: Vec<_> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(Error::Unsupported(format!(
            "architecture \"{}\" is not supported (supported: {})",
            params.architecture,
            names.join(", ")
        )));
    };
    let mut builder = Builder::new(file, kernels, params);
    build(&mut builder)?;
    builder.finish()
}
