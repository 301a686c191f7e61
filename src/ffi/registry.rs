//! Handles: what a C caller holds is never an address.
//!
//! A handle names a slot of a table and the generation of the object in it, so a freed, foreign or invented handle is
//! recognized instead of followed. Tables are plain statics (all zeros, so they cost address space but no memory until
//! touched) and slots are never moved or freed: looking one up is a single compare-and-swap, without a lock.
//!
//! ```text
//! bits 60..64  tag of the type, never 0 (so no user-space address looks like a handle)
//! bits 40..60  salt: the place of the table in memory (so another copy of the library has other handles)
//! bits 16..40  generation, from 1
//! bits  0..16  slot
//! ```
//!
//! A look-up pins the object; freeing ends the generation, and whoever lets go last (the free or a call that was still
//! running in another thread) drops the object.

use crate::error::{Error, Result};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

const _: () = assert!(usize::BITS == 64, "handles need 64-bit pointers");

/// Most objects of one type that can be alive at once.
pub const CAPACITY: usize = 1 << 16;

const LAST_GENERATION: u64 = (1 << 24) - 1;

/// Set in a slot's state while its object is alive; the bits below count the calls that have it pinned.
const LIVE: u64 = 1 << 32;
const PINS: u64 = LIVE - 1;
const GENERATION_SHIFT: u32 = 33;

/// An opaque C type.
pub trait Handle: Sized + 'static {
    /// Tells handles of one type from those of another: 1 to 15, its own for each type.
    const TAG: u8;
    /// What messages call it.
    const NAME: &'static str;
    /// What stands behind a handle.
    type Object: Send + Sync;
    /// Where all of them are.
    fn registry() -> &'static Registry<Self>;
}

struct Slot<T> {
    /// `generation << 33 | live << 32 | pins`.
    state: AtomicU64,
    /// The object, a leaked box; null while the slot is free.
    value: AtomicPtr<T>,
    /// While the slot is on the free list: the next one, plus 1.
    next: AtomicU32,
}

impl<T> Slot<T> {
    const fn empty() -> Self {
        Slot { state: AtomicU64::new(0), value: AtomicPtr::new(ptr::null_mut()), next: AtomicU32::new(0) }
    }
}

/// The slots ready for use: those given back, then those never used.
struct Free {
    /// Slot given back last, plus 1; 0 if there is none.
    head: u32,
    /// Slots from here on were never used.
    fresh: u32,
}

/// The objects of one type that C callers hold handles to.
pub struct Registry<H: Handle> {
    free: Mutex<Free>,
    live: AtomicUsize,
    slots: [Slot<H::Object>; CAPACITY],
}

/// An object that cannot go away while this is held.
pub struct Pinned<H: Handle> {
    registry: &'static Registry<H>,
    index: usize,
    value: *const H::Object,
}

impl<H: Handle> Registry<H> {
    /// An empty table.
    pub const fn new() -> Self {
        const { assert!(H::TAG > 0 && H::TAG < 16, "a tag has four bits and is not 0") };
        Registry {
            free: Mutex::new(Free { head: 0, fresh: 0 }),
            live: AtomicUsize::new(0),
            slots: [const { Slot::empty() }; CAPACITY],
        }
    }

    /// Stores `value` and returns its handle. Fails only when memory or slots run out.
    pub fn insert(&'static self, value: H::Object) -> Result<usize> {
        let boxed = try_box(value)?;
        let Some(index) = self.take_slot() else {
            // SAFETY: `boxed` was made a moment ago and nobody else knows it.
            drop(unsafe { Box::from_raw(boxed) });
            return Err(Error::OutOfMemory);
        };
        let slot = &self.slots[index];
        let generation = (slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT) + 1;
        slot.value.store(boxed, Ordering::Relaxed);
        // Release: who sees this generation alive sees the value.
        slot.state.store(generation << GENERATION_SHIFT | LIVE, Ordering::Release);
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(self.handle(generation, index))
    }

