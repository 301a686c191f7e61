//! Where a pass stands, and when it has to stop.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How much of a pass is done: whole steps, regions of the step after them, units of the region after those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    step: usize,
    region: usize,
    unit: usize,
    /// Whether the step has small units.
    small: bool,
}

/// A pass that can be stopped between any two units of work and go on there later.
///
/// A step is a fixed sequence of regions. To go on, the step that was stopped is called again; its regions that are done
/// are skipped, and the one that was stopped goes on at its first unit that did not run.
pub struct Pace<'a> {
    cancel: &'a AtomicBool,
    deadline: Option<Instant>,
    // The fields below change between regions only, in the thread that runs the pass.
    step: AtomicUsize,
    /// The region that is next or running.
    region: AtomicUsize,
    done_regions: AtomicUsize,
    done_units: AtomicUsize,
    /// Whether the step at hand has small units: the one that was begun keeps its own.
    small: AtomicBool,
    /// Whether this run got anything done: a deadline does not stop it before.
    moved: AtomicBool,
    stopped: AtomicBool,
}

impl<'a> Pace<'a> {
    /// Goes on from `progress` until `cancel` is set or the deadline has passed. Every run does at least one unit, however
    /// early the deadline is.
    #[must_use]
    pub fn new(cancel: &'a AtomicBool, deadline: Option<Instant>, progress: Progress) -> Pace<'a> {
        Pace {
            cancel,
            deadline,
            step: AtomicUsize::new(progress.step),
            region: AtomicUsize::new(0),
            done_regions: AtomicUsize::new(progress.region),
            done_units: AtomicUsize::new(progress.unit),
            small: AtomicBool::new(if progress.region + progress.unit > 0 { progress.small } else { deadline.is_some() }),
            moved: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// Steps that are done.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step.load(Ordering::Relaxed)
    }

    /// Whether a part of the step at hand is done already.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.done_regions.load(Ordering::Relaxed) + self.done_units.load(Ordering::Relaxed) > 0
    }

    /// Whether the pass was stopped; what the step at hand should have written is incomplete.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Counts the step at hand as done.
    pub fn next_step(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
        self.small.store(self.deadline.is_some(), Ordering::Relaxed);
        for counter in [&self.region, &self.done_regions, &self.done_units] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Where to go on.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let [step, region, unit] = [&self.step, &self.done_regions, &self.done_units].map(load);
        Progress { step, region, unit, small: self.small_units() }
    }

    /// Whether units should be small, because there is a deadline to keep.
    pub(super) fn small_units(&self) -> bool {
        self.small.load(Ordering::Relaxed)
    }

    /// Whether it is time to stop.
    pub(super) fn is_over(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Enters the next region: its first unit to run, or nothing if it is done already or the pass has to stop.
    pub(super) fn enter(&self) -> Option<usize> {
        let region = self.region.load(Ordering::Relaxed);
        if region < self.done_regions.load(Ordering::Relaxed) {
            self.region.store(region + 1, Ordering::Relaxed);
            return None;
        }
        let too_late =
            if self.moved.swap(true, Ordering::Relaxed) { self.is_over() } else { self.cancel.load(Ordering::Relaxed) };
        if too_late {
            self.stopped.store(true, Ordering::Relaxed);
        }
        (!self.stopped()).then(|| self.done_units.load(Ordering::Relaxed))
    }

    /// Leaves the region: all of its `units` before `reached` have run.
    pub(super) fn leave(&self, reached: usize, units: usize) {
        if reached < units {
            self.done_units.store(reached, Ordering::Relaxed);
            self.stopped.store(true, Ordering::Relaxed);
        } else {
            let region = self.region.load(Ordering::Relaxed) + 1;
            self.region.store(region, Ordering::Relaxed);
            self.done_regions.store(region, Ordering::Relaxed);
            self.done_units.store(0, Ordering::Relaxed);
        }
    }
}
