//! Global functions: Jinja's, and those that the `transformers` library adds.

use super::machine::{Args, Machine};
use super::meter::{Eval, Fault};
use super::value::{Value, distinct};
use crate::chat::clock;

const NAMES: [&str; 5] = ["range", "dict", "namespace", "raise_exception", "strftime_now"];

/// The function of that name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|found| *found == name)
}

pub(super) fn call(machine: &mut Machine, name: &str, args: Args) -> Eval<Value> {
    match name {
        "range" => range(machine, &args),
        "dict" => {
            let entries = pairs(machine, args)?;
            Value::dict(distinct(entries, &machine.meter)?, &machine.meter)
        }
        "namespace" => {
            let entries = pairs(machine, args)?;
            let variables = distinct(entries, &machine.meter)?
                .into_iter()
                .map(|(key, value)| Ok((key.text(&machine.meter)?, value)))
                .collect::<Eval<_>>()?;
            machine.namespace(variables)
        }
        "raise_exception" => {
            let message = args.need(0, "message")?.text(&machine.meter)?;
            Err(Fault { offset: None, refused: true, message: message.to_string() })
        }
        "strftime_now" => {
            let format = args.text(0, "format")?.ok_or_else(|| Fault::new("missing argument 'format'"))?;
            // No directive writes more than 24 bytes for its two.
            machine.meter.charge(format.len().saturating_mul(12))?;
            Ok(clock::format(machine.now, &format).into())
        }
        _ => Err(Fault::new(format!("'{name}' is undefined"))),
    }
}

/// The entries of a mapping argument, then the named arguments.
fn pairs(machine: &Machine, args: Args) -> Eval<Vec<(Value, Value)>> {
    let mut entries = Vec::new();
    match args.positional.first() {
        None => {}
        Some(Value::Dict(dict)) => {
            machine.meter.charge_values(dict.entries.len())?;
            entries.clone_from(&dict.entries);
        }
        Some(other) => {
            for item in other.defined()?.items(&machine.meter)? {
                match <[Value; 2]>::try_from(item.items(&machine.meter)?) {
                    Ok([key, value]) => entries.push((key, value)),
                    Err(_) => return Err(Fault::new("expected pairs of keys and values")),
                }
            }
        }
    }
    entries.extend(args.keywords.into_iter().map(|(name, value)| (Value::Str(name), value)));
    Ok(entries)
}

fn range(machine: &Machine, args: &Args) -> Eval<Value> {
    let int = |index: usize| args.int(index, "range");
    let (start, stop, step) = match (int(0)?, int(1)?, int(2)?) {
        (Some(stop), None, None) => (0, stop, 1),
        (Some(start), Some(stop), step) => (start, stop, step.unwrap_or(1)),
        _ => return Err(Fault::new("range expects 1 to 3 integers")),
    };
    if step == 0 {
        return Err(Fault::new("range() arg 3 must not be zero"));
    }
    let span = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let count = if span > 0 { (span - 1) / step.saturating_abs() + 1 } else { 0 };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // Paid before anything is made.
    machine.meter.charge_values(count)?;
    Value::list((0..count as i128).map(|turn| Value::Int(start + turn * step)).collect(), false, &machine.meter)
}
