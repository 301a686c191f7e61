//! Text <-> tokens, as the model's vocabulary wants it.
//!
//! `definition` reads the metadata, `vocab` holds the tokens, `special` finds special tokens in text; what lies between
//! them goes to the algorithm that the file names: `spm`, `bpe`, `wordpiece`, `unigram` or `longest`. The first two leave
//! single words to `word` and merge neighbours with `merge`; words come from `split`, along the table in `pre`, or from
//! `marks`. The others find tokens in a `trie`. `utf8` makes whole characters of the bytes that come back.
//!
//! Ids are those of llama.cpp for the same file: that is what model files are made and tested with.

mod arena;
mod bpe;
mod byte_level;
mod characters;
mod charsmap;
mod definition;
mod footprint;
mod longest;
mod marks;
mod merge;
mod pairs;
mod pre;
mod special;
mod split;
mod spm;
mod trie;
mod unigram;
mod utf8;
mod vocab;
mod word;
mod wordpiece;

pub use footprint::Footprint;
pub use utf8::Utf8Stream;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use bpe::Bpe;
use definition::{Definition, Fallback, Model, Texts, Watch};
use longest::Longest;
use merge::Merger;
use special::Specials;
use spm::Spm;
use unigram::Unigram;
use vocab::{Kind, Vocab};
use word::push;
use wordpiece::WordPiece;

/// What else a text means than its characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextFlags {
    /// Add BOS and EOS where the model asks for them.
    pub add_special: bool,
    /// The text of a special token becomes that token. Never set for text that a stranger wrote.
    pub parse_special: bool,
}

/// A model's tokenizer. Immutable; any number of threads may use it at once.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Arc<Vocab>,
    specials: Specials,
    algorithm: Algorithm,
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    add_bos: bool,
    /// Ends a text with `add_special`: EOS, or the separator of WordPiece.
    last: Option<u32>,
    strips_space: bool,
    longest: usize,
}

#[derive(Debug)]
enum Algorithm {
    Spm(Box<Spm>),
    Bpe(Box<Bpe>),
    WordPiece(Box<WordPiece>),
    Unigram(Box<Unigram>),
    Longest(Longest),
}

/// Longest text that is tokenized at once. Below it, offsets in a text with its spaces marked fit 32 bits.
const MAX_TEXT: usize = (u32::MAX / 4) as usize;

