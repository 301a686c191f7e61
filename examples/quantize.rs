//! Quantizes a GGUF model: reads one with F32, F16 or BF16 weights (or any other type the library decodes) and writes
//! it with the types of a mix such as Q4_K_M. All metadata are kept.

use chord::cpu::{Level, cpu_budget};
use chord::error::{Error, Result, ResultExt, try_vec};
use chord::gguf::{File, Item, TensorInfo, Writer};
use chord::kernels::Kernels;
use chord::quant::{FileType, MixModel, encode};
use chord::tensor::Dtype;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: quantize [--pure] [--threads N] IN.gguf OUT.gguf TYPE

Writes the model IN.gguf to OUT.gguf with quantized weights. One line per tensor says what became of it and how far
the new weights are from the old ones (root mean square, relative).

  TYPE         a mix of types, by the name that users know: see below
  --pure       the base type of the mix for all matrices, without the finer types of some
  --threads N  threads to use (default: the CPU budget)
  -h, --help   this text

exit codes: 0 done, 1 failed, 2 bad arguments
types:";

struct Options {
    input: PathBuf,
    output: PathBuf,
    mix: FileType,
    pure: bool,
    threads: usize,
}

/// The options; `None` when help was asked for.
fn parse(args: impl Iterator<Item = String>) -> std::result::Result<Option<Options>, String> {
    let (mut pure, mut threads, mut positional) = (false, cpu_budget(), Vec::new());
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--pure" => pure = true,
            "--threads" => {
                let value = args.next().ok_or("--threads needs a number")?;
                threads = value.parse().ok().filter(|&n| n > 0).ok_or(format!("\"{value}\" is no number of threads"))?;
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ => positional.push(arg),
        }
    }
    let [input, output, mix] = <[String; 3]>::try_from(positional).map_err(|_| "expected IN.gguf OUT.gguf TYPE")?;
    let mix = FileType::by_name(&mix).map_err(|error| error.to_string())?;
    Ok(Some(Options { input: input.into(), output: output.into(), mix, pure, threads }))
}

