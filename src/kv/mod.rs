//! The key-value cache: per layer, blocks of 256 absolute positions, found through a table.
//!
//! Keys are stored dimension-major inside a block, so that vector lanes are positions; values position-major, so that
//! lanes are dimensions.

use crate::error::{Error, Result, try_vec};
use crate::kernels::KV_BLOCK;
use crate::ops::{AttentionLayer, KvElement};
use crate::tensor::Buffer;
use half::f16;

/// Element type of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision: two bytes, relative error of logits about 1e-4.
    #[default]
    F16,
    /// Single precision.
    F32,
}

impl KvType {
    /// Bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F16 => 2,
            KvType::F32 => 4,
        }
    }
}

/// What a layer stores for each position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
}

impl KvShape {
    /// What a layer needs.
    #[must_use]
    pub fn of(layer: &AttentionLayer) -> KvShape {
        KvShape { heads: layer.kv_heads, head_dim: layer.head_dim, value_dim: layer.value_dim }
    }
}

/// One layer's blocks.
pub struct LayerCache<T: KvElement> {
    /// `[block][head][head_dim][256]`.
    pub keys: Buffer<T>,
    /// `[block][head][256][value_dim]`.
    pub values: Buffer<T>,
}

/// The layers, in one of the element types.
pub enum Layers {
    /// Half precision.
    F16(Vec<LayerCache<f16>>),
    /// Single precision.
    F32(Vec<LayerCache<f32>>),
}

/// The cache of one session.
pub struct Cache {
    /// Storage.
    pub layers: Layers,
    /// Block of the storage that holds each 256 positions.
    pub table: Vec<u32>,
    len: usize,
    capacity: usize,
}

impl Cache {
    /// An empty cache for up to `capacity` positions. Memory is reserved now and touched as positions fill it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(shapes: &[KvShape], capacity: usize, kv_type: KvType) -> Result<Cache> {
        let blocks = capacity.div_ceil(KV_BLOCK);
        let count = u32::try_from(blocks).map_err(|_| Error::OutOfMemory)?;
        let layers = match kv_type {
            KvType::F16 => Layers::F16(layers(shapes, blocks)?),
            KvType::F32 => Layers::F32(layers(shapes, blocks)?),
        };
        let mut table = try_vec(blocks, 0)?;
        table.iter_mut().zip(0..count).for_each(|(entry, block)| *entry = block);
        Ok(Cache { layers, table, len: 0, capacity })
    }

    /// Positions stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Declares `count` more positions stored: every layer has them now.
    pub fn advance(&mut self, count: usize) {
        debug_assert!(self.len + count <= self.capacity);
        self.len += count;
    }

    /// Forgets the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

fn layers<T: KvElement>(shapes: &[KvShape], blocks: usize) -> Result<Vec<LayerCache<T>>> {
    let size = |dim: usize, heads: usize| -> Result<usize> {
        [dim, heads, KV_BLOCK].iter().try_fold(blocks, |size, &factor| size.checked_mul(factor)).ok_or(Error::OutOfMemory)
    };
    shapes
        .iter()
        .map(|shape| {
            Ok(LayerCache {
                keys: Buffer::new(size(shape.head_dim, shape.heads)?)?,
                values: Buffer::new(size(shape.value_dim, shape.heads)?)?,
            })
        })
        .collect()
}
