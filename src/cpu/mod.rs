//! What this machine is: instruction-set levels, caches, and the CPU budget of this process.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod budget;
mod cache;
mod features;

pub use budget::cpu_budget;
pub use cache::private_cache;
#[cfg(target_arch = "x86_64")]
pub use features::adds_cheaply;
pub use features::{Level, detect};
