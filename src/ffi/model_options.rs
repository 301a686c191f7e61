//! How a model is opened.

use super::boundary::{self, Out, Result, c_string, exclusive, get, new_handle, shared, string};
use super::error::{chord_error, chord_status};
use super::registry::{Handle, Registry};
use crate::error::Error;
use crate::model::{LogLevel, LogSink, ModelOptions, ProgressSink};
use crate::quant::Precision;
use crate::threads::{Help, Runner};
use open_enum::open_enum;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, RwLock};

/// How finely activations are quantized for products with quantized weights.
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_precision {
    /// The model file's own logits, to about 1e-4: the default.
    CHORD_PRECISION_HIGH = 0,
    /// 8-bit activations, as other engines use: faster, error about 1e-2.
    CHORD_PRECISION_FAST = 1,
}

/// How much a log message matters. Later releases may add values.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_log_level {
    /// Something failed; the status of the call says so too.
    CHORD_LOG_LEVEL_ERROR = 1,
    /// Something is off and was worked around.
    CHORD_LOG_LEVEL_WARN = 2,
    /// What was chosen: instruction-set level, threads, sizes.
    CHORD_LOG_LEVEL_INFO = 3,
}

/// Receives the log of a model. message is one NUL-terminated text that lives until the callback returns.
///
/// It runs inside calls on the model and its sessions, on the threads that make them, so on several at once if the
/// program does; objects of the running call answer CHORD_STATUS_BUSY inside it. Nothing may unwind out of it.
pub type chord_log_callback =
    Option<unsafe extern "C" fn(level: chord_log_level, message: *const c_char, user_data: *mut c_void)>;

/// Hears how far a call is, and returns whether to go on. done, total: amounts of work, in no particular unit; done grows, and
/// reaches total in the last call, whose result does not matter.
///
/// It runs on the thread that made the call; objects of that call answer CHORD_STATUS_BUSY inside it. Nothing may unwind out of
/// it.
pub type chord_progress_callback = Option<unsafe extern "C" fn(done: u64, total: u64, user_data: *mut c_void) -> bool>;

/// A part of the library's work: to be called with the task that came with it.
pub type chord_task_function = Option<unsafe extern "C" fn(task: *mut c_void)>;

/// Has threads of the host do the library's work: calls function(task) up to count times, at the same time from as many threads
/// as it likes, the calling one included, and returns when those calls have returned. What it leaves over the calling thread does
/// itself afterwards. This happens some hundred times for a token, so it must be quick.
///
/// It runs on the threads that make calls on sessions; those of one model take turns, so it must not itself evaluate a session of
/// that model. Nothing may unwind out of it, and function(task) must not be called after the model and its sessions are freed.
pub type chord_runner_callback =
    Option<unsafe extern "C" fn(function: chord_task_function, task: *mut c_void, count: usize, user_data: *mut c_void)>;

/// How to open a model. Read by chord_model_open() and not needed after it.
pub struct chord_model_options {
    _opaque: (),
}

static MODEL_OPTIONS: Registry<chord_model_options> = Registry::new();

impl Handle for chord_model_options {
    const TAG: u8 = 2;
    const NAME: &'static str = "options";
    type Object = RwLock<ModelOptions>;

    fn registry() -> &'static Registry<Self> {
        &MODEL_OPTIONS
    }
}

/// The options behind a handle, or the defaults for NULL.
pub(super) fn options(options: *const chord_model_options) -> Result<ModelOptions> {
    if options.is_null() { Ok(ModelOptions::default()) } else { Ok(shared("options", &*get(options)?)?.clone()) }
}

/// Runs `set` on the options behind a handle.
fn set(
    options: *mut chord_model_options,
    err: *mut *mut chord_error,
    set: impl FnOnce(&mut ModelOptions) -> crate::error::Result<()>,
) -> chord_status {
    boundary::status(err, |_| Ok(set(&mut *exclusive("options", &*get(options)?)?)?))
}

/// Makes options with the defaults.
///
/// options: receives them; the caller frees them with chord_model_options_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_new(
    options: *mut *mut chord_model_options,
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
pub unsafe extern "C" fn chord_model_options_free(options: *mut chord_model_options) {
    boundary::free(options);
}

