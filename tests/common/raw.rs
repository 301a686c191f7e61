//! GGUF files by hand, independent of the library's writer: what is hostile must be writable too.

// Kinds of metadata values.
pub const U32: u32 = 4;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

/// A string with its length.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// A key with its value.
pub fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key.as_bytes()), &kind.to_le_bytes()[..], value].concat()
}

/// The value of an array.
pub fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &len.to_le_bytes(), elements].concat()
}

/// An entry of the tensor directory.
pub fn tensor(name: &str, dims: &[u64], dtype: u32, offset: u64) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    [&text(name.as_bytes()), &(dims.len() as u32).to_le_bytes()[..], &dims_bytes, &dtype.to_le_bytes(), &offset.to_le_bytes()]
        .concat()
}

/// A version 3 file of these pairs and tensors, with `data` bytes of tensor data.
pub fn file(pairs: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = header(3, tensors.len() as u64, pairs.len() as u64);
    bytes.extend(pairs.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

/// Magic, version and counts.
pub fn header(version: u32, tensors: u64, pairs: u64) -> Vec<u8> {
    [b"GGUF", &version.to_le_bytes()[..], &tensors.to_le_bytes(), &pairs.to_le_bytes()].concat()
}
