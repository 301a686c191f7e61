//! Binding: tensors of the file, checked against the shapes that the architecture expects.

use crate::error::{Error, Result, try_vec};
use crate::gguf::{File, TensorInfo};
use crate::kernels::Kernels;
use crate::ops::Weights;
use crate::quant::{INTERLEAVED_ROWS, Layout};
use std::cell::Cell;

/// A bound weight matrix, or some rows of one. Its bytes stay in the file.
#[derive(Clone, Debug)]
pub struct Matrix {
    tensor: TensorInfo,
    /// Where its rows begin in the tensor.
    first: usize,
    /// Rows of the tensor.
    total: usize,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub depth: usize,
    /// Multiplies what the elements say.
    pub scale: f32,
}

impl Matrix {
    /// The matrix with its bytes, for products.
    #[must_use]
    pub fn weights<'a>(&self, file: &'a File) -> Weights<'a> {
        self.cut(file.resident(&self.tensor).unwrap_or_else(|| (file.data(&self.tensor), Layout::Rows)))
    }

    /// The matrix with its bytes, row by row.
    #[must_use]
    pub fn plain<'a>(&self, file: &'a File) -> Weights<'a> {
        let copy = file.resident(&self.tensor).filter(|&(_, layout)| layout == Layout::Rows);
        self.cut(copy.unwrap_or_else(|| (file.data(&self.tensor), Layout::Rows)))
    }

    /// Its part of the tensor.
    fn cut<'a>(&self, (bytes, layout): (&'a [u8], Layout)) -> Weights<'a> {
        let per_row = bytes.len() / self.total;
        let bytes = &bytes[self.first * per_row..(self.first + self.rows) * per_row];
        Weights { dtype: self.tensor.dtype, bytes, layout, rows: self.rows, depth: self.depth, scale: self.scale }
    }

    /// Whether interleaving all rows of the tensor leaves every `rows` of the matrix together.
    #[must_use]
    pub fn is_whole_groups(&self, rows: usize) -> bool {
        [self.first, rows, self.total].iter().all(|rows| rows.is_multiple_of(INTERLEAVED_ROWS))
    }

    /// The tensor that it is, or is a part of.
    #[must_use]
    pub fn tensor(&self) -> &TensorInfo {
        &self.tensor
    }

    /// The matrix cut into parts of these many rows, from the first row on.
    ///
    /// # Panics
    /// When it has fewer rows.
    #[must_use]
    pub fn split<const N: usize>(&self, rows: [usize; N]) -> [Matrix; N] {
        assert!(rows.iter().sum::<usize>() <= self.rows, "rows of the parts");
        let mut first = self.first;
        rows.map(|rows| {
            let part = Matrix { first, rows, ..self.clone() };
            first += rows;
            part
        })
    }

    /// Whether the elements are floats: products then take float inputs.
    #[must_use]
    pub fn is_float(&self) -> bool {
        self.tensor.dtype.block_len() == 1
    }
}

/// Finds tensors by name.
pub struct Binder<'a> {
    file: &'a File,
    kernels: &'a Kernels,
    /// Whether vectors are read, or zeros stand for them.
    reads: bool,
    decoded: Cell<usize>,
}

