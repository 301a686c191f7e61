//! Which tensor of a model gets which type: the mixes that users know by names like `Q4_K_M`.
//!
//! Tensors that hurt most when coarse get more bits: the output matrix, and attention values and the second feed-forward
//! matrix of some layers. Source: the rules of the reference implementation's quantizer, without an importance matrix.

use crate::error::{Error, Result};
use crate::tensor::Dtype;

macro_rules! file_types {
    ($($variant:ident = $id:literal, $base:ident;)*) => {
        /// A mix of types, by the name that users know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FileType { $(#[doc = concat!("`general.file_type` ", $id)] $variant,)* }

        impl FileType {
            /// Every mix, coarsest last within its family.
            pub const ALL: &[FileType] = &[$(FileType::$variant),*];

            /// The field's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(FileType::$variant => stringify!($variant),)* }
            }

            /// The value of the metadata key `general.file_type`.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(FileType::$variant => $id,)* }
            }

            /// The type of most tensors.
            #[must_use]
            pub const fn base(self) -> Dtype {
                match self { $(FileType::$variant => Dtype::$base,)* }
            }
        }
    };
}

file_types! {
    F32 = 0, F32;
    F16 = 1, F16;
    BF16 = 32, BF16;
    Q8_0 = 7, Q8_0;
    Q6_K = 18, Q6_K;
    Q5_1 = 9, Q5_1;
    Q5_0 = 8, Q5_0;
    Q5_K_M = 17, Q5_K;
    Q5_K_S = 16, Q5_K;
    Q4_1 = 3, Q4_1;
    Q4_0 = 2, Q4_0;
    Q4_K_M = 15, Q4_K;
    Q4_K_S = 14, Q4_K;
    IQ4_NL = 25, IQ4_NL;
    IQ4_XS = 30, IQ4_XS;
    Q3_K_L = 13, Q3_K;
    Q3_K_M = 12, Q3_K;
    Q3_K_S = 11, Q3_K;
    Q2_K = 10, Q2_K;
}

/// What a mix must know of a model.
#[derive(Clone, Copy, Debug)]
pub struct MixModel {
    /// Number of layers (`block_count`).
    pub layers: usize,
    /// Query heads that share a key-value head.
    pub heads_per_kv: usize,
    /// Whether the token embedding is the output matrix too.
    pub tied: bool,
}

/// What a tensor does, as far as mixes care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Output,
    AttentionValue,
    AttentionQueryKeyValue,
    AttentionOutput,
    FeedForwardDown,
    Other,
}

impl FileType {
    /// The mix called `name`; case does not matter.
    pub fn by_name(name: &str) -> Result<FileType> {
        FileType::ALL.iter().copied().find(|mix| mix.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<_> = FileType::ALL.iter().map(|mix| mix.name()).collect();
            Error::InvalidArgument(format!("unknown file type \"{name}\" (known: {})", names.join(", ")))
        })
    }

    /// The type for a tensor with this name and these dimensions (fastest first); `None` for tensors that mixes leave as
    /// they are: vectors, norms, expert routers, position tables, short convolutions.
    ///
    /// Rows that are no whole number of blocks get the next finer type whose blocks fit.
    #[must_use]
    pub fn dtype(self, name: &str, dims: &[u64], model: &MixModel) -> Option<Dtype> {
        const KEPT: [&str; 7] =
            ["_norm", "ffn_gate_inp", "rope_freqs", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv"];
        let columns = *dims.first()?;
        if dims.len() < 2 || !name.ends_with(".weight") || KEPT.iter().any(|kept| name.contains(kept)) {
            return None;
        }
        let mut parts = name.split('.');
        let (layer, tensor) = match (parts.next(), parts.next()) {
            (Some("blk"), Some(layer)) => (layer.parse().unwrap_or(0), parts.next().unwrap_or_default()),
            (tensor, _) => (0, tensor.unwrap_or_default()),
        };
        let role = match tensor {
            "output" => Role::Output,
            "token_embd" if model.tied => Role::Output,
            "attn_v" => Role::AttentionValue,
            "attn_qkv" => Role::AttentionQueryKeyValue,
            "attn_output" => Role::AttentionOutput,
            "ffn_down" | "ffn_down_exps" => Role::FeedForwardDown,
            _ => Role::Other,
        };
        Some(fitting(self.of_role(role, layer, model), columns))
    }

    fn of_role(self, role: Role, layer: usize, model: &MixModel) -> Dtype {
        let base = self.base();
        let grouped = model.heads_per_kv >= 4;
        let first = |part: usize| layer < model.layers / part;
        match (self, role) {
            (_, Role::Output) if base.block_len() > 1 && base != Dtype::Q8_0 => Dtype::Q6_K,
            (FileType::Q4_K_M | FileType::Q5_K_M, Role::AttentionValue | Role::FeedForwardDown)
                if more_bits(layer, model.layers) =>
            {
                Dtype::Q6_K
            }
            (FileType::Q5_K_M, Role::AttentionQueryKeyValue) => Dtype::Q6_K,
            (FileType::Q4_K_M, Role::AttentionQueryKeyValue) => Dtype::Q5_K,
            (FileType::Q4_K_S, Role::AttentionValue) if layer < 4 => Dtype::Q5_K,
            (FileType::Q4_K_S | FileType::IQ4_NL | FileType::IQ4_XS, Role::FeedForwardDown) if first(8) => Dtype::Q5_K,
            (FileType::IQ4_NL | FileType::IQ4_XS, Role::AttentionValue) if grouped => Dtype::Q5_K,
            (FileType::Q3_K_L, Role::AttentionValue | Role::AttentionOutput | Role::FeedForwardDown) => Dtype::Q5_K,
            (FileType::Q3_K_M, Role::AttentionValue) if layer < 2 => Dtype::Q5_K,
            (FileType::Q3_K_M, Role::FeedForwardDown) if first(16) => Dtype::Q5_K,
            (FileType::Q3_K_M, Role::FeedForwardDown) if more_bits(layer, model.layers) => Dtype::Q4_K,
            (FileType::Q3_K_M, Role::AttentionValue | Role::AttentionOutput) => Dtype::Q4_K,
            (FileType::Q3_K_M | FileType::Q3_K_L, Role::AttentionQueryKeyValue) => Dtype::Q4_K,
            (FileType::Q2_K, Role::AttentionValue) if grouped => Dtype::Q4_K,
            (FileType::Q2_K, Role::AttentionValue | Role::AttentionOutput | Role::FeedForwardDown) => Dtype::Q3_K,
            _ => base,
        }
    }
}

