//! Writing model files: version 3, aligned, streamed, so that a file may be larger than memory.

use super::cursor::quoted;
use super::directory;
use super::value::{Kind, Value};
use crate::error::{Error, Result};
use crate::tensor::Dtype;
use std::collections::HashSet;
use std::io::{self, Write};

/// A metadata value to be written.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum Item<'a> {
    U32(u32),
    U64(u64),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Strs(&'a [&'a [u8]]),
    F32s(&'a [f32]),
    I32s(&'a [i32]),
    /// A value of another file, as it is.
    Copy(&'a Value),
}

/// Declares a file, then writes it.
#[derive(Default)]
pub struct Writer {
    pairs: Vec<u8>,
    pair_count: u64,
    keys: HashSet<String>,
    names: HashSet<String>,
    tensors: Vec<(String, Dtype, Vec<u64>, u64)>,
}

/// Starts of tensors are a multiple of this, as files that name no alignment have it.
const ALIGNMENT: u64 = 32;

impl Writer {
    /// An empty file.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// A key that was added before.
    pub fn pair(&mut self, key: &str, item: Item) -> Result<()> {
        if !self.keys.insert(key.to_owned()) {
            return Err(Error::InvalidArgument(format!("metadata key {key} was added before")));
        }
        string(&mut self.pairs, key.as_bytes());
        put(&mut self.pairs, item);
        self.pair_count += 1;
        Ok(())
    }

    /// Declares the next tensor; `dims` are fastest first.
    ///
    /// # Errors
    /// A name or shape that a file cannot have; rows that are not whole blocks; a name that was declared before.
    pub fn tensor(&mut self, name: &str, dtype: Dtype, dims: &[u64]) -> Result<()> {
        let bytes = directory::check(name, dtype, dims)
            .map_err(|message| Error::InvalidArgument(format!("tensor {}: {message}", quoted(name))))?;
        if !self.names.insert(name.to_owned()) {
            return Err(Error::InvalidArgument(format!("tensor {name} was declared before")));
        }
        self.tensors.push((name.to_owned(), dtype, dims.to_vec(), bytes as u64));
        Ok(())
    }

    /// Writes the file; `fill` writes the bytes of each declared tensor, by its index.
    ///
    /// # Errors
    /// Of `out` and of `fill`; a tensor that was given another number of bytes than declared.
    pub fn write<W: Write>(&self, out: W, mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = Counted { out, count: 0 };
        let mut head = Vec::new();
        head.extend_from_slice(&super::MAGIC);
        head.extend_from_slice(&3u32.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&self.pair_count.to_le_bytes());
        head.extend_from_slice(&self.pairs);
        let mut offset = 0u64;
        for (name, dtype, dims, bytes) in &self.tensors {
            offset = offset.next_multiple_of(ALIGNMENT);
            string(&mut head, name.as_bytes());
            head.extend_from_slice(&(dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| head.extend_from_slice(&dim.to_le_bytes()));
            head.extend_from_slice(&dtype.id().to_le_bytes());
            head.extend_from_slice(&offset.to_le_bytes());
            offset += bytes;
        }
        out.write_all(&head)?;
        for (index, (name, _, _, bytes)) in self.tensors.iter().enumerate() {
            let padding = out.count.next_multiple_of(ALIGNMENT) - out.count;
            out.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
            let start = out.count;
            fill(index, &mut out)?;
            if out.count - start != *bytes {
                let message = format!("tensor {name}: {} bytes written, {bytes} declared", out.count - start);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        out.flush()
    }
}

/// Knows how much went through.
struct Counted<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Kind and bytes.
fn put(out: &mut Vec<u8>, item: Item) {
    let scalar = |out: &mut Vec<u8>, kind: Kind, bytes: &[u8]| {
        out.extend_from_slice(&(kind as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    let array = |out: &mut Vec<u8>, kind: Kind, len: usize| {
        out.extend_from_slice(&(Kind::Array as u32).to_le_bytes());
        out.extend_from_slice(&(kind as u32).to_le_bytes());
        out.extend_from_slice(&(len as u64).to_le_bytes());
    };
    match item {
        Item::U32(value) => scalar(out, Kind::U32, &value.to_le_bytes()),
        Item::U64(value) => scalar(out, Kind::U64, &value.to_le_bytes()),
        Item::I32(value) => scalar(out, Kind::I32, &value.to_le_bytes()),
        Item::F32(value) => scalar(out, Kind::F32, &value.to_le_bytes()),
        Item::Bool(value) => scalar(out, Kind::Bool, &[u8::from(value)]),
        Item::Str(text) => {
            scalar(out, Kind::String, &[]);
            string(out, text.as_bytes());
        }
        Item::Strs(texts) => {
            array(out, Kind::String, texts.len());
            texts.iter().for_each(|text| string(out, text));
        }
        Item::F32s(values) => {
            array(out, Kind::F32, values.len());
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        Item::I32s(values) => {
            array(out, Kind::I32, values.len());
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        Item::Copy(Value::Scalar(value)) => {
            scalar(out, value.kind(), &[]);
            value.write_le_bytes(out);
        }
        Item::Copy(Value::String(text)) => {
            scalar(out, Kind::String, &[]);
            string(out, text);
        }
        Item::Copy(Value::Array(values)) => {
            array(out, values.element(), values.len());
            out.extend_from_slice(values.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::File;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.pair("a.u32", Item::U32(7)).unwrap();
        writer.pair("a.i32", Item::I32(-7)).unwrap();
        writer.pair("a.f32", Item::F32(0.5)).unwrap();
        writer.pair("a.bool", Item::Bool(true)).unwrap();
        writer.pair("a.text", Item::Str("grüße")).unwrap();
        writer.pair("a.texts", Item::Strs(&[b"x", b"", b"\xff"])).unwrap();
        writer.pair("a.numbers", Item::F32s(&[1.0, -2.0])).unwrap();
        writer.pair("a.ids", Item::I32s(&[3, -1])).unwrap();
        assert!(writer.pair("a.u32", Item::U32(8)).is_err());
        writer.tensor("odd", Dtype::F32, &[3]).unwrap();
        writer.tensor("matrix", Dtype::Q4_0, &[64, 5]).unwrap();
        assert!(writer.tensor("ragged", Dtype::Q4_0, &[33]).is_err());
        assert!(writer.tensor("empty", Dtype::F32, &[4, 0]).is_err());
        assert!(writer.tensor("odd", Dtype::F32, &[3]).is_err());
        let contents = [vec![1u8; 12], vec![2u8; 36 * 5]];
        let write = |writer: &Writer| {
            let mut bytes = Vec::new();
            writer.write(&mut bytes, |index, out| out.write_all(&contents[index])).unwrap();
            bytes
        };
        let bytes = write(&writer);

        let file = File::from_bytes(bytes.clone()).unwrap();
        let metadata = file.metadata();
        assert_eq!(metadata.u32("a.u32").unwrap(), Some(7));
        assert_eq!(metadata.i32s("a.ids").unwrap(), Some(vec![3, -1]));
        assert_eq!(metadata.f32s("a.numbers").unwrap(), Some(vec![1.0, -2.0]));
        assert_eq!(metadata.str("a.text").unwrap(), Some("grüße"));
        assert_eq!(metadata.bool("a.bool").unwrap(), Some(true));
        let texts = metadata.strings("a.texts").unwrap().unwrap();
        assert!(texts.iter().eq([&b"x"[..], b"", b"\xff"]));
        for (tensor, content) in file.tensors().iter().zip(&contents) {
            assert_eq!(file.data(tensor), content);
            assert_eq!(tensor.offset % 32, 0);
        }
        assert_eq!(file.tensor("matrix").unwrap().dims, [64, 5]);

        // A copy of every value gives the same file.
        let mut copy = Writer::new();
        for index in 0..metadata.len() {
            let (key, value) = metadata.entry(index).unwrap();
            copy.pair(key, Item::Copy(value)).unwrap();
        }
        for tensor in file.tensors() {
            copy.tensor(&tensor.name, tensor.dtype, &tensor.dims).unwrap();
        }
        assert!(write(&copy) == bytes);
    }
}
