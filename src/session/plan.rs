//! What a model and a session on it will take, from the header of the model's file.

use super::SessionOptions;
use super::parts::{Parts, Size};
use crate::arch::Program;
use crate::error::Result;
use crate::gguf::File;
use crate::model::{Footprint, Model, ModelOptions};
use crate::tensor::Memory;
use std::path::Path;

/// Bytes of each part. What is private belongs to this process alone; what is mapped is the file, which processes share and the
/// system may drop and read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The model.
    pub model: Footprint,
    /// Keys and values of the whole context, and recurrent state.
    pub cache: usize,
    /// All else that the session takes.
    pub scratch: usize,
    /// Tokens of the context that the plan is for.
    pub context: usize,
    /// Tokens of the longest context, up to what the model was trained on, that fits the memory budget; 0: not even one.
    pub longest: usize,
}

impl Plan {
    /// Plans for the model file at `path`. Reads its header only, and allocates no more than that needs.
    ///
    /// # Errors
    /// As [`Model::open`] and [`super::Session::new`], but a plan that is over the budget is none.
    pub fn new(path: &Path, model: &ModelOptions, session: &SessionOptions) -> Result<Plan> {
        let file = File::open(path)?;
        let program = Model::outline(&file, model)?;
        let footprint = Footprint::new(&file, program.as_ref(), model)?;
        let mut plan = Plan { model: footprint, ..Plan::default() };
        if let Some(program) = &program {
            let size = Size::new(program, session)?;
            (plan.cache, plan.scratch) = sizes(program, model, size, session)?;
            (plan.context, plan.longest) = (size.context, longest(program, model, &footprint, session));
        }
        Ok(plan)
    }

    /// Private bytes of all parts, at the time when they are most.
    #[must_use]
    pub fn private(&self) -> usize {
        self.model.private().saturating_add(self.cache).saturating_add(self.scratch).max(self.model.opening)
    }
}

/// Bytes of the cache, and of the rest of the session.
fn sizes(program: &Program, model: &ModelOptions, size: Size, options: &SessionOptions) -> Result<(usize, usize)> {
    let (mut cache, mut all) = (Memory::plan(), Memory::plan());
    Parts::cache(&mut cache, program, size, options)?;
    Parts::new(&mut all, program, model.threads(), size, options)?;
    Ok((cache.bytes(), all.bytes() - cache.bytes()))
}

/// The longest context within the budget.
fn longest(program: &Program, model: &ModelOptions, footprint: &Footprint, options: &SessionOptions) -> usize {
    let greatest = program.positions.unwrap_or(usize::MAX).min(program.params.context);
    let Some(budget) = model.memory_budget() else { return greatest };
    let fits = |context: usize| {
        let session = sizes(program, model, Size::of(program, context, options), options);
        session.is_ok_and(|(cache, scratch)| footprint.private().saturating_add(cache).saturating_add(scratch) <= budget)
    };
    // Memory grows with the context: the first that does not fit, by bisection.
    let (mut low, mut high) = (0, greatest + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    if footprint.opening <= budget { low } else { 0 }
}
