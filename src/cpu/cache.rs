//! How much memory is near a core.

/// What a core is taken to have where nothing better is known.
const USUAL: usize = 512 * 1024;
/// What is believed: a hypervisor may say anything.
const SENSIBLE: std::ops::RangeInclusive<usize> = 128 * 1024..=16 * 1024 * 1024;

/// Bytes of the second-level cache, the largest one that a core has for itself on most machines; where it is shared, all of it.
///
/// Sizes of pieces of work follow from it, results never do. On x86-64 the processor says it (CPUID leaf 4 of Intel, the like
/// leaf 0x8000001D of AMD), elsewhere Linux does, of the first core.
#[must_use]
pub fn private_cache() -> usize {
    told().filter(|size| SENSIBLE.contains(size)).unwrap_or(USUAL)
}

#[cfg(target_arch = "x86_64")]
fn told() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    let described = |leaf: u32| {
        // The least of a range of leaves tells the greatest.
        if __cpuid(leaf & 0x8000_0000).eax < leaf {
            return None;
        }
        let caches = (0..16).map(|index| __cpuid_count(leaf, index)).take_while(|cache| cache.eax & 0x1f != 0);
        let mut second = caches.filter(|cache| cache.eax >> 5 & 0x7 == 2);
        second.next().map(|cache| {
            let (line, partitions, ways) = (cache.ebx & 0xfff, cache.ebx >> 12 & 0x3ff, cache.ebx >> 22);
            [line, partitions, ways, cache.ecx].into_iter().map(|less_one| less_one as usize + 1).product()
        })
    };
    described(4).or_else(|| described(0x8000_001d))
}

#[cfg(not(target_arch = "x86_64"))]
fn told() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size").ok()?;
    text.trim().strip_suffix('K')?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_processor_says_what_the_system_says() {
        // SAFETY: it takes a number.
        let system = unsafe { libc::sysconf(libc::_SC_LEVEL2_CACHE_SIZE) };
        match told() {
            Some(size) if system > 0 => assert_eq!(size, system as usize),
            told => eprintln!("skipped: the processor says {told:?}, the system {system}"),
        }
        assert!(SENSIBLE.contains(&private_cache()));
    }
}
