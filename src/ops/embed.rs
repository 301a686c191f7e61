//! Token ids -> rows of the embedding table.

use super::{Machine, Shared, Weights};

/// Writes the table's row of each token into the rows of `out`, dequantized.
///
/// # Panics
/// When a token is not below `table.rows` or `out` is not `tokens.len() * table.depth` long.
pub fn embed(machine: Machine, table: Weights, tokens: &[i32], out: &mut [f32]) {
    let width = table.depth;
    assert_eq!(out.len(), tokens.len() * width, "embedding output");
    let row_bytes = table.bytes.len() / table.rows;
    let rows = Shared::new(out);
    machine.run(tokens.len(), tokens.len() * width, &|_, index| {
        let token = usize::try_from(tokens[index]).expect("token ids were checked");
        // SAFETY: one row per unit.
        let row = unsafe { rows.part(index * width, width) };
        machine.kernels.decode(table.dtype, &table.bytes[token * row_bytes..(token + 1) * row_bytes], row);
    });
}
