//! Models with adapters, ready to answer: what `generate`, `eval` and `logits` start from.
//!
//! The model that answered last is kept, so that a person who tries one prompt after another does not wait
//! for the same file again; it is let go before a run begins.

use super::beneath;
use crate::builtin::{Builtins, PREFIX};
use crate::job::JobContext;
use crate::names;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_data::TextCodec;
use temper_models::Model;
use temper_protocol::{Code, ModelRef, Problem, Project, named, project_file};
use temper_train::checkpoint::{self, Checkpoints};
use temper_train::prepare::{load_base, load_codec};
use temper_train::snapshots;

/// A model that can answer.
pub(super) struct Loaded {
    /// The model, adapters attached.
    pub(super) model: Model,
    /// Its tokenizer.
    pub(super) codec: TextCodec,
    /// Name of the base for people.
    pub(super) base_name: String,
    /// Names of the adapters for people, or empty.
    pub(super) adapter_name: String,
    /// The frozen project of the run, when an adapter is a run's.
    pub(super) project: Option<Project>,
}

impl Loaded {
    /// Base and adapters as one name.
    pub(super) fn name(&self) -> String {
        if self.adapter_name.is_empty() {
            self.base_name.clone()
        } else {
            format!("{} + {}", self.base_name, self.adapter_name)
        }
    }
}

/// The model that answered last.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<(String, Arc<Loaded>)>>);

impl Kept {
    /// Lets the memory go.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }

    /// The model meant by `wanted`, loaded unless it is the one that answered last.
    pub(super) fn load(
        &self,
        builtins: &Builtins,
        project: Option<&Path>,
        wanted: &ModelRef,
        context: &JobContext,
    ) -> Result<Arc<Loaded>, Problem> {
        let base_dir = names::project_dir_of(project)?;
        let model_path = names::model_path(builtins, &wanted.model, &base_dir)?;
        let adapters: Vec<AdapterPath> =
            wanted.adapters.iter().map(|name| adapter_path(name, &base_dir)).collect::<Result<_, Problem>>()?;
        let key = key(&model_path, wanted, &adapters);
        if let Some((kept_key, kept)) = &*self.0.lock()
            && *kept_key == key
        {
            return Ok(Arc::clone(kept));
        }
        // Two models at once may be more than the memory holds.
        self.clear();
        let loaded = Arc::new(load(&model_path, wanted, (&adapters, &base_dir), context)?);
        *self.0.lock() = Some((key, Arc::clone(&loaded)));
        Ok(loaded)
    }
}

/// An adapter on the disk.
pub(super) struct AdapterPath {
    /// PEFT folder, or checkpoint folder or snapshot file of a run.
    pub(super) folder: PathBuf,
    /// Whether it is a run's.
    pub(super) native: bool,
    /// Name for people.
    pub(super) name: String,
}

/// Everything that decides what a loaded model is.
fn key(model_path: &Path, wanted: &ModelRef, adapters: &[AdapterPath]) -> String {
    let changed = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .map_or_else(|_absent| String::new(), |time| format!("{time:?}"))
    };
    let mut key = format!("{} {} {:?}", model_path.display(), changed(model_path), wanted.base);
    for adapter in adapters {
        key.push_str(&format!("\n{} {}", adapter.folder.display(), changed(&adapter.folder)));
    }
    key
}

