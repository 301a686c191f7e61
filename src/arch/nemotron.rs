//! Nemotron-4 (Parmar et al. 2024): the blocks of StarCoder2 with squared ReLU and partial rotation.

use super::builder::Builder;
use super::starcoder2::layer_norm_blocks;
use crate::error::Result;
use crate::kernels::Activation;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    layer_norm_blocks(b, Activation::ReluSquared)
}
