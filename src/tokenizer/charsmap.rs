//! SentencePiece's normalization rules (`tokenizer.ggml.precompiled_charsmap`): which characters a text is rewritten with.
//!
//! The file holds a double array of the darts-clone library, found by prefix, whose values are places in a list of
//! NUL-terminated replacements.

use crate::error::{Error, Result};

/// The longest character sequence that a rule is looked for, in bytes; real rules have less than 20. Without a bound, a
/// double array that runs in circles would make every look-up take the rest of the text.
const MAX_RULE: usize = 256;

/// The rules; none by default.
#[derive(Debug, Default)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

/// Places that the children of a unit are found from.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}

/// The byte that leads to a unit. Values lead nowhere: theirs is above 255.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

/// Whether a value hangs below a unit.
fn has_value(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

/// The place that a unit holds as its value.
fn value(unit: u32) -> u32 {
    unit & !(1 << 31)
}

impl Charsmap {
    /// Reads the rules: the size of the double array, it, and the replacements.
    pub(super) fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Charsmap::default());
        }
        let parts = bytes
            .split_first_chunk()
            .and_then(|(&size, rest)| rest.split_at_checked(u32::from_le_bytes(size) as usize))
            .filter(|(_, replacements)| !replacements.is_empty());
        let Some((array, replacements)) = parts else {
            let message = "tokenizer.ggml.precompiled_charsmap is shorter than it says";
            return Err(Error::InvalidModel(message.into()));
        };
        let mut charsmap = Charsmap::default();
        charsmap.units.try_reserve_exact(array.len() / 4).map_err(|_| Error::OutOfMemory)?;
        charsmap.units.extend(array.as_chunks().0.iter().map(|&unit| u32::from_le_bytes(unit)));
        charsmap.replacements.try_reserve_exact(replacements.len()).map_err(|_| Error::OutOfMemory)?;
        charsmap.replacements.extend_from_slice(replacements);
        Ok(charsmap)
    }

    /// The longest rule that applies where `text` begins: how many bytes it replaces, and by what. Entries that point
    /// outside the table count as absent.
    #[inline]
    pub(super) fn rule(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let mut place = offset(*self.units.first()?);
        let mut found = None;
        for (before, &byte) in text.iter().take(MAX_RULE).enumerate() {
            if byte == 0 {
                break;
            }
            place ^= u32::from(byte);
            let Some(&unit) = self.units.get(place as usize).filter(|&&unit| label(unit) == u32::from(byte)) else { break };
            place ^= offset(unit);
            if has_value(unit) {
                found = self.units.get(place as usize).map(|&unit| (before + 1, value(unit))).or(found);
            }
        }
        let (length, start) = found?;
        let replacement = self.replacements.get(start as usize..)?;
        Some((length, &replacement[..replacement.iter().position(|&byte| byte == 0)?]))
    }
}
