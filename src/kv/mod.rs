//! What layers remember: keys and values, or the states of recurrent layers (see [`States`]).
//!
//! The key-value cache: per layer, blocks of 256 absolute positions, found through a table.
//!
//! A layer that sees a window only keeps as many blocks as a window and a batch can touch, and uses them in turn. What is
//! overwritten is gone: a rewind that would need it empties the cache, and the session evaluates its tokens again.
//!
//! Keys are stored dimension-major inside a block, so that vector lanes are positions; values position-major, so that
//! lanes are dimensions.

mod states;

pub use states::States;

use crate::error::{Error, Result};
use crate::kernels::KV_BLOCK;
use crate::ops::{AttentionLayer, KvElement};
use crate::tensor::{Buffer, Memory};
use half::f16;
use std::sync::Arc;

/// Element type of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Half precision: two bytes, relative error of logits about 1e-4.
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
    /// Positions that a token sees, itself included; `None`: all up to itself.
    pub window: Option<usize>,
}

impl KvShape {
    /// What a layer needs.
    #[must_use]
    pub fn of(layer: &AttentionLayer) -> KvShape {
        // Where tokens see what follows them, a whole sequence is there at once.
        let window = layer.window.filter(|_| !layer.bidirectional);
        KvShape { heads: layer.kv_heads, head_dim: layer.head_dim, value_dim: layer.value_dim, window }
    }
}

/// One layer's blocks.
pub struct LayerCache<T: KvElement> {
    /// `[block][head][head_dim][256]`.
    pub keys: Buffer<T>,
    /// `[block][head][256][value_dim]`.
    pub values: Buffer<T>,
    /// Block of the storage that holds each 256 positions.
    pub table: Arc<[u32]>,
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
    /// The states of recurrent layers.
    pub states: States,
    len: usize,
    capacity: usize,
    /// Position behind the last one that was written since the cache was empty.
    written: usize,
    /// Windows that keep fewer blocks than the context has, and how many.
    rings: Vec<Ring>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Ring {
    window: usize,
    blocks: usize,
}

impl Cache {
    /// An empty cache for up to `capacity` positions that come up to `batch` at a time; `states` are the sizes of recurrent
    /// layers. Memory is reserved now and touched as positions fill it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        memory: &mut Memory,
        shapes: &[KvShape],
        states: &[usize],
        capacity: usize,
        batch: usize,
        kv_type: KvType,
    ) -> Result<Cache> {
        let blocks = capacity.div_ceil(KV_BLOCK);
        let kept = |shape: &KvShape| shape.window.map_or(blocks, |window| blocks.min((window + batch).div_ceil(KV_BLOCK) + 1));
        let layers = match kv_type {
            KvType::F16 => Layers::F16(layers(memory, shapes, blocks, kept)?),
            KvType::F32 => Layers::F32(layers(memory, shapes, blocks, kept)?),
        };
        let ring = |shape: &KvShape| Some(Ring { window: shape.window?, blocks: kept(shape) });
        let mut rings: Vec<Ring> = shapes.iter().filter_map(ring).filter(|ring| ring.blocks < blocks).collect();
        rings.dedup();
        Ok(Cache { layers, states: States::new(memory, states)?, len: 0, capacity, written: 0, rings })
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

    /// Announces that `count` more positions are about to be written.
    pub fn prepare(&mut self, count: usize) {
        self.written = self.written.max(self.len + count);
        self.states.prepare(self.len);
    }

    /// Declares `count` more positions stored: every layer has them now.
    pub fn advance(&mut self, count: usize) {
        debug_assert!(self.len + count <= self.capacity);
        self.len += count;
        self.states.advance(self.len);
    }

    /// Forgets the positions from `len` on, those without a state behind them, and all of them if the window in front of what
    /// would be left is gone.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let len = self.states.nearest(len);
        let last = self.written.saturating_sub(1) / KV_BLOCK;
        let kept = |ring: &Ring| (len + 1).saturating_sub(ring.window) / KV_BLOCK + ring.blocks > last;
        self.len = if self.rings.iter().all(kept) { len } else { 0 };
        self.states.truncate(self.len);
        if self.len == 0 {
            self.written = 0;
        }
    }
}

/// Storage of `kept` blocks for each layer; layers that keep equally many share a table.
fn layers<T: KvElement>(
    memory: &mut Memory,
    shapes: &[KvShape],
    blocks: usize,
    kept: impl Fn(&KvShape) -> usize,
) -> Result<Vec<LayerCache<T>>> {
    let mut tables: Vec<(usize, Arc<[u32]>)> = Vec::new();
    let mut table = |memory: &mut Memory, kept: usize| -> Result<Arc<[u32]>> {
        if let Some((_, table)) = tables.iter().find(|(known, _)| *known == kept) {
            return Ok(Arc::clone(table));
        }
        let count = u32::try_from(kept).map_err(|_| Error::OutOfMemory)?;
        let mut table = memory.vec(blocks, 0)?;
        table.iter_mut().zip((0..count).cycle()).for_each(|(entry, block)| *entry = block);
        tables.push((kept, table.into()));
        tables.last().map(|(_, table)| Arc::clone(table)).ok_or(Error::OutOfMemory)
    };
    let mut layer = |shape: &KvShape| {
        let kept = kept(shape);
        let size = |dim: usize| -> Result<usize> {
            [dim, shape.heads, KV_BLOCK].iter().try_fold(kept, |size, &factor| size.checked_mul(factor)).ok_or(Error::OutOfMemory)
        };
        Ok(LayerCache {
            keys: memory.buffer(size(shape.head_dim)?)?,
            values: memory.buffer(size(shape.value_dim)?)?,
            table: table(memory, kept)?,
        })
    };
    shapes.iter().map(&mut layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_kept_as_long_as_nothing_overwrote_it() {
        let shape = KvShape { heads: 1, head_dim: 2, value_dim: 2, window: Some(100) };
        let full = KvShape { window: None, ..shape };
        let mut cache = Cache::new(&mut Memory::system(), &[shape, full], &[], 4096, 32, KvType::F32).unwrap();
        let Layers::F32(layers) = &cache.layers else { unreachable!() };
        assert_eq!(layers.iter().map(|layer| layer.values.len()).collect::<Vec<_>>(), [2 * 256 * 2, 16 * 256 * 2]);
        assert_eq!(layers[0].table[..5], [0, 1, 0, 1, 0]);
        assert_eq!(layers[1].table[..5], [0, 1, 2, 3, 4]);
        let fill = |to: usize, cache: &mut Cache| {
            while cache.len() < to {
                let count = 32.min(to - cache.len());
                cache.prepare(count);
                cache.advance(count);
            }
        };
        // The window in front of 400 reaches back to 301, in block 1, which 512 still leaves alone and 768 replaces.
        fill(768, &mut cache);
        cache.truncate(400);
        assert_eq!(cache.len(), 400);
        fill(768, &mut cache);
        cache.prepare(1);
        cache.truncate(400);
        assert_eq!(cache.len(), 0, "the 769th position is in the storage of block 1");
        // Once empty, everything is as at first.
        fill(500, &mut cache);
        cache.truncate(10);
        assert_eq!(cache.len(), 10);
    }
}
