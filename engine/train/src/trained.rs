//! A trained model: the base with what a checkpoint or snapshot holds. What generation, evaluation and export start from.

use crate::attach::attach;
use crate::checkpoint::Meta;
use crate::error::Result;
use crate::hashes;
use crate::prepare::{load_beneath, load_codec};
use crate::request::Beneath;
use crate::saved::Saved;
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_models::Model;
use temper_protocol::project::Source;
use temper_protocol::{Code, Problem, Project, project_file};

/// A trained model.
pub struct Trained {
    /// The base with the method on it, filled from the checkpoint or snapshot.
    pub model: Model,
    /// Its tokenizer, with the project's chat template.
    pub codec: TextCodec,
    /// Folder of the checkpoint, or file of the snapshot.
    pub checkpoint: PathBuf,
    /// The rest of it.
    pub meta: Meta,
    /// The frozen project of the run, with the storage of the base that was asked for.
    pub project: Project,
}

/// Loads a checkpoint folder, a snapshot file, or the best checkpoint of a run folder, onto the base at `model_path`.
/// `verify_base` reads the whole base to compare its hash with the run's: exports do, a quick answer may not.
/// `held_as` replaces the project's storage of the base; `beneath` is what its `model.adapters` stand for.
///
/// # Errors
/// No whole checkpoint, another base, other adapters beneath it, or a run folder without its project.
pub fn load_trained(
    source: &Path,
    model_path: &Path,
    verify_base: bool,
    held_as: Option<&str>,
    beneath: Option<&Beneath>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Trained> {
    let saved = Saved::read(source)?;
    let (checkpoint, meta) = (saved.path().to_path_buf(), saved.meta().clone());
    let Some(run_dir) = checkpoint.parent().and_then(Path::parent) else {
        let what = "the checkpoint lies in no run folder";
        let place = checkpoint.display().to_string();
        return Err(Problem::new(Code::NotFound, what, place, "give the folder inside its run").into());
    };
    let mut project = project_file::load(&run_dir.join(project_file::FILE_NAME))?;
    if verify_base && hashes::of_paths(&[model_path.to_path_buf()])? != meta.hashes.base {
        let what = "this is not the base model that the run was trained on";
        let place = model_path.display().to_string();
        return Err(Problem::new(Code::AdapterInvalid, what, place, "give the model file the run started from").into());
    }
    if hashes::of_beneath(beneath)? != meta.hashes.adapters {
        let what = "the adapters beneath the run are not the ones that it was trained on top of";
        let place = project.model.adapters.iter().map(Source::path).collect::<Vec<_>>().join(", ");
        let action = "restore the folders of model.adapters as they were";
        return Err(Problem::new(Code::AdapterInvalid, what, place, action).into());
    }
    if let Some(base) = held_as {
        base.clone_into(&mut project.model.base);
    }
    let mut model = load_beneath(&project, model_path, beneath, progress)?;
    let codec = load_codec(&model.source, model_path, &project)?;
    attach(&mut model, &project)?;
    saved.put_on(&mut model)?;
    Ok(Trained { model, codec, checkpoint, meta, project })
}
