//! Pre-tokenizers by name (`tokenizer.ggml.pre`): the patterns that cut text into words before byte-level BPE.
//!
//! A table, not code: to add a name, add it to a row or add a row. Patterns are those of the models' own tokenizers in
//! the form in which llama.cpp runs them, without look-around: `\s+(?!\S)|\s+` is written [`SPACES`].

use super::definition::Fallback;
use crate::error::{Error, Result};

/// Alternatives, the first that matches wins; text between matches is a word too.
pub(super) type Stage = &'static [&'static str];

/// A way to cut text into words.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    pub(super) names: &'static [&'static str],
    /// Each cuts the words of the one before it.
    pub(super) stages: &'static [Stage],
    /// A word that is a token is not taken apart to be merged again.
    pub(super) ignore_merges: bool,
    /// Texts begin with BOS unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Texts begin with BOS whatever the file says.
    pub(super) always_bos: bool,
    /// Runs of white space are cut into powers of two.
    pub(super) halve_spaces: bool,
    /// Files without merges are broken.
    pub(super) needs_merges: bool,
    /// A run of line ends that is a token is not merged from single ones.
    pub(super) whole_line_ends: bool,
    /// What words are made of.
    pub(super) alphabet: Alphabet,
}

/// How the tokens of a vocabulary are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// In GPT-2's alphabet of bytes.
    Bytes,
    /// In characters, spaces as marks; what is no token in bytes, `<0xNN>`.
    Marked,
    /// In characters, without white space.
    Spaceless,
}

/// White space; where more text follows, its last character is left to what follows, unless it is the only one.
pub(super) const SPACES: &str = r"\s+";
/// White space where the text ends, `\s+$`.
pub(super) const TRAILING: &str = r"\s{1,}";
/// Numbers in groups of three from the right. What is left over on the left stays with the text before it.
pub(super) const THOUSANDS: &str = r"\p{N}{1,}";
/// Where three, six, ... ASCII digits follow and then no more: a cut, `(?=(\d{3})+(?!\d))`.
pub(super) const AHEAD: &str = "[0-9]{1,}";

/// English contractions, lower case and either case.
const CONTRACTIONS: &str = "'(?:s|t|re|ve|m|ll|d)";
const CONTRACTIONS_ANY_CASE: &str = "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";
/// Letters with one character before them that is no letter, digit or line end.
const LETTERS: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
/// What is no letter, digit or space, with the line ends behind it.
const SYMBOLS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
/// White space up to the last of its line ends.
const LINES: &str = r"\s*[\r\n]+";

const GPT2: Stage = &[CONTRACTIONS, r" ?\p{L}+", r" ?\p{N}+", r" ?[^\s\p{L}\p{N}]+", SPACES];
const LLAMA3: Stage = &[CONTRACTIONS_ANY_CASE, LETTERS, r"\p{N}{1,3}", SYMBOLS, LINES, SPACES];
const QWEN2: Stage = &[CONTRACTIONS_ANY_CASE, LETTERS, r"\p{N}", SYMBOLS, LINES, SPACES];
const DIGIT: Stage = &[r"\p{N}"];
/// Letters of DeepSeek's first vocabularies: those with case, of the Unicode version of their time.
const CASED_WORD: &str = concat!(
    r"\s?[",
    r"A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}",
    r"\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}",
    r"\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}",
    r"\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}",
    r"\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}",
    r"\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}",
    r"\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}",
    r"\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}",
    r"\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}",
    r"\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}",
    r"\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}",
    r"\x{118a0}-\x{118df}\x{1e900}-\x{1e943}",
    "]+"
);
/// Most of what lies between Samaritan and Hangul, as DeepSeek's first vocabularies have it; spaces are never of it.
const DEEPSEEK_CJK: &str = r"[[\x{800}-\x{9fa5}\x{ac00}-\x{d7ff}]&&\S]+";
const THREE_NUMBERS: Stage = &[r"\p{N}{1,3}"];
/// Han, Hiragana and Katakana.
const CJK: Stage = &[r"[\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+"];
/// A symbol with the ASCII letters behind it.
const ASCII_SYMBOL_WORD: &str = r"[!-/:-@\[-`{-~][A-Za-z]+";
const LETTERS_AND_MARKS: &str = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+";
const DEEPSEEK3: Stage = &[ASCII_SYMBOL_WORD, LETTERS_AND_MARKS, r" ?[\p{P}\p{S}]+[\r\n]*", LINES, SPACES];
/// Scripts of East and Southeast Asia as AFMoE's vocabulary has them: with nearly all that lies between.
const ASIAN: &str = concat!(
    r"[\x{e40}-\x{eff}\x{1000}-\x{109f}\x{1100}-\x{11ff}\x{1780}-\x{17ff}\x{2f00}-\x{2fdf}\x{3040}-\x{30ff}",
    r"\x{3400}-\x{4dbf}\x{4e00}-\x{d7ff}\x{e000}-\x{faff}\x{ff65}-\x{ff9f}]+"
);
const HAN: &str =
    r"[\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\x{2f800}-\x{2fa1f}]+";
