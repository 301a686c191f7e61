//! What stands between a C caller and the library: every call runs inside [`status`] or [`value`], and every parameter
//! passes a check here before it is believed.

use super::error::{self, Line, chord_error, chord_status};
use super::registry::{Handle, Pinned};
use super::reserve;
use crate::error::{Error, Result as LibraryResult};
use crate::model::{LogLevel, Model};
use crate::threads;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Once, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::{mem, ptr, slice, str};

/// Why a call fails: an error of the library, or one that only exists at this boundary.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The handle in this parameter names no object.
    #[error("{0} is not a live handle of its type (NULL, freed, or never one)")]
    InvalidHandle(&'static str),
    /// A result that the caller's buffer cannot hold.
    #[error("the result needs a buffer of {needed}, the capacity is {capacity}")]
    BufferTooSmall { needed: usize, capacity: usize },
    /// A panic was caught.
    #[error("a panic was caught")]
    Panic,
    /// Everything else.
    #[error(transparent)]
    Error(#[from] Error),
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

/// A call that is running.
#[derive(Default)]
pub(super) struct Call {
    /// Whose log hears of a panic.
    model: RefCell<Option<Arc<Model>>>,
}

impl Call {
    /// Says which model the call is about.
    pub(super) fn concerns(&self, model: &Arc<Model>) {
        self.model.replace(Some(Arc::clone(model)));
    }

    fn log_panic(&self) {
        let message = MESSAGE.take();
        if let (Some(model), Some(message)) = (self.model.take(), message) {
            model.log(LogLevel::Error, || String::from_utf8_lossy(message.as_bytes()).into_owned());
        }
    }
}

/// Runs the body of a function that returns a status; on failure stores an error object in `*err` unless `err` is NULL.
pub(super) fn status(err: *mut *mut chord_error, body: impl FnOnce(&Call) -> Result<()>) -> chord_status {
    match guard(body) {
        Ok(()) => chord_status::CHORD_OK,
        Err(failure) => {
            if !err.is_null() && err.is_aligned() {
                write_optional(err, error::new(&failure));
            }
            error::status_of(&failure)
        }
    }
}

/// Runs the body of a function that cannot fail; `default` stands for "no such thing" and for a caught panic.
pub(super) fn value<T>(default: T, body: impl FnOnce(&Call) -> Option<T>) -> T {
    guard(|call| Ok(body(call))).ok().flatten().unwrap_or(default)
}

fn guard<T>(body: impl FnOnce(&Call) -> Result<T>) -> Result<T> {
    install_hook();
    let call = Call::default();
    reserve::used();
    let outer = INSIDE.replace(true);
    // The objects a call works on are shared immutable ones, or behind a lock that the panic poisons.
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(&call)));
    INSIDE.set(outer);
    result.unwrap_or_else(|_| {
        call.log_panic();
        Err(Failure::Panic)
    })
}

/// The object behind a handle, kept alive while the result is held.
pub(super) fn get<H: Handle>(handle: *const H) -> Result<Pinned<H>> {
    H::registry().get(handle.addr()).ok_or(Failure::InvalidHandle(H::NAME))
}

/// A new handle for an object, unless parts of it lie in the reserve, where nothing may stay.
pub(super) fn new_handle<H: Handle>(object: H::Object) -> LibraryResult<*mut H> {
    if reserve::used() {
        return Err(Error::OutOfMemory);
    }
    H::registry().insert(object).map(ptr::without_provenance_mut)
}

/// Ends a handle; anything that is none is left alone.
pub(super) fn free<H: Handle>(handle: *mut H) {
    value((), |_| Some(_ = H::registry().remove(handle.addr())));
}

/// An object for this call alone. `name` is its type.
pub(super) fn exclusive<'a, T>(name: &'static str, lock: &'a RwLock<T>) -> LibraryResult<RwLockWriteGuard<'a, T>> {
    lock.try_write().map_err(|error| lock_error(name, &error))
}

/// An object that other calls may read meanwhile.
pub(super) fn shared<'a, T>(name: &'static str, lock: &'a RwLock<T>) -> LibraryResult<RwLockReadGuard<'a, T>> {
    lock.try_read().map_err(|error| lock_error(name, &error))
}

fn lock_error<T>(name: &'static str, error: &TryLockError<T>) -> Error {
    match error {
        TryLockError::WouldBlock => Error::Busy(name),
        TryLockError::Poisoned(_) => Error::Poisoned,
    }
}

