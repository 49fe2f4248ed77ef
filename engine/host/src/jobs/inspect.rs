//! `inspect`: what a file or folder is, as the drop zone says it.
//!
//! A path is tried as a project, an adapter, a model and a data set, in this order; what is none of them
//! is `unknown`, with the reason that helps most.

use crate::builtin::{Builtins, PREFIX};
use crate::job::JobContext;
use crate::names;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use temper_data::images::{ImageSet, Looked};
use temper_models::gguf::GgufFile;
use temper_protocol::{Code, Event, Problem, project_file};
use temper_store::{Reader, StoreError};
use temper_train::checkpoint;

/// Says what each path is.
pub(super) fn inspect(builtins: &Builtins, paths: &[PathBuf], context: &JobContext) -> Result<(), Problem> {
    if paths.is_empty() {
        return Err(Problem::new(Code::Usage, "nothing to look at", "inspect", "give one or more files or folders"));
    }
    for path in paths {
        context.check_cancelled()?;
        let written = path.to_string_lossy();
        let path =
            if written.starts_with(PREFIX) { builtins.path(&written)? } else { names::absolute(path, Path::new(""))? };
        if !path.exists() {
            return Err(Problem::new(
                Code::NotFound,
                "there is nothing at this path",
                path.display().to_string(),
                "check the path",
            ));
        }
        context.emit(what_is(&path)?);
    }
    Ok(())
}

/// The event of a project's folder.
pub(super) fn project_event(project: &Path) -> Result<Event, Problem> {
    let file = names::project_file_of(project)?;
    let project = project_file::load(&file)?;
    let path = names::folder_of(&file);
    let runs = match Reader::open(&path) {
        Ok(reader) => reader.runs()?.len() as u64,
        Err(StoreError::Missing { .. }) => 0,
        // The project can be worked on; its history is another matter.
        Err(error) => {
            tracing::warn!(%error, project = %path.display(), "the runs cannot be counted");
            0
        }
    };
    let name = if project.name.is_empty() {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        project.name
    };
    Ok(Event::Project { path, name, model: project.model.path, method: project.method.id, runs })
}

fn what_is(path: &Path) -> Result<Event, Problem> {
    let is_file_named = |name: &str| path.is_file() && path.file_name().is_some_and(|own| own == name);
    if path.join(project_file::FILE_NAME).is_file() && !path.join("checkpoints").is_dir()
        || is_file_named(project_file::FILE_NAME)
    {
        return project_event(path);
    }
    if let Some(adapter) = adapter(path)? {
        return Ok(adapter);
    }
    let model = temper_models::describe(path).map_err(Problem::from);
    let looks_like_a_model = looks_like_a_model(path);
    match model {
        Ok(description) => return Ok(description.into()),
        Err(problem) if looks_like_a_model || problem.code == Code::Refused => return Ok(unknown(path, &problem)),
        Err(_) => {}
    }
    if ImageSet::is_at(path) {
        return Ok(match ImageSet::look(path) {
            Ok(found) => images(path, &found),
            Err(error) => unknown(path, &Problem::from(error)),
        });
    }
    match temper_data::sniff(path) {
        Ok(found) => Ok(dataset(path, &found)),
        Err(error) => Ok(unknown(path, &Problem::from(error))),
    }
}

fn unknown(path: &Path, problem: &Problem) -> Event {
    let mut why = problem.what.clone();
    if !problem.r#where.is_empty() && problem.r#where != path.display().to_string() {
        why = format!("{why} ({})", problem.r#where);
    }
    if !problem.action.is_empty() {
        why = format!("{why}; {}", problem.action);
    }
    Event::Unknown { path: path.to_path_buf(), why }
}

/// Whether the names say "model": then the reason why it is none is what helps.
fn looks_like_a_model(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = ["gguf", "safetensors", "bin", "pt", "pth", "ckpt"];
    let has_ending = |path: &Path| {
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
    };
    if path.is_dir() {
        let holds = |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| has_ending(&entry.path()));
        return path.join("config.json").is_file()
            || std::fs::read_dir(path).is_ok_and(|mut entries| entries.any(holds));
    }
    has_ending(path)
}

fn dataset(path: &Path, found: &temper_data::Sniffed) -> Event {
    Event::Dataset {
        path: path.to_path_buf(),
        format: found.container.name().to_owned(),
        schema: found.schema.map_or_else(String::new, |schema| schema.name().to_owned()),
        confidence: found.confidence,
        rows: found.rows,
        bad_rows: found.bad_rows,
        columns: found.columns.clone(),
        complete: found.complete,
    }
}

/// Images with classes, which stand in the place of columns.
fn images(path: &Path, found: &Looked) -> Event {
    Event::Dataset {
        path: path.to_path_buf(),
        format: found.format.name().to_owned(),
        schema: "image-classes".to_owned(),
        confidence: 1.0,
        rows: found.images,
        bad_rows: 0,
        columns: found.labels.clone(),
        complete: found.complete,
    }
}

