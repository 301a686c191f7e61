//! What this machine can do at best, measured by loops that do nothing else: reading memory or what stays in the second-level
//! cache, and multiplying what is in registers by each level's instruction.

use crate::report::{Limit, Report};
use chord::cpu::{Level, cpu_budget};
use chord::kernels::Kernels;
use chord::tensor::Buffer;
use memmap2::Mmap;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::time::Instant;

/// Bytes that are more than any cache holds.
pub const STREAM: usize = 256 << 20;
/// Bytes that the second-level cache holds, and the first-level one does not.
pub const RESIDENT: usize = 384 << 10;
/// Times that every loop runs; the best one counts.
const TIMES: usize = 12;

/// A loop over registers.
struct Peak {
    limit: Limit,
    /// Multiplications of a round.
    per_round: usize,
    /// Runs so many rounds.
    run: fn(usize),
}

/// Notes the rates of this machine; `mapped`: a file.
pub fn all(report: &mut Report, levels: &[Kernels], mapped: &[u8]) {
    let mut memory = Buffer::<u64>::new(STREAM / 8).expect("memory");
    memory.fill(1);
    let best = levels.last().expect("scalar is always there").level();
    // SAFETY: any eight bytes are a number.
    let (_, mapped, _) = unsafe { mapped.align_to::<u64>() };
    for (name, words) in [("memory in huge pages", &memory[..]), ("mapped file", mapped)] {
        for threads in [1, cpu_budget()] {
            let rate = read_rate(best, words, threads);
            report.probe(format!("{name}, bytes/s, {threads} threads"), rate);
            // Weights are read from the mapping, by one thread.
            if threads == 1 && words.as_ptr() == mapped.as_ptr() {
                report.ceiling(best, Limit::Memory, rate);
            }
        }
    }
    for level in levels.iter().map(Kernels::level) {
        let words = &memory[..RESIDENT / 8];
        report.ceiling(level, Limit::Cache, best_rate(16 * RESIDENT, || (0..16).for_each(|_| read(level, words, false))));
        for Peak { limit, per_round, run } in peaks(level) {
            const ROUNDS: usize = 1 << 16;
            report.ceiling(level, limit, best_rate(per_round * ROUNDS, || run(black_box(ROUNDS))));
        }
    }
}

/// A file that holds `bytes`, mapped.
pub fn mapping(bytes: &[u8]) -> Mmap {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream.bin");
    std::fs::write(&path, bytes).expect("the build folder is writable");
    let file = File::open(&path).expect("the file was just written");
    // SAFETY: nobody changes the file while the bench runs.
    let mapped = unsafe { Mmap::map(&file) }.expect("room for a mapping");
    std::fs::remove_file(&path).expect("the build folder is writable");
    mapped
}

/// Units per second, where `call` does so many.
fn best_rate(amount: usize, mut call: impl FnMut()) -> f64 {
    let seconds = (0..TIMES).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    });
    amount as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// Bytes per second that `threads` threads read together, the faster of two ways.
fn read_rate(level: Level, words: &[u64], threads: usize) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let (barrier, parts) = (&barrier, words.chunks(words.len().div_ceil(threads)));
    std::thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || {
                for turn in 0..TIMES {
                    barrier.wait();
                    read(level, part, turn % 2 == 1);
                    barrier.wait();
                }
            });
        }
        best_rate(8 * words.len(), || {
            barrier.wait();
            barrier.wait();
        })
    })
}

/// Reads everything, `ahead`: and has what comes later fetched.
fn read(level: Level, words: &[u64], ahead: bool) {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only levels of this machine come here.
        Level::Avx2 => unsafe { x86_64::read_avx2(words, ahead) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; greater levels include the lesser ones.
        level if level >= Level::Avx512 => unsafe { x86_64::read_avx512(words, ahead) },
        _ => {
            // Portable code leaves it to the processor what is fetched.
            let _ = ahead;
            black_box(words.iter().fold(0, |all, word| all ^ word));
        }
    }
}

/// Runs `rounds` rounds of an operation on each of twelve registers, enough to hide how long one takes.
macro_rules! peak {
    ($limit:ident, $per_operation:expr, $features:literal, $zero:expr, $operation:expr) => {{
        #[target_feature(enable = $features)]
        fn rounds(rounds: usize) {
            let (mut registers, factor) = ([$zero; 12], black_box($zero));
            for _ in 0..rounds {
                registers = registers.map(|register| $operation(register, factor));
            }
            black_box(registers);
        }
        // SAFETY: only levels of this machine have their peaks measured.
        Peak { limit: Limit::$limit, per_round: 12 * $per_operation, run: |count| unsafe { rounds(count) } }
    }};
}

