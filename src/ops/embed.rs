//! Token ids -> rows of the embedding table.

use super::{Machine, Shared, Weights};

/// Arguments of [`embed`].
pub struct EmbedArgs<'a> {
    /// One row per token id.
    pub table: Weights<'a>,
    /// One row per position, added: learned positions.
    pub positions: Option<Weights<'a>>,
    /// Added to every row.
    pub each: Option<&'a [f32]>,
    /// Multiplies the rows of `table`.
    pub scale: f32,
    /// The tokens.
    pub tokens: &'a [i32],
    /// Position of the first of them.
    pub start: usize,
}

/// Writes the table's row of each token into the rows of `out`, dequantized; `scratch` has room for one row per thread.
///
/// # Panics
/// When a token or position is outside its table or `out` is not `tokens.len() * table.depth` long.
pub fn embed(machine: Machine, args: EmbedArgs, out: &mut [f32], scratch: &mut [f32]) {
    let EmbedArgs { table, positions, each, scale, tokens, start } = args;
    let width = table.depth;
    assert_eq!(out.len(), tokens.len() * width, "embedding output");
    let (out, scratch) = (Shared::new(out), Shared::new(scratch));
    machine.run(tokens.len(), tokens.len() * width, &|thread, index| {
        let token = usize::try_from(tokens[index]).expect("token ids were checked");
        // SAFETY: one row per unit.
        let row = unsafe { out.part(index * width, width) };
        machine.kernels.decode(table.dtype, table.row(token), row);
        if scale != 1.0 {
            machine.kernels.scale(row, scale);
        }
        if let Some(each) = each {
            machine.kernels.add(row, each);
        }
        if let Some(positions) = positions {
            // SAFETY: one row per thread.
            let position = unsafe { scratch.part(thread * width, width) };
            machine.kernels.decode(positions.dtype, positions.row(start + index), position);
            machine.kernels.add(row, position);
        }
    });
}
