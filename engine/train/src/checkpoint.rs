//! Checkpoint folders: written whole or not at all, checked before they are believed.
//!
//! ```text
//! <run>/checkpoints/step-00000050/adapter.safetensors     trained parameters (model.safetensors for whole weights)
//!                                /optimiser.safetensors   moments
//!                                /memory.safetensors      what adapters remember beside them, where they do
//!                                /state.json              everything else, with the hashes of the others
//! ```
//!
//! A folder is written under a temporary name, each file is flushed to the disk, then the folder is renamed
//! and its parent flushed: a kill at any moment leaves either the old set of folders or the new one.
//! Nothing in them depends on the time, the run's number or where the run lies.

use crate::error::{Result, TrainError};
use crate::hashes::Hashes;
use crate::state::{STATE_SCHEMA, State};
use crate::tensor_file::{FileSum, TensorFile, Tensors, Values, hash_file, hex, write_file, write_tensors};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_nn::{AdamW, Bytes, LinearSite, Map, NnError, ParamSet, StateTensor, StateValues};
use temper_protocol::run_folder::{self, CHECKPOINTS};
use temper_protocol::{Code, Problem};

/// Trained parameters of adapters.
pub const ADAPTER_FILE: &str = "adapter.safetensors";
/// Trained parameters when whole weights are trained.
pub const MODEL_FILE: &str = "model.safetensors";
/// Moments of the optimiser.
pub const OPTIMISER_FILE: &str = "optimiser.safetensors";
/// What adapters remember beside their parameters: masks, scores, moments of their own. Absent where there is nothing.
pub const MEMORY_FILE: &str = "memory.safetensors";
/// Everything else.
pub const STATE_FILE: &str = "state.json";
/// Folders under other names: being written, or being removed.
const TEMPORARY_PREFIX: &str = ".unfinished-";
/// Folders that make room for another checkpoint of the same step.
const OLD_PREFIX: &str = ".replaced-";

/// What `state.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the format.
    pub schema: u32,
    /// Id of the method.
    pub method: String,
    /// Whether the trained parameters are whole weights ([`MODEL_FILE`]) or adapters ([`ADAPTER_FILE`]).
    pub whole_weights: bool,
    /// What the run started from.
    pub hashes: Hashes,
    /// Whether the kept sets were measured at this step and within the budget; absent when not measured.
    pub within_budget: Option<bool>,
    /// The run.
    pub state: State,
    /// SHA-256 of the other files by name.
    pub files: BTreeMap<String, String>,
}

/// The file as written: the meta data and a hash over its compact text.
#[derive(Serialize, Deserialize)]
struct StateFile {
    sha256: String,
    meta: serde_json::Value,
}

/// A checkpoint whose hashes agree. Its files are mapped, so that a large model is never held twice.
pub struct Loaded {
    /// Its folder.
    pub path: PathBuf,
    /// Everything but tensors.
    pub meta: Meta,
    /// Trained parameters by name.
    pub weights: TensorFile,
    /// State of the optimiser, as it wrote itself.
    pub optimiser: Arc<Map>,
    /// What adapters remembered, where they did.
    pub memory: Option<TensorFile>,
}

impl Loaded {
    /// Gives the adapters of a model the shapes and memories of this checkpoint. Their parameters' values are not filled
    /// in yet; lists of parameters have to be made anew.
    ///
    /// # Errors
    /// A damaged file, or memories that do not fit the adapters.
    pub fn remember<'a>(&self, sites: impl IntoIterator<Item = &'a mut LinearSite>) -> Result<()> {
        remember(&self.weights, self.memory.as_ref().map(|memory| memory as &dyn Tensors), sites)
    }
}

