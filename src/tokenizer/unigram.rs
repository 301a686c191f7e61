//! Unigram (Kudo 2018, as SentencePiece does it): of all ways to cut a text into tokens, the one whose scores add up to
//! most.

use super::charsmap::Charsmap;
use super::definition::Definition;
use super::trie::Trie;
use super::vocab::{Kind, SPACE_MARK, Vocab};
use super::word::{character_length, push};
use crate::error::{Error, Result, try_vec};

/// How much worse an unknown character is than the worst token.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The tokenizer.
#[derive(Debug)]
pub(super) struct Unigram {
    tokens: Trie,
    /// By token.
    scores: Vec<f32>,
    unknown: u32,
    unknown_score: f32,
    /// Texts that normalization leaves alone.
    verbatim: Trie,
    charsmap: Charsmap,
    add_space_prefix: bool,
    remove_extra_spaces: bool,
}

/// The best way to cut the text up to a place.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    /// Where the last token of it starts.
    start: u32,
    id: u32,
}

impl Unigram {
    /// Prepares the vocabulary. Tokens whose score is not finite never occur in a text.
    pub(super) fn new(definition: &Definition, vocab: &Vocab) -> Result<Self> {
        let unknown = definition
            .unknown
            .ok_or_else(|| Error::InvalidModel("tokenizer.ggml.unknown_token_id is missing or outside the vocabulary".into()))?;
        let mut scores = try_vec(vocab.len(), 0.0)?;
        let (mut tokens, mut verbatim) = (Vec::new(), Vec::new());
        tokens.try_reserve(vocab.len()).map_err(|_| Error::OutOfMemory)?;
        let mut worst = f32::MAX;
        for ((id, kind), text) in vocab.kinds().zip(vocab.texts().iter()) {
            let score = definition.scores.get(id as usize).copied().unwrap_or_default();
            match kind {
                // Their score stays 0: better than any other token's.
                Kind::UserDefined => verbatim.push((text, id)),
                Kind::Normal | Kind::Unused if score.is_finite() => {
                    scores[id as usize] = score;
                    if kind == Kind::Normal {
                        worst = worst.min(score);
                    }
                }
                _ => continue,
            }
            tokens.push((text, id));
        }
        Ok(Unigram {
            tokens: Trie::new(tokens, |node| definition.tick(node))?,
            scores,
            unknown,
            unknown_score: worst - UNKNOWN_PENALTY,
            verbatim: Trie::new(verbatim, |node| definition.tick(node))?,
            charsmap: Charsmap::new(&definition.charsmap)?,
            add_space_prefix: definition.add_space_prefix,
            remove_extra_spaces: definition.remove_extra_spaces,
        })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<i32>) -> Result<()> {
        let text = self.normalize(text.as_bytes())?;
        if u32::try_from(text.len()).is_err() {
            return Err(Error::InvalidArgument("the normalized text has more than 4 GiB".into()));
        }
        let none = Best { score: f64::MIN, start: 0, id: self.unknown };
        let mut best = try_vec(text.len() + 1, none)?;
        best[0].score = 0.0;
        let mut start = 0;
        while start < text.len() {
            let rest = &text[start..];
            let before = best[start].score;
            let mut improve = |length: usize, score: f64, id| {
                let end = &mut best[start + length];
                if before + score > end.score {
                    *end = Best { score: before + score, start: start as u32, id };
                }
            };
            let character = character_length(rest);
            let mut is_token = false;
            for (length, id) in self.tokens.prefixes(rest) {
                is_token |= length == character;
                improve(length, f64::from(self.scores[id as usize]), id);
            }
            if !is_token {
                improve(character, f64::from(self.unknown_score), self.unknown);
            }
            start += character;
        }
        self.trace(&best, out)
    }

    /// Appends the tokens of the best way to the end. Neighbouring unknown characters become one token.
    fn trace(&self, best: &[Best], out: &mut Vec<i32>) -> Result<()> {
        let first = out.len();
        let mut at = best.len() - 1;
        let mut after = None;
        while at > 0 {
            let Best { start, id, .. } = best[at];
            if id != self.unknown || after != Some(id) {
                push(out, id)?;
            }
            after = Some(id);
            at = start as usize;
        }
        out[first..].reverse();
        Ok(())
    }

    /// Applies the rules of the charsmap, and marks spaces or takes surplus ones away.
    fn normalize(&self, text: &[u8]) -> Result<Vec<u8>> {
        let mut normalized = Vec::new();
        normalized.try_reserve(text.len() + text.len() / 2).map_err(|_| Error::OutOfMemory)?;
        let (mut prefixed, mut in_word) = (false, false);
        let mut rest = text;
        while !rest.is_empty() {
            let (length, shown) = match self.verbatim.depth(rest) {
                0 => self.charsmap.rule(rest).unwrap_or_else(|| {
                    let length = character_length(rest);
                    (length, &rest[..length])
                }),
                length => (length, &rest[..length]),
            };
            rest = &rest[length..];
            // At worst every byte is a space.
            normalized.try_reserve(shown.len() * SPACE_MARK.len() + SPACE_MARK.len()).map_err(|_| Error::OutOfMemory)?;
            for &byte in shown {
                if byte != b' ' {
                    if !in_word && (self.remove_extra_spaces || self.add_space_prefix && !prefixed) {
                        normalized.extend_from_slice(SPACE_MARK);
                        prefixed = true;
                    }
                    normalized.push(byte);
                } else if !self.remove_extra_spaces {
                    normalized.extend_from_slice(SPACE_MARK);
                }
                in_word = byte != b' ';
            }
        }
        Ok(normalized)
    }
}
