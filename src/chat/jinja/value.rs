//! The values of a rendering, as Python has them: truth, equality, order, text.

use super::ast::{For, Macro};
use super::format::exponential;
use super::lexer::is_space;
use super::meter::{Eval, Fault, Meter, STEP, Writer};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

/// How deep values may hold values: functions over them, and dropping them, recurse that far.
const MAX_DEPTH: u8 = 64;

#[derive(Clone)]
pub(super) enum Value {
    /// The name that had no value.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    List(Rc<List>),
    Dict(Rc<Dict>),
    Namespace(Rc<RefCell<Vec<(Arc<str>, Value)>>>),
    Loop(Rc<Loop>),
    Macro(Rc<Closure>),
    /// A method bound to its value.
    Method(Rc<(Value, Arc<str>)>),
    /// A global function, by name.
    Function(&'static str),
}

/// A list, or a tuple. Never changes once made, so values hold no cycles except through namespaces.
pub(super) struct List {
    pub(super) items: Vec<Value>,
    pub(super) tuple: bool,
    depth: u8,
}

/// A mapping, in the order of insertion.
pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    depth: u8,
}

/// The variable `loop` of one turn.
pub(super) struct Loop {
    pub(super) turns: Rc<Turns>,
    pub(super) index: usize,
}

/// What the turns of a loop share.
pub(super) struct Turns {
    pub(super) items: Vec<Value>,
    /// Loops of the same recursion around it.
    pub(super) level: usize,
    /// The statement, when it is recursive.
    pub(super) recursive: Option<Arc<For>>,
    /// What `loop.changed` saw last, as text, so that no value can hold itself.
    pub(super) seen: RefCell<Option<Arc<str>>>,
    depth: u8,
}

impl Turns {
    pub(super) fn new(items: Vec<Value>, level: usize, recursive: Option<Arc<For>>) -> Eval<Self> {
        let depth = deeper(items.iter())?;
        Ok(Self { items, level, recursive, seen: RefCell::default(), depth })
    }
}

/// A macro with the local variables around its definition.
pub(super) struct Closure {
    pub(super) definition: Arc<Macro>,
    pub(super) captured: Vec<(Arc<str>, Value)>,
    depth: u8,
}

impl Closure {
    pub(super) fn new(definition: Arc<Macro>, captured: Vec<(Arc<str>, Value)>) -> Eval<Self> {
        let depth = deeper(captured.iter().map(|(_, value)| value))?;
        Ok(Self { definition, captured, depth })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Int(value as i128)
    }
}

impl Value {
    /// A list or tuple; pays for its items.
    pub(super) fn list(items: Vec<Value>, tuple: bool, meter: &Meter) -> Eval<Value> {
        meter.charge_values(items.len())?;
        let depth = deeper(items.iter())?;
        Ok(Value::List(Rc::new(List { items, tuple, depth })))
    }

    /// A mapping of distinct keys; pays for its entries.
    pub(super) fn dict(entries: Vec<(Value, Value)>, meter: &Meter) -> Eval<Value> {
        meter.charge_values(entries.len().saturating_mul(2))?;
        let depth = deeper(entries.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Value::Dict(Rc::new(Dict { entries, depth })))
    }

