//! How many cores this process may really use.

/// The CPU budget: affinity mask and cgroup quota (versions 1 and 2), at least 1.
///
/// A quota of a fraction is rounded down: threads beyond it would be throttled, and throttling stops the host's threads
/// together with ours. The standard library reads all of it, on every call; so ask once.
#[must_use]
pub fn cpu_budget() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
