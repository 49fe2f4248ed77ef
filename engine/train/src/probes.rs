//! What must not be forgotten: kept sets measured against the base before and while training.
//!
//! The base's hidden states of every measured position are computed once, before step 1, and kept in the run's
//! folder; with the base's own norm and head, which are frozen or kept beside their trained copies, they
//! give the base's logits again block by block. So a measurement costs one forward pass, not two, and the
//! divergence is exact for every method, full training included.

use crate::driver::Tokens;
use crate::error::{Result, TrainError};
use crate::eval::{AsBase, compare, counted_hidden};
use crate::exact;
use crate::prepare::tokens_of;
use crate::scores::Pair;
use crate::start::Start;
use crate::tensor_file::{TensorFile, Values, hash_file, hex, write_tensors};
use crate::watch::Watch;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_data::{Batch, ProbeSet, TextCodec};
use temper_models::Model;
use temper_nn::rng::Stream;
use temper_protocol::{Code, Event, Problem};

/// Fewest windows of a set that are measured.
const LEAST_WINDOWS: usize = 8;
/// Largest share of the training tokens between two measurements that one measurement may cost.
const LARGEST_SHARE: f64 = 0.25;
/// Rows of kept text mixed in, as a share of the rows of a step.
const REPLAY_SHARE: f64 = 0.25;
/// The base's hidden states by set, beside the checkpoints.
const FOLDER: &str = "kept";
const KEY_FILE: &str = "key.json";

/// A kept set.
struct KeptSet {
    name: String,
    batches: Vec<Tokens>,
    positions: u64,
    /// Windows that are never measured and may be trained on.
    replay: Vec<Vec<u32>>,
}

/// The kept sets of a run.
pub struct Probes {
    sets: Vec<KeptSet>,
    folder: PathBuf,
    pad_id: u32,
    width: usize,
}

/// One measurement of one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetMeasure {
    /// Name of the set.
    pub set: String,
    /// Nats per token.
    #[serde(with = "exact::plain")]
    pub loss: f64,
    /// Loss minus the base's.
    #[serde(with = "exact::plain")]
    pub loss_delta: f64,
    /// KL(base ‖ now), nats per token.
    #[serde(with = "exact::plain")]
    pub kl: f64,
    /// Share of positions whose best token is the base's.
    #[serde(with = "exact::plain")]
    pub top1_agreement: f64,
    /// Share of positions right in the base and wrong now.
    #[serde(with = "exact::plain")]
    pub negative_flips: f64,
    /// Positions.
    pub positions: u64,
}

impl SetMeasure {
    /// The event of this measurement.
    #[must_use]
    pub fn event(&self, step: u64) -> Event {
        Event::Probe {
            step,
            set: self.set.clone(),
            loss: self.loss,
            loss_delta: self.loss_delta,
            kl: self.kl,
            top1_agreement: self.top1_agreement,
            perplexity_ratio: self.loss_delta.exp(),
            negative_flips: self.negative_flips,
            positions: self.positions,
        }
    }
}

/// Forgetting: the loss of the worst set minus the base's, nats; NaN without sets, and when a measurement is
/// not a number.
#[must_use]
pub fn forgetting(measures: &[SetMeasure]) -> f64 {
    let deltas = || measures.iter().map(|measure| measure.loss_delta);
    if measures.is_empty() || deltas().any(f64::is_nan) { f64::NAN } else { deltas().fold(f64::NEG_INFINITY, f64::max) }
}

/// Windows of a set that are measured: as many as cost at most a quarter of the training between two
/// measurements, shared by `sets` sets, at least 8 and at most all 64.
#[must_use]
pub fn windows_for(training_tokens: f64, sets: usize, width: usize) -> usize {
    let windows = training_tokens * LARGEST_SHARE / (sets.max(1) * width.max(1)) as f64;
    if windows.is_finite() { (windows as usize).clamp(LEAST_WINDOWS, ProbeSet::WINDOWS) } else { ProbeSet::WINDOWS }
}