    /// JSON as Python reads it; pays for what it makes.
    pub(super) fn from_json(json: &serde_json::Value, meter: &Meter) -> Eval<Value> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) {
                Some(value) => Value::Int(value),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => {
                meter.charge(text.len())?;
                text.as_str().into()
            }
            Json::Array(items) => {
                let items = items.iter().map(|item| Self::from_json(item, meter)).collect::<Eval<_>>()?;
                Self::list(items, false, meter)?
            }
            Json::Object(members) => {
                let entry = |(key, value): (&String, &Json)| Ok((key.as_str().into(), Self::from_json(value, meter)?));
                Self::dict(members.iter().map(entry).collect::<Eval<_>>()?, meter)?
            }
        })
    }

    fn depth(&self) -> u8 {
        match self {
            Value::List(list) => list.depth,
            Value::Dict(dict) => dict.depth,
            Value::Method(method) => method.0.depth(),
            Value::Loop(turn) => turn.turns.depth,
            Value::Macro(closure) => closure.depth,
            _ => 0,
        }
    }

    /// Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(list) if list.tuple => "tuple",
            Value::List(_) => "list",
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Macro(_) => "Macro",
            Value::Method(_) | Value::Function(_) => "function",
        }
    }

    pub(super) fn truth(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            Value::Namespace(_) | Value::Loop(_) | Value::Macro(_) | Value::Method(_) | Value::Function(_) => true,
        }
    }

    /// The fault of using an undefined value.
    pub(super) fn defined(&self) -> Eval<&Self> {
        match self {
            Value::Undefined(name) => Err(Fault::new(format!("'{name}' is undefined"))),
            _ => Ok(self),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Value::Str(text) = self { Some(text) } else { None }
    }

    /// Integers and truth values.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(value) => Some(i128::from(*value)),
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        if let Value::Float(value) = self { Some(*value) } else { self.as_int().map(|value| value as f64) }
    }

    /// What iterating over the value gives; pays for it.
    pub(super) fn items(&self, meter: &Meter) -> Eval<Vec<Value>> {
        Ok(match self {
            Value::List(list) => {
                meter.charge_values(list.items.len())?;
                list.items.clone()
            }
            Value::Dict(dict) => {
                meter.charge_values(dict.entries.len())?;
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Value::Str(text) => {
                meter.charge_values(text.chars().count().saturating_mul(2))?;
                text.chars().map(|char| char.encode_utf8(&mut [0; 4]).to_owned().into()).collect()
            }
            Value::Undefined(_) => Vec::new(),
            other => return Err(Fault::new(format!("'{}' object is not iterable", other.type_name()))),
        })
    }

    /// How many items there are, characters for text.
    pub(super) fn length(&self, meter: &Meter) -> Eval<usize> {
        match self {
            Value::List(list) => Ok(list.items.len()),
            Value::Dict(dict) => Ok(dict.entries.len()),
            Value::Str(text) => {
                meter.charge(text.len())?;
                Ok(text.chars().count())
            }
            Value::Undefined(_) => Ok(0),
            other => Err(Fault::new(format!("object of type '{}' has no len()", other.type_name()))),
        }
    }

    /// The value of a key.
    pub(super) fn entry(&self, key: &Value, meter: &Meter) -> Eval<Option<Value>> {
        let Value::Dict(dict) = self else { return Ok(None) };
        for (found, value) in &dict.entries {
            if found.equals(key, meter)? {
                return Ok(Some(value.clone()));
            }
        }
        Ok(None)
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Value, meter: &Meter) -> Eval<bool> {
        meter.charge(1)?;
        Ok(match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => {
                if a.len() == b.len() {
                    meter.charge(a.len())?;
                }
                a == b
            }
            (Value::List(a), Value::List(b)) => {
                if a.tuple != b.tuple || a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(a), Value::Dict(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &a.entries {
                    let same = other.entry(key, meter)?.map(|found| found.equals(value, meter)).transpose()?;
                    if same != Some(true) {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => self.as_float().zip(other.as_float()).is_some_and(|(a, b)| a == b),
            },
        })
    }

    /// Python's `<` and its like: numbers with numbers, text with text, lists with lists.
    pub(super) fn compare(&self, other: &Value, meter: &Meter) -> Eval<Ordering> {
        meter.charge(1)?;
        self.defined()?;
        other.defined()?;
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => {
                meter.charge(a.len().min(b.len()))?;
                return Ok(a.cmp(b));
            }
            (Value::List(a), Value::List(b)) if a.tuple == b.tuple => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b, meter)? {
                        return a.compare(b, meter);
                    }
                }
                return Ok(a.items.len().cmp(&b.items.len()));
            }
            _ => {}
        }
        let order = match (self.as_int(), other.as_int()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => self.as_float().zip(other.as_float()).map(|(a, b)| a.partial_cmp(&b).unwrap_or(Ordering::Greater)),
        };
        order.ok_or_else(|| Fault::new(format!("cannot order '{}' and '{}'", self.type_name(), other.type_name())))
    }

    /// Python's `in`, with this as the container.
    pub(super) fn contains(&self, item: &Value, meter: &Meter) -> Eval<bool> {
        match self {
            Value::Str(text) => {
                let Some(part) = item.defined()?.as_str() else {
                    return Err(Fault::new(format!("'in <str>' requires str as left operand, not {}", item.type_name())));
                };
                meter.charge(text.len())?;
                Ok(text.contains(part))
            }
            Value::Dict(_) => Ok(self.entry(item, meter)?.is_some()),
            _ => {
                for found in self.items(meter)? {
                    if found.equals(item, meter)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Python's `str()`, which is also what printing writes.
    pub(super) fn text(&self, meter: &Meter) -> Eval<Arc<str>> {
        if let Value::Str(text) = self {
            return Ok(Arc::clone(text));
        }
        let mut out = Writer::new(meter);
        self.write(&mut out, meter)?;
        Ok(out.finish().into())
    }

    /// Writes `str()` of the value.
    pub(super) fn write(&self, out: &mut Writer, meter: &Meter) -> Eval<()> {
        match self {
            Value::Str(text) => out.push(text),
            Value::Undefined(_) => Ok(()),
            _ => self.write_repr(out, meter),
        }
    }

    /// Writes `repr()` of the value.
    pub(super) fn write_repr(&self, out: &mut Writer, meter: &Meter) -> Eval<()> {
        meter.charge(1)?;
        match self {
            Value::Undefined(_) => out.push("Undefined"),
            Value::None => out.push("None"),
            Value::Bool(value) => out.push(if *value { "True" } else { "False" }),
            Value::Int(value) => out.push(&value.to_string()),
            Value::Float(value) => out.push(&float_text(*value)),
            Value::Str(text) => write_quoted(text, out),
            Value::List(list) => {
                out.push(if list.tuple { "(" } else { "[" })?;
                for (index, item) in list.items.iter().enumerate() {
                    if index > 0 {
                        out.push(", ")?;
                    }
                    item.write_repr(out, meter)?;
                }
                out.push(match (list.tuple, list.items.len()) {
                    (true, 1) => ",)",
                    (true, _) => ")",
                    (false, _) => "]",
                })
            }
            Value::Dict(dict) => {
                out.push("{")?;
                for (index, (key, value)) in dict.entries.iter().enumerate() {
                    if index > 0 {
                        out.push(", ")?;
                    }
                    key.write_repr(out, meter)?;
                    out.push(": ")?;
                    value.write_repr(out, meter)?;
                }
                out.push("}")
            }
            other => out.push(&format!("<{}>", other.type_name())),
        }
    }
}

/// The depth of a container of `values`, within the limit.
fn deeper<'v>(values: impl Iterator<Item = &'v Value>) -> Eval<u8> {
    match values.map(Value::depth).max().unwrap_or(0) {
        depth if depth < MAX_DEPTH => Ok(depth + 1),
        _ => Err(Fault::new(format!("values nested deeper than {MAX_DEPTH} levels"))),
    }
}

/// Entries with the later of equal keys; pays for the search.
pub(super) fn distinct(entries: Vec<(Value, Value)>, meter: &Meter) -> Eval<Vec<(Value, Value)>> {
    let mut kept: Vec<(Value, Value)> = Vec::new();
    for (key, value) in entries {
        if matches!(&key, Value::Dict(_) | Value::Namespace(_)) || matches!(&key, Value::List(list) if !list.tuple) {
            return Err(Fault::new(format!("unhashable type: '{}'", key.type_name())));
        }
        let mut found = None;
        for (index, (other, _)) in kept.iter().enumerate() {
            if other.equals(&key, meter)? {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => kept[index].1 = value,
            None => {
                meter.charge(STEP)?;
                kept.push((key, value));
            }
        }
    }
    Ok(kept)
}

/// A float as Python's `repr` writes it: the shortest digits that give the number back, with an exponent below -4 and
/// from 16 on.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()) {
        Some(exponent) if !(-4..16).contains(&exponent) => exponential(&scientific),
        _ => {
            let plain = value.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
    }
}

/// Text as Python's `repr` quotes it.
fn write_quoted(text: &str, out: &mut Writer) -> Eval<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    for char in text.chars() {
        let code = char as u32;
        match char {
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            '\\' => out.push("\\\\")?,
            _ if char == quote => {
                out.push("\\")?;
                out.push_char(char)?;
            }
            _ if is_printable(char) => out.push_char(char)?,
            _ if code < 0x100 => out.push(&format!("\\x{code:02x}"))?,
            _ if code < 0x1_0000 => out.push(&format!("\\u{code:04x}"))?,
            _ => out.push(&format!("\\U{code:08x}"))?,
        }
    }
    out.push_char(quote)
}

/// Whether Python prints the character as it is: no control, format, private or separating one.
fn is_printable(char: char) -> bool {
    char == ' '
        || !(char.is_control()
            || is_space(char)
            || matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'))
}
