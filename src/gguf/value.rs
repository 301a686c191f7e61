//! Metadata values: scalars by value, strings and arrays as views of the file.

use super::cursor::{Cursor, malformed};
use super::map::View;
use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Arrays inside arrays inside arrays: deeper than this nobody nests, and recursion must end.
const MAX_DEPTH: usize = 8;
/// Bytes of the smallest array: its element type and length.
const ARRAY_HEADER: u64 = 12;
/// Bytes of the smallest string: its length.
const STRING_HEADER: u64 = 8;
/// How many elements of an array are printed.
const SHOWN: usize = 8;

macro_rules! types {
    ($($variant:ident = $id:literal, $name:literal;)*) => {
        /// The kinds of metadata values, numbered as in files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $(#[doc = concat!("GGUF value type ", $id)] $variant = $id,)* }

        impl Kind {
            /// The type with this number in a GGUF file.
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Kind> {
                match id { $($id => Some(Kind::$variant),)* _ => None }
            }

            /// Its name in messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

types! {
    U8 = 0, "u8";
    I8 = 1, "i8";
    U16 = 2, "u16";
    I16 = 3, "i16";
    U32 = 4, "u32";
    I32 = 5, "i32";
    F32 = 6, "f32";
    Bool = 7, "bool";
    String = 8, "string";
    Array = 9, "array";
    U64 = 10, "u64";
    I64 = 11, "i64";
    F64 = 12, "f64";
}

impl Kind {
    /// Bytes of a scalar of this type; `None` for strings and arrays.
    #[must_use]
    pub const fn size(self) -> Option<usize> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::String | Kind::Array => None,
        }
    }

    fn parse(cursor: &mut Cursor) -> Result<Kind> {
        let at = cursor.position() as u64;
        let id = cursor.u32()?;
        Kind::from_id(id).ok_or_else(|| malformed(at, format!("unknown value type {id}")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value. `Display` prints scalars and strings in full (bytes that are not UTF-8 as U+FFFD), long arrays
/// abbreviated.
#[derive(Clone)]
pub enum Value {
    /// A number or a truth value.
    Scalar(Scalar),
    /// A string; the format asks for UTF-8, files do not always comply.
    String(View),
    /// An array.
    Array(Array),
}

macro_rules! scalars {
    ($($kind:ident($type:ty);)*) => {
        /// A number or a truth value.
        #[allow(missing_docs, reason = "the names say it all")]
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Scalar { $($kind($type),)* Bool(bool) }

        impl Scalar {
            /// The scalar of `kind` in `bytes`, which must have its size; `None` for a truth value other than 0 and 1.
            fn from_le_bytes(kind: Kind, bytes: &[u8]) -> Option<Scalar> {
                match (kind, bytes) {
                    $((Kind::$kind, _) => Some(Scalar::$kind(<$type>::from_le_bytes(bytes.try_into().ok()?))),)*
                    (Kind::Bool, [bit @ 0..=1]) => Some(Scalar::Bool(*bit == 1)),
                    (Kind::Bool | Kind::String | Kind::Array, _) => None,
                }
            }

            /// Appends the bytes of the scalar to `out`.
            pub(super) fn write_le_bytes(self, out: &mut Vec<u8>) {
                match self {
                    $(Scalar::$kind(x) => out.extend_from_slice(&x.to_le_bytes()),)*
                    Scalar::Bool(x) => out.push(x.into()),
                }
            }

            /// The kind.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Scalar::$kind(_) => Kind::$kind,)* Scalar::Bool(_) => Kind::Bool }
            }
        }

        impl fmt::Display for Scalar {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    // Debug: floats as the shortest text that reads back the same, with exponents for the extremes.
                    $(Scalar::$kind(x) => write!(f, "{x:?}"),)*
                    Scalar::Bool(x) => x.fmt(f),
                }
            }
        }
    };
}

scalars! {
    U8(u8);
    I8(i8);
    U16(u16);
    I16(i16);
    U32(u32);
    I32(i32);
    U64(u64);
    I64(i64);
    F32(f32);
    F64(f64);
}

/// An array of values of one type.
#[derive(Clone)]
pub enum Array {
    /// Numbers or truth values.
    Numbers(Numbers),
    /// Strings.
    Strings(Strings),
    /// Arrays, each with an element type of its own.
    Arrays(Arrays),
}

/// An array of numbers or truth values.
#[derive(Clone)]
pub struct Numbers {
    element: Kind,
    view: View,
}

/// An array of strings: a view of the file and a table of where each string ends in it.
#[derive(Clone)]
pub struct Strings {
    /// Length prefixes included.
    view: View,
    ends: Arc<[u32]>,
}

/// An array of arrays, checked when the file was opened and read again when asked for.
#[derive(Clone)]
pub struct Arrays {
    len: usize,
    view: View,
}

impl Value {
    /// Reads a type and a value of it.
    pub(super) fn parse(cursor: &mut Cursor) -> Result<Value> {
        let kind = Kind::parse(cursor)?;
        match kind.size() {
            Some(size) => {
                let at = cursor.position() as u64;
                let bytes = cursor.take(size as u64)?;
                let scalar = Scalar::from_le_bytes(kind, bytes).ok_or_else(|| not_bool(at, bytes))?;
                Ok(Value::Scalar(scalar))
            }
            None if kind == Kind::String => {
                let len = cursor.string()?.len();
                Ok(Value::String(cursor.view(cursor.position() - len..cursor.position())))
            }
            None => Array::parse(cursor, 0).map(Value::Array),
        }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Value::Scalar(scalar) => scalar.kind(),
            Value::String(_) => Kind::String,
            Value::Array(_) => Kind::Array,
        }
    }
}

impl Scalar {
    /// The value of an integer of any width.
    #[must_use]
    pub fn integer(self) -> Option<i128> {
        match self {
            Scalar::U8(x) => Some(x.into()),
            Scalar::I8(x) => Some(x.into()),
            Scalar::U16(x) => Some(x.into()),
            Scalar::I16(x) => Some(x.into()),
            Scalar::U32(x) => Some(x.into()),
            Scalar::I32(x) => Some(x.into()),
            Scalar::U64(x) => Some(x.into()),
            Scalar::I64(x) => Some(x.into()),
            Scalar::F32(_) | Scalar::F64(_) | Scalar::Bool(_) => None,
        }
    }

    /// The value of a number of any kind, rounded to f32.
    #[must_use]
    pub fn number(self) -> Option<f32> {
        match self {
            Scalar::F32(x) => Some(x),
            Scalar::F64(x) => Some(x as f32),
            _ => self.integer().map(|x| x as f32),
        }
    }
}

impl Array {
    /// Reads an element type, a length and the elements; `depth` counts the arrays around this one.
    fn parse(cursor: &mut Cursor, depth: usize) -> Result<Array> {
        if depth == MAX_DEPTH {
            return Err(Error::Unsupported(format!("arrays nested more than {MAX_DEPTH} deep")));
        }
        let element = Kind::parse(cursor)?;
        let size = match element {
            Kind::String => STRING_HEADER,
            Kind::Array => ARRAY_HEADER,
            _ => element.size().unwrap_or(1) as u64,
        };
        let len = cursor.count("array elements", size)?;
        let start = cursor.position();
        match element {
            Kind::String => Strings::parse(cursor, len).map(Array::Strings),
            Kind::Array => {
                for _ in 0..len {
                    Array::parse(cursor, depth + 1)?;
                }
                Ok(Array::Arrays(Arrays { len, view: cursor.view(start..cursor.position()) }))
            }
            _ => {
                let bytes = cursor.take(len as u64 * size)?;
                let wrong = if element == Kind::Bool { bytes.iter().position(|&byte| byte > 1) } else { None };
                if let Some(i) = wrong {
                    return Err(not_bool((start + i) as u64, &bytes[i..=i]));
                }
                Ok(Array::Numbers(Numbers { element, view: cursor.view(start..cursor.position()) }))
            }
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Array::Numbers(numbers) => numbers.len(),
            Array::Strings(strings) => strings.len(),
            Array::Arrays(arrays) => arrays.len,
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    #[must_use]
    pub fn element(&self) -> Kind {
        match self {
            Array::Numbers(numbers) => numbers.element,
            Array::Strings(_) => Kind::String,
            Array::Arrays(_) => Kind::Array,
        }
    }

    /// The elements as they stand in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Array::Numbers(numbers) => &numbers.view,
            Array::Strings(strings) => &strings.view,
            Array::Arrays(arrays) => &arrays.view,
        }
    }
}

impl Numbers {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len() / self.element.size().unwrap_or(1)
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = Scalar> {
        let size = self.element.size().unwrap_or(1);
        self.view.chunks_exact(size).filter_map(|bytes| Scalar::from_le_bytes(self.element, bytes))
    }
}

impl Strings {
    fn parse(cursor: &mut Cursor, len: usize) -> Result<Strings> {
        let start = cursor.position();
        let mut ends = Vec::new();
        ends.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
        for _ in 0..len {
            cursor.string()?;
            let end = u32::try_from(cursor.position() - start)
                .map_err(|_| Error::Unsupported("an array of strings of more than 4 GiB".to_owned()))?;
            ends.push(end);
        }
        Ok(Strings { view: cursor.view(start..cursor.position()), ends: ends.into() })
    }

    /// The number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all strings together.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.view.len().saturating_sub(self.len() * STRING_HEADER as usize)
    }

    /// String number `i`, which need not be UTF-8.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let before = i.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |&end| end as usize);
        self.view.get(before + STRING_HEADER as usize..end)
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

impl Arrays {
    /// The number of arrays.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no arrays.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The arrays, in order. They were checked before, so an error here is [`Error::OutOfMemory`].
    pub fn iter(&self) -> impl Iterator<Item = Result<Array>> {
        let mut cursor = Cursor::over(&self.view);
        (0..self.len).map(move |_| Array::parse(&mut cursor, 1))
    }
}

fn not_bool(offset: u64, bytes: &[u8]) -> Error {
    malformed(offset, format!("a bool is 0 or 1, not {}", bytes.first().copied().unwrap_or_default()))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Scalar(scalar) => scalar.fmt(f),
            Value::String(text) => lossy(text, f),
            Value::Array(array) => array.fmt(f),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind())
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        let comma = |i: usize, f: &mut fmt::Formatter<'_>| f.write_str(if i > 0 { ", " } else { "" });
        match self {
            Array::Numbers(numbers) => numbers.iter().take(SHOWN).enumerate().try_for_each(|(i, number)| {
                comma(i, f)?;
                number.fmt(f)
            }),
            Array::Strings(strings) => strings.iter().take(SHOWN).enumerate().try_for_each(|(i, text)| {
                comma(i, f)?;
                write!(f, "{:?}", String::from_utf8_lossy(text))
            }),
            Array::Arrays(arrays) => arrays.iter().take(SHOWN).enumerate().try_for_each(|(i, array)| {
                comma(i, f)?;
                array.map_err(|_| fmt::Error)?.fmt(f)
            }),
        }?;
        if self.len() > SHOWN {
            write!(f, ", ... {} in all", self.len())?;
        }
        f.write_str("]")
    }
}

fn lossy(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        f.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            f.write_str("\u{fffd}")?;
        }
    }
    Ok(())
}
