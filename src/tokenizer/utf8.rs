//! UTF-8 in pieces: tokens cut characters anywhere, their readers must not see that.

/// Turns a stream of bytes into whole UTF-8.
///
/// A character whose bytes have not all arrived is kept back until they have; bytes that can no longer become a
/// character turn into U+FFFD, one per maximal invalid prefix (the practice that the Unicode standard recommends and
/// [`String::from_utf8_lossy`] follows), so the concatenation of everything emitted equals the lossy conversion of
/// everything pushed. The buffers are reused: a stream that has seen its longest piece allocates no more.
#[derive(Debug, Default, Clone)]
pub struct Utf8Stream {
    /// The unfinished character, then the bytes being pushed.
    input: Vec<u8>,
    output: String,
}

impl Utf8Stream {
    /// A stream that allocates nothing as long as no piece is longer than `piece` bytes.
    #[must_use]
    pub fn with_capacity(piece: usize) -> Self {
        // An unfinished character has at most 3 bytes; each invalid byte becomes 3.
        let input = piece.saturating_add(3);
        Utf8Stream { input: Vec::with_capacity(input), output: String::with_capacity(input.saturating_mul(3)) }
    }

    /// Adds `bytes` and returns the text that is whole now (perhaps none). Valid until the next call.
    pub fn push(&mut self, bytes: &[u8]) -> &str {
        self.output.clear();
        self.input.extend_from_slice(bytes);
        let mut rest = self.input.as_slice();
        let unfinished = loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.output.push_str(text);
                    break 0;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            self.output.push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(invalid) = error.error_len() else { break after.len() };
            self.output.push(char::REPLACEMENT_CHARACTER);
            rest = after.get(invalid..).unwrap_or_default();
        };
        self.input.drain(..self.input.len() - unfinished);
        &self.output
    }

    /// Ends the text: an unfinished character becomes U+FFFD. The stream can be used again.
    pub fn flush(&mut self) -> &str {
        self.output.clear();
        if !self.input.is_empty() {
            self.input.clear();
            self.output.push(char::REPLACEMENT_CHARACTER);
        }
        &self.output
    }

    /// Forgets an unfinished character.
    pub fn clear(&mut self) {
        self.input.clear();
        self.output.clear();
    }

    /// Whether the bytes of an unfinished character are kept back.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.input.is_empty()
    }
}
