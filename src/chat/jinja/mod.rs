//! A Jinja interpreter for chat templates.
//!
//! Templates come with model files, so they are hostile until proven otherwise: an interpreter of our own can account for
//! every byte and every step (see `meter`), bound every recursion, and say where in the template an error happened. It
//! knows what chat templates use: no inheritance, no imports, no escaping. Where behaviour could differ, Python's counts.
//!
//! `lexer` -> `parser` -> `ast`, run by `machine` over `value`, with `filters`, `predicates` (tests), `methods`, `change` and
//! `functions`.

mod ast;
mod change;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod machine;
mod meter;
mod methods;
mod parser;
mod predicates;
mod value;

pub(super) use meter::{Eval, Fault};

use machine::Machine;
use meter::Meter;
use value::Value;

/// A parsed template.
pub(super) struct Program {
    body: Vec<ast::Stmt>,
}

impl Program {
    /// Parses template source, whose lines end with line feeds.
    pub(super) fn parse(source: &str) -> Eval<Self> {
        // A single line feed at the end of a template does not count.
        parser::parse(source.strip_suffix('\n').unwrap_or(source)).map(|body| Self { body })
    }

    /// Runs the template with global variables; `now` in seconds is what `strftime_now` shows. `budget` bounds the
    /// bytes made and the steps done, 32 a step.
    pub(super) fn render(&self, variables: &[(&str, &serde_json::Value)], now: i64, budget: u64) -> Eval<String> {
        let meter = Meter::new(budget);
        let global = |(name, value): &(&str, &serde_json::Value)| Ok(((*name).into(), Value::from_json(value, &meter)?));
        let globals = variables.iter().map(global).collect::<Eval<_>>()?;
        Machine::new(&meter, globals, now).run(&self.body)
    }
}
