//! Each kernel at each level of this machine, on one thread: its rate, the share of what the machine can do at best (see
//! `ceiling`), and how many times as fast as scalar it is.
//!
//! ```sh
//! cargo bench --bench kernels                 # everything, some minutes
//! cargo bench --bench kernels -- --quick      # the same in a third of the time, less exact
//! cargo bench --bench kernels -- rms_norm     # what has this in its name; also: one-token, tokens, rows, attention
//! ```
//!
//! What ran is summed up at the end in tables, and in `kernels.json` in criterion's folder.

mod attention;
mod ceiling;
mod products;
mod report;
mod rows;

use chord::cpu::Level;
use chord::kernels::Kernels;
use criterion::Criterion;
use report::Report;
use std::path::Path;
use std::time::Duration;

/// The levels of this machine, scalar first.
fn levels() -> Vec<Kernels> {
    Level::ALL.iter().filter(|level| level.available()).map(|&level| Kernels::for_level(level)).collect()
}

/// Reproducible bytes; every f16 read from them is finite and none is a denormal.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as u8 & 0x3b | 0x08
    };
    (0..len).map(|_| next()).collect()
}

/// Reproducible values, about normally distributed as activations are: some products depend on how many are great.
fn floats(len: usize) -> Vec<f32> {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| f32::from(byte)).sum::<f32>();
    bytes(12 * len).chunks_exact(12).map(|bytes| (sum(&bytes[..6]) - sum(&bytes[6..])) / 64.0).collect()
}

fn main() {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder within the build folder");
    let folder = build.join("criterion");
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(300))
        .output_directory(&folder)
        .configure_from_args();
    let mut report = Report::new(criterion);
    let levels = levels();
    let mapped = ceiling::mapping(&products::weights(ceiling::STREAM));
    ceiling::all(&mut report, &levels, &mapped);
    products::all(&mut report, &levels, &mapped);
    rows::all(&mut report, &levels);
    attention::all(&mut report, &levels);
    report.finish(&folder.join("kernels.json"));
}
