//! A model file that can be edited into what no writer would write.

use crate::raw;
use arbitrary::{Result, Unstructured};

/// A file in parts.
#[derive(Clone)]
pub struct Draft {
    version: u32,
    /// What the header says, if it is not the truth.
    counts: [Option<u64>; 2],
    pairs: Vec<Pair>,
    tensors: Vec<Tensor>,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Pair {
    key: String,
    kind: u32,
    value: Vec<u8>,
}

#[derive(Clone)]
struct Tensor {
    name: String,
    dims: Vec<u64>,
    dtype: u32,
    offset: u64,
}

/// Texts that mean something to some key.
const WORDS: &[&str] = &[
    "llama", "gpt2", "bert", "t5", "rwkv", "no_vocab", "none", "plamo2", "default", "gpt-2", "llama-bpe", "qwen2", "tekken", "gemma2",
    "gpt-oss", "deepseek2", "lfm2", "bloom", "gptneox", "phi3", "qwen3moe", "olmo2", "yarn", "linear", "longrope", "", "{{", "{{ 1/0 }}",
    "{% for i in range(99999) %}{{ i }}{% endfor %}", "{{ messages[0]['content'] * 100000 }}",
];

/// Numbers at which something ends.
const NUMBERS: &[u64] = &[
    0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 63, 64, 65, 100, 128, 255, 256, 257, 4096, 65_535, 65_536, 1 << 20, (1 << 31) - 1, 1 << 31,
    0xffff_fffe, 0xffff_ffff, 1 << 32, (1 << 32) + 1, 1 << 40, 1 << 60, 1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX - 31, u64::MAX - 1,
    u64::MAX, 0x7fc0_0000, 0x7f80_0000, 0xff80_0000, 0xbf80_0000, 0x3f80_0000, 0x7149_f2ca, 1,
];

fn number(u: &mut Unstructured) -> Result<u64> {
    Ok(match u.int_in_range(0..=3)? {
        0 => u64::from(u.arbitrary::<u8>()?),
        1 => u.arbitrary()?,
        _ => *u.choose(NUMBERS)?,
    })
}

/// Up to 64 bytes, or a word.
fn text(u: &mut Unstructured) -> Result<Vec<u8>> {
    if u.ratio(2, 3)? {
        return Ok(u.choose(WORDS)?.as_bytes().to_vec());
    }
    let len = u.int_in_range(0..=64)?;
    Ok(u.bytes(usize::min(len, u.len()))?.to_vec())
}

fn index(u: &mut Unstructured, len: usize) -> Result<usize> {
    if len == 0 { Err(arbitrary::Error::IncorrectFormat) } else { u.choose_index(len) }
}

/// Bytes of a scalar, 0 for what has no fixed size.
fn size(kind: u32) -> usize {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => 0,
    }
}

/// Reads forward through a file that is right.
struct Reader<'a>(&'a [u8], usize);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        self.1 += len;
        &self.0[self.1 - len..self.1]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let len = self.u64() as usize;
        String::from_utf8_lossy(self.take(len)).into_owned()
    }

    fn value(&mut self, kind: u32) -> &'a [u8] {
        let start = self.1;
        match kind {
            raw::STRING => _ = self.text(),
            raw::ARRAY => {
                let (kind, len) = (self.u32(), self.u64());
                (0..len).for_each(|_| _ = self.value(kind));
            }
            _ => _ = self.take(size(kind)),
        }
        &self.0[start..self.1]
    }
}

impl Draft {
    /// The parts of a good file.
    pub fn read(bytes: &[u8]) -> Draft {
        let mut reader = Reader(bytes, 4);
        let (version, tensors, pairs) = (reader.u32(), reader.u64(), reader.u64());
        let pairs = (0..pairs).map(|_| {
            let (key, kind) = (reader.text(), reader.u32());
            Pair { key, kind, value: reader.value(kind).to_vec() }
        });
        let pairs = pairs.collect();
        let tensors = (0..tensors).map(|_| {
            let (name, rank) = (reader.text(), reader.u32());
            let dims = (0..rank).map(|_| reader.u64()).collect();
            Tensor { name, dims, dtype: reader.u32(), offset: reader.u64() }
        });
        let tensors = tensors.collect();
        let data = bytes.get(reader.1.next_multiple_of(32)..).unwrap_or_default().to_vec();
        Draft { version, counts: [None; 2], pairs, tensors, data }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let [tensors, pairs] = self.counts;
        let mut bytes =
            raw::header(self.version, tensors.unwrap_or(self.tensors.len() as u64), pairs.unwrap_or(self.pairs.len() as u64));
        bytes.extend(self.pairs.iter().flat_map(|pair| raw::pair(&pair.key, pair.kind, &pair.value)));
        bytes.extend(self.tensors.iter().flat_map(|tensor| raw::tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.offset)));
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    /// Gives a key the value of a text.
    pub fn set_text(&mut self, key: &str, text: &[u8]) {
        self.pairs.retain(|pair| pair.key != key);
        self.pairs.push(Pair { key: key.to_owned(), kind: raw::STRING, value: raw::text(text) });
    }

