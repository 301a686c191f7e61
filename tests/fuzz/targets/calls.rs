//! Random calls of the C API: handles that live, are freed, of other types or invented, buffers of any size, pointers that
//! are NULL. Nothing dies, no status is internal, and nothing is left at the end.

#![no_main]

use chord::ffi::answer::*;
use chord::ffi::chat::*;
use chord::ffi::error::*;
use chord::ffi::handles::*;
use chord::ffi::model::*;
use chord::ffi::model_info::*;
use chord::ffi::model_options::*;
use chord::ffi::plan::*;
use chord::ffi::quantize::*;
use chord::ffi::session::*;
use chord::ffi::session_options::*;
use chord::ffi::version::*;
use chord_fuzz::small_model;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem;
use std::ptr;
use std::sync::LazyLock;

/// A model in memory and on disk.
static MODEL: LazyLock<(Vec<u8>, CString)> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("chord-fuzz-calls-{}.gguf", std::process::id()));
    let bytes = small_model();
    std::fs::write(&path, &bytes).expect("temporary files can be written");
    (bytes, CString::new(path.to_str().expect("a path in UTF-8")).expect("a path without NUL"))
});

const KINDS: usize = 8;
const ERROR: usize = 0;
const MODEL_OPTIONS: usize = 1;
const MODELS: usize = 2;
const CHAT: usize = 3;
const SESSION_OPTIONS: usize = 4;
const SESSION: usize = 5;
const ANSWER: usize = 6;
const QUANTIZE_OPTIONS: usize = 7;

/// All handles that there ever were, by type.
#[derive(Default)]
struct World {
    handles: [Vec<usize>; KINDS],
    internal: bool,
}

type Err = *mut *mut chord_error;

impl World {
    /// Mostly a handle of this type, alive or not; sometimes anything.
    fn pick<T>(&self, u: &mut Unstructured, kind: usize) -> Result<*mut T> {
        let address = match u.int_in_range(0..=15)? {
            0 => 0,
            1 => u.arbitrary()?,
            2 => {
                let other = u.choose_index(KINDS)?;
                u.choose(&self.handles[other]).copied().unwrap_or(usize::MAX)
            }
            3..=7 => u.choose(&self.handles[kind]).copied().unwrap_or(0),
            _ => self.handles[kind].last().copied().unwrap_or(0),
        };
        Ok(ptr::without_provenance_mut(address))
    }

    /// Makes a call that has a status, and remembers its error.
    fn call(&mut self, u: &mut Unstructured, run: impl FnOnce(Err) -> chord_status) -> Result<bool> {
        let mut err = ptr::null_mut();
        let status = run(if u.ratio(1, 8)? { ptr::null_mut() } else { &mut err });
        self.internal |= status == chord_status::CHORD_STATUS_INTERNAL;
        assert!(status != chord_status::CHORD_OK || err.is_null(), "an error of a call that succeeded");
        if !err.is_null() {
            // SAFETY: getters take any handle; the message lives until the error is freed.
            let message = unsafe { CStr::from_ptr(chord_error_message(err)) }.to_str().expect("messages are UTF-8");
            assert!(!message.contains('\n'), "{message:?}");
            assert!(!self.internal, "{message}");
            self.handles[ERROR].push(err.addr());
        }
        assert!(!self.internal);
        Ok(status == chord_status::CHORD_OK)
    }

    /// A call that makes an object of this type.
    fn make<T>(&mut self, u: &mut Unstructured, kind: usize, run: impl FnOnce(*mut *mut T, Err) -> chord_status) -> Result<()> {
        let mut made: *mut T = ptr::null_mut();
        let null = u.ratio(1, 16)?;
        let ok = self.call(u, |err| run(if null { ptr::null_mut() } else { &mut made }, err))?;
        assert_eq!(ok, !made.is_null());
        if ok {
            self.handles[kind].push(made.addr());
        }
        Ok(())
    }
}

