//! Model files: an error that says why, or a model that tokenizes, renders and runs. What begins as a GGUF file is one as it
//! is; other input chooses a model and edits it.

#![no_main]

use chord::chat::{Chat, RenderOptions};
use chord::error::Result;
use chord::model::{Model, ModelOptions};
use chord::session::{Session, SessionOptions};
use chord::tokenizer::TextFlags;
use chord_fuzz::draft::Draft;
use chord_fuzz::{check, models};
use libfuzzer_sys::arbitrary::{self, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::{Arc, LazyLock};

static MODELS: LazyLock<Vec<Draft>> = LazyLock::new(|| models().iter().map(|bytes| Draft::read(bytes)).collect());

fn edited(input: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let u = &mut Unstructured::new(input);
    let mut draft = MODELS[u.choose_index(MODELS.len())?].clone();
    while !u.is_empty() {
        if draft.edit(u, &MODELS).is_err() {
            break;
        }
    }
    Ok(draft.bytes())
}

fn text(model: &Model) -> Result<()> {
    let tokenizer = model.tokenizer()?;
    let mut tokens = Vec::new();
    let flags = TextFlags { add_special: true, parse_special: true };
    tokenizer.encode("Hello, w\u{f6}rld!  123 <s>\n", flags, &mut tokens)?;
    tokenizer.decode(&tokens, true, &mut Vec::new())?;
    for id in 0..tokenizer.vocab_size().min(50) {
        tokenizer.token_bytes(id as i32, true, &mut Vec::new())?;
    }
    Ok(())
}

fn chat(model: &Model) -> Result<()> {
    let mut chat = Chat::new();
    chat.add("user", "Hi");
    model.template()?.render(&chat, &RenderOptions { add_generation_prompt: true, now: Some(0) }).map(drop)
}

fn run(model: &Arc<Model>) -> Result<()> {
    let mut options = SessionOptions::default();
    options.set_context_length(16)?;
    options.set_batch_size(4)?;
    let mut session = Session::new(Arc::clone(model), &options)?;
    session.append(&[1, 2, 3, 4, 5])?;
    session.eval()?;
    session.step()?;
    session.rewind(3)?;
    session.step().map(drop)
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let bytes = if input.starts_with(b"GGUF") { Ok(input.to_vec()) } else { edited(input) };
    let Ok(bytes) = bytes else { return Corpus::Reject };
    let mut options = ModelOptions::default();
    options.set_threads(1).unwrap();
    // SAFETY: the bytes live longer than the model.
    match unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), &options) } {
        Ok(model) => [text(&model), chat(&model), run(&model)].iter().filter_map(|result| result.as_ref().err()).for_each(check),
        Err(error) => {
            check(&error);
            assert!(error.offset().is_none_or(|offset| offset <= bytes.len() as u64), "{error}");
        }
    }
    Corpus::Keep
});
