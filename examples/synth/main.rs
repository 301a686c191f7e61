//! Writes GGUF files of real shapes with random weights: speed depends on shapes and types, not on what a model learned,
//! so anyone can measure it without a download.

mod model;

use chord::quant::FileType;
use chord::tensor::Dtype;
use model::{Shape, Types};
use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: synth [--shape SHAPE] [--type TYPE] [--seed N] OUT.gguf

Writes a llama model with random weights that computes sanely but says nothing.

  --shape SHAPE  dimensions (default tinyllama): see below
  --type TYPE    a mix such as Q4_K_M, or one type for all matrices such as Q8_K (default Q4_K_M)
  --seed N       another seed, other weights (default 1)
  -h, --help     this text

exit codes: 0 done, 1 failed, 2 bad arguments
shapes:";

struct Options {
    shape: &'static Shape,
    types: Types,
    seed: u64,
    output: PathBuf,
}

/// The options; `None` when help was asked for.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut shape, mut types, mut seed, mut output) = (&Shape::ALL[0], Types::Mix(FileType::Q4_K_M), 1, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--shape" => {
                let name = value()?;
                shape = Shape::ALL.iter().find(|shape| shape.name == name).ok_or(format!("unknown shape {name}"))?;
            }
            "--type" => types = Types::by_name(&value()?)?,
            "--seed" => seed = value()?.parse().map_err(|_| "--seed needs a number")?,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if output.is_some() => return Err("more than one output".into()),
            _ => output = Some(arg.into()),
        }
    }
    Ok(Some(Options { shape, types, seed, output: output.ok_or("no output")? }))
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE} {}", Shape::ALL.iter().map(|shape| shape.name).collect::<Vec<_>>().join(" "));
            let types = FileType::ALL.iter().map(|mix| mix.name()).chain(Dtype::ALL.iter().map(|dtype| dtype.name()));
            println!("types: {}", types.collect::<Vec<_>>().join(" "));
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("synth: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    let terminal = std::io::stderr().is_terminal();
    let progress = |done: usize, of: usize| {
        if terminal {
            eprint!("\r{done} of {of} tensors{}", if done == of { "\n" } else { "" });
        }
    };
    let written = File::create(&options.output)
        .map_err(|error| error.to_string())
        .and_then(|file| model::write(BufWriter::new(file), options.shape, options.types, options.seed, progress));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("synth: {}: {message}", options.output.display());
            ExitCode::FAILURE
        }
    }
}