/// Bytes for a parameter of a pointer and a length, in a block of their own; sometimes NULL.
struct Bytes(Option<Box<[u8]>>, usize);

impl Bytes {
    fn new(u: &mut Unstructured) -> Result<Bytes> {
        const TEXTS: &[&str] = &[
            "", "a", "Hello, world!", "<s>", "\u{e9}\u{4e16}", "<|im_end|>", "{}", "[]", "null", "{\"role\": \"user\", \"content\": \"Hi\"}",
            "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]", "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
            "{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}}]}", "1", "\"text\"",
        ];
        match u.int_in_range(0..=7)? {
            0 => Ok(Bytes(None, u.int_in_range(0..=9)?)),
            1 => {
                let len = u.int_in_range(0..=64)?;
                let bytes: Box<[u8]> = u.bytes(usize::min(len, u.len()))?.into();
                Ok(Bytes(Some(bytes.clone()), bytes.len()))
            }
            _ => {
                let text = u.choose(TEXTS)?;
                Ok(Bytes(Some(text.as_bytes().into()), text.len()))
            }
        }
    }

    fn ptr(&self) -> *const c_char {
        self.0.as_ref().map_or(ptr::null(), |bytes| bytes.as_ptr().cast())
    }
}

fn string(u: &mut Unstructured) -> Result<*const c_char> {
    const STRINGS: &[&CStr] = &[
        c"", c"user", c"assistant", c"system", c"tool", c"scalar", c"avx2", c"hermes", c"llama", c"harmony", c"general.name",
        c"tokenizer.ggml.tokens", c"enable_thinking", c"messages", c"no such thing", c"\xff", c"Q4_0", c"no/such.gguf",
    ];
    Ok(if u.ratio(1, 12)? { ptr::null() } else { u.choose(STRINGS)?.as_ptr() })
}

fn path(u: &mut Unstructured) -> Result<*const c_char> {
    Ok(if u.ratio(7, 8)? { MODEL.1.as_ptr() } else { string(u)? })
}

/// A buffer of exactly its capacity, and the place for the length.
struct Buffer<T>(Vec<T>, usize);

impl<T: Default + Clone> Buffer<T> {
    fn new(u: &mut Unstructured) -> Result<Self> {
        let capacity = *u.choose(&[0, 1, 2, 7, 8, 64, 4096])?;
        let mut buffer = Vec::new();
        buffer.reserve_exact(capacity);
        buffer.resize(capacity, T::default());
        Ok(Buffer(buffer, 0))
    }
}

fn flags(u: &mut Unstructured) -> Result<u32> {
    Ok(if u.ratio(1, 10)? { u.arbitrary()? } else { u.int_in_range(0..=3)? })
}

fn number(u: &mut Unstructured) -> Result<u32> {
    Ok(if u.ratio(1, 10)? { u.arbitrary()? } else { u.int_in_range(0..=40)? })
}

fn float(u: &mut Unstructured) -> Result<f32> {
    Ok(if u.arbitrary()? { f32::from(u.arbitrary::<u8>()?) / 64.0 } else { f32::from_bits(u.arbitrary()?) })
}

/// Reads what a getter gave.
unsafe fn read(text: *const c_char, len: usize) {
    if !text.is_null() {
        // SAFETY: what getters give is NUL-terminated and lives until the object changes.
        let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len + 1) };
        assert_eq!(bytes[len], 0);
        assert!(std::str::from_utf8(bytes).is_ok(), "{bytes:?}");
    }
}

unsafe extern "C" fn hear(_: chord_log_level, message: *const c_char, user_data: *mut c_void) {
    assert!(!message.is_null() && user_data.is_null());
}

/// Stops what takes long.
unsafe extern "C" fn hear_work(done: u64, total: u64, _: *mut c_void) -> bool {
    assert!(done <= total);
    done < 1 << 20
}

