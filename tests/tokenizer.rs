//! Tokenizers on vocabularies of our own: the same tokens as the definition of each algorithm gives, and no harm from
//! hostile vocabularies.

#[path = "common/vocabulary.rs"]
mod vocabulary;

use std::time::Duration;

use chord::error::Error;
use chord::tokenizer::{TextFlags, Tokenizer};
use vocabulary::{Definition, Random, byte_level, longest, spm, unigram, wordpiece};

fn tokenizer(definition: &Definition) -> Tokenizer {
    Tokenizer::from_metadata(definition.file().metadata()).unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, TextFlags::default(), &mut ids).unwrap();
    ids
}

fn parse(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, TextFlags { add_special: true, parse_special: true }, &mut ids).unwrap();
    ids
}

fn decode(tokenizer: &Tokenizer, ids: &[i32]) -> String {
    let mut bytes = Vec::new();
    tokenizer.decode(ids, true, &mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Joins the pair that `better` likes best, the leftmost of equals, until it likes none.
fn merge(mut parts: Vec<String>, rank: impl Fn(&str, &str) -> Option<f64>) -> Vec<String> {
    loop {
        let ranks = parts.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(&pair[0], &pair[1])?, at)));
        let Some((_, at)) = ranks.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) else { return parts };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
}

/// Words long and short of what the sample is made of, so that many pairs merge.
fn words() -> Vec<String> {
    let mut random = Random(3);
    let stems = ["the", "engine", "er", "ing", "merge", "d", "e", "n", "reads", "th", "ee"];
    (0..300).map(|i| (0..=i % 20).map(|_| stems[random.below(stems.len())]).collect()).collect()
}

#[test]
fn byte_pairs_merge_by_rank() {
    let definition = byte_level("gpt-2", 200);
    let tokenizer = tokenizer(&definition);
    let rank = |left: &str, right: &str| {
        let pair = format!("{left} {right}").into_bytes();
        definition.merges.iter().position(|merge| *merge == pair).map(|rank| rank as f64)
    };
    for word in words() {
        let expected = merge(word.chars().map(String::from).collect(), rank);
        let expected: Vec<_> = expected.iter().map(|part| definition.id(part)).collect();
        assert_eq!(encode(&tokenizer, &word), expected, "{word}");
    }
}

#[test]
fn sentencepiece_merges_by_score() {
    let definition = spm(200);
    let tokenizer = tokenizer(&definition);
    let rank = |left: &str, right: &str| {
        let both = format!("{left}{right}").into_bytes();
        definition.tokens.iter().position(|token| *token == both).map(|id| f64::from(-definition.scores[id]))
    };
    for word in words() {
        let marked = format!("\u{2581}{word}");
        let expected = merge(marked.chars().map(String::from).collect(), rank);
        let expected: Vec<_> = expected.iter().map(|part| definition.id(part)).collect();
        assert_eq!(encode(&tokenizer, &word), expected, "{word}");
    }
}

#[test]
fn unigram_finds_the_best_score() {
    let definition = unigram();
    let tokenizer = tokenizer(&definition);
    let score_of = |text: &str| {
        definition.tokens.iter().position(|token| token == text.as_bytes()).map(|id| f64::from(definition.scores[id]))
    };
    /// The best total of all ways to cut `text`.
    fn best(text: &[char], score_of: &dyn Fn(&str) -> Option<f64>) -> f64 {
        let ways = (1..=text.len().min(3)).filter_map(|length| {
            let score = score_of(&text[..length].iter().collect::<String>())?;
            Some(score + best(&text[length..], score_of))
        });
        if text.is_empty() { 0.0 } else { ways.fold(f64::MIN, f64::max) }
    }
    let mut random = Random(2);
    for i in 0..300 {
        let text: String = (0..1 + i % 12).map(|_| ['a', 'b', 'c', ' '][random.below(4)]).collect();
        let plain = text.split_whitespace().collect::<Vec<_>>();
        let marked: Vec<char> = plain.iter().flat_map(|word| format!("\u{2581}{word}").chars().collect::<Vec<_>>()).collect();
        let ids = encode(&tokenizer, &text);
        let texts: Vec<_> =
            ids.iter().map(|&id| String::from_utf8(tokenizer.token_text(id).unwrap().to_vec()).unwrap()).collect();
        assert_eq!(texts.concat(), marked.iter().collect::<String>(), "{text:?}");
        let score: f64 = texts.iter().map(|text| score_of(text).unwrap()).sum();
        assert!((score - best(&marked, &score_of)).abs() < 1e-9, "{text:?}: {texts:?}");
    }
    // Unknown characters in a row are one token; EOS ends a text.
    assert_eq!(parse(&tokenizer, "xyz"), [definition.id("\u{2581}"), definition.id("<unk>"), 1]);
}

