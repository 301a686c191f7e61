//! Every setter of options with any number, then what the options are for.

#![no_main]

use chord::ffi::model::{chord_model, chord_model_free, chord_model_open_memory};
use chord::ffi::model_options::*;
use chord::ffi::quantize::*;
use chord::ffi::session::{chord_event, chord_session_append, chord_session_free, chord_session_new, chord_session_step};
use chord::ffi::session_options::*;
use chord_fuzz::small_model;
use chord_fuzz::status::call;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::ptr;
use std::sync::LazyLock;

static MODEL: LazyLock<Vec<u8>> = LazyLock::new(small_model);

fn number(u: &mut Unstructured) -> Result<u32> {
    Ok(match u.int_in_range(0..=2)? {
        0 => u.int_in_range(0..=300)?,
        1 => *u.choose(&[1023, 1024, 1025, 1 << 16, (1 << 16) + 1, 1 << 28, (1 << 28) + 1, u32::MAX])?,
        _ => u.arbitrary()?,
    })
}

fn float(u: &mut Unstructured) -> Result<f32> {
    const EDGES: [f32; 12] =
        [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, f32::EPSILON, 0.5, 1e-45];
    Ok(if u.arbitrary()? { *u.choose(&EDGES)? } else { f32::from_bits(u.arbitrary()?) })
}


fn sequence(u: &mut Unstructured) -> Result<()> {
    let (mut model_options, mut options, mut quantize) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let mut threads = 1;
    // SAFETY: all pointers are what the calls ask for.
    unsafe {
        assert!(call(|err| chord_model_options_new(&mut model_options, err)));
        assert!(call(|err| chord_session_options_new(&mut options, err)));
        assert!(call(|err| chord_quantize_options_new(&mut quantize, err)));
        call(|err| chord_model_options_set_threads(model_options, 1, err));
        call(|err| chord_session_options_set_context_length(options, 32, err));
        for _ in 0..u.int_in_range(0..=24)? {
            match u.int_in_range(0..=25)? {
                0 => {
                    let wanted = number(u)?;
                    if call(|err| chord_model_options_set_threads(model_options, wanted, err)) {
                        threads = wanted;
                    }
                }
                1 => {
                    let level = *u.choose(&[c"scalar", c"avx2", c"avx512", c"amx", c"neon", c"", c"x", c"\xff"])?;
                    call(|err| chord_model_options_set_cpu_level(model_options, level.as_ptr(), err));
                }
                2 => {
                    let precision = chord_precision(u.arbitrary()?);
                    call(|err| chord_model_options_set_precision(model_options, precision, err));
                }
                3 => _ = call(|err| chord_model_options_set_vocab_only(model_options, u.ratio(1, 8).unwrap_or(false), err)),
                4 => _ = call(|err| chord_model_options_set_copy(model_options, true, err)),
                5 => _ = call(|err| chord_model_options_set_resident(model_options, true, err)),
                6 => _ = call(|err| chord_model_options_set_default_pre_tokenizer(model_options, true, err)),
                7 => _ = call(|err| chord_model_options_set_log(model_options, None, ptr::null_mut(), err)),
                8 => {
                    let length = number(u)?;
                    call(|err| chord_session_options_set_context_length(options, length, err));
                }
                9 => {
                    let size = number(u)?;
                    call(|err| chord_session_options_set_batch_size(options, size, err));
                }
                10 => {
                    let kv_type = chord_kv_type(u.int_in_range(-2..=3)?);
                    call(|err| chord_session_options_set_kv_type(options, kv_type, err));
                }
                11 => {
                    let tokens = number(u)?;
                    call(|err| chord_session_options_set_max_tokens(options, tokens, err));
                }
                12 => {
                    let len = u.int_in_range(0..=40)?;
                    let text = u.bytes(usize::min(len, u.len()))?;
                    call(|err| chord_session_options_add_stop(options, text.as_ptr().cast(), text.len(), err));
                }
                13 => {
                    let seed = u.arbitrary()?;
                    call(|err| chord_session_options_set_seed(options, seed, err));
                }
                14 => {
                    let top_k = number(u)?;
                    call(|err| chord_session_options_set_top_k(options, top_k, err));
                }
                15 => {
                    let tokens = number(u)?;
                    call(|err| chord_session_options_set_penalty_window(options, tokens, err));
                }
                16 => _ = call(|err| chord_session_options_set_special_text(options, true, err)),
                17 => {
                    let threads = number(u)?;
                    call(|err| chord_quantize_options_set_threads(quantize, threads, err));
                    call(|err| chord_quantize_options_set_pure(quantize, true, err));
                    call(|err| chord_quantize_options_set_callback(quantize, None, ptr::null_mut(), err));
                    call(|err| chord_quantize_options_set_importance(quantize, c"no/such.gguf".as_ptr(), err));
                }
                24 => {
                    let bytes = u64::from(number(u)?) << u.int_in_range(0..=40)?;
                    call(|err| chord_model_options_set_memory_budget(model_options, bytes, err));
                }
                25 => {
                    let pooling = chord_pooling(u.int_in_range(-1..=6)?);
                    call(|err| chord_session_options_set_pooling(options, pooling, err));
                    call(|err| chord_session_options_set_unit_length(options, true, err));
                    call(|err| chord_session_options_set_prefault(options, false, err));
                }
                setter => {
                    let value = float(u)?;
                    let set = match setter {
                        18 => chord_session_options_set_temperature,
                        19 => chord_session_options_set_top_p,
                        20 => chord_session_options_set_min_p,
                        21 => chord_session_options_set_repetition_penalty,
                        22 => chord_session_options_set_frequency_penalty,
                        _ => chord_session_options_set_presence_penalty,
                    };
                    call(|err| set(options, value, err));
                }
            }
        }
        // A thousand threads are fine, but take their time.
        let mut model: *mut chord_model = ptr::null_mut();
        let data = MODEL.as_ptr().cast();
        if threads <= 4 && call(|err| chord_model_open_memory(data, MODEL.len(), model_options, &mut model, err)) {
            let mut session = ptr::null_mut();
            if call(|err| chord_session_new(model, options, &mut session, err)) {
                let mut event = chord_event::CHORD_EVENT_TOKEN;
                call(|err| chord_session_append(session, [1, 2, 3].as_ptr(), 3, err));
                for _ in 0..3 {
                    call(|err| chord_session_step(session, &mut event, err));
                }
            }
            chord_session_free(session);
        }
        chord_model_free(model);
        chord_model_options_free(model_options);
        chord_session_options_free(options);
        chord_quantize_options_free(quantize);
    }
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    // Input that ends early is no failure.
    let _ = sequence(&mut Unstructured::new(input));
});