unsafe extern "C" fn run(function: Option<unsafe extern "C" fn(*mut c_void)>, task: *mut c_void, count: usize, _: *mut c_void) {
    // SAFETY: as the contract of runners has it.
    (0..count).for_each(|_| unsafe { function.expect("a function")(task) });
}

impl World {
    /// One call of the function with this number.
    unsafe fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        let mut size = 0;
        // SAFETY: pointers are NULL or what the calls ask for; handles may be anything.
        unsafe {
            match u.int_in_range(0..=76)? {
                0 => {
                    assert!(!chord_version().is_null() && !chord_cpu_level().is_null());
                    chord_abi_version();
                }
                1 => {
                    let error = self.pick(u, ERROR)?;
                    let message = chord_error_message(error);
                    if !message.is_null() {
                        read(message, CStr::from_ptr(message).count_bytes());
                    }
                    chord_error_status(error);
                    chord_error_offset(error);
                }
                2 => chord_error_free(self.pick(u, ERROR)?),
                3 => self.make(u, MODEL_OPTIONS, |out, err| chord_model_options_new(out, err))?,
                4 => chord_model_options_free(self.pick(u, MODEL_OPTIONS)?),
                5 => {
                    // Threads are another target's subject.
                    let (options, threads) = (self.pick(u, MODEL_OPTIONS)?, u.int_in_range(1..=3)?);
                    self.call(u, |err| chord_model_options_set_threads(options, threads, err))?;
                }
                6 => {
                    let (options, level) = (self.pick(u, MODEL_OPTIONS)?, string(u)?);
                    self.call(u, |err| chord_model_options_set_cpu_level(options, level, err))?;
                }
                7 => {
                    let (options, precision) = (self.pick(u, MODEL_OPTIONS)?, chord_precision(u.int_in_range(-1..=2)?));
                    self.call(u, |err| chord_model_options_set_precision(options, precision, err))?;
                }
                8 => {
                    let (options, value, which) = (self.pick(u, MODEL_OPTIONS)?, u.arbitrary()?, u.int_in_range(0..=3)?);
                    let set = [
                        chord_model_options_set_vocab_only,
                        chord_model_options_set_copy,
                        chord_model_options_set_resident,
                        chord_model_options_set_default_pre_tokenizer,
                    ][which];
                    self.call(u, |err| set(options, value, err))?;
                }
                9 => {
                    let options = self.pick(u, MODEL_OPTIONS)?;
                    self.call(u, |err| chord_model_options_set_log(options, Some(hear), ptr::null_mut(), err))?;
                }
                10..=12 => {
                    let (path, options) = (path(u)?, self.options(u)?);
                    self.make(u, MODELS, |out, err| chord_model_open(path, options, out, err))?;
                }
                13 | 14 => {
                    let options = self.options(u)?;
                    let len = if u.ratio(1, 8)? { u.choose_index(MODEL.0.len())? } else { MODEL.0.len() };
                    self.make(u, MODELS, |out, err| {
                        chord_model_open_memory(MODEL.0.as_ptr().cast(), len, options, out, err)
                    })?;
                }
                15 => chord_model_free(self.pick(u, MODELS)?),
                16..=18 => {
                    let (model, text, flags) = (self.pick(u, MODELS)?, Bytes::new(u)?, flags(u)?);
                    let mut buffer = Buffer::<i32>::new(u)?;
                    let (out, capacity) = (buffer.0.as_mut_ptr(), buffer.0.len());
                    self.call(u, |err| {
                        chord_model_tokenize(model, text.ptr(), text.1, flags, out, capacity, &mut buffer.1, err)
                    })?;
                }
                19 | 20 => {
                    let (model, flags) = (self.pick(u, MODELS)?, flags(u)?);
                    let tokens = self.tokens(u)?;
                    let mut buffer = Buffer::<u8>::new(u)?;
                    let (out, capacity) = (buffer.0.as_mut_ptr().cast(), buffer.0.len());
                    self.call(u, |err| {
                        chord_model_detokenize(model, tokens.as_ptr(), tokens.len(), flags, out, capacity, &mut buffer.1, err)
                    })?;
                }
                21 => {
                    let model = self.pick(u, MODELS)?;
                    chord_model_vocab_size(model);
                    chord_model_context_length(model);
                    chord_model_bos(model);
                    chord_model_eos(model);
                    chord_model_ends_generation(model, u.arbitrary()?);
                    chord_model_threads(model);
                    chord_model_resident_size(model);
                    chord_model_cpu_level(model);
                    chord_model_metadata_count(model);
                    chord_model_tensor_count(model);
                }
                22 => {
                    let (model, index) = (self.pick(u, MODELS)?, number(u)? as usize);
                    let mut buffer = Buffer::<u8>::new(u)?;
                    let (out, capacity) = (buffer.0.as_mut_ptr().cast(), buffer.0.len());
                    let get = [chord_model_metadata_key, chord_model_tensor_name][u.int_in_range(0..=1)?];
                    self.call(u, |err| get(model, index, out, capacity, &mut buffer.1, err))?;
                }
                23 => {
                    let (model, key) = (self.pick(u, MODELS)?, string(u)?);
                    let mut buffer = Buffer::<u8>::new(u)?;
                    let (out, capacity) = (buffer.0.as_mut_ptr().cast(), buffer.0.len());
                    self.call(u, |err| chord_model_metadata_value(model, key, out, capacity, &mut buffer.1, err))?;
                }
                24 => {
                    let (model, index) = (self.pick(u, MODELS)?, number(u)? as usize);
                    let mut info = mem::MaybeUninit::<chord_tensor_info>::uninit();
                    let size = if u.ratio(1, 4)? { u.int_in_range(0..=mem::size_of_val(&info))? } else { mem::size_of_val(&info) };
                    self.call(u, |err| chord_model_tensor_info(model, index, info.as_mut_ptr(), size, err))?;
                }
                25 | 26 => {
                    let (model, flags) = (self.pick(u, MODELS)?, flags(u)?);
                    self.make(u, CHAT, |out, err| chord_chat_new(model, flags, out, err))?;
                }
                27 => chord_chat_free(self.pick(u, CHAT)?),
                28 | 29 => {
                    let (chat, role, content) = (self.pick(u, CHAT)?, string(u)?, Bytes::new(u)?);
                    self.call(u, |err| chord_chat_add(chat, role, content.ptr(), content.1, err))?;
                }
                30 => {
                    let (chat, message) = (self.pick(u, CHAT)?, Bytes::new(u)?);
                    let add = [chord_chat_add_json, chord_chat_set_tools][u.int_in_range(0..=1)?];
                    self.call(u, |err| add(chat, message.ptr(), message.1, err))?;
                }
                31 => {
                    let (chat, name, value) = (self.pick(u, CHAT)?, string(u)?, Bytes::new(u)?);
                    self.call(u, |err| chord_chat_set_variable(chat, name, value.ptr(), value.1, err))?;
                }
                32 => {
                    let (chat, count) = (self.pick(u, CHAT)?, u.int_in_range(0..=5)?);
                    chord_chat_count(chat);
                    self.call(u, |err| chord_chat_truncate(chat, count, err))?;
                }
                33 => {
                    let (chat, time) = (self.pick(u, CHAT)?, u.arbitrary()?);
                    self.call(u, |err| chord_chat_set_time(chat, time, err))?;
                }
                34 => {
                    let (chat, flags) = (self.pick(u, CHAT)?, flags(u)?);
                    let mut buffer = Buffer::<u8>::new(u)?;
                    let (out, capacity) = (buffer.0.as_mut_ptr().cast(), buffer.0.len());
                    self.call(u, |err| chord_chat_render(chat, flags, out, capacity, &mut buffer.1, err))?;
                }
                35 => self.make(u, SESSION_OPTIONS, |out, err| chord_session_options_new(out, err))?,
                36 => chord_session_options_free(self.pick(u, SESSION_OPTIONS)?),
                37 => {
                    let (options, value, which) = (self.pick(u, SESSION_OPTIONS)?, number(u)?, u.int_in_range(0..=4)?);
                    let set = [
                        chord_session_options_set_context_length,
                        chord_session_options_set_batch_size,
                        chord_session_options_set_max_tokens,
                        chord_session_options_set_top_k,
                        chord_session_options_set_penalty_window,
                    ][which];
                    self.call(u, |err| set(options, value, err))?;
                }
                38 => {
                    let (options, value, which) = (self.pick(u, SESSION_OPTIONS)?, float(u)?, u.int_in_range(0..=5)?);
                    let set = [
                        chord_session_options_set_temperature,
                        chord_session_options_set_top_p,
                        chord_session_options_set_min_p,
                        chord_session_options_set_repetition_penalty,
                        chord_session_options_set_frequency_penalty,
                        chord_session_options_set_presence_penalty,
                    ][which];
                    self.call(u, |err| set(options, value, err))?;
                }
                39 => {
                    let (options, kv_type, seed) = (self.pick(u, SESSION_OPTIONS)?, chord_kv_type(u.int_in_range(-1..=2)?), u.arbitrary()?);
                    self.call(u, |err| chord_session_options_set_kv_type(options, kv_type, err))?;
                    self.call(u, |err| chord_session_options_set_seed(options, seed, err))?;
                    self.call(u, |err| chord_session_options_set_special_text(options, seed % 2 == 0, err))?;
                }
                40 => {
                    let (options, text) = (self.pick(u, SESSION_OPTIONS)?, Bytes::new(u)?);
                    self.call(u, |err| chord_session_options_add_stop(options, text.ptr(), text.1, err))?;
                }
                41..=43 => {
                    let model = self.pick(u, MODELS)?;
                    let options = if u.ratio(1, 3)? { ptr::null_mut() } else { self.pick(u, SESSION_OPTIONS)? };
                    self.make(u, SESSION, |out, err| chord_session_new(model, options, out, err))?;
                }
                44 => chord_session_free(self.pick(u, SESSION)?),
                45..=47 => {
                    let (session, tokens) = (self.pick(u, SESSION)?, self.tokens(u)?);
                    self.call(u, |err| chord_session_append(session, tokens.as_ptr(), tokens.len(), err))?;
                }
                48 | 49 => {
                    let (session, text, flags) = (self.pick(u, SESSION)?, Bytes::new(u)?, flags(u)?);
                    self.call(u, |err| chord_session_append_text(session, text.ptr(), text.1, flags, err))?;
                }
                50 => {
                    let (session, chat, flags) = (self.pick(u, SESSION)?, self.pick(u, CHAT)?, flags(u)?);
                    self.call(u, |err| chord_session_append_chat(session, chat, flags, err))?;
                }
                51 | 52 => {
                    let session = self.pick(u, SESSION)?;
                    self.call(u, |err| chord_session_eval(session, err))?;
                }
                53..=57 => {
                    let (session, mut event) = (self.pick(u, SESSION)?, chord_event::CHORD_EVENT_TOKEN);
                    if self.call(u, |err| chord_session_step(session, &mut event, err))? {
                        assert!((1..=5).contains(&(event as i32)), "{event:?}");
                    }
                    read(chord_session_piece(session, &mut size), size);
                }
                58 | 59 => {
                    let (session, microseconds, mut event) = (self.pick(u, SESSION)?, u.arbitrary::<u8>()?, chord_event::CHORD_EVENT_TOKEN);
                    if self.call(u, |err| chord_session_step_for(session, microseconds.into(), &mut event, err))? {
                        assert!((1..=6).contains(&(event as i32)), "{event:?}");
                    }
                }
                60 => {
                    let session = self.pick(u, SESSION)?;
                    let logits = chord_session_logits(session, &mut size);
                    assert_eq!(logits.is_null(), size == 0);
                    if size > 0 {
                        assert!(std::slice::from_raw_parts(logits, size).iter().all(|logit| !logit.is_nan()));
                    }
                    let embedding = chord_session_embedding(session, &mut size);
                    assert_eq!(embedding.is_null(), size == 0);
                    chord_session_token(session);
                    assert!(chord_session_position(session) <= chord_session_context_length(session));
                }
                61 | 62 => {
                    let session = self.pick(u, SESSION)?;
                    let position = if u.ratio(1, 8)? { u.arbitrary()? } else { u.int_in_range(0..=chord_session_position(session))? };
                    self.call(u, |err| chord_session_rewind(session, position, err))?;
                }
                63 => chord_session_cancel(self.pick(u, SESSION)?),
                64 => {
                    let (chat, format) = (self.pick(u, CHAT)?, if u.arbitrary()? { ptr::null() } else { string(u)? });
                    self.make(u, ANSWER, |out, err| chord_answer_new(chat, format, out, err))?;
                }
                65 => chord_answer_free(self.pick(u, ANSWER)?),
                66 => {
                    let (answer, text, last) = (self.pick(u, ANSWER)?, Bytes::new(u)?, u.ratio(1, 8)?);
                    self.call(u, |err| chord_answer_feed(answer, text.ptr(), text.1, last, err))?;
                }
                67 => {
                    let answer = self.pick(u, ANSWER)?;
                    let text = chord_answer_text(answer, chord_answer_part(u.int_in_range(0..=5)?), &mut size);
                    read(text, size);
                    let text = chord_answer_call(answer, u.int_in_range(0..=2)?, chord_call_part(u.int_in_range(0..=4)?), &mut size);
                    read(text, size);
                }
                68 => self.make(u, QUANTIZE_OPTIONS, |out, err| chord_quantize_options_new(out, err))?,
                69 => chord_quantize_options_free(self.pick(u, QUANTIZE_OPTIONS)?),
                70 => {
                    let (options, pure, path) = (self.pick(u, QUANTIZE_OPTIONS)?, u.arbitrary()?, path(u)?);
                    self.call(u, |err| chord_quantize_options_set_threads(options, 1, err))?;
                    self.call(u, |err| chord_quantize_options_set_pure(options, pure, err))?;
                    self.call(u, |err| chord_quantize_options_set_importance(options, path, err))?;
                    self.call(u, |err| chord_quantize_options_set_callback(options, None, ptr::null_mut(), err))?;
                }
                71 => {
                    let (path, options, session_options) = (path(u)?, self.options(u)?, self.pick(u, SESSION_OPTIONS)?);
                    let mut plan = mem::MaybeUninit::<chord_plan>::uninit();
                    let size = if u.ratio(1, 4)? { u.int_in_range(0..=mem::size_of_val(&plan))? } else { mem::size_of_val(&plan) };
                    self.call(u, |err| chord_model_plan(path, options, session_options, plan.as_mut_ptr(), size, err))?;
                }
                72 => {
                    let (options, bytes) = (self.pick(u, MODEL_OPTIONS)?, u64::from(number(u)?) << u.int_in_range(0..=40)?);
                    self.call(u, |err| chord_model_options_set_memory_budget(options, bytes, err))?;
                }
                73 => {
                    let (options, pooling, unit) = (self.pick(u, SESSION_OPTIONS)?, chord_pooling(u.int_in_range(-1..=6)?), u.arbitrary()?);
                    self.call(u, |err| chord_session_options_set_pooling(options, pooling, err))?;
                    self.call(u, |err| chord_session_options_set_unit_length(options, unit, err))?;
                }
                74 => {
                    let (options, nice) = (self.pick(u, MODEL_OPTIONS)?, u.int_in_range(-25..=25)?);
                    self.call(u, |err| chord_model_options_set_thread_priority(options, nice, err))?;
                    let runner = if u.arbitrary()? { Some(run as _) } else { None };
                    self.call(u, |err| chord_model_options_set_runner(options, runner, ptr::null_mut(), err))?;
                }
                75 => {
                    let (options, session_options) = (self.pick(u, MODEL_OPTIONS)?, self.pick(u, SESSION_OPTIONS)?);
                    let work = if u.arbitrary()? { Some(hear_work as _) } else { None };
                    self.call(u, |err| chord_model_options_set_progress(options, work, ptr::null_mut(), err))?;
                    self.call(u, |err| chord_session_options_set_progress(session_options, work, ptr::null_mut(), err))?;
                }
                _ => {
                    // Into a folder that is not there: all but the last step.
                    let (path, name, options) = (path(u)?, string(u)?, self.pick(u, QUANTIZE_OPTIONS)?);
                    self.call(u, |err| chord_quantize(path, c"no/such/folder.gguf".as_ptr(), name, options, err))?;
                }
            }
        }
        Ok(())
    }

    fn options(&self, u: &mut Unstructured) -> Result<*const chord_model_options> {
        // With the default number of threads rarely: they cost time.
        Ok(if u.ratio(1, 8)? { ptr::null() } else { self.pick::<chord_model_options>(u, MODEL_OPTIONS)?.cast_const() })
    }

    fn tokens(&self, u: &mut Unstructured) -> Result<Box<[i32]>> {
        let len = u.int_in_range(0..=12)?;
        (0..len).map(|_| Ok(if u.ratio(1, 40)? { u.arbitrary()? } else { u.int_in_range(0..=319)? })).collect()
    }

    /// Frees everything, twice.
    unsafe fn end(&self) {
        for (kind, handle) in self.handles.iter().enumerate().flat_map(|(kind, list)| list.iter().map(move |handle| (kind, *handle))) {
            for _ in 0..2 {
                // SAFETY: freeing takes anything.
                unsafe {
                    match kind {
                        ERROR => chord_error_free(ptr::without_provenance_mut(handle)),
                        MODEL_OPTIONS => chord_model_options_free(ptr::without_provenance_mut(handle)),
                        MODELS => chord_model_free(ptr::without_provenance_mut(handle)),
                        CHAT => chord_chat_free(ptr::without_provenance_mut(handle)),
                        SESSION_OPTIONS => chord_session_options_free(ptr::without_provenance_mut(handle)),
                        SESSION => chord_session_free(ptr::without_provenance_mut(handle)),
                        ANSWER => chord_answer_free(ptr::without_provenance_mut(handle)),
                        _ => chord_quantize_options_free(ptr::without_provenance_mut(handle)),
                    }
                }
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut world = World::default();
    let u = &mut Unstructured::new(input);
    // Options and a model to begin with: few random sequences get that far.
    let threads = |options, err| unsafe { chord_model_options_set_threads(options, 1, err) };
    // SAFETY: as in `step`.
    unsafe {
        let mut options = ptr::null_mut();
        chord_model_options_new(&mut options, ptr::null_mut());
        threads(options, ptr::null_mut());
        world.handles[MODEL_OPTIONS].push(options.addr());
        let mut model = ptr::null_mut();
        let data = MODEL.0.as_ptr().cast();
        assert_eq!(chord_model_open_memory(data, MODEL.0.len(), options, &mut model, ptr::null_mut()), chord_status::CHORD_OK);
        world.handles[MODELS].push(model.addr());
        while !u.is_empty() && world.step(u).is_ok() {}
        world.end();
        assert_eq!(chord_handle_count(chord_handle_kind::CHORD_HANDLE_KIND_ANY), 0);
    }
});
