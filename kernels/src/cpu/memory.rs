//! Memory that is used again.
//!
//! A training step needs the same large buffers as the one before. Given back to the system, each would be mapped, cleared and faulted
//! in again, page by page, at every step; so they are kept.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Alignment in bytes: a cache line.
pub const ALIGN: usize = 64;
/// Buffers of fewer bytes are not kept.
const LEAST: usize = 16 * 1024;

/// Numbers that nobody else holds. What they are at first is unspecified.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<f32>,
    /// Bytes that were allocated, a size that [`class`] gives.
    bytes: usize,
    len: usize,
}

// SAFETY: a buffer owns its memory.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

/// Buffers nobody uses, by size in bytes.
static KEPT: Mutex<Kept> = Mutex::new(Kept { free: BTreeMap::new(), bytes: 0, used: 0, most: 0 });

struct Kept {
    free: BTreeMap<usize, Vec<Buffer>>,
    /// Bytes in `free`.
    bytes: usize,
    /// Bytes in use, and the most that ever were.
    used: usize,
    most: usize,
}

/// Bytes to allocate for `bytes`: sizes within an eighth of each other share a class.
fn class(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 16).max(ALIGN);
    bytes.max(1).next_multiple_of(step)
}

impl Buffer {
    /// `len` numbers.
    pub fn new(len: usize) -> Self {
        let bytes = class(len * size_of::<f32>());
        if bytes >= LEAST {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            kept.used += bytes;
            kept.most = kept.most.max(kept.used);
            let found = kept.free.get_mut(&bytes).and_then(Vec::pop);
            if let Some(mut found) = found {
                kept.bytes -= bytes;
                found.len = len;
                return found;
            }
        }
        Self::allocate(bytes, len)
    }

    fn allocate(bytes: usize, len: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout is not empty. All bytes are zero, so that they are numbers at all times.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start: start.cast(), bytes, len }
    }

    /// Makes room for `len` numbers; what was there is lost if the buffer is too small.
    pub fn reserve(&mut self, len: usize) {
        if len * size_of::<f32>() > self.bytes {
            *self = Self::new(len);
        }
        self.len = len;
    }

    /// The numbers.
    pub fn as_ref(&self) -> &[f32] {
        // SAFETY: `len` numbers are allocated and were written, by `alloc_zeroed` at least.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The numbers, to be changed.
    pub fn as_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_ref`, and the buffer is borrowed as a whole.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(0)
    }
}

fn layout(bytes: usize) -> Layout {
    // SAFETY: `ALIGN` is a power of two, and no `bytes` that was ever asked for is near the end of the address space.
    unsafe { Layout::from_size_align_unchecked(bytes, ALIGN) }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let whole = Self { start: self.start, bytes: self.bytes, len: 0 };
        if whole.bytes >= LEAST {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            kept.used -= whole.bytes;
            // Sizes that are needed at different times of a step lie idle side by side, so that all of it is kept at
            // one and a half times what was needed at once.
            if kept.bytes + kept.used + whole.bytes <= kept.most + kept.most / 2 {
                kept.bytes += whole.bytes;
                let bytes = whole.bytes;
                kept.free.entry(bytes).or_default().push(whole);
                return;
            }
        }
        // SAFETY: allocated with the same layout, and `whole` is forgotten.
        unsafe { dealloc(whole.start.as_ptr().cast(), layout(whole.bytes)) };
        std::mem::forget(whole);
    }
}
