//! The alphabet of byte-level BPE: every byte is written as one printable character (GPT-2's encoder).
//!
//! Printable bytes of Latin-1 stand for themselves; the other 68, in ascending order, are U+0100 and up. So a token's
//! text never holds spaces or control characters, and any bytes at all can be a token.

use super::arena::Arena;
use crate::error::Result;

/// Whether `byte` is written as the character of the same number.
const fn is_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// `BYTES[c - 0x100]`: the byte that character c stands for.
const BYTES: [u8; 68] = {
    let mut bytes = [0; 68];
    let (mut byte, mut count) = (0, 0);
    while byte < 256 {
        if !is_itself(byte as u8) {
            bytes[count] = byte as u8;
            count += 1;
        }
        byte += 1;
    }
    bytes
};

/// The byte that `character` stands for, if it is of the alphabet.
fn byte_of(character: char) -> Option<u8> {
    match u8::try_from(character) {
        Ok(byte) => is_itself(byte).then_some(byte),
        Err(_) => BYTES.get((character as usize).checked_sub(0x100)?).copied(),
    }
}

/// Appends the bytes that `text` stands for. False if it is not written in the alphabet; then what was appended is
/// to be discarded.
pub(super) fn decode(text: &[u8], out: &mut Arena) -> Result<bool> {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(false) };
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        out.extend(text.as_bytes())?;
        return Ok(true);
    }
    for character in text.chars() {
        let Some(byte) = byte_of(character) else { return Ok(false) };
        out.extend(&[byte])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s() {
        for (character, byte) in
            [('!', b'!'), ('~', b'~'), ('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('ł', 0xa0), ('Ń', 0xad), ('ÿ', 0xff), ('Ā', 0)]
        {
            assert_eq!(byte_of(character), Some(byte), "{character}");
        }
        let mut seen: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..=255), "one character per byte");
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{ad}'), None);
    }
}
