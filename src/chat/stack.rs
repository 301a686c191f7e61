//! Stack for recursion of a known depth.

use crate::error::Result;
use crate::threads::on_stack;

/// Parsing a template takes up to 8 KiB for each of 48 levels of nesting, evaluating it 1.3 KiB for each of 400, JSON 1.2 KiB
/// for each of 64; only what is touched becomes memory. Several times that, for builds without optimization.
const STACK: usize = 4 << 20;

/// Runs on a stack of its own: that of the host's thread may have room for little more than this call. Templates in use
/// nest expressions 13 levels and evaluations 46 levels deep, so bounds tight enough for any stack would refuse some.
pub(super) fn with_stack<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_stack("chord-chat", STACK, run)?
}
