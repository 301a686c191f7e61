//! WordPiece (Schuster and Nakajima 2012; Devlin et al. 2018): words are cut into the longest tokens from left to right. A
//! word that does not come out even is unknown as a whole.
//!
//! Files write the token of a word's start with a space mark before it and the others without mark.

use super::characters::{Characters, Effect};
use super::definition::Definition;
use super::trie::Trie;
use super::vocab::{SPACE_MARK, Vocab};
use super::word::push;
use crate::error::{Error, Result};

/// The tokenizer.
#[derive(Debug)]
pub(super) struct WordPiece {
    tokens: Trie,
    characters: Characters,
    unknown: u32,
}

impl WordPiece {
    /// Prepares the vocabulary.
    pub(super) fn new(definition: &Definition, vocab: &Vocab) -> Result<Self> {
        let unknown = definition
            .unknown
            .ok_or_else(|| Error::InvalidModel("tokenizer.ggml.unknown_token_id is missing or outside the vocabulary".into()))?;
        Ok(WordPiece {
            tokens: Trie::new(vocab.texts().iter().zip(0..).collect(), |node| definition.tick(node))?,
            characters: Characters::new(definition.lowercase, definition.strip_accents)?,
            unknown,
        })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let mut word = SPACE_MARK.to_vec();
        for character in text.chars() {
            match self.characters.effect(character) {
                Effect::Joins(character) => append(&mut word, character)?,
                Effect::Vanishes => {}
                Effect::Ends => self.finish(&mut word, out)?,
                Effect::Alone(character) => {
                    self.finish(&mut word, out)?;
                    append(&mut word, character)?;
                    self.finish(&mut word, out)?;
                }
            }
        }
        self.finish(&mut word, out)
    }

    /// Appends the tokens of a word, if there is one, and begins the next.
    fn finish(&self, word: &mut Vec<u8>, out: &mut Vec<i32>) -> Result<()> {
        if word.len() > SPACE_MARK.len() {
            let start = out.len();
            let mut rest = word.as_slice();
            while !rest.is_empty() {
                let Some((length, id)) = self.tokens.longest(rest) else {
                    out.truncate(start);
                    push(out, self.unknown)?;
                    break;
                };
                push(out, id)?;
                rest = &rest[length..];
            }
            word.truncate(SPACE_MARK.len());
        }
        Ok(())
    }
}

#[inline]
fn append(word: &mut Vec<u8>, character: char) -> Result<()> {
    word.try_reserve(4).map_err(|_| Error::OutOfMemory)?;
    word.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}
