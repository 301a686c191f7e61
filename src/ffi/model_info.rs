//! What a model file holds: metadata and tensors.

use super::boundary::{self, Buffer, Result, get, string, write_record};
use super::error::{chord_error, chord_status};
use super::model::chord_model;
use crate::error::Error;
use crate::gguf::TensorInfo;
use crate::model::Model;
use std::ffi::c_char;
use std::fmt::{self, Write};
use std::mem;

/// A tensor of a model file. Later releases may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct chord_tensor_info {
    /// Elements per dimension, the one that is contiguous in memory first; 1 in those that are not used.
    pub shape: [u64; 4],
    /// Where its bytes begin, counted from the start of its file.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u64,
    /// How many dimensions are used, 1 to 4.
    pub dimensions: u32,
    /// The element type, e.g. "Q4_K"; NUL-terminated.
    pub type_name: [c_char; 12],
}

/// How long the record was when it appeared; callers never have a shorter one.
const FIRST_SIZE: usize = 64;
const _: () = assert!(mem::size_of::<chord_tensor_info>() == 64, "no padding");

/// Number of metadata entries. 0: no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_metadata_count(model: *const chord_model) -> usize {
    boundary::value(0, |call| Some(call.model(model).ok()?.file().metadata().len()))
}

/// The key of a metadata entry, e.g. "general.architecture".
///
/// index: below chord_model_metadata_count(), in the order of the file. key, capacity: receives the key, with a NUL behind it
/// if there is room; NULL when capacity is 0. key_len: receives its length without the NUL, also when it does not fit.
///
/// CHORD_STATUS_OUT_OF_RANGE: no such entry. CHORD_STATUS_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_metadata_key(
    model: *const chord_model,
    index: usize,
    key: *mut c_char,
    capacity: usize,
    key_len: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let buffer = Buffer::new("key", key.cast::<u8>(), capacity, "key_len", key_len)?;
        let metadata = model.file().metadata();
        let Some((key, _)) = metadata.entry(index) else {
            return Err(Error::OutOfRange(format!("metadata entry {index} of {}", metadata.len())).into());
        };
        buffer.fill(key.as_bytes())
    })
}

/// The value of a metadata entry as text: strings as they are, numbers in decimal, long arrays abbreviated.
///
/// key: the entry's name. value, capacity: receives the text, with a NUL behind it if there is room; NULL when capacity is 0.
/// value_len: receives its length without the NUL, also when it does not fit.
///
/// CHORD_STATUS_NOT_FOUND: no such key. CHORD_STATUS_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_metadata_value(
    model: *const chord_model,
    key: *const c_char,
    value: *mut c_char,
    capacity: usize,
    value_len: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        // SAFETY: the C contract: NULL or a NUL-terminated string.
        let key = unsafe { string("key", key) }?;
        let buffer = Buffer::new("value", value.cast::<u8>(), capacity, "value_len", value_len)?;
        model.file().check()?;
        let value = model.file().metadata().get(key);
        let value = value.ok_or_else(|| Error::NotFound(format!("the model has no metadata key \"{key}\"")))?;
        let mut text = Text(Vec::new());
        write!(text, "{value}").map_err(|_| Error::OutOfMemory)?;
        buffer.fill(&text.0)
    })
}

/// Text whose length the file decides.
struct Text(Vec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Number of tensors in the model's files. 0: no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_tensor_count(model: *const chord_model) -> usize {
    boundary::value(0, |_| Some(get(model).ok()?.file().tensors().len()))
}

fn tensor(model: &Model, index: usize) -> Result<&TensorInfo> {
    let tensors = model.file().tensors();
    Ok(tensors.get(index).ok_or_else(|| Error::OutOfRange(format!("tensor {index} of {}", tensors.len())))?)
}

/// The name of a tensor, e.g. "blk.0.attn_q.weight".
///
/// index: below chord_model_tensor_count(), in the order of the file. name, capacity: receives the name, with a NUL behind it
/// if there is room; NULL when capacity is 0. name_len: receives its length without the NUL, also when it does not fit.
///
/// CHORD_STATUS_OUT_OF_RANGE: no such tensor. CHORD_STATUS_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_tensor_name(
    model: *const chord_model,
    index: usize,
    name: *mut c_char,
    capacity: usize,
    name_len: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let buffer = Buffer::new("name", name.cast::<u8>(), capacity, "name_len", name_len)?;
        buffer.fill(tensor(&model, index)?.name.as_bytes())
    })
}

/// Type, shape and place of a tensor.
///
/// index: below chord_model_tensor_count(). info, size: receives the record; size is sizeof(chord_tensor_info).
///
/// CHORD_STATUS_OUT_OF_RANGE: no such tensor. CHORD_STATUS_INVALID_ARGUMENT: size is smaller than it ever was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_tensor_info(
    model: *const chord_model,
    index: usize,
    info: *mut chord_tensor_info,
    size: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let tensor = tensor(&model, index)?;
        let mut record = chord_tensor_info {
            shape: [1; 4],
            offset: tensor.offset as u64,
            size: tensor.len as u64,
            dimensions: tensor.dims.len() as u32,
            type_name: [0; 12],
        };
        record.shape.iter_mut().zip(&tensor.dims).for_each(|(to, &from)| *to = from);
        let name = tensor.dtype.name().bytes().take(record.type_name.len() - 1);
        record.type_name.iter_mut().zip(name).for_each(|(to, from)| *to = from as c_char);
        Ok(write_record("info", info, size, FIRST_SIZE, record)?)
    })
}
