//! What this machine is: instruction-set levels and the CPU budget of this process.

mod budget;
mod features;

pub use budget::cpu_budget;
pub use features::{Level, detect};