/// Gives the adapters of a model the shapes of saved parameters and what was remembered beside them.
///
/// # Errors
/// A damaged file, or memories that do not fit the adapters.
pub(crate) fn remember<'a>(
    weights: &dyn Tensors,
    memory: Option<&dyn Tensors>,
    sites: impl IntoIterator<Item = &'a mut LinearSite>,
) -> Result<()> {
    let mut known = weights.names()?;
    let remembered = memory.map(Tensors::names).transpose()?.unwrap_or_default();
    known.extend(remembered.iter().cloned());
    // What layers share is read once, so that they go on sharing it.
    let shared: RefCell<BTreeMap<String, Tensor>> = RefCell::default();
    let find = |name: &str| {
        if !known.contains(name) {
            return Ok(None);
        }
        if let Some(tensor) = shared.borrow().get(name) {
            return Ok(Some(tensor.clone()));
        }
        let holder = memory.filter(|_| remembered.contains(name)).unwrap_or(weights);
        let tensor = holder.tensor(name).map_err(|error| NnError::Value(Problem::from(error).what))?;
        if name.starts_with("shared.") {
            shared.borrow_mut().insert(name.to_owned(), tensor.clone());
        }
        Ok(Some(tensor))
    };
    sites.into_iter().try_for_each(|site| {
        // A site that was given no direction has nothing saved.
        let params = site.params();
        if !params.is_empty() && params.iter().all(|param| !known.contains(&param.name)) {
            site.detach_all();
        }
        Ok(site.restore(&find)?)
    })
}

/// What a checkpoint is made of.
pub struct Parts<'a> {
    /// Everything but tensors; `files` is filled in.
    pub meta: Meta,
    /// Trained parameters.
    pub weights: &'a ParamSet,
    /// The optimiser.
    pub optimiser: &'a AdamW,
    /// What adapters remember beside their parameters.
    pub memory: Vec<(String, Tensor)>,
}

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Creates the folder in the run's folder and clears up what a kill left unfinished: a checkpoint that
    /// was being replaced is put back.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let folder = run_dir.join(CHECKPOINTS);
        fs::create_dir_all(&folder).map_err(|error| TrainError::io(&folder, error))?;
        let checkpoints = Self { folder };
        let folder = &checkpoints.folder;
        for entry in fs::read_dir(folder).map_err(|error| TrainError::io(folder, error))? {
            let path = entry.map_err(|error| TrainError::io(folder, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let replaced = name.strip_prefix(OLD_PREFIX).and_then(|step| step.parse().ok());
            if let Some(target) = replaced.map(|step| checkpoints.path(step)).filter(|target| !target.exists()) {
                fs::rename(&path, &target).map_err(|error| TrainError::io(&path, error))?;
            } else if replaced.is_some() || name.starts_with(TEMPORARY_PREFIX) {
                fs::remove_dir_all(&path).map_err(|error| TrainError::io(&path, error))?;
            }
        }
        Ok(checkpoints)
    }

    /// The checkpoints of a run that nobody writes to now. Changes nothing on the disk.
    #[must_use]
    pub fn existing(run_dir: &Path) -> Self {
        Self { folder: run_dir.join(CHECKPOINTS) }
    }

    /// Folder of the checkpoint of `step`, whether it exists or not.
    #[must_use]
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(run_folder::step_name(step))
    }

    /// Steps of the checkpoints, in rising order. Not checked for damage.
    #[must_use]
    pub fn steps(&self) -> BTreeSet<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| run_folder::checkpoint_step(&entry.path())).collect()
    }

    /// Writes the checkpoint of `parts.meta.state.step`, in place of one that is there, and returns its
    /// folder and size in bytes.
    ///
    /// # Errors
    /// An input or output error, such as a full disk; what was there before is whole then.
    pub fn write(&self, parts: Parts<'_>) -> Result<(PathBuf, u64)> {
        let step = parts.meta.state.step;
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{step:08}"));
        let written = write_folder(&temporary, parts).and_then(|bytes| {
            let target = self.path(step);
            let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| TrainError::io(to, error));
            if target.exists() {
                let old = self.folder.join(format!("{OLD_PREFIX}{step:08}"));
                rename(&target, &old)?;
                rename(&temporary, &target)?;
                sync_folder(&self.folder)?;
                fs::remove_dir_all(&old).map_err(|error| TrainError::io(&old, error))?;
            } else {
                rename(&temporary, &target)?;
                sync_folder(&self.folder)?;
            }
            Ok((target, bytes))
        });
        if written.is_err() && temporary.exists() {
            // Gives the space back; the first error is the one that matters.
            fs::remove_dir_all(&temporary).ok();
        }
        written
    }

    /// The newest checkpoint that is whole, and for each newer one that is not: its folder and why.
    #[must_use]
    pub fn newest_valid(&self) -> (Option<Loaded>, Vec<(PathBuf, Problem)>) {
        let mut damaged = Vec::new();
        for step in self.steps().into_iter().rev() {
            let path = self.path(step);
            match load(&path) {
                Ok(loaded) => return (Some(loaded), damaged),
                Err(error) => damaged.push((path, error.into())),
            }
        }
        (None, damaged)
    }

    /// Removes the checkpoints of all steps but those in `keep`.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn retain(&self, keep: &BTreeSet<u64>) -> Result<()> {
        for step in self.steps().difference(keep) {
            let path = self.path(*step);
            // Renamed first: a half-removed folder must not look like a damaged checkpoint.
            let doomed = self.folder.join(format!("{TEMPORARY_PREFIX}gone-{step:08}"));
            fs::rename(&path, &doomed).map_err(|error| TrainError::io(&path, error))?;
            fs::remove_dir_all(&doomed).map_err(|error| TrainError::io(&doomed, error))?;
        }
        Ok(())
    }
}

