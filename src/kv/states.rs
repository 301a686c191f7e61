//! States of recurrent layers: what they keep of all positions so far, as one block of numbers per layer.
//!
//! A state cannot be taken back, so older ones are kept beside the newest. Each pass reads the newest and writes another; when it is
//! stopped or forgotten, nothing is lost. A rewind goes back to the nearest state in front of it.

use crate::error::{Error, Result};
use crate::tensor::{Buffer, Memory};

/// Fewest states that are kept: the newest, the one that is written, and one to go back to.
const FEWEST: usize = 3;
/// More are kept as long as they fit into these bytes,
const ROOM: usize = 16 << 20;
/// up to this number.
const MOST: usize = 16;
/// States of layers start on cache lines.
const ALIGN: usize = 32;

/// States at several positions.
pub struct States {
    slots: Vec<Slot>,
    /// Where the state of each layer starts in a slot, and how long it is.
    layers: Vec<(usize, usize)>,
    /// The slot that a pass writes.
    target: Option<usize>,
}

/// The states of all layers behind some number of positions.
struct Slot {
    values: Buffer<f32>,
    /// `None`: nothing of use.
    position: Option<usize>,
}

impl States {
    /// Room for layers of these sizes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(memory: &mut Memory, sizes: &[usize]) -> Result<States> {
        let mut layers = memory.room(sizes.len())?;
        let mut total = 0usize;
        for &size in sizes {
            layers.push((total, size));
            total = size.checked_next_multiple_of(ALIGN).and_then(|size| total.checked_add(size)).ok_or(Error::OutOfMemory)?;
        }
        let fitting = (ROOM / size_of::<f32>()).checked_div(total).unwrap_or(MOST);
        let count = if sizes.is_empty() { 0 } else { fitting.clamp(FEWEST, MOST) };
        let slot = |_| Ok(Slot { values: memory.buffer(total)?, position: None });
        Ok(States { slots: (0..count).map(slot).collect::<Result<_>>()?, layers, target: None })
    }

    /// Chooses what a pass behind `len` positions writes, unless it is chosen already: the state that is least of use.
    pub(super) fn prepare(&mut self, len: usize) {
        if self.target.is_none() && !self.slots.is_empty() {
            let target = self.least_useful(len);
            self.slots[target].position = None;
            self.target = Some(target);
        }
    }

    /// Declares what was written the state behind `len` positions.
    pub(super) fn advance(&mut self, len: usize) {
        if let Some(target) = self.target.take() {
            self.slots[target].position = Some(len);
        }
    }

    /// The greatest position up to `len` that has a state.
    pub(super) fn nearest(&self, len: usize) -> usize {
        if self.slots.is_empty() {
            return len;
        }
        self.slots.iter().filter_map(|slot| slot.position).filter(|&position| position <= len).max().unwrap_or(0)
    }

    /// Forgets the states behind more than `len` positions.
    pub(super) fn truncate(&mut self, len: usize) {
        self.slots.iter_mut().filter(|slot| slot.position > Some(len)).for_each(|slot| slot.position = None);
    }

    /// The state of a layer behind `len` positions, where a pass starts (none at 0), and that behind the pass, to be written.
    ///
    /// # Panics
    /// When no pass was prepared.
    pub fn layer(&mut self, layer: usize, len: usize) -> (Option<&[f32]>, &mut [f32]) {
        let (start, size) = self.layers[layer];
        let target = self.target.expect("a pass was prepared");
        let source = self.slots.iter().position(|slot| len > 0 && slot.position == Some(len));
        let (head, rest) = self.slots.split_at_mut(target);
        let (written, tail) = rest.split_at_mut(1);
        let before = source.map(|source| {
            let slot = if source < target { &head[source] } else { &tail[source - target - 1] };
            &slot.values[start..start + size]
        });
        assert!(before.is_some() || len == 0, "the state behind {len} positions is kept");
        (before, &mut written[0].values[start..start + size])
    }

    /// A slot without a state or, of those that are not behind `len` positions, the one whose loss leaves the smallest gap,
    /// measured by how far its beginning lies back: so a rewind evaluates little more again than it takes back.
    fn least_useful(&self, len: usize) -> usize {
        let positions = || self.slots.iter().filter_map(|slot| slot.position);
        let gap = |position: usize| {
            let before = positions().filter(|&other| other < position).max().unwrap_or(0);
            let after = positions().filter(|&other| other > position).min().unwrap_or(len);
            (after - before) as f64 / (len + 1 - before) as f64
        };
        let gaps = self.slots.iter().map(|slot| match slot.position {
            None => -1.0,
            Some(position) if position == len => f64::INFINITY,
            Some(position) => gap(position),
        });
        gaps.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs passes of `count` positions up to `to`; the state is the number of positions.
    fn run(states: &mut States, from: usize, to: usize, count: usize) {
        for len in (from..to).step_by(count) {
            let end = to.min(len + count);
            // What a pass that is given up wrote is of no use.
            for written in [-1.0, end as f32] {
                states.prepare(len);
                let (before, after) = states.layer(1, len);
                assert_eq!(before.map(|before| before[0]), (len > 0).then_some(len as f32));
                after.fill(written);
            }
            states.advance(end);
        }
    }

    #[test]
    fn a_rewind_finds_a_state_in_front_of_it() {
        // Three slots of 6 MiB.
        let mut states = States::new(&mut Memory::system(), &[10, 3 << 19]).unwrap();
        assert_eq!(states.slots.len(), FEWEST);
        run(&mut states, 0, 1000, 256);
        assert_eq!(states.nearest(1000), 1000);
        assert_eq!(states.nearest(999), 768);
        run(&mut states, 1000, 1200, 1);
        assert_eq!(states.nearest(1199), 1199, "one back is what a rejected token needs");
        assert!(states.nearest(1100) >= 768, "the prompt is not evaluated again");
        let nearest = states.nearest(1100);
        states.truncate(nearest);
        assert_eq!(states.nearest(usize::MAX), nearest);
        run(&mut states, nearest, 1300, 7);
        states.truncate(0);
        run(&mut states, 0, 3, 1);
    }

    #[test]
    fn more_states_keep_more_of_the_way() {
        let mut states = States::new(&mut Memory::system(), &[10, 100]).unwrap();
        assert_eq!(states.slots.len(), MOST);
        run(&mut states, 0, 4000, 1);
        for back in [1, 2, 5, 10, 50, 100, 500, 1000, 2000] {
            let lost = 4000 - back - states.nearest(4000 - back);
            assert!(lost <= back, "{back} back: {lost} positions are evaluated again");
        }
        assert_eq!(States::new(&mut Memory::system(), &[]).unwrap().nearest(77), 77);
    }
}