    /// The object behind `handle`, or nothing if the handle is not, or no longer, one of this table.
    pub fn get(&'static self, handle: usize) -> Option<Pinned<H>> {
        let (generation, index) = self.parse(handle)?;
        let slot = &self.slots[index];
        slot.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| is_live(state, generation).then_some(state + 1))
            .ok()?;
        Some(Pinned { registry: self, index, value: slot.value.load(Ordering::Relaxed) })
    }

    /// Ends the life of `handle`; its object is dropped when the last call that uses it returns. Says whether the handle
    /// was alive.
    pub fn remove(&'static self, handle: usize) -> bool {
        let Some((generation, index)) = self.parse(handle) else { return false };
        let before = self.slots[index]
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| is_live(state, generation).then_some(state & !LIVE));
        if before.is_ok() {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        if before.is_ok_and(|state| state & PINS == 0) {
            self.reclaim(index);
        }
        before.is_ok()
    }

    /// How many handles are alive.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// A handle that is never given to an object: `parse` finds generation 0 in it.
    pub fn reserved(&'static self, index: usize) -> usize {
        self.handle(0, index)
    }

    fn handle(&'static self, generation: u64, index: usize) -> usize {
        let address = ptr::from_ref(self).addr() as u64;
        let salt = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        (u64::from(H::TAG) << 60 | salt << 40 | generation << 16 | index as u64) as usize
    }

    /// Generation and slot, if type and salt are right.
    fn parse(&'static self, handle: usize) -> Option<(u64, usize)> {
        let (generation, index) = ((handle as u64 >> 16) & LAST_GENERATION, handle % CAPACITY);
        (generation != 0 && handle == self.handle(generation, index)).then_some((generation, index))
    }

    fn take_slot(&'static self) -> Option<usize> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = free.head.checked_sub(1) {
            free.head = self.slots[index as usize].next.load(Ordering::Relaxed);
            return Some(index as usize);
        }
        let index = free.fresh as usize;
        (index < CAPACITY).then(|| {
            free.fresh += 1;
            index
        })
    }

    /// Drops the object of a dead slot without pins; runs once per generation, because only one thread can make the
    /// transition to that state.
    fn reclaim(&'static self, index: usize) {
        let slot = &self.slots[index];
        let value = slot.value.swap(ptr::null_mut(), Ordering::Relaxed);
        // A slot whose generations are used up stays empty for ever, so that no handle ever comes back to life.
        if slot.state.load(Ordering::Relaxed) >> GENERATION_SHIFT < LAST_GENERATION {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            slot.next.store(free.head, Ordering::Relaxed);
            free.head = index as u32 + 1;
        }
        // SAFETY: the pointer came from `try_box`, and the swap gave it to this thread alone.
        drop(unsafe { Box::from_raw(value) });
    }
}

impl<H: Handle> Deref for Pinned<H> {
    type Target = H::Object;

    fn deref(&self) -> &H::Object {
        // SAFETY: the pin keeps the object alive, and it is only ever shared.
        unsafe { &*self.value }
    }
}

impl<H: Handle> Drop for Pinned<H> {
    fn drop(&mut self) {
        // Release: what this call did to the object happens before its drop. Acquire: for the case that we drop it.
        let before = self.registry.slots[self.index].state.fetch_sub(1, Ordering::AcqRel);
        if before & (LIVE | PINS) == 1 {
            self.registry.reclaim(self.index);
        }
    }
}

fn is_live(state: u64, generation: u64) -> bool {
    state & LIVE != 0 && state >> GENERATION_SHIFT == generation
}

