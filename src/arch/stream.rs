//! Models larger than memory: some weights stay in memory, the others pass through a window of it.
//!
//! A pass walks over the weights in one order, again and again, and each pass needs all of them. What the system would do by
//! itself when they do not fit, which is to drop what was used longest ago, then drops everything just before it is needed.
//! Here the same weights stay in every pass; of the others those ahead are being read while those before them are used, and
//! what was used is dropped soon. Less is read, and other programs keep their memory. That it also takes less time is not said:
//! benches/RESULTS.md has a storage that answers page faults faster than hints.

use super::program::{Op, Program};
use crate::gguf::{File, TensorInfo};
use crate::threads::Pool;

/// Which operations of a program find their weights in memory, and what is to be done about those of the others.
pub struct Stream {
    /// For each operation, the tensors of its products.
    tensors: Vec<Vec<TensorInfo>>,
    /// For each operation, what is to be done when it starts.
    hints: Vec<Vec<Hint>>,
}

/// What the system is told about a tensor.
struct Hint {
    /// Whether it will be needed soon, or not.
    read: bool,
    /// Which tensor of which operation.
    op: usize,
    tensor: usize,
    /// Pieces of the hints before this one, for the same operation.
    first: usize,
}

/// Bytes that the system is told about at a time: to find memory for them takes as long as to multiply them, so all threads
/// share that.
const PIECE: usize = 1 << 20;

impl Stream {
    /// A stream that keeps at most `limit` bytes of the weights of products in memory, but no less than what three
    /// neighbouring operations need; `None` when all fit. Experts are not counted: which of them a token needs is not
    /// known ahead, and the system keeps those in memory that are needed often.
    #[must_use]
    pub fn new(program: &Program, limit: usize) -> Option<Stream> {
        let tensors: Vec<Vec<TensorInfo>> = program.ops.iter().map(tensors).collect();
        let sizes: Vec<usize> = tensors.iter().map(|tensors| tensors.iter().map(|tensor| tensor.len).sum()).collect();
        let total: usize = sizes.iter().sum();
        if total <= limit {
            return None;
        }
        let plan = plan(&sizes, limit);
        let mut hints: Vec<Vec<Hint>> = tensors.iter().map(|_| Vec::new()).collect();
        let mut pieces = vec![0; tensors.len()];
        let mut tell = |start: usize, read: bool, op: usize| {
            for (tensor, info) in tensors[op].iter().enumerate() {
                hints[start].push(Hint { read, op, tensor, first: pieces[start] });
                pieces[start] += info.len.div_ceil(PIECE);
            }
        };
        // What was read for the operation before the last one: pages of just now cannot be dropped without stopping all cores.
        let streamed: Vec<usize> = (0..plan.len()).filter(|&op| plan[op].is_some()).collect();
        for (i, &op) in streamed.iter().enumerate() {
            tell(op, false, streamed[behind(i, streamed.len())]);
        }
        for (op, start) in plan.into_iter().enumerate().filter_map(|(op, start)| Some((op, start?))) {
            tell(start, true, op);
        }
        Some(Stream { tensors, hints })
    }

    /// An operation starts: reading of what will be needed soon begins, and what was used leaves memory.
    pub fn enter(&self, file: &File, pool: &Pool, op: usize) {
        let hints = &self.hints[op];
        let tensor = |hint: &Hint| &self.tensors[hint.op][hint.tensor];
        let pieces = hints.last().map_or(0, |hint| hint.first + tensor(hint).len.div_ceil(PIECE));
        pool.run(0..pieces, &|| false, &|_, piece| {
            let Some(hint) = hints.iter().rev().find(|hint| hint.first <= piece) else { return };
            let start = (piece - hint.first) * PIECE;
            match hint.read {
                true => file.read_ahead(tensor(hint), start..start + PIECE),
                false => file.leave_behind(tensor(hint), start..start + PIECE),
            }
        });
    }
}

