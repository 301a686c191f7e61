//! What a model takes, from the header of its file.

use super::ModelOptions;
use crate::arch::{Op, Program};
use crate::error::Result;
use crate::gguf::{File, TensorInfo};
use crate::tensor::Buffer;
use crate::tokenizer;
use std::collections::BTreeMap;

/// Bytes that a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights used where the file mapping, or the caller's memory, has them: shared, and the system may drop them.
    pub mapped: usize,
    /// Weights in private memory.
    pub copied: usize,
    /// The tokenizer: an estimate from the sizes of its tables.
    pub tokenizer: usize,
    /// The directory of the file, gains and biases, the program: an estimate, too.
    pub rest: usize,
    /// What is private while the model is opened.
    pub opening: usize,
}

/// Handles, threads and the like.
const FIXED: usize = 32 << 10;

impl Footprint {
    /// What a model of this file takes; `program` may be an outline, and is `None` for one that is opened for its vocabulary alone.
    ///
    /// # Errors
    /// A tokenizer whose tables are of wrong types.
    pub fn new(file: &File, program: Option<&Program>, options: &ModelOptions) -> Result<Footprint> {
        let weights: usize = file.tensors().iter().map(|tensor| tensor.len).sum();
        let resident = program.filter(|_| options.resident && !options.copy).map(resident).unwrap_or_default();
        let (mapped, copied) = match options.copy {
            true => (0, usize::try_from(file.size()).ok().and_then(Buffer::<u8>::footprint).unwrap_or(usize::MAX)),
            false => (
                weights.saturating_sub(resident.values().map(|tensor| tensor.len).sum()),
                resident.values().filter_map(|tensor| Buffer::<u8>::footprint(tensor.len)).sum(),
            ),
        };
        let tokenizer = tokenizer::Footprint::new(file.metadata())?;
        let entry = |tensor: &TensorInfo| size_of::<TensorInfo>() + tensor.name.len() + size_of_val(&*tensor.dims);
        let directory: usize = file.tensors().iter().map(entry).sum();
        // The program has the entries of its matrices, too.
        let program = program.map_or(0, |program| program.decoded + size_of_val(&*program.ops) + directory);
        let rest = FIXED + file.metadata().size() + directory + program;
        let opening = if options.copy { copied } else { 0 } + rest + tokenizer.held + tokenizer.building;
        Ok(Footprint { mapped, copied, tokenizer: tokenizer.held, rest, opening })
    }

    /// Private bytes of the open model.
    #[must_use]
    pub fn private(&self) -> usize {
        self.copied.saturating_add(self.tokenizer).saturating_add(self.rest)
    }
}

/// The tensors that a resident model copies, each once.
fn resident(program: &Program) -> BTreeMap<&str, &TensorInfo> {
    let matrices = program.ops.iter().flat_map(Op::weights);
    matrices.map(|(matrix, _)| (matrix.tensor().name.as_str(), matrix.tensor())).collect()
}
