//! Python's two ways of formatting: `'%s' % value` and `'{}'.format(value)`.

use super::lexer::is_space;
use super::machine::Args;
use super::meter::{Eval, Fault, Meter, Writer};
use super::value::{Value, float_text};
use std::sync::Arc;

/// How one value is to be written.
struct Spec {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    width: usize,
    group: bool,
    precision: Option<usize>,
    kind: Option<char>,
}

/// The number at the start of `text`, and what follows.
fn number(text: &str) -> (Option<usize>, &str) {
    let length = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    (text[..length].parse().ok(), &text[length..])
}

/// `text` in a field of `width`: `<` at its start, `>` at its end, `^` in the middle.
pub(super) fn pad(text: &str, fill: char, align: char, width: usize, out: &mut Writer) -> Eval<()> {
    let missing = width.saturating_sub(text.chars().count());
    let before = match align {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    out.pad(fill, before)?;
    out.push(text)?;
    out.pad(fill, missing - before)
}

/// Digits with a comma before every third.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

fn write(value: &Value, spec: &Spec, out: &mut Writer, meter: &Meter) -> Eval<()> {
    let wrong = || Fault::new(format!("cannot format '{}' that way", value.type_name()));
    // As many digits as any float has; keeps a hostile precision from costing anything.
    let precision = spec.precision.map(|precision| precision.min(1100));
    let float = || value.as_float().ok_or_else(wrong);
    let numeric = matches!(value, Value::Int(_) | Value::Float(_));
    let digits = match spec.kind {
        None | Some('s') if !numeric || spec.kind == Some('s') => {
            let text = value.text(meter)?;
            let text: String = text.chars().take(precision.unwrap_or(usize::MAX)).collect();
            return pad(&text, spec.fill, spec.align.unwrap_or('<'), spec.width, out);
        }
        None => match (value, precision) {
            (Value::Float(float), None) => float_text(float.abs()),
            (Value::Float(float), Some(precision)) => general(float.abs(), precision),
            _ => value.as_int().ok_or_else(wrong)?.unsigned_abs().to_string(),
        },
        Some('d' | 'i' | 'u') => match value {
            Value::Float(float) => float.abs().trunc().to_string(),
            _ => value.as_int().ok_or_else(wrong)?.unsigned_abs().to_string(),
        },
        Some('x') => format!("{:x}", value.as_int().ok_or_else(wrong)?.unsigned_abs()),
        Some('X') => format!("{:X}", value.as_int().ok_or_else(wrong)?.unsigned_abs()),
        Some('o') => format!("{:o}", value.as_int().ok_or_else(wrong)?.unsigned_abs()),
        Some('b') => format!("{:b}", value.as_int().ok_or_else(wrong)?.unsigned_abs()),
        Some('f' | 'F') => format!("{:.*}", precision.unwrap_or(6), float()?.abs()),
        Some('%') => format!("{:.*}%", precision.unwrap_or(6), float()?.abs() * 100.0),
        Some('e') => exponential(&format!("{:.*e}", precision.unwrap_or(6), float()?.abs())),
        Some('g') => general(float()?.abs(), precision.unwrap_or(6)),
        Some(other) => return Err(Fault::new(format!("unsupported format character '{other}'"))),
    };
    let digits = if spec.group { grouped(&digits) } else { digits };
    let negative =
        value.as_int().is_some_and(|value| value < 0) || matches!(value, Value::Float(float) if float.is_sign_negative());
    let sign =
        if negative { "-" } else { spec.sign.filter(|sign| *sign != '-').map_or("", |sign| if sign == '+' { "+" } else { " " }) };
    if spec.align == Some('=') {
        out.push(sign)?;
        return pad(&digits, spec.fill, '>', spec.width.saturating_sub(sign.len()), out);
    }
    pad(&format!("{sign}{digits}"), spec.fill, spec.align.unwrap_or('>'), spec.width, out)
}

/// Scientific notation with a sign and two digits at least in the exponent.
pub(super) fn exponential(scientific: &str) -> String {
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// C's `%g`: `precision` digits, an exponent for very small and large numbers, no zeros at the end.
fn general(value: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, value);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent.parse::<i64>() {
        Ok(exponent) if (-4..precision as i64).contains(&exponent) => {
            trimmed(&format!("{:.*}", usize::try_from(precision as i64 - 1 - exponent).unwrap_or(0), value))
        }
        _ => exponential(&format!("{}e{exponent}", trimmed(digits))),
    }
}

/// `pattern % operand`.
pub(super) fn printf(pattern: &str, operand: &Value, meter: &Meter) -> Eval<Value> {
    let mut values = match operand {
        Value::List(list) if list.tuple => list.items.clone(),
        other => vec![other.clone()],
    }
    .into_iter();
    let missing = || Fault::new("not enough arguments for format string");
    let mut out = Writer::new(meter);
    let mut rest = pattern;
    while let Some((before, directive)) = rest.split_once('%') {
        out.push(before)?;
        rest = directive;
        let mut named = None;
        if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            named = Some(operand.entry(&name.into(), meter)?.ok_or_else(|| Fault::new(format!("key '{name}' not found")))?);
            rest = after;
        }
        let flags = rest.len() - rest.trim_start_matches(['-', '+', ' ', '0', '#']).len();
        let (flags, after) = rest.split_at(flags);
        let (width, mut after) = number(after);
        let mut precision = None;
        if let Some(tail) = after.strip_prefix('.') {
            (precision, after) = number(tail);
            precision = precision.or(Some(0));
        }
        let Some(kind) = after.chars().next() else { return Err(Fault::new("incomplete format")) };
        rest = &after[kind.len_utf8()..];
        if kind == '%' {
            out.push("%")?;
            continue;
        }
        let value = named.map_or_else(|| values.next().ok_or_else(missing), Ok)?;
        let (left, zero) = (flags.contains('-'), flags.contains('0'));
        let spec = Spec {
            fill: if zero && !left { '0' } else { ' ' },
            align: Some(if left {
                '<'
            } else if zero {
                '='
            } else {
                '>'
            }),
            sign: flags.chars().find(|flag| *flag == '+').or_else(|| flags.chars().find(|flag| *flag == ' ')),
            width: width.unwrap_or(0),
            group: false,
            precision,
            kind: Some(if kind == 'r' { 's' } else { kind }),
        };
        if kind == 'r' { write(&repr(&value, meter)?, &spec, &mut out, meter)? } else { write(&value, &spec, &mut out, meter)? }
    }
    out.push(rest)?;
    if values.next().is_some() && !matches!(operand, Value::Dict(_)) {
        return Err(Fault::new("not all arguments converted during string formatting"));
    }
    Ok(out.finish().into())
}

