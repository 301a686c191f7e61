//! EXAONE 4 (LG AI Research 2025): blocks normalize what they add; heads are normalized. The larger model has three blocks with a
//! window and positions, then one that sees everything and knows none.

use super::builder::{Attention, Builder, QkNorm};
use super::olmo2::post_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = b.rope(RopeStyle::Halves)?;
    let window = b.keys.optional_dimension("attention.sliding_window")?;
    let period = b.keys.dimension_or("attention.sliding_window_pattern", 4)?;
    post_norm(b, |layer| {
        let local = window.is_none() || layer % period != period - 1;
        let window = window.filter(|_| local);
        Attention { rope: local.then_some(rope), window, qk_norm: QkNorm::Rms, ..Attention::default() }
    })
}
