//! Calls with literals that are not JSON: Python's, and those of Gemma.

use super::call::Call;
use serde_json::{Map, Number, Value};

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 16;

/// A literal in Python, which must be all of `text`.
pub(super) fn value(text: &str) -> Option<Value> {
    let mut reader = Reader::python(text);
    let value = reader.value(0)?;
    reader.rest.trim().is_empty().then_some(value)
}

/// `[NAME(KEY=VALUE, ...), ...]` in Python, which must be all of `text`.
pub(super) fn python(text: &str) -> Option<Vec<Call>> {
    let mut reader = Reader::python(text);
    reader.expect("[")?;
    let calls = reader.separated("]", |reader| {
        let name = reader.name()?;
        reader.expect("(")?;
        let arguments = reader.separated(")", |reader| {
            let key = reader.name()?;
            reader.expect("=")?;
            Some((key.to_owned(), reader.value(0)?))
        })?;
        Some(Call { name: name.to_owned(), arguments: arguments.into_iter().collect(), id: None })
    })?;
    (reader.rest.trim().is_empty() && !calls.is_empty()).then_some(calls)
}

/// `call:NAME{KEY:VALUE,...}`, which must be all of `text`.
pub(super) fn gemma(text: &str) -> Option<Call> {
    let mut reader = Reader { rest: text, quotes: &["<|\"|>"], escapes: false };
    reader.expect("call:")?;
    let name = reader.name()?.to_owned();
    reader.expect("{")?;
    let arguments = reader.members(0)?;
    reader.rest.trim().is_empty().then_some(Call { name, arguments, id: None })
}

struct Reader<'t> {
    rest: &'t str,
    /// What stands around text.
    quotes: &'static [&'static str],
    /// Whether a backslash means something in text.
    escapes: bool,
}

impl<'t> Reader<'t> {
    fn python(rest: &'t str) -> Self {
        Reader { rest, quotes: &["'", "\""], escapes: true }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest.trim_start().strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.eat(token).then_some(())
    }

    /// Items separated by commas up to `end`; a comma may stand before it.
    fn separated<T>(&mut self, end: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.eat(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Some(items)
    }

    fn word(&mut self, allowed: impl Fn(char) -> bool) -> Option<&'t str> {
        let text = self.rest.trim_start();
        let (word, rest) = text.split_at(text.find(|char| !allowed(char)).unwrap_or(text.len()));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn name(&mut self) -> Option<&'t str> {
        self.word(|char| char.is_alphanumeric() || matches!(char, '_' | '.' | '-'))
    }

    fn members(&mut self, depth: usize) -> Option<Map<String, Value>> {
        let members = self.separated("}", |reader| {
            let key = match reader.text() {
                Some(key) => key?,
                None => reader.name()?.to_owned(),
            };
            reader.expect(":")?;
            Some((key, reader.value(depth)?))
        })?;
        Some(members.into_iter().collect())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth == MAX_DEPTH {
            return None;
        }
        if let Some(text) = self.text() {
            return text.map(Value::String);
        }
        if self.eat("[") {
            return self.separated("]", |reader| reader.value(depth + 1)).map(Value::Array);
        }
        if self.eat("{") {
            return self.members(depth + 1).map(Value::Object);
        }
        Some(match self.word(|char| char.is_alphanumeric() || matches!(char, '+' | '-' | '.' | '_'))? {
            "None" | "none" | "null" => Value::Null,
            "True" | "true" => true.into(),
            "False" | "false" => false.into(),
            number => number.parse::<Number>().ok()?.into(),
        })
    }

    /// Text, if there is a quote: none inside if it is not closed or has a wrong escape.
    fn text(&mut self) -> Option<Option<String>> {
        let quote = *self.quotes.iter().find(|quote| self.rest.trim_start().starts_with(**quote))?;
        self.eat(quote);
        Some(self.quoted(quote))
    }

    fn quoted(&mut self, quote: &str) -> Option<String> {
        let mut text = String::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                return Some(text);
            }
            let mut chars = self.rest.chars();
            let char = match chars.next()? {
                '\\' if self.escapes => match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    marker @ ('x' | 'u' | 'U') => {
                        let digits = chars.as_str().get(
                            ..match marker {
                                'x' => 2,
                                'u' => 4,
                                _ => 8,
                            },
                        )?;
                        chars = chars.as_str()[digits.len()..].chars();
                        char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                    }
                    other => other,
                },
                char => char,
            };
            text.push(char);
            self.rest = chars.as_str();
        }
    }
}