fn main() -> ExitCode {
    let types = || FileType::ALL.iter().map(|mix| mix.name()).collect::<Vec<_>>().join(" ");
    match parse(std::env::args().skip(1)) {
        Ok(None) => println!("{USAGE} {}", types()),
        Err(message) => {
            eprintln!("quantize: {message}\n{USAGE} {}", types());
            return ExitCode::from(2);
        }
        Ok(Some(options)) => {
            if let Err(error) = run(&options) {
                eprintln!("quantize: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// What the mix must know.
fn model(file: &File) -> Result<MixModel> {
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

/// Encodes a tensor; `error` is the relative root mean square difference.
struct Encoded {
    bytes: Vec<u8>,
    error: f64,
}

fn quantize(file: &File, tensor: &TensorInfo, dtype: Dtype, threads: usize) -> Result<Encoded> {
    let kernels = Kernels::for_level(Level::Scalar);
    let columns = usize::try_from(tensor.dims[0]).map_err(|_| Error::OutOfMemory)?;
    let row_bytes = |dtype: Dtype| dtype.row_bytes(columns).ok_or_else(|| Error::Internal("rows are whole blocks".into()));
    let (from_bytes, to_bytes) = (row_bytes(tensor.dtype)?, row_bytes(dtype)?);
    let rows = file.data(tensor).len() / from_bytes;
    let mut bytes = try_vec(rows * to_bytes, 0)?;

    let share = rows.div_ceil(threads).max(1);
    let parts = file.data(tensor).chunks(share * from_bytes).zip(bytes.chunks_mut(share * to_bytes));
    // Sums of squared differences and of squared weights.
    let work = |from: &[u8], to: &mut [u8]| -> Result<[f64; 2]> {
        let (mut before, mut after) = (try_vec(columns, 0.0f32)?, try_vec(columns, 0.0f32)?);
        let mut sums = [0.0; 2];
        for (from, to) in from.chunks(from_bytes).zip(to.chunks_mut(to_bytes)) {
            kernels.decode(tensor.dtype, from, &mut before);
            encode(dtype, &before, None, to)?;
            kernels.decode(dtype, to, &mut after);
            for (&before, &after) in before.iter().zip(&after) {
                sums[0] += f64::from(after - before).powi(2);
                sums[1] += f64::from(before).powi(2);
            }
        }
        Ok(sums)
    };
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = parts.map(|(from, to)| scope.spawn(move || work(from, to))).collect();
        workers.into_iter().try_fold([0.0; 2], |total, worker| {
            let sums = worker.join().map_err(|_| Error::Internal("a worker panicked".into()))??;
            Ok::<_, Error>([total[0] + sums[0], total[1] + sums[1]])
        })
    })?;
    let error = if sums[1] > 0.0 { (sums[0] / sums[1]).sqrt() } else { 0.0 };
    Ok(Encoded { bytes, error })
}

/// The types that the tensors of a file will have.
fn plan(file: &File, options: &Options) -> Result<Vec<Dtype>> {
    let (model, kernels) = (model(file)?, Kernels::for_level(Level::Scalar));
    let base = options.mix.base();
    let dtype = |tensor: &TensorInfo| {
        // What cannot be decoded stays as it is, like the tensors that mixes leave alone.
        let mixed = options.mix.dtype(&tensor.name, &tensor.dims, &model).filter(|_| kernels.supports(tensor.dtype));
        let fits = tensor.dims[0].is_multiple_of(base.block_len() as u64);
        mixed.map_or(tensor.dtype, |mixed| if options.pure && fits { base } else { mixed })
    };
    Ok(file.tensors().iter().map(dtype).collect())
}

fn run(options: &Options) -> Result<()> {
    let file = File::open(&options.input)?;
    let dtypes = plan(&file, options)?;
    let mut writer = Writer::new();
    writer.pair("general.file_type", Item::U32(options.mix.id()))?;
    // The present version of the block formats.
    writer.pair("general.quantization_version", Item::U32(2))?;
    for (key, value) in (0..file.metadata().len()).filter_map(|index| file.metadata().entry(index)) {
        // What described the old file: its type, how its tensors lie, how it was split.
        const REPLACED: [&str; 3] = ["general.file_type", "general.quantization_version", "general.alignment"];
        if !REPLACED.contains(&key) && !key.starts_with("split.") {
            writer.pair(key, Item::Copy(value))?;
        }
    }
    for (tensor, &dtype) in file.tensors().iter().zip(&dtypes) {
        writer.tensor(&tensor.name, dtype, &tensor.dims)?;
    }

    // Never write into the file that is being read.
    let partial = PathBuf::from(format!("{}.partial", options.output.display()));
    let io = |path: &Path| {
        let what = path.display().to_string();
        move |source| Error::Io { what, source }
    };
    let out = std::fs::File::create(&partial).map_err(io(&partial))?;
    let written = writer.write(BufWriter::new(out), |index, out| {
        let (tensor, dtype) = (&file.tensors()[index], dtypes[index]);
        let shape = tensor.dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
        print!("[{:3}/{}] {:28} {shape:>14}  {}", index + 1, dtypes.len(), tensor.name, tensor.dtype);
        if dtype == tensor.dtype {
            println!();
            return out.write_all(file.data(tensor));
        }
        let encoded = quantize(&file, tensor, dtype, options.threads);
        let Encoded { bytes, error } = encoded.context_with(|| &tensor.name).map_err(std::io::Error::other)?;
        println!(" -> {dtype}, error {error:.2e}");
        out.write_all(&bytes)
    });
    let moved =
        written.map_err(io(&partial)).and_then(|()| std::fs::rename(&partial, &options.output).map_err(io(&options.output)));
    if let Err(error) = moved {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }

    let before: usize = file.tensors().iter().map(|tensor| tensor.len).sum();
    let after = std::fs::metadata(&options.output).map_err(io(&options.output))?.len();
    let weights: u64 = file.tensors().iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
    let mib = f64::from(1 << 20);
    let bits = after as f64 * 8.0 / weights as f64;
    println!("{:.1} MiB -> {:.1} MiB, {bits:.2} bits per weight", before as f64 / mib, after as f64 / mib);
    Ok(())
}
