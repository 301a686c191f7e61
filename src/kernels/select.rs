//! Which entry runs at which level: the only file that names levels and kernels together.

use super::{Kernels, scalar};
use crate::cpu::Level;

#[cfg(target_arch = "x86_64")]
use super::x86_64::{avx2, avx512};

impl Kernels {
    /// The table of `level`, which this machine must have (see [`Level::available`]).
    ///
    /// # Panics
    /// When the machine lacks the level.
    #[must_use]
    pub fn for_level(level: Level) -> Kernels {
        assert!(level.available(), "cpu level {level} is not available");
        let mut kernels = scalar::kernels();
        #[cfg(target_arch = "x86_64")]
        if level >= Level::Avx2 {
            avx2::overlay(&mut kernels);
        }
        #[cfg(target_arch = "x86_64")]
        if level >= Level::Avx512 {
            avx512::overlay(&mut kernels);
        }
        kernels.level = level;
        kernels
    }
}