#[test]
fn normalization_rules_apply() {
    // A double array that turns U+FF21 (ef bc a1) into "a" and "b" into nothing: children of the root at 0x400, of the
    // next nodes in blocks of their own, values behind the last byte.
    let mut units = vec![0_u32; 0x1000];
    let unit = |offset: u32, leaf: bool, label: u32| offset << 10 | u32::from(leaf) << 8 | label;
    units[0] = unit(0x400, false, 0);
    let mut at = 0x400;
    for (byte, block) in [(0xef, 0x800), (0xbc, 0xc00), (0xa1, 0x100)] {
        at ^= byte;
        units[at as usize] = unit(at ^ block, byte == 0xa1, byte);
        at = block;
    }
    units[0x100] = 1 << 31;
    let b = 0x400 ^ u32::from(b'b');
    units[b as usize] = unit(b ^ 0x200, true, u32::from(b'b'));
    units[0x200] = 1 << 31 | 2;
    let mut charsmap = (units.len() as u32 * 4).to_le_bytes().to_vec();
    charsmap.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    charsmap.extend(b"a\0\0");
    let mut definition = unigram();
    definition.charsmap = charsmap.iter().map(|&byte| i32::from(byte)).collect();
    let with = tokenizer(&definition);
    let without = tokenizer(&unigram());
    assert_eq!(encode(&with, "\u{ff21}bc  \u{ff21}"), encode(&without, "ac a"));
    assert_ne!(encode(&without, "\u{ff21}"), encode(&without, "a"));
}

#[test]
fn wordpiece_takes_the_longest_piece() {
    let definition = wordpiece();
    let tokenizer = tokenizer(&definition);
    let ids = |texts: &[&str]| texts.iter().map(|text| definition.id(text)).collect::<Vec<_>>();
    for (text, expected) in [
        ("unwanted", &["\u{2581}un", "want", "ed"][..]),
        ("  UNWANTED\n", &["\u{2581}un", "want", "ed"]),
        ("caf\u{e9}s,", &["\u{2581}cafe", "s", "\u{2581},"]),
        ("cafe\u{301}!", &["\u{2581}cafe", "\u{2581}!"]),
        ("un世界", &["\u{2581}un", "\u{2581}世", "\u{2581}界"]),
        ("wanting un\u{0}\u{ad}ed", &["[UNK]", "\u{2581}un", "ed"]),
        (" ", &[]),
    ] {
        assert_eq!(encode(&tokenizer, text), ids(expected), "{text:?}");
    }
    assert_eq!(parse(&tokenizer, "un [MASK]"), ids(&["[CLS]", "\u{2581}un", "[MASK]", "[SEP]"]));
}

#[test]
fn the_longest_token_first() {
    let definition = longest();
    let tokenizer = tokenizer(&definition);
    let text = "then them the\n\n你\\\u{e9}";
    let ids = encode(&tokenizer, text);
    assert_eq!(decode(&tokenizer, &ids), text);
    let expected = ["the", "\\x6e", " the", "\\x6d", " the", "\\n\\n", "\\xe4\\xbd\\xa0", "\\x5c", "\\xc3", "\\xa9"];
    assert_eq!(ids, expected.map(|text| definition.id(text)));
}