impl Probes {
    /// Reads the sets. `windows` of each are measured; with `replay`, as many more are read, and every other
    /// one is left to be trained on.
    ///
    /// # Errors
    /// A file that cannot be used; `replay` without a text long enough.
    pub fn load(
        files: &[(String, PathBuf)],
        codec: &TextCodec,
        context: usize,
        (windows, rows): (usize, usize),
        replay: bool,
        run_dir: &Path,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let width = ProbeSet::WIDTH.min(context);
        let mut sets = Vec::new();
        for (done, (name, path)) in (0_u64..).zip(files) {
            watch.preparing("reading what must not be forgotten", done, files.len() as u64, "sets");
            watch.check()?;
            let wanted = if replay { 2 * windows } else { windows };
            let mut set = ProbeSet::load(path, codec, wanted, width)?;
            if let Some(note) = &set.note {
                watch.warn("kept_set", note.clone());
            }
            let mut kept = Vec::new();
            if replay && set.windows.len() > 1 {
                let (measured, left) = set.windows.drain(..).enumerate().partition(|(index, _)| index % 2 == 0);
                let plain = |windows: Vec<(usize, Vec<u32>)>| windows.into_iter().map(|(_, ids)| ids).collect();
                (set.windows, kept) = (plain(measured), plain(left));
            }
            let batches = set.batches(rows, codec.pad_id());
            let positions = batches.iter().map(|batch| batch.trained_tokens as u64).sum();
            let batches = batches.into_iter().map(|batch| tokens_of(batch, false, 0, 0, 0)).collect();
            sets.push(KeptSet { name: name.clone(), batches, positions, replay: kept });
        }
        if replay && sets.iter().all(|set| set.replay.is_empty()) {
            let what = "there is no kept text left to replay: a window that is measured is never trained on";
            let action = "keep a longer text, or set keep.on_exceed to warn, slow-down, roll-back or stop";
            return Err(Problem::new(Code::ProjectInvalid, what, "keep.on_exceed", action).into());
        }
        Ok(Self { sets, folder: run_dir.join(FOLDER), pad_id: codec.pad_id(), width })
    }

    /// Whether there is nothing to measure.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Positions of all sets: what measuring once costs.
    #[must_use]
    pub fn positions(&self) -> u64 {
        self.sets.iter().map(|set| set.positions).sum()
    }

    /// How many batches each set has.
    pub(crate) fn form(&self) -> String {
        let batches: Vec<usize> = self.sets.iter().map(|set| set.batches.len()).collect();
        format!("kept sets of {batches:?} batches")
    }

