//! See the module documentation.

use super::fork::Process;
use super::thread::{Parking, Thread, set_priority};
use crate::cpu;
use crate::error::{Error, Result};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread spins before it parks: longer than the serial code between two regions, shorter than a time slice.
const SPIN: Duration = Duration::from_micros(50);

/// How long a unit may take before threads are called for which there is no core: longer than computing takes that is
/// vectorized, shorter than waiting for a slow storage.
const WAIT: Duration = Duration::from_millis(5);

/// Keeps what several cores write on cache lines of their own (two, because of adjacent-line prefetch).
#[repr(align(128))]
struct Padded<T>(T);

/// What a region runs: called with the index of the thread, `0..threads`, and of the unit.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Whether a region ends before its units do.
type Stop<'a> = dyn Fn() -> bool + Sync + 'a;

/// The state word of a pool: an epoch that changes with every region, whether the region may still be entered, whether
/// workers without a core of their own shall, and how many workers are inside. One word, because entering must be atomic
/// with the check that the region is open.
const OPEN: u64 = 1 << 31;
const ALL: u64 = 1 << 30;
const INSIDE: u64 = ALL - 1;
const EPOCH: u64 = 1 << 32;

struct Region {
    task: *const Task<'static>,
    stop: *const Stop<'static>,
    /// The unit that ends the region.
    end: usize,
}

struct Shared {
    state: Padded<AtomicU64>,
    next: Padded<AtomicUsize>,
    stop: AtomicBool,
    panicked: AtomicBool,
    /// How many threads of the host have entered the region.
    helpers: AtomicUsize,
    /// Written by the caller while nobody is inside, read by workers while they are inside.
    region: UnsafeCell<Region>,
    /// Where the caller waits for workers that are inside.
    caller: Parking,
}

// SAFETY: `region` is guarded by `state` as its comment says; the task behind the pointer is `Sync`, and the caller keeps
// it alive until nobody is inside.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Runs a region on threads of the host: calls [`Help::help`] up to so many times, from as many threads at once as it likes, and
/// returns when those calls have.
pub type Runner = Arc<dyn Fn(&Help, usize) + Send + Sync>;

/// Who works for a pool.
#[derive(Clone)]
pub enum Staff {
    /// Threads of its own.
    Own {
        /// Their priority, as `nice` has it; `None`: that of who starts them.
        priority: Option<i32>,
    },
    /// Those of the host.
    Host(Runner),
}

impl Default for Staff {
    fn default() -> Staff {
        Staff::Own { priority: None }
    }
}

/// What a host's thread does for a pool.
pub struct Help {
    shared: Arc<Shared>,
    threads: usize,
}

impl Help {
    /// Works on the region that is open, until nothing is left of it; returns at once if none is, or if enough threads help.
    pub fn help(&self) {
        let state = self.shared.state.0.load(Ordering::Acquire);
        if state & OPEN != 0 && self.shared.enter(state / EPOCH) {
            // The threads of a region have rooms of their own, by number.
            let index = self.shared.helpers.fetch_add(1, Ordering::Relaxed);
            self.shared.work_inside((index < self.threads).then_some(index));
        }
    }
}

struct Worker {
    thread: Option<Thread>,
    bed: Arc<Bed>,
}

impl Worker {
    /// Wakes it, if it sleeps.
    fn wake(&self) {
        if self.bed.parked.load(Ordering::SeqCst) {
            self.bed.parking.unpark();
        }
    }
}

/// Where a worker sleeps.
#[derive(Default)]
struct Bed {
    /// Set by the worker when it is about to.
    parked: AtomicBool,
    parking: Parking,
}

