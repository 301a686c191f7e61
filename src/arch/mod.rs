//! Architectures. One file each: hyper-parameters, weight binding, forward pass as a program over a batch.

mod builder;
mod experts;
mod params;
mod pass;
mod program;
mod recurrent;
mod stream;
mod weights;

mod bert;
mod bloom;
mod cohere2;
mod command_r;
mod deepseek2;
mod exaone4;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod glm4;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod hunyuan_dense;
mod jamba;
mod lfm2;
mod llama;
mod mamba;
mod mamba2;
mod modern_bert;
mod nemotron;
mod nemotron_h;
mod neo_bert;
mod olmo2;
mod olmoe;
mod phi2;
mod phi3;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen3moe;
mod qwen3next;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;

pub use params::Params;
pub use pass::{Pass, Scratch, Segment};
pub use program::{Op, Program};
pub use stream::Stream;

use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::Kernels;
use crate::quant::Precision;
use builder::Builder;
use params::Keys;
use weights::Binder;

/// What builds the program of an architecture.
type Build = fn(&mut Builder) -> Result<()>;

/// `general.architecture` -> its file here.
const ARCHITECTURES: &[(&str, Build)] = &[
    ("bert", bert::build),
    ("bloom", bloom::build),
    ("cohere2", cohere2::build),
    ("command-r", command_r::build),
    ("deepseek2", deepseek2::build),
    ("ernie4_5", llama::build),
    ("eurobert", neo_bert::build_euro),
    ("exaone4", exaone4::build),
    ("falcon", falcon::build),
    ("falcon-h1", falcon_h1::build),
    ("gemma", gemma::build),
    ("gemma2", gemma2::build),
    ("gemma3", gemma3::build),
    ("gemma-embedding", gemma3::build_embedding),
    ("glm4", glm4::build),
    ("gpt-oss", gpt_oss::build),
    ("gpt2", gpt2::build),
    ("gptneox", gptneox::build),
    ("granite", granite::build),
    ("granitehybrid", granite::build),
    ("granitemoe", granite::build),
    ("hunyuan-dense", hunyuan_dense::build),
    ("jamba", jamba::build),
    ("jina-bert-v2", bert::build_jina),
    ("jina-bert-v3", bert::build_rotating),
    ("lfm2", lfm2::build),
    ("llama", llama::build),
    ("llama-embed", llama::build_embedding),
    ("mamba", mamba::build),
    ("mamba2", mamba2::build),
    ("modern-bert", modern_bert::build),
    ("nemotron", nemotron::build),
    ("nemotron_h", nemotron_h::build),
    ("nemotron_h_moe", nemotron_h::build),
    ("neo-bert", neo_bert::build),
    ("nomic-bert", bert::build_nomic),
    ("nomic-bert-moe", bert::build_rotating),
    ("olmo2", olmo2::build),
    ("olmoe", olmoe::build),
    ("phi2", phi2::build),
    ("phi3", phi3::build),
    ("qwen2", qwen2::build),
    ("qwen2moe", qwen2moe::build),
    ("qwen3", qwen3::build),
    ("qwen3moe", qwen3moe::build),
    ("qwen35", qwen3next::build_tiled),
    ("qwen35moe", qwen3next::build_tiled),
    ("qwen3next", qwen3next::build),
    ("seed_oss", seed_oss::build),
    ("smollm3", smollm3::build),
    ("stablelm", stablelm::build),
    ("starcoder2", starcoder2::build),
];

/// Reads the hyper-parameters, binds the weights and writes down the forward pass.
///
/// # Errors
/// An unknown architecture, or a key or tensor that is missing, of the wrong type or shape.
pub fn build(file: &File, kernels: &Kernels, precision: Precision) -> Result<Program> {
    Ok(program(file, Binder::new(file, kernels))?.on(kernels, precision))
}

/// The same, but with zeros for what tensors hold: none of them is looked at. It cannot run, but all of its sizes are right.
///
/// # Errors
/// As [`build`].
pub fn outline(file: &File, kernels: &Kernels, precision: Precision) -> Result<Program> {
    Ok(program(file, Binder::outline(file, kernels))?.on(kernels, precision))
}

fn program(file: &File, bind: Binder) -> Result<Program> {
    let name = Keys::new(file.metadata())?.architecture();
    let Some((_, build)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(Error::Unsupported(format!("architecture {name:?} is not supported (supported: {})", names.join(", "))));
    };
    let mut builder = Builder::new(file, bind)?;
    build(&mut builder)?;
    builder.finish()
}
