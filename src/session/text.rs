//! Text of the sampled tokens: whole UTF-8 only, and nothing that may still become a stop string.

use crate::chat::overlap;
use crate::error::Result;
use crate::tensor::Memory;
use crate::tokenizer::{Tokenizer, Utf8Stream};

/// Room for the text of a token, so that steps do not allocate; longer ones still work.
const TOKEN_BYTES: usize = 2048;

/// Turns tokens into pieces of text.
pub(super) struct TextStream {
    utf8: Utf8Stream,
    stops: Vec<String>,
    /// Whether special tokens have a text.
    special: bool,
    /// Bytes of the token at hand.
    bytes: Vec<u8>,
    /// Text that is not out yet: it may be the beginning of a stop string.
    held: String,
    /// What the last step put out.
    piece: String,
    stopped: bool,
}

impl TextStream {
    pub(super) fn new(memory: &mut Memory, stops: &[String], special: bool) -> Result<TextStream> {
        // A vector without elements is valid text.
        let mut text = || Ok(String::from_utf8(memory.room(2 * TOKEN_BYTES)?).unwrap_or_default());
        Ok(TextStream {
            held: text()?,
            piece: text()?,
            bytes: memory.room(TOKEN_BYTES)?,
            utf8: Utf8Stream::with_capacity(TOKEN_BYTES),
            stops: stops.to_vec(),
            special,
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
        tokenizer.token_bytes(token, self.special, &mut self.bytes)?;
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

#[cfg(test)]
mod tests {
    use super::TextStream;
    use crate::gguf::{File, Item, Writer};
    use crate::tensor::Memory;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn special_tokens_show_when_asked_for() {
        let mut writer = Writer::new();
        let mut pair = |key: &str, item: Item| writer.pair(&format!("tokenizer.ggml.{key}"), item).unwrap();
        pair("model", Item::Str("llama"));
        pair("tokens", Item::Strs(&[b"<unk>", b"<s>", b"</s>", b"<|tool|>", b"a"]));
        pair("token_type", Item::I32s(&[2, 3, 3, 3, 1]));
        pair("scores", Item::F32s(&[0.0; 5]));
        let mut bytes = Vec::new();
        writer.write(&mut bytes, |_, _| Ok(())).unwrap();
        let tokenizer = Tokenizer::from_metadata(File::from_bytes(bytes).unwrap().metadata()).unwrap();
        for (special, expected) in [(false, "aa"), (true, "a<|tool|>a")] {
            let mut stream = TextStream::new(&mut Memory::system(), &[], special).unwrap();
            let mut text = String::new();
            for token in [4, 3, 4] {
                stream.begin_step();
                stream.push(&tokenizer, token).unwrap();
                text.push_str(stream.piece());
            }
            assert_eq!(text, expected);
        }
    }
}
