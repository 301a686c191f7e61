//! Metadata values. Arrays stay where they are in the file: they are validated once and read in place.

use super::cursor::{Cursor, malformed};
use super::map::Bytes;
use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The kinds of values, numbered as in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u32)]
pub enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::U8,
        Kind::I8,
        Kind::U16,
        Kind::I16,
        Kind::U32,
        Kind::I32,
        Kind::F32,
        Kind::Bool,
        Kind::String,
        Kind::Array,
        Kind::U64,
        Kind::I64,
        Kind::F64,
    ];

    /// Its name in messages and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"][self as usize]
    }

    /// Least bytes of a value in a file: all of it, but for strings and arrays.
    const fn size(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::String => 8,
            Kind::Array => 12,
        }
    }

    pub(super) fn read(cursor: &mut Cursor) -> Result<Kind> {
        let place = cursor.at;
        let id = cursor.u32("a value type")?;
        let kind = usize::try_from(id).ok().and_then(|id| Kind::ALL.get(id).copied());
        kind.ok_or_else(|| malformed(place, format!("unknown value type {id}")))
    }
}

/// A metadata value.
#[derive(Clone)]
pub enum Value {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// Truth value.
    Bool(bool),
    /// Text; bytes that are not UTF-8 were replaced.
    String(Box<str>),
    /// Several values of one kind.
    Array(Array),
}

/// An array in its file.
#[derive(Clone)]
pub struct Array {
    kind: Kind,
    len: usize,
    bytes: Arc<Bytes>,
    /// The elements, as they stand in the file.
    range: Range<usize>,
    /// Where each string starts, for arrays of strings.
    starts: Arc<[usize]>,
}

/// Arrays may hold arrays, but not without end.
const MAX_DEPTH: u32 = 4;

impl Value {
    pub(super) fn read(cursor: &mut Cursor, bytes: &Arc<Bytes>) -> Result<Value> {
        let kind = Kind::read(cursor)?;
        if kind == Kind::Array {
            return Ok(Value::Array(Array::read(cursor, bytes, 0)?));
        }
        let place = cursor.at;
        if kind == Kind::String {
            return Ok(Value::String(String::from_utf8_lossy(cursor.string("a string")?).into()));
        }
        scalar(kind, cursor.take(kind.size(), "a value")?).ok_or_else(|| malformed(place, "a truth value is neither 0 nor 1"))
    }

    /// The kind, for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Value::Unsigned(_) => "unsigned integer",
            Value::Signed(_) => "signed integer",
            Value::F32(_) | Value::F64(_) => "float",
            Value::Bool(_) => "bool",
            Value::String(_) => "string",
            Value::Array(_) => "array",
        }
    }

    /// As an unsigned integer, if it is one that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(value) => Some(value),
            Value::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// As a number of any kind.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Unsigned(value) => Some(value as f64),
            Value::Signed(value) => Some(value as f64),
            Value::F32(value) => Some(f64::from(value)),
            Value::F64(value) => Some(value),
            _ => None,
        }
    }
}

/// The value of the kind's bytes; `None` for a truth value other than 0 and 1, and for what is no scalar.
fn scalar(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let raw = u64::from_le_bytes(wide);
    Some(match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Value::Unsigned(raw),
        Kind::I8 => Value::Signed(i64::from(raw as i8)),
        Kind::I16 => Value::Signed(i64::from(raw as i16)),
        Kind::I32 => Value::Signed(i64::from(raw as i32)),
        Kind::I64 => Value::Signed(raw as i64),
        Kind::F32 => Value::F32(f32::from_bits(raw as u32)),
        Kind::F64 => Value::F64(f64::from_bits(raw)),
        Kind::Bool if raw <= 1 => Value::Bool(raw == 1),
        Kind::Bool | Kind::String | Kind::Array => return None,
    })
}

impl Array {
    fn read(cursor: &mut Cursor, bytes: &Arc<Bytes>, depth: u32) -> Result<Array> {
        if depth == MAX_DEPTH {
            return Err(cursor.error(format!("arrays are nested more than {MAX_DEPTH} deep")));
        }
        let kind = Kind::read(cursor)?;
        let len = cursor.count(kind.size(), "the length of an array")?;
        let start = cursor.at;
        let mut starts = Vec::new();
        match kind {
            Kind::String => {
                starts.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
                for _ in 0..len {
                    starts.push(cursor.at);
                    cursor.string("a string of an array")?;
                }
            }
            Kind::Array => {
                for _ in 0..len {
                    Array::read(cursor, bytes, depth + 1)?;
                }
            }
            Kind::Bool => {
                let values = cursor.take(len, "an array")?;
                if let Some(at) = values.iter().position(|&value| value > 1) {
                    return Err(malformed(start + at, "a truth value is neither 0 nor 1"));
                }
            }
            // `count` checked the product.
            _ => drop(cursor.take(len * kind.size(), "an array")?),
        }
        Ok(Array { kind, len, bytes: Arc::clone(bytes), range: start..cursor.at, starts: starts.into() })
    }

    /// The kind of the elements.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of an array of scalars; none for strings and arrays.
    pub fn scalars(&self) -> impl Iterator<Item = Value> + '_ {
        let kind = self.kind;
        let bytes = if matches!(kind, Kind::String | Kind::Array) { &[] } else { self.raw() };
        bytes.chunks_exact(kind.size()).filter_map(move |bytes| scalar(kind, bytes))
    }

    /// The elements as they stand in the file, little-endian.
    pub(super) fn raw(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    /// The view of an array of strings.
    #[must_use]
    pub fn strings(&self) -> Option<Strings> {
        (self.kind == Kind::String).then(|| Strings { bytes: Arc::clone(&self.bytes), starts: Arc::clone(&self.starts) })
    }
}

/// An array of strings in its file. Strings may be any bytes.
#[derive(Clone)]
pub struct Strings {
    bytes: Arc<Bytes>,
    starts: Arc<[usize]>,
}

impl Strings {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The string at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = *self.starts.get(index)?;
        // Validated when the array was read; read again without trust, because a mapped file can change.
        Cursor::new(&self.bytes, start).string("a string").ok()
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

/// Elements of an array that a listing shows.
const SHOWN: usize = 8;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(value) => write!(f, "{value}"),
            Value::Signed(value) => write!(f, "{value}"),
            Value::F32(value) => write!(f, "{value}"),
            Value::F64(value) => write!(f, "{value}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::String(value) => f.write_str(value),
            Value::Array(array) => write!(f, "{array}"),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] [", self.kind.name(), self.len)?;
        let separator = |index: usize| if index == 0 { "" } else { ", " };
        for (index, value) in self.scalars().take(SHOWN).enumerate() {
            write!(f, "{}{value}", separator(index))?;
        }
        if let Some(strings) = self.strings() {
            for (index, string) in strings.iter().take(SHOWN).enumerate() {
                write!(f, "{}{:?}", separator(index), String::from_utf8_lossy(string))?;
            }
        }
        f.write_str(if self.len > SHOWN || self.kind == Kind::Array { ", ...]" } else { "]" })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind_name())
    }
}
