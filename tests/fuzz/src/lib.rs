//! What the fuzz targets share: models to start from, edits that make them hostile, and what must hold of every error.

#[path = "../../common/kinds.rs"]
#[allow(dead_code)]
mod kinds;
#[path = "../../common/raw.rs"]
#[allow(dead_code)]
mod raw;
#[path = "../../../examples/synth/model.rs"]
#[allow(dead_code)]
mod synth;
#[path = "../../common/vocabulary.rs"]
#[allow(dead_code)]
pub mod vocabulary;

pub mod draft;
pub mod status;

use chord::error::Error;
use chord::tensor::Dtype;
use chord::tokenizer::Tokenizer;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use vocabulary::{Definition, byte_level, longest, spm, unigram, wordpiece};

/// A chat template of a common form.
pub const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] | trim }}\
    {% if message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/// Writes a model among temporary files; several processes may do so at once.
fn written(name: &str, write: impl FnOnce(BufWriter<File>) -> Result<(), String>) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("chord-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("temporary files can be written");
    let path = folder.join(format!("{name}.gguf"));
    write(BufWriter::new(File::create(&path).expect("temporary files can be written"))).expect("the model is written");
    path
}

/// The bytes of a file, which goes.
fn taken(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("the model was written");
    let _ = fs::remove_file(path);
    let _ = path.parent().map(fs::remove_dir);
    bytes
}

/// A model of one small block with a tokenizer: what runs fast.
pub fn small_model() -> Vec<u8> {
    let shape = synth::Shape {
        name: "small",
        layers: 1,
        width: 32,
        feed_forward: 64,
        heads: 2,
        kv_heads: 1,
        vocab: 320,
        context: 64,
        rope_base: 1e4,
    };
    let types = synth::Types::Pure(Dtype::Q8_0);
    let bytes = taken(&written("small", |out| synth::write(out, &shape, types, 1, |_, _| ())));
    let mut draft = draft::Draft::read(&bytes);
    draft.set_text("tokenizer.chat_template", TEMPLATE.as_bytes());
    draft.bytes()
}

/// A model of another kind. Its weights are all the same small number, because random ones would take minutes to encode.
fn model_of(kind: &kinds::Kind) -> Vec<u8> {
    let (writer, tensors) = kind.header(64).expect("a model that can be written");
    let mut bytes = Vec::new();
    let write = |index: usize, out: &mut dyn Write| {
        let (name, dims): &(String, Vec<u64>) = &tensors[index];
        let row = kinds::dtype(name, dims).row_bytes(dims[0] as usize).expect("rows are whole blocks");
        out.write_all(&vec![0x11; row * dims[1..].iter().product::<u64>() as usize])
    };
    writer.write(&mut bytes, write).expect("memory can be written");
    bytes
}

/// Small models of many architectures, with and without tokenizers.
pub fn models() -> Vec<Vec<u8>> {
    let mut models = vec![small_model()];
    models.extend(kinds::KINDS.iter().map(model_of));
    let references = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/models");
    let mut paths: Vec<_> = fs::read_dir(references).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    paths.sort();
    models.extend(paths.iter().filter_map(|path| fs::read(path).ok()));
    models
}

/// One vocabulary of every kind.
pub fn vocabularies() -> Vec<(Definition, Tokenizer)> {
    let definitions = [byte_level("gpt-2", 100), byte_level("llama-bpe", 100), spm(100), unigram(), wordpiece(), longest()];
    let tokenizer = |definition: &Definition| Tokenizer::from_metadata(definition.file().metadata()).expect("a good vocabulary");
    definitions.into_iter().map(|definition| (definition.clone(), tokenizer(&definition))).collect()
}

/// What holds of every error: one line that says something, and nothing internal.
pub fn check(error: &Error) {
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains(['\n', '\r']), "message: {message:?}");
    assert!(!matches!(error.root(), Error::Internal(_)), "{message}");
}
