//! The element types of GGUF tensors: number, name, block shape. What the bytes of a block mean is `quant`'s business.
//!
//! Source: the GGUF specification and the block structs of the ggml reference implementation.

use std::fmt;

macro_rules! dtypes {
    ($($variant:ident = $id:literal, $block_len:literal, $block_bytes:literal;)*) => {
        /// An element type. Quantized types store weights in blocks of [`Dtype::block_len`] along a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        pub enum Dtype { $(#[doc = concat!("GGUF type ", $id)] $variant,)* }

        impl Dtype {
            /// Every type, in the order of the enum.
            pub const ALL: &[Dtype] = &[$(Dtype::$variant),*];
            /// How many types there are: the length of tables indexed by `dtype as usize`.
            pub const COUNT: usize = Self::ALL.len();

            /// The type with this number in a GGUF file.
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Dtype> {
                match id { $($id => Some(Dtype::$variant),)* _ => None }
            }

            /// The number of this type in a GGUF file.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Dtype::$variant => $id,)* }
            }

            /// The field's name for it, e.g. `Q4_K`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$variant => stringify!($variant),)* }
            }

            /// Elements per block.
            #[must_use]
            pub const fn block_len(self) -> usize {
                match self { $(Dtype::$variant => $block_len,)* }
            }

            /// Bytes per block.
            #[must_use]
            pub const fn block_bytes(self) -> usize {
                match self { $(Dtype::$variant => $block_bytes,)* }
            }
        }
    };
}

dtypes! {
    F32 = 0, 1, 4;
    F16 = 1, 1, 2;
    Q4_0 = 2, 32, 18;
    Q4_1 = 3, 32, 20;
    Q5_0 = 6, 32, 22;
    Q5_1 = 7, 32, 24;
    Q8_0 = 8, 32, 34;
    Q8_1 = 9, 32, 36;
    Q2_K = 10, 256, 84;
    Q3_K = 11, 256, 110;
    Q4_K = 12, 256, 144;
    Q5_K = 13, 256, 176;
    Q6_K = 14, 256, 210;
    Q8_K = 15, 256, 292;
    IQ2_XXS = 16, 256, 66;
    IQ2_XS = 17, 256, 74;
    IQ3_XXS = 18, 256, 98;
    IQ1_S = 19, 256, 50;
    IQ4_NL = 20, 32, 18;
    IQ3_S = 21, 256, 110;
    IQ2_S = 22, 256, 82;
    IQ4_XS = 23, 256, 136;
    I8 = 24, 1, 1;
    I16 = 25, 1, 2;
    I32 = 26, 1, 4;
    I64 = 27, 1, 8;
    F64 = 28, 1, 8;
    IQ1_M = 29, 256, 56;
    BF16 = 30, 1, 2;
    TQ1_0 = 34, 256, 54;
    TQ2_0 = 35, 256, 66;
    MXFP4 = 39, 32, 17;
    NVFP4 = 40, 64, 36;
}

impl Dtype {
    /// Bytes of a row of `len` elements; `None` when `len` is not a whole number of blocks or the product overflows.
    #[must_use]
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
