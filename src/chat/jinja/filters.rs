//! Filters: Jinja's own, with `tojson` as the `transformers` library has it.

use super::lexer::is_space;
use super::machine::{Args, Machine};
use super::meter::{Eval, Fault, Meter, STEP, Writer};
use super::value::Value;
use super::{format, json, methods, predicates};
use std::cmp::Ordering;
use std::sync::Arc;

const NAMES: [&str; 47] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "wordcount",
    "pprint",
    "groupby",
];

/// Whether there is a filter of that name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn apply(machine: &mut Machine, name: &str, value: Value, args: Args) -> Eval<Value> {
    match name {
        "default" | "d" => {
            let missing = matches!(value, Value::Undefined(_)) || (args.flag(1, "boolean") == Some(true) && !value.truth());
            return Ok(if missing { args.get(0, "default_value").cloned().unwrap_or_else(|| "".into()) } else { value });
        }
        "attr" => {
            let name = args.text(0, "name")?.ok_or_else(|| Fault::new("missing argument 'name'"))?;
            return machine.attribute(&value, &name);
        }
        "map" => return map(machine, &value, args),
        "select" | "reject" | "selectattr" | "rejectattr" => return select(machine, name, &value, args),
        "join" => {
            let mut items = value.items(&machine.meter)?;
            if let Some(attribute) = args.get(1, "attribute") {
                items = items.iter().map(|item| path(machine, item, attribute)).collect::<Eval<_>>()?;
            }
            let separator = args.text(0, "d")?.unwrap_or_default();
            return methods::join(&items, &separator, &machine.meter);
        }
        "sort" | "unique" | "min" | "max" | "sum" | "dictsort" | "groupby" => return order(machine, name, &value, &args),
        _ => {}
    }
    let meter = &machine.meter;
    match name {
        "length" | "count" => Ok(value.length(meter)?.into()),
        "first" | "last" | "list" | "reverse" | "batch" | "slice" => sequence(meter, name, &value, &args),
        "items" => match value {
            Value::Undefined(_) => Value::list(Vec::new(), false, meter),
            _ => dict_items(&value, meter),
        },
        "abs" | "int" | "float" | "round" => number(name, &value, &args),
        "tojson" => json::tojson(&value, &args, meter),
        "string" | "safe" => Ok(Value::Str(value.text(meter)?)),
        "pprint" => {
            let mut out = Writer::new(meter);
            value.write_repr(&mut out, meter)?;
            Ok(out.finish().into())
        }
        _ if exists(name) => text(meter, name, &value.text(meter)?, args),
        _ => Err(Fault::new(format!("no filter named '{name}'"))),
    }
}

/// The entries of a mapping as pairs.
pub(super) fn dict_items(value: &Value, meter: &Meter) -> Eval<Value> {
    let Value::Dict(dict) = value else {
        return Err(Fault::new(format!("can only get item pairs from a mapping, not {}", value.defined()?.type_name())));
    };
    let pair = |(key, value): &(Value, Value)| Value::list(vec![key.clone(), value.clone()], true, meter);
    Value::list(dict.entries.iter().map(pair).collect::<Eval<_>>()?, false, meter)
}

/// The value at a dotted path of attributes or items, as in `map(attribute='a.b.0')`.
fn path(machine: &Machine, value: &Value, path: &Value) -> Eval<Value> {
    let Some(text) = path.as_str() else { return machine.item(value, path) };
    text.split('.').try_fold(value.clone(), |value, part| {
        machine.meter.charge(STEP + part.len())?;
        machine.item(&value, &part.parse().map_or_else(|_| part.into(), Value::Int))
    })
}

fn map(machine: &mut Machine, value: &Value, mut args: Args) -> Eval<Value> {
    let items = value.items(&machine.meter)?;
    let mut out = Vec::new();
    if let Some(attribute) = args.get(usize::MAX, "attribute") {
        for item in &items {
            let found = path(machine, item, attribute)?;
            let default = args.get(usize::MAX, "default").filter(|_| matches!(found, Value::Undefined(_)));
            out.push(default.cloned().unwrap_or(found));
        }
    } else {
        let name = args.text(0, "filter")?.ok_or_else(|| Fault::new("map requires a filter argument"))?;
        args.positional.remove(0);
        for item in items {
            machine.meter.charge_values(args.positional.len() + args.keywords.len())?;
            let args = Args { positional: args.positional.clone(), keywords: args.keywords.clone() };
            out.push(apply(machine, &name, item, args)?);
        }
    }
    Value::list(out, false, &machine.meter)
}

