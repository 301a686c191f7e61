//! Python's methods on text, lists and mappings; those that would change a value are refused, as the reference's sandbox does.

use super::lexer::is_space;
use super::machine::{Args, Machine};
use super::meter::{Eval, Fault, Meter, STEP, Writer};
use super::predicates::is_cased;
use super::value::Value;
use super::{filters, format};
use std::sync::Arc;

const TEXT: [&str; 38] = [
    "upper",
    "lower",
    "casefold",
    "swapcase",
    "title",
    "capitalize",
    "strip",
    "lstrip",
    "rstrip",
    "split",
    "rsplit",
    "splitlines",
    "partition",
    "rpartition",
    "startswith",
    "endswith",
    "removeprefix",
    "removesuffix",
    "replace",
    "find",
    "rfind",
    "index",
    "rindex",
    "count",
    "join",
    "format",
    "isdigit",
    "isnumeric",
    "isdecimal",
    "isalpha",
    "isalnum",
    "isspace",
    "isascii",
    "isupper",
    "islower",
    "zfill",
    "ljust",
    "rjust",
];
const LIST: [&str; 3] = ["index", "count", "copy"];
const DICT: [&str; 5] = ["get", "items", "keys", "values", "copy"];
const CHANGING: [&str; 12] =
    ["append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear", "update", "setdefault", "popitem", "fromkeys"];

/// Whether values like this one have the method.
pub(super) fn exists(value: &Value, name: &str) -> bool {
    match value {
        Value::Str(_) => TEXT.contains(&name) || name == "center",
        Value::List(list) => LIST.contains(&name) || (!list.tuple && CHANGING[..8].contains(&name)),
        Value::Dict(_) => DICT.contains(&name) || CHANGING[7..].contains(&name) || name == "pop",
        Value::Loop(_) => ["cycle", "changed"].contains(&name),
        _ => false,
    }
}

pub(super) fn call(machine: &mut Machine, value: &Value, name: &str, args: &Args) -> Eval<Value> {
    let meter = &machine.meter;
    match value {
        Value::Str(text) => text_method(meter, text, name, args),
        Value::List(list) => match name {
            "copy" => Ok(value.clone()),
            "index" | "count" => {
                let wanted = args.need(0, "value")?;
                let mut count = 0;
                for (index, item) in list.items.iter().enumerate() {
                    if item.equals(wanted, meter)? {
                        if name == "index" {
                            return Ok(index.into());
                        }
                        count += 1;
                    }
                }
                if name == "count" { Ok(Value::Int(count)) } else { Err(Fault::new("the value is not in the list")) }
            }
            _ => Err(changing(value, name)),
        },
        Value::Dict(dict) => match name {
            "copy" => Ok(value.clone()),
            "get" => {
                let found = value.entry(args.need(0, "key")?, meter)?;
                Ok(found.unwrap_or_else(|| args.get(1, "default").cloned().unwrap_or(Value::None)))
            }
            "keys" => Value::list(value.items(meter)?, false, meter),
            "values" => Value::list(dict.entries.iter().map(|(_, value)| value.clone()).collect(), false, meter),
            "items" => filters::dict_items(value, meter),
            _ => Err(changing(value, name)),
        },
        Value::Loop(turn) if name == "cycle" => match args.positional.len() {
            0 => Err(Fault::new("no items for cycling given")),
            count => Ok(args.positional[turn.index % count].clone()),
        },
        Value::Loop(turn) => {
            let seen = Value::list(args.positional.clone(), true, meter)?.text(meter)?;
            let changed = turn.turns.seen.borrow().as_ref() != Some(&seen);
            turn.turns.seen.replace(Some(seen));
            Ok(changed.into())
        }
        _ => Err(Fault::new(format!("'{}' has no method '{name}'", value.type_name()))),
    }
}

fn changing(value: &Value, name: &str) -> Fault {
    Fault::new(format!("'{name}' would change a {}, which templates must not", value.type_name()))
}

/// Text without the given characters, or without white space, at its start and end.
pub(super) fn strip<'t>(text: &'t str, chars: Option<&str>, start: bool, end: bool) -> &'t str {
    let strips = |char: char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    let text = if start { text.trim_start_matches(strips) } else { text };
    if end { text.trim_end_matches(strips) } else { text }
}

