//! The worker pool of a model: workers spin briefly for the next region, then park; idle, they cost nothing.
//!
//! A region is a number of independent units that threads take from a shared counter, because cores are uneven. The
//! caller works too, and waits only for workers that have entered the region: one that the scheduler has not woken in
//! time is left out instead of waited for, so more threads than cores do not collapse. After a fork the child has a pool of one thread.
//!
//! A host that has threads of its own can lend them instead: they enter and leave regions as workers do.

mod background;
mod fork;
mod pool;
mod thread;

pub use background::Background;
pub use pool::{Help, Pool, Runner, Staff};
pub use thread::{is_ours, on_stack, set_priority};
