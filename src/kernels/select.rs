//! Which entry runs at which level: the only file that names levels and kernels together.

use super::{Kernels, scalar};
use crate::cpu::Level;
#[cfg(target_arch = "x86_64")]
use crate::{cpu, tensor::Dtype};

#[cfg(target_arch = "aarch64")]
use super::aarch64;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{amx, avx2, avx512};

impl Kernels {
    /// The table of `level`, which this machine must have (see [`Level::available`]).
    ///
    /// # Panics
    /// When the machine lacks the level.
    #[must_use]
    pub fn for_level(level: Level) -> Kernels {
        assert!(level.available(), "cpu level {level} is not available");
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut kernels = Kernels::overlaid(level);
        // Pairs are fewer multiplications and more additions. "avx2" takes their activations, but multiplies all of them.
        #[cfg(target_arch = "x86_64")]
        if level > Level::Avx2 && !cpu::adds_cheaply() {
            kernels.paired = [0; Dtype::COUNT];
        }
        kernels
    }

    /// [`Kernels::for_level`] for those who know that the entries can run.
    pub(super) fn overlaid(level: Level) -> Kernels {
        let mut kernels = scalar::kernels();
        #[cfg(target_arch = "x86_64")]
        if level >= Level::Avx2 {
            avx2::overlay(&mut kernels);
        }
        #[cfg(target_arch = "x86_64")]
        if level >= Level::Avx512 {
            avx512::overlay(&mut kernels);
        }
        #[cfg(target_arch = "x86_64")]
        if level >= Level::Amx {
            amx::overlay(&mut kernels);
        }
        #[cfg(target_arch = "aarch64")]
        for (least, overlay) in [
            (Level::Neon, aarch64::neon as fn(&mut Kernels)),
            (Level::NeonDotprod, aarch64::dotprod),
            (Level::NeonI8mm, aarch64::i8mm),
        ] {
            if level >= least {
                overlay(&mut kernels);
            }
        }
        kernels.level = level;
        kernels
    }
}
