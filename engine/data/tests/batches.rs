//! Batches: packing conserves everything, the order is random and restorable, padding lies behind.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_data::{Batch, BatchSettings, DataError, Example, IGNORE, Loader, Prefetcher, eval_batches};

const PAD: u32 = 999_999;

/// Examples whose ids tell where they come from.
fn examples(lengths: &[usize]) -> Vec<Example> {
    (0_u32..)
        .zip(lengths)
        .map(|(number, length)| Example {
            ids: (0..*length as u32).map(|at| number * 1000 + at).collect(),
            trained: (0..*length)
                .map(|at| at > 0 && (at + 1 == *length || !(at * 7 + number as usize).is_multiple_of(3)))
                .collect(),
            file: 0,
            line: u64::from(number) + 1,
        })
        .collect()
}

fn settings(batch: usize, packing: bool) -> BatchSettings {
    BatchSettings { batch, max_tokens: 64, packing, seed: 3, pad_id: PAD }
}

fn loader(lengths: &[usize], batch: usize, packing: bool) -> Loader {
    Loader::new(Arc::new(examples(lengths)), settings(batch, packing)).expect("a loader")
}

/// Checks the form of a batch and returns its segments: tokens and targets by example.
fn segments(batch: &Batch) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
    let size = batch.rows * batch.width;
    assert_eq!([batch.tokens.len(), batch.targets.len(), batch.positions.len()], [size; 3]);
    assert_eq!(batch.borders.len(), batch.rows);
    let mut found = Vec::new();
    let mut names = batch.examples.iter();
    let (mut real, mut widest) = (0, 0);
    for (row, borders) in batch.borders.iter().enumerate() {
        let range = row * batch.width..(row + 1) * batch.width;
        let (tokens, targets) = (&batch.tokens[range.clone()], &batch.targets[range.clone()]);
        let positions = &batch.positions[range];
        assert_eq!(borders[0], 0);
        assert!(targets.iter().any(|target| *target != IGNORE), "a row without a trained token");
        for pair in borders.windows(2) {
            let span = pair[0] as usize..pair[1] as usize;
            assert!(span.start < span.end);
            assert_eq!(positions[span.clone()], (0..span.len() as u32).collect::<Vec<_>>());
            // Nothing is predicted across a border.
            assert_eq!(targets[span.end - 1], IGNORE);
            let name = names.next().expect("an example for each segment");
            found.push((*name, tokens[span.clone()].to_vec(), targets[span].to_vec()));
        }
        let end = *borders.last().expect("a border") as usize;
        assert!(tokens[end..].iter().all(|id| *id == PAD));
        assert!(targets[end..].iter().all(|id| *id == IGNORE));
        assert!(positions[end..].iter().all(|at| *at == 0));
        real += end;
        widest = widest.max(end);
    }
    assert!(names.next().is_none());
    assert_eq!((batch.real_tokens, batch.width), (real, widest));
    assert_eq!(batch.trained_tokens, batch.targets.iter().filter(|target| **target != IGNORE).count());
    found
}

/// Segments of one epoch by example.
fn epoch(loader: &mut Loader) -> BTreeMap<u32, (Vec<u32>, Vec<u32>)> {
    let mut found = BTreeMap::new();
    let rows = loader.rows_per_epoch();
    for _ in 0..rows {
        for (name, tokens, targets) in segments(&loader.next_batch()) {
            assert!(found.insert(name, (tokens, targets)).is_none(), "example {name} twice");
        }
    }
    found
}

#[test]
fn targets_are_the_trained_next_tokens() {
    let example = Example { ids: vec![10, 11, 12, 13], trained: vec![false, false, true, true], file: 0, line: 1 };
    let other = Example { ids: vec![20, 21], trained: vec![false, true], file: 0, line: 2 };
    let batches = eval_batches(&[example, other], 4, 8, true, PAD);
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    assert_eq!(batch.tokens, [10, 11, 12, 13, 20, 21]);
    assert_eq!(batch.targets, [IGNORE, 12, 13, IGNORE, 21, IGNORE]);
    assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1]);
    assert_eq!(batch.borders, [vec![0, 4, 6]]);
    assert_eq!((batch.trained_tokens, batch.real_tokens, batch.rows, batch.width), (3, 6, 1, 6));
}