    /// The batches of all sets.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Tokens> {
        self.sets.iter().flat_map(|set| &set.batches)
    }

    /// The names of the sets.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().map(|set| set.name.as_str())
    }

    /// Hash of everything the base's hidden states depend on.
    fn key(&self, base_hash: &str, base: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{base_hash}\0{base}\0"));
        for tokens in self.sets.iter().flat_map(|set| &set.batches) {
            tokens.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
            hash.update([0]);
        }
        hex(&hash.finalize())
    }

    /// Computes the base's hidden states, or takes those of an earlier part of the run when they belong to the
    /// same base and texts, or those that `start` remembers of another run. `base` is how the base is held.
    ///
    /// # Errors
    /// The run's folder cannot be written; a stop or cancel.
    pub fn capture_base(&self, model: &Model, start: &Start, base: &str, watch: &Watch<'_>) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let key_file = self.folder.join(KEY_FILE);
        let key = self.key(&start.base_hash, base);
        if self.is_captured(&key_file, &key) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| TrainError::io(&self.folder, error))?;
        let total = self.sets.iter().map(|set| set.batches.len() as u64).sum();
        let mut done = 0;
        let mut saved = BTreeMap::from([("key".to_owned(), key)]);
        let as_base = AsBase::of(model);
        for (number, set) in self.sets.iter().enumerate() {
            let file = file_name(number);
            let (path, known) = (self.folder.join(&file), start.base_key("hidden states", &set.batches));
            if let Some(sum) = start.cache.file(&known, &path)? {
                saved.insert(file, sum.sha256);
                done += set.batches.len() as u64;
                continue;
            }
            let mut hidden = BTreeMap::new();
            for (batch, tokens) in set.batches.iter().enumerate() {
                watch.preparing("measuring what must not be forgotten", done, total, "batches");
                watch.check()?;
                hidden.insert(batch_name(batch), counted_hidden(model, tokens)?.0);
                done += 1;
            }
            let values = hidden.iter().map(|(name, tensor)| (name.clone(), Values::Tensor(tensor)));
            let sum = write_tensors(&path, values)?;
            start.cache.keep_file(&known, &path, &sum);
            saved.insert(file, sum.sha256);
        }
        drop(as_base);
        let text = serde_json::to_string(&saved).unwrap_or_default();
        std::fs::write(&key_file, text).map_err(|error| TrainError::io(&key_file, error))
    }

    /// Whether the files of an earlier part of the run are there, whole, and of the same base and texts.
    fn is_captured(&self, key_file: &Path, key: &str) -> bool {
        let Ok(text) = std::fs::read_to_string(key_file) else { return false };
        let Ok(saved) = serde_json::from_str::<BTreeMap<String, String>>(&text) else { return false };
        let whole = |file: String| hash_file(&self.folder.join(&file)).ok().as_ref() == saved.get(&file);
        saved.get("key").is_some_and(|saved| saved == key) && (0..self.sets.len()).map(file_name).all(whole)
    }

    /// Measures every set. [`Probes::capture_base`] must have been called.
    ///
    /// # Errors
    /// The base's hidden states are gone or damaged; a stop or cancel.
    pub fn measure(&self, model: &Model, watch: &Watch<'_>) -> Result<Vec<SetMeasure>> {
        let mut measures = Vec::with_capacity(self.sets.len());
        for (number, set) in self.sets.iter().enumerate() {
            let base = TensorFile::open(&self.folder.join(file_name(number)))?;
            let mut sums = [0.0; 5];
            let mut count = 0.0;
            for (batch, tokens) in set.batches.iter().enumerate() {
                watch.check()?;
                let (now, targets) = counted_hidden(model, tokens)?;
                let before = base.tensor(&batch_name(batch))?;
                for Pair { now, base, kl } in compare(model, &now, Some(&before), &targets)? {
                    let flip = base.correct() && !now.correct();
                    let values = [now.loss, base.loss, kl, f64::from(now.top == base.top), f64::from(flip)];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                    count += 1.0;
                }
            }
            let [loss, base_loss, kl, agreement, flips] = sums.map(|sum| sum / count);
            measures.push(SetMeasure {
                set: set.name.clone(),
                loss,
                loss_delta: loss - base_loss,
                kl,
                top1_agreement: agreement,
                negative_flips: flips,
                positions: set.positions,
            });
        }
        Ok(measures)
    }

    /// Kept text to train on beside the rows of a step: a quarter as many rows, drawn by seed and step from
    /// the windows that are never measured. `None` when there are none.
    #[must_use]
    pub fn replay_batch(&self, seed: u64, step: u64, rows_in_step: u64) -> Option<Tokens> {
        let windows: Vec<&Vec<u32>> = self.sets.iter().flat_map(|set| &set.replay).collect();
        if windows.is_empty() {
            return None;
        }
        let rows = ((rows_in_step as f64 * REPLAY_SHARE).ceil() as usize).max(1);
        let mut stream = Stream::new(seed, &format!("replay/{step}"));
        let examples: Vec<temper_data::Example> = (0..rows)
            .filter_map(|_| windows.get(stream.below(windows.len() as u64) as usize))
            .map(|ids| temper_data::Example {
                ids: (*ids).clone(),
                trained: (0..ids.len()).map(|at| at > 0).collect(),
                file: 0,
                line: 0,
            })
            .collect();
        let mut batches: Vec<Batch> = temper_data::eval_batches(&examples, rows, self.width, false, self.pad_id);
        batches.pop().map(|batch| tokens_of(batch, true, seed, step, rows_in_step))
    }
}

fn file_name(set: usize) -> String {
    format!("{set:04}.safetensors")
}

fn batch_name(batch: usize) -> String {
    format!("{batch:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(delta: f64) -> SetMeasure {
        SetMeasure {
            set: "prose".to_owned(),
            loss: 3.0,
            loss_delta: delta,
            kl: 0.0,
            top1_agreement: 1.0,
            negative_flips: 0.0,
            positions: 10,
        }
    }

    #[test]
    fn forgetting_is_the_worst_set() {
        assert!(forgetting(&[]).is_nan());
        assert_eq!(forgetting(&[measure(-0.1), measure(0.02), measure(0.01)]), 0.02);
        assert_eq!(forgetting(&[measure(-0.1)]), -0.1);
        assert!(forgetting(&[measure(0.1), measure(f64::NAN)]).is_nan());
        assert!(forgetting(&[measure(f64::NAN), measure(0.1)]).is_nan());
    }

    #[test]
    fn measuring_costs_a_quarter_of_training_within_limits() {
        assert_eq!(windows_for(0.0, 4, 128), LEAST_WINDOWS);
        assert_eq!(windows_for(1e9, 4, 128), ProbeSet::WINDOWS);
        assert_eq!(windows_for(4.0 * 4.0 * 128.0 * 20.0, 4, 128), 20);
        assert_eq!(windows_for(f64::INFINITY, 4, 128), ProbeSet::WINDOWS);
    }
}
