//! Feed-forward blocks of experts.

use super::builder::{Builder, FeedForward, Output, block};
use super::program::{Experts, Input, Op, Register, Stacked};
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::{Router, Scoring};

/// What makes a layer of experts differ from others.
#[derive(Clone, Copy, Debug)]
pub struct ExpertStyle {
    /// What router logits become, unless the file says.
    pub scoring: Scoring,
    /// Whether the weights of a token are divided by their sum, unless the file says.
    pub normalize: bool,
    /// The function of the hidden layer.
    pub activation: Activation,
    /// Whether what goes through it multiplies a second product.
    pub gated: bool,
}

impl ExpertStyle {
    /// SwiGLU experts, weighted by probabilities over those selected.
    pub const SELECTED: ExpertStyle =
        ExpertStyle { scoring: Scoring::SoftmaxOfSelected, normalize: true, activation: Activation::Silu, gated: true };
    /// SwiGLU experts, weighted by probabilities over all.
    pub const ALL: ExpertStyle =
        ExpertStyle { scoring: Scoring::Softmax, normalize: false, activation: Activation::Silu, gated: true };
}

/// Greatest number of groups: they are counted in the bits of a word.
const MAX_GROUPS: usize = 64;

impl Builder<'_> {
    /// Routed experts that read `x` and add to `stream`, multiplied by `scale`.
    ///
    /// # Errors
    /// A missing tensor or key, or one that cannot be.
    pub fn experts(&mut self, layer: usize, x: Register, style: ExpertStyle, stream: Register, scale: f32) -> Result<()> {
        let mark = self.mark();
        let router = self.router(layer, style, scale)?;
        let (count, width) = (router.experts, self.params.width);
        let hidden = self.keys.dimension_or("expert_feed_forward_length", self.params.feed_forward)?;
        let route = self.product(layer, "ffn_gate_inp", count, width)?;
        let logits = route.out;
        self.ops.push(Op::Linear { input: Input::Plain(x), products: vec![route] });
        let stacked = |part: &str, rows: usize, depth: usize| -> Result<Stacked> {
            let name = |kind: &str| block(layer, &format!("ffn_{part}_exps.{kind}"));
            let matrix = self.bind.stack(&name("weight"), count, rows, depth)?;
            let bias = self.bind.has(&name("bias")).then(|| self.bind.vectors(&name("bias"), count, rows)).transpose()?;
            Ok(Stacked { matrix, scales: self.bind.scales(&name("weight"), count)?, bias })
        };
        let experts = Box::new(Experts {
            gate: style.gated.then(|| stacked("gate", hidden, width)).transpose()?,
            up: stacked("up", hidden, width)?,
            down: stacked("down", width, hidden)?,
            activation: style.activation,
            router,
        });
        self.ops.push(Op::Experts { x, logits, out: stream, experts });
        self.release(mark);
        Ok(())
    }

    /// The expert that every token visits: a feed-forward block of this width.
    ///
    /// # Errors
    /// A missing tensor.
    pub fn shared_expert(&mut self, layer: usize, x: Register, width: usize, to: impl Into<Output>) -> Result<()> {
        let style = FeedForward { width, suffix: "_shexp", ..self.gated(Activation::Silu) };
        self.feed_forward(layer, Input::Plain(x), style, to)
    }

    fn router(&self, layer: usize, style: ExpertStyle, scale: f32) -> Result<Router> {
        let keys = &self.keys;
        let (experts, used) = (keys.dimension("expert_count")?, keys.dimension("expert_used_count")?);
        if used > experts {
            return Err(keys.invalid("expert_used_count", format!("{used} of {experts} experts")));
        }
        let groups = keys.dimension_or("expert_group_count", 1)?;
        if groups > MAX_GROUPS || experts % groups != 0 {
            return Err(keys.invalid("expert_group_count", format!("{groups} groups of {experts} experts")));
        }
        let groups_used = keys.dimension_or("expert_group_used_count", groups)?;
        if groups_used * (experts / groups) < used {
            return Err(keys.invalid("expert_group_used_count", format!("{used} experts from {groups_used} groups")));
        }
        let scoring = match keys.optional_dimension("expert_gating_func")? {
            None => style.scoring,
            Some(1) => Scoring::Softmax,
            Some(2) => Scoring::Sigmoid,
            Some(3) => Scoring::SoftmaxOfSelected,
            Some(other) => return Err(keys.invalid("expert_gating_func", format!("{other} is not known"))),
        };
        Ok(Router {
            experts,
            used,
            scoring,
            bias: self.bind.optional_vector(&block(layer, "exp_probs_b.bias"), experts)?,
            groups,
            groups_used,
            normalize: keys.flag("expert_weights_norm", style.normalize)?,
            scale: keys.positive("expert_weights_scale", Some(1.0))? as f32 * scale,
        })
    }
}
