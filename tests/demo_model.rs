//! The demo model: what it answers, exactly, and how well it answers what it never saw.
//!
//! The figures below are the ones that `examples/models/README.md` states for the committed Q4_K_M file. The texts are
//! golden: a model's output is a promise, the same bits on every machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chord::chat::{Chat, RenderOptions};
use chord::model::{Model, ModelOptions};
use chord::session::{Event, Session, SessionOptions};
use chord::tokenizer::TextFlags;
use serde::Deserialize;

/// Kind of held-out questions, how many are answered right, of how many, and the perplexity of the right answers' tokens.
/// Stories have no right answer but what the corpus tells, which nobody can guess.
const STATED: &[(&str, usize, usize, f64)] = &[
    ("comparison", 38, 40, 1.0498),
    ("counting", 36, 40, 1.0091),
    ("days", 35, 40, 1.0679),
    ("months", 38, 40, 1.0597),
    ("opposites", 40, 40, 1.0010),
    ("stories", 0, 12, 1.2680),
    ("sums", 40, 40, 1.0046),
    ("unseen pairs", 69, 80, 1.1696),
];

/// Conversations, turn by turn: question, answer.
const GOLDEN: &[&[(&str, &str)]] = &[
    &[("What is 2+2?", "4"), ("And minus 1?", "3")],
    &[("what's 7 + 5", "12")],
    &[("What is two plus two?", "4")],
    &[("Count from 3 to 9.", "3, 4, 5, 6, 7, 8, 9"), ("Thank you!", "You are welcome.")],
    &[("What day comes after Monday?", "Tuesday")],
    &[("What month comes before May?", "April")],
    &[("What is the opposite of hot?", "cold")],
    &[("Who are you?", "I am the libchord demo model, a very small language model.")],
    &[(
        "Tell me a story about a cat.",
        "Once there was a hungry cat. Its name was Paul. Paul lived in a deep forest. One day Paul wanted to see the sea. So it \
         walked for three days. Soon Paul saw the wide blue water. Paul danced on the sand. It was the best day of the year.",
    )],
];

/// One line of `heldout.jsonl`.
#[derive(Deserialize)]
struct Row {
    kind: String,
    user: String,
    assistant: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/models")
}

fn model() -> Arc<Model> {
    Model::open(&folder().join("chord-demo-q4_k_m.gguf"), &ModelOptions::default()).expect("the demo model opens")
}

fn greedy(model: &Arc<Model>) -> Session {
    let mut options = SessionOptions::default();
    options.sampler.set_temperature(0.0).expect("zero is greedy");
    Session::new(Arc::clone(model), &options).expect("a session opens")
}

/// A chat rendered up to the point where the assistant speaks.
fn render(model: &Model, chat: &Chat) -> String {
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    model.template().and_then(|template| template.render(chat, &options)).expect("the template renders")
}

/// The whole greedy answer to a chat.
fn answer(model: &Arc<Model>, chat: &Chat) -> String {
    let mut session = greedy(model);
    session.append_chat(&render(model, chat)).expect("the chat fits");
    let mut text = String::new();
    while session.step().expect("a step") == Event::Token {
        text.push_str(session.piece());
    }
    text
}

fn question(text: &str) -> Chat {
    let mut chat = Chat::new();
    chat.add("user", text);
    chat
}

/// What a teacher-forced pass over the right answers says: an answer is right when every token of it, the end included,
/// is the most likely one, which is when greedy decoding writes exactly this answer.
#[derive(Default)]
struct Figure {
    right: usize,
    asked: usize,
    nats: f64,
    tokens: usize,
}

impl Figure {
    fn perplexity(&self) -> f64 {
        (self.nats / self.tokens as f64).exp()
    }
}

/// Negative log-likelihood of a token, in nats, and whether it is the most likely one.
fn judge(logits: &[f32], token: i32) -> (f64, bool) {
    let chosen = f64::from(logits[token as usize]);
    let top = logits.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - top).exp()).sum();
    (top + sum.ln() - chosen, chosen == top)
}

fn examine(model: &Arc<Model>, session: &mut Session, row: &Row, figure: &mut Figure) {
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let mut answer = Vec::new();
    tokenizer.encode(&row.assistant, TextFlags::default(), &mut answer).expect("the answer encodes");
    answer.push(tokenizer.eos().expect("an end token"));

    session.rewind(0).expect("back at the start");
    session.append_chat(&render(model, &question(&row.user))).expect("the question fits");
    let mut right = true;
    for &token in &answer {
        session.eval().expect("a pass");
        let (nats, likeliest) = judge(session.logits().expect("logits"), token);
        figure.nats += nats;
        right &= likeliest;
        session.append(&[token]).expect("a token fits");
    }
    figure.tokens += answer.len();
    figure.asked += 1;
    figure.right += usize::from(right);
}

#[test]
fn held_out_questions_are_answered_as_well_as_stated() {
    let model = model();
    let mut session = greedy(&model);
    let mut figures = BTreeMap::<String, Figure>::new();
    let rows = std::fs::read_to_string(folder().join("heldout.jsonl")).expect("the held-out questions");
    for row in rows.lines() {
        let row: Row = serde_json::from_str(row).expect("a row");
        examine(&model, &mut session, &row, figures.entry(row.kind.clone()).or_default());
    }
    for (kind, figure) in &figures {
        println!("{kind:14} {:2} of {:2} right, perplexity {:.4}", figure.right, figure.asked, figure.perplexity());
    }
    assert_eq!(figures.len(), STATED.len());
    for &(kind, right, asked, perplexity) in STATED {
        let figure = &figures[kind];
        assert_eq!((figure.right, figure.asked), (right, asked), "{kind}");
        assert!((figure.perplexity() - perplexity).abs() < 1e-4, "{kind}: perplexity {}", figure.perplexity());
    }
}

#[test]
fn conversations_go_as_they_always_do() {
    let model = model();
    for conversation in GOLDEN {
        let mut chat = Chat::new();
        for (question, expected) in *conversation {
            chat.add("user", question);
            assert_eq!(answer(&model, &chat), *expected, "to: {question}");
            chat.add("assistant", expected);
        }
    }
}

#[test]
fn it_is_small() {
    let size = std::fs::metadata(folder().join("chord-demo-q4_k_m.gguf")).expect("the demo model").len();
    assert!(size <= 4 << 20, "{size} bytes");
}
