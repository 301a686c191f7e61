//! Rotary position embedding (Su et al., RoFormer, arXiv 2104.09864).

use crate::kernels::RopeStyle;

/// Rotates pairs (a, b) of the first `2 * cos.len()` elements: `a' = fma(a, cos, -(b * sin))`, `b' = fma(a, sin, b * cos)`.
#[inline(always)]
pub(in crate::kernels) fn rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle) {
    let rotate = |a: &mut f32, b: &mut f32, c: f32, s: f32| {
        (*a, *b) = (a.mul_add(c, -(*b * s)), a.mul_add(s, *b * c));
    };
    let angles = cos.iter().zip(sin);
    match style {
        RopeStyle::Interleaved => {
            for ([a, b], (&c, &s)) in head.as_chunks_mut().0.iter_mut().zip(angles) {
                rotate(a, b, c, s);
            }
        }
        RopeStyle::Halves => {
            let (first, second) = head.split_at_mut(cos.len());
            for ((a, b), (&c, &s)) in first.iter_mut().zip(second).zip(angles) {
                rotate(a, b, c, s);
            }
        }
    }
}
