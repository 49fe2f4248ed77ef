//! The endless stream of training batches and its cursor.

use super::{Batch, assemble, pack};
use crate::DataError;
use crate::dataset::Example;
use crate::random::{Counter, combine, mix};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const ORDER: u64 = 11;
const GROUPS: u64 = 12;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSettings {
    /// Rows of a batch.
    pub batch: usize,
    /// Longest row, tokens.
    pub max_tokens: usize,
    /// Several examples in a row, with borders.
    pub packing: bool,
    /// Decides on the order.
    pub seed: u64,
    /// Id that fills short rows; never trained.
    pub pad_id: u32,
}

/// A place in the stream of rows. With the same examples and settings (the batch size may differ) the same
/// rows follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Rows of that epoch already taken.
    pub row: u64,
    /// Hash of examples and settings.
    pub fingerprint: u64,
}

/// Endless batches over training examples, in a new order each epoch.
#[derive(Debug, Clone)]
pub struct Loader {
    examples: Arc<Vec<Example>>,
    settings: BatchSettings,
    fingerprint: u64,
    rows_per_epoch: usize,
    epoch: u64,
    row: usize,
    /// Rows of the epoch, as indices of examples.
    plan: Vec<Vec<u32>>,
}

impl Loader {
    /// A loader at the start of epoch 0. Examples without a trained token are left out.
    ///
    /// # Errors
    /// [`DataError::Data`] when no example has a trained token, [`DataError::Setting`] when one is longer
    /// than `max_tokens` or the batch is empty.
    pub fn new(examples: Arc<Vec<Example>>, settings: BatchSettings) -> Result<Self, DataError> {
        let setting = |what: String, place: &str, action: &str| {
            Err(DataError::Setting { what, place: place.to_owned(), action: action.to_owned() })
        };
        if settings.batch == 0 {
            return setting("a batch of no rows cannot be trained".to_owned(), "train.batch", "set at least 1");
        }
        if u32::try_from(examples.len()).is_err() {
            return setting(format!("{} rows are too many", examples.len()), "data.train", "use fewer files");
        }
        if let Some(long) = examples.iter().find(|example| example.ids.len() > settings.max_tokens) {
            let what = format!("a row of {} tokens is longer than {}", long.ids.len(), settings.max_tokens);
            return setting(what, "data.max_tokens", "load the data with the same limit");
        }
        if !examples.iter().any(has_trained) {
            return Err(DataError::data(
                "no token of the data is trained",
                "[data]",
                "raise data.max_tokens or set data.loss_on = \"everything\"",
            ));
        }
        let fingerprint = fingerprint(&examples, &settings);
        let mut loader =
            Self { examples, settings, fingerprint, rows_per_epoch: 0, epoch: 0, row: 0, plan: Vec::new() };
        loader.plan = loader.plan_of(0);
        loader.rows_per_epoch = loader.plan.len();
        Ok(loader)
    }

    /// Rows of `epoch` in order.
    fn plan_of(&self, epoch: u64) -> Vec<Vec<u32>> {
        let mut order: Vec<u32> =
            (0_u32..).zip(self.examples.iter()).filter(|(_, e)| has_trained(e)).map(|(index, _)| index).collect();
        Counter::new(self.settings.seed, combine(&[ORDER, epoch])).shuffle(&mut order);
        if self.settings.packing {
            pack::packed(&self.examples, &order, self.settings.max_tokens)
        } else {
            let mut counter = Counter::new(self.settings.seed, combine(&[GROUPS, epoch]));
            pack::grouped(&self.examples, &order, &mut counter)
        }
    }

    /// The next batch: `batch` rows, at least one trained token in each.
    pub fn next_batch(&mut self) -> Batch {
        let mut rows = Vec::with_capacity(self.settings.batch);
        while rows.len() < self.settings.batch {
            if let Some(row) = self.plan.get(self.row) {
                rows.push(row.clone());
                self.row += 1;
            } else {
                self.epoch += 1;
                self.row = 0;
                self.plan = self.plan_of(self.epoch);
            }
        }
        assemble(&self.examples, &rows, self.settings.pad_id)
    }

    /// Where the stream is.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, row: self.row as u64, fingerprint: self.fingerprint }
    }

    /// Goes to a place: the batches that follow are the same, bit for bit, as those that followed when the
    /// cursor was taken.
    ///
    /// # Errors
    /// [`DataError::Data`] when the cursor belongs to other examples or settings.
    pub fn seek(&mut self, cursor: Cursor) -> Result<(), DataError> {
        let plan = if cursor.epoch == self.epoch { None } else { Some(self.plan_of(cursor.epoch)) };
        let rows = plan.as_ref().unwrap_or(&self.plan).len() as u64;
        if cursor.fingerprint != self.fingerprint || cursor.row > rows {
            return Err(DataError::data(
                "the data or its settings have changed since the checkpoint",
                "[data]",
                "bring the old data back to resume, or start a new run",
            ));
        }
        if let Some(plan) = plan {
            self.plan = plan;
        }
        self.epoch = cursor.epoch;
        self.row = usize::try_from(cursor.row).unwrap_or(usize::MAX);
        Ok(())
    }

    /// Rows of an epoch. Packing makes a few more or fewer from epoch to epoch; this is the first one's.
    #[must_use]
    pub fn rows_per_epoch(&self) -> usize {
        self.rows_per_epoch
    }

    /// Optimiser steps of an epoch with `accumulate` batches a step, rounded up.
    #[must_use]
    pub fn steps_per_epoch(&self, accumulate: usize) -> u64 {
        self.steps_for_epochs(1.0, accumulate)
    }

    /// Optimiser steps of `epochs` epochs, at least 1.
    #[must_use]
    pub fn steps_for_epochs(&self, epochs: f64, accumulate: usize) -> u64 {
        let rows_per_step = (self.settings.batch * accumulate.max(1)) as f64;
        let steps = (self.rows_per_epoch as f64 * epochs / rows_per_step).ceil();
        if steps.is_finite() && steps >= 1.0 { steps as u64 } else { 1 }
    }

    /// The examples.
    #[must_use]
    pub fn examples(&self) -> &Arc<Vec<Example>> {
        &self.examples
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> BatchSettings {
        self.settings
    }
}

fn has_trained(example: &Example) -> bool {
    example.trained.iter().skip(1).any(|trained| *trained)
}

/// Hash of all that decides on the stream of rows; the batch size does not.
fn fingerprint(examples: &[Example], settings: &BatchSettings) -> u64 {
    let start = [settings.seed, settings.max_tokens as u64, u64::from(settings.packing), examples.len() as u64];
    examples.iter().fold(combine(&start), |state, example| {
        let row = example.ids.iter().zip(&example.trained);
        let row = row.fold(example.ids.len() as u64, |state, (id, trained)| {
            mix(state ^ (u64::from(*id) << 1 | u64::from(*trained)))
        });
        combine(&[state, row])
    })
}
