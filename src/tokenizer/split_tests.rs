//! Pre-tokenizers against rules written by hand.

use super::super::definition::Fallback;
use super::super::pre::{self, TABLE};
use super::*;

/// What a rule sees of a character.
#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Letter,
    Number,
    Space,
    Other,
}

type Characters = [(char, Sort)];

/// The length of the word that `rest` begins with: by GPT-2's rules, or by the `modern` ones of Llama 3 and Qwen 2.
fn word_by_hand(rest: &Characters, modern: bool, digits: usize) -> usize {
    let (c, sort) = rest[0];
    let run = |from: usize, wanted: &dyn Fn(char, Sort) -> bool| {
        rest.iter().skip(from).take_while(|&&(c, sort)| wanted(c, sort)).count()
    };
    let line_end = |c: char, _: Sort| matches!(c, '\r' | '\n');
    if c == '\'' {
        let lower = |c: char| if modern { c.to_ascii_lowercase() } else { c };
        let after: String = rest.iter().skip(1).take(2).map(|&(c, _)| lower(c)).collect();
        if let Some(ending) = ["s", "t", "re", "ve", "m", "ll", "d"].iter().find(|ending| after.starts_with(**ending)) {
            return 1 + ending.len();
        }
    }
    let space = usize::from(c == ' ');
    let no_word = !line_end(c, sort) && !matches!(sort, Sort::Letter | Sort::Number);
    let before_letters = if modern { usize::from(no_word) } else { space };
    let letters = run(before_letters, &|_, sort| sort == Sort::Letter);
    let before_numbers = if modern { 0 } else { space };
    let numbers = run(before_numbers, &|_, sort| sort == Sort::Number).min(digits);
    let others = run(space, &|_, sort| sort == Sort::Other);
    let spaces = run(0, &|_, sort| sort == Sort::Space);
    let last_line_end = rest[..spaces].iter().rposition(|&(c, sort)| line_end(c, sort)).filter(|_| modern);
    match last_line_end {
        _ if letters > 0 => before_letters + letters,
        _ if numbers > 0 => before_numbers + numbers,
        _ if others > 0 && modern => space + others + run(space + others, &line_end),
        _ if others > 0 => space + others,
        Some(last) => last + 1,
        None if spaces == 1 || spaces == rest.len() => spaces,
        None => spaces - 1,
    }
}

fn text_of(characters: &Characters) -> String {
    characters.iter().map(|&(c, _)| c).collect()
}

/// Texts of what the rules tell apart, and of characters from anywhere.
fn texts() -> Vec<Vec<(char, Sort)>> {
    let mut state = 1_u64;
    let mut random = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let alphabet: Vec<char> = "aZé世'''sTreVELldm  \t\n\r\u{a0}\u{3000}0127²½Ⅷ.,-(\u{301}\u{200d}😀".chars().collect();
    let mut pick = move || match random(12) {
        0 => char::from_u32(random(0x11_0000) as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        1 => char::from_u32(random(0x3000) as u32).unwrap_or(' '),
        _ => alphabet[random(alphabet.len() as u64) as usize],
    };
    let [letters, numbers] = [r"\p{L}", r"\p{N}"].map(|pattern| match regex_syntax::parse(pattern).unwrap().into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        other => panic!("{other:?}"),
    });
    let within = |class: &ClassUnicode, c: char| class.iter().any(|range| (range.start()..=range.end()).contains(&c));
    let sort = |c: char| match c {
        _ if c.is_whitespace() => Sort::Space,
        _ if within(&letters, c) => Sort::Letter,
        _ if within(&numbers, c) => Sort::Number,
        _ => Sort::Other,
    };
    (0..800).map(|i| (0..i % 40).map(|_| pick()).map(|c| (c, sort(c))).collect()).collect()
}

fn words(splitter: &Splitter, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = |word: &str| {
        words.push(word.to_owned());
        Ok(())
    };
    splitter.split(text, &mut word).unwrap();
    words
}

#[test]
fn patterns_do_what_the_rules_by_hand_do() {
    let texts = texts();
    for (name, modern, digits) in [("gpt-2", false, usize::MAX), ("llama-bpe", true, 3), ("qwen2", true, 1)] {
        let row = pre::find(name, Fallback { allowed: false, warn: &mut |_| () }).unwrap();
        let splitter = Splitter::new(row).unwrap();
        for text in &texts {
            let mut expected = Vec::new();
            let mut rest = text.as_slice();
            while !rest.is_empty() {
                let (word, after) = rest.split_at(word_by_hand(rest, modern, digits));
                expected.push(text_of(word));
                rest = after;
            }
            assert_eq!(words(&splitter, &text_of(text)), expected, "{name}: {:?}", text_of(text));
        }
    }
}

#[test]
fn no_row_loses_text() {
    let texts = texts();
    for row in TABLE {
        let splitter = Splitter::new(row).unwrap();
        for text in &texts {
            assert_eq!(words(&splitter, &text_of(text)).concat(), text_of(text), "{row:?}");
        }
    }
}

#[test]
fn digits_in_threes_and_trailing_spaces() {
    let cut = |stages: &'static [Stage], text| {
        let row = PreTokenizer { stages, ..*pre::NONE };
        words(&Splitter::new(&row).unwrap(), text).join("|")
    };
    assert_eq!(cut(&[&[THOUSANDS]], "a 1234567 b12c345"), "a 1|234|567| b12|c345");
    assert_eq!(cut(&[&[AHEAD]], "a 1234567 b12c345 d"), "a 1|234|567 b12c|345 d");
    assert_eq!(cut(&[&[TRAILING]], "  a b   "), "  a b|   ");
}