fn select(machine: &mut Machine, name: &str, value: &Value, mut args: Args) -> Eval<Value> {
    let attribute = if name.ends_with("attr") {
        args.need(0, "attribute")?;
        Some(args.positional.remove(0))
    } else {
        None
    };
    let test = args.text(0, "test")?;
    if test.is_some() {
        args.positional.remove(0);
    }
    let mut out = Vec::new();
    for item in value.items(&machine.meter)? {
        machine.meter.charge(STEP)?;
        let subject = attribute.as_ref().map_or_else(|| Ok(item.clone()), |attribute| path(machine, &item, attribute))?;
        let holds = match &test {
            Some(test) => predicates::test(machine, test, &subject, &args)?,
            None => subject.truth(),
        };
        if holds == name.starts_with("select") {
            out.push(item);
        }
    }
    Value::list(out, false, &machine.meter)
}

/// A stable sort by a comparison that can fail.
pub(super) fn sorted<T>(mut items: Vec<T>, compare: &mut impl FnMut(&T, &T) -> Eval<Ordering>) -> Eval<Vec<T>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let tail = items.split_off(items.len() / 2);
    let (mut head, mut tail) = (sorted(items, compare)?.into_iter().peekable(), sorted(tail, compare)?.into_iter().peekable());
    let mut out = Vec::with_capacity(head.len() + tail.len());
    while let (Some(a), Some(b)) = (head.peek(), tail.peek()) {
        out.extend(if compare(b, a)?.is_lt() { tail.next() } else { head.next() });
    }
    out.extend(head);
    out.extend(tail);
    Ok(out)
}

/// The filters that order or add up items, possibly by an attribute, by default without regard to case.
fn order(machine: &mut Machine, name: &str, value: &Value, args: &Args) -> Eval<Value> {
    let meter = machine.meter.clone();
    let items = if name == "dictsort" { dict_items(value, &meter)?.items(&meter)? } else { value.items(&meter)? };
    meter.charge_values(items.len().saturating_mul(2))?;
    let (case_at, attribute) = match name {
        "sort" => (1, args.get(2, "attribute").cloned()),
        "dictsort" => (0, Some(Value::Int(i128::from(args.text(1, "by")?.as_deref() == Some("value"))))),
        "sum" | "groupby" => (9, args.get(0, "attribute").cloned()),
        _ => (0, args.get(1, "attribute").cloned()),
    };
    let folds = args.flag(case_at, "case_sensitive") != Some(true) && name != "sum";
    let mut keyed = Vec::new();
    for item in items {
        let key = match &attribute {
            None | Some(Value::None) => item.clone(),
            Some(attribute) => path(machine, &item, attribute)?,
        };
        let key = match key.as_str().filter(|_| folds) {
            Some(text) => {
                meter.charge(text.len())?;
                text.to_lowercase().into()
            }
            None => key,
        };
        keyed.push((key, item));
    }
    let values = |keyed: Vec<(Value, Value)>| keyed.into_iter().map(|(_, item)| item).collect();
    let mut compare = |a: &(Value, Value), b: &(Value, Value)| a.0.compare(&b.0, &meter);
    match name {
        "sort" | "dictsort" => {
            let reverse = args.flag(if name == "sort" { 0 } else { 2 }, "reverse") == Some(true);
            // Equal items keep their order in either direction.
            let mut directed = |a: &_, b: &_| compare(a, b).map(|order| if reverse { order.reverse() } else { order });
            Value::list(values(sorted(keyed, &mut directed)?), false, &meter)
        }
        "groupby" => {
            let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
            for (key, item) in sorted(keyed, &mut compare)? {
                match groups.last_mut() {
                    Some((last, group)) if last.equals(&key, &meter)? => group.push(item),
                    _ => groups.push((key, vec![item])),
                }
            }
            let group = |(key, group)| Value::list(vec![key, Value::list(group, false, &meter)?], true, &meter);
            Value::list(groups.into_iter().map(group).collect::<Eval<_>>()?, false, &meter)
        }
        "unique" => {
            let mut kept: Vec<(Value, Value)> = Vec::new();
            'items: for (key, item) in keyed {
                for (other, _) in &kept {
                    if other.equals(&key, &meter)? {
                        continue 'items;
                    }
                }
                kept.push((key, item));
            }
            Value::list(values(kept), false, &meter)
        }
        "sum" => {
            let start = args.get(1, "start").cloned().unwrap_or(Value::Int(0));
            keyed.iter().try_fold(start, |sum, (value, _)| machine.add(&sum, value))
        }
        _ => {
            let mut best: Option<(Value, Value)> = None;
            for candidate in keyed {
                let better = match &best {
                    None => true,
                    Some(best) if name == "min" => compare(&candidate, best)?.is_lt(),
                    Some(best) => compare(&candidate, best)?.is_gt(),
                };
                if better {
                    best = Some(candidate);
                }
            }
            Ok(best.map_or_else(|| Value::Undefined("an item of an empty sequence".into()), |(_, item)| item))
        }
    }
}