#[cfg(target_arch = "x86_64")]
fn peaks(level: Level) -> Vec<Peak> {
    x86_64::peaks(level)
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::{Level, Limit, Peak, black_box};
    use std::arch::{asm, x86_64::*};

    /// How far ahead memory is fetched.
    const AHEAD: usize = 4096;

    macro_rules! read {
        ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $xor:ident) => {
            #[target_feature(enable = $features)]
            pub fn $name(words: &[u64], ahead: bool) {
                let mut sums = [$zero(); 8];
                for vectors in words.chunks_exact(8 * size_of::<$vector>() / 8) {
                    if ahead {
                        for line in vectors.chunks(8) {
                            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast::<i8>().wrapping_add(AHEAD));
                        }
                    }
                    for (i, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: eight vectors begin there.
                        *sum = $xor(*sum, unsafe { $load(vectors.as_ptr().cast::<$vector>().add(i)) });
                    }
                }
                black_box(sums);
            }
        };
    }
    read!(read_avx2, "avx2", __m256i, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_xor_si256);
    read!(read_avx512, "avx512f", __m512i, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_xor_si512);

    /// The instructions that products of a level are made of; floats of the scalar level are calls of a function.
    pub fn peaks(level: Level) -> Vec<Peak> {
        match level {
            Level::Scalar => vec![peak!(Int8, 8, "sse2", _mm_setzero_si128(), _mm_madd_epi16)],
            Level::Avx2 => vec![
                peak!(Int8, 32, "avx2", _mm256_setzero_si256(), _mm256_maddubs_epi16),
                peak!(Float, 8, "avx2,fma", _mm256_setzero_ps(), |sum, x| _mm256_fmadd_ps(x, x, sum)),
            ],
            Level::Amx => vec![Peak { limit: Limit::Int8, per_round: 4 * 16 * 16 * 64, run: tiles }, avx512_floats()],
            _ => vec![
                peak!(Int8, 64, "avx512f,avx512vnni", _mm512_setzero_si512(), |sum, x| _mm512_dpbusd_epi32(sum, x, x)),
                avx512_floats(),
            ],
        }
    }

    fn avx512_floats() -> Peak {
        peak!(Float, 16, "avx512f", _mm512_setzero_ps(), |sum, x| _mm512_fmadd_ps(x, x, sum))
    }

    /// The shapes of tiles, as LDTILECFG reads them.
    #[repr(C, align(64))]
    struct Config {
        palette: [u8; 16],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Multiplies tiles of zeros; only where AMX is a level of this machine.
    fn tiles(rounds: usize) {
        let mut config = Config { palette: [0; 16], row_bytes: [0; 16], rows: [0; 16] };
        config.palette[0] = 1;
        config.row_bytes[..6].fill(64);
        config.rows[..6].fill(16);
        // SAFETY: the level is there, the configuration is a valid one, and the tiles are released.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                ".irp tile, 0, 1, 2, 3, 4, 5",
                "tilezero tmm\\tile",
                ".endr",
                "2:",
                ".irp tile, 0, 1, 2, 3",
                "tdpbusd tmm\\tile, tmm4, tmm5",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                config = in(reg) &raw const config,
                rounds = inout(reg) rounds => _,
                options(nostack),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn peaks(level: Level) -> Vec<Peak> {
    use std::arch::{aarch64::*, asm};

    let int8 = match level {
        Level::NeonDotprod => {
            #[target_feature(enable = "dotprod")]
            fn dot(mut sum: int32x4_t, x: int32x4_t) -> int32x4_t {
                // SAFETY: it works on registers alone.
                unsafe {
                    asm!("sdot {0:v}.4s, {1:v}.16b, {1:v}.16b", inout(vreg) sum, in(vreg) x, options(pure, nomem, nostack))
                };
                sum
            }
            peak!(Int8, 16, "neon,dotprod", vdupq_n_s32(0), dot)
        }
        Level::NeonI8mm => {
            #[target_feature(enable = "i8mm")]
            fn multiply(mut sum: int32x4_t, x: int32x4_t) -> int32x4_t {
                // SAFETY: it works on registers alone.
                unsafe {
                    asm!("smmla {0:v}.4s, {1:v}.16b, {1:v}.16b", inout(vreg) sum, in(vreg) x, options(pure, nomem, nostack))
                };
                sum
            }
            peak!(Int8, 32, "neon,i8mm", vdupq_n_s32(0), multiply)
        }
        _ => peak!(Int8, 8, "neon", vdupq_n_s16(0), |sum, x| {
            let x = vget_low_s8(vreinterpretq_s8_s16(x));
            vmlal_s8(sum, x, x)
        }),
    };
    vec![int8, peak!(Float, 4, "neon", vdupq_n_f32(0.0), |sum, x| vfmaq_f32(sum, x, x))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn peaks(_: Level) -> Vec<Peak> {
    Vec::new()
}
