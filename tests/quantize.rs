//! The quantizer on a small file: what it keeps, what it changes, how it refuses.

use chord::error::{Error, Result};
use chord::gguf::{File, Item, Writer};
use chord::model::{QuantizeOptions, QuantizedTensor, quantize};
use chord::quant::FileType;
use chord::tensor::Dtype;
use std::path::{Path, PathBuf};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("chord-quantize-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, pairs: &[(&str, Item)], tensors: &[(&str, Dtype, &[u64])], value: impl Fn(usize, u64) -> f32) {
    let mut writer = Writer::new();
    pairs.iter().for_each(|&(key, item)| writer.pair(key, item).unwrap());
    tensors.iter().for_each(|(name, dtype, dims)| writer.tensor(name, *dtype, dims).unwrap());
    let out = std::fs::File::create(path).unwrap();
    let fill = |index: usize, out: &mut dyn std::io::Write| {
        let (_, dtype, dims) = tensors[index];
        (0..dims.iter().product()).try_for_each(|i| match dtype {
            Dtype::F16 => out.write_all(&half::f16::from_f32(value(index, i)).to_le_bytes()),
            _ => out.write_all(&value(index, i).to_le_bytes()),
        })
    };
    writer.write(std::io::BufWriter::new(out), fill).unwrap();
}

/// A model of eight layers, of which some tensors are there.
fn write_model(path: &Path) {
    let pairs = [
        ("general.architecture", Item::Str("llama")),
        ("general.file_type", Item::U32(1)),
        ("llama.block_count", Item::U32(8)),
        ("tokenizer.ggml.tokens", Item::Strs(&[b"a", b"\xff"])),
    ];
    let tensors: [(&str, Dtype, &[u64]); 6] = [
        ("token_embd.weight", Dtype::F16, &[256, 4]),
        ("output.weight", Dtype::F16, &[256, 4]),
        ("blk.0.attn_v.weight", Dtype::F16, &[256, 2]),
        ("blk.1.attn_q.weight", Dtype::F16, &[96, 2]),
        ("blk.3.ffn_up_exps.weight", Dtype::F16, &[256, 3, 2]),
        ("output_norm.weight", Dtype::F32, &[256]),
    ];
    write(path, &pairs, &tensors, |index, i| (i as f32 * 0.7 + index as f32).sin());
}

fn run(input: &Path, output: &Path, mix: &str, options: &QuantizeOptions) -> Result<Vec<f64>> {
    let mut errors = Vec::new();
    quantize(input, output, FileType::by_name(mix)?, options, &mut |tensor: &QuantizedTensor| {
        assert_eq!(tensor.index, errors.len());
        errors.push(tensor.error);
        true
    })?;
    Ok(errors)
}

#[test]
fn what_is_kept_and_what_changes() {
    let folder = Folder::new("kept");
    let (input, output) = (folder.file("in.gguf"), folder.file("out.gguf"));
    write_model(&input);
    let mut options = QuantizeOptions::default();
    options.set_threads(3).unwrap();
    let errors = run(&input, &output, "q4_k_m", &options).unwrap();
    assert!(errors[0] > 0.01 && errors[0] < 0.1 && errors[1] < 0.03 && errors[5] == 0.0, "{errors:?}");

    let (before, after) = (File::open(&input).unwrap(), File::open(&output).unwrap());
    let types: Vec<_> = after.tensors().iter().map(|tensor| tensor.dtype.name()).collect();
    assert_eq!(types.join(" "), "Q4_K Q6_K Q6_K Q5_0 Q4_K F32");
    let norm = |file: &File| file.data(file.tensor("output_norm.weight").unwrap()).to_vec();
    assert_eq!(norm(&before), norm(&after));
    assert_eq!(after.metadata().u32("general.file_type").unwrap(), Some(15));
    assert_eq!(after.metadata().u32("llama.block_count").unwrap(), Some(8));
    let tokens = after.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert!(tokens.iter().eq([&b"a"[..], b"\xff"]));

    // The same bytes whatever the threads do; in place works too.
    let bytes = std::fs::read(&output).unwrap();
    options.set_threads(1).unwrap();
    run(&input, &input, "Q4_K_M", &options).unwrap();
    assert!(std::fs::read(&input).unwrap() == bytes);
    options.set_pure(true);
    run(&input, &input, "Q8_0", &options).unwrap();
    assert!(File::open(&input).unwrap().tensors()[..5].iter().all(|tensor| tensor.dtype == Dtype::Q8_0));
}

