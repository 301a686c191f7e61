//! Model file -> model file with coarser weights.

use super::naming;
use crate::cpu::{self, Level};
use crate::error::{Error, Result, ResultExt, try_vec};
use crate::gguf::{File, Item, TensorInfo, Writer};
use crate::kernels::Kernels;
use crate::ops::Shared;
use crate::quant::{FileType, MixModel, encode};
use crate::tensor::Dtype;
use crate::threads::Pool;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How [`quantize`] works.
#[derive(Clone, Default)]
pub struct QuantizeOptions {
    threads: Option<usize>,
    pure: bool,
    importance: Option<File>,
}

impl QuantizeOptions {
    /// Threads that share the work; 0: the CPU budget of the process. The result does not depend on it.
    ///
    /// # Errors
    /// More than 1024.
    pub fn set_threads(&mut self, threads: usize) -> Result<()> {
        self.threads = super::options::threads(threads)?;
        Ok(())
    }

    /// Gives every matrix the base type of the mix.
    pub fn set_pure(&mut self, pure: bool) {
        self.pure = pure;
    }

    /// Weights errors by how much activations the weights meet: a GGUF file with, for a tensor NAME, the sums of squared
    /// activations `NAME.in_sum2` (a row, or one per expert) and how many there were, `NAME.counts`; both F32. Tensors that
    /// it does not name are treated evenly.
    ///
    /// # Errors
    /// What [`File::open`] reports.
    pub fn set_importance(&mut self, path: &Path) -> Result<()> {
        self.importance = Some(File::open(path).map_err(naming(path))?);
        Ok(())
    }
}

/// What became of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedTensor<'a> {
    /// Number of the tensor, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Its name.
    pub name: &'a str,
    /// The type it had.
    pub from: Dtype,
    /// The type it has.
    pub to: Dtype,
    /// How far the new weights are from the old ones: root mean square of the differences, relative to that of the weights.
    pub error: f64,
}

