//! The vocabulary: what each token is called, what it stands for, and which tokens are special.

use super::arena::Arena;
use super::byte_level;
use super::definition::{Definition, Model};
use super::pre::Alphabet;
use crate::error::{Error, Result};

/// U+2581, which SentencePiece vocabularies write for a space.
pub(super) const SPACE_MARK: &[u8] = "\u{2581}".as_bytes();

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot say.
    Unknown,
    /// Steers the model; invisible in text.
    Control,
    /// Added text, matched before anything else.
    UserDefined,
    /// A placeholder without text.
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
}

impl Kind {
    /// Types that the format does not define (0 is its "undefined") count as text: visible is better than lost.
    fn from_gguf(value: i32) -> Self {
        match value {
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => Kind::Normal,
        }
    }

    /// Whether the token's text means the token itself rather than text.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Kind::Unknown | Kind::Control | Kind::UserDefined)
    }

    /// Whether the token shows only when special tokens are asked for, in both directions.
    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Kind::Unknown | Kind::Control)
    }
}

/// What a token's well-known text says about it, whatever its type in the file. Converters mark many of them wrongly
/// or not at all; the list follows llama.cpp's, so that files behave alike in both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Ends generation; a control token.
    End,
    /// A control token.
    Control,
    /// Structure that readers of the answer need to see: user-defined.
    Visible,
}

/// See [`Role`].
const ROLES: &[(Role, &[&str])] = &[
    (
        Role::End,
        &[
            "<|eot_id|>",
            "<|eom_id|>",
            "<|im_end|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
            "<|calls|>",
            "<|flush|>",
            "<end_of_turn>",
            "<turn|>",
            "<|tool_response>",
            "<|endoftext|>",
            "<|end_of_text|>",
            "<end_of_utterance>",
            "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
            "</s>",
            "<eos>",
            "<EOT>",
            "_<EOT>",
            "[EOT]",
            "[EOS]",
            "[e~[",
            // Fill-in-the-middle: padding, next repository, next file.
            "<|fim_pad|>",
            "<fim-pad>",
            "<fim_pad>",
            "<PAD>",
            "[PAD]",
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
            "<|file_sep|>",
        ],
    ),
    (
        Role::Control,
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<\u{ff5c}fim\u{2581}begin\u{ff5c}>",
            "<PRE>",
            "\u{2581}<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<\u{ff5c}fim\u{2581}hole\u{ff5c}>",
            "<SUF>",
            "\u{2581}<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<\u{ff5c}fim\u{2581}end\u{ff5c}>",
            "<MID>",
            "\u{2581}<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (Role::Visible, &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"]),
];

fn role(text: &[u8]) -> Option<Role> {
    // Nearly every token fails here.
    if !matches!(text.first(), Some(b'<' | b'[' | b'_' | 0xe2)) {
        return None;
    }
    ROLES.iter().find(|(_, names)| names.iter().any(|name| name.as_bytes() == text)).map(|&(role, _)| role)
}

/// Tokens by id. Ids of tokens that exist are below [`Vocab::len`], which fits an `i32`.
#[derive(Debug)]
pub(super) struct Vocab {
    /// As the file has them.
    texts: Arena,
    /// The bytes of text that they stand for.
    pieces: Arena,
    kinds: Vec<Kind>,
    /// Sorted.
    ends: Vec<u32>,
}

