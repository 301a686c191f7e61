//! Arrays of numpy: a magic number, a version, a header that is a Python dictionary, little-endian data.

use std::path::Path;

/// The data of an array of 4-byte elements of type `descr` (`<f4` or `<i4`), and its shape.
fn read<T>(path: &Path, descr: &str, convert: fn([u8; 4]) -> T) -> (Vec<usize>, Vec<T>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{}", path.display());
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).expect("an ASCII header");
    assert!(header.contains(descr) && header.contains("'fortran_order': False"), "{}: {header}", path.display());
    let shape = header.split(['(', ')']).nth(1).expect("a shape");
    let shape: Vec<usize> = shape.split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    let data: Vec<T> = bytes[end..].as_chunks().0.iter().map(|&bytes| convert(bytes)).collect();
    assert_eq!(data.len(), shape.iter().product::<usize>(), "{}", path.display());
    (shape, data)
}

/// An array of f32.
pub fn f32s(path: &Path) -> (Vec<usize>, Vec<f32>) {
    read(path, "<f4", f32::from_le_bytes)
}

/// An array of i32.
pub fn i32s(path: &Path) -> (Vec<usize>, Vec<i32>) {
    read(path, "<i4", i32::from_le_bytes)
}
