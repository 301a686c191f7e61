//! What a tokenizer takes, from the lengths of its tables alone.

use super::characters::Characters;
use super::definition::{Model, model};
use crate::error::Result;
use crate::gguf::Metadata;

/// Bytes of private memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Of the tokenizer.
    pub held: usize,
    /// More than that while it is made.
    pub building: usize,
    /// Elements of tables that are gone through on the way, about.
    pub steps: usize,
}

/// A slot of an [`super::arena::Index`], of which at most half are used.
const SLOT: usize = 16;
/// A pair of tokens with what it merges into; at most three of four are used.
const PAIR: usize = 16;
/// A node of a trie. There are about as many as a quarter of the bytes of its strings, which share their beginnings.
const NODE: usize = 12;
/// The compiled patterns of a pre-tokenizer.
const SPLITTER: usize = 80 << 10;

impl Footprint {
    /// An estimate for the tokenizer of this metadata; nothing, where there is none.
    ///
    /// # Errors
    /// Tables of wrong types, a kind of tokenizer that is not known.
    pub fn new(metadata: &Metadata) -> Result<Footprint> {
        if metadata.get("tokenizer.ggml.model").is_none() {
            return Ok(Footprint::default());
        }
        let tokens = metadata.strings("tokenizer.ggml.tokens")?;
        let (count, text) = tokens.map_or((0, 0), |tokens| (tokens.len(), tokens.text_len()));
        let merges = metadata.strings("tokenizer.ggml.merges")?.map_or(0, |merges| merges.len());
        // Texts and what they stand for, each with a table of ends, and the kinds.
        let vocab = 2 * (text + 4 * count) + count;
        let index = (2 * count).next_power_of_two() * SLOT;
        let table = if merges > 0 { (merges * 4 / 3 + 1).next_power_of_two() * PAIR } else { 0 };
        let (mut nodes, model) = (0, model(metadata)?);
        if matches!(model, Model::WordPiece | Model::Longest | Model::Unigram) {
            nodes = text / 4;
        }
        let held = vocab
            + match model {
                Model::Spm => index + 5 * count,
                Model::Bpe => index + count + table + SPLITTER,
                Model::WordPiece => nodes * NODE + Characters::SIZE,
                Model::Longest => nodes * NODE,
                Model::Unigram => 4 * count + nodes * NODE,
            };
        // Slices of texts and merges, kinds and scores.
        Ok(Footprint { held, building: 16 * (count + merges) + 8 * count, steps: 2 * count + merges + nodes })
    }
}
