//! The tokenizer's metadata: keys of `tokenizer.ggml`, read and checked.

use super::pre::{self, PreTokenizer};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Strings};

/// How a tokenizer works (`tokenizer.ggml.model`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// SentencePiece's byte-pair encoding: merges by score, unknown characters as bytes.
    Spm,
    /// Byte-level byte-pair encoding: merges by rank within pre-split words.
    Bpe,
}

/// Names of `tokenizer.ggml.model` that are understood.
const MODELS: &[(&str, Model)] = &[("llama", Model::Spm), ("gpt2", Model::Bpe)];

/// Everything that a file says about its tokenizer.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub(super) model: Model,
    /// Of BPE only.
    pub(super) pre: &'static PreTokenizer,
    pub(super) tokens: Vec<&'a [u8]>,
    /// One per token, or none at all.
    pub(super) kinds: Vec<i32>,
    /// One per token, or none at all.
    pub(super) scores: Vec<f32>,
    /// `left right`, best first.
    pub(super) merges: Vec<&'a [u8]>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) eot: Option<u32>,
    pub(super) eom: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) add_space_prefix: bool,
    /// `general.name` in lower case: some attributes of tokens stand nowhere else.
    pub(super) name: String,
}

/// The arrays of strings that a [`Definition`] looks into.
pub(super) struct Texts {
    tokens: Strings,
    merges: Option<Strings>,
}

impl Texts {
    /// Finds the arrays.
    pub(super) fn new(metadata: &Metadata) -> Result<Self> {
        let tokens = metadata.strings("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        Ok(Texts { tokens, merges: metadata.strings("tokenizer.ggml.merges")? })
    }
}

fn missing(key: &str) -> Error {
    Error::InvalidModel(format!("the model has no usable tokenizer: metadata key {key} is missing"))
}

/// The model named in the file.
pub(super) fn model(metadata: &Metadata) -> Result<Model> {
    let name = metadata.str("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
    if matches!(name, "none" | "no_vocab") {
        return Err(Error::Unsupported(format!("the model has no vocabulary (tokenizer.ggml.model is {name})")));
    }
    MODELS.iter().find(|(known, _)| *known == name).map(|&(_, model)| model).ok_or_else(|| {
        let known: Vec<_> = MODELS.iter().map(|(name, _)| *name).collect();
        Error::Unsupported(format!("tokenizer.ggml.model {name:?} is not supported; supported are {}", known.join(", ")))
    })
}

fn views(strings: &Strings) -> Result<Vec<&[u8]>> {
    let mut views = Vec::new();
    views.try_reserve_exact(strings.len()).map_err(|_| Error::OutOfMemory)?;
    views.extend(strings.iter());
    Ok(views)
}

/// An array that must have an element per token, if it is there at all.
fn per_token<T>(key: &str, values: Option<Vec<T>>, tokens: usize) -> Result<Vec<T>> {
    let values = values.unwrap_or_default();
    if !values.is_empty() && values.len() < tokens {
        return Err(Error::InvalidModel(format!("{key} holds {} values for {tokens} tokens", values.len())));
    }
    Ok(values)
}

impl<'a> Definition<'a> {
    /// Reads the keys of a tokenizer of kind `model`.
    pub(super) fn read(metadata: &Metadata, model: Model, texts: &'a Texts) -> Result<Self> {
        let tokens = views(&texts.tokens)?;
        if tokens.is_empty() {
            return Err(Error::InvalidModel("tokenizer.ggml.tokens is empty".into()));
        }
        let pre = match model {
            Model::Bpe => pre::find(metadata.str("tokenizer.ggml.pre")?.unwrap_or("default"))?,
            Model::Spm => pre::NONE,
        };
        let exists = |id: &u32| (*id as usize) < tokens.len();
        // The first and last tokens matter to every answer: a wrong one is an error. Others may be wrong in files in use.
        let checked = |key: &str| match metadata.u32(key)? {
            Some(id) if !exists(&id) => {
                Err(Error::InvalidModel(format!("{key} is {id}, outside the vocabulary of {} tokens", tokens.len())))
            }
            id => Ok(id),
        };
        let optional = |key: &str| Ok::<_, Error>(metadata.u32(key)?.filter(exists));
        let default = |id: u32| (model == Model::Spm).then_some(id).filter(exists);
        let bos = checked("tokenizer.ggml.bos_token_id")?.or(default(1));
        let eos = checked("tokenizer.ggml.eos_token_id")?.or(default(2));
        let adds = |key: &str, token: Option<u32>, default: bool| match (metadata.bool(key)?, token) {
            (Some(true), None) => {
                Err(Error::InvalidModel(format!("{key} is true, but the model does not say which token that is")))
            }
            (asked, token) => Ok(asked.unwrap_or(default) && token.is_some()),
        };
        Ok(Definition {
            model,
            pre,
            kinds: per_token("tokenizer.ggml.token_type", metadata.i32s("tokenizer.ggml.token_type")?, tokens.len())?,
            scores: per_token("tokenizer.ggml.scores", metadata.f32s("tokenizer.ggml.scores")?, tokens.len())?,
            merges: texts.merges.as_ref().map_or(Ok(Vec::new()), views)?,
            bos,
            eos,
            eot: optional("tokenizer.ggml.eot_token_id")?,
            eom: optional("tokenizer.ggml.eom_token_id")?,
            unknown: optional("tokenizer.ggml.unknown_token_id")?.or(default(0)),
            add_bos: adds("tokenizer.ggml.add_bos_token", bos, model == Model::Spm || pre.add_bos)?,
            add_eos: adds("tokenizer.ggml.add_eos_token", eos, false)?,
            add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(model == Model::Spm),
            name: metadata.str("general.name")?.unwrap_or_default().to_lowercase(),
            tokens,
        })
    }
}
