//! Buffers that each thread keeps for widened weights and tiles, so that no product allocates.
//!
//! Place in the data flow: the kernels borrow one for the length of a closure.

use std::cell::Cell;

/// Largest buffer that is kept, in values (8 MiB): an unusual one is freed after use.
const KEPT_VALUES: usize = 1 << 21;

thread_local! {
    static KEPT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with a buffer of `length` values of unspecified contents. While it runs the thread may wait in
/// the pool and take up other work that asks for a buffer: that gets another one.
pub(crate) fn with<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = KEPT.take();
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    let result = work(&mut buffer[..length]);
    if buffer.len() <= KEPT_VALUES {
        KEPT.set(buffer);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_asked_for_within_another_is_another() {
        with(10, |outer| {
            outer.fill(1.0);
            with(20, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|&x| x == 1.0));
        });
    }
}
