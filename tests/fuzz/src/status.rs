//! What must hold of every status and error object.

use chord::ffi::error::{chord_error, chord_error_free, chord_error_message, chord_error_status, chord_status};
use std::ffi::CStr;
use std::ptr;

/// Runs a call that has a status; whether it succeeded.
pub fn call(run: impl FnOnce(*mut *mut chord_error) -> chord_status) -> bool {
    let mut err: *mut chord_error = ptr::null_mut();
    let status = run(&mut err);
    // SAFETY: getters take any handle, and the message lives until the error is freed.
    unsafe {
        if status == chord_status::CHORD_OK {
            assert!(err.is_null(), "an error of a call that succeeded");
            return true;
        }
        assert_eq!(chord_error_status(err), status);
        let message = CStr::from_ptr(chord_error_message(err)).to_str().expect("messages are UTF-8");
        assert!(!message.is_empty() && !message.contains(['\n', '\r']), "{message:?}");
        assert!(status != chord_status::CHORD_STATUS_INTERNAL && status != chord_status::CHORD_STATUS_POISONED, "{message}");
        chord_error_free(err);
    }
    false
}