/// Which of `count` streamed operations is no longer needed when the `index`-th starts.
fn behind(index: usize, count: usize) -> usize {
    (index + 2 * count - 2) % count
}

/// The tensors of an operation's products, each once.
fn tensors(op: &Op) -> Vec<TensorInfo> {
    let mut tensors: Vec<TensorInfo> = Vec::new();
    for matrix in op.matrices() {
        if !tensors.iter().any(|tensor| tensor.name == matrix.tensor().name) {
            tensors.push(matrix.tensor().clone());
        }
    }
    tensors
}

/// For each operation, by the bytes of its weights: `None` when they stay in memory, else the operation with whose start they
/// begin to be read, in this pass or the one before it.
fn plan(sizes: &[usize], limit: usize) -> Vec<Option<usize>> {
    let total: usize = sizes.iter().sum();
    let largest = sizes.iter().copied().max().unwrap_or(0);
    // One operation at work and one behind it, and as much ahead as the next ones need: a quarter of the limit hides a hiccup.
    let ahead = largest.max(limit / 4);
    let kept = limit.saturating_sub(ahead + 2 * largest);
    // Those that stay are spread evenly, so that storage has no pause while they are at work.
    let (mut seen, mut held) = (0, 0);
    let streamed: Vec<bool> = sizes
        .iter()
        .map(|&size| {
            seen += size;
            let stays = held + size <= kept && (held + size) as u128 * total as u128 <= seen as u128 * kept as u128;
            held += if stays { size } else { 0 };
            size > 0 && !stays
        })
        .collect();
    let count = sizes.len();
    (0..count)
        .map(|op| {
            let mut under_way = sizes[op];
            let reach = (1..count).map(|back| (op + count - back) % count).take_while(|&before| {
                under_way += if streamed[before] { sizes[before] } else { 0 };
                under_way <= ahead
            });
            // Without room for more than this one, it is read while the one before it is at work.
            let start = reach.last().unwrap_or((op + count - 1) % count);
            streamed[op].then_some(start)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes in memory at a time in a pass that comes after another, and the bytes read.
    fn run(sizes: &[usize], plan: &[Option<usize>]) -> (usize, usize) {
        let kept: usize = sizes.iter().zip(plan).filter(|(_, start)| start.is_none()).map(|(size, _)| size).sum();
        let streamed: Vec<usize> = (0..plan.len()).filter(|&op| plan[op].is_some()).collect();
        let (mut held, mut most, mut read) = (vec![false; sizes.len()], 0, 0);
        for pass in 0..3 {
            for op in 0..sizes.len() {
                if let Some(index) = streamed.iter().position(|&streamed| streamed == op) {
                    held[streamed[behind(index, streamed.len())]] = false;
                }
                for (other, _) in plan.iter().enumerate().filter(|(_, start)| **start == Some(op)) {
                    held[other] = true;
                    read += if pass == 2 { sizes[other] } else { 0 };
                }
                assert!(pass == 0 || plan[op].is_none() || held[op], "operation {op} finds its weights");
                let window: usize = sizes.iter().zip(&held).filter(|(_, held)| **held).map(|(size, _)| size).sum();
                most = most.max(if pass == 2 { kept + window } else { 0 });
            }
        }
        (most, read)
    }

    #[test]
    fn a_window_within_the_limit_passes_over_all_weights() {
        let layer = [0, 30, 0, 0, 10, 0, 60, 30];
        let mut sizes: Vec<usize> = std::iter::repeat_n(layer, 20).flatten().collect();
        sizes.push(100);
        let total: usize = sizes.iter().sum();
        for limit in [0, 150, 250, 400, 1000, 2000, total - 1] {
            let (most, read) = run(&sizes, &plan(&sizes, limit));
            assert!(most <= limit.max(300), "{most} bytes under a limit of {limit}");
            // What need not be read is what stays: all but the window, to the size of an operation.
            let window = limit.min(100.max(limit / 4) + 200);
            assert!(read <= total - (limit - window) + 100, "{read} bytes read under a limit of {limit}");
        }
    }
}