/// Threads that share the work of the model's sessions, the calling one included. Results do not depend on it.
///
/// threads: 1 to 1024; 0, the default, is the CPU budget of the process (affinity and cgroup quota).
/// Those beyond the budget take part only while single units of work take more than 5 milliseconds, as
/// where weights come from slow storage.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_threads(
    options: *mut chord_model_options,
    threads: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.set_threads(threads as usize))
}

/// Forces an instruction-set level. Results do not depend on it.
///
/// level: "scalar" or the name of another level that this machine has; the default is the best, chord_cpu_level().
///
/// CHORD_STATUS_INVALID_ARGUMENT: no level has that name. CHORD_STATUS_UNSUPPORTED: this machine does not have it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_cpu_level(
    options: *mut chord_model_options,
    level: *const c_char,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        // SAFETY: the C contract: NULL or a NUL-terminated string.
        options.set_cpu_level(unsafe { string("level", level) }?)
    })
}

/// How finely activations are quantized: CHORD_PRECISION_HIGH, the default, or CHORD_PRECISION_FAST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_precision(
    options: *mut chord_model_options,
    precision: chord_precision,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_precision(match precision {
            chord_precision::CHORD_PRECISION_HIGH => Precision::High,
            chord_precision::CHORD_PRECISION_FAST => Precision::Fast,
            chord_precision(unknown) => return Err(Error::InvalidArgument(format!("unknown precision {unknown}"))),
        });
        Ok(())
    })
}

/// Opens only metadata, tokenizer and chat template: no tensor is looked at, and the file need not hold any. Such a model
/// makes no sessions. The default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_vocab_only(
    options: *mut chord_model_options,
    vocab_only: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_vocab_only(vocab_only);
        Ok(())
    })
}

/// Reads the file into private memory (or copies the caller's), instead of using it where it is. When another program cuts a
/// mapped file short, calls that would read it return CHORD_STATUS_IO; if it does so while one reads, the operating system
/// ends the process. A copy is immune. An opening that is stopped first gives back what it has copied: that takes microseconds
/// for every MiB in huge pages, but about 0.1 ms where the system had none. The default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_copy(
    options: *mut chord_model_options,
    copy: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_copy(copy);
        Ok(())
    })
}

/// Copies the weights into huge pages of this process, in the order that its instruction set works on, in the background,
/// tensor by tensor, while the file mapping serves. Decoding computes less then; whether it is faster depends on how the
/// machine reads memory. The process takes as much memory as the weights. Results do not change. Of no effect on a file
/// that is copied as a whole. The default is false: weights stay in the mapping, which processes share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_resident(
    options: *mut chord_model_options,
    resident: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_resident(resident);
        Ok(())
    })
}

/// Splits text by default rules if the file names a pre-tokenizer that this release does not know, and says so in the log
/// (CHORD_LOG_LEVEL_WARN). The model then sees text cut in other ways than it was trained on. The default is false: such a
/// file is refused with CHORD_STATUS_UNSUPPORTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_default_pre_tokenizer(
    options: *mut chord_model_options,
    default_pre_tokenizer: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_default_pre_tokenizer(default_pre_tokenizer);
        Ok(())
    })
}

/// Limits the private memory that the model and all sessions on it take together, as chord_plan counts it. A model or session
/// that would exceed it is refused with CHORD_STATUS_OVER_BUDGET before anything is taken for it.
///
/// bytes: 0, the default, is no limit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_memory_budget(
    options: *mut chord_model_options,
    bytes: u64,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_memory_budget(bytes);
        Ok(())
    })
}

/// Has threads of the host do the work of the model's sessions; the model then starts none. As many as
/// chord_model_options_set_threads() says can help at a time. Results do not depend on it.
///
/// callback: NULL, the default, has the model start threads of its own. user_data: passed to it as it is.
///
/// Both must stay valid until the model and its sessions are freed. What chord_model_options_set_resident() copies is then copied
/// before chord_model_open() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_runner(
    options: *mut chord_model_options,
    callback: chord_runner_callback,
    user_data: *mut c_void,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        let target = callback.map(|callback| Target { callback, user_data });
        options.set_runner(target.map(|target| -> Runner { Arc::new(move |help, count| target.run(help, count)) }));
        Ok(())
    })
}

/// Gives the threads that the model starts, which are called chord-1 and so on, another priority than that of the thread that
/// opens it. What the system does not allow is not done; the threads that make calls keep theirs. (Where the system has no
/// priorities of single threads, nothing happens.)
///
/// nice: -20, the most urgent, to 19, as of nice(1).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_thread_priority(
    options: *mut chord_model_options,
    nice: i32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.set_thread_priority(nice))
}

