//! The longest token first, from left to right, on bytes: how RWKV's vocabularies work.

use super::definition::Definition;
use super::trie::Trie;
use super::vocab::Vocab;
use super::word::push;
use crate::error::{Error, Result};

/// The tokenizer.
#[derive(Debug)]
pub(super) struct Longest {
    tokens: Trie,
    unknown: Option<u32>,
}

impl Longest {
    /// Prepares the vocabulary. No text becomes a control token.
    pub(super) fn new(definition: &Definition, vocab: &Vocab) -> Result<Self> {
        let mut tokens = Vec::new();
        tokens.try_reserve(vocab.len()).map_err(|_| Error::OutOfMemory)?;
        let visible = vocab.kinds().zip(vocab.pieces().iter()).filter(|((_, kind), _)| !kind.is_hidden());
        tokens.extend(visible.map(|((id, _), piece)| (piece, id)));
        Ok(Longest { tokens: Trie::new(tokens, |node| definition.tick(node))?, unknown: definition.unknown })
    }

    /// Appends the tokens of `text`. A byte that no token begins with becomes the unknown token, if there is one.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (length, id) = self.tokens.longest(rest).map_or((1, self.unknown), |(length, id)| (length, Some(id)));
            if let Some(id) = id {
                push(out, id)?;
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}
