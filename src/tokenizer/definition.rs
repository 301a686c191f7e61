//! The tokenizer's metadata: keys of `tokenizer.ggml`, read and checked.

use super::pre::{self, PreTokenizer};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Strings};
use std::fmt;

/// How a tokenizer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// SentencePiece's byte-pair encoding: merges by score, unknown characters as bytes.
    Spm,
    /// Byte-pair encoding by rank within pre-split words.
    Bpe,
    /// Longest tokens within words, as BERT has them.
    WordPiece,
    /// SentencePiece's unigram model: the best total score.
    Unigram,
    /// Longest tokens on bytes, as RWKV has them.
    Longest,
}

/// What a kind of tokenizer means where a file does not say.
struct Defaults {
    /// `tokenizer.ggml.model`.
    name: &'static str,
    model: Model,
    bos: Option<u32>,
    eos: Option<u32>,
    separator: Option<u32>,
    unknown: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
    /// The only pre-tokenizer, if there is but one.
    pre: Option<&'static str>,
}

const BPE: Defaults = Defaults {
    name: "gpt2",
    model: Model::Bpe,
    bos: None,
    eos: None,
    separator: None,
    unknown: None,
    add_bos: false,
    add_eos: false,
    add_space_prefix: false,
    pre: None,
};

/// The kinds that are understood.
const MODELS: &[Defaults] = &[
    Defaults {
        name: "llama",
        model: Model::Spm,
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        add_bos: true,
        add_space_prefix: true,
        ..BPE
    },
    BPE,
    Defaults { name: "gemma4", pre: Some("gemma4"), ..BPE },
    Defaults { name: "whitespace", pre: Some("whitespace"), ..BPE },
    Defaults {
        name: "bert",
        model: Model::WordPiece,
        bos: Some(101),
        separator: Some(102),
        unknown: Some(100),
        add_bos: true,
        ..BPE
    },
    Defaults { name: "t5", model: Model::Unigram, eos: Some(1), unknown: Some(2), add_eos: true, ..BPE },
    Defaults { name: "rwkv", model: Model::Longest, ..BPE },
];

/// What to do about a pre-tokenizer that the file does not name or whose name is not known.
pub(super) struct Fallback<'a> {
    /// Take the default for an unknown name.
    pub(super) allowed: bool,
    /// Told what is off.
    pub(super) warn: &'a mut dyn FnMut(&str),
}

/// Hears how many more elements of tables were gone through; its error ends the reading.
pub(super) struct Watch<'a>(pub(super) &'a dyn Fn(usize) -> Result<()>);

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Elements between two words to a [`Watch`].
const PART: usize = 1024;

/// Everything that a file says about its tokenizer.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    watch: Watch<'a>,
    pub(super) model: Model,
    /// Of BPE only.
    pub(super) pre: &'static PreTokenizer,
    /// The name that the file gives it.
    pub(super) pre_name: &'a str,
    pub(super) tokens: Vec<&'a [u8]>,
    /// One per token, or none at all.
    pub(super) kinds: Vec<i32>,
    /// One per token, or none at all.
    pub(super) scores: Vec<f32>,
    /// `left right`, best first.
    pub(super) merges: Vec<&'a [u8]>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) separator: Option<u32>,
    pub(super) unknown: Option<u32>,
    /// Tokens other than EOS that end generation.
    pub(super) ends: Vec<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) add_space_prefix: bool,
    /// Runs of spaces count as one, and those around the text not at all. Of Unigram only.
    pub(super) remove_extra_spaces: bool,
    /// Rules of normalization. Of Unigram only.
    pub(super) charsmap: Vec<u8>,
    /// The vocabulary knows lower-case words only.
    pub(super) lowercase: bool,
    /// The vocabulary knows words without accents only.
    pub(super) strip_accents: bool,
    /// `general.name` in lower case: some attributes of tokens stand nowhere else.
    pub(super) name: String,
    /// `general.architecture`, for the same reason.
    pub(super) architecture: &'a str,
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

/// What the model named in the file means.
fn defaults(metadata: &Metadata) -> Result<&'static Defaults> {
    let name = metadata.str("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
    if matches!(name, "none" | "no_vocab") {
        return Err(Error::Unsupported(format!("the model has no vocabulary (tokenizer.ggml.model is {name})")));
    }
    MODELS.iter().find(|known| known.name == name).ok_or_else(|| {
        let known: Vec<_> = MODELS.iter().map(|known| known.name).collect();
        Error::Unsupported(format!("tokenizer.ggml.model {name:?} is not supported; supported are {}", known.join(", ")))
    })
}

fn views(strings: &Strings) -> Result<Vec<&[u8]>> {
    let mut views = Vec::new();
    views.try_reserve_exact(strings.len()).map_err(|_| Error::OutOfMemory)?;
    views.extend(strings.iter());
    Ok(views)
}