impl Tokenizer {
    /// The tokenizer that a file describes under `tokenizer.ggml`.
    ///
    /// Merges that name unknown texts are ignored, as are ids outside the vocabulary other than those of BOS and EOS.
    ///
    /// # Errors
    /// [`Error::InvalidModel`]: a key is missing or contradicts the vocabulary. [`Error::Unsupported`]: the kind of
    /// tokenizer or pre-tokenizer is not known (the message names it and those that are), or the file says that it has
    /// none.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        Tokenizer::read(metadata, Fallback { allowed: false, warn: &mut |_| () }, Watch(&|_| Ok(())))
    }

    /// As [`Tokenizer::from_metadata`], with a word about what is off in the file. With `default_pre_tokenizer`, one whose
    /// name is not known is replaced by the default; text is then cut into other tokens than the model was trained on. `watch`
    /// hears from time to time how many more of [`Footprint::steps`] are done; its error ends the work.
    ///
    /// # Errors
    /// As [`Tokenizer::from_metadata`], and that of `watch`.
    pub fn from_metadata_with(
        metadata: &Metadata,
        default_pre_tokenizer: bool,
        mut warn: impl FnMut(&str),
        watch: impl Fn(usize) -> Result<()>,
    ) -> Result<Self> {
        Tokenizer::read(metadata, Fallback { allowed: default_pre_tokenizer, warn: &mut warn }, Watch(&watch))
    }

    fn read(metadata: &Metadata, fallback: Fallback, watch: Watch) -> Result<Self> {
        let texts = Texts::new(metadata)?;
        let definition = &Definition::read(metadata, &texts, fallback, watch)?;
        let vocab = Arc::new(Vocab::new(definition)?);
        let (strip_left, strip_right) = stripping(definition, &vocab);
        Ok(Tokenizer {
            specials: Specials::new(&vocab, strip_left, strip_right)?,
            algorithm: match definition.model {
                Model::Spm => Algorithm::Spm(Box::new(Spm::new(definition, Arc::clone(&vocab))?)),
                Model::Bpe => Algorithm::Bpe(Box::new(Bpe::new(definition, Arc::clone(&vocab))?)),
                Model::WordPiece => Algorithm::WordPiece(Box::new(WordPiece::new(definition, &vocab)?)),
                Model::Unigram => Algorithm::Unigram(Box::new(Unigram::new(definition, &vocab)?)),
                Model::Longest => Algorithm::Longest(Longest::new(definition, &vocab)?),
            },
            longest: vocab.pieces().iter().map(<[u8]>::len).max().unwrap_or(0),
            vocab,
            bos: definition.bos,
            eos: definition.eos,
            unknown: definition.unknown,
            add_bos: definition.add_bos,
            last: match definition.model {
                Model::WordPiece => definition.separator,
                _ => definition.eos.filter(|_| definition.add_eos),
            },
            strips_space: definition.add_space_prefix,
        })
    }

    /// Appends the tokens of `text` to `out`.
    ///
    /// # Errors
    /// Out of memory; a text of 1 GiB or more; a character for which an SPM vocabulary has neither tokens nor an unknown
    /// token. `out` may then hold part of the tokens.
    pub fn encode(&self, text: &str, flags: TextFlags, out: &mut Vec<i32>) -> Result<()> {
        if text.len() > MAX_TEXT {
            return Err(Error::InvalidArgument(format!("the text has {} bytes, more than {MAX_TEXT}", text.len())));
        }
        if let Some(bos) = self.bos.filter(|_| flags.add_special && self.add_bos) {
            push(out, bos)?;
        }
        let mut merger = Merger::default();
        let mut at = 0;
        for special in self.specials.find(&self.vocab, text.as_bytes(), flags.parse_special)? {
            self.encode_plain(text.get(at..special.start), &mut merger, out)?;
            push(out, special.id)?;
            at = special.end;
        }
        self.encode_plain(text.get(at..), &mut merger, out)?;
        if let Some(last) = self.last.filter(|_| flags.add_special) {
            push(out, last)?;
        }
        Ok(())
    }

    /// A whole text, or what follows a special token up to the next.
    fn encode_plain(&self, text: Option<&str>, merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        match (text, &self.algorithm) {
            (None | Some(""), _) => Ok(()),
            (Some(text), Algorithm::Spm(spm)) => spm.encode(text, merger, out),
            (Some(text), Algorithm::Bpe(bpe)) => bpe.encode(text, merger, out),
            (Some(text), Algorithm::WordPiece(wordpiece)) => wordpiece.encode(text, out),
            (Some(text), Algorithm::Unigram(unigram)) => unigram.encode(text, out),
            (Some(text), Algorithm::Longest(longest)) => longest.encode(text, out),
        }
    }

    /// Appends the text of `tokens` to `out`: bytes, since tokens may end within a character ([`Utf8Stream`] mends
    /// that). Control tokens are left out unless `special`. The space that encoding puts before the first word is taken
    /// away again.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]: an id that is no token.
    pub fn decode(&self, tokens: &[i32], special: bool, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let mut strip = self.strips_space;
        for &token in tokens {
            self.token_bytes(token, special, out)?;
            if strip && out.len() > start {
                strip = false;
                if out.get(start) == Some(&b' ') && !self.is_special(token) {
                    out.remove(start);
                }
            }
        }
        Ok(())
    }

    /// Appends the bytes of text that token `id` stands for: as [`Tokenizer::decode`], but in the midst of a text.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]: `id` is no token.
    pub fn token_bytes(&self, id: i32, special: bool, out: &mut Vec<u8>) -> Result<()> {
        let index = self.index(id)?;
        if special || !self.vocab.kind(index).is_some_and(Kind::is_hidden) {
            let piece = self.vocab.pieces().get(index).unwrap_or_default();
            out.try_reserve(piece.len()).map_err(|_| Error::OutOfMemory)?;
            out.extend_from_slice(piece);
        }
        Ok(())
    }

    fn index(&self, id: i32) -> Result<u32> {
        u32::try_from(id)
            .ok()
            .filter(|&index| (index as usize) < self.vocab.len())
            .ok_or_else(|| Error::OutOfRange(format!("token {id} is outside the vocabulary of {} tokens", self.vocab.len())))
    }

    fn is_special(&self, id: i32) -> bool {
        u32::try_from(id).ok().and_then(|index| self.vocab.kind(index)).is_some_and(Kind::is_special)
    }

    /// The number of tokens; ids are below it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Most bytes that one token stands for: sizes buffers that then never grow.
    #[must_use]
    pub fn longest_piece(&self) -> usize {
        self.longest
    }

    /// The text of token `id` as the file has it, in the vocabulary's own spelling; bytes, not always UTF-8.
    #[must_use]
    pub fn token_text(&self, id: i32) -> Option<&[u8]> {
        self.vocab.texts().get(u32::try_from(id).ok()?)
    }

    /// The token that begins a text.
    #[must_use]
    pub fn bos(&self) -> Option<i32> {
        self.bos.map(|id| id as i32)
    }

    /// The token that ends a text.
    #[must_use]
    pub fn eos(&self) -> Option<i32> {
        self.eos.map(|id| id as i32)
    }

    /// The token for what the vocabulary cannot say.
    #[must_use]
    pub fn unknown(&self) -> Option<i32> {
        self.unknown.map(|id| id as i32)
    }

    /// Whether texts with `add_special` begin with [`Tokenizer::bos`].
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether texts with `add_special` end with [`Tokenizer::eos`].
    #[must_use]
    pub fn adds_eos(&self) -> bool {
        self.last.is_some() && self.last == self.eos
    }

    /// Whether a model that samples token `id` has ended its answer: EOS, end of turn, end of message, and tokens whose
    /// text is known to mean that.
    #[must_use]
    pub fn is_end_of_generation(&self, id: i32) -> bool {
        u32::try_from(id).is_ok_and(|index| self.vocab.is_end(index))
    }
}

/// Special tokens that swallow white space before and behind them, sorted. Files do not say which; models are known by
/// name, as in llama.cpp.
fn stripping(definition: &Definition, vocab: &Vocab) -> (Vec<u32>, Vec<u32>) {
    let special = |wanted: &dyn Fn(&[u8]) -> bool| -> Vec<u32> {
        let tokens = vocab.kinds().zip(vocab.texts().iter());
        tokens.filter(|((_, kind), text)| kind.is_special() && wanted(text)).map(|((id, _), _)| id).collect()
    };
    let contains = |name: &str, parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if contains(definition.pre_name, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
        || contains(definition.architecture, &["nomic-bert-moe", "jina-bert-v3"])
    {
        (special(&|text| text == b"<mask>"), Vec::new())
    } else if contains(&definition.name, &["phi-3", "phi3"]) {
        (Vec::new(), special(&|text| !matches!(text, b"<unk>" | b"<s>" | b"<|endoftext|>")))
    } else if contains(&definition.name, &["modern-bert"]) {
        (special(&|text| text == b"[MASK]"), Vec::new())
    } else {
        (Vec::new(), Vec::new())
    }
}
