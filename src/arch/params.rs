//! Hyper-parameters that most architectures share, as the metadata of the file gives them.

use crate::error::{Error, Result, try_vec};
use crate::gguf::{File, Metadata, Value};
use crate::ops::{MAX_HEAD_DIM, Pooling, Scaling};
use std::fmt::Display;

/// The hyper-parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// `general.architecture`.
    pub architecture: String,
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Context length of the training.
    pub context: usize,
    /// Width of the feed-forward layer; 0 where there is none.
    pub feed_forward: usize,
    /// Query heads; 0, as are all sizes of heads, where there is no attention.
    pub heads: usize,
    /// Key and value heads of each layer; each divides `heads`, or is 0 where a layer has no attention.
    pub kv_heads: Vec<usize>,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Elements of a head that rotate.
    pub rope_dims: usize,
    /// Base of the rotation frequencies.
    pub rope_base: f64,
    /// Context extension.
    pub rope_scaling: Scaling,
    /// Whether tokens do not see what follows them.
    pub causal: bool,
}

/// Architectures without attention and feed-forward blocks: their files have no sizes of those, or 0.
const RECURRENT: [&str; 2] = ["mamba", "mamba2"];

/// Greatest value of any one dimension: keeps products of two of them far from overflow.
const MAX_DIMENSION: usize = 1 << 28;

impl Params {
    /// Reads and checks them.
    ///
    /// # Errors
    /// A missing key, a wrong type, a value out of range: the message names the key.
    pub fn read(file: &File) -> Result<Params> {
        let keys = Keys::new(file.metadata())?;
        let layers = keys.dimension("block_count")?;
        if layers > file.tensors().len() {
            return Err(keys.invalid("block_count", format!("{layers} blocks, but {} tensors", file.tensors().len())));
        }
        let width = keys.dimension("embedding_length")?;
        if RECURRENT.contains(&keys.architecture) {
            return Ok(Params {
                architecture: keys.architecture.to_owned(),
                layers,
                width,
                context: keys.dimension("context_length")?,
                feed_forward: 0,
                heads: 0,
                kv_heads: Vec::new(),
                head_dim: 0,
                value_dim: 0,
                rope_dims: 0,
                rope_base: 0.0,
                rope_scaling: Scaling::None,
                causal: true,
            });
        }
        let heads = keys.dimension("attention.head_count")?;
        if heads > width {
            return Err(keys.invalid("attention.head_count", format!("{heads} heads in a width of {width}")));
        }
        let kv_heads = keys.per_layer("attention.head_count_kv", layers, heads)?;
        if let Some(count) = kv_heads.iter().find(|&&count| count > 0 && heads % count != 0) {
            let message = format!("{heads} query heads are not a multiple of {count} key-value heads");
            return Err(keys.invalid("attention.head_count_kv", message));
        }
        let head_dim = keys.dimension_or("attention.key_length", (width / heads).max(1))?;
        let value_dim = keys.dimension_or("attention.value_length", (width / heads).max(1))?;
        for (key, size) in [("attention.key_length", head_dim), ("attention.value_length", value_dim)] {
            if size > MAX_HEAD_DIM {
                return Err(keys.invalid(key, format!("heads of {size} elements are greater than {MAX_HEAD_DIM}")));
            }
        }
        // Blocks that predict further tokens stand behind the others and take no part in a pass.
        let further = keys.dimension_or("nextn_predict_layers", 0)?;
        let layers = layers
            .checked_sub(further)
            .filter(|&layers| layers > 0)
            .ok_or_else(|| keys.invalid("nextn_predict_layers", format!("{further} of {layers} blocks")))?;
        let rope_dims = keys.dimension_or("rope.dimension_count", head_dim)?;
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            let message = format!("{rope_dims} is not an even number up to the head size {head_dim}");
            return Err(keys.invalid("rope.dimension_count", message));
        }
        Ok(Params {
            context: keys.dimension("context_length")?,
            feed_forward: keys.dimension("feed_forward_length")?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_scaling: keys.scaling()?,
            causal: keys.flag("attention.causal", true)?,
            architecture: keys.architecture.to_owned(),
            layers,
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
pub struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of the architecture that the metadata names.
    ///
    /// # Errors
    /// When it names none.
    pub fn new(metadata: &'a Metadata) -> Result<Keys<'a>> {
        let architecture = metadata.str("general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
        Ok(Keys { metadata, architecture })
    }

    /// `general.architecture`.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// The whole name of a key.
    #[must_use]
    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A key with a value that cannot be.
    #[must_use]
    pub fn invalid(&self, key: &str, message: impl Display) -> Error {
        Error::InvalidModel(format!("{}: {message}", self.name(key)))
    }

    /// A size that must be there.
    ///
    /// # Errors
    /// As all look-ups: a missing key, a wrong type, a value out of range, with the name of the key.
    pub fn dimension(&self, key: &str) -> Result<usize> {
        self.optional_dimension(key)?.ok_or_else(|| missing(&self.name(key)))
    }

    /// A size, or `default` where there is none.
    ///
    /// # Errors
    /// As [`Keys::dimension`].
    pub fn dimension_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional_dimension(key)?.unwrap_or(default))
    }

    /// A size that may be absent. Files also write 0 for absent.
    ///
    /// # Errors
    /// As [`Keys::dimension`].
    pub fn optional_dimension(&self, key: &str) -> Result<Option<usize>> {
        // Where each block has a size of its own, the greatest one counts here.
        let name = self.name(key);
        let value = match self.metadata.get(&name) {
            Some(Value::Array(_)) => self.metadata.u32s(&name)?.and_then(|values| values.into_iter().max()),
            _ => self.metadata.u32(&name)?,
        };
        let value = value.unwrap_or(0) as usize;
        if value > MAX_DIMENSION {
            return Err(self.invalid(key, format!("{value} is greater than {MAX_DIMENSION}")));
        }
        Ok((value > 0).then_some(value))
    }

    /// One size per block, each up to `default`: an array, or one number for all.
    ///
    /// # Errors
    /// As [`Keys::dimension`].
    pub fn per_layer(&self, key: &str, layers: usize, default: usize) -> Result<Vec<usize>> {
        let name = self.name(key);
        let values = match self.metadata.get(&name) {
            Some(Value::Array(_)) => {
                self.metadata.u32s(&name)?.unwrap_or_default().into_iter().map(|value| value as usize).collect()
            }
            _ => try_vec(layers, self.dimension_or(key, default)?)?,
        };
        if values.len() != layers {
            return Err(self.invalid(key, format!("{} values for {layers} blocks", values.len())));
        }
        match values.iter().max() {
            Some(&greatest) if greatest > default => Err(self.invalid(key, format!("{greatest} is greater than {default}"))),
            Some(0) | None => Err(self.invalid(key, "0 in every block")),
            Some(_) => Ok(values),
        }
    }

    /// A positive number; `default` `None`: the key must be there.
    ///
    /// # Errors
    /// As [`Keys::dimension`].
    pub fn positive(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let name = self.name(key);
        let value = self.metadata.f32(&name)?.map(f64::from).or(default).ok_or_else(|| missing(&name))?;
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(self.invalid(key, format!("{value} is not positive"))) }
    }

    /// Any finite number, or `default`.
    ///
    /// # Errors
    /// As [`Keys::dimension`].
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        let value = self.metadata.f32(&self.name(key))?.map_or(default, f64::from);
        if value.is_finite() { Ok(value) } else { Err(self.invalid(key, format!("{value} is not a number"))) }
    }