#[test]
fn packing_fills_rows_well_and_keeps_the_order_random() {
    let lengths: Vec<usize> = (0..2000).map(|n| 3 + (n * 37) % 50).collect();
    let mut loader = loader(&lengths, 1, true);
    let tokens: usize = lengths.iter().sum();
    let full = tokens as f64 / (loader.rows_per_epoch() * 64) as f64;
    assert!(full > 0.96, "rows are {full} full");
    let mut order = Vec::new();
    for _ in 0..loader.rows_per_epoch() {
        order.extend(loader.next_batch().examples);
    }
    // A rank correlation near 0 between place in the file and place in the epoch.
    let mean = 999.5;
    let covariance: f64 = (0..2000).map(|at| (at as f64 - mean) * (f64::from(order[at]) - mean)).sum();
    let variance: f64 = (0..2000).map(|at| (at as f64 - mean).powi(2)).sum();
    assert!((covariance / variance).abs() < 0.08, "{}", covariance / variance);
}

#[test]
fn rows_of_similar_length_stay_together_without_packing() {
    let lengths: Vec<usize> = (0..1024).map(|n| 2 + (n * 37) % 60).collect();
    let mut loader = loader(&lengths, 8, false);
    let (mut real, mut all) = (0, 0);
    for _ in 0..loader.steps_per_epoch(1) {
        let batch = loader.next_batch();
        real += batch.real_tokens;
        all += batch.rows * batch.width;
    }
    assert!(f64::from(real as u32) / f64::from(all as u32) > 0.9, "{real} of {all}");
}

#[test]
fn one_batch_of_eight_sees_what_eight_batches_of_one_see() {
    let lengths: Vec<usize> = (0..333).map(|n| 2 + (n * 31) % 40).collect();
    for packing in [true, false] {
        let (mut one, mut eight) = (loader(&lengths, 1, packing), loader(&lengths, 8, packing));
        for _ in 0..100 {
            let together = segments(&eight.next_batch());
            let apart: Vec<_> = (0..8).flat_map(|_| segments(&one.next_batch())).collect();
            assert_eq!(together, apart);
        }
        // A cursor does not depend on the size of the batch.
        assert_eq!(one.cursor(), eight.cursor());
    }
}

#[test]
fn epochs_have_different_orders_and_seeds_differ() {
    let lengths = vec![5; 50];
    let order = |loader: &mut Loader| -> Vec<u32> { (0..50).flat_map(|_| loader.next_batch().examples).collect() };
    let mut first = loader(&lengths, 1, false);
    let (one, two) = (order(&mut first), order(&mut first));
    assert_ne!(one, two);
    assert_eq!(first.cursor().epoch, 1);
    let other = BatchSettings { seed: 4, ..settings(1, false) };
    let mut other = Loader::new(Arc::new(examples(&lengths)), other).expect("a loader");
    assert_ne!(order(&mut other), one);
}

#[test]
fn steps_of_epochs_are_counted_from_rows() {
    let loader = loader(&[5; 50], 4, false);
    assert_eq!(loader.rows_per_epoch(), 50);
    assert_eq!(loader.steps_per_epoch(1), 13);
    assert_eq!(loader.steps_per_epoch(2), 7);
    assert_eq!(loader.steps_for_epochs(2.0, 1), 25);
    assert_eq!(loader.steps_for_epochs(0.001, 1), 1);
}

#[test]
fn a_loader_refuses_what_it_cannot_serve() {
    let make = |examples: Vec<Example>, settings| Loader::new(Arc::new(examples), settings);
    assert!(matches!(make(examples(&[65]), settings(1, true)), Err(DataError::Setting { .. })));
    assert!(matches!(make(examples(&[5]), settings(0, true)), Err(DataError::Setting { .. })));
    let untrained = Example { ids: vec![1, 2], trained: vec![true, false], file: 0, line: 1 };
    assert!(matches!(make(vec![untrained.clone()], settings(1, true)), Err(DataError::Data { .. })));
    assert!(matches!(make(Vec::new(), settings(1, true)), Err(DataError::Data { .. })));
    let mut mixed = examples(&[4]);
    mixed.push(untrained);
    let mut loader = make(mixed, settings(3, true)).expect("one good example");
    assert_eq!(loader.next_batch().examples, [0, 0, 0]);
}

