//! Freed memory stays with the process while a run lasts; new memory is written once.
//!
//! Place in the data flow: the trainer holds a [`KeepFreed`] around its steps. Each step frees and asks for the same
//! large buffers; where the allocator returns them to the system in between, the system has to clear tens of thousands
//! of pages a step. Only the allocator of glibc needs telling; others keep pages of their own accord.

use parking_lot::Mutex;
use rayon::prelude::*;

/// `len` values that `values` gives chunk by chunk of `chunk` values, in parallel from about `piece` values on, without
/// clearing the memory first: for what is bound by memory, a third of the way. What a chunk lacks is 0.
pub(crate) fn written<I: Iterator<Item = f32>>(
    len: usize,
    chunk: usize,
    piece: usize,
    values: impl Fn(usize) -> I + Sync,
) -> Vec<f32> {
    let mut all: Vec<f32> = Vec::with_capacity(len);
    if let Some(places) = all.spare_capacity_mut().get_mut(..len) {
        let chunks = places.par_chunks_mut(chunk.max(1)).with_min_len(piece.div_ceil(chunk.max(1)));
        chunks.enumerate().for_each(|(index, places)| {
            let mut count = 0;
            for (place, value) in places.iter_mut().zip(values(index)) {
                place.write(value);
                count += 1;
            }
            for place in places.iter_mut().skip(count) {
                place.write(0.0);
            }
        });
        #[expect(unsafe_code, reason = "a vector cannot be told in a safe way that its memory was written by others")]
        // SAFETY: the chunks cover the first `len` places, and each of them wrote every place of its own.
        unsafe {
            all.set_len(len);
        }
    }
    all
}

/// How many there are; held while the allocator is told, so that what it was told last is right.
static HOLDERS: Mutex<usize> = Mutex::new(0);

/// All threads share one heap from here on: to be called once, before the process starts any. Heaps of threads are
/// unmapped whenever they are empty and hold nothing larger than 64 MiB, so that a trained embedding's gradient would be
/// given back to the system and cleared again at every step.
pub fn one_heap() {
    allocator::one_heap();
}

/// The process keeps up to 32 MiB of what it frees for good: to be called once, by one that gives back and asks for the same
/// buffers at every frame, as a window drawn by the processor does. Each of its frames would else begin with pages the
/// system has to clear.
pub fn keep_frames() {
    allocator::keep_frames();
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

/// Measures how much memory a piece of work takes at its peak beyond what the process had before.
#[derive(Debug)]
pub struct PeakWatch {
    start_kib: u64,
}

impl PeakWatch {
    /// Gives freed memory back to the system, so that what is taken up again counts, and begins; `None` where the system
    /// does not say what a process has.
    #[must_use]
    pub fn begin() -> Option<Self> {
        allocator::trim();
        let start_kib = system::status_kib("VmRSS:")?;
        system::reset_peak().then_some(Self { start_kib })
    }

    /// Bytes that the process had at its peak since the beginning, less those that it had then.
    #[must_use]
    pub fn beyond_start(&self) -> Option<u64> {
        Some(system::status_kib("VmHWM:")?.saturating_sub(self.start_kib) * 1024)
    }
}

#[cfg(target_os = "linux")]
mod system {
    /// A figure of the process in KiB.
    pub(super) fn status_kib(key: &str) -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Lets the peak begin anew at what the process has.
    pub(super) fn reset_peak() -> bool {
        std::fs::write("/proc/self/clear_refs", "5").is_ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn status_kib(_: &str) -> Option<u64> {
        None
    }

    pub(super) fn reset_peak() -> bool {
        false
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
    /// What a window keeps of its frames; the most the allocator takes as a limit for buffers of their own.
    const FRAMES: c_int = 32 << 20;

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

    pub(super) fn keep_frames() {
        set(&[(libc::M_MMAP_THRESHOLD, FRAMES), (libc::M_TRIM_THRESHOLD, FRAMES), (libc::M_TOP_PAD, FRAMES)]);
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
        trim();
    }

    pub(super) fn trim() {
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

    pub(super) fn keep_frames() {}

    pub(super) fn keep() {}

    pub(super) fn give_back() {}

    pub(super) fn trim() {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_peak_holds_what_was_used_and_freed_again() {
        let watch = PeakWatch::begin().unwrap();
        let values = std::hint::black_box(vec![1u8; 64 << 20]);
        assert_eq!(values.iter().map(|&value| u64::from(value)).sum::<u64>(), 64 << 20);
        drop(values);
        // Other tests run beside this one; what they free takes nothing off a peak.
        assert!(watch.beyond_start().unwrap() > 32 << 20);
    }

    #[test]
    fn what_is_written_is_whole_and_in_order() {
        for (len, chunk, piece) in [(0, 4, 8), (1, 4, 8), (1000, 7, 16), (1000, 1000, 1), (5, 0, 0)] {
            let of = |index: usize| (index * chunk.max(1)..(index + 1) * chunk.max(1)).map(|value| value as f32);
            let expected: Vec<f32> = (0..len).map(|value| value as f32).collect();
            assert_eq!(written(len, chunk, piece, of), expected, "{len} by {chunk}");
        }
        assert_eq!(written(5, 3, 1, |_| std::iter::once(2.0)), [2.0, 0.0, 0.0, 2.0, 0.0], "what is lacking is 0");
    }
}