    /// Changes one thing; `others` are where keys are taken from.
    pub fn edit(&mut self, u: &mut Unstructured, others: &[Draft]) -> Result<()> {
        match u.int_in_range(0..=13)? {
            0 => {
                let pair = index(u, self.pairs.len())?;
                let pair = &mut self.pairs[pair];
                if u.ratio(1, 4)? {
                    pair.kind = *u.choose(&[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12])?;
                }
                if size(pair.kind) > 0 {
                    pair.value = number(u)?.to_le_bytes()[..size(pair.kind)].to_vec();
                }
            }
            1 => {
                let pair = index(u, self.pairs.len())?;
                self.pairs[pair].kind = u.int_in_range(0..=14)?;
            }
            2 => {
                let pair = index(u, self.pairs.len())?;
                self.pairs.remove(pair);
            }
            3 => {
                let other = &others[index(u, others.len())?];
                let pair = index(u, other.pairs.len())?;
                self.pairs.push(other.pairs[pair].clone());
            }
            4 => {
                let (from, to) = (index(u, self.pairs.len())?, index(u, self.pairs.len())?);
                self.pairs[to].key = self.pairs[from].key.clone();
            }
            5 => {
                let pair = index(u, self.pairs.len())?;
                let text = raw::text(&text(u)?);
                let pair = &mut self.pairs[pair];
                (pair.kind, pair.value) = (raw::STRING, text);
            }
            6 => {
                let pair = index(u, self.pairs.len())?;
                let (kind, len) = (u.int_in_range(0..=13)?, u.int_in_range(0..=12)?);
                let mut elements = Vec::new();
                for _ in 0..len {
                    match kind {
                        raw::STRING => elements.extend(raw::text(&text(u)?)),
                        raw::ARRAY => elements.extend(raw::array(u.int_in_range(0..=13)?, 0, &[])),
                        _ => elements.extend(&number(u)?.to_le_bytes()[..size(kind)]),
                    }
                }
                let len = if u.ratio(1, 8)? { number(u)? } else { len };
                let pair = &mut self.pairs[pair];
                (pair.kind, pair.value) = (raw::ARRAY, raw::array(kind, len, &elements));
            }
            7 => {
                // Inside a value: an element of an array, a length, a letter.
                let pair = index(u, self.pairs.len())?;
                let value = &mut self.pairs[pair].value;
                let (at, number) = (index(u, value.len())?, number(u)?.to_le_bytes());
                let width = u.int_in_range(1..=8)?;
                value.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            8 => {
                let tensor = index(u, self.tensors.len())?;
                let tensor = &mut self.tensors[tensor];
                tensor.dtype = if u.ratio(7, 8)? { u.int_in_range(0..=41)? } else { number(u)? as u32 };
            }
            9 => {
                let tensor = index(u, self.tensors.len())?;
                let dims = &mut self.tensors[tensor].dims;
                match u.int_in_range(0..=3)? {
                    0 => dims.push(number(u)?),
                    1 => _ = dims.pop(),
                    _ => {
                        let dim = index(u, dims.len())?;
                        dims[dim] = number(u)?;
                    }
                }
            }
            10 => {
                let tensor = index(u, self.tensors.len())?;
                match u.int_in_range(0..=3)? {
                    0 => _ = self.tensors.remove(tensor),
                    1 => self.tensors.push(self.tensors[tensor].clone()),
                    2 => self.tensors[tensor].offset = number(u)?,
                    _ => {
                        let other = index(u, self.tensors.len())?;
                        let name = self.tensors[other].name.clone();
                        self.tensors[other].name = std::mem::replace(&mut self.tensors[tensor].name, name);
                    }
                }
            }
            11 => match u.int_in_range(0..=3)? {
                0 => self.version = number(u)? as u32,
                1 => self.counts[0] = Some(number(u)?),
                2 => self.counts[1] = Some(number(u)?),
                _ => {
                    let len = index(u, self.data.len())?;
                    self.data.truncate(len);
                }
            },
            12 => {
                let at = index(u, self.data.len())?;
                let number = number(u)?.to_le_bytes();
                self.data.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            _ => self.set_text("tokenizer.chat_template", &text(u)?),
        }
        Ok(())
    }
}