/// A word without Chinese characters, and a contraction behind it.
const HANLESS_WORD: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?",
    r"[\p{L}--[\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\x{2f800}-\x{2fa1f}]]+",
    r"(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?"
);
/// Lines and runs of line ends.
const LINE_RUNS: Stage = &[r"[^\n]+", r"\n+"];
/// Letters and marks with a contraction behind them.
const MARKED_WORD: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?";
/// As [`SYMBOLS`], with slashes behind them too.
const SYMBOLS_SLASH: &str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*";
const BLOOM: Stage = &[" ?[^(\\s|.,!?…。，、।۔،)]+"];
const THREE_DIGITS: Stage = &["[0-9][0-9][0-9]"];

/// A row without special rules.
const fn plain(names: &'static [&'static str], stages: &'static [Stage]) -> PreTokenizer {
    PreTokenizer {
        names,
        stages,
        ignore_merges: false,
        add_bos: false,
        always_bos: false,
        halve_spaces: false,
        needs_merges: true,
        whole_line_ends: false,
        alphabet: Alphabet::Bytes,
    }
}

/// For tokenizers that cut nothing.
pub(super) const NONE: &PreTokenizer = &plain(&[], &[]);

pub(super) const TABLE: &[PreTokenizer] = &[
    plain(&["default"], &[&[r"[\p{P}$+<=>^~|]+"], GPT2, &[r"\p{N}+"], THREE_DIGITS]),
    plain(&["falcon"], &[&[r"[\p{P}$+<=>^~|`]+"], GPT2, THREE_DIGITS]),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "granite-docling",
            "trillion",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
        ],
        &[GPT2],
    ),
    plain(&["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"], &[DIGIT, GPT2]),
    PreTokenizer {
        ignore_merges: true,
        add_bos: true,
        ..plain(
            &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
            &[LLAMA3],
        )
    },
    plain(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    PreTokenizer { ignore_merges: true, ..plain(&["glm4", "glm5"], &[LLAMA3]) },
    PreTokenizer { halve_spaces: true, ..plain(&["jais-2"], &[LLAMA3]) },
    PreTokenizer {
        ignore_merges: true,
        ..plain(&["minicpm5"], &[&[r"\p{N}{1,3}"], &[CONTRACTIONS_ANY_CASE, LETTERS, r"\p{N}+", SYMBOLS, LINES, SPACES]])
    },
    plain(&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"], &[QWEN2]),
    plain(&["laguna"], &[LINE_RUNS, QWEN2]),
    plain(&["ufakzeka"], &[&[LETTERS, r"\p{N}", SYMBOLS, LINES, SPACES]]),
    plain(
        &["qwen35"],
        &[&[
            CONTRACTIONS_ANY_CASE,
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
            r"\p{N}",
            r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
            LINES,
            SPACES,
        ]],
    ),
    plain(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[&[CONTRACTIONS_ANY_CASE, LETTERS, r"\p{N}", SYMBOLS, r"\s*[\r\n]", SPACES]],
    ),
    plain(&["seed-coder"], &[&[CONTRACTIONS_ANY_CASE, LETTERS, r"\p{N}", r" ?[^\s\p{L}\p{N}\r\n]+", LINES, SPACES]]),
    plain(
        &["exaone-moe"],
        &[&[
            CONTRACTIONS_ANY_CASE,
            r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
            r"\p{N}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
            r"\s*[\r\n]",
            SPACES,
        ]],
    ),
    PreTokenizer {
        ignore_merges: true,
        add_bos: true,
        ..plain(
            &["tekken"],
            &[&[
                r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+",
                r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*",
                r"\p{N}",
                SYMBOLS_SLASH,
                LINES,
                SPACES,
            ]],
        )
    },
    plain(
        &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        &[&[
            r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?",
            r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?",
            r"\p{N}{1,3}",
            SYMBOLS_SLASH,
            LINES,
            SPACES,
        ]],
    ),
    PreTokenizer {
        ignore_merges: true,
        ..plain(
            &["granite-embed-multi-97m"],
            &[&[
                r"[^\r\n\p{L}\p{N}]?[[\p{L}\p{M}]&&[^a-z]]*[[\p{L}\p{M}]&&[^A-Z]]+(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?",
                r"[^\r\n\p{L}\p{N}]?[[\p{L}\p{M}]&&[^a-z]]+[[\p{L}\p{M}]&&[^A-Z]]*(?:'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?",
                r"\p{N}{1,3}",
                SYMBOLS_SLASH,
                LINES,
                SPACES,
            ]],
        )
    },
    plain(
        &["deepseek-llm"],
        &[
            &[r"[\r\n]"],
            &[CASED_WORD],
            &[r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3001}\x{3002}]+"],
            &[TRAILING],
            &[DEEPSEEK_CJK],
            &[r"\p{N}+"],
        ],
    ),
    plain(&["deepseek-coder"], &[&[r"[\r\n]"], &[r"\s?\p{L}+"], &[r"\s?\p{P}+"], &[DEEPSEEK_CJK], DIGIT]),
    plain(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[THREE_NUMBERS, CJK, DEEPSEEK3]),
    plain(
        &["spark2_5"],
        &[THREE_NUMBERS, CJK, &[ASCII_SYMBOL_WORD, LETTERS_AND_MARKS, r" ?[\p{P}\p{S}]+", r"[\r\n]", SPACES], DIGIT],
    ),
    plain(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    plain(&["viking"], &[BLOOM, DIGIT]),
    PreTokenizer {
        add_bos: true,
        ..plain(
            &["chameleon"],
            &[&["<sentinel:[0-9]+>"], &["IMGIMG[A-I]{1,4}Z"], &[r"[\t\n]|    |  "], DIGIT, &[r"[\p{P}!-/:-@\[-`{-~]"], GPT2],
        )
    },
    PreTokenizer {
        ignore_merges: true,
        ..plain(
            &["youtu"],
            &[
                &[
                    r"[\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+",
                    r"[\x{2014}\x{2018}\x{2019}\x{201c}\x{201d}\x{2026}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}\x{ff01}\x{ff0c}\x{ff1a}\x{ff1b}]+",
                    r"[\x{3105}-\x{312f}]+",
                    r"[\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+",
                ],
                &[MARKED_WORD, r"\p{N}", SYMBOLS_SLASH, LINES, SPACES],
            ],
        )
    },
    plain(&["tiny_aya", "cohere2moe"], &[&[THOUSANDS], &[MARKED_WORD, r"\p{N}{1,3}", SYMBOLS_SLASH, LINES, SPACES]]),
    plain(&["superbpe"], &[&[r"\p{N}+"], &[AHEAD]]),
    plain(&["afmoe"], &[&[THOUSANDS], &[ASIAN], DEEPSEEK3]),
    PreTokenizer { needs_merges: false, ..plain(&["kimi-k2"], &[&[HAN, HANLESS_WORD, r"\p{N}{1,3}", SYMBOLS, LINES, SPACES]]) },
    PreTokenizer {
        always_bos: true,
        whole_line_ends: true,
        alphabet: Alphabet::Marked,
        ..plain(&["gemma4", "granite-embed-multi-311m"], &[LINE_RUNS])
    },
    PreTokenizer { alphabet: Alphabet::Marked, ..plain(&["sarvam-moe"], &[LINE_RUNS]) },
    PreTokenizer { alphabet: Alphabet::Spaceless, ..plain(&["whitespace"], &[]) },
];

/// The pre-tokenizer of that name. Without a name, the default; of an unknown one too if `fallback` allows it.
///
/// # Errors
/// No such name.
pub(super) fn find(name: &str, fallback: Fallback) -> Result<&'static PreTokenizer> {
    let row = |name: &str| TABLE.iter().find(|pre| pre.names.contains(&name));
    match row(name) {
        Some(pre) => return Ok(pre),
        None if name.is_empty() => {
            (fallback.warn)("metadata key tokenizer.ggml.pre is missing: text is split by default rules, maybe not the model's");
        }
        None if fallback.allowed => (fallback.warn)(&format!(
            "tokenizer.ggml.pre {name:?} is not supported: text is split by default rules, probably not the model's"
        )),
        None => {}
    }
    row("default").filter(|_| name.is_empty() || fallback.allowed).ok_or_else(|| {
        let known: Vec<_> = TABLE.iter().flat_map(|pre| pre.names).copied().collect();
        Error::Unsupported(format!("tokenizer.ggml.pre {name:?} is not supported; supported are {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::split::Splitter;
    use super::*;

    #[test]
    fn every_row_compiles_and_names_are_unique() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|pre| pre.names).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name stands in two rows");
        for pre in TABLE {
            Splitter::new(pre).unwrap_or_else(|error| panic!("{:?}: {error}", pre.names));
        }
    }
}
