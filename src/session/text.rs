//! Text of the sampled tokens: whole UTF-8 only, and nothing that may still become a stop string.

use crate::error::Result;
use crate::tokenizer::{Tokenizer, Utf8Stream};

/// Room for the text of a token, so that steps do not allocate; longer ones still work.
const TOKEN_BYTES: usize = 2048;

/// Turns tokens into pieces of text.
pub(super) struct TextStream {
    utf8: Utf8Stream,
    stops: Vec<String>,
    /// Bytes of the token at hand.
    bytes: Vec<u8>,
    /// Text that is not out yet: it may be the beginning of a stop string.
    held: String,
    /// What the last step put out.
    piece: String,
    stopped: bool,
}

impl TextStream {
    pub(super) fn new(stops: &[String]) -> Result<TextStream> {
        Ok(TextStream {
            utf8: Utf8Stream::with_capacity(TOKEN_BYTES),
            stops: stops.to_vec(),
            bytes: Vec::with_capacity(TOKEN_BYTES),
            held: String::with_capacity(2 * TOKEN_BYTES),
            piece: String::with_capacity(2 * TOKEN_BYTES),
            stopped: false,
        })
    }

    /// Forgets everything: the text that follows has nothing to do with what was.
    pub(super) fn clear(&mut self) {
        self.utf8.clear();
        self.held.clear();
        self.begin_step();
    }

    pub(super) fn begin_step(&mut self) {
        self.piece.clear();
        self.stopped = false;
    }

    /// Adds a token's text.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, token: i32) -> Result<()> {
        self.bytes.clear();
        tokenizer.token_bytes(token, false, &mut self.bytes)?;
        self.held.push_str(self.utf8.push(&self.bytes));
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.piece.push_str(&self.held[..at]);
            self.held.clear();
            self.utf8.clear();
            self.stopped = true;
        } else {
            let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
            self.piece.push_str(&self.held[..self.held.len() - keep]);
            self.held.drain(..self.held.len() - keep);
        }
        Ok(())
    }

    /// Puts out what is held back: no more text will come.
    pub(super) fn flush(&mut self) {
        self.held.push_str(self.utf8.flush());
        self.piece.push_str(&self.held);
        self.held.clear();
    }

    pub(super) fn piece(&self) -> &str {
        &self.piece
    }

    /// Whether a stop string was completed in this step.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&len| text.as_bytes()[text.len() - len..] == stop.as_bytes()[..len]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn overlap_is_the_longest_possible_beginning() {
        assert_eq!(overlap("ab\n", "\n\n"), 1);
        assert_eq!(overlap("aab", "aabaa"), 3);
        assert_eq!(overlap("xaa", "aab"), 2);
        assert_eq!(overlap("x", "yz"), 0);
        assert_eq!(overlap("", "yz"), 0);
        assert_eq!(overlap("ü", "üü"), 2);
    }
}