/// Name of a model for people: the bundled word, or the last part of its path.
pub(super) fn short_name(written: &str) -> String {
    if let Some(name) = written.strip_prefix(PREFIX) {
        return name.to_owned();
    }
    let written = written.strip_prefix(names::RANDOM).unwrap_or(written);
    Path::new(written).file_stem().map_or_else(|| written.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// `run:ID`, `run:last` with an optional `@step`, a run's or checkpoint's folder, or a PEFT folder. With a step it is what
/// the run kept last at or before that step, and the name says which step that is.
pub(super) fn adapter_path(written: &str, base_dir: &Path) -> Result<AdapterPath, Problem> {
    if let Some((wanted, step)) = named::run(written) {
        let found = names::find_run(base_dir, &wanted)?;
        let (folder, name) = match step {
            None => (checkpoint_of(&found.folder, None)?, format!("run {}", found.run)),
            Some(step) => {
                let (step, state) = state_of(&found.folder, step)?;
                (state, format!("run {} at step {step}", found.run))
            }
        };
        return Ok(AdapterPath { folder, native: true, name });
    }
    let folder = names::absolute(Path::new(written), base_dir)?;
    let name = folder.file_name().map_or_else(|| written.to_owned(), |name| name.to_string_lossy().into_owned());
    if temper_export::is_adapter(&folder) {
        return Ok(AdapterPath { folder, native: false, name });
    }
    if folder.join(checkpoint::STATE_FILE).is_file() || !Checkpoints::existing(&folder).steps().is_empty() {
        return Ok(AdapterPath { folder: checkpoint::resolve(&folder)?, native: true, name });
    }
    Err(Problem::new(
        Code::NotFound,
        "there is no adapter here",
        folder.display().to_string(),
        "give an adapter folder, a run's folder, or run:NUMBER",
    ))
}

/// What the run kept last at or before `step`, and of which step that is: a checkpoint or a snapshot.
fn state_of(run_dir: &Path, step: u64) -> Result<(u64, PathBuf), Problem> {
    if let Some(found) = snapshots::nearest(run_dir, step) {
        return Ok(found);
    }
    let first = Checkpoints::existing(run_dir).steps().into_iter().chain(snapshots::steps(run_dir)).min();
    let action =
        first.map_or_else(|| "give a run that has trained".to_owned(), |first| format!("the first is {first}"));
    let what = format!("the run kept nothing of step {step} or before");
    Err(Problem::new(Code::NotFound, what, run_dir.display().to_string(), action))
}

/// The checkpoint of a run at `step`; the best one when no step is given.
pub(super) fn checkpoint_of(run_dir: &Path, step: Option<u64>) -> Result<PathBuf, Problem> {
    let Some(step) = step else {
        return Ok(checkpoint::resolve(run_dir)?);
    };
    let checkpoints = Checkpoints::existing(run_dir);
    let steps = checkpoints.steps();
    if steps.contains(&step) {
        return Ok(checkpoints.path(step));
    }
    let known: Vec<String> = steps.iter().map(u64::to_string).collect();
    Err(Problem::new(
        Code::NotFound,
        format!("the run has no checkpoint of step {step}"),
        run_dir.display().to_string(),
        format!("choose one of: {}", known.join(", ")),
    ))
}

/// What lies frozen beneath the run whose checkpoint is in `folder`.
fn beneath_run(folder: &Path, base_dir: &Path) -> Result<Option<temper_train::Beneath>, Problem> {
    let Some(run_dir) = folder.parent().and_then(Path::parent) else { return Ok(None) };
    let project = project_file::load(&run_dir.join(project_file::FILE_NAME))?;
    let adapters = beneath::resolve(&project, &names::home_of(run_dir, base_dir))?;
    Ok(beneath::for_trainer(adapters))
}

fn load(
    model_path: &Path,
    wanted: &ModelRef,
    (adapters, base_dir): (&[AdapterPath], &Path),
    context: &JobContext,
) -> Result<Loaded, Problem> {
    let mut progress = |stage: &str, done: u64, total: u64| context.progress(stage, done, total, "bytes");
    let base_name = short_name(&wanted.model);
    let adapter_name = adapters.iter().map(|adapter| adapter.name.as_str()).collect::<Vec<_>>().join(" + ");
    if let Some(second) = adapters.iter().skip(1).find(|adapter| adapter.native) {
        return Err(Problem::new(
            Code::AdapterInvalid,
            "only the first adapter can be a run",
            second.folder.display().to_string(),
            "export the run to peft and give that folder",
        ));
    }
    let (mut model, codec, project) = match adapters.first() {
        Some(run) if run.native => {
            let below = beneath_run(&run.folder, base_dir)?;
            let trained =
                temper_train::load_trained(&run.folder, model_path, false, None, below.as_ref(), &mut progress)?;
            (trained.model, trained.codec, Some(trained.project))
        }
        _ => {
            let mut plain = Project::new(&base_name, &wanted.model, &[], "lora");
            if let Some(base) = &wanted.base {
                plain.model.base.clone_from(base);
            }
            let model = load_base(&plain, model_path, &mut progress)?;
            let codec = load_codec(&model.source, model_path, &plain)?;
            (model, codec, None)
        }
    };
    context.check_cancelled()?;
    for adapter in adapters.iter().filter(|adapter| !adapter.native) {
        // Some kinds of change stand on a frozen weight alone.
        model.fold()?;
        temper_export::read_peft::attach(&mut model, &adapter.folder)?;
    }
    Ok(Loaded { model, codec, base_name, adapter_name, project })
}
