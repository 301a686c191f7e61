//! Sums of floats in the order that every level can follow: 16 virtual lanes, then a fixed tree.

/// Virtual lanes of float sums: element k belongs to lane k mod 16.
pub(in crate::kernels) const LANES: usize = 16;

/// Sum of the virtual lanes.
#[inline(always)]
pub(in crate::kernels) fn tree(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
