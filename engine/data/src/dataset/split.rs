//! On which side of the split a row lies, and how often a weighted row is taken.
//!
//! Both follow from the row's content and the seed alone: a row stays where it is when the file grows,
//! and equal rows stay together, so that none is trained and measured at once.

use super::EncodedRow;
use crate::random::{combine, unit};
use std::collections::BTreeSet;

const SPLIT: u64 = 1;
const WEIGHT: u64 = 2;

/// Decides between training and validation.
pub(crate) struct Split {
    share: f64,
    seed: u64,
    /// Moved to validation although its number is above the share, so that there is one row.
    only_validation: Option<u64>,
    /// Kept for training although its number is below the share.
    only_train: Option<u64>,
}

fn place(seed: u64, key: u64) -> f64 {
    unit(combine(&[seed, SPLIT, key]))
}

impl Split {
    /// A split of rows with these keys: `share` of them for validation, at least one (and at least one
    /// left for training) when there are two different rows.
    pub(crate) fn new(keys: impl Iterator<Item = u64>, share: f64, seed: u64) -> Self {
        let mut split = Self { share, seed, only_validation: None, only_train: None };
        let keys: BTreeSet<u64> = keys.collect();
        if share <= 0.0 || keys.len() < 2 {
            split.share = 0.0;
            return split;
        }
        let by_place = |a: &u64, b: &u64| place(seed, *a).total_cmp(&place(seed, *b)).then(a.cmp(b));
        if !keys.iter().any(|key| split.is_validation(*key)) {
            split.only_validation = keys.iter().copied().min_by(by_place);
        } else if keys.iter().all(|key| split.is_validation(*key)) {
            split.only_train = keys.iter().copied().max_by(by_place);
        }
        split
    }

    pub(crate) fn is_validation(&self, key: u64) -> bool {
        if self.only_train == Some(key) {
            return false;
        }
        self.only_validation == Some(key) || place(self.seed, key) < self.share
    }
}

/// How often rows of a weighted source are taken.
pub(super) struct Copies {
    weight: f64,
    seed: u64,
    /// Kept although it would be thinned out, so that a source never vanishes.
    kept: Option<u64>,
}

impl Copies {
    pub(super) fn new(rows: &[EncodedRow], weight: f64, seed: u64) -> Self {
        let mut copies = Self { weight: weight.max(0.0), seed, kept: None };
        if rows.iter().all(|row| copies.of(row.key) == 0) {
            copies.kept = rows.first().map(|row| row.key);
        }
        copies
    }

    pub(super) fn of(&self, key: u64) -> usize {
        let whole = self.weight.floor();
        let more = unit(combine(&[self.seed, WEIGHT, key])) < self.weight - whole;
        let times = whole as usize + usize::from(more);
        if times == 0 { usize::from(self.kept == Some(key)) } else { times }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(keys: impl Iterator<Item = u64> + Clone, share: f64) -> Vec<u64> {
        let split = Split::new(keys.clone(), share, 5);
        keys.filter(|key| split.is_validation(*key)).collect()
    }

    #[test]
    fn a_row_keeps_its_side_when_rows_are_added() {
        let (few, many) = (validation(0..500, 0.1), validation(0..5000, 0.1));
        assert!((30..75).contains(&few.len()), "{}", few.len());
        assert!((430..570).contains(&many.len()), "{}", many.len());
        assert!(many.starts_with(&few));
    }

    #[test]
    fn both_sides_have_a_row_when_there_are_two() {
        assert_eq!(validation(0..2, 1e-9).len(), 1);
        assert_eq!(validation(0..2, 0.9999).len(), 1);
        assert_eq!(validation(0..1, 0.5).len(), 0);
        assert_eq!(validation(0..100, 0.0).len(), 0);
    }

    #[test]
    fn weights_repeat_and_thin() {
        let row = |key| EncodedRow { line: 1, key, ids: vec![], trained: vec![], cut: false };
        let rows: Vec<EncodedRow> = (0..1000).map(row).collect();
        let total = |weight: f64| {
            let copies = Copies::new(&rows, weight, 1);
            rows.iter().map(|row| copies.of(row.key)).sum::<usize>()
        };
        assert_eq!(total(1.0), 1000);
        assert_eq!(total(2.0), 2000);
        assert!((2400..2600).contains(&total(2.5)));
        assert!((200..300).contains(&total(0.25)));
        assert_eq!(total(1e-9), 1);
    }
}
