//! The metadata of a file: an ordered table of keys and values, with typed look-ups.

use super::cursor::{Cursor, malformed, quoted};
use super::value::{Array, Scalar, Strings, Value};
use crate::error::{Error, Result, ResultExt};

/// Longest key the format allows, in bytes.
const MAX_KEY: usize = 65_535;
/// Most keys this reader takes; files have some dozens.
const MAX_KEYS: usize = 1 << 16;
/// Bytes of the smallest entry: length and byte of a key, type and byte of a value.
const MIN_ENTRY: u64 = 8 + 1 + 4 + 1;

/// Metadata: keys with values, in the order of the file, each key once.
#[derive(Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Indices of entries, sorted by key.
    order: Vec<u32>,
}

impl Metadata {
    /// Reads the key count was and the entries. The tensor count stands before it.
    pub(super) fn parse(cursor: &mut Cursor) -> Result<Metadata> {
        let at = cursor.position() as u64;
        let count = cursor.count("metadata keys", MIN_ENTRY)?;
        if count > MAX_KEYS {
            return Err(malformed(at, format!("{count} metadata keys (at most {MAX_KEYS} are allowed)")));
        }
        let mut entries = Vec::new();
        let mut offsets = Vec::new();
        entries.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        offsets.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        for i in 0..count {
            offsets.push(cursor.position() as u64);
            let key = cursor.name("metadata key", MAX_KEY).context_with(|| format!("metadata key {i}"))?;
            let value = Value::parse(cursor).context_with(|| format!("metadata key {}", quoted(key)))?;
            entries.push((super::owned(key)?, value));
        }
        let (order, twice) = super::sorted(count, |i| entries[i].0.as_str())?;
        if let Some(i) = twice {
            return Err(malformed(offsets[i], format!("metadata key {} stands twice", quoted(&entries[i].0))));
        }
        Ok(Metadata { entries, order })
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Key and value number `i`, in the order of the file.
    #[must_use]
    pub fn entry(&self, i: usize) -> Option<(&str, &Value)> {
        self.entries.get(i).map(|(key, value)| (key.as_str(), value))
    }

    /// Keys and values, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Bytes of memory that the table takes, about; what it leaves in the file is not counted.
    #[must_use]
    pub fn size(&self) -> usize {
        let ends = |value: &Value| match value {
            Value::Array(Array::Strings(strings)) => strings.len() * size_of::<u32>(),
            _ => 0,
        };
        let entry = |(key, value): &(String, Value)| size_of::<(String, Value)>() + size_of::<u32>() + key.len() + ends(value);
        self.entries.iter().map(entry).sum()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let i = super::find(&self.order, key, |i| self.entries[i].0.as_str())?;
        Some(&self.entries[i].1)
    }

    /// The value of `key` as `convert` sees it; an error when it sees nothing.
    fn typed<'a, T>(&'a self, key: &str, wanted: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => {
                let found = match value {
                    Value::Scalar(scalar) => format!("{} {scalar}", scalar.kind()),
                    Value::String(_) => "string".to_owned(),
                    Value::Array(array) => format!("array of {} {}", array.len(), array.element()),
                };
                Err(Error::InvalidModel(format!("metadata key \"{key}\" is {found}, not {wanted}")))
            }
        }
    }

    /// An integer of any width that fits `T`.
    fn integer<T: TryFrom<i128>>(&self, key: &str, wanted: &str) -> Result<Option<T>> {
        self.typed(key, wanted, |value| match value {
            Value::Scalar(scalar) => T::try_from(scalar.integer()?).ok(),
            _ => None,
        })
    }

    /// The elements of an array of scalars, all of which `convert` must take.
    fn numbers<T>(&self, key: &str, wanted: &str, convert: impl Fn(Scalar) -> Option<T>) -> Result<Option<Vec<T>>> {
        let array = self.typed(key, wanted, |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })?;
        let mut vec = Vec::new();
        match array {
            None => return Ok(None),
            Some(Array::Numbers(numbers)) => {
                vec.try_reserve_exact(numbers.len()).map_err(|_| Error::OutOfMemory)?;
                vec.extend(numbers.iter().map_while(convert));
            }
            Some(_) => {}
        }
        self.typed(key, wanted, |value| matches!(value, Value::Array(array) if array.len() == vec.len()).then_some(()))?;
        Ok(Some(vec))
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] when `key` has a value of another type, or one that is not UTF-8. A missing key is `None`
    /// here and in all look-ups.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        let bytes = self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })?;
        bytes.map(|bytes| std::str::from_utf8(bytes)).transpose().map_err(|error| {
            let offset = error.valid_up_to();
            Error::InvalidModel(format!("metadata key \"{key}\" is not valid UTF-8 at byte {offset}"))
        })
    }

    /// An unsigned integer; any width that fits.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] when the value is of another type or does not fit. The same holds for all look-ups.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key, "an unsigned 32-bit integer")
    }

    /// As [`Metadata::u32`], of 64 bits.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.integer(key, "an unsigned 64-bit integer")
    }

    /// A number of any kind, rounded to f32.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a number", |value| match value {
            Value::Scalar(scalar) => scalar.number(),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Scalar(Scalar::Bool(value)) => Some(*value),
            _ => None,
        })
    }

    /// An array of strings, where it stands in the file.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn strings(&self, key: &str) -> Result<Option<Strings>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(strings)) => Some(strings.clone()),
            _ => None,
        })
    }

    /// An array of numbers, rounded to f32.
    ///
    /// # Errors
    /// As [`Metadata::u32`], and [`Error::OutOfMemory`].
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.numbers(key, "an array of numbers", Scalar::number)
    }

    /// An array of integers, all of which fit.
    ///
    /// # Errors
    /// As [`Metadata::f32s`].
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.numbers(key, "an array of 32-bit integers", |scalar| scalar.integer()?.try_into().ok())
    }

    /// As [`Metadata::i32s`], unsigned.
    ///
    /// # Errors
    /// As [`Metadata::f32s`].
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.numbers(key, "an array of unsigned 32-bit integers", |scalar| scalar.integer()?.try_into().ok())
    }
}