impl<'a> Binder<'a> {
    /// A binder over the file's tensors, for kernels that must support their types.
    #[must_use]
    pub fn new(file: &'a File, kernels: &'a Kernels) -> Binder<'a> {
        Binder { file, kernels, reads: true, decoded: Cell::new(0) }
    }

    /// One that does not look at tensors: vectors are zeros.
    #[must_use]
    pub fn outline(file: &'a File, kernels: &'a Kernels) -> Binder<'a> {
        Binder { reads: false, ..Binder::new(file, kernels) }
    }

    /// Bytes of the vectors given out so far.
    #[must_use]
    pub fn decoded(&self) -> usize {
        self.decoded.get()
    }

    /// A matrix of `rows` outputs and `depth` inputs.
    pub fn matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Matrix> {
        self.optional_matrix(name, rows, depth)?.ok_or_else(|| missing(name))
    }

    /// A matrix that may be absent.
    pub fn optional_matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Option<Matrix>> {
        let Some(tensor) = self.tensor(name, &[depth, rows])? else { return Ok(None) };
        let scale = self.scales(name, 1)?.and_then(|scales| scales.first().copied()).unwrap_or(1.0);
        Ok(Some(Matrix { tensor: tensor.clone(), first: 0, total: rows, rows, depth, scale }))
    }

    /// What multiplies each of `count` matrices of a tensor, where that is in a tensor of its own: formats with small scales
    /// leave the size of a matrix to it.
    pub fn scales(&self, name: &str, count: usize) -> Result<Option<Vec<f32>>> {
        let Some(stem) = name.strip_suffix(".weight") else { return Ok(None) };
        self.optional_vector(&format!("{stem}.scale"), count)
    }

    /// `count` matrices of `rows` outputs and `depth` inputs, one below the other, without their scales.
    pub fn stack(&self, name: &str, count: usize, rows: usize, depth: usize) -> Result<Matrix> {
        let tensor = self.tensor(name, &[depth, rows, count])?.ok_or_else(|| missing(name))?;
        Ok(Matrix { tensor: tensor.clone(), first: 0, total: count * rows, rows: count * rows, depth, scale: 1.0 })
    }

    /// Whether the file has a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// `count` vectors of `len` elements, one after the other.
    pub fn vectors(&self, name: &str, count: usize, len: usize) -> Result<Vec<f32>> {
        let tensor = self.tensor(name, &[len, count])?.ok_or_else(|| missing(name))?;
        self.decode(tensor, count * len)
    }

    /// The number of rows of a matrix with `depth` inputs.
    pub fn rows(&self, name: &str, depth: usize) -> Result<usize> {
        let tensor = self.file.tensor(name).ok_or_else(|| missing(name))?;
        match *tensor.dims.as_slice() {
            [first, rows] if first == depth as u64 && rows > 0 => {
                usize::try_from(rows).map_err(|_| shape_error(tensor, &[depth, 1]))
            }
            _ => Err(Error::InvalidModel(format!("tensor {name} has shape {:?}, expected [{depth}, rows]", tensor.dims))),
        }
    }

    /// The length of a vector.
    pub fn len(&self, name: &str) -> Result<usize> {
        let tensor = self.file.tensor(name).ok_or_else(|| missing(name))?;
        usize::try_from(tensor.dims.first().copied().unwrap_or(0)).map_err(|_| shape_error(tensor, &[1]))
    }

    /// A vector of `len` elements, as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.optional_vector(name, len)?.ok_or_else(|| missing(name))
    }

    /// A vector that may be absent.
    pub fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.tensor(name, &[len])? else { return Ok(None) };
        self.decode(tensor, len).map(Some)
    }

    fn decode(&self, tensor: &TensorInfo, len: usize) -> Result<Vec<f32>> {
        let mut values = self.constant(len, 0.0)?;
        if self.reads {
            self.kernels.decode(tensor.dtype, self.file.data(tensor), &mut values);
        }
        Ok(values)
    }

    /// A vector that no tensor holds.
    pub fn constant(&self, len: usize, value: f32) -> Result<Vec<f32>> {
        let values = try_vec(len, value)?;
        self.decoded.set(self.decoded.get().saturating_add(len * size_of::<f32>()));
        Ok(values)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<&'a TensorInfo>> {
        let Some(tensor) = self.file.tensor(name) else { return Ok(None) };
        if !tensor.dims.iter().copied().eq(shape.iter().map(|&dim| dim as u64)) {
            return Err(shape_error(tensor, shape));
        }
        if !self.kernels.supports(tensor.dtype) {
            return Err(Error::Unsupported(format!("tensor {name} has type {}, which is not supported", tensor.dtype)));
        }
        Ok(Some(tensor))
    }
}

fn missing(name: &str) -> Error {
    Error::InvalidModel(format!("tensor {name} is missing"))
}

fn shape_error(tensor: &TensorInfo, shape: &[usize]) -> Error {
    Error::InvalidModel(format!("tensor {} has shape {:?}, expected {shape:?}", tensor.name, tensor.dims))
}