thread_local! {
    /// Whether this thread is inside a call from C. Neither of the two needs a destructor, which would keep a shared
    /// object from being unloaded.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The message of the panic that is being unwound.
    static MESSAGE: RefCell<Option<Line>> = const { RefCell::new(None) };
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// The hook that was there before ours; a program written in Rust may have one.
static PREVIOUS: OnceLock<Hook> = OnceLock::new();

/// The default hook prints to stderr, which is not ours. Panics inside calls from C and on our own threads are kept for the
/// log instead; all others go where they went before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // `set` cannot find a value: it only runs here.
        let _ = PREVIOUS.set(panic::take_hook());
        panic::set_hook(Box::new(|info| {
            if INSIDE.get() {
                let mut line = Line::default();
                let _ = write!(line, "{info}");
                MESSAGE.set(Some(line));
            } else if !threads::is_ours()
                && let Some(previous) = PREVIOUS.get()
            {
                previous(info);
            }
        }));
    });
}

/// A place for a result, checked before any work is done and written only on success.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checks a pointer that may not be NULL.
    pub(super) fn new(name: &'static str, ptr: *mut T) -> LibraryResult<Self> {
        check_pointer(name, ptr)?;
        Ok(Out(ptr))
    }

    /// Hands over the result.
    pub(super) fn write(&self, value: T) {
        // SAFETY: `new` checked for NULL and alignment; the C contract says that it points to a `T`.
        unsafe { self.0.write(value) };
    }
}

/// Hands over a result that the caller may not want.
pub(super) fn write_optional<T>(ptr: *mut T, value: T) {
    if !ptr.is_null() && ptr.is_aligned() {
        // SAFETY: not NULL, aligned, and the C contract says that it points to a `T`.
        unsafe { ptr.write(value) };
    }
}

fn check_pointer<T>(name: &str, ptr: *const T) -> LibraryResult<()> {
    if ptr.is_null() {
        return Err(Error::InvalidArgument(format!("{name} is NULL")));
    }
    if !ptr.is_aligned() {
        return Err(Error::InvalidArgument(format!("{name} is not aligned for its type")));
    }
    Ok(())
}

/// `len` elements at `ptr`, which may be NULL when `len` is 0.
///
/// # Safety
/// If `ptr` is neither NULL nor misaligned, `len` elements must be readable there while `'a` lasts.
pub(super) unsafe fn slice<'a, T>(name: &'static str, ptr: *const T, len: usize) -> LibraryResult<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_pointer(name, ptr)?;
    if len.checked_mul(mem::size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::InvalidArgument(format!("the length of {name}, {len}, is larger than memory")));
    }
    // SAFETY: checked above as far as it can be; the rest is this function's contract.
    Ok(unsafe { slice::from_raw_parts(ptr, len) })
}

/// `len` bytes of UTF-8 at `ptr`.
///
/// # Safety
/// As for [`slice`].
pub(super) unsafe fn text<'a>(name: &'static str, ptr: *const c_char, len: usize) -> LibraryResult<&'a str> {
    // SAFETY: this function's contract; `c_char` and `u8` have one layout.
    utf8(name, unsafe { slice(name, ptr.cast(), len) }?)
}

/// A NUL-terminated string of UTF-8.
///
/// # Safety
/// If `ptr` is not NULL, a NUL-terminated string must be readable there while `'a` lasts.
pub(super) unsafe fn string<'a>(name: &'static str, ptr: *const c_char) -> LibraryResult<&'a str> {
    check_pointer(name, ptr)?;
    // SAFETY: not NULL; the rest is this function's contract.
    utf8(name, unsafe { CStr::from_ptr(ptr) }.to_bytes())
}

/// Text for a callback. A name from a file may hold a NUL, behind which C would lose the rest: "?" takes its place.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

fn utf8<'a>(name: &'static str, bytes: &'a [u8]) -> LibraryResult<&'a str> {
    str::from_utf8(bytes).map_err(|error| Error::InvalidUtf8 { what: name, offset: error.valid_up_to() as u64 })
}

/// Rejects bits outside `known`.
pub(super) fn check_flags(flags: u32, known: u32) -> LibraryResult<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(Error::InvalidArgument(format!("unknown flags {unknown:#x}"))),
    }
}

