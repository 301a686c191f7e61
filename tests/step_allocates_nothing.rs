//! After the first step a session allocates nothing: counted by the allocator, through the C API.

use chord::ffi::error::chord_status;
use chord::ffi::model::{CHORD_TEXT_ADD_SPECIAL, chord_model_free, chord_model_open};
use chord::ffi::session::*;
use chord::ffi::session_options::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, ptr};

/// The system's allocator, counting every request of every thread.
struct Counting;

static REQUESTS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = env::var_os("CHORD_CONFORMANCE").map_or_else(|| root.join("../shared/conformance"), PathBuf::from);
    let all = [root.join("examples/models/chord-demo-q4_k_m.gguf"), data.join("models/llama3.gguf")];
    all.into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn a_step_allocates_nothing() {
    let models = models();
    if models.is_empty() {
        println!("skipped: no model");
    }
    for path in models {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        let (mut model, mut options, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let mut event = chord_event::CHORD_EVENT_TOKEN;
        let mut steps = 0;
        // SAFETY: the C contract: live pointers, lengths of what they point to.
        unsafe {
            let ok = |status| assert_eq!(status, chord_status::CHORD_OK);
            ok(chord_model_open(name.as_ptr(), ptr::null(), &mut model, ptr::null_mut()));
            ok(chord_session_options_new(&mut options, ptr::null_mut()));
            // Everything a sampler can do, and stop strings that never come.
            ok(chord_session_options_set_temperature(options, 0.9, ptr::null_mut()));
            ok(chord_session_options_set_repetition_penalty(options, 1.1, ptr::null_mut()));
            ok(chord_session_options_set_frequency_penalty(options, 0.1, ptr::null_mut()));
            ok(chord_session_options_add_stop(options, c"@@@".as_ptr(), 3, ptr::null_mut()));
            ok(chord_session_new(model, options, &mut session, ptr::null_mut()));
            let text = c"Monday, Tuesday";
            let flags = CHORD_TEXT_ADD_SPECIAL;
            ok(chord_session_append_text(session, text.as_ptr(), text.count_bytes(), flags, ptr::null_mut()));
            ok(chord_session_step(session, &mut event, ptr::null_mut()));

            let before = REQUESTS.load(Ordering::Relaxed);
            while event == chord_event::CHORD_EVENT_TOKEN && steps < 100 {
                ok(chord_session_step(session, &mut event, ptr::null_mut()));
                assert!(!chord_session_piece(session, ptr::null_mut()).is_null());
                steps += 1;
            }
            assert_eq!(REQUESTS.load(Ordering::Relaxed) - before, 0, "allocations in {steps} steps of {}", path.display());
            chord_session_options_free(options);
            chord_session_free(session);
            chord_model_free(model);
        }
        assert!(steps > 0, "{}: the model says something", path.display());
    }
}
