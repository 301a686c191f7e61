//! Small vocabularies of our own, for what must run without reference data: byte pairs learned from a text.

use std::collections::HashMap;

use chord::gguf::{File, Item, Writer};

/// A text with what tokenizers stumble over: contractions, runs of white space, digits, many scripts, joined emoji.
pub const SAMPLE: &str = "The engine reads the file, the file holds the model, and the model doesn't mind: it's only numbers.\n\
    def f(x):\n    return x + 1  # 12345 and 3.14159\n\n\n  Привет, мир! 你好,世界。 こんにちは 안녕하세요 नमस्ते  \t\r\n\
    I'VE seen the ENGINE's engines; they'll merge the merges \u{1f469}\u{200d}\u{1f4bb} \u{a0}\u{3000} ½ x² e\u{301} İstanbul ß\n\
    {\"key\": [1, 2, 3], \"the\": \"other\"} <html> a/b\\c __init__ != == -- \u{2026} \u{feff}\u{0}\u{7}\n";

/// A deterministic stream of numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// A text of about `len` characters: pieces of [`SAMPLE`] and characters from anywhere in Unicode.
    pub fn text(&mut self, len: usize) -> String {
        let sample: Vec<char> = SAMPLE.chars().collect();
        let mut text = String::new();
        while text.chars().count() < len {
            match self.below(4) {
                0 => text.extend(char::from_u32(self.below(0x11_0000) as u32)),
                1 => text.extend(std::iter::repeat_n(sample[self.below(sample.len())], 1 + self.below(6))),
                _ => {
                    let start = self.below(sample.len());
                    text.extend(sample[start..].iter().take(1 + self.below(24)));
                }
            }
        }
        text
    }
}

/// Merges of neighbours within `words`, the most frequent first: what byte-pair encoding learns.
pub fn learn(words: &[Vec<Vec<u8>>], count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut words = words.to_vec();
    let mut merges = Vec::new();
    while merges.len() < count {
        let mut pairs: HashMap<_, usize> = HashMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *pairs.entry((pair[0].clone(), pair[1].clone())).or_default() += 1;
        }
        let Some((best, _)) = pairs.into_iter().max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| b.cmp(a))) else { break };
        for word in &mut words {
            *word = merge_all(word, &best);
        }
        merges.push(best);
    }
    merges
}

/// `word` with every occurrence of `pair` merged, from left to right.
pub fn merge_all(word: &[Vec<u8>], pair: &(Vec<u8>, Vec<u8>)) -> Vec<Vec<u8>> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < word.len() {
        if at + 1 < word.len() && word[at] == pair.0 && word[at + 1] == pair.1 {
            merged.push([&pair.0[..], &pair.1[..]].concat());
            at += 2;
        } else {
            merged.push(word[at].clone());
            at += 1;
        }
    }
    merged
}

/// Bytes in the alphabet of byte-level BPE.
pub fn spell(bytes: &[u8]) -> String {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    bytes
        .iter()
        .map(|&byte| {
            let before = (0..byte).filter(|&byte| !printable(byte)).count() as u32;
            if printable(byte) { char::from(byte) } else { char::from_u32(256 + before).unwrap() }
        })
        .collect()
}

