//! Models larger than memory: a limit for mapped weights is kept, and changes no bit.
#![cfg(target_os = "linux")]

mod common;

use chord::model::{Model, ModelOptions};
use chord::session::{Session, SessionOptions};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Bytes of the file that the system holds in memory. The mapping is never touched: it holds nothing itself.
fn cached(path: &Path) -> usize {
    let file = File::open(path).unwrap();
    // SAFETY: nobody cuts the file, and nothing is read through the mapping.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    // SAFETY: a plain question.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
    let mut pages = vec![0u8; map.len().div_ceil(page)];
    // SAFETY: a byte for each page of the mapping.
    assert_eq!(unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) }, 0);
    pages.iter().filter(|state| **state & 1 == 1).count() * page
}

/// Lets the system drop what it holds of the file, if its storage knows that.
fn drop_cache(path: &Path) {
    use std::os::fd::AsRawFd;
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    // SAFETY: a hint about an open file.
    assert_eq!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }, 0);
}

/// Logits after a prompt and some single tokens, and the most that was held of the file meanwhile.
fn run(path: &Path, limit: u64) -> (Vec<u32>, usize) {
    let mut options = ModelOptions::default();
    options.set_mapped_limit(limit);
    options.set_threads(2).unwrap();
    let model = Model::open(path, &options).unwrap();
    let mut session = Session::new(Arc::clone(&model), &SessionOptions::default()).unwrap();
    let tokens: Vec<i32> = (0..40).map(|i| i * 7 % 300 + 3).collect();
    session.append(&tokens).unwrap();
    session.eval().unwrap();
    let mut most = cached(path);
    for token in 3..9 {
        session.append(&[token]).unwrap();
        session.eval().unwrap();
        most = most.max(cached(path));
    }
    (session.logits().unwrap().iter().map(|logit| logit.to_bits()).collect(), most)
}

#[test]
fn a_limit_is_kept_and_changes_no_bit() {
    let path = common::synthetic_model("deep", "Q8_0");
    let size = std::fs::metadata(&path).unwrap().len();
    drop_cache(&path);
    if cached(&path) > 0 {
        println!("skipped: the storage of {} keeps files in memory", path.display());
        return;
    }
    const MIB: u64 = 1 << 20;
    let limited = [8 * MIB, 16 * MIB].map(|limit| (limit, run(&path, limit)));
    drop_cache(&path);
    let (want, all) = run(&path, 0);
    assert!(all as u64 > size * 9 / 10, "without a limit {all} of {size} bytes are held");
    for (limit, (logits, held)) in limited {
        assert!(logits == want, "bits under a limit of {limit} bytes");
        // Beside the products there are the header, the embedding table, and what the system reads around a page.
        assert!(held as u64 <= limit + 4 * MIB, "{held} bytes held under a limit of {limit}");
    }
}

#[test]
fn resident_weights_have_no_limit() {
    let mut options = ModelOptions::default();
    options.set_mapped_limit(1);
    options.set_resident(true);
    let error = Model::open(&common::synthetic_model("tiny", "Q4_0"), &options).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("choose one of them")));
}
