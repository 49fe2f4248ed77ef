//! Snapshots: what is trained, as of many steps of a run, so that a person can go back and ask the adapter of any of them.
//!
//! ```text
//! <run>/snapshots/step-00000120.snapshot      see file.rs
//! ```
//!
//! Place in the data flow: the run takes one every so many steps; `generate`, `eval` and `compare` read the nearest one at
//! or before a step. A checkpoint is what a run goes on from and there are few of them; a snapshot has no moments, and most
//! are stored as differences to the one before: exactly, nothing is rounded.
//!
//! The interval follows from the disk that the project allows: as many as are expected to fit, at most [`MOST`]. When they
//! turn out larger, every second one is dropped and the interval doubles, so that they stay spread evenly over the run.
//! Which ones there are and what their bytes are depends on the steps alone: a run with breaks has those of a run without.
//!
//! A file appears under its name when it is complete and holds the same state for as long as it is there, however it is
//! stored: thinning writes each that stays anew over the one before that stays and then removes the others, and a kill at any
//! moment leaves files that can all be read.

mod file;

use crate::checkpoint::{Checkpoints, Meta, sync_folder};
use crate::error::{Result, TrainError};
use crate::tensor_file::{Tensors, write_file};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_nn::ParamSet;
use temper_nn::ops::with_slice;
use temper_protocol::Problem;
use temper_protocol::run_folder::{self, SNAPSHOT_ENDING, SNAPSHOTS};

/// Most snapshots that a run aims at: more are hardly told apart along a curve.
pub const MOST: u64 = 64;
/// Fewer are not worth the copy of everything trained that a run holds for them.
pub const LEAST: u64 = 4;
/// Every so many snapshots one stands alone, so that none is read through a longer chain.
const ALONE_EVERY: u64 = 16;
/// What a snapshot is expected to take on disk, as a share of its values in f32.
const EXPECTED_SHARE: f64 = 0.75;
const MIB: f64 = 1024.0 * 1024.0;
/// Files under other names: being written.
const TEMPORARY_PREFIX: &str = ".unfinished-";

/// Name and shape of a saved tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    /// Whether it is a trained parameter, or remembered beside them.
    trained: bool,
}

/// What is trained at a step, and what adapters remember that decides their answers.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The run at that step; no files belong to it.
    pub meta: Meta,
    entries: Vec<Entry>,
    /// The bits of all values, f32, one tensor after the other.
    bits: Vec<u32>,
}

impl Frame {
    /// Copies parameters and what is remembered beside them.
    ///
    /// # Errors
    /// A tensor that is not f32.
    pub fn of(meta: Meta, params: &ParamSet, memory: &[(String, Tensor)]) -> Result<Self> {
        let trained = params.iter().map(|param| (&param.name, param.var.as_tensor(), true));
        let remembered = memory.iter().map(|(name, tensor)| (name, tensor, false));
        let mut frame = Self { meta, entries: Vec::new(), bits: Vec::new() };
        for (name, tensor, trained) in trained.chain(remembered) {
            frame.entries.push(Entry { name: name.clone(), shape: tensor.dims().to_vec(), trained });
            with_slice(tensor, |values| frame.bits.extend(values.iter().map(|value| value.to_bits())))?;
        }
        Ok(frame)
    }
}

/// A snapshot that was read.
pub struct Snapshot {
    /// Its file.
    pub path: PathBuf,
    /// What it holds.
    pub frame: Arc<Frame>,
}

impl Snapshot {
    /// Reads a file and those that it builds on.
    ///
    /// # Errors
    /// A damaged or missing file, by its name.
    pub fn read(path: &Path) -> Result<Self> {
        let (Some(step), Some(folder)) = (run_folder::snapshot_step(path), path.parent()) else {
            return Err(file::damaged(path, "its name has no step"));
        };
        Ok(Self { path: path.to_path_buf(), frame: read_with(folder, step, &[])? })
    }

    /// Its trained parameters, or what is remembered beside them.
    #[must_use]
    pub fn part(&self, trained: bool) -> Part<'_> {
        Part { snapshot: self, trained }
    }
}

/// Tensors of a snapshot.
pub struct Part<'a> {
    snapshot: &'a Snapshot,
    trained: bool,
}

impl Tensors for Part<'_> {
    fn names(&self) -> Result<BTreeSet<String>> {
        let entries = self.snapshot.frame.entries.iter().filter(|entry| entry.trained == self.trained);
        Ok(entries.map(|entry| entry.name.clone()).collect())
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let mut first = 0;
        for entry in &self.snapshot.frame.entries {
            let count: usize = entry.shape.iter().product();
            if entry.trained == self.trained && entry.name == name {
                let bits = self.snapshot.frame.bits.get(first..first + count).unwrap_or_default();
                let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
                return Ok(Tensor::from_vec(values, entry.shape.as_slice(), &Device::Cpu)?);
            }
            first += count;
        }
        Err(file::damaged(&self.snapshot.path, format!("tensor {name} is missing")))
    }

    fn path(&self) -> &Path {
        &self.snapshot.path
    }
}

