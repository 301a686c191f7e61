//! Hyper-parameters that most architectures share, as the metadata of the file gives them.

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::ops::Scaling;

/// The hyper-parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// `general.architecture`.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Context length of the training.
    pub context: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Experts of a feed-forward layer; 0: it has none.
    pub experts: u32,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Epsilon of the norms.
    pub eps: f32,
    /// Elements of a head that rotate.
    pub rope_dims: usize,
    /// Base of the rotation frequencies.
    pub rope_base: f64,
    /// Context extension.
    pub rope_scaling: Scaling,
}

/// Greatest value of any one dimension: keeps products of two of them far from overflow.
const MAX_DIMENSION: usize = 1 << 28;

impl Params {
    /// Reads and checks them.
    ///
    /// # Errors
    /// A missing key, a wrong type, a value out of range: the message names the key.
    pub fn read(metadata: &Metadata) -> Result<Params> {
        let keys = Keys {
            metadata,
            architecture: metadata.str("general.architecture")?.ok_or_else(|| missing("general.architecture"))?,
        };
        let width = keys.dimension("embedding_length")?;
        let heads = keys.dimension("attention.head_count")?;
        let kv_heads = keys.dimension_or("attention.head_count_kv", heads)?;
        if heads % kv_heads != 0 {
            return Err(Error::InvalidModel(format!(
                "{}: {heads} query heads are not a multiple of {kv_heads} key-value heads",
                keys.name("attention.head_count_kv")
            )));
        }
        let head_dim = keys.dimension_or("attention.key_length", width / heads)?;
        let value_dim = keys.dimension_or("attention.value_length", width / heads)?;
        let rope_dims = keys.dimension_or("rope.dimension_count", head_dim)?;
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            return Err(Error::InvalidModel(format!(
                "{}: {rope_dims} is not an even number up to the head size {head_dim}",
                keys.name("rope.dimension_count")
            )));
        }
        Ok(Params {
            layers: keys.dimension("block_count")?,
            context: keys.dimension("context_length")?,
            feed_forward: keys.dimension("feed_forward_length")?,
            experts: metadata.u32(&keys.name("expert_count"))?.unwrap_or(0),
            eps: keys.positive("attention.layer_norm_rms_epsilon", None)? as f32,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_scaling: keys.scaling()?,
            architecture: keys.architecture.to_owned(),
            width,
            heads,
            kv_heads,
            head_dim,
            value_dim,
            rope_dims,
        })
    }
}

/// Looks keys up under the architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn dimension(&self, key: &str) -> Result<usize> {
        self.dimension_or(key, 0)
    }

    /// `default` 0: the key must be there.
    fn dimension_or(&self, key: &str, default: usize) -> Result<usize> {
        let name = self.name(key);
        let value = match self.metadata.u32(&name)? {
            Some(value) => value as usize,
            None if default > 0 => default,
            None => return Err(missing(&name)),
        };
        if value == 0 || value > MAX_DIMENSION {
            return Err(Error::InvalidModel(format!("{name}: {value} is not between 1 and {MAX_DIMENSION}")));
        }
        Ok(value)
    }

    fn positive(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let name = self.name(key);
        let value = self.metadata.f32(&name)?.map(f64::from).or(default).ok_or_else(|| missing(&name))?;
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(Error::InvalidModel(format!("{name}: {value} is not positive")))
        }
    }

    fn scaling(&self) -> Result<Scaling> {
        let kind = self.metadata.str(&self.name("rope.scaling.type"))?;
        // Older files name no type but carry the linear factor.
        let Some(kind) = kind else {
            let factor = self.positive("rope.scale_linear", Some(1.0))?;
            return Ok(if factor == 1.0 { Scaling::None } else { Scaling::Linear(factor) });
        };
        let factor = self.positive("rope.scaling.factor", Some(1.0))?;
        let original_context = || -> Result<f64> {
            let trained = self.dimension("context_length")?;
            Ok(self.dimension_or("rope.scaling.original_context_length", trained)? as f64)
        };
        match kind {
            "none" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(factor)),
            "yarn" => Ok(Scaling::Yarn {
                factor,
                original_context: original_context()?,
                beta_fast: self.positive("rope.scaling.yarn_beta_fast", Some(32.0))?,
                beta_slow: self.positive("rope.scaling.yarn_beta_slow", Some(1.0))?,
                attention_factor: self.positive("rope.scaling.attn_factor", Some(1.0))?,
            }),
            "llama3" => Ok(Scaling::Llama3 {
                factor,
                original_context: original_context()?,
                low: self.positive("rope.scaling.low_freq_factor", Some(1.0))?,
                high: self.positive("rope.scaling.high_freq_factor", Some(4.0))?,
            }),
            other => Err(Error::Unsupported(format!(
                "{}: \"{other}\" is not supported (supported: none, linear, yarn, llama3)",
                self.name("rope.scaling.type")
            ))),
        }
    }
}

fn missing(key: &str) -> Error {
    Error::InvalidModel(format!("metadata key {key} is missing"))
}