/// A fixed set of threads that run the units of one region at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Who works in place of workers.
    host: Option<(Runner, Help)>,
    threads: usize,
    /// More threads of ours than the process has cores would take turns on them, and every region would end when the last had
    /// its turn.
    at_once: usize,
    /// Held by the caller of a region: regions of different sessions take turns.
    turn: Mutex<()>,
    /// Whose threads these are.
    process: Process,
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] counted as one.
    ///
    /// # Errors
    /// When `threads` is 0; [`Error::OutOfMemory`] when there is no memory or no room for another thread.
    pub fn new(threads: usize) -> Result<Pool> {
        Pool::with(threads, &Staff::default())
    }

    /// As [`Pool::new`], but with this staff.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn with(threads: usize, staff: &Staff) -> Result<Pool> {
        Pool::on(cpu::cpu_budget(), threads, staff)
    }

    /// The same, but as if the process had so many cores.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn on(cores: usize, threads: usize, staff: &Staff) -> Result<Pool> {
        if threads == 0 {
            return Err(Error::InvalidArgument("a pool needs at least one thread".into()));
        }
        let shared = Arc::new(Shared {
            state: Padded(AtomicU64::new(0)),
            next: Padded(AtomicUsize::new(0)),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            helpers: AtomicUsize::new(0),
            region: UnsafeCell::new(Region {
                task: std::ptr::null::<fn(usize, usize)>() as *const Task,
                stop: std::ptr::null::<fn() -> bool>() as *const Stop,
                end: 0,
            }),
            caller: Parking::default(),
        });
        let (host, own, priority) = match staff {
            Staff::Own { priority } => (None, threads, *priority),
            Staff::Host(runner) => (Some((Arc::clone(runner), Help { shared: Arc::clone(&shared), threads })), 1, None),
        };
        let at_once = if host.is_some() { threads } else { threads.min(cores) };
        let (turn, process) = (Mutex::new(()), Process::this()?);
        let mut pool = Pool { shared, workers: Vec::new(), host, threads, at_once, turn, process };
        pool.workers.try_reserve_exact(own - 1).map_err(|_| Error::OutOfMemory)?;
        for index in 1..own {
            let (shared, bed) = (Arc::clone(&pool.shared), Arc::new(Bed::default()));
            let worker_bed = Arc::clone(&bed);
            let work = move || {
                priority.into_iter().for_each(set_priority);
                shared.work(index, &worker_bed, if index < at_once { 0 } else { ALL });
            };
            let thread = Thread::spawn(&format!("chord-{index}"), work)?;
            pool.workers.push(Worker { thread: Some(thread), bed });
        }
        // What the system and the runtime do for a new thread, allocations included, is done before the first region.
        while !pool.workers.iter().all(|worker| worker.bed.parked.load(Ordering::Relaxed)) {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// Threads that share the work, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many of them work at the same time, unless units wait.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Runs `task(thread, unit)` for the units of the range in any order, on any thread, each once. A thread that has run a
    /// unit asks `stop` before it takes the next. Returns when all that started have ended: the unit before which all
    /// have run and from which on none has.
    ///
    /// # Panics
    /// When a unit panicked, on any thread.
    pub fn run(&self, units: Range<usize>, stop: &Stop, task: &Task) -> usize {
        // A forked child has none of the workers, and a lock that may be held by a thread that is not there.
        if self.threads == 1 || units.len() <= 1 || self.process.is_parent() {
            for unit in units.clone() {
                task(0, unit);
                if stop() {
                    return unit + 1;
                }
            }
            return units.end;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: nobody is inside (the last region waited for that) and nobody enters before the state is opened. The
        // lifetimes are erased, but both outlive the region: this call does not return or unwind before all left.
        unsafe {
            *shared.region.get() = Region {
                task: std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task),
                stop: std::mem::transmute::<*const Stop<'_>, *const Stop<'static>>(stop),
                end: units.end,
            };
        }
        shared.next.0.store(units.start, Ordering::Relaxed);
        shared.helpers.store(0, Ordering::Relaxed);
        let state = shared.state.0.load(Ordering::Relaxed);
        // Sequentially consistent, as the `parked` flags are: either a worker sees the new epoch before it parks, or the
        // caller sees its flag.
        shared.state.0.store((state & !(EPOCH - 1)).wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
        let workers = &self.workers[..self.workers.len().min(units.len() - 1)];
        let (first, rest) = workers.split_at(workers.len().min(self.at_once - 1));
        first.iter().for_each(Worker::wake);
        let take = || {
            if !rest.is_empty() {
                loop {
                    let began = Instant::now();
                    if !shared.take_unit(0, units.end, stop, task) {
                        return;
                    }
                    if began.elapsed() > WAIT {
                        break;
                    }
                }
                shared.state.0.fetch_or(ALL, Ordering::SeqCst);
                rest.iter().for_each(Worker::wake);
            }
            shared.take_units(0, units.end, stop, task);
        };
        let mut outcome = catch_unwind(AssertUnwindSafe(|| match &self.host {
            None => take(),
            Some((runner, help)) => runner(help, self.threads.min(units.len())),
        }));
        if outcome.is_err() {
            shared.next.0.store(units.end, Ordering::Relaxed);
        }
        shared.state.0.fetch_and(!OPEN, Ordering::AcqRel);
        let began = Instant::now();
        while shared.state.0.load(Ordering::Acquire) & INSIDE != 0 {
            if began.elapsed() < SPIN { spin() } else { shared.caller.park(Some(Duration::from_millis(1))) }
        }
        // What a host left over; at least one unit is done in any case.
        let next = shared.next.0.load(Ordering::Relaxed);
        if next < units.end && (next == units.start || !stop()) {
            outcome = catch_unwind(AssertUnwindSafe(take));
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a worker thread panicked"));
        }
        shared.next.0.load(Ordering::Relaxed).min(units.end)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // A forked child has no threads to wait for.
        if !self.process.is_parent() {
            for worker in &mut self.workers {
                worker.bed.parking.unpark();
                if let Some(thread) = worker.thread.take() {
                    thread.join();
                }
            }
        }
    }
}

impl Shared {
    /// The life of a worker that comes to regions with these bits in their state.
    fn work(&self, index: usize, bed: &Bed, call: u64) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen, bed, call) {
            seen = state / EPOCH;
            if self.enter(seen) {
                self.work_inside(Some(index));
            }
        }
    }

    /// Works on the region that was entered as the thread of this number, if it has one, and leaves it.
    fn work_inside(&self, index: Option<usize>) {
        if let Some(index) = index {
            // SAFETY: this thread is inside, so the caller neither changes the region nor lets the task go.
            let (task, stop, end) = unsafe {
                let region = &*self.region.get();
                (&*region.task, &*region.stop, region.end)
            };
            if catch_unwind(AssertUnwindSafe(|| self.take_units(index, end, stop, task))).is_err() {
                self.next.0.store(end, Ordering::Relaxed);
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
        let after = self.state.0.fetch_sub(1, Ordering::AcqRel) - 1;
        if after & (OPEN | INSIDE) == 0 {
            self.caller.unpark();
        }
    }

    /// Waits for a region after the epoch `seen` with the bits of `call`; `None` when the pool ends.
    fn wait(&self, seen: u64, bed: &Bed, call: u64) -> Option<u64> {
        let began = Instant::now();
        loop {
            let state = self.state.0.load(Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if state / EPOCH != seen && state & call == call {
                bed.parked.store(false, Ordering::Relaxed);
                return Some(state);
            }
            if began.elapsed() < SPIN {
                spin();
            } else if bed.parked.swap(true, Ordering::SeqCst) {
                bed.parking.park(None);
            }
        }
    }

    /// Counts this worker in, if the region of `epoch` is still open.
    fn enter(&self, epoch: u64) -> bool {
        self.state
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                (state / EPOCH == epoch && state & OPEN != 0).then_some(state + 1)
            })
            .is_ok()
    }

    fn take_units(&self, thread: usize, end: usize, stop: &Stop, task: &Task) {
        while self.take_unit(thread, end, stop, task) {}
    }

    /// Returns whether to go on.
    fn take_unit(&self, thread: usize, end: usize, stop: &Stop, task: &Task) -> bool {
        let unit = self.next.0.fetch_add(1, Ordering::Relaxed);
        if unit >= end {
            return false;
        }
        task(thread, unit);
        !stop()
    }
}

