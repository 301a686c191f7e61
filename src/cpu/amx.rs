//! Tiles: whether the processor has them, the system keeps them, and this process may use them.

use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};
use std::ffi::c_long;

/// Asks for the right to use a state component, and which one: the contents of tiles.
const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
const XFEATURE_XTILEDATA: c_long = 18;

/// Whether products of bytes by tiles can run. Linux grants the right to a process for good, unless an alternate signal stack
/// of one of its threads is too small for the tiles, which a signal handler's frame holds too.
pub(super) fn available() -> bool {
    // SAFETY: the instruction is there where the processor says so.
    let supported = has_tiles() && unsafe { system_keeps_tiles() };
    // SAFETY: the call takes two numbers.
    supported && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
}

/// OSXSAVE, AMX-TILE and AMX-INT8.
fn has_tiles() -> bool {
    let bit = |register: u32, bit: u32| register >> bit & 1 == 1;
    __get_cpuid_max(0).0 >= 7 && bit(__cpuid_count(1, 0).ecx, 27) && {
        let features = __cpuid_count(7, 0).edx;
        bit(features, 24) && bit(features, 25)
    }
}

/// Whether the system saves configuration and contents of tiles.
///
/// # Safety
/// The processor has OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn system_keeps_tiles() -> bool {
    const TILES: u64 = 1 << 17 | 1 << 18;
    // SAFETY: register 0 always exists.
    unsafe { _xgetbv(0) & TILES == TILES }
}
