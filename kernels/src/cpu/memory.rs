//! Memory that is used again.
//!
//! A training step needs the same large buffers as the one before. Given back to the system, each would be mapped, cleared and faulted
//! in again, page by page, at every step; so they are kept.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Alignment in bytes: a cache line.
pub const ALIGN: usize = 64;
/// Buffers of fewer bytes are not kept.
const LEAST: usize = 16 * 1024;

/// Buffers that come back in some steps of the largest networks.
const LONG: u64 = 10_000;

/// Numbers that nobody else holds. What they are at first is unspecified.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    len: usize,
}

/// Memory of its own; all of it is numbers at all times.
#[derive(Debug)]
struct Memory {
    start: NonNull<f32>,
    /// A size that [`class`] gives, or none.
    bytes: usize,
}

// SAFETY: it owns its memory, and shared access only reads.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

static KEPT: Mutex<Kept> = Mutex::new(Kept { free: BTreeMap::new(), clock: 0, bytes: 0, used: 0, most: 0 });

/// Memory nobody uses.
struct Kept {
    /// By size in bytes; when it came back, the longest idle first.
    free: BTreeMap<usize, VecDeque<(u64, Memory)>>,
    /// Counts what comes back.
    clock: u64,
    /// Bytes in `free`.
    bytes: usize,
    /// Bytes in use, and the most that ever were.
    used: usize,
    most: usize,
}

impl Kept {
    /// Memory of that size, if there is some, which is in use from now on in any case.
    fn take(&mut self, bytes: usize) -> Option<Memory> {
        self.used += bytes;
        self.most = self.most.max(self.used);
        let (_, memory) = self.free.get_mut(&bytes)?.pop_back()?;
        self.bytes -= bytes;
        Some(memory)
    }

    /// Takes memory back that was in use. What is too much is given up: what was idle for long, or else what came back.
    fn keep(&mut self, memory: Memory) -> Vec<Memory> {
        self.used -= memory.bytes;
        self.clock += 1;
        let mut given_up = Vec::new();
        // Sizes that are needed at different times of a step lie idle side by side: at twice what was needed at once, no
        // training step of the zoo asks the system for more.
        while self.bytes + self.used + memory.bytes > 2 * self.most {
            let Some(idle) = self.idle_for_long() else {
                given_up.push(memory);
                return given_up;
            };
            self.bytes -= idle.bytes;
            given_up.push(idle);
        }
        self.bytes += memory.bytes;
        self.free.entry(memory.bytes).or_default().push_back((self.clock, memory));
        given_up
    }

    /// What is idle for longest, if that is longer than a few steps: within a step all of it is needed again.
    fn idle_for_long(&mut self) -> Option<Memory> {
        let longest = self.free.values_mut().filter(|idle| !idle.is_empty()).min_by_key(|idle| idle[0].0)?;
        let (_, memory) = longest.pop_front_if(|(since, _)| self.clock - *since > LONG)?;
        Some(memory)
    }
}

/// Bytes to allocate for `bytes`: sizes within an eighth of each other share a class.
fn class(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 16).max(ALIGN);
    bytes.max(1).next_multiple_of(step)
}

impl Memory {
    const NONE: Self = Self { start: NonNull::dangling(), bytes: 0 };

    fn new(bytes: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout is not empty. All bytes are zero, so that they are numbers at all times.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start: start.cast(), bytes }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: allocated with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout(self.bytes)) };
        }
    }
}

fn layout(bytes: usize) -> Layout {
    // SAFETY: `ALIGN` is a power of two, and no `bytes` that was ever asked for is near the end of the address space.
    unsafe { Layout::from_size_align_unchecked(bytes, ALIGN) }
}

impl Buffer {
    /// `len` numbers.
    pub fn new(len: usize) -> Self {
        let bytes = class(len * size_of::<f32>());
        let kept = (bytes >= LEAST).then(|| KEPT.lock().unwrap_or_else(PoisonError::into_inner).take(bytes));
        Self { memory: kept.flatten().unwrap_or_else(|| Memory::new(bytes)), len }
    }

    /// Makes room for `len` numbers; what was there is lost if the buffer is too small.
    pub fn reserve(&mut self, len: usize) {
        if len * size_of::<f32>() > self.memory.bytes {
            *self = Self::new(len);
        }
        self.len = len;
    }

    /// The numbers.
    pub fn as_ref(&self) -> &[f32] {
        // SAFETY: `len` numbers are allocated and were written, by `alloc_zeroed` at least.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.len) }
    }

    /// The numbers, to be changed.
    pub fn as_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_ref`, and the buffer is borrowed as a whole.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.len) }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::NONE);
        if memory.bytes >= LEAST {
            let given_up = KEPT.lock().unwrap_or_else(PoisonError::into_inner).keep(memory);
            // The lock is open again while the system takes it.
            drop(given_up);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept { free: BTreeMap::new(), clock: 0, bytes: 0, used: 0, most: 0 }
    }

    /// As a buffer gets its memory.
    fn get(kept: &mut Kept, bytes: usize) -> Memory {
        kept.take(bytes).unwrap_or_else(|| Memory::new(bytes))
    }

    #[test]
    fn memory_comes_again() {
        let mut kept = kept();
        let memory = get(&mut kept, 4096);
        let start = memory.start;
        assert!(kept.keep(memory).is_empty());
        assert!(kept.take(8192).is_none());
        assert_eq!(kept.take(4096).unwrap().start, start);
        assert!(kept.take(4096).is_none());
    }

    #[test]
    fn what_is_idle_for_long_makes_room() {
        let mut kept = kept();
        let mut sizes_given_up = |bytes| {
            let memory = get(&mut kept, bytes);
            kept.keep(memory).iter().map(|memory| memory.bytes).collect::<Vec<_>>()
        };
        // Never more than 1024 at once, so that 2048 are kept.
        for bytes in [512, 1024, 256] {
            assert!(sizes_given_up(bytes).is_empty());
        }
        assert_eq!(sizes_given_up(384), [384]);
        (0..LONG).for_each(|_| assert!(sizes_given_up(1024).is_empty()));
        assert_eq!(sizes_given_up(384), [512]);
        assert_eq!((kept.bytes, kept.used, kept.most), (1664, 0, 1024));
    }

    #[test]
    fn buffers_hold_what_was_written() {
        let mut buffer = Buffer::new(5_000);
        buffer.as_mut().fill(1.0);
        buffer.reserve(10_000);
        assert_eq!(buffer.as_ref().len(), 10_000);
        buffer.as_mut().fill(2.0);
        drop(buffer);
        assert_eq!([Buffer::new(0).as_ref().len(), Buffer::new(7).as_ref().len()], [0, 7]);
    }
}
