//! Model files that other readers were hurt by, as published: each an error that names the field, within the memory that
//! opening a file may take. (What no advisory speaks of is in `gguf.rs` and `damaged_models.rs`.)

mod common;

use chord::chat::{Chat, RenderOptions, Template};
use chord::gguf::File;
use chord::model::{Model, ModelOptions};
use chord::tokenizer::{TextFlags, Tokenizer};
use common::heap;
use common::raw::{ARRAY, STRING, U32, array, file, header, pair, tensor, text};
use common::vocabulary::{Definition, byte_level, spm, unigram};
use std::sync::Arc;

const F32: u32 = 6;

/// Opens a model, vocabulary included, and sees that it takes no more memory than promised.
fn open(bytes: &[u8]) -> Result<Arc<Model>, String> {
    let mut options = ModelOptions::default();
    options.set_threads(1).unwrap();
    let mut result = Err(String::new());
    let peak = heap::process_peak(|| {
        // SAFETY: no model that borrows the bytes outlives them.
        let model = unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), &options) };
        result = model.map_err(|error| error.to_string());
    });
    assert!(peak <= 4 * bytes.len() + (64 << 20), "{peak} bytes to open {}", bytes.len());
    result
}

fn refused(bytes: &[u8], needles: &[&str]) {
    let message = open(bytes).err().expect("the file is refused");
    assert!(needles.iter().all(|needle| message.contains(needle)), "{message:?} does not say {needles:?}");
    assert!(message.lines().count() == 1 && !message.contains("internal"), "{message:?}");
}

fn key(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    file(&[pair(key, kind, value)], &[], 0)
}

fn one_tensor(dims: &[u64], dtype: u32, offset: u64) -> Vec<u8> {
    file(&[], &[tensor("output.weight", dims, dtype, offset)], 256)
}

/// Arrays in arrays.
fn nested(depth: usize) -> Vec<u8> {
    let levels = std::iter::repeat_n(array(ARRAY, 1, &[]), depth).flatten();
    levels.chain(array(U32, 0, &[])).collect()
}

/// A llama model of these numbers, and a tensor that is none of its own.
fn llama(numbers: &[(&str, u32)]) -> Vec<u8> {
    let mut pairs = vec![pair("general.architecture", STRING, &text(b"llama"))];
    pairs.extend(numbers.iter().map(|(name, number)| pair(&format!("llama.{name}"), U32, &number.to_le_bytes())));
    file(&pairs, &[tensor("nothing", &[1], 0, 0)], 4)
}