/// The adapter at `path`, if it is one.
fn adapter(path: &Path) -> Result<Option<Event>, Problem> {
    if temper_export::is_adapter(path) {
        let summary = temper_export::read_peft::describe(path)?;
        // Where a method here has its structure, its id is said: PEFT's type has another name for some, and one for several.
        // A folder that none has the structure of can still be read, and is called what it calls itself.
        let method = temper_export::train_on::method_of(path)
            .map_or_else(|_| summary.peft_type.to_lowercase(), |(method, _)| method);
        return Ok(Some(Event::Adapter {
            path: path.to_path_buf(),
            format: if temper_export::insertions::is_native(path) { "native" } else { "peft" }.to_owned(),
            method,
            base: summary.base,
            rank: summary.rank,
            sites: summary.sites,
            parameters: summary.parameters,
        }));
    }
    if let Some(event) = gguf_adapter(path) {
        return Ok(Some(event));
    }
    if path.is_dir() && (path.join(checkpoint::STATE_FILE).is_file() || path.join("checkpoints").is_dir()) {
        return native(path).map(Some);
    }
    Ok(None)
}

/// A GGUF file that says it is an adapter. A damaged file is left to the model reader, which says why.
fn gguf_adapter(path: &Path) -> Option<Event> {
    if !path.is_file() {
        return None;
    }
    let mut start = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::open(path).ok()?, &mut start).ok()?;
    if start != temper_models::gguf::MAGIC {
        return None;
    }
    let file = GgufFile::open(path).ok()?;
    if file.get_string("general.type").ok().flatten()? != "adapter" {
        return None;
    }
    let text = |key: &str| file.get_string(key).ok().flatten().unwrap_or_default();
    let factors: Vec<_> = file.tensors().iter().filter(|tensor| tensor.name.ends_with(".lora_a")).collect();
    // The factor A of a layer is (rank, inputs).
    let rank = factors.iter().filter_map(|tensor| tensor.shape().first().copied()).max().unwrap_or(0);
    Some(Event::Adapter {
        path: path.to_path_buf(),
        format: "gguf-lora".to_owned(),
        method: text("adapter.type"),
        base: text("general.base_model.0.name"),
        rank: rank as u64,
        sites: factors.len() as u64,
        parameters: file.tensors().iter().map(temper_models::gguf::GgufTensor::elements).sum(),
    })
}

/// A run or checkpoint of this program.
fn native(path: &Path) -> Result<Event, Problem> {
    let folder = checkpoint::resolve(path)?;
    let loaded = checkpoint::load(&folder)?;
    let mut sites = BTreeSet::new();
    let mut parameters = 0;
    let mut rank = 0;
    let names = loaded.weights.names()?;
    for name in &names {
        let tensor = loaded.weights.tensor(name)?;
        parameters += tensor.elem_count() as u64;
        if let Some((site, part)) = name.rsplit_once('.') {
            sites.insert(site);
            // Factors are (rank, inputs) and (outputs, rank).
            if !loaded.meta.whole_weights && part.to_ascii_lowercase().ends_with('a') {
                rank = rank.max(tensor.dims().first().copied().unwrap_or(0));
            }
        }
    }
    let run_dir = folder.parent().and_then(Path::parent).unwrap_or(&folder);
    let base = project_file::load(&run_dir.join(project_file::FILE_NAME)).map(|project| project.model.path);
    Ok(Event::Adapter {
        path: path.to_path_buf(),
        format: "native".to_owned(),
        method: loaded.meta.method,
        base: base.unwrap_or_default(),
        rank: rank as u64,
        sites: sites.len() as u64,
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn an_adapter_folder_is_called_by_the_method_that_has_its_structure() {
        let cpu = candle_core::Device::Cpu;
        let tensor = candle_core::Tensor::zeros((2, 4), candle_core::DType::F32, &cpu).expect("tensor");
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".to_owned();
        let tensors = HashMap::from([(name, tensor)]);
        for (config, expected) in [
            (r#"{"peft_type": "LORA", "r": 2}"#, "lora"),
            (r#"{"peft_type": "LORA", "r": 2, "use_dora": true}"#, "dora"),
            (r#"{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5}"#, "prefix"),
            (r#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5}"#, "prompt"),
            (r#"{"peft_type": "OFT"}"#, "oft"),
        ] {
            let folder = tempfile::tempdir().expect("folder");
            std::fs::write(folder.path().join("adapter_config.json"), config).expect("config");
            candle_core::safetensors::save(&tensors, folder.path().join("adapter_model.safetensors")).expect("tensors");
            match adapter(folder.path()).expect("reads") {
                Some(Event::Adapter { method, format, .. }) => {
                    assert_eq!((method.as_str(), format.as_str()), (expected, "peft"), "{config}");
                }
                other => panic!("{config}: {other:?}"),
            }
        }
    }
}