/// How the tokenizer of this metadata works.
pub(super) fn model(metadata: &Metadata) -> Result<Model> {
    defaults(metadata).map(|defaults| defaults.model)
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
    /// Says that element `index` of a table is being looked at.
    #[inline]
    pub(super) fn tick(&self, index: usize) -> Result<()> {
        if index % PART == PART - 1 { (self.watch.0)(PART) } else { Ok(()) }
    }

    /// Reads the keys of a tokenizer.
    pub(super) fn read(metadata: &'a Metadata, texts: &'a Texts, fallback: Fallback, watch: Watch<'a>) -> Result<Self> {
        let defaults = defaults(metadata)?;
        let model = defaults.model;
        let tokens = views(&texts.tokens)?;
        if tokens.is_empty() {
            return Err(Error::InvalidModel("tokenizer.ggml.tokens is empty".into()));
        }
        let pre_name = metadata.str("tokenizer.ggml.pre")?.unwrap_or_default();
        let pre = match model {
            Model::Bpe => pre::find(defaults.pre.unwrap_or(pre_name), fallback)?,
            _ => pre::NONE,
        };
        if model == Model::Bpe && texts.merges.is_none() && pre.needs_merges {
            return Err(missing("tokenizer.ggml.merges"));
        }
        let exists = |id: &u32| (*id as usize) < tokens.len();
        // The first and last tokens matter to every answer: a wrong one is an error. Others may be wrong in files in use.
        let checked = |key: &str| match metadata.u32(key)? {
            Some(id) if !exists(&id) => {
                Err(Error::InvalidModel(format!("{key} is {id}, outside the vocabulary of {} tokens", tokens.len())))
            }
            id => Ok(id),
        };
        let optional = |key: &str| Ok::<_, Error>(metadata.u32(key)?.filter(exists));
        let mut bos = checked("tokenizer.ggml.bos_token_id")?;
        if bos.is_none() && model == Model::WordPiece {
            bos = optional("tokenizer.ggml.cls_token_id")?;
        }
        let bos = bos.or(defaults.bos.filter(exists));
        let eos = checked("tokenizer.ggml.eos_token_id")?.or(defaults.eos.filter(exists));
        let mut ends = Vec::new();
        for name in ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"] {
            ends.extend(optional(&format!("tokenizer.ggml.{name}_token_id"))?);
        }
        let adds = |key: &str, token: Option<u32>, default: bool| match (metadata.bool(key)?, token) {
            (Some(true), None) => {
                Err(Error::InvalidModel(format!("{key} is true, but the model does not say which token that is")))
            }
            (asked, token) => Ok(asked.unwrap_or(default) && token.is_some()),
        };
        let asked = |key: &str, default: bool| Ok::<_, Error>(metadata.bool(key)?.unwrap_or(default));
        let lowercase = asked("tokenizer.ggml.normalizer.lowercase", model == Model::WordPiece)?;
        let mut charsmap = Vec::new();
        if model == Model::Unigram
            && let Some(bytes) = metadata.i32s("tokenizer.ggml.precompiled_charsmap")?
        {
            charsmap.try_reserve_exact(bytes.len()).map_err(|_| Error::OutOfMemory)?;
            // The bytes stand there with sign or without.
            charsmap.extend(bytes.iter().map(|&byte| byte as u8));
        }
        Ok(Definition {
            watch,
            model,
            pre,
            pre_name,
            kinds: per_token("tokenizer.ggml.token_type", metadata.i32s("tokenizer.ggml.token_type")?, tokens.len())?,
            scores: per_token("tokenizer.ggml.scores", metadata.f32s("tokenizer.ggml.scores")?, tokens.len())?,
            merges: texts.merges.as_ref().map_or(Ok(Vec::new()), views)?,
            bos,
            eos,
            separator: optional("tokenizer.ggml.seperator_token_id")?.or(defaults.separator.filter(exists)),
            unknown: optional("tokenizer.ggml.unknown_token_id")?.or(defaults.unknown.filter(exists)),
            ends,
            add_bos: adds("tokenizer.ggml.add_bos_token", bos, defaults.add_bos || pre.add_bos)?
                || pre.always_bos && bos.is_some(),
            add_eos: adds("tokenizer.ggml.add_eos_token", eos, defaults.add_eos)?,
            add_space_prefix: asked("tokenizer.ggml.add_space_prefix", defaults.add_space_prefix)?,
            remove_extra_spaces: asked("tokenizer.ggml.remove_extra_whitespaces", false)?,
            charsmap,
            lowercase,
            strip_accents: asked("tokenizer.ggml.normalizer.strip_accents", lowercase)?,
            name: metadata.str("general.name")?.unwrap_or_default().to_lowercase(),
            architecture: metadata.str("general.architecture")?.unwrap_or_default(),
            tokens,
        })
    }
}
