//! Quantized activations: the second factor of every quantized matrix product.

/// Activations per block: one scale for every 256 values along the summed index.
pub const BLOCK: usize = 256;

/// How finely activations are quantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16-bit integers, kept as two int8 halves: relative error of a product about 1e-5.
    #[default]
    High,
    /// 8-bit integers: relative error about 1e-2.
    Fast,
}

/// 256 quantized activations `q = 256 * hi + lo`, worth `q * scale` each.
///
/// In [`Precision::Fast`] `hi` holds the 8-bit integers themselves (worth `hi * scale`), and `lo` and `lo_sum` are zero
/// and never read. A short last block is padded with zeros.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct ActBlock {
    /// High halves, -127..=127.
    pub hi: [i8; BLOCK],
    /// Low halves, -128..=127.
    pub lo: [i8; BLOCK],
    /// Sums of 16 consecutive `hi`.
    pub hi_sum: [i16; BLOCK / 16],
    /// Sums of 16 consecutive `lo`.
    pub lo_sum: [i16; BLOCK / 16],
    /// max|x| / 32512 (high) or max|x| / 127 (fast); 0 for a block of zeros.
    pub scale: f32,
}

impl ActBlock {
    /// A block of zeros.
    pub const ZERO: ActBlock = ActBlock { hi: [0; BLOCK], lo: [0; BLOCK], hi_sum: [0; 16], lo_sum: [0; 16], scale: 0.0 };
}