/// The filters on sequences that look at no item.
fn sequence(meter: &Meter, name: &str, value: &Value, args: &Args) -> Eval<Value> {
    let mut items = value.items(meter)?;
    let missing = || Value::Undefined("an item of an empty sequence".into());
    match name {
        "first" => Ok(items.into_iter().next().unwrap_or_else(missing)),
        "last" => Ok(items.pop().unwrap_or_else(missing)),
        "list" => Value::list(items, false, meter),
        "reverse" => match value {
            Value::Str(text) => Ok(text.chars().rev().collect::<String>().into()),
            _ => {
                items.reverse();
                Value::list(items, false, meter)
            }
        },
        _ => {
            let count = args.int(0, "size")?.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            let count = count.ok_or_else(|| Fault::new(format!("{name} needs a positive size")))?;
            let fill = args.get(1, "fill_with").filter(|fill| !matches!(fill, Value::None));
            meter.charge_values(count)?;
            let group = |items: &[Value], wanted: usize| {
                let missing = wanted.saturating_sub(items.len());
                let filling = fill.into_iter().cycle().take(if fill.is_some() { missing } else { 0 });
                Value::list(items.iter().chain(filling).cloned().collect(), false, meter)
            };
            let groups: Vec<Value> = if name == "batch" {
                items.chunks(count).map(|items| group(items, count)).collect::<Eval<_>>()?
            } else {
                // As even as possible, the longer ones first.
                let (least, longer) = (items.len() / count, items.len() % count);
                let start = |index: usize| index * least + index.min(longer);
                let slice = |index| group(&items[start(index)..start(index + 1)], least + usize::from(longer > 0));
                (0..count).map(slice).collect::<Eval<_>>()?
            };
            Value::list(groups, false, meter)
        }
    }
}

fn number(name: &str, value: &Value, args: &Args) -> Eval<Value> {
    let default = |default: Value| args.get(0, "default").cloned().unwrap_or(default);
    let numeric =
        || value.defined()?.as_float().ok_or_else(|| Fault::new(format!("bad operand type for {name}: '{}'", value.type_name())));
    Ok(match name {
        "abs" => match value.as_int() {
            Some(value) => Value::Int(value.checked_abs().ok_or_else(|| Fault::new("integer overflow"))?),
            None => Value::Float(numeric()?.abs()),
        },
        "int" => {
            let base = args
                .int(1, "base")?
                .and_then(|base| u32::try_from(base).ok())
                .filter(|base| (2..=36).contains(base))
                .unwrap_or(10);
            let text = value.as_str().map(|text| text.trim_matches(is_space));
            let prefix = [(2, "0b"), (8, "0o"), (16, "0x")].into_iter().find(|(prefixed, _)| *prefixed == base);
            let digits = text.map(|text| prefix.and_then(|(_, prefix)| text.strip_prefix(prefix)).unwrap_or(text));
            let whole = digits.and_then(|digits| i128::from_str_radix(digits, base).ok()).or(value.as_int());
            let float = text.map_or_else(|| value.as_float(), |text| text.parse().ok()).filter(|value| value.abs() < 1e38);
            whole.or(float.map(|value| value as i128)).map_or_else(|| default(Value::Int(0)), Value::Int)
        }
        "float" => {
            let text = value.as_str().map(|text| text.trim_matches(is_space));
            text.map_or_else(|| value.as_float(), |text| text.parse().ok())
                .map_or_else(|| default(Value::Float(0.0)), Value::Float)
        }
        _ => {
            let precision = args.int(0, "precision")?.unwrap_or(0).clamp(-300, 300) as i32;
            let scale = 10.0f64.powi(precision);
            let number = numeric()?;
            Value::Float(match args.text(1, "method")?.as_deref() {
                Some("ceil") => (number * scale).ceil() / scale,
                Some("floor") => (number * scale).floor() / scale,
                // Formatting rounds the exact value, halves to even, as Python does.
                None | Some("common") if precision >= 0 && value.as_int().is_some() => return Ok(value.clone()),
                None | Some("common") if precision >= 0 => {
                    format!("{number:.*}", precision.unsigned_abs() as usize).parse().unwrap_or(number)
                }
                None | Some("common") => {
                    let unit = 10.0f64.powi(-precision);
                    let rounded = (number / unit).round_ties_even() * unit;
                    return Ok(if value.as_int().is_some() { Value::Int(rounded as i128) } else { Value::Float(rounded) });
                }
                Some(other) => return Err(Fault::new(format!("unknown rounding method '{other}'"))),
            })
        }
    })
}