#[test]
fn characters_that_are_no_token_become_bytes() {
    // BPE on characters: spaces are marks, the rest is spelled in bytes, line ends are tokens as a whole.
    let mut definition = Definition { model: "gemma4".into(), ..Definition::default() };
    definition.push("<bos>", 0.0, 3);
    for byte in 0..=255_u8 {
        definition.push(format!("<0x{byte:02X}>"), 0.0, 6);
    }
    for text in ["\u{2581}", "a", "b", "ab", "\u{2581}ab", "\n", "\n\n\n"] {
        definition.push(text, 0.0, 1);
    }
    definition.merges = ["a b", "\u{2581} ab"].map(|merge| merge.as_bytes().to_vec()).to_vec();
    definition.ids = vec![("bos_token_id", 0)];
    let tokenizer = tokenizer(&definition);
    let expected = ["<bos>", "ab", "\u{2581}ab", "<0xC3>", "<0xA9>", "\n\n\n", "b", "\u{2581}"].map(|text| definition.id(text));
    assert_eq!(parse(&tokenizer, "ab ab\u{e9}\n\n\nb "), expected);
    assert_eq!(decode(&tokenizer, &expected[1..]), "ab ab\u{e9}\n\n\nb ");
}

/// Found by fuzzing: the longest token first was a control token, too, and characters merged to one.
#[test]
fn text_of_strangers_never_becomes_a_control_token() {
    let mut marked = spm(50);
    marked.push("</", -1.0, 1);
    marked.push("s>", -2.0, 1);
    for (definition, text) in
        [(longest(), "a<s>b"), (marked, "a</s>b <s> <unk>"), (byte_level("llama-bpe", 50), "<|begin|>"), (wordpiece(), "[CLS]")]
    {
        let tokenizer = tokenizer(&definition);
        let unknown = definition.ids.iter().find(|(key, _)| *key == "unknown_token_id").map(|&(_, id)| id as i32);
        for id in encode(&tokenizer, text) {
            assert!(
                ![2, 3].contains(&definition.kinds[id as usize]) || Some(id) == unknown,
                "{} of {text:?} in {}",
                id,
                definition.model
            );
        }
    }
}

#[test]
fn special_tokens_swallow_spaces_where_the_model_has_it_so() {
    let mut definition = byte_level("jina-v2-de", 50);
    definition.push("<mask>", 0.0, 3);
    let mask = definition.id("<mask>");
    let tokenizer = tokenizer(&definition);
    let parsed = parse(&tokenizer, "a  <mask> b");
    assert_eq!(parsed, [&encode(&tokenizer, "a"), &[mask][..], &encode(&tokenizer, " b")].concat());
}

#[test]
fn an_unknown_pre_tokenizer_is_named_or_replaced() {
    let definition = byte_level("no-such-rule", 50);
    let file = definition.file();
    let error = Tokenizer::from_metadata(file.metadata()).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)) && error.to_string().contains("\"no-such-rule\""), "{error}");
    let mut warnings = Vec::new();
    let warn = |warning: &str| warnings.push(warning.to_owned());
    let tokenizer = Tokenizer::from_metadata_with(file.metadata(), true, warn, |_| Ok(())).unwrap();
    assert!(matches!(warnings.as_slice(), [warning] if warning.contains("\"no-such-rule\"")), "{warnings:?}");
    let default = byte_level("default", 50);
    let expected = encode(&self::tokenizer(&default), vocabulary::SAMPLE);
    assert_eq!(encode(&tokenizer, vocabulary::SAMPLE), expected);
}

fn all_kinds() -> Vec<Definition> {
    let mut marked = byte_level("gemma4", 50);
    marked.model = "gemma4".into();
    vec![spm(50), byte_level("llama-bpe", 50), byte_level("deepseek-llm", 50), marked, unigram(), wordpiece(), longest()]
}

/// What this thread has computed so far; other work on the machine does not count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A way to spoil a vocabulary.
type Spoil = fn(&mut Definition, &mut Random);

