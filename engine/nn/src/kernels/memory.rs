//! Freed memory stays with the process while a run lasts.
//!
//! Place in the data flow: the trainer holds a [`KeepFreed`] around its steps. Each step frees and asks for the same
//! large buffers; where the allocator returns them to the system in between, the system has to clear tens of thousands
//! of pages a step. Only the allocator of glibc needs telling; others keep pages of their own accord.

use parking_lot::Mutex;

/// How many there are; held while the allocator is told, so that what it was told last is right.
static HOLDERS: Mutex<usize> = Mutex::new(0);

/// All threads share one heap from here on: to be called once, before the process starts any. Heaps of threads are
/// unmapped whenever they are empty and hold nothing larger than 64 MiB, so that a trained embedding's gradient would be
/// given back to the system and cleared again at every step.
pub fn one_heap() {
    allocator::one_heap();
}

/// While one of these lives, freed memory is kept for the next step; the last one gives it back.
#[derive(Debug)]
pub struct KeepFreed(());

impl KeepFreed {
    /// Begins.
    #[must_use]
    pub fn begin() -> Self {
        let mut holders = HOLDERS.lock();
        if *holders == 0 {
            allocator::keep();
        }
        *holders += 1;
        Self(())
    }
}

impl Drop for KeepFreed {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock();
        *holders -= 1;
        if *holders == 0 {
            allocator::give_back();
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    use libc::c_int;

    /// Buffers that may usually be asked of the system one by one.
    const USUAL_MMAP_MAX: c_int = 65_536;
    /// Free memory at the end of the heap that is usually kept.
    const USUAL_TRIM_THRESHOLD: c_int = 128 << 10;
    /// As a trim threshold: free memory at the end of the heap stays, however much it is.
    const NEVER: c_int = -1;
    /// What the heap usually grows by beyond what is asked for.
    const USUAL_TOP_PAD: c_int = 128 << 10;
    /// The same while a run lasts.
    const TOP_PAD: c_int = 16 << 20;

    fn set(options: &[(c_int, c_int)]) {
        for (option, value) in options {
            #[expect(unsafe_code, reason = "the C library's allocator is told through a C call")]
            // SAFETY: mallopt takes two integers, may be called at any time and from any thread, and leaves everything
            // allocated as it is; an option it does not know is refused by its return value, which changes nothing.
            unsafe {
                libc::mallopt(*option, *value);
            }
        }
    }

    pub(super) fn one_heap() {
        set(&[(libc::M_ARENA_MAX, 1)]);
    }

    pub(super) fn keep() {
        set(&[(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, NEVER), (libc::M_TOP_PAD, TOP_PAD)]);
    }

    pub(super) fn give_back() {
        set(&[
            (libc::M_MMAP_MAX, USUAL_MMAP_MAX),
            (libc::M_TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD),
            (libc::M_TOP_PAD, USUAL_TOP_PAD),
        ]);
        #[expect(unsafe_code, reason = "the C library's allocator is told through a C call")]
        // SAFETY: malloc_trim takes a number, may be called at any time, and frees nothing that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(super) fn one_heap() {}

    pub(super) fn keep() {}

    pub(super) fn give_back() {}
}
