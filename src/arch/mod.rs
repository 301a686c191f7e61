//! Architectures. One file each: hyper-parameters, weight binding, forward pass as a program over a batch.

mod builder;
mod params;
mod pass;
mod program;
mod weights;

mod bloom;
mod command_r;
mod falcon;
mod gemma;
mod gemma2;
mod gemma3;
mod granite;
mod hunyuan_dense;
mod llama;
mod nemotron;
mod olmo2;
mod phi2;
mod phi3;
mod qwen2;
mod qwen3;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;

pub use params::Params;
pub use pass::{Pass, Scratch, Segment};
pub use program::Program;

use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::Kernels;
use builder::Builder;
use params::Keys;

/// What builds the program of an architecture.
type Build = fn(&mut Builder) -> Result<()>;

/// `general.architecture` -> its file here.
const ARCHITECTURES: &[(&str, Build)] = &[
    ("bloom", bloom::build),
    ("command-r", command_r::build),
    ("ernie4_5", llama::build),
    ("falcon", falcon::build),
    ("gemma", gemma::build),
    ("gemma2", gemma2::build),
    ("gemma3", gemma3::build),
    ("granite", granite::build),
    ("hunyuan-dense", hunyuan_dense::build),
    ("llama", llama::build),
    ("nemotron", nemotron::build),
    ("olmo2", olmo2::build),
    ("phi2", phi2::build),
    ("phi3", phi3::build),
    ("qwen2", qwen2::build),
    ("qwen3", qwen3::build),
    ("seed_oss", seed_oss::build),
    ("smollm3", smollm3::build),
    ("stablelm", stablelm::build),
    ("starcoder2", starcoder2::build),
];

/// Reads the hyper-parameters, binds the weights and writes down the forward pass.
///
/// # Errors
/// An unknown architecture, or a key or tensor that is missing, of the wrong type or shape.
pub fn build(file: &File, kernels: &Kernels) -> Result<Program> {
    let name = Keys::new(file.metadata())?.architecture();
    let Some((_, build)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(Error::Unsupported(format!("architecture \"{name}\" is not supported (supported: {})", names.join(", "))));
    };
    let mut builder = Builder::new(file, kernels)?;
    build(&mut builder)?;
    builder.finish()
}
