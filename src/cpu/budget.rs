//! How many cores this process may really use.

/// The CPU budget: affinity and cgroup quota, at least 1.
#[must_use]
pub fn cpu_budget() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