/// What a vocabulary file holds.
#[derive(Clone, Default)]
pub struct Definition {
    pub model: String,
    pub pre: String,
    pub tokens: Vec<Vec<u8>>,
    pub scores: Vec<f32>,
    pub kinds: Vec<i32>,
    pub merges: Vec<Vec<u8>>,
    pub ids: Vec<(&'static str, u32)>,
    pub flags: Vec<(&'static str, bool)>,
    pub charsmap: Vec<i32>,
}

impl Definition {
    /// Appends a token; its score only where all tokens before it have one.
    pub fn push(&mut self, text: impl AsRef<[u8]>, score: f32, kind: i32) {
        self.tokens.push(text.as_ref().to_vec());
        if self.scores.len() + 1 == self.tokens.len() {
            self.scores.push(score);
        }
        self.kinds.push(kind);
    }

    /// The id of the token of that text.
    pub fn id(&self, text: &str) -> i32 {
        self.tokens.iter().position(|token| token == text.as_bytes()).unwrap() as i32
    }

    /// The file.
    pub fn file(&self) -> File {
        let tokens: Vec<&[u8]> = self.tokens.iter().map(Vec::as_slice).collect();
        let merges: Vec<&[u8]> = self.merges.iter().map(Vec::as_slice).collect();
        let mut writer = Writer::new();
        let mut pair = |key: &str, item: Item| writer.pair(&format!("tokenizer.ggml.{key}"), item).unwrap();
        pair("model", Item::Str(&self.model));
        pair("pre", Item::Str(&self.pre));
        pair("tokens", Item::Strs(&tokens));
        pair("token_type", Item::I32s(&self.kinds));
        if !self.scores.is_empty() {
            pair("scores", Item::F32s(&self.scores));
        }
        if !merges.is_empty() {
            pair("merges", Item::Strs(&merges));
        }
        for &(key, id) in &self.ids {
            pair(key, Item::U32(id));
        }
        for &(key, flag) in &self.flags {
            pair(key, Item::Bool(flag));
        }
        if !self.charsmap.is_empty() {
            pair("precompiled_charsmap", Item::I32s(&self.charsmap));
        }
        let mut bytes = Vec::new();
        writer.write(&mut bytes, |_, _| Ok(())).unwrap();
        File::from_bytes(bytes).unwrap()
    }
}

/// Byte-level BPE with `count` merges learned from [`SAMPLE`], two control tokens and a user-defined one.
pub fn byte_level(pre: &str, count: usize) -> Definition {
    let words: Vec<_> = SAMPLE.split_inclusive(' ').map(|word| word.bytes().map(|byte| vec![byte]).collect()).collect();
    let merges = learn(&words, count);
    let mut definition = Definition { model: "gpt2".into(), pre: pre.into(), ..Definition::default() };
    for byte in 0..=255 {
        definition.push(spell(&[byte]), 0.0, 1);
    }
    for (left, right) in &merges {
        let (left, right) = (spell(left), spell(right));
        definition.push(format!("{left}{right}"), 0.0, 1);
        definition.merges.push(format!("{left} {right}").into_bytes());
    }
    definition.push("<|begin|>", 0.0, 3);
    definition.push("<|end|>", 0.0, 3);
    definition.push("<added>", 0.0, 4);
    definition.scores.clear();
    definition.ids = vec![("bos_token_id", definition.id("<|begin|>") as u32), ("eos_token_id", definition.id("<|end|>") as u32)];
    definition
}

/// SPM with `count` merges learned from [`SAMPLE`], its ASCII characters and all bytes.
pub fn spm(count: usize) -> Definition {
    let marked = SAMPLE.replace(' ', "\u{2581}");
    let word = |word: &str| word.chars().map(|character| character.to_string().into_bytes()).collect::<Vec<_>>();
    let words: Vec<_> = marked.split_inclusive('\u{2581}').map(word).collect();
    let merges = learn(&words, count);
    let mut definition = Definition { model: "llama".into(), pre: "default".into(), ..Definition::default() };
    definition.push("<unk>", 0.0, 2);
    definition.push("<s>", 0.0, 3);
    definition.push("</s>", 0.0, 3);
    for byte in 0..=255 {
        definition.push(format!("<0x{byte:02X}>"), 0.0, 6);
    }
    let mut characters: Vec<_> = ('!'..='~').chain(['\u{2581}', 'é', '世']).map(String::from).collect();
    characters.sort();
    for (rank, (left, right)) in merges.iter().enumerate() {
        let text = [&left[..], right].concat();
        if !definition.tokens.contains(&text) {
            definition.push(text, -(rank as f32), 1);
        }
    }
    for character in characters {
        definition.push(character, -1e6, 1);
    }
    definition
}

/// A Unigram vocabulary of all strings of up to 3 of the letters a, b and c, spaces among them, with random scores.
pub fn unigram() -> Definition {
    let mut random = Random(5);
    let mut definition = Definition { model: "t5".into(), pre: "default".into(), ..Definition::default() };
    definition.push("<pad>", 0.0, 3);
    definition.push("</s>", 0.0, 3);
    definition.push("<unk>", 0.0, 2);
    let letters = ["a", "b", "c", "\u{2581}"];
    let mut texts: Vec<String> = letters.iter().map(ToString::to_string).collect();
    for length in 2..=3 {
        let longest: Vec<String> = texts.iter().filter(|text| text.chars().count() == length - 1).cloned().collect();
        texts.extend(longest.iter().flat_map(|text| letters.map(|letter| format!("{text}{letter}"))));
    }
    for text in texts {
        definition.push(text, -1.0 - random.below(1000) as f32 / 100.0, 1);
    }
    definition.flags = vec![("add_space_prefix", true), ("remove_extra_whitespaces", true)];
    definition
}

/// A WordPiece vocabulary of a few words and endings.
pub fn wordpiece() -> Definition {
    let mut definition = Definition { model: "bert".into(), pre: "default".into(), ..Definition::default() };
    for special in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] {
        definition.push(special, 0.0, 3);
    }
    let starts = ["un", "want", "cafe", ",", "!", "世", "界"].map(|text| format!("\u{2581}{text}"));
    for text in starts.iter().map(String::as_str).chain(["un", "want", "ed", "s"]) {
        definition.push(text, 0.0, 1);
    }
    definition.ids = vec![("unknown_token_id", 1), ("cls_token_id", 2), ("seperator_token_id", 3), ("mask_token_id", 4)];
    definition
}

/// A vocabulary of the kind that takes the longest token first: every byte, and a few strings.
pub fn longest() -> Definition {
    let mut definition = Definition { model: "rwkv".into(), pre: "default".into(), ..Definition::default() };
    definition.push("<s>", 0.0, 3);
    for byte in 0..=255_u8 {
        definition.push(format!("\\x{byte:02x}"), 0.0, 1);
    }
    for text in ["the", " the", "them", "\\n\\n", "\\xe4\\xbd\\xa0", "\\\\"] {
        definition.push(text, 0.0, 1);
    }
    definition
}
