//! `tojson`: values as Python's `json.dumps` writes them, without the HTML escapes of Jinja's own filter.

use super::machine::Args;
use super::meter::{Eval, Fault, Meter, Writer};
use super::value::{Value, float_text};

/// The filter: `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(value: &Value, args: &Args, meter: &Meter) -> Eval<Value> {
    let indent = match args.get(1, "indent") {
        Some(Value::Str(text)) => Some(text.to_string()),
        _ => args.int(1, "indent")?.map(|width| " ".repeat(usize::try_from(width.clamp(0, 64)).unwrap_or(0))),
    };
    let (item, key) = match args.get(2, "separators") {
        None | Some(Value::None) => (Value::from(if indent.is_some() { "," } else { ", " }), Value::from(": ")),
        Some(separators) => match <[Value; 2]>::try_from(separators.defined()?.items(meter)?) {
            Ok([item, key]) => (item, key),
            Err(_) => return Err(Fault::new("separators must be two texts")),
        },
    };
    let mut json = Json {
        out: Writer::new(meter),
        meter,
        ascii: args.flag(0, "ensure_ascii") == Some(true),
        sort: args.flag(3, "sort_keys") == Some(true),
        indent,
        item: item.text(meter)?.to_string(),
        key: key.text(meter)?.to_string(),
    };
    json.value(value, 0)?;
    Ok(json.out.finish().into())
}

struct Json<'m> {
    out: Writer,
    meter: &'m Meter,
    ascii: bool,
    sort: bool,
    indent: Option<String>,
    /// Between items.
    item: String,
    /// Between key and value.
    key: String,
}

impl Json<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Eval<()> {
        match value {
            Value::None => self.out.push("null"),
            Value::Bool(value) => self.out.push(if *value { "true" } else { "false" }),
            Value::Int(value) => self.out.push(&value.to_string()),
            Value::Float(value) => self.out.push(&float(*value)),
            Value::Str(text) => self.string(text),
            Value::List(list) => self.list(("[", "]"), &list.items, depth, |json, item| json.value(item, depth + 1)),
            Value::Dict(dict) if self.sort => {
                self.meter.charge_values(dict.entries.len())?;
                let meter = self.meter;
                let entries = super::filters::sorted(dict.entries.clone(), &mut |a, b| a.0.compare(&b.0, meter))?;
                self.members(&entries, depth)
            }
            Value::Dict(dict) => self.members(&dict.entries, depth),
            other => Err(Fault::new(format!("object of type {} is not JSON serializable", other.type_name()))),
        }
    }

    fn members(&mut self, entries: &[(Value, Value)], depth: usize) -> Eval<()> {
        self.list(("{", "}"), entries, depth, |json, (key, value)| {
            match key {
                Value::Str(text) => json.string(text)?,
                Value::None => json.string("null")?,
                Value::Bool(key) => json.string(if *key { "true" } else { "false" })?,
                Value::Int(key) => json.string(&key.to_string())?,
                Value::Float(key) => json.string(&float(*key))?,
                other => return Err(Fault::new(format!("keys must be str, not {}", other.type_name()))),
            }
            json.out.push(&json.key)?;
            json.value(value, depth + 1)
        })
    }

    fn list<T>(
        &mut self,
        (open, close): (&str, &str),
        items: &[T],
        depth: usize,
        mut write: impl FnMut(&mut Self, &T) -> Eval<()>,
    ) -> Eval<()> {
        self.out.push(open)?;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(&self.item)?;
            }
            self.line(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.out.push(close)
    }

    /// A new line, when lines are wanted.
    fn line(&mut self, depth: usize) -> Eval<()> {
        if let Some(indent) = &self.indent {
            self.out.push("\n")?;
            (0..depth).try_for_each(|_| self.out.push(indent))?;
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Eval<()> {
        self.out.push("\"")?;
        // Runs that need no escape go in one piece.
        let escaped = |char: char| matches!(char, '"' | '\\' | '\0'..='\x1f') || (self.ascii && !char.is_ascii());
        let mut rest = text;
        while let Some(at) = rest.find(escaped) {
            self.out.push(&rest[..at])?;
            let char = rest[at..].chars().next().unwrap_or_default();
            rest = &rest[at + char.len_utf8()..];
            match char {
                '"' => self.out.push("\\\"")?,
                '\\' => self.out.push("\\\\")?,
                '\n' => self.out.push("\\n")?,
                '\r' => self.out.push("\\r")?,
                '\t' => self.out.push("\\t")?,
                '\x08' => self.out.push("\\b")?,
                '\x0c' => self.out.push("\\f")?,
                _ => char.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| self.out.push(&format!("\\u{unit:04x}")))?,
            }
        }
        self.out.push(rest)?;
        self.out.push("\"")
    }
}

fn float(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        value => float_text(value),
    }
}