impl Vocab {
    /// Reads the tokens of `definition`.
    pub(super) fn new(definition: &Definition) -> Result<Self> {
        let count = definition.tokens.len();
        if i32::try_from(count).is_err() {
            return Err(Error::Unsupported(format!("tokenizer.ggml.tokens holds {count} tokens, more than an id can name")));
        }
        let bytes = definition.tokens.iter().map(|text| text.len()).sum();
        let mut vocab = Vocab {
            texts: Arena::with_capacity(count, bytes)?,
            pieces: Arena::with_capacity(count, bytes)?,
            kinds: Vec::new(),
            ends: Vec::new(),
        };
        vocab.kinds.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        let (mut calls, mut replies, mut answers) = (false, false, Vec::new());
        let (mut closing, mut marks_turns) = (None, false);
        for (id, &text) in (0..).zip(&definition.tokens) {
            definition.tick(id as usize)?;
            let mut kind = definition.kinds.get(id as usize).map_or(Kind::Normal, |&value| Kind::from_gguf(value));
            match role(text) {
                Some(Role::End) => {
                    kind = Kind::Control;
                    vocab.ends.push(id);
                    calls |= matches!(text, b"<|call|>" | b"<|calls|>");
                    replies |= matches!(text, b"<|return|>" | b"<|flush|>");
                    marks_turns |= text == b"<|tool_response>";
                    match text {
                        b"<|end|>" => answers.push(id),
                        b"</s>" => closing = Some(id),
                        _ => {}
                    }
                }
                Some(Role::Control) => kind = Kind::Control,
                Some(Role::Visible) => kind = Kind::UserDefined,
                None => {}
            }
            vocab.texts.push(text)?;
            vocab.push_piece(definition, text, kind)?;
            vocab.kinds.push(kind);
        }
        // Where answers have several parts, as in gpt-oss, `<|end|>` ends a part and something else the answer.
        if calls && replies {
            for id in answers {
                vocab.kinds[id as usize] = Kind::UserDefined;
                vocab.ends.retain(|&end| end != id);
            }
        }
        // Where turns have marks of their own, as in gemma 4, `</s>` is HTML.
        if let Some(id) = closing.filter(|_| marks_turns) {
            vocab.kinds[id as usize] = Kind::Normal;
            vocab.ends.retain(|&end| end != id);
        }
        vocab.ends.extend(definition.eos);
        vocab.ends.extend_from_slice(&definition.ends);
        vocab.ends.sort_unstable();
        vocab.ends.dedup();
        Ok(vocab)
    }

    /// Appends what a token stands for.
    fn push_piece(&mut self, definition: &Definition, text: &[u8], kind: Kind) -> Result<()> {
        match (kind, definition.model) {
            (_, Model::Longest) => unescape(text, &mut self.pieces)?,
            (Kind::Unused, _) => {}
            (Kind::Byte, _) if let Some(byte) = byte_of(text) => self.pieces.extend(&[byte])?,
            (Kind::Normal, Model::Bpe) if definition.pre.alphabet == Alphabet::Bytes => {
                if !byte_level::decode(text, &mut self.pieces)? {
                    self.pieces.discard();
                    self.pieces.extend(text)?;
                }
            }
            (Kind::Normal, _) => {
                let mut rest = text;
                while let Some(at) = find(rest, SPACE_MARK) {
                    self.pieces.extend(&rest[..at])?;
                    self.pieces.extend(b" ")?;
                    rest = &rest[at + SPACE_MARK.len()..];
                }
                self.pieces.extend(rest)?;
            }
            _ => self.pieces.extend(text)?,
        }
        self.pieces.finish()
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Token texts as the file has them.
    pub(super) fn texts(&self) -> &Arena {
        &self.texts
    }

    /// The bytes of text that tokens stand for.
    pub(super) fn pieces(&self) -> &Arena {
        &self.pieces
    }

    /// What token `id` is for, if there is one.
    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// Tokens with their types.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (u32, Kind)> {
        (0..).zip(self.kinds.iter().copied())
    }

    /// Whether token `id` ends generation.
    pub(super) fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }
}

/// The byte that `<0xNN>` names.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2 && !digits.starts_with('+'))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Appends what a token of RWKV's vocabularies stands for: they are written with the escapes of Python's byte strings.
fn unescape(text: &[u8], out: &mut Arena) -> Result<()> {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let value = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (value.unwrap_or_default(), after)
            }
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b'r', after @ ..]) => (b'\r', after),
            (b'\\', [other, after @ ..]) => (*other, after),
            _ => (byte, after),
        };
        out.extend(&[byte])?;
        rest = after;
    }
    Ok(())
}

/// The first place of `needle`, which is not empty.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
