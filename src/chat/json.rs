//! JSON from outside, whose nesting is bounded before anything recurses over it.

use super::stack::with_stack;
use crate::error::{Error, Result};
use serde_json::Value;

/// How deep arrays and objects may nest; templates take values of that depth.
const MAX_DEPTH: usize = 56;
/// Depth that any stack has room for.
const SHALLOW: usize = 16;

/// Parses JSON; `what` names it in errors.
pub(crate) fn parse(what: &str, text: &str) -> Result<Value> {
    let invalid = |error: &dyn std::fmt::Display| Error::InvalidArgument(format!("{what} is not JSON: {error}"));
    bounded(text, || serde_json::from_str(text).map_err(|error| invalid(&error)))
        .unwrap_or_else(|| Err(invalid(&format!("nested deeper than {MAX_DEPTH} levels"))))
}

/// The value at the start of `text` and its length; none if there is no whole one.
pub(super) fn prefix(text: &str) -> Option<(Value, usize)> {
    bounded(text, || {
        let mut values = serde_json::Deserializer::from_str(text).into_iter();
        let value = values.next().and_then(std::result::Result::ok);
        Ok(value.map(|value| (value, values.byte_offset())))
    })?
    .ok()?
}

/// Whether `text` is the beginning of a JSON value, but not a whole one.
pub(super) fn is_cut(text: &str) -> bool {
    let first = || Ok(serde_json::Deserializer::from_str(text).into_iter::<Value>().next());
    matches!(bounded(text, first), Some(Ok(Some(Err(error)))) if error.is_eof())
}

/// Runs a parser of `text` if its nesting is within bounds.
fn bounded<T: Send>(text: &str, parse: impl FnOnce() -> Result<T> + Send) -> Option<Result<T>> {
    match depth(text) {
        depth if depth <= SHALLOW => Some(parse()),
        depth if depth <= MAX_DEPTH => Some(with_stack(parse)),
        _ => None,
    }
}

/// The deepest nesting in `text`, exact for JSON and never less than what a parser descends in anything else.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'[' | b'{' if !string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