/// The first letter of every word upper case, the others lower.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for char in text.chars() {
        if inside {
            out.extend(char.to_lowercase())
        } else {
            out.extend(char.to_uppercase())
        }
        inside = char.is_alphabetic();
    }
    out
}

/// The first letter upper case, the others lower.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

/// `text` with up to `count` occurrences of `from` replaced; pays for the result before making it.
pub(super) fn replace(text: &str, from: &str, to: &str, count: Option<usize>, meter: &Meter) -> Eval<Value> {
    meter.charge(text.len() + STEP)?;
    let count = text.matches(from).count().min(count.unwrap_or(usize::MAX));
    meter.charge(count.saturating_mul(to.len()))?;
    Ok(text.replacen(from, to, count).into())
}

/// The texts of the items with `separator` between.
pub(super) fn join(items: &[Value], separator: &str, meter: &Meter) -> Eval<Value> {
    let mut out = Writer::new(meter);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(separator)?;
        }
        item.write(&mut out, meter)?;
    }
    Ok(out.finish().into())
}

/// Python's `splitlines`.
pub(super) fn lines<'t>(text: &'t str, keep_ends: bool, meter: &Meter) -> Eval<Vec<&'t str>> {
    let is_end =
        |char: char| matches!(char, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    meter.charge_values(text.matches(is_end).count())?;
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let end = at + if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        lines.push(if keep_ends { &rest[..end] } else { &rest[..at] });
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    Ok(lines)
}

fn split<'t>(text: &'t str, separator: Option<&str>, limit: Option<usize>, from_end: bool, meter: &Meter) -> Eval<Vec<&'t str>> {
    meter.charge_values(separator.map_or_else(|| text.matches(is_space).count(), |separator| text.matches(separator).count()))?;
    // One split more makes one part more.
    let parts = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut found: Vec<&str> = match separator {
        Some("") => return Err(Fault::new("empty separator")),
        Some(separator) if from_end => text.rsplitn(parts, separator).collect(),
        Some(separator) => text.splitn(parts, separator).collect(),
        None => {
            // Runs of white space separate, and none stands at the ends.
            let mut found = Vec::new();
            let mut rest = strip(text, None, true, true);
            while !rest.is_empty() {
                let gap = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
                let Some(at) = gap.filter(|_| found.len() + 1 < parts) else {
                    found.push(rest);
                    break;
                };
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                let (head, tail) = (&rest[..at], &rest[at + width..]);
                found.push(if from_end { tail } else { head });
                rest = if from_end { strip(head, None, false, true) } else { strip(tail, None, true, false) };
            }
            found
        }
    };
    if from_end {
        found.reverse();
    }
    Ok(found)
}

/// A list of texts.
pub(super) fn texts(parts: &[&str], tuple: bool, meter: &Meter) -> Eval<Value> {
    meter.charge_values(parts.len())?;
    Value::list(parts.iter().map(|part| Value::from(*part)).collect(), tuple, meter)
}

