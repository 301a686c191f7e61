//! The quantizer tool on a small file: what it keeps, what it changes, how it refuses.

use chord::gguf::{File, Item, Writer};
use chord::tensor::Dtype;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The tool, which `cargo test` builds with the other examples.
fn tool() -> Option<PathBuf> {
    let deps = std::env::current_exe().ok()?;
    let path = deps.parent()?.parent()?.join("examples/quantize").with_extension(std::env::consts::EXE_EXTENSION);
    if !path.exists() {
        println!("skipped: {} is not built", path.display());
        return None;
    }
    Some(path)
}

fn run(tool: &Path, args: &[&str]) -> Output {
    Command::new(tool).args(args).output().expect("the tool starts")
}

/// A model of two layers with F16 weights.
fn write_model(path: &Path) {
    let mut writer = Writer::new();
    writer.pair("general.architecture", Item::Str("llama")).unwrap();
    writer.pair("general.file_type", Item::U32(1)).unwrap();
    writer.pair("llama.block_count", Item::U32(8)).unwrap();
    writer.pair("tokenizer.ggml.tokens", Item::Strs(&[b"a", b"\xff"])).unwrap();
    let tensors: [(&str, Dtype, &[u64]); 5] = [
        ("token_embd.weight", Dtype::F16, &[256, 4]),
        ("output.weight", Dtype::F16, &[256, 4]),
        ("blk.0.attn_v.weight", Dtype::F16, &[256, 2]),
        ("blk.1.attn_q.weight", Dtype::F16, &[96, 2]),
        ("output_norm.weight", Dtype::F32, &[256]),
    ];
    for (name, dtype, dims) in tensors {
        writer.tensor(name, dtype, dims).unwrap();
    }
    let wave = |i: u64| (i as f32 * 0.7).sin();
    let out = std::fs::File::create(path).unwrap();
    let fill = |index: usize, out: &mut dyn std::io::Write| {
        let (_, dtype, dims) = tensors[index];
        (0..dims.iter().product()).try_for_each(|i| match dtype {
            Dtype::F16 => out.write_all(&half::f16::from_f32(wave(i)).to_le_bytes()),
            _ => out.write_all(&wave(i).to_le_bytes()),
        })
    };
    writer.write(std::io::BufWriter::new(out), fill).unwrap();
}

#[test]
fn the_tool_quantizes_and_refuses() {
    let Some(tool) = tool() else { return };
    let folder = std::env::temp_dir().join(format!("chord-quantize-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in.gguf"), folder.join("out.gguf"));
    write_model(&input);
    let (from, to) = (input.to_str().unwrap(), output.to_str().unwrap());

    let done = run(&tool, &["--threads", "3", from, to, "q4_k_m"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let before = File::open(&input).unwrap();
    let after = File::open(&output).unwrap();
    let types: Vec<_> = after.tensors().iter().map(|tensor| tensor.dtype.name()).collect();
    assert_eq!(types.join(" "), "Q4_K Q6_K Q6_K Q5_0 F32");
    let norm = |file: &File| file.data(file.tensor("output_norm.weight").unwrap()).to_vec();
    assert_eq!(norm(&before), norm(&after));
    assert_eq!(after.metadata().u32("general.file_type").unwrap(), Some(15));
    assert_eq!(after.metadata().u32("llama.block_count").unwrap(), Some(8));
    let tokens = after.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert!(tokens.iter().eq([&b"a"[..], b"\xff"]));
    let report = String::from_utf8(done.stdout).unwrap();
    assert!(report.contains("F16 -> Q4_K, error "), "{report}");

    // In place works too, because the new file takes the old one's name at the end.
    assert!(run(&tool, &["--pure", from, from, "Q8_0"]).status.success());
    assert!(File::open(&input).unwrap().tensors()[..4].iter().all(|tensor| tensor.dtype == Dtype::Q8_0));

    let help = run(&tool, &["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Q4_K_M"));
    let refusal = |args: &[&str], code: i32, words: &str| {
        let output = run(&tool, args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && message.contains(words), "{args:?}: {message}");
    };
    refusal(&[from, to], 2, "expected IN.gguf OUT.gguf TYPE");
    refusal(&[from, to, "Q4_X"], 2, "unknown file type \"Q4_X\"");
    refusal(&["--threads", "0", from, to, "Q4_0"], 2, "no number of threads");
    refusal(&["missing.gguf", to, "Q4_0"], 1, "missing.gguf");
    refusal(&[from, folder.join("no/where.gguf").to_str().unwrap(), "Q4_0"], 1, "where.gguf");
    std::fs::remove_dir_all(&folder).unwrap();
}
