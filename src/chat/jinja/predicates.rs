//! Tests: what stands after `is`.

use super::ast::Comparison;
use super::filters;
use super::machine::{Args, Machine};
use super::meter::{Eval, Fault};
use super::value::Value;

/// Names of all tests but the operators.
const NAMES: [&str; 25] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "integer",
    "float",
    "number",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "callable",
    "sameas",
    "odd",
    "even",
    "divisibleby",
    "lower",
    "upper",
    "escaped",
    "in",
    "filter",
    "test",
    "eq",
];

pub(super) fn test(machine: &Machine, name: &str, value: &Value, args: &Args) -> Eval<bool> {
    let compare = |comparison| machine.compare(comparison, value, args.need(0, "other")?);
    let int = || value.defined()?.as_int().ok_or_else(|| Fault::new(format!("'{name}' needs an int, not {}", value.type_name())));
    let text = || value.defined()?.text(&machine.meter);
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "iterable" => matches!(value, Value::List(_) | Value::Dict(_) | Value::Str(_) | Value::Undefined(_)),
        "sequence" => matches!(value, Value::List(_) | Value::Dict(_) | Value::Str(_) | Value::Undefined(_)),
        "callable" => matches!(value, Value::Macro(_) | Value::Method(_) | Value::Function(_)),
        "escaped" => false,
        "sameas" => {
            let other = args.need(0, "other")?;
            value.type_name() == other.type_name() && value.equals(other, &machine.meter)?
        }
        "odd" => int()?.rem_euclid(2) == 1,
        "even" => int()?.rem_euclid(2) == 0,
        "divisibleby" => match args.int(0, "num")? {
            None | Some(0) => return Err(Fault::new("'divisibleby' needs an int that is not 0")),
            Some(divisor) => int()?.checked_rem(divisor) == Some(0),
        },
        "lower" => is_cased(&text()?, char::is_lowercase, char::is_uppercase),
        "upper" => is_cased(&text()?, char::is_uppercase, char::is_lowercase),
        "filter" => value.as_str().is_some_and(filters::exists),
        "test" => value.as_str().is_some_and(|name| NAMES.contains(&name)),
        "in" => compare(Comparison::In)?,
        "eq" | "equalto" | "==" => compare(Comparison::Equal)?,
        "ne" | "!=" => compare(Comparison::NotEqual)?,
        "lt" | "lessthan" | "<" => compare(Comparison::Less)?,
        "le" | "<=" => compare(Comparison::LessEqual)?,
        "gt" | "greaterthan" | ">" => compare(Comparison::Greater)?,
        "ge" | ">=" => compare(Comparison::GreaterEqual)?,
        _ => return Err(Fault::new(format!("no test named '{name}'"))),
    })
}

/// Whether there are letters of the wanted case and none of the other.
pub(super) fn is_cased(text: &str, wanted: fn(char) -> bool, other: fn(char) -> bool) -> bool {
    text.chars().any(wanted) && !text.chars().any(other)
}
