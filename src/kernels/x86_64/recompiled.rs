//! Entries whose reference is written in whole lanes already: compiled once more for a level, it becomes vectors, and
//! without reassociation a compiler cannot change a bit.

/// Defines these entries with the given target features.
macro_rules! recompiled {
    ($features:literal: $($module:ident::$name:ident($($arg:ident: $type:ty),*);)*) => { $(
        #[doc = concat!("See `scalar::", stringify!($module), "`.")]
        #[target_feature(enable = $features)]
        pub(super) fn $name($($arg: $type),*) {
            crate::kernels::scalar::$module::$name($($arg),*);
        }
    )* };
    ($features:literal) => {
        use crate::kernels::{Activation, Partial, RecurArgs, RopeStyle, ScanArgs};

        recompiled! { $features:
            norm::rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
            norm::layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
            rope::rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle);
            activation::swiglu(gate: &mut [f32], up: &[f32]);
            activation::activate(x: &mut [f32], activation: Activation);
            activation::gate(gate: &mut [f32], up: &[f32], activation: Activation);
            activation::softcap(x: &mut [f32], cap: f32);
            elementwise::add(x: &mut [f32], y: &[f32]);
            elementwise::add_scaled(x: &mut [f32], y: &[f32], factor: f32);
            elementwise::multiply_add(out: &mut [f32], x: &[f32], y: &[f32]);
            elementwise::scale(x: &mut [f32], factor: f32);
            attention::merge(total: &mut Partial, next: &Partial, value_dim: usize);
            attention::normalize(total: &Partial, value_dim: usize, out: &mut [f32]);
            recurrence::recur(args: &mut RecurArgs);
            recurrence::scan(args: &mut ScanArgs);
        }
    };
}
pub(super) use recompiled;
