//! The key-value part of a file.

use super::cursor::{Cursor, malformed};
use super::map::Bytes;
use super::value::{Kind, Strings, Value};
use crate::error::{Error, Result, ResultExt};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys and values, in the order of the file.
pub struct Metadata {
    entries: Vec<(Box<str>, Value)>,
    index: HashMap<Box<str>, usize>,
}

/// Longest key, as the format says.
const MAX_KEY: usize = 65535;

impl Metadata {
    /// Reads `count` pairs.
    pub(super) fn read(cursor: &mut Cursor, bytes: &Arc<Bytes>, count: usize) -> Result<Metadata> {
        let mut metadata = Metadata { entries: Vec::new(), index: HashMap::new() };
        for _ in 0..count {
            let place = cursor.at;
            let key = cursor.name("a metadata key", MAX_KEY)?;
            let value = Value::read(cursor, bytes).context_with(|| format!("metadata key {key}"))?;
            if metadata.index.insert(key.into(), metadata.entries.len()).is_some() {
                return Err(malformed(place, format!("metadata key {key} stands twice")));
            }
            metadata.entries.push((key.into(), value));
        }
        Ok(metadata)
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pair at `index`, in the order of the file.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<(&str, &Value)> {
        self.entries.get(index).map(|(key, value)| (&**key, value))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&index| self.entry(index)).map(|(_, value)| value)
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(Error::InvalidModel(format!("metadata key {key}: expected {expected}, found {}", brief(value)))),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// A value of another kind; likewise below.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(&**text),
            _ => None,
        })
    }

    /// An integer of any width that fits.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a 32-bit unsigned integer", |value| value.as_u64()?.try_into().ok())
    }

    /// An integer of any width.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an unsigned integer", Value::as_u64)
    }

    /// A number of any kind.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a number", |value| Some(value.as_f64()? as f32))
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// An array of strings, read in place.
    pub fn strings(&self, key: &str) -> Result<Option<Strings>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(array) => array.strings(),
            _ => None,
        })
    }

    /// An array of numbers.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.numbers(key, "an array of numbers", |value| Some(value.as_f64()? as f32))
    }

    /// An array of integers.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.numbers(key, "an array of 32-bit integers", |value| match value {
            Value::Signed(value) => value.try_into().ok(),
            value => value.as_u64()?.try_into().ok(),
        })
    }

    /// An array of integers.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.numbers(key, "an array of 32-bit unsigned integers", |value| value.as_u64()?.try_into().ok())
    }

    fn numbers<T>(&self, key: &str, expected: &str, convert: impl Fn(Value) -> Option<T>) -> Result<Option<Vec<T>>> {
        let Some(Value::Array(array)) = self.get(key).filter(|value| matches!(value, Value::Array(_))) else {
            return self.typed(key, expected, |_| None);
        };
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(array.len()).map_err(|_| Error::OutOfMemory)?;
        numbers.extend(array.scalars().map_while(convert));
        // Fewer where a value did not convert, or where the elements are no scalars at all.
        if numbers.len() == array.len() && !matches!(array.kind(), Kind::String | Kind::Array) {
            return Ok(Some(numbers));
        }
        self.typed(key, expected, |_| None)
    }
}

/// A value for a message: not a novel.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    let shown: String = text.chars().take(60).collect();
    format!("{} {shown}{}", value.kind_name(), if shown.len() < text.len() { "..." } else { "" })
}