/// `Box::into_raw(Box::new(value))`, except that running out of memory is an error. `Box::try_new` is not stable; a vector
/// of one element has the same layout.
fn try_box<T>(value: T) -> Result<*mut T> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(1).map_err(|_| Error::OutOfMemory)?;
    vec.push(value);
    Ok(Box::into_raw(vec.into_boxed_slice()).cast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    /// A type with a table of its own, which the test calls `$name`.
    macro_rules! handle {
        ($name:ident: $object:ty, $tag:literal) => {
            static $name: Registry<Type<$tag>> = Registry::new();
            impl Handle for Type<$tag> {
                const TAG: u8 = $tag;
                const NAME: &'static str = "test";
                type Object = $object;
                fn registry() -> &'static Registry<Self> {
                    &$name
                }
            }
        };
    }

    struct Type<const TAG: u8>;

    handle!(A: u32, 1);
    handle!(B: u32, 2);
    handle!(WITNESSES: Arc<()>, 3);
    handle!(NUMBERS: usize, 4);
    handle!(BYTES: u8, 5);
    handle!(RACING: Arc<u64>, 6);

    #[test]
    fn stale_foreign_and_invented_handles_are_recognized() {
        let first = A.insert(10).unwrap();
        assert_eq!(A.get(first).as_deref(), Some(&10));
        assert!(B.get(first).is_none(), "wrong type");
        assert!(A.remove(first) && !A.remove(first), "second free");
        let second = A.insert(20).unwrap();
        assert_eq!(first % CAPACITY, second % CAPACITY, "the slot is used again");
        assert!(A.get(first).is_none(), "stale");
        assert_eq!(A.get(second).as_deref(), Some(&20));
        for bit in 0..usize::BITS {
            assert!(A.get(second ^ 1 << bit).is_none(), "bit {bit} flipped");
        }
        for invented in [0, 1, usize::MAX, ptr::from_ref(&A).addr(), A.reserved(0), A.reserved(second % CAPACITY)] {
            assert!(A.get(invented).is_none() && !A.remove(invented), "{invented:#x}");
        }
    }

    #[test]
    fn last_user_drops() {
        let witness = Arc::new(());
        let handle = WITNESSES.insert(witness.clone()).unwrap();
        let (one, two) = (WITNESSES.get(handle).unwrap(), WITNESSES.get(handle).unwrap());
        assert!(WITNESSES.remove(handle));
        assert!(WITNESSES.get(handle).is_none());
        drop(one);
        assert_eq!(Arc::strong_count(&witness), 2, "one call is still inside");
        drop(two);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn full_table_refuses_and_recovers() {
        let handles: Vec<_> = (0..CAPACITY).map(|i| NUMBERS.insert(i).unwrap()).collect();
        assert!(matches!(NUMBERS.insert(0), Err(Error::OutOfMemory)));
        assert!(handles.iter().enumerate().all(|(i, &handle)| NUMBERS.get(handle).as_deref() == Some(&i)));
        assert_eq!(NUMBERS.live(), CAPACITY);
        assert!(handles.iter().all(|&handle| NUMBERS.remove(handle)));
        assert_eq!(NUMBERS.live(), 0);
        assert!(NUMBERS.insert(0).is_ok());
    }

    #[test]
    fn used_up_slots_retire() {
        BYTES.slots[0].state.store((LAST_GENERATION - 1) << GENERATION_SHIFT, Ordering::Relaxed);
        let last = BYTES.insert(1).unwrap();
        assert_eq!(last % CAPACITY, 0);
        assert!(BYTES.get(last).is_some() && BYTES.remove(last));
        assert_eq!(BYTES.insert(2).unwrap() % CAPACITY, 1, "slot 0 is never used again");
    }

    #[test]
    fn free_races_with_use() {
        let witness = Arc::new(7);
        for _ in 0..500 {
            let handle = RACING.insert(witness.clone()).unwrap();
            let freed = thread::scope(|scope| {
                let users: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(move || {
                            while let Some(value) = RACING.get(handle) {
                                assert_eq!(**value, 7);
                            }
                        })
                    })
                    .collect();
                let freers: Vec<_> = (0..2).map(|_| scope.spawn(move || usize::from(RACING.remove(handle)))).collect();
                users.into_iter().for_each(|user| user.join().unwrap());
                freers.into_iter().map(|freer| freer.join().unwrap()).sum::<usize>()
            });
            assert_eq!((freed, Arc::strong_count(&witness)), (1, 1));
        }
    }
}