const SPOILED: &[Spoil] = &[
    |d, r| d.scores.iter_mut().for_each(|s| *s = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0][r.below(5)]),
    |d, r| d.kinds.iter_mut().for_each(|kind| *kind = [-1, 0, 1, 2, 3, 4, 5, 6, i32::MAX][r.below(9)]),
    |d, _| d.tokens.iter_mut().for_each(Vec::clear),
    |d, _| d.tokens.iter_mut().for_each(|token| *token = b"a".to_vec()),
    |d, r| d.tokens.iter_mut().for_each(|token| token.insert(0, r.below(256) as u8)),
    |d, r| d.tokens.iter_mut().for_each(|token| token.truncate(r.below(3))),
    |d, _| {
        d.merges = [&b""[..], b" ", b"  ", b"a", b"a ", b" a", b"no such", b"\xff \xfe", b"a a a"].map(<[u8]>::to_vec).to_vec()
    },
    |d, _| (0..300).for_each(|i| d.push(vec![b'a'; i], 0.0, 1)),
    |d, _| (0..300).for_each(|i| d.push(vec![b'a'; i], 0.0, 4)),
    |d, _| d.push(vec![b'a'; 1 << 16], 0.0, 1),
    |d, _| d.push(vec![b'a'; 1 << 16], 0.0, 4),
    |d, r| {
        let size = 4 * r.below(2000) as u32;
        d.charsmap = size.to_le_bytes().map(i32::from).to_vec();
        d.charsmap.extend((0..size + 9).map(|_| r.below(256) as i32));
    },
    // A normalization rule that runs in circles on the letter a.
    |d, _| {
        let a = u32::from(b'a');
        let units = [a << 10 | a; 256].map(u32::to_le_bytes).concat();
        d.charsmap = 1024_u32.to_le_bytes().into_iter().chain(units).chain([0]).map(i32::from).collect();
    },
];

#[test]
fn hostile_vocabularies_do_no_harm() {
    let mut random = Random(9);
    let texts = [vocabulary::SAMPLE.to_owned(), random.text(2000), String::new(), "\0".into()];
    for definition in all_kinds() {
        for (i, spoil) in SPOILED.iter().enumerate() {
            let mut definition = definition.clone();
            spoil(&mut definition, &mut random);
            let Ok(tokenizer) = Tokenizer::from_metadata(definition.file().metadata()) else { continue };
            for text in &texts {
                let mut ids = Vec::new();
                let flags = TextFlags { add_special: true, parse_special: true };
                if tokenizer.encode(text, flags, &mut ids).is_ok() {
                    decode(&tokenizer, &ids);
                }
            }
            // Linear time takes well below a second, quadratic time minutes.
            let start = cpu_time();
            for text in ["a".repeat(1 << 17), " ".repeat(1 << 17) + "5", "5".repeat(1 << 17)] {
                let _ = tokenizer.encode(&text, TextFlags::default(), &mut Vec::new());
            }
            let took = cpu_time() - start;
            assert!(took < Duration::from_secs(10), "{}, spoiled {i}: {took:?}", definition.model);
        }
    }
}

#[test]
fn keys_that_contradict_the_vocabulary_are_named() {
    let wrong: &[(Spoil, &str)] = &[
        (|d, _| d.kinds.truncate(3), "tokenizer.ggml.token_type"),
        (|d, _| d.ids.push(("bos_token_id", 1 << 30)), "tokenizer.ggml.bos_token_id"),
        (|d, _| d.ids.push(("scores", 3)), "tokenizer.ggml.scores"),
        (|d, _| d.ids.push(("add_bos_token", 1)), "tokenizer.ggml.add_bos_token"),
        (|d, _| d.merges.clear(), "tokenizer.ggml.merges"),
        (|d, _| d.tokens.clear(), "tokenizer.ggml.tokens"),
        (|d, _| d.model = "abacus".into(), "\"abacus\""),
    ];
    for (spoil, named) in wrong {
        let mut definition = byte_level("gpt-2", 10);
        definition.ids.clear();
        spoil(&mut definition, &mut Random(1));
        let error = Tokenizer::from_metadata(definition.file().metadata()).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
    for mut definition in [unigram(), wordpiece()] {
        definition.ids = vec![("unknown_token_id", 1 << 30)];
        definition.tokens.truncate(2);
        let error = Tokenizer::from_metadata(definition.file().metadata()).unwrap_err().to_string();
        assert!(error.contains("unknown_token_id"), "{error}");
    }
}
