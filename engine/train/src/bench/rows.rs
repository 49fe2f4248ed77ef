//! Rows of a data file for the bench: what padding, prompts and packing do to the speed of real training.
//!
//! Place in the data flow: the file goes the way of every project's data (reader, chat template, answer mask, order,
//! packing, prefetch); only rows of other lengths than wanted are left out. What each step was fed can be written down,
//! so that another program can be fed the same.

use super::BenchRequest;
use crate::driver::Tokens;
use crate::error::{Result, TrainError};
use crate::prepare::{load_codec, tokens_of};
use crate::watch::Watch;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use temper_data::{
    Batch, BatchSettings, DataError, Dataset, Example, IGNORE, LoadRequest, Loader, Prefetcher, ValidationSource,
};
use temper_models::Model;
use temper_protocol::{Code, Problem};

/// Batches made ahead.
const PREFETCH: usize = 3;
/// Label of a position that is not trained, as other libraries write it.
const NO_LABEL: i64 = -100;

/// Which rows are trained on.
#[derive(Debug, Clone)]
pub struct RowsRequest {
    /// Data file or folder.
    pub path: PathBuf,
    /// Tokens that a row must have.
    pub row_tokens: RangeInclusive<usize>,
    /// Several rows in one, up to the bench's width; else one row after the other, neighbours of similar length
    /// together.
    pub packing: bool,
    /// File to write what each step was fed: a JSON object a step.
    pub dump: Option<PathBuf>,
}

/// The stream of steps.
pub(super) struct Rows {
    /// Tokens of each example.
    pub(super) lengths: Vec<usize>,
    batches: Prefetcher,
    seed: u64,
    dump: Option<(PathBuf, BufWriter<File>)>,
}

/// A step as it is written down.
#[derive(Serialize)]
struct StepLine {
    step: u64,
    rows: Vec<RowLine>,
}

/// A row without its padding.
#[derive(Serialize)]
struct RowLine {
    ids: Vec<u32>,
    /// For each id itself, not for the one that follows it: the id where predicting it is trained, else -100.
    labels: Vec<i64>,
    /// Starts of the packed rows and the end.
    borders: Vec<u32>,
}

impl Rows {
    /// Reads the file and gets the first batches made.
    ///
    /// # Errors
    /// A file or tokenizer that cannot be used; no row of the wanted length; a dump that cannot be written.
    pub(super) fn open(wanted: &RowsRequest, bench: &BenchRequest, model: &Model, watch: &Watch<'_>) -> Result<Self> {
        let project = &bench.project;
        let (fewest, most) = (*wanted.row_tokens.start(), *wanted.row_tokens.end());
        if fewest > most || most > bench.width {
            let what = format!("rows of {fewest} to {most} tokens do not fit rows of {} tokens", bench.width);
            return Err(Problem::new(Code::Usage, what, "bench train", "raise --seq or lower --row-tokens").into());
        }
        let codec = load_codec(&model.source, &bench.model_path, project)?;
        let train = vec![(wanted.path.clone(), 1.0)];
        let seed = project.train.seed;
        let mut load = LoadRequest::from_project(&project.data, train, ValidationSource::Share(0.0), seed, None)?;
        // One more than wanted, so that rows that were cut are told from rows that fit.
        load.max_tokens = most.saturating_add(1);
        let mut tell = |at: temper_data::Progress| watch.preparing(at.stage, at.done, at.total, at.unit);
        let loaded = Dataset::load(&load, &codec, &mut tell, &|| watch.is_ending());
        let dataset = match loaded {
            Err(DataError::Cancelled) => {
                watch.check()?;
                return Err(TrainError::Cancelled);
            }
            other => other?,
        };
        let fits = |example: &Example| wanted.row_tokens.contains(&example.ids.len());
        let examples: Vec<Example> = dataset.train.into_iter().filter(fits).collect();
        if examples.is_empty() {
            let what = format!("no row has {fewest} to {most} tokens");
            let place = wanted.path.display().to_string();
            return Err(Problem::new(Code::DataInvalid, what, place, "choose other --row-tokens").into());
        }
        let settings = BatchSettings {
            batch: project.train.batch,
            max_tokens: bench.width,
            packing: wanted.packing,
            seed,
            pad_id: codec.pad_id(),
        };
        let lengths = examples.iter().map(|example| example.ids.len()).collect();
        let batches = Prefetcher::spawn(Loader::new(Arc::new(examples), settings)?, PREFETCH)?;
        let dump = match &wanted.dump {
            Some(path) => {
                let file = File::create(path).map_err(|error| TrainError::io(path, error))?;
                Some((path.clone(), BufWriter::new(file)))
            }
            None => None,
        };
        Ok(Self { lengths, batches, seed, dump })
    }

    /// The next batch.
    ///
    /// # Errors
    /// The thread that makes batches died; the dump cannot be written.
    pub(super) fn next(&mut self, step: u64) -> Result<Tokens> {
        let batch = self.batches.next_batch()?;
        if let Some((path, out)) = &mut self.dump {
            let line = StepLine { step, rows: lines_of(&batch) };
            let text = serde_json::to_string(&line)
                .map_err(|error| Problem::internal(format!("a step cannot be written down: {error}")))?;
            writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| TrainError::io(path, error))?;
        }
        Ok(tokens_of(batch, true, self.seed, step, 0))
    }
}

fn lines_of(batch: &Batch) -> Vec<RowLine> {
    let rows = batch.tokens.chunks(batch.width.max(1)).zip(batch.targets.chunks(batch.width.max(1)));
    let line = |((ids, targets), borders): ((&[u32], &[u32]), &Vec<u32>)| {
        let end = borders.last().map_or(0, |end| *end as usize);
        let ids = ids.get(..end).unwrap_or_default().to_vec();
        let trained = targets.iter().map(|target| if *target == IGNORE { NO_LABEL } else { i64::from(*target) });
        let labels = std::iter::once(NO_LABEL).chain(trained).take(end).collect();
        RowLine { ids, labels, borders: borders.clone() }
    };
    rows.zip(&batch.borders).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_the_ids_that_are_predicted_and_padding_is_left_out() {
        let example =
            |ids: &[u32], trained: &[bool]| Example { ids: ids.to_vec(), trained: trained.to_vec(), file: 0, line: 1 };
        let examples = [
            example(&[10, 11, 12], &[false, false, true]),
            example(&[20, 21], &[false, true]),
            example(&[30, 31, 32, 33], &[false, true, false, true]),
        ];
        let batches = temper_data::eval_batches(&examples, 2, 5, true, 0);
        let lines = lines_of(&batches[0]);
        let found: Vec<_> =
            lines.iter().map(|line| (line.ids.clone(), line.labels.clone(), line.borders.clone())).collect();
        assert_eq!(
            found,
            [
                (vec![10, 11, 12, 20, 21], vec![-100, -100, 12, -100, 21], vec![0, 3, 5]),
                (vec![30, 31, 32, 33], vec![-100, 31, -100, 33], vec![0, 4]),
            ]
        );
    }
}