/// A short pause that leaves the core to its sibling.
fn spin() {
    for _ in 0..16 {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &Stop = &|| false;

    /// A pool whose threads all work at the same time, whatever the machine.
    fn pool(threads: usize) -> Pool {
        Pool::on(threads, threads, &Staff::default()).unwrap()
    }

    #[test]
    fn every_unit_runs_once_at_any_thread_count() {
        for threads in [1, 2, 3, 8] {
            let pool = pool(threads);
            for units in [0, 1, 2, 7, 1000] {
                let counts: Vec<_> = (0..units).map(|_| AtomicUsize::new(0)).collect();
                pool.run(0..units, NEVER, &|thread, unit| {
                    assert!(thread < threads);
                    counts[unit].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads, {units} units");
            }
        }
    }

    #[test]
    fn regions_of_several_callers_take_turns() {
        let pool = pool(3);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        pool.run(0..5, NEVER, &|_, _| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 500 * 5);
    }

    #[test]
    fn workers_do_work_and_wake_from_park() {
        let pool = pool(2);
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(5));
            let helped = AtomicBool::new(false);
            // The caller's units wait until the worker has had one: this ends only when it wakes.
            pool.run(0..1000, NEVER, &|thread, _| {
                if thread == 1 {
                    helped.store(true, Ordering::Relaxed);
                }
                let began = Instant::now();
                while !helped.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(10) {
                    thread::yield_now();
                }
            });
            assert!(helped.into_inner());
        }
    }

    #[test]
    fn more_threads_than_cores_work_only_where_units_wait() {
        let busy = || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(20) {}
        };
        for (cores, threads) in [(1, 3), (2, 7)] {
            let pool = Pool::on(cores, threads, &Staff::default()).unwrap();
            let (came, wait) = (AtomicU64::new(0), AtomicBool::new(true));
            // Units wait until every thread has had one: this ends only when all are woken.
            pool.run(0..1000, NEVER, &|thread, _| {
                came.fetch_or(1 << thread, Ordering::Relaxed);
                if came.load(Ordering::Relaxed) == (1 << threads) - 1 {
                    wait.store(false, Ordering::Relaxed);
                } else if wait.load(Ordering::Relaxed) {
                    thread::sleep(2 * WAIT);
                }
                busy();
            });
            assert!(!wait.into_inner(), "{threads} threads on {cores} cores: {:b}", came.into_inner());
            // They stay away again, though they may still be awake. But the caller may be kept from its core for so long that a
            // unit seems to wait.
            let crowded = (0..100).filter(|_| {
                let others = AtomicBool::new(false);
                pool.run(0..50, NEVER, &|thread, _| {
                    others.fetch_or(thread >= cores, Ordering::Relaxed);
                    busy();
                });
                others.into_inner()
            });
            let crowded = crowded.count();
            assert!(crowded < 20, "{threads} threads on {cores} cores: all of them in {crowded} of 100 regions");
        }
    }

    #[test]
    fn a_host_may_run_all_of_a_region_or_none_and_come_late_or_too_often() {
        let hosts: [(&str, Runner); 4] = [
            ("in turn", Arc::new(|help, count| (0..count).for_each(|_| help.help()))),
            ("at once", Arc::new(|help, count| thread::scope(|scope| (0..count).for_each(|_| _ = scope.spawn(|| help.help()))))),
            ("not at all", Arc::new(|_, _| ())),
            ("too many", Arc::new(|help, _| thread::scope(|scope| (0..9).for_each(|_| _ = scope.spawn(|| help.help()))))),
        ];
        for (name, runner) in hosts {
            let pool = Pool::with(3, &Staff::Host(runner)).unwrap();
            assert!(pool.workers.is_empty() && pool.threads() == 3);
            for units in [0, 1, 2, 100] {
                let counts: Vec<_> = (0..units).map(|_| AtomicUsize::new(0)).collect();
                let rooms: Vec<_> = (0..3).map(|_| AtomicBool::new(false)).collect();
                let reached = pool.run(0..units, NEVER, &|thread, unit| {
                    assert!(!rooms[thread].swap(true, Ordering::Relaxed), "two threads have one number");
                    counts[unit].fetch_add(1, Ordering::Relaxed);
                    rooms[thread].store(false, Ordering::Relaxed);
                });
                assert_eq!(reached, units);
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{name}, {units} units");
            }
            // Out of time at once: one unit all the same.
            let reached = pool.run(0..100, &|| true, &|_, _| ());
            assert!((1..=9).contains(&reached), "{name}: {reached}");
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(0..9, NEVER, &|_, _| resume_unwind(Box::new("unit")))));
            assert!(outcome.is_err(), "{name}");
            pool.host.as_ref().unwrap().1.help();
        }
    }

    #[test]
    fn a_stopped_region_says_where_to_go_on() {
        for threads in [1, 2, 5] {
            let pool = pool(threads);
            let counts: Vec<_> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
            let ran = AtomicUsize::new(0);
            let (mut next, mut rounds) = (0, 0);
            while next < counts.len() {
                let stop_at = ran.load(Ordering::Relaxed) + 10;
                let reached = pool.run(next..counts.len(), &|| ran.load(Ordering::Relaxed) >= stop_at, &|_, unit| {
                    counts[unit].fetch_add(1, Ordering::Relaxed);
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                assert!(reached > next && reached <= next + 10 + threads, "from {next} to {reached}");
                assert_eq!(ran.load(Ordering::Relaxed), reached);
                (next, rounds) = (reached, rounds + 1);
            }
            assert!(rounds >= 1000 / (10 + threads));
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_panic_in_a_unit_reaches_the_caller_and_the_pool_lives_on() {
        let pool = pool(3);
        for bad in [0, 5, 99] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(0..100, NEVER, &|_, unit| {
                    if unit == bad {
                        resume_unwind(Box::new("unit"));
                    }
                });
            }));
            assert!(outcome.is_err());
            let ran = AtomicUsize::new(0);
            pool.run(0..10, NEVER, &|_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 10);
        }
    }
}