/// The filters on text.
fn text(meter: &Meter, name: &str, text: &Arc<str>, args: Args) -> Eval<Value> {
    meter.charge(text.len().saturating_mul(4).saturating_add(STEP))?;
    Ok(match name {
        "lower" => text.to_lowercase().into(),
        "upper" => text.to_uppercase().into(),
        "title" => methods::title(text).into(),
        "capitalize" => methods::capitalize(text).into(),
        "trim" => methods::strip(text, args.text(0, "chars")?.as_deref(), true, true).into(),
        "wordcount" => text.split(is_space).filter(|word| !word.is_empty()).count().into(),
        "format" => format::filter(text, args, meter)?,
        "replace" => {
            let (from, to) = (args.need(0, "old")?.text(meter)?, args.need(1, "new")?.text(meter)?);
            let count = args.int(2, "count")?.and_then(|count| usize::try_from(count).ok());
            methods::replace(text, &from, &to, count, meter)?
        }
        "escape" | "e" | "forceescape" => {
            let mut out = Writer::new(meter);
            for char in text.chars() {
                match char {
                    '&' => out.push("&amp;")?,
                    '<' => out.push("&lt;")?,
                    '>' => out.push("&gt;")?,
                    '"' => out.push("&#34;")?,
                    '\'' => out.push("&#39;")?,
                    _ => out.push_char(char)?,
                }
            }
            out.finish().into()
        }
        "center" => {
            let mut out = Writer::new(meter);
            let width = args.int(0, "width")?.unwrap_or(80);
            format::pad(text, ' ', '^', usize::try_from(width).unwrap_or(0), &mut out)?;
            out.finish().into()
        }
        "indent" => {
            let mut unit = Writer::new(meter);
            match args.get(0, "width") {
                Some(Value::Str(text)) => unit.push(text)?,
                _ => unit.pad(' ', usize::try_from(args.int(0, "width")?.unwrap_or(4)).unwrap_or(0))?,
            }
            let unit = unit.finish();
            let (first, blank) = (args.flag(1, "first") == Some(true), args.flag(2, "blank") == Some(true));
            let mut out = Writer::new(meter);
            // A line feed at the end opens one more, empty line.
            let text = format!("{text}\n");
            for (index, line) in methods::lines(&text, false, meter)?.into_iter().enumerate() {
                if index > 0 {
                    out.push("\n")?;
                }
                if (index == 0 && first) || (index > 0 && (blank || !line.is_empty())) {
                    out.push(&unit)?;
                }
                out.push(line)?;
            }
            out.finish().into()
        }
        _ => {
            // Truncate: to whole words, unless told to kill them.
            let bound =
                |index, name, default| Ok(args.int(index, name)?.map_or(default, |value| usize::try_from(value).unwrap_or(0)));
            let (length, leeway) = (bound(0, "length", 255)?, bound(3, "leeway", 5)?);
            let end = args.text(2, "end")?.unwrap_or_else(|| "...".into());
            if text.chars().count() <= length.saturating_add(leeway) {
                return Ok(Value::Str(Arc::clone(text)));
            }
            let mut part: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
            if args.flag(1, "killwords") != Some(true) {
                part.truncate(part.rfind(' ').unwrap_or(part.len()));
            }
            (part + &end).into()
        }
    })
}
