//! Model file -> model file with coarser weights.

use super::boundary::{self, Out, c_string, exclusive, get, new_handle, shared, string};
use super::error::{chord_error, chord_status};
use super::registry::{Handle, Registry};
use crate::model::{QuantizeOptions, QuantizedTensor, quantize};
use crate::quant::FileType;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::RwLock;

/// Hears of every tensor that chord_quantize() has written, and returns whether to go on.
///
/// index, count: the tensor's number, from 0, and how many there are. name, from, to: its name, the type it had and the one it
/// has; they live until the callback returns. error: root mean square of the differences between new and old weights,
/// relative to that of the weights; 0 where nothing changed.
///
/// It runs on the thread that called. Nothing may unwind out of it.
pub type chord_quantize_callback = Option<
    unsafe extern "C" fn(
        index: usize,
        count: usize,
        name: *const c_char,
        from: *const c_char,
        to: *const c_char,
        error: f64,
        user_data: *mut c_void,
    ) -> bool,
>;

/// How chord_quantize() works. Not needed after it.
pub struct chord_quantize_options {
    _opaque: (),
}

/// What stands behind a `chord_quantize_options`.
#[derive(Clone, Default)]
pub struct State {
    options: QuantizeOptions,
    progress: Option<Progress>,
}

#[derive(Clone)]
struct Progress {
    callback: unsafe extern "C" fn(usize, usize, *const c_char, *const c_char, *const c_char, f64, *mut c_void) -> bool,
    user_data: *mut c_void,
}

// SAFETY: called only on the thread that calls `chord_quantize`, with what its host gave for that.
unsafe impl Send for Progress {}
// SAFETY: as above.
unsafe impl Sync for Progress {}

static QUANTIZE_OPTIONS: Registry<chord_quantize_options> = Registry::new();

impl Handle for chord_quantize_options {
    const TAG: u8 = 9;
    const NAME: &'static str = "options";
    type Object = RwLock<State>;

    fn registry() -> &'static Registry<Self> {
        &QUANTIZE_OPTIONS
    }
}

/// Runs `set` on the options behind a handle.
fn set(
    options: *mut chord_quantize_options,
    err: *mut *mut chord_error,
    set: impl FnOnce(&mut State) -> crate::error::Result<()>,
) -> chord_status {
    boundary::status(err, |_| Ok(set(&mut *exclusive("options", &*get(options)?)?)?))
}

/// Makes options with the defaults.
///
/// options: receives them; the caller frees them with chord_quantize_options_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_new(
    options: *mut *mut chord_quantize_options,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        let out = Out::new("options", options)?;
        out.write(new_handle(RwLock::default())?);
        Ok(())
    })
}

/// Frees options. NULL and freed ones are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_free(options: *mut chord_quantize_options) {
    boundary::free(options);
}

/// Threads that share the work. The result does not depend on it.
///
/// threads: 1 to 1024; 0, the default, is the CPU budget of the process (affinity and cgroup quota).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_set_threads(
    options: *mut chord_quantize_options,
    threads: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |state| state.options.set_threads(threads as usize))
}

/// Gives every matrix the base type of the mix, without the finer types of some. The default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_set_pure(
    options: *mut chord_quantize_options,
    pure: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |state| {
        state.options.set_pure(pure);
        Ok(())
    })
}

/// Weights errors by the activations that the weights meet.
///
/// path: a GGUF file with importance data: for a tensor NAME, F32 tensors "NAME.in_sum2" (sums of squared activations, one per
/// column, for each expert) and "NAME.counts" (how many activations). Tensors that it does not name are treated evenly.
///
/// CHORD_STATUS_IO, CHORD_STATUS_MALFORMED: the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_set_importance(
    options: *mut chord_quantize_options,
    path: *const c_char,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |state| {
        // SAFETY: the C contract: NULL or a NUL-terminated string.
        state.options.set_importance(Path::new(unsafe { string("path", path) }?))
    })
}

/// Has a function hear of the progress.
///
/// callback: NULL: nobody hears. user_data: passed to it as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize_options_set_callback(
    options: *mut chord_quantize_options,
    callback: chord_quantize_callback,
    user_data: *mut c_void,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |state| {
        state.progress = callback.map(|callback| Progress { callback, user_data });
        Ok(())
    })
}

/// Writes a model file with other types of weights. Metadata are kept; tensors that are small and delicate stay as they are.
///
/// input: the model, of any types that the library decodes; best F32, F16 or BF16. output: appears, or takes an old file's place,
/// when it is complete; may be the input. file_type: a mix by the name that users know, such as "Q4_K_M". options: NULL is the defaults.
///
/// CHORD_STATUS_INVALID_ARGUMENT: no such type (the message lists them), or a weight that is not finite. CHORD_STATUS_IO,
/// CHORD_STATUS_MALFORMED, CHORD_STATUS_UNSUPPORTED: the input. CHORD_STATUS_INVALID_MODEL: importance data of the wrong shape.
/// CHORD_STATUS_CANCELLED: the callback said so. After any of them there is no new file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_quantize(
    input: *const c_char,
    output: *const c_char,
    file_type: *const c_char,
    options: *const chord_quantize_options,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        // SAFETY: the C contract: NULL or NUL-terminated strings.
        let [input, output, mix] =
            unsafe { [string("input", input)?, string("output", output)?, string("file_type", file_type)?] };
        let mix = FileType::by_name(mix)?;
        let state = if options.is_null() { State::default() } else { shared("options", &*get(options)?)?.clone() };
        let mut progress = |tensor: &QuantizedTensor| state.progress.as_ref().is_none_or(|progress| progress.tell(tensor));
        Ok(quantize(Path::new(input), Path::new(output), mix, &state.options, &mut progress)?)
    })
}

impl Progress {
    fn tell(&self, tensor: &QuantizedTensor) -> bool {
        let [name, from, to] = [tensor.name, tensor.from.name(), tensor.to.name()].map(c_string);
        let QuantizedTensor { index, count, error, .. } = *tensor;
        // SAFETY: the host vouches for its callback (see `chord_quantize_callback`).
        unsafe { (self.callback)(index, count, name.as_ptr(), from.as_ptr(), to.as_ptr(), error, self.user_data) }
    }
}