#[test]
fn importance_moves_the_error_to_where_it_matters_less() {
    let folder = Folder::new("importance");
    let (input, output, data) = (folder.file("in.gguf"), folder.file("out.gguf"), folder.file("importance.gguf"));
    write_model(&input);
    // Every other column matters, those between hardly do; the second expert was never asked.
    let matters = |index: usize, i: u64| match index {
        0 | 2 => 4.0 * if i.is_multiple_of(2) { 1.0 } else { 1e-4 },
        1 => 4.0,
        _ => 4.0 * f32::from(u8::from(i == 0)),
    };
    let tensors: [(&str, Dtype, &[u64]); 4] = [
        ("blk.0.attn_v.weight.in_sum2", Dtype::F32, &[256]),
        ("blk.0.attn_v.weight.counts", Dtype::F32, &[1]),
        ("blk.3.ffn_up_exps.weight.in_sum2", Dtype::F32, &[256, 2]),
        ("blk.3.ffn_up_exps.weight.counts", Dtype::F32, &[1, 2]),
    ];
    write(&data, &[("general.type", Item::Str("imatrix"))], &tensors, matters);
    let mut options = QuantizeOptions::default();
    options.set_pure(true);
    let decode = |name: &str| {
        let file = File::open(&output).unwrap();
        let tensor = file.tensor(name).unwrap();
        let mut weights = vec![0.0; tensor.dims.iter().product::<u64>() as usize];
        chord::kernels::Kernels::for_level(chord::cpu::Level::Scalar).decode(tensor.dtype, file.data(tensor), &mut weights);
        weights
    };
    // Neighbours share a scale, so they compete.
    let errors = |options: &QuantizeOptions| {
        run(&input, &output, "Q3_K_S", options).unwrap();
        let name = "blk.0.attn_v.weight";
        let weights = decode(name);
        let error = |odd: usize| {
            let columns = |i: &usize| i % 2 == odd;
            (0..weights.len()).filter(columns).map(|i| (weights[i] - (i as f32 * 0.7 + 2.0).sin()).powi(2)).sum::<f32>()
        };
        (error(0), error(1))
    };
    let even = errors(&options);
    let experts_even = decode("blk.3.ffn_up_exps.weight");
    options.set_importance(&data).unwrap();
    let weighted = errors(&options);
    assert!(weighted.0 < even.0, "{weighted:?} against {even:?}");
    let experts = decode("blk.3.ffn_up_exps.weight");
    assert!(experts[..768] != experts_even[..768] && experts[768..] == experts_even[768..]);

    write(&data, &[], &[("blk.0.attn_v.weight.in_sum2", Dtype::F32, &[255])], matters);
    options.set_importance(&data).unwrap();
    let missing = run(&input, &output, "Q3_K_S", &options).unwrap_err().to_string();
    assert!(missing.contains("blk.0.attn_v.weight.counts"), "{missing}");
    write(&data, &[], &[tensors[1], ("blk.0.attn_v.weight.in_sum2", Dtype::F32, &[255])], matters);
    options.set_importance(&data).unwrap();
    let short = run(&input, &output, "Q3_K_S", &options).unwrap_err().to_string();
    assert!(short.contains("blk.0.attn_v.weight.in_sum2: expected 256"), "{short}");
}

#[test]
fn refusals_leave_no_file() {
    let folder = Folder::new("refusals");
    let (input, output) = (folder.file("in.gguf"), folder.file("out.gguf"));
    let options = QuantizeOptions::default();
    let refused = |input: &Path, output: &Path, mix: &str, words: &str| {
        let error = run(input, output, mix, &options).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!output.exists() && !folder.file("out.gguf.partial").exists());
    };
    refused(&input, &output, "Q4_0", "in.gguf");
    std::fs::write(&input, b"GGUF and nothing else").unwrap();
    refused(&input, &output, "Q4_0", "in.gguf");
    write_model(&input);
    refused(&input, &output, "Q4_X", "unknown file type \"Q4_X\" (known: F32, F16");
    refused(&input, &folder.file("no/where.gguf"), "Q4_0", "where.gguf");
    let mut heard = 0;
    let stopped = quantize(&input, &output, FileType::Q8_0, &options, &mut |_: &QuantizedTensor| {
        heard += 1;
        heard < 3
    });
    assert!(matches!(stopped, Err(Error::Cancelled)) && heard == 3 && !output.exists());
    write(&input, &[], &[("blk.0.attn_q.weight", Dtype::F32, &[32, 8])], |_, i| if i == 70 { f32::NAN } else { 1.0 });
    refused(&input, &output, "Q4_0", "blk.0.attn_q.weight: row 2: weight 6 is NaN");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let folder = Folder::new("pipe");
    let (input, pipe) = (folder.file("in.gguf"), folder.file("pipe"));
    write_model(&input);
    let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: a path.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let error = run(&input, &pipe, "Q4_0", &QuantizeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("pipe") && error.contains("not a regular file"), "{error}");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo() && !folder.file("pipe.partial").exists());
}
