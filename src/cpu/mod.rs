//! What this machine is: instruction-set levels and the CPU budget of this process.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod budget;
mod features;

pub use budget::cpu_budget;
pub use features::{Level, detect};
