//! Work on layer after layer that needs large matrices beside them, spread over the threads of the pool.
//!
//! Place in the data flow: decompositions of weights before training (starts of adapters, spectra that ranks are chosen by).
//! A single decomposition of a layer of a language model hardly gains from a second thread, so each is done on one thread
//! ([`crate::linalg`]) and several layers at the same time. Every result is that of its layer alone, whoever computed it:
//! the number of threads changes no bit.

use crate::Result;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

/// Bytes of matrices that layers which are worked on at the same time may have together; a layer that needs more is worked
/// on alone.
pub const AT_ONCE_BYTES: usize = 1 << 30;

/// Bytes that a decomposition of a weight (out, in) takes at most, f64: the weight itself, its copy, what is left of it, both
/// sides of singular vectors and a product; and four matrices of its inputs' second moment.
#[must_use]
pub fn decomposition_bytes(out_features: usize, in_features: usize) -> usize {
    8 * (6 * out_features * in_features + 4 * in_features * in_features)
}

/// What `work` makes of each of `items`, in their order. Items are taken in runs whose `bytes` together stay within
/// `limit` (at least one item each), and the items of a run are shared out over the pool.
///
/// # Errors
/// That of the first item that fails, in the order of the items.
pub fn at_once<T: Sync, R: Send>(
    items: &[T],
    limit: usize,
    bytes: impl Fn(&T) -> usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut results = Vec::with_capacity(items.len());
    let mut rest = items;
    while !rest.is_empty() {
        let mut taken = 0usize;
        let fits = rest.iter().take_while(|&item| {
            taken = taken.saturating_add(bytes(item));
            taken <= limit
        });
        let (run, later) = rest.split_at(fits.count().max(1));
        let done: Vec<Result<R>> = run.par_iter().map(&work).collect();
        for result in done {
            results.push(result?);
        }
        rest = later;
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NnError;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_keep_their_order_and_no_more_is_in_memory_than_is_allowed() {
        let items = [3usize, 4, 2, 9, 1, 1, 1, 5, 5, 5];
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |item: &usize| {
                let now = held.fetch_add(*item, Ordering::SeqCst) + item;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                held.fetch_sub(*item, Ordering::SeqCst);
                Ok(item * 10)
            };
            let done = pool.install(|| at_once(&items, 7, |item| *item, work)).unwrap();
            assert_eq!(done, items.map(|item| item * 10));
            // 9 is alone.
            assert!(most.into_inner() <= 9);
        }
    }

    #[test]
    fn runs_fill_the_limit_and_no_more() {
        // On one thread the runs show in the order in which bytes are asked for and work is done.
        let log = parking_lot::Mutex::new(String::new());
        let bytes = |item: &usize| {
            log.lock().push('?');
            *item
        };
        let work = |_: &usize| {
            log.lock().push('.');
            Ok(())
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| at_once(&[3, 4, 2, 9, 1], 7, bytes, work)).unwrap();
        assert_eq!(log.into_inner(), "???..??.?.?.", "3 and 4, then 2, then 9 alone, then 1");
    }

    #[test]
    fn the_first_failing_item_is_the_one_that_is_told() {
        let work = |item: &usize| if *item > 1 { Err(NnError::Value(format!("item {item}"))) } else { Ok(*item) };
        let error = at_once(&[0, 1, 2, 3], usize::MAX, |_| 1, work).unwrap_err();
        assert!(error.to_string().contains("item 2"), "{error}");
        assert!(at_once(&[] as &[usize], 1, |_| 1, work).unwrap().is_empty());
    }
}
