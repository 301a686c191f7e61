//! The text between the marks of a call -> calls.

use super::format::{Elements, Syntax};
use super::literal;
use crate::chat::json;
use serde_json::{Map, Value};

/// A call as it was written.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    /// The model's own, where the format has one.
    pub(super) id: Option<String>,
}

impl Call {
    fn new(name: &str, arguments: Map<String, Value>) -> Option<Self> {
        let name = name.trim();
        (!name.is_empty()).then(|| Call { name: name.to_owned(), arguments, id: None })
    }
}

/// The tools that may be called: what their schemas say about arguments that are written without quotes.
#[derive(Debug, Default)]
pub(super) struct Tools(pub(super) Vec<Value>);

impl Tools {
    fn find(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .filter_map(|tool| tool.get("function"))
            .find(|function| function.get("name").is_some_and(|found| found == name))
    }

    /// Whether there is a tool of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// An argument written as bare text: text if the schema says so, else JSON or Python if it is, else text.
    fn argument(&self, tool: &str, key: &str, text: &str) -> Value {
        let quoted = text.trim().strip_prefix("<![CDATA[").and_then(|text| text.strip_suffix("]]>"));
        if let Some(text) = quoted {
            return text.into();
        }
        let schema = self.find(tool).and_then(|function| function.pointer("/parameters/properties")?.get(key)?.get("type"));
        let is_text = match schema {
            Some(Value::Array(types)) => types.iter().any(|kind| kind == "string"),
            Some(kind) => kind == "string",
            None => false,
        };
        if is_text { text.into() } else { bare(text) }
    }
}

/// A value without a schema.
fn bare(text: &str) -> Value {
    json::parse("argument", text.trim()).ok().or_else(|| literal::value(text)).unwrap_or_else(|| text.into())
}

/// The calls at the start of `body` and the length of what they take; none if it is not written as `syntax` wants. `closed`
/// says that the closing mark stands behind it: only JSON and Python show by themselves that they are whole.
pub(super) fn parse(syntax: Syntax, body: &str, closed: bool, name: &str, tools: &Tools) -> Option<(Vec<Call>, usize)> {
    let whole = |call: Call| (vec![call], body.len());
    match syntax {
        Syntax::Json => from_json(body),
        Syntax::Tagged | Syntax::Mistral if body.trim_start().starts_with(['{', '[']) => from_json(body),
        Syntax::Tagged if body.trim_start().starts_with("<function=") => functions(body, tools).map(|calls| (calls, body.len())),
        Syntax::Tagged if closed => pairs(body, tools).map(whole),
        Syntax::Elements(elements) if closed => in_elements(elements, body, tools).map(whole),
        Syntax::Tagged | Syntax::Elements(_) => None,
        Syntax::Named(mark) => named(body, mark).map(whole),
        Syntax::Mistral => {
            let (head, tail) = body.split_once("[ARGS]")?;
            let (name, id) = head.split_once("[CALL_ID]").map_or((head, None), |(name, id)| (name, Some(id.trim().to_owned())));
            let (arguments, len) = object(tail)?;
            Some((vec![Call { id, ..Call::new(name, arguments)? }], body.len() - tail.len() + len))
        }
        Syntax::Python => literal::python(body).map(|calls| (calls, body.len())),
        Syntax::Gemma => literal::gemma(body).map(whole),
        Syntax::Arguments => {
            let (arguments, len) = object(body)?;
            Some((vec![Call::new(name, arguments)?], len))
        }
    }
}

/// Whether `body` ends within JSON: what was taken for its end may stand in a text of the JSON.
pub(super) fn is_cut(body: &str) -> bool {
    let list = body.trim_start().starts_with('[').then_some(0);
    list.or_else(|| body.find('{')).is_some_and(|start| json::is_cut(&body[start..]))
}

/// The object at the start of `text` and what it takes.
fn object(text: &str) -> Option<(Map<String, Value>, usize)> {
    match json::prefix(text)? {
        (Value::Object(object), len) => Some((object, len)),
        _ => None,
    }
}

/// Objects or lists of them, one after the other.
fn from_json(body: &str) -> Option<(Vec<Call>, usize)> {
    let (mut calls, mut end) = (Vec::new(), 0);
    loop {
        let rest = body.get(end..)?;
        let start = rest.len() - rest.trim_start_matches(|char: char| char.is_whitespace() || matches!(char, ';' | ',')).len();
        let Some((value, len)) = json::prefix(&rest[start..]) else { break };
        let found: Option<Vec<Call>> = match &value {
            Value::Array(items) => items.iter().map(described).collect(),
            value => described(value).map(|call| vec![call]),
        };
        let Some(found) = found else { break };
        calls.extend(found);
        end += start + len;
    }
    (!calls.is_empty()).then_some((calls, end))
}

