//! Instruction-set levels, detected by CPUID and operating-system support only.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use crate::error::{Error, Result};
use std::fmt;

/// An instruction-set level. On one architecture a greater level includes the lesser ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Portable code: the reference.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// x86-64 with AVX-512 and AMX int8, on Linux.
    Amx,
    /// aarch64, of which NEON is a part.
    Neon,
    /// aarch64 with the int8 dot product.
    NeonDotprod,
    /// aarch64 with the int8 dot product and matrix extension.
    NeonI8mm,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: &[Level] =
        &[Level::Scalar, Level::Avx2, Level::Avx512, Level::Amx, Level::Neon, Level::NeonDotprod, Level::NeonI8mm];

    /// The name used in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Amx => "amx",
            Level::Neon => "neon",
            Level::NeonDotprod => "neon-dotprod",
            Level::NeonI8mm => "neon-i8mm",
        }
    }

    /// The level called `name`, if this machine has it.
    pub fn by_name(name: &str) -> Result<Level> {
        let Some(level) = Level::ALL.iter().copied().find(|level| level.name() == name) else {
            let names: Vec<_> = Level::ALL.iter().map(|level| level.name()).collect();
            return Err(Error::InvalidArgument(format!("unknown cpu level \"{name}\" (known: {})", names.join(", "))));
        };
        if !level.available() {
            return Err(Error::Unsupported(format!("this cpu has no level \"{name}\" (best: {})", detect())));
        }
        Ok(level)
    }

    /// Whether this machine can run the level.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Level::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Level::Amx => Level::Avx512.available() && amx::available(),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Level::NeonDotprod => Level::Neon.available() && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Level::NeonI8mm => Level::NeonDotprod.available() && std::arch::is_aarch64_feature_detected!("i8mm"),
            // Levels of other architectures.
            _ => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The best level of this machine.
#[must_use]
pub fn detect() -> Level {
    Level::ALL.iter().copied().rev().find(|level| level.available()).unwrap_or(Level::Scalar)
}

/// Whether vectors of integers are added by more units than multiply them. In processors of AMD they are, four beside two, so
/// that an addition costs half of a multiplication; in those of Intel with two units for 512 bits, the same two do both.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn adds_cheaply() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    [b"AuthenticAMD", b"HygonGenuine"].iter().any(|known| name.as_flattened() == *known)
}
