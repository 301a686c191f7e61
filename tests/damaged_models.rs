//! Models that lack a tensor or a key, or whose numbers are nonsense: an error that names the cause, or a model that runs.

mod common;

use chord::gguf::{File, Value};
use chord::model::{Model, ModelOptions};
use chord::session::{Session, SessionOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Our own models of several architectures, and those of several kinds.
fn models() -> Vec<PathBuf> {
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    let mut files = common::files(&folder("models"), "gguf");
    files.extend(common::files(&folder("embeddings"), "gguf"));
    files.extend(common::kinds::KINDS.iter().map(|kind| kind.model(512)));
    files
}

/// Opens the bytes; if that works, evaluates a few tokens.
fn run(bytes: &[u8]) -> Result<(), String> {
    let mut options = ModelOptions::default();
    options.set_threads(1).unwrap();
    options.set_copy(true);
    // SAFETY: a slice.
    let model = unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), &options) }.map_err(|error| error.to_string())?;
    let mut options = SessionOptions::default();
    options.set_context_length(16).unwrap();
    let session = Session::new(Arc::clone(&model), &options).and_then(|mut session| {
        session.append(&[1, 2, 3])?;
        session.eval()
    });
    session.map_err(|error| error.to_string())
}

/// Where a string with its length in front stands.
fn find(bytes: &[u8], text: &str) -> usize {
    let wanted = [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    bytes.windows(wanted.len()).position(|window| window == wanted).expect("the file has it") + 8
}

/// The file with another last letter in a name: whatever had it is gone.
fn renamed(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let last = find(&bytes, name) + name.len() - 1;
    bytes[last] = b'#';
    bytes
}

#[test]
fn a_missing_tensor_is_named() {
    for path in models() {
        let bytes = std::fs::read(&path).unwrap();
        for tensor in File::from_bytes(bytes.clone()).unwrap().tensors() {
            let name = &tensor.name;
            match run(&renamed(&bytes, name)) {
                Ok(()) => {
                    let optional = ["output.weight", "token_types.weight", "cls.weight", "cls.norm.weight", "cls.output.weight"];
                    let optional = name.ends_with(".bias") || optional.contains(&name.as_str());
                    // Some of these models have a norm there, some do not.
                    let optional = optional || name.ends_with("ssm_norm.weight") && path.ends_with("falcon-h1.gguf");
                    assert!(optional, "{}: {name} is not missed", path.display());
                }
                // Without a fused matrix, those that it may stand for are looked for.
                Err(message) => {
                    let wanted = name.replace("attn_qkv", "attn_q").replace("attn_kv_a_mqa", "attn_kv_a");
                    let by_head = path.ends_with("qwen3next-by-head.gguf");
                    let wanted = if by_head { wanted.replace("ssm_in", "attn_qkv") } else { wanted };
                    let wanted = wanted.trim_end_matches("weight").trim_end_matches('.');
                    assert!(message.contains(wanted), "{}: {name}: {message}", path.display());
                }
            }
        }
    }
}

#[test]
fn a_missing_key_is_named_or_has_a_default() {
    for path in models() {
        let bytes = std::fs::read(&path).unwrap();
        let file = File::from_bytes(bytes.clone()).unwrap();
        for (key, _) in file.metadata().iter() {
            if let Err(message) = run(&renamed(&bytes, key)) {
                let shape = message.contains("shape") || message.contains("is missing");
                assert!(message.contains(key) || shape, "{}: {key}: {message}", path.display());
            }
        }
    }
}

#[test]
fn no_number_brings_the_library_down() {
    for path in models() {
        let bytes = std::fs::read(&path).unwrap();
        let file = File::from_bytes(bytes.clone()).unwrap();
        for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("general")) {
            if !matches!(value, Value::Scalar(_)) {
                continue;
            }
            for number in [0, 1, 2, 3, 5, 7, 1000, 1 << 20, u32::MAX, f32::NAN.to_bits(), (-1.0f32).to_bits(), 1e30f32.to_bits()]
            {
                let mut changed = bytes.clone();
                // Behind the key stands its type, then the value: four bytes of both integers and floats.
                let at = find(&changed, key) + key.len() + 4;
                changed[at..at + 4].copy_from_slice(&number.to_le_bytes());
                if let Err(message) = run(&changed) {
                    assert!(!message.contains("internal"), "{}: {key} = {number:#x}: {message}", path.display());
                }
            }
        }
    }
}

#[test]
fn an_unknown_architecture_is_named_beside_those_that_are_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/models");
    let mut bytes = std::fs::read(folder.join("gpt2.gguf")).unwrap();
    let at = find(&bytes, "gpt2");
    bytes[at..at + 4].copy_from_slice(b"gpt9");
    let message = run(&bytes).unwrap_err();
    for name in ["\"gpt9\"", "gpt2", "llama", "qwen3moe"] {
        assert!(message.contains(name), "{message}");
    }
    // What the file calls itself goes to logs and terminals: found by fuzzing.
    bytes[at..at + 4].copy_from_slice(b"\x1b\r\n9");
    let message = run(&bytes).unwrap_err();
    assert!(message.contains("\"\\u{1b}\\r\\n9\"") && !message.contains(char::is_control), "{message:?}");
}