/// Writes an output record whose C struct may be older (shorter) or newer (longer) than ours: records only ever grow.
pub(super) fn write_record<T: Copy>(
    name: &'static str,
    out: *mut T,
    size: usize,
    first_size: usize,
    record: T,
) -> LibraryResult<()> {
    check_pointer(name, out)?;
    if size < first_size {
        return Err(Error::InvalidArgument(format!("size {size} of {name} is less than {first_size}")));
    }
    let ours = mem::size_of::<T>();
    // SAFETY: not NULL; the C contract gives `size` writable bytes. Records have no padding.
    unsafe {
        ptr::copy_nonoverlapping((&raw const record).cast::<u8>(), out.cast::<u8>(), size.min(ours));
        out.cast::<u8>().add(ours.min(size)).write_bytes(0, size.saturating_sub(ours));
    }
    Ok(())
}

/// A caller's buffer for a result of any length.
pub(super) struct Buffer<T> {
    ptr: *mut T,
    capacity: usize,
    needed: Out<usize>,
}

impl<T: Copy + Default> Buffer<T> {
    /// Checks the three parameters of a copied result; `ptr` may be NULL when `capacity` is 0.
    pub(super) fn new(
        name: &'static str,
        ptr: *mut T,
        capacity: usize,
        size_name: &'static str,
        needed: *mut usize,
    ) -> LibraryResult<Self> {
        if capacity > 0 {
            check_pointer(name, ptr)?;
        }
        Ok(Buffer { ptr, capacity, needed: Out::new(size_name, needed)? })
    }

    /// Copies the result, and a zero behind it if there is room; says how many elements it has in any case.
    pub(super) fn fill(&self, items: &[T]) -> Result<()> {
        self.needed.write(items.len());
        if items.len() > self.capacity {
            return Err(Failure::BufferTooSmall { needed: items.len(), capacity: self.capacity });
        }
        // SAFETY: the C contract gives `capacity` writable elements that nobody else uses, so they cannot overlap ours.
        unsafe {
            self.ptr.copy_from_nonoverlapping(items.as_ptr(), items.len());
            if items.len() < self.capacity {
                self.ptr.add(items.len()).write(T::default());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelOptions;
    use std::sync::Mutex;

    /// A model of nothing, which is enough to have a log.
    fn empty_model(log: Arc<Mutex<Vec<String>>>) -> Arc<Model> {
        let mut options = ModelOptions::default();
        options.set_vocab_only(true);
        options.set_copy(true);
        options.set_log(Some(Arc::new(move |_, message: &str| log.lock().unwrap().push(message.to_owned()))));
        let header = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
        // SAFETY: the bytes live during the call, and the model takes a copy.
        unsafe { Model::open_memory(header.as_ptr(), header.len(), &options) }.unwrap()
    }

    #[test]
    fn a_panic_becomes_a_status_its_message_goes_to_the_log_and_its_object_is_poisoned() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let model = empty_model(log.clone());
        let object = RwLock::new(());
        let mut err = ptr::null_mut();
        let result = status(&mut err, |call| {
            call.concerns(&model);
            let _guard = exclusive("object", &object)?;
            panic!("the cat is out");
        });
        assert_eq!(result, chord_status::CHORD_STATUS_INTERNAL);
        // SAFETY: getters take any handle.
        assert_eq!(unsafe { error::chord_error_status(err) }, result);
        let messages = log.lock().unwrap();
        assert!(messages.len() == 1 && messages[0].contains("the cat is out"), "{messages:?}");
        assert!(matches!(exclusive("object", &object), Err(Error::Poisoned)));
        assert!(matches!(shared("object", &object), Err(Error::Poisoned)));
        assert_eq!(value(7, |_| -> Option<i32> { panic!("again") }), 7);
        assert!(!INSIDE.get(), "the boundary was left");
    }

    #[test]
    fn exclusive_use_is_refused_while_the_object_is_in_use() {
        let object = RwLock::new(0);
        let reader = shared("object", &object).unwrap();
        assert!(shared("object", &object).is_ok());
        assert!(matches!(exclusive("object", &object), Err(Error::Busy("object"))));
        drop(reader);
        let writer = exclusive("object", &object).unwrap();
        assert!(matches!(shared("object", &object), Err(Error::Busy("object"))));
        drop(writer);
    }

    #[test]
    fn records_fit_older_and_newer_programs() {
        let mut out = [9u8; 16];
        let place = out.as_mut_ptr().cast::<[u8; 8]>();
        write_record("out", place, 4, 4, [1; 8]).unwrap();
        assert_eq!(out, [1, 1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        write_record("out", place, 12, 4, [2; 8]).unwrap();
        assert_eq!(out, [2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 9, 9, 9, 9]);
        assert!(write_record("out", place, 3, 4, [3; 8]).is_err() && out[0] == 2);
    }
}