/// A test for each file.
macro_rules! refused {
    ($($(#[$about:meta])* $name:ident: $bytes:expr, $needles:expr;)*) => {
        $($(#[$about])* #[test] fn $name() { refused($bytes.as_ref(), &$needles); })*
    };
}

refused! {
    /// CVE-2024-23496: the length of a string, plus one for its end, wraps to 0.
    string_length_that_wraps: key("general.name", STRING, &u64::MAX.to_le_bytes()), ["\"general.name\"", "18446744073709551615"];
    /// CVE-2024-23605: the number of keys times their size wraps.
    key_count_that_wraps: [header(3, 0, u64::MAX / 48 + 1), vec![0; 64]].concat(), ["metadata keys do not fit"];
    /// CVE-2024-21836: as that, the number of tensors.
    tensor_count_that_wraps: [header(3, (1 << 60) + 1, 0), vec![0; 64]].concat(), ["tensors do not fit"];
    /// CVE-2024-21825: as that, the length of an array of strings.
    array_length_that_wraps: key("tokenizer.ggml.tokens", ARRAY, &array(STRING, (1 << 61) + 1, &[0; 64])),
        ["\"tokenizer.ggml.tokens\"", "array elements do not fit"];
    /// CVE-2024-21802: dimensions are written behind the four that a tensor has.
    more_than_four_dimensions: one_tensor(&[1; 64], 0, 0), ["\"output.weight\"", "64 dimensions"];
    /// CVE-2024-32878: an array of an unknown type ends the reading early, and what was not yet read is freed.
    array_of_an_unknown_type: key("general.tags", ARRAY, &array(99, 1, &[0; 8])), ["\"general.tags\"", "unknown value type 99"];
    /// CVE-2024-42477, and llama.cpp #19856 for negative ones: an element type behind the table of types.
    element_type_behind_the_table: one_tensor(&[32], 0xffff_ffff, 0), ["\"output.weight\"", "unknown element type 4294967295"];
    /// CVE-2025-53630: the sizes of tensors add up to less than one of them.
    sum_of_sizes_that_wraps: file(&[], &[tensor("a", &[1 << 61], 0, 0), tensor("b", &[1 << 61], 0, 1 << 63)], 64), ["\"a\""];
    /// CVE-2026-33298: elements times bytes of one wrap to a small size.
    size_that_wraps: one_tensor(&[32, (1 << 59) + 1], 8, 0), ["\"output.weight\"", "larger than an address"];
    /// llama.cpp #24759: a size that fits, and wraps to 0 when it is padded.
    padding_that_wraps: one_tensor(&[u64::MAX / 4], 0, 0), ["\"output.weight\"", "not inside"];
    /// llama.cpp #26978: as that, by three dimensions.
    padding_of_a_product_that_wraps: one_tensor(&[4, (1 << 30) - 1, (1 << 30) + 1], 0, 0), ["\"output.weight\"", "not inside"];
    /// llama.cpp #27203: a negative number of elements is less than any limit.
    product_that_becomes_negative: one_tensor(&[i64::MAX as u64, 2], 24, 0), ["\"output.weight\""];
    /// CVE-2026-7482: a tensor reaches beyond the file, which shows when it is quantized.
    tensor_beyond_the_file: one_tensor(&[65], 0, 0), ["\"output.weight\"", "not inside"];
    /// CVE-2025-0317: sizes are padded to multiples of zero.
    alignment_of_zero: key("general.alignment", U32, &[0; 4]), ["\"general.alignment\"", "not a power of two"];
    /// llama.cpp #26318: the alignment is read as if it had the type that it should have.
    alignment_of_another_type: key("general.alignment", F32, &32_f32.to_le_bytes()), ["\"general.alignment\"", "f32"];
    /// CVE-2024-39720: a file of four bytes.
    magic_alone: b"GGUF".to_vec(), ["file ends"];
    /// CVE-2025-0315, CVE-2025-66960: memory is taken for what the file says that it holds.
    array_without_end: key("tokenizer.ggml.tokens", ARRAY, &array(STRING, 1 << 40, &[])), ["\"tokenizer.ggml.tokens\"", "do not fit"];
    /// gguf-py F001: arrays in arrays, read by recursion.
    arrays_in_arrays: key("general.tags", ARRAY, &nested(100_000)), ["\"general.tags\"", "nested"];
    /// CVE-2024-8063: numbers of zero that something is divided by.
    no_blocks: llama(&[("block_count", 0), ("embedding_length", 32), ("context_length", 8)]), ["block_count"];
    no_heads: llama(&[("block_count", 1), ("embedding_length", 32), ("context_length", 8), ("attention.head_count", 0)]),
        ["llama.attention.head_count"];
    /// The same by more heads than elements.
    more_heads_than_elements:
        llama(&[("block_count", 1), ("embedding_length", 32), ("context_length", 8), ("attention.head_count", 64)]),
        ["llama.attention.head_count"];
    /// llama.cpp #26690: memory for as many tokens as a number says.
    tokens_by_number: llama(&[
        ("block_count", 1), ("embedding_length", 32), ("context_length", 8), ("attention.head_count", 2),
        ("feed_forward_length", 64), ("vocab_size", u32::MAX),
    ]), ["token_embd.weight"];
    layers_by_number: llama(&[
        ("block_count", u32::MAX), ("embedding_length", 32), ("context_length", 8), ("attention.head_count", 2),
        ("feed_forward_length", 64),
    ]), ["block_count"];
}

/// The error of a vocabulary that was spoilt.
fn spoilt(mut definition: Definition, spoil: fn(&mut Definition)) -> String {
    spoil(&mut definition);
    let Err(error) = Tokenizer::from_metadata(definition.file().metadata()) else { panic!("the vocabulary is taken") };
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1);
    message
}

/// llama.cpp #20735: tables that are read by the length of another.
#[test]
fn tables_shorter_than_the_vocabulary() {
    let message = spoilt(spm(20), |definition| definition.scores.truncate(5));
    assert!(message.contains("tokenizer.ggml.scores"), "{message}");
    let message = spoilt(spm(20), |definition| definition.kinds.truncate(5));
    assert!(message.contains("tokenizer.ggml.token_type"), "{message}");
}

/// llama.cpp #24888: tables of bytes, read as if they were of numbers of four. They are converted, or refused.
#[test]
fn tables_of_narrow_elements() {
    let scores = |kind: u32, len: usize| {
        let tokens = array(STRING, 4, &[text(b"<unk>"), text(b"<s>"), text(b"a"), text(b"b")].concat());
        let pairs = [
            pair("tokenizer.ggml.model", STRING, &text(b"llama")),
            pair("tokenizer.ggml.tokens", ARRAY, &tokens),
            pair("tokenizer.ggml.scores", ARRAY, &array(kind, 4, &vec![0; len])),
            pair("tokenizer.ggml.token_type", ARRAY, &array(0, 4, &[2, 3, 1, 1])),
        ];
        let file = File::from_bytes(file(&pairs, &[], 0)).unwrap();
        Tokenizer::from_metadata(file.metadata()).map(|tokenizer| tokenizer.vocab_size()).map_err(|error| error.to_string())
    };
    assert_eq!(scores(0, 4), Ok(4));
    assert_eq!(scores(F32, 16), Ok(4));
    let message = scores(STRING, 32).unwrap_err();
    assert!(message.contains("tokenizer.ggml.scores"), "{message}");
}

/// llama.cpp #25475 and #25508: ids of special tokens behind the vocabulary.
#[test]
fn special_tokens_behind_the_vocabulary() {
    // (An unknown token matters to vocabularies that lack bytes: see `tokenizer.rs`.)
    for key in ["bos_token_id", "eos_token_id"] {
        let mut definition = spm(20);
        definition.ids = vec![(key, definition.tokens.len() as u32)];
        let message = spoilt(definition, |_| ());
        assert!(message.contains(key), "{message}");
    }
    // By default some are 1 and 2, which a vocabulary of one token does not have.
    let mut definition = Definition { model: "llama".into(), pre: "default".into(), ..Definition::default() };
    definition.push("a", 0.0, 1);
    if let Ok(tokenizer) = Tokenizer::from_metadata(definition.file().metadata()) {
        assert!([tokenizer.bos(), tokenizer.eos()].iter().flatten().all(|&id| tokenizer.token_text(id).is_some()));
    }
}

/// llama.cpp #25258: rules for normalization that are shorter than their header.
#[test]
fn normalization_rules_cut_short() {
    for len in 1..8 {
        let mut definition = unigram();
        definition.charsmap = vec![255; len];
        match Tokenizer::from_metadata(definition.file().metadata()) {
            Ok(tokenizer) => drop(tokenizer.encode("abc", TextFlags::default(), &mut Vec::new())),
            Err(error) => assert!(error.to_string().contains("precompiled_charsmap"), "{error}"),
        }
    }
}

/// llama.cpp #27226: the number of a byte token has a sign and is an index in front of a table.
#[test]
fn byte_tokens_with_a_sign() {
    for byte in ["<0x-1>", "<0x+1>", "<0xZZ>", "<0x 1>", "<0x>", "<0x100>"] {
        let mut definition = spm(20);
        definition.push(byte, 0.0, 6);
        let Ok(tokenizer) = Tokenizer::from_metadata(definition.file().metadata()) else { continue };
        let mut bytes = Vec::new();
        tokenizer.decode(&[definition.id(byte)], true, &mut bytes).unwrap();
        tokenizer.encode("\u{1}\u{ff}-1", TextFlags::default(), &mut Vec::new()).unwrap();
        assert!(bytes.len() <= byte.len(), "{bytes:?}");
    }
}

/// CVE-2025-49847: the length of a token's text is taken for a negative number.
#[test]
fn a_token_longer_than_any_buffer() {
    let mut definition = byte_level("gpt-2", 10);
    definition.push("a".repeat(3 << 20), 0.0, 1);
    let tokenizer = Tokenizer::from_metadata(definition.file().metadata()).unwrap();
    let mut bytes = Vec::new();
    tokenizer.decode(&[definition.tokens.len() as i32 - 1; 3], true, &mut bytes).unwrap();
    assert_eq!(bytes.len(), 9 << 20);
}

/// CVE-2024-34359: a chat template reaches the interpreter that runs it.
#[test]
fn a_template_that_reaches_for_its_interpreter() {
    let mut chat = Chat::new();
    chat.add("user", "Hi");
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for c in ().__class__.__base__.__subclasses__() %}{{ c.__init__.__globals__ }}{% endfor %}",
        "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('id') }}",
    ] {
        let rendered = Template::new(source).and_then(|template| template.render(&chat, &RenderOptions::default()));
        let message = rendered.expect_err(source).to_string();
        assert!(message.starts_with("chat template, line 1: "), "{message}");
    }
}

/// What opening takes, for every model that there is.
#[test]
fn opening_a_model_takes_memory_in_proportion() {
    let reference = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/models");
    let mut paths = common::files(&reference, "gguf");
    paths.extend(
        ["models", "quant", "tokenizers"]
            .iter()
            .filter_map(|folder| common::conformance(folder))
            .flat_map(|folder| common::files(&folder, "gguf")),
    );
    let mut opened = 0;
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        opened += usize::from(open(&bytes).is_ok());
    }
    println!("{opened} models");
    assert!(opened >= 5);
}