/// Which steps survive: best, newest, `keep_checkpoints` more of the newest, and the newest known to be
/// within the budget.
#[must_use]
pub fn survivors(
    steps: &BTreeSet<u64>,
    best: Option<u64>,
    within_budget: Option<u64>,
    keep_checkpoints: usize,
) -> BTreeSet<u64> {
    let newest = steps.iter().next_back().copied();
    let mut keep: BTreeSet<u64> = [newest, best, within_budget].into_iter().flatten().collect();
    keep.extend(
        steps.iter().rev().filter(|step| Some(**step) != newest && Some(**step) != best).take(keep_checkpoints),
    );
    keep.intersection(steps).copied().collect()
}

fn write_folder(folder: &Path, parts: Parts<'_>) -> Result<u64> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| TrainError::io(folder, error))?;
    }
    fs::create_dir_all(folder).map_err(|error| TrainError::io(folder, error))?;
    let Parts { mut meta, weights, optimiser, memory } = parts;
    let mut bytes = 0;
    let mut note = |name: &str, sum: FileSum| {
        bytes += sum.bytes;
        meta.files.insert(name.to_owned(), sum.sha256);
    };
    let weights_file = if meta.whole_weights { MODEL_FILE } else { ADAPTER_FILE };
    let values = weights.iter().map(|param| (param.name.clone(), Values::Tensor(param.var.as_tensor())));
    note(weights_file, write_tensors(&folder.join(weights_file), values)?);
    let moments: Vec<StateTensor<'_>> = optimiser.state().collect();
    let moments = moments.iter().map(|tensor| {
        let values = match tensor.values {
            StateValues::Floats(values) => Values::Floats(values, &tensor.shape),
            StateValues::Codes(codes) => Values::Bytes(codes, &tensor.shape),
            StateValues::Count(count) => Values::Count(count),
        };
        (tensor.name.clone(), values)
    });
    note(OPTIMISER_FILE, write_tensors(&folder.join(OPTIMISER_FILE), moments)?);
    if !memory.is_empty() {
        let memory = memory.iter().map(|(name, tensor)| (name.clone(), Values::Tensor(tensor)));
        note(MEMORY_FILE, write_tensors(&folder.join(MEMORY_FILE), memory)?);
    }
    let meta = serde_json::to_value(&meta).map_err(|error| Problem::internal(format!("state.json: {error}")))?;
    let file = StateFile { sha256: hash_of(&meta), meta };
    let text =
        serde_json::to_string_pretty(&file).map_err(|error| Problem::internal(format!("state.json: {error}")))?;
    bytes += write_file(&folder.join(STATE_FILE), |writer| writer.write_all(text.as_bytes()))?.bytes;
    sync_folder(folder)?;
    Ok(bytes)
}