/// Writes the model `input` (or what its first file belongs to) to `output` with the types of `mix`; metadata are kept.
/// `progress` hears of every tensor and returns whether to go on. The new file appears, or takes an old one's place, when it
/// is complete; that may be `input` itself.
///
/// # Errors
/// What [`File::open`] reports; a tensor with weights that are not finite; importance data of the wrong shape; a file that
/// cannot be written; [`Error::Cancelled`]. Then there is no new file.
pub fn quantize(
    input: &Path,
    output: &Path,
    mix: FileType,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(&QuantizedTensor) -> bool,
) -> Result<()> {
    let file = File::open(input).map_err(naming(input))?;
    let quantizer = Quantizer {
        // All levels decode alike, and the best one may have to ask the system for leave.
        kernels: Kernels::for_level(Level::Scalar),
        pool: Pool::new(options.threads.unwrap_or_else(cpu::cpu_budget))?,
        importance: options.importance.as_ref(),
    };
    let dtypes = quantizer.plan(&file, mix, options.pure)?;
    let writer = declare(&file, mix, &dtypes)?;

    // Never write into the file that is being read.
    let partial = PathBuf::from(format!("{}.partial", output.display()));
    let io = |path: &Path| {
        let what = format!("cannot write {}", path.display());
        move |source| Error::Io { what, source }
    };
    // The new file takes the place of what is there: of a file, not of a device or a pipe.
    if std::fs::metadata(output).is_ok_and(|there| !there.is_file()) {
        return Err(io(output)(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let out = std::fs::File::create(&partial).map_err(io(&partial))?;
    // The writer knows I/O errors alone; what else goes wrong waits here.
    let mut failure = None;
    let written = writer.write(BufWriter::new(out), |index, out| {
        let tensor = &file.tensors()[index];
        let outcome = quantizer.tensor(&file, tensor, dtypes[index]).context_with(|| &tensor.name).and_then(|encoded| {
            let bytes = encoded.as_ref().map_or(file.data(tensor), |encoded| &encoded.bytes);
            out.write_all(bytes).map_err(io(&partial))?;
            let error = encoded.as_ref().map_or(0.0, |encoded| encoded.error);
            let (name, from, to) = (&tensor.name, tensor.dtype, dtypes[index]);
            let done = QuantizedTensor { index, count: dtypes.len(), name, from, to, error };
            if progress(&done) { Ok(()) } else { Err(Error::Cancelled) }
        });
        outcome.map_err(|error| {
            failure = Some(error);
            std::io::Error::other("stopped")
        })
    });
    let moved = written.and_then(|()| std::fs::rename(&partial, output));
    moved.map_err(|source| {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&partial);
        failure.unwrap_or_else(|| io(output)(source))
    })
}

/// The new file: metadata and the tensors to come.
fn declare(file: &File, mix: FileType, dtypes: &[Dtype]) -> Result<Writer> {
    let mut writer = Writer::new();
    writer.pair("general.file_type", Item::U32(mix.id()))?;
    // The present version of the block formats.
    writer.pair("general.quantization_version", Item::U32(2))?;
    for (key, value) in (0..file.metadata().len()).filter_map(|index| file.metadata().entry(index)) {
        // What described the old file: its type, how its tensors lie, how it was split.
        const REPLACED: [&str; 3] = ["general.file_type", "general.quantization_version", "general.alignment"];
        if !REPLACED.contains(&key) && !key.starts_with("split.") {
            writer.pair(key, Item::Copy(value))?;
        }
    }
    for (tensor, &dtype) in file.tensors().iter().zip(dtypes) {
        writer.tensor(&tensor.name, dtype, &tensor.dims)?;
    }
    Ok(writer)
}

/// What the mix must know.
fn mix_model(file: &File) -> Result<MixModel> {
    let metadata = file.metadata();
    let architecture = metadata.str("general.architecture")?.unwrap_or("llama");
    // Lists of one number per layer count by their greatest.
    let number = |key: &str| -> Result<Option<usize>> {
        let key = format!("{architecture}.{key}");
        let value = metadata.u32(&key).map(|value| value.map(|value| vec![value])).or_else(|_| metadata.u32s(&key))?;
        Ok(value.and_then(|values| values.into_iter().max()).map(|value| value as usize))
    };
    let heads = number("attention.head_count")?.unwrap_or(1);
    let kv_heads = number("attention.head_count_kv")?.unwrap_or(heads).max(1);
    Ok(MixModel {
        layers: number("block_count")?.unwrap_or(0),
        heads_per_kv: heads / kv_heads,
        tied: file.tensor("output.weight").is_none(),
    })
}

struct Encoded {
    bytes: Vec<u8>,
    error: f64,
}

struct Quantizer<'a> {
    kernels: Kernels,
    pool: Pool,
    importance: Option<&'a File>,
}

impl Quantizer<'_> {
    /// The types that the tensors of a file will have.
    fn plan(&self, file: &File, mix: FileType, pure: bool) -> Result<Vec<Dtype>> {
        let (model, base) = (mix_model(file)?, mix.base());
        let dtype = |tensor: &TensorInfo| {
            // What cannot be decoded stays as it is, like the tensors that mixes leave alone.
            let mixed = mix.dtype(&tensor.name, &tensor.dims, &model).filter(|_| self.kernels.supports(tensor.dtype));
            let fits = tensor.dims.first().is_some_and(|columns| columns.is_multiple_of(base.block_len() as u64));
            mixed.map_or(tensor.dtype, |mixed| if pure && fits { base } else { mixed })
        };
        Ok(file.tensors().iter().map(dtype).collect())
    }

    /// A tensor in its new type; `None` when it keeps the old one.
    fn tensor(&self, file: &File, tensor: &TensorInfo, dtype: Dtype) -> Result<Option<Encoded>> {
        file.check()?;
        if dtype == tensor.dtype {
            return Ok(None);
        }
        let columns = tensor.dims.first().and_then(|&columns| usize::try_from(columns).ok()).ok_or(Error::OutOfMemory)?;
        let row_bytes = |dtype: Dtype| dtype.row_bytes(columns).ok_or_else(|| Error::Internal("rows are whole blocks".into()));
        let (from_bytes, to_bytes, data) = (row_bytes(tensor.dtype)?, row_bytes(dtype)?, file.data(tensor));
        let rows = data.len() / from_bytes;
        let matrix_rows = tensor.dims.get(1).map_or(rows, |&rows| rows as usize);
        let importance = self.importance(tensor, columns, rows / matrix_rows)?;
        let mut bytes = try_vec(rows * to_bytes, 0)?;

        let out = Shared::new(&mut bytes);
        // Sums of squared differences and of squared weights, per row: added up in one order, whatever the threads do.
        let mut sums = try_vec(rows, [0.0f64; 2])?;
        let row_sums = Shared::new(&mut sums);
        let failure = Mutex::new(None);
        self.pool.run(0..rows, &|| failure.lock().is_ok_and(|failure| failure.is_some()), &|_, row| {
            let work = || {
                let (mut before, mut after) = (try_vec(columns, 0.0f32)?, try_vec(columns, 0.0f32)?);
                // SAFETY: one row per unit.
                let (to, sums) = unsafe { (out.part(row * to_bytes, to_bytes), row_sums.part(row, 1)) };
                self.kernels.decode(tensor.dtype, &data[row * from_bytes..(row + 1) * from_bytes], &mut before);
                let importance = importance.as_ref().map(|all| &all[row / matrix_rows * columns..][..columns]);
                encode(dtype, &before, importance, to).context_with(|| format!("row {row}"))?;
                self.kernels.decode(dtype, to, &mut after);
                for (&before, &after) in before.iter().zip(&after) {
                    sums[0][0] += f64::from(after - before).powi(2);
                    sums[0][1] += f64::from(before).powi(2);
                }
                Ok(())
            };
            if let (Err(error), Ok(mut failure)) = (work(), failure.lock()) {
                failure.get_or_insert(error);
            }
        });
        if let Ok(Some(error)) = failure.into_inner() {
            return Err(error);
        }
        let [difference, whole] = sums.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
        let error = if whole > 0.0 { (difference / whole).sqrt() } else { 0.0 };
        Ok(Some(Encoded { bytes, error }))
    }

    /// Factors for the columns of each of `matrices` matrices: the mean square of the activations they met.
    fn importance(&self, tensor: &TensorInfo, columns: usize, matrices: usize) -> Result<Option<Vec<f32>>> {
        let Some(file) = self.importance else { return Ok(None) };
        let Some(sums) = file.tensor(&format!("{}.in_sum2", tensor.name)) else { return Ok(None) };
        let counts = file
            .tensor(&format!("{}.counts", tensor.name))
            .ok_or_else(|| Error::InvalidModel(format!("the importance data has {}.in_sum2 but not {0}.counts", tensor.name)))?;
        let floats = |tensor: &TensorInfo, len: usize| {
            if tensor.dtype != Dtype::F32 || tensor.len != len * size_of::<f32>() {
                return Err(Error::InvalidModel(format!(
                    "importance tensor {}: expected {len} numbers of type F32",
                    tensor.name
                )));
            }
            Ok(file.data(tensor).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)))
        };
        let counts: Vec<f32> = floats(counts, matrices)?.collect();
        let mean = |(index, sum): (usize, f32)| {
            let count = counts[index / columns];
            // An expert that was never asked says nothing: its columns count the same.
            if count > 0.0 { sum / count } else { 1.0 }
        };
        Ok(Some(floats(sums, matrices * columns)?.enumerate().map(mean).collect()))
    }
}