fn repr(value: &Value, meter: &Meter) -> Eval<Value> {
    let mut out = Writer::new(meter);
    value.write_repr(&mut out, meter)?;
    Ok(out.finish().into())
}

/// `pattern.format(...)`: fields by position or name, a conversion and a format specification.
pub(super) fn brace(pattern: &str, args: &Args, meter: &Meter) -> Eval<Value> {
    let mut out = Writer::new(meter);
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        out.push(&rest[..at])?;
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push(brace)?;
            rest = after;
            continue;
        }
        let Some((field, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            return Err(Fault::new(format!("single '{brace}' encountered in format string")));
        };
        rest = after;
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = field.split_once('!').unwrap_or((field, ""));
        let found = match number(name) {
            (Some(index), "") => args.positional.get(index),
            _ if name.is_empty() => {
                next += 1;
                args.positional.get(next - 1)
            }
            _ => args.keywords.iter().find(|(found, _)| **found == *name).map(|(_, value)| value),
        };
        let value = found.ok_or_else(|| Fault::new(format!("no value for the format field '{name}'")))?;
        let value = match conversion {
            "" => value.clone(),
            "r" => repr(value, meter)?,
            "s" => Value::Str(value.text(meter)?),
            other => return Err(Fault::new(format!("unknown conversion '{other}'"))),
        };
        write(&value, &parse_spec(spec)?, &mut out, meter)?;
    }
    out.push(rest)?;
    Ok(out.finish().into())
}

/// `[[fill]align][sign][0][width][,][.precision][type]`.
fn parse_spec(text: &str) -> Eval<Spec> {
    let aligns = |char: &char| matches!(char, '<' | '>' | '^' | '=');
    let mut chars = text.chars();
    let (first, second) = (chars.next(), chars.next());
    let (fill, align, rest) = match (first, second.filter(aligns), first.filter(aligns)) {
        (Some(fill), Some(align), _) => (fill, Some(align), chars.as_str()),
        (_, _, Some(align)) => (' ', Some(align), &text[1..]),
        _ => (' ', None, text),
    };
    let sign = rest.chars().next().filter(|sign| "+- ".contains(*sign));
    let rest = &rest[usize::from(sign.is_some())..];
    let zero = rest.starts_with('0') && align.is_none();
    let (width, rest) = number(rest);
    let (group, rest) = rest.strip_prefix(',').map_or((false, rest), |rest| (true, rest));
    let (precision, rest) = rest.strip_prefix('.').map_or((None, rest), number);
    let mut kind = rest.chars();
    let spec = Spec {
        fill: if zero { '0' } else { fill },
        align: if zero { Some('=') } else { align },
        sign,
        width: width.unwrap_or(0),
        group,
        precision,
        kind: kind.next(),
    };
    if kind.as_str().is_empty() && !rest.contains(is_space) {
        Ok(spec)
    } else {
        Err(Fault::new(format!("invalid format specifier '{text}'")))
    }
}

/// The filter `format`: its arguments are the operand.
pub(super) fn filter(pattern: &Arc<str>, args: Args, meter: &Meter) -> Eval<Value> {
    let operand = if args.keywords.is_empty() {
        Value::list(args.positional, true, meter)?
    } else {
        Value::dict(args.keywords.into_iter().map(|(name, value)| (Value::Str(name), value)).collect(), meter)?
    };
    printf(pattern, &operand, meter)
}
