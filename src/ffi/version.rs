//! What this library is and what it runs on.

use super::boundary;
use crate::cpu::{self, Level};
use std::ffi::c_char;
use std::ptr;

/// The release, as text: "major.minor.patch".
///
/// Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The ABI that the library speaks, the number in its SONAME. A program linked against a header with the same
/// CHORD_ABI_VERSION runs on every library that returns it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_abi_version() -> u32 {
    const VERSION: u32 = match u32::from_str_radix(env!("CHORD_ABI_VERSION"), 10) {
        Ok(version) => version,
        Err(_) => panic!("build.rs sets a number"),
    };
    VERSION
}

/// The best instruction-set level that this processor and this library share, e.g. "avx2"; models use it unless
/// chord_model_options_set_cpu_level() asks for a lower one.
///
/// Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_cpu_level() -> *const c_char {
    boundary::value(ptr::null(), |_| level_name(cpu::detect()))
}

/// Names of levels, NUL-terminated, in the order of [`Level::ALL`].
static LEVEL_NAMES: [[u8; 16]; Level::ALL.len()] = {
    let mut names = [[0; 16]; Level::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        let name = Level::ALL[i].name().as_bytes();
        let (head, _) = names[i].split_at_mut(name.len());
        head.copy_from_slice(name);
        assert!(name.len() < names[i].len(), "room for the NUL");
        i += 1;
    }
    names
};

/// The static C string of a level's name.
pub(super) fn level_name(level: Level) -> Option<*const c_char> {
    let index = Level::ALL.iter().position(|&other| other == level)?;
    LEVEL_NAMES.get(index).map(|name| name.as_ptr().cast())
}