/// Layers that get more bits: the first and last eighth, and every third between.
fn more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `dtype`, or the next finer type whose blocks divide rows of this length.
fn fitting(dtype: Dtype, columns: u64) -> Dtype {
    let fits = |dtype: Dtype| columns.is_multiple_of(dtype.block_len() as u64);
    let smaller = match dtype {
        _ if fits(dtype) => return dtype,
        Dtype::Q2_K | Dtype::Q3_K | Dtype::IQ4_XS => Dtype::IQ4_NL,
        Dtype::Q4_K => Dtype::Q5_0,
        Dtype::Q5_K => Dtype::Q5_1,
        Dtype::Q6_K => Dtype::Q8_0,
        _ => Dtype::F16,
    };
    if fits(smaller) { smaller } else { Dtype::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINYLLAMA: MixModel = MixModel { layers: 22, heads_per_kv: 8, tied: false };

    #[test]
    fn q4_k_m_gives_half_of_the_layers_more_bits() {
        let of = |name: &str| FileType::Q4_K_M.dtype(name, &[2048, 2048], &TINYLLAMA);
        let finer: Vec<_> = (0..22).filter(|i| of(&format!("blk.{i}.attn_v.weight")) == Some(Dtype::Q6_K)).collect();
        assert_eq!(finer, [0, 1, 4, 7, 10, 13, 16, 19, 20, 21]);
        assert_eq!(of("blk.4.ffn_down.weight"), Some(Dtype::Q6_K));
        assert_eq!(of("blk.5.ffn_down.weight"), Some(Dtype::Q4_K));
        assert_eq!(of("blk.4.ffn_up.weight"), Some(Dtype::Q4_K));
        assert_eq!(of("output.weight"), Some(Dtype::Q6_K));
        assert_eq!(of("token_embd.weight"), Some(Dtype::Q4_K));
        let tied = MixModel { tied: true, ..TINYLLAMA };
        assert_eq!(FileType::Q4_K_M.dtype("token_embd.weight", &[2048, 32000], &tied), Some(Dtype::Q6_K));
    }

    #[test]
    fn small_and_delicate_tensors_stay() {
        for mix in FileType::ALL {
            let of = |name: &str, dims: &[u64]| mix.dtype(name, dims, &TINYLLAMA);
            assert_eq!(of("blk.0.attn_norm.weight", &[2048]), None);
            assert_eq!(of("blk.0.attn_q.bias", &[2048]), None);
            assert_eq!(of("blk.0.ffn_gate_inp.weight", &[2048, 8]), None);
            assert_eq!(of("blk.0.ssm_conv1d.weight", &[4, 2048]), None);
            assert_eq!(of("blk.0.shortconv.conv.weight", &[3, 2048]), None);
            assert_eq!(of("rope_freqs.weight", &[32]), None);
            assert_eq!(FileType::by_name(&mix.name().to_lowercase()).unwrap(), *mix);
        }
    }

    #[test]
    fn rows_that_do_not_fit_get_finer_blocks() {
        let of = |mix: FileType, columns| mix.dtype("blk.2.attn_q.weight", &[columns, 64], &TINYLLAMA);
        assert_eq!(of(FileType::Q4_K_M, 96), Some(Dtype::Q5_0));
        assert_eq!(of(FileType::Q6_K, 96), Some(Dtype::Q8_0));
        assert_eq!(of(FileType::Q2_K, 96), Some(Dtype::IQ4_NL));
        assert_eq!(of(FileType::Q4_0, 100), Some(Dtype::F16));
        assert_eq!(of(FileType::F32, 100), Some(Dtype::F32));
    }
}
