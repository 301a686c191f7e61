//! What WordPiece does to each character before it looks for words: BERT's basic tokenizer as a table.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use unicode_normalization::char::decompose_canonical;

use crate::error::{Error, Result, try_vec};

/// What a character does to words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// White space: ends a word.
    Ends,
    /// Leaves no trace.
    Vanishes,
    /// Is a word of its own: punctuation, Chinese characters.
    Alone(char),
    /// Belongs to a word, as this character.
    Joins(char),
}

const PAGE: usize = 256;
const PAGES: usize = (char::MAX as usize + 1) / PAGE;

/// The effects of all characters, found out page by page when text first needs them.
#[derive(Debug)]
pub(super) struct Characters {
    pages: Vec<OnceLock<[Effect; PAGE]>>,
    lowercase: bool,
    strip_accents: bool,
    control: ClassUnicode,
    marks: ClassUnicode,
    punctuation: ClassUnicode,
    symbols: ClassUnicode,
}

/// The characters of a general category.
fn category(pattern: &str) -> Result<ClassUnicode> {
    match regex_syntax::parse(pattern).map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(class))) => Ok(class),
        _ => Err(Error::Internal(format!("{pattern} is no class of characters"))),
    }
}

fn contains(class: &ClassUnicode, character: char) -> bool {
    let ranges = class.ranges();
    let at = ranges.partition_point(|range| range.end() < character);
    ranges.get(at).is_some_and(|range| range.start() <= character)
}

/// The blocks of Chinese characters in BERT's tokenizer (as published, with the slip of its block E).
fn is_chinese(character: char) -> bool {
    matches!(character,
        '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}'
        | '\u{2b920}'..='\u{2ceaf}'
        | '\u{2f800}'..='\u{2fa1f}')
}

impl Characters {
    /// Bytes of the table.
    pub(super) const SIZE: usize = PAGES * size_of::<OnceLock<[Effect; PAGE]>>();

    /// The table for a vocabulary of lower-case words, of words without accents, of both or neither.
    pub(super) fn new(lowercase: bool, strip_accents: bool) -> Result<Self> {
        Ok(Characters {
            pages: try_vec(PAGES, OnceLock::new())?,
            lowercase,
            strip_accents,
            control: category(r"[\p{Cc}\p{Cf}\p{Co}]")?,
            marks: category(r"\p{M}")?,
            punctuation: category(r"\p{P}")?,
            symbols: category(r"[\p{S}&&\p{ASCII}]")?,
        })
    }

    /// What `character` does.
    #[inline]
    pub(super) fn effect(&self, character: char) -> Effect {
        let number = character as usize;
        match self.pages.get(number / PAGE) {
            Some(page) => page.get_or_init(|| self.page(number / PAGE))[number % PAGE],
            None => Effect::Joins(character),
        }
    }

    fn page(&self, page: usize) -> [Effect; PAGE] {
        std::array::from_fn(|i| char::from_u32((page * PAGE + i) as u32).map_or(Effect::Vanishes, |c| self.find_out(c)))
    }

    fn find_out(&self, character: char) -> Effect {
        let mut plain = character;
        if self.strip_accents {
            // The reference keeps the first character of a decomposition, of Korean syllables too.
            let mut first = None;
            decompose_canonical(character, |part| _ = first.get_or_insert(part));
            plain = first.unwrap_or(character);
        }
        if plain.is_whitespace() {
            return Effect::Ends;
        }
        let vanishes = matches!(plain, '\0' | char::REPLACEMENT_CHARACTER)
            || contains(&self.control, plain)
            || self.strip_accents && contains(&self.marks, plain);
        if vanishes {
            return Effect::Vanishes;
        }
        let shown = if self.lowercase { plain.to_lowercase().next().unwrap_or(plain) } else { plain };
        if contains(&self.punctuation, plain) || contains(&self.symbols, plain) || is_chinese(plain) {
            return Effect::Alone(shown);
        }
        Effect::Joins(shown)
    }
}