/// A call described by an object: `{"name": NAME, "arguments": {...}}` and its variants.
fn described(value: &Value) -> Option<Call> {
    let outer = value.as_object()?;
    let inner = outer.get("function").and_then(Value::as_object).unwrap_or(outer);
    let text = |object: &Map<String, Value>, keys: &[&str]| {
        keys.iter().find_map(|key| object.get(*key)).and_then(Value::as_str).map(str::to_owned)
    };
    let id = text(outer, &["id", "tool_call_id"]);
    if let Some(name) = text(inner, &["name", "tool_name"]) {
        let arguments = ["arguments", "parameters", "args"].iter().find_map(|key| inner.get(*key));
        return Some(Call { id, ..Call::new(&name, arguments_of(arguments)?)? });
    }
    // `{NAME: {...}}`
    match outer.iter().next() {
        Some((name, arguments @ Value::Object(_))) if outer.len() == 1 => Call::new(name, arguments_of(Some(arguments))?),
        _ => None,
    }
}

/// Arguments, which some models write as the text of an object.
fn arguments_of(value: Option<&Value>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(object)) => Some(object.clone()),
        Some(Value::String(text)) => json::parse("arguments", text).ok()?.as_object().cloned(),
        Some(_) => None,
    }
}

/// The next element in `text`: what stands between `open` and `value`, between that and `end`, and behind that.
fn element<'t>(text: &'t str, open: &str, value: &str, end: &str) -> Option<(&'t str, &'t str, &'t str)> {
    let (key, rest) = text.split_once(open)?.1.split_once(value)?;
    let (value, rest) = rest.split_once(end)?;
    Some((key, value, rest))
}

/// A value without the line feeds that set it on lines of its own.
fn lines_off(text: &str) -> &str {
    let text = text.strip_prefix('\n').unwrap_or(text);
    text.strip_suffix('\n').unwrap_or(text)
}

/// `<function=NAME>`, each with `<parameter=KEY>`.
fn functions(body: &str, tools: &Tools) -> Option<Vec<Call>> {
    let (mut calls, mut rest) = (Vec::new(), body);
    while let Some((name, mut inside, after)) = element(rest, "<function=", ">", "</function>") {
        let mut arguments = Map::new();
        while let Some((key, value, behind)) = element(inside, "<parameter=", ">", "</parameter>") {
            arguments.insert(key.trim().to_owned(), tools.argument(name.trim(), key.trim(), lines_off(value)));
            inside = behind;
        }
        calls.push(Call::new(name, arguments)?);
        rest = after;
    }
    (!calls.is_empty()).then_some(calls)
}

/// `NAME`, then `<arg_key>` and `<arg_value>` in turns; tags may have a suffix.
fn pairs(body: &str, tools: &Tools) -> Option<Call> {
    let name = body.trim_start().split(['<', '\n', '{']).next()?.trim();
    let (mut arguments, mut rest) = (Map::new(), body);
    while let Some((_, key, after)) = element(rest, "<arg_key", ">", "</arg_key") {
        let (_, value, behind) = element(after, "<arg_value", ">", "</arg_value")?;
        arguments.insert(key.trim().to_owned(), tools.argument(name, key.trim(), value));
        rest = behind;
    }
    // A name alone is a call without arguments; sentences are none.
    let is_name = name.chars().all(|char| char.is_alphanumeric() || "_-.:/".contains(char));
    if is_name { Call::new(name, arguments) } else { None }
}

/// A quoted name and elements; attributes may say whether a value is text.
fn in_elements(elements: &Elements, body: &str, tools: &Tools) -> Option<Call> {
    let (name, mut rest) = body.split_once(elements.name)?.1.split_once('"')?;
    let mut arguments = Map::new();
    while let Some((attributes, value, after)) = element(rest, elements.key, elements.value, elements.end) {
        let (key, attributes) = attributes.split_once('"')?;
        let value = match attributes {
            _ if ["string=\"true\"", "type=\"string\""].iter().any(|text| attributes.contains(text)) => value.into(),
            "" => tools.argument(name, key, value),
            _ => bare(value),
        };
        arguments.insert(key.to_owned(), value);
        rest = after;
    }
    Call::new(name, arguments)
}

/// `NAME`, a mark, and JSON; or `function`, the mark, the name and a block of JSON.
fn named(body: &str, mark: &str) -> Option<Call> {
    let (head, tail) = body.split_once(mark)?;
    let (before, arguments) = tail.split_at(tail.find('{')?);
    let (arguments, _) = object(arguments)?;
    let head = head.trim();
    if before.trim().is_empty() {
        // `functions.NAME:INDEX` is an id.
        let Some(name) = head.strip_prefix("functions.") else { return Call::new(head, arguments) };
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        return Some(Call { id: Some(head.to_owned()), ..Call::new(name, arguments)? });
    }
    Call::new(before.trim_start().lines().next()?, arguments)
}