/// Whether a path is that of a snapshot.
#[must_use]
pub fn is_snapshot(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == SNAPSHOT_ENDING)
}

fn path_in(folder: &Path, step: u64) -> PathBuf {
    folder.join(run_folder::step_name(step)).with_extension(SNAPSHOT_ENDING)
}

/// Steps of the snapshots of a run, whole or not.
#[must_use]
pub fn steps(run_dir: &Path) -> BTreeSet<u64> {
    let entries = fs::read_dir(run_dir.join(SNAPSHOTS)).into_iter().flatten().flatten();
    entries.filter_map(|entry| run_folder::snapshot_step(&entry.path())).collect()
}

/// What a run was nearest before or at `step`: the step, and its checkpoint or snapshot.
#[must_use]
pub fn nearest(run_dir: &Path, step: u64) -> Option<(u64, PathBuf)> {
    let checkpoints = Checkpoints::existing(run_dir);
    let newest = |steps: BTreeSet<u64>| steps.range(..=step).next_back().copied();
    let checkpoint = newest(checkpoints.steps()).map(|step| (step, checkpoints.path(step)));
    let snapshot = newest(steps(run_dir)).map(|step| (step, path_in(&run_dir.join(SNAPSHOTS), step)));
    match (checkpoint, snapshot) {
        (Some(checkpoint), Some(snapshot)) if snapshot.0 > checkpoint.0 => Some(snapshot),
        (Some(checkpoint), _) => Some(checkpoint),
        (None, snapshot) => snapshot,
    }
}

/// How many snapshots of `elements` trained numbers are expected to fit into `budget_mib`, at most [`MOST`].
fn expected(elements: usize, budget_mib: u64) -> u64 {
    let one = (elements.max(1) * size_of::<f32>()) as f64 * EXPECTED_SHARE;
    ((budget_mib as f64 * MIB / one) as u64).min(MOST)
}

/// Steps between the snapshots of a run; none where fewer than [`LEAST`] fit.
#[must_use]
pub fn interval(elements: usize, total_steps: u64, budget_mib: u64) -> Option<u64> {
    let count = expected(elements, budget_mib);
    (count >= LEAST).then(|| total_steps.div_ceil(count).max(1))
}

/// Disk that the snapshots of a run are expected to take, MiB.
#[must_use]
pub fn expected_mib(elements: usize, total_steps: u64, budget_mib: u64) -> f64 {
    let Some(every) = interval(elements, total_steps, budget_mib) else { return 0.0 };
    let count = (1 + total_steps / every) as f64;
    (count * (elements * size_of::<f32>()) as f64 * EXPECTED_SHARE / MIB).min(budget_mib as f64)
}

/// A state that is at hand, by its step.
type Known = (u64, Arc<Frame>);

/// The state of `step`, read through the files that it builds on as far as one of `known`.
fn read_with(folder: &Path, step: u64, known: &[Option<Known>]) -> Result<Arc<Frame>> {
    let mut chain = Vec::new();
    let mut frame: Option<Arc<Frame>> = None;
    let mut next = Some(step);
    while let Some(step) = next {
        let found = known.iter().flatten().find(|(known, _)| *known == step);
        if let Some((_, found)) = found {
            frame = Some(Arc::clone(found));
            break;
        }
        let path = path_in(folder, step);
        let read = file::read(&path)?;
        if read.head.step != step {
            return Err(file::damaged(&path, format!("it is that of step {}", read.head.step)));
        }
        next = read.head.before;
        chain.push((path, read));
    }
    while let Some((path, read)) = chain.pop() {
        frame = Some(Arc::new(file::decode(&path, &read, frame.as_deref())?));
    }
    frame.ok_or_else(|| Problem::internal(format!("the snapshot of step {step} was read from nothing")).into())
}

/// The snapshots of a run that is going on.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
    budget_bytes: u64,
    /// Steps between two; 0 takes none.
    every: u64,
    /// Bytes by step.
    sizes: BTreeMap<u64, u64>,
    /// The newest one, once it is known.
    last: Option<Known>,
}