/// Hash of the compact text of a JSON value; keys keep their order.
fn hash_of(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

/// Makes the names in a folder as lasting as its files are.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // Windows cannot open a folder as a file; its renames are journalled.
    if cfg!(unix) {
        fs::File::open(folder).and_then(|file| file.sync_all()).map_err(|error| TrainError::io(folder, error))?;
    }
    Ok(())
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> TrainError {
    let action = "delete this folder, or resume from another checkpoint";
    Problem::new(Code::Io, format!("the checkpoint is damaged: {why}"), path.display().to_string(), action).into()
}

/// Reads `state.json` of a checkpoint folder and checks its own hash, not those of the other files.
///
/// # Errors
/// A missing or damaged file, or one of a newer version of the program.
pub fn read_meta(folder: &Path) -> Result<Meta> {
    let path = folder.join(STATE_FILE);
    let text = fs::read_to_string(&path).map_err(|error| TrainError::io(&path, error))?;
    let file: StateFile = serde_json::from_str(&text).map_err(|error| damaged(&path, error))?;
    if hash_of(&file.meta) != file.sha256 {
        return Err(damaged(&path, "its content does not match its hash"));
    }
    let schema = file.meta.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if schema > u64::from(STATE_SCHEMA) {
        let what = format!("the checkpoint has format {schema}, this program reads up to {STATE_SCHEMA}");
        return Err(Problem::new(Code::Io, what, path.display().to_string(), "use a newer version of Temper").into());
    }
    serde_json::from_value(file.meta).map_err(|error| damaged(&path, error))
}

/// Reads a checkpoint folder and checks every hash.
///
/// # Errors
/// A missing, damaged or exchanged file.
pub fn load(folder: &Path) -> Result<Loaded> {
    let meta = read_meta(folder)?;
    for (name, expected) in &meta.files {
        let path = folder.join(name);
        if hash_file(&path)? != *expected {
            return Err(damaged(&path, "its content does not match the hash in state.json"));
        }
    }
    let weights_file = if meta.whole_weights { MODEL_FILE } else { ADAPTER_FILE };
    let weights = TensorFile::open(&folder.join(weights_file))?;
    let optimiser = Bytes::map_file(&folder.join(OPTIMISER_FILE))?;
    let remembers = meta.files.contains_key(MEMORY_FILE);
    let memory = remembers.then(|| TensorFile::open(&folder.join(MEMORY_FILE))).transpose()?;
    Ok(Loaded { path: folder.to_path_buf(), meta, weights, optimiser, memory })
}

/// The checkpoint folder meant by `path`: itself, or of a run folder the best, or the newest when there is
/// no best.
///
/// # Errors
/// No whole checkpoint there.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    if path.join(STATE_FILE).exists() {
        return Ok(path.to_path_buf());
    }
    let checkpoints = Checkpoints::existing(path);
    let (newest, damaged) = checkpoints.newest_valid();
    let Some(newest) = newest else {
        let action = damaged.first().map_or("give a run that has trained", |_| "all its checkpoints are damaged");
        let what = "there is no checkpoint to read";
        return Err(Problem::new(Code::NotFound, what, path.display().to_string(), action).into());
    };
    let best = newest.meta.state.evals.best_step;
    let best_path = checkpoints.path(best);
    Ok(if best > 0 && best_path.exists() { best_path } else { newest.path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_newest_and_within_budget_survive_beside_the_newest_few() {
        let steps: BTreeSet<u64> = [0, 10, 20, 30, 40, 50].into();
        let kept = |best, within, keep| survivors(&steps, best, within, keep).into_iter().collect::<Vec<u64>>();
        assert_eq!(kept(None, None, 0), [50]);
        assert_eq!(kept(Some(20), None, 0), [20, 50]);
        assert_eq!(kept(Some(50), None, 2), [30, 40, 50], "best and newest are one");
        assert_eq!(kept(Some(40), Some(10), 2), [10, 20, 30, 40, 50], "two more beside best and newest");
        assert_eq!(kept(Some(99), Some(98), 1), [40, 50], "what is not there cannot be kept");
        assert!(survivors(&BTreeSet::new(), Some(3), Some(4), 5).is_empty());
    }

    #[test]
    fn what_a_kill_left_unfinished_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("temp");
        let place = folder.path().join(CHECKPOINTS);
        let left = [".unfinished-00000010", ".unfinished-gone-00000001", ".replaced-00000005", ".replaced-00000008"];
        for name in left.into_iter().chain(["step-00000005", "notes"]) {
            fs::create_dir_all(place.join(name)).expect("folder");
        }
        let checkpoints = Checkpoints::open(folder.path()).expect("opens");
        assert_eq!(checkpoints.steps(), BTreeSet::from([5, 8]), "what was being replaced is put back");
        let mut left: Vec<String> = fs::read_dir(&place)
            .expect("lists")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["notes", "step-00000005", "step-00000008"]);
    }

    #[test]
    fn a_folder_that_holds_no_checkpoint_is_not_found() {
        let folder = tempfile::tempdir().expect("temp");
        assert_eq!(Problem::from(resolve(folder.path()).expect_err("empty")).code, Code::NotFound);
    }
}