/// Tells a function how far chord_model_open() is: at its beginning, about every millisecond, and at its end. A model that is
/// not wanted any more is stopped by returning false; the call then returns CHORD_STATUS_CANCELLED. (What
/// chord_model_options_set_resident() copies in the background is no part of it: see chord_model_resident_size().)
///
/// callback: NULL, the default, is none. user_data: passed to it as it is.
///
/// Both must stay valid until the model is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_progress(
    options: *mut chord_model_options,
    callback: chord_progress_callback,
    user_data: *mut c_void,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_progress(progress_sink(callback, user_data));
        Ok(())
    })
}

/// Runs a model that is larger than memory: limits how much of its weights is kept in memory by the file mapping. In every pass
/// over the model the same part of the weights stays; the rest is read from storage ahead of its use and dropped behind it.
/// Results do not change. Less is read than when the system decides, which drops what was used longest ago, and other programs
/// keep their memory; whether it is faster depends on the storage: measure both. Large batches read the weights less often.
///
/// bytes: 0, the default, is no limit. What three neighbouring operations need is taken in any case; experts are not counted: of
/// them the system keeps those that are needed often. Memory that is shared with other processes on the same file stays with
/// them. Of no effect on a file that is copied or lies in memory; not together with chord_model_options_set_resident(): opening says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_mapped_limit(
    options: *mut chord_model_options,
    bytes: u64,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_mapped_limit(bytes);
        Ok(())
    })
}

/// Sends the model's log to a function; without one, which is the default, nothing is logged.
///
/// callback: NULL turns the log off. user_data: passed to it as it is.
///
/// Both must stay valid until the model and all that was made from it are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_options_set_log(
    options: *mut chord_model_options,
    callback: chord_log_callback,
    user_data: *mut c_void,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        let target = callback.map(|callback| Target { callback, user_data });
        options.set_log(target.map(|target| -> LogSink { Arc::new(move |level, message| target.send(level, message)) }));
        Ok(())
    })
}

/// A function of the host with what it is called with.
struct Target<F> {
    callback: F,
    user_data: *mut c_void,
}

// SAFETY: the contracts of the callbacks say on which threads they run, and the host answers for that.
unsafe impl<F> Send for Target<F> {}
// SAFETY: as above.
unsafe impl<F> Sync for Target<F> {}

/// What calls the callback.
pub(super) fn progress_sink(callback: chord_progress_callback, user_data: *mut c_void) -> Option<ProgressSink> {
    let target = callback.map(|callback| Target { callback, user_data });
    target.map(|target| -> ProgressSink { Arc::new(move |done, total| target.tell(done, total)) })
}

impl Target<unsafe extern "C" fn(u64, u64, *mut c_void) -> bool> {
    fn tell(&self, done: u64, total: u64) -> bool {
        // SAFETY: the host vouches for its callback (see `chord_progress_callback`).
        unsafe { (self.callback)(done, total, self.user_data) }
    }
}

impl Target<unsafe extern "C" fn(chord_task_function, *mut c_void, usize, *mut c_void)> {
    fn run(&self, help: &Help, count: usize) {
        // SAFETY: the host vouches for its callback (see `chord_runner_callback`).
        unsafe { (self.callback)(Some(run_task), ptr::from_ref(help).cast_mut().cast(), count, self.user_data) };
    }
}

/// The function that a host's threads call.
unsafe extern "C" fn run_task(task: *mut c_void) {
    boundary::value((), |_| {
        // SAFETY: the C contract: what came with this function, while the model that it belongs to lives.
        unsafe { task.cast::<Help>().as_ref() }?.help();
        Some(())
    });
}

impl Target<unsafe extern "C" fn(chord_log_level, *const c_char, *mut c_void)> {
    fn send(&self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Error => chord_log_level::CHORD_LOG_LEVEL_ERROR,
            LogLevel::Warn => chord_log_level::CHORD_LOG_LEVEL_WARN,
            LogLevel::Info => chord_log_level::CHORD_LOG_LEVEL_INFO,
        };
        let message = c_string(message);
        // SAFETY: the host vouches for its callback (see `chord_log_callback`).
        unsafe { (self.callback)(level, message.as_ptr(), self.user_data) };
    }
}