impl Snapshots {
    /// The snapshots in a run's folder, to go on with `every` steps between two (0: none are taken) where none are there.
    /// Says in words what was dropped: files that were being written when the run was killed, damaged ones, and those that
    /// build on them.
    ///
    /// # Errors
    /// A folder that cannot be read or written.
    pub fn open(run_dir: &Path, budget_mib: u64, every: u64) -> Result<(Self, Vec<String>)> {
        let folder = run_dir.join(SNAPSHOTS);
        let mut open = Self {
            folder,
            budget_bytes: budget_mib.saturating_mul(1 << 20),
            every,
            sizes: BTreeMap::new(),
            last: None,
        };
        let mut notes = Vec::new();
        if !open.folder.exists() {
            return Ok((open, notes));
        }
        let folder = &open.folder;
        for entry in fs::read_dir(folder).map_err(|error| TrainError::io(folder, error))? {
            let path = entry.map_err(|error| TrainError::io(folder, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(step) = name.strip_prefix(TEMPORARY_PREFIX) {
                let step = step.trim_start_matches('0');
                let step = if step.is_empty() { "0" } else { step };
                notes.push(format!("the snapshot of step {step} was not finished and is dropped"));
                remove(&path)?;
            }
        }
        let mut heads = Vec::new();
        for step in steps(run_dir) {
            let path = path_in(&open.folder, step);
            let why = match file::read(&path) {
                Ok(read) if read.head.step != step => format!("it is that of step {}", read.head.step),
                Ok(read) => match read.head.before.filter(|before| !open.sizes.contains_key(before)) {
                    Some(before) => format!("step {before}, which it builds on, is gone"),
                    None => {
                        open.sizes.insert(step, read.size());
                        heads.push(read.head);
                        continue;
                    }
                },
                Err(error) => Problem::from(error).what,
            };
            notes.push(format!("the snapshot of step {step} is dropped: {why}"));
            remove(&path)?;
        }
        if let (Some(widest), true) = (heads.iter().map(|head| head.every).max(), every > 0) {
            open.every = widest.max(1);
            // A kill may have come in the middle of thinning out.
            if heads.iter().any(|head| head.every != widest || !head.step.is_multiple_of(open.every)) {
                open.rewrite()?;
            }
        }
        Ok((open, notes))
    }

    /// Whether the state of `step` is to be kept and is not there yet.
    #[must_use]
    pub fn wants(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every) && !self.sizes.contains_key(&step)
    }

    /// Bytes of all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Takes no more from here.
    pub fn stop(&mut self) {
        self.every = 0;
    }

    /// Writes the state of a step behind those that are there, and thins out when that is more than the disk allowed.
    ///
    /// # Errors
    /// An input or output error, such as a full disk; the others are whole then.
    pub fn take(&mut self, frame: Frame) -> Result<()> {
        if !self.folder.exists() {
            fs::create_dir_all(&self.folder).map_err(|error| TrainError::io(&self.folder, error))?;
        }
        let (step, frame) = (frame.meta.state.step, Arc::new(frame));
        let before = match (self.last.take(), self.sizes.keys().next_back().copied()) {
            (Some(last), _) => Some(last),
            (None, Some(newest)) => Some((newest, read_with(&self.folder, newest, &[])?)),
            (None, None) => None,
        };
        self.write(step, &frame, before.as_ref())?;
        self.last = Some((step, frame));
        self.thin()
    }

    /// Removes the snapshots behind `step`, the newest first; all of them where there is no step.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn back_to(&mut self, step: Option<u64>) -> Result<()> {
        while let Some(newest) = self.sizes.keys().next_back().copied().filter(|newest| Some(*newest) > step) {
            remove(&path_in(&self.folder, newest))?;
            self.sizes.remove(&newest);
        }
        self.last = None;
        Ok(())
    }

    fn write(&mut self, step: u64, frame: &Frame, before: Option<&Known>) -> Result<()> {
        let alone = (step / self.every.max(1)).is_multiple_of(ALONE_EVERY);
        // Where ranks or places have moved there is nothing to take differences of.
        let before = before.filter(|(_, before)| !alone && before.entries == frame.entries);
        let bytes = file::encode(frame, before.map(|(step, frame)| (*step, &**frame)), self.every)?;
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{step:08}"));
        let target = path_in(&self.folder, step);
        let written = write_file(&temporary, |writer| writer.write_all(&bytes)).and_then(|_| {
            fs::rename(&temporary, &target).map_err(|error| TrainError::io(&target, error))?;
            sync_folder(&self.folder)
        });
        if let Err(error) = written {
            // Gives the space back; the first error is the one that matters.
            fs::remove_file(&temporary).ok();
            return Err(error);
        }
        self.sizes.insert(step, bytes.len() as u64);
        Ok(())
    }

    /// Drops every second one for as long as they take more than the disk allowed. Takes no more where a single one does.
    fn thin(&mut self) -> Result<()> {
        while self.bytes() > self.budget_bytes {
            if self.sizes.len() < 2 {
                self.stop();
                return self.back_to(None);
            }
            self.every = self.every.saturating_mul(2);
            self.rewrite()?;
        }
        Ok(())
    }

    /// Stores those at multiples of the interval over each other, and removes the others.
    fn rewrite(&mut self) -> Result<()> {
        let (mut kept, mut read): (Option<Known>, Option<Known>) = (None, None);
        let all: Vec<u64> = self.sizes.keys().copied().collect();
        for step in &all {
            let frame = read_with(&self.folder, *step, &[kept.clone(), read.take()])?;
            if step.is_multiple_of(self.every) {
                self.write(*step, &frame, kept.as_ref())?;
                kept = Some((*step, Arc::clone(&frame)));
            }
            read = Some((*step, frame));
        }
        for step in all.into_iter().rev().filter(|step| !step.is_multiple_of(self.every)) {
            remove(&path_in(&self.folder, step))?;
            self.sizes.remove(&step);
        }
        self.last = kept;
        sync_folder(&self.folder)
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| TrainError::io(path, error))
}

#[cfg(test)]
mod tests;