fn text_method(meter: &Meter, text: &Arc<str>, name: &str, args: &Args) -> Eval<Value> {
    // Whatever the method does, it looks at the text about once, and what it makes of it is at most a few times as long.
    meter.charge(text.len().saturating_mul(4).saturating_add(STEP))?;
    let needed = |index, name| args.text(index, name)?.ok_or_else(|| Fault::new(format!("missing argument '{name}'")));
    let limit = |index, name| Ok(args.int(index, name)?.and_then(|limit| usize::try_from(limit).ok()));
    let all = |is: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(is));
    let position = |at: Option<usize>| at.map_or(-1, |at| text[..at].chars().count() as i128);
    let optional = |part: Option<&str>| part.map_or_else(|| Value::Str(Arc::clone(text)), Value::from);
    Ok(match name {
        "upper" => text.to_uppercase().into(),
        "lower" | "casefold" => text.to_lowercase().into(),
        "swapcase" => {
            let swap =
                |char: char| if char.is_uppercase() { char.to_lowercase().to_string() } else { char.to_uppercase().to_string() };
            text.chars().map(swap).collect::<String>().into()
        }
        "title" => title(text).into(),
        "capitalize" => capitalize(text).into(),
        "strip" | "lstrip" | "rstrip" => {
            strip(text, args.text(0, "chars")?.as_deref(), name != "rstrip", name != "lstrip").into()
        }
        "split" | "rsplit" => {
            let separator = args.text(0, "sep")?;
            texts(&split(text, separator.as_deref(), limit(1, "maxsplit")?, name == "rsplit", meter)?, false, meter)?
        }
        "splitlines" => texts(&lines(text, args.flag(0, "keepends") == Some(true), meter)?, false, meter)?,
        "partition" => {
            let separator = needed(0, "sep")?;
            let parts = text.split_once(&*separator).map_or([&**text, "", ""], |(head, tail)| [head, &separator, tail]);
            texts(&parts, true, meter)?
        }
        "rpartition" => {
            let separator = needed(0, "sep")?;
            let parts = text.rsplit_once(&*separator).map_or(["", "", &**text], |(head, tail)| [head, &separator, tail]);
            texts(&parts, true, meter)?
        }
        "startswith" | "endswith" => {
            let found = |affix: &Value| {
                let affix = affix.as_str().ok_or_else(|| Fault::new(format!("{name} needs str, not {}", affix.type_name())))?;
                Ok(if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) })
            };
            match args.need(0, "affix")?.defined()? {
                Value::List(affixes) if affixes.tuple => {
                    meter.charge_values(affixes.items.len())?;
                    let found = affixes.items.iter().map(found).collect::<Eval<Vec<bool>>>()?;
                    found.contains(&true).into()
                }
                affix => found(affix)?.into(),
            }
        }
        "removeprefix" => optional(text.strip_prefix(&*needed(0, "prefix")?)),
        "removesuffix" => optional(text.strip_suffix(&*needed(0, "suffix")?)),
        "replace" => replace(text, &needed(0, "old")?, &needed(1, "new")?, limit(2, "count")?, meter)?,
        "find" => Value::Int(position(text.find(&*needed(0, "sub")?))),
        "rfind" => Value::Int(position(text.rfind(&*needed(0, "sub")?))),
        "index" | "rindex" => {
            let part = needed(0, "sub")?;
            match position(if name == "index" { text.find(&*part) } else { text.rfind(&*part) }) {
                -1 => return Err(Fault::new("substring not found")),
                at => Value::Int(at),
            }
        }
        "count" => text.matches(&*needed(0, "sub")?).count().into(),
        "join" => {
            let items = args.need(0, "iterable")?.defined()?.items(meter)?;
            if let Some(other) = items.iter().find(|item| item.as_str().is_none()) {
                return Err(Fault::new(format!("join expects str items, found {}", other.type_name())));
            }
            join(&items, text, meter)?
        }
        "format" => format::brace(text, args, meter)?,
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => text.is_ascii().into(),
        "isupper" => is_cased(text, char::is_uppercase, char::is_lowercase).into(),
        "islower" => is_cased(text, char::is_lowercase, char::is_uppercase).into(),
        "zfill" | "ljust" | "rjust" | "center" => {
            let width = limit(0, "width")?.unwrap_or(0);
            let fill = args.text(1, "fillchar")?.and_then(|fill| fill.chars().next());
            let mut out = Writer::new(meter);
            match name {
                "zfill" => {
                    let digits = text.trim_start_matches(['+', '-']);
                    out.push(&text[..text.len() - digits.len()])?;
                    format::pad(digits, '0', '>', (width + digits.len()).saturating_sub(text.len()), &mut out)?;
                }
                "ljust" => format::pad(text, fill.unwrap_or(' '), '<', width, &mut out)?,
                "rjust" => format::pad(text, fill.unwrap_or(' '), '>', width, &mut out)?,
                _ => format::pad(text, fill.unwrap_or(' '), '^', width, &mut out)?,
            }
            out.finish().into()
        }
        _ => return Err(Fault::new(format!("'str' has no method '{name}'"))),
    })
}