    /// A text.
    ///
    /// # Errors
    /// A wrong type, or bytes that are not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.str(&self.name(key))
    }

    /// A truth value.
    ///
    /// # Errors
    /// A wrong type.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.metadata.bool(&self.name(key))?.unwrap_or(default))
    }

    /// How vectors are pooled, if the file says so.
    ///
    /// # Errors
    /// A wrong type or an unknown number.
    pub fn pooling(&self, key: &str) -> Result<Option<Pooling>> {
        match self.metadata.u32(&self.name(key))? {
            None => Ok(None),
            Some(0) => Ok(Some(Pooling::None)),
            Some(1) => Ok(Some(Pooling::Mean)),
            Some(2) => Ok(Some(Pooling::Cls)),
            Some(3) => Ok(Some(Pooling::Last)),
            Some(4) => Ok(Some(Pooling::Rank)),
            Some(other) => Err(self.invalid(key, format!("{other} is not known"))),
        }
    }

    fn scaling(&self) -> Result<Scaling> {
        let kind = self.metadata.str(&self.name("rope.scaling.type"))?;
        let attention_factor = self.positive("rope.scaling.attn_factor", Some(1.0))?;
        let Some(kind) = kind else {
            // Older files name no type but carry the linear factor, and some that of LongRoPE.
            let factor = self.positive("rope.scale_linear", Some(1.0))?;
            return Ok(match (factor == 1.0, attention_factor == 1.0) {
                (false, _) => Scaling::Linear(factor),
                (true, false) => Scaling::Long { attention_factor },
                (true, true) => Scaling::None,
            });
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
                attention_factor,
                whole: true,
            }),
            "llama3" => Ok(Scaling::Llama3 {
                factor,
                original_context: original_context()?,
                low: self.positive("rope.scaling.low_freq_factor", Some(1.0))?,
                high: self.positive("rope.scaling.high_freq_factor", Some(4.0))?,
            }),
            "longrope" => Ok(Scaling::Long { attention_factor }),
            other => Err(Error::Unsupported(format!(
                "{}: {other:?} is not supported (supported: none, linear, yarn, llama3, longrope)",
                self.name("rope.scaling.type")
            ))),
        }
    }
}

fn missing(key: &str) -> Error {
    Error::InvalidModel(format!("metadata key {key} is missing"))
}