#[test]
fn a_cursor_of_other_data_is_refused() {
    let mut first = loader(&[5, 6, 7], 1, true);
    let cursor = loader(&[5, 6, 8], 1, true).cursor();
    let before = first.cursor();
    assert!(matches!(first.seek(cursor), Err(DataError::Data { .. })));
    assert_eq!(first.cursor(), before);
    let text = serde_json::to_string(&before).expect("JSON");
    assert_eq!(serde_json::from_str::<temper_data::Cursor>(&text).expect("JSON"), before);
}

#[test]
fn a_prefetcher_serves_the_same_batches_and_remembers_what_was_consumed() {
    let lengths: Vec<usize> = (0..60).map(|n| 2 + n % 30).collect();
    let mut plain = loader(&lengths, 3, true);
    let mut ahead = Prefetcher::spawn(plain.clone(), 3).expect("a thread");
    for _ in 0..40 {
        assert_eq!(ahead.next_batch().expect("a batch"), plain.next_batch());
        assert_eq!(ahead.cursor(), plain.cursor());
    }
    let marked = ahead.cursor();
    let following: Vec<Batch> = (0..5).map(|_| ahead.next_batch().expect("a batch")).collect();
    ahead.seek(marked).expect("goes back");
    assert_eq!((0..5).map(|_| ahead.next_batch().expect("a batch")).collect::<Vec<_>>(), following);
    let strange = temper_data::Cursor { fingerprint: 0, ..marked };
    assert!(ahead.seek(strange).is_err());
    let mut stopped = ahead.stop().expect("stops");
    for _ in 0..5 {
        plain.next_batch();
    }
    assert_eq!(stopped.next_batch(), plain.next_batch());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packing_conserves_tokens_and_marks(
        lengths in prop::collection::vec(2_usize..=64, 1..200),
        packing in any::<bool>(),
    ) {
        let mut loader = loader(&lengths, 1, packing);
        let all = examples(&lengths);
        for _ in 0..2 {
            loader.seek(temper_data::Cursor { row: 0, ..loader.cursor() }).expect("back");
            let found = epoch(&mut loader);
            prop_assert_eq!(found.len(), all.len());
            for (name, (tokens, targets)) in found {
                let example = &all[name as usize];
                prop_assert_eq!(&tokens, &example.ids);
                let trained = targets.iter().filter(|target| **target != IGNORE).count();
                prop_assert_eq!(trained, example.trained_tokens());
            }
        }
    }

    #[test]
    fn packed_and_unpacked_measure_the_same(lengths in prop::collection::vec(2_usize..=64, 1..100), rows in 1_usize..9) {
        let all = examples(&lengths);
        let collect = |packing: bool| {
            let batches = eval_batches(&all, rows, 64, packing, PAD);
            let mut found: Vec<_> = batches.iter().flat_map(segments).collect();
            found.sort();
            found
        };
        prop_assert_eq!(collect(true), collect(false));
        prop_assert_eq!(eval_batches(&all, rows, 64, true, PAD), eval_batches(&all, rows, 64, true, PAD));
    }

    #[test]
    fn a_cursor_restores_any_place(
        lengths in prop::collection::vec(2_usize..=64, 1..60),
        batch in 1_usize..6,
        packing in any::<bool>(),
        before in 0_usize..80,
    ) {
        let mut first = loader(&lengths, batch, packing);
        for _ in 0..before {
            first.next_batch();
        }
        let cursor = first.cursor();
        let following: Vec<Batch> = (0..6).map(|_| first.next_batch()).collect();
        let mut second = loader(&lengths, batch, packing);
        second.next_batch();
        second.seek(cursor).expect("the same data");
        prop_assert_eq!((0..6).map(|_| second.next_batch()).collect::<Vec<_>>(), following);
    }
}
