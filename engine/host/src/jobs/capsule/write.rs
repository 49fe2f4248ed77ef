//! Makes a capsule from a run's folder, its checkpoint, and the files that it read.

use super::check::{self, Verdict};
use super::content::{self, Builder, Capsule, Held, Item, Known, Metrics, Names, Training, hash_of};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::jobs::export::{Order, card_of_run, put_on_record};
use crate::jobs::load::checkpoint_of;
use crate::names::{self, FoundRun};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_export::output::{self, Layout, OutputFolder};
use temper_export::{Card, Sidecar};
use temper_protocol::command::ExportSource;
use temper_protocol::project::Validation;
use temper_protocol::{CAPSULE_ADAPTER_BYTES, CAPSULE_FILE, Code, Event, ExportFormat, Problem, Project, project_file};
use temper_protocol::{RunRef, SCHEMA_VERSION};
use temper_store::{Reader, StoreError};
use temper_train::checkpoint::{self, Meta, OPTIMISER_FILE, STATE_FILE};
use temper_train::hashes;

/// What the card says below the usual.
const HOW: &str = "
## To check it and to repeat it

`capsule.json` names every file that the run read, with its hash. `temper verify DIR` says whether what lies here is as it \
                   was written, and with `--project FOLDER` whether the model and the data in that folder are the ones \
                   that were used.

To repeat the run, copy `project.toml` into a folder of its own, put the model and the data beside it under the names that \
                   stand there, and run `temper train FOLDER`. `temper verify DIR --project FOLDER --against last` then \
                   compares what came out. Sample prompts are not in these settings: they may be personal, and decide \
                   nothing.
";

/// Writes, checks and puts on record. `body` is the text of the card that somebody wrote.
pub(in crate::jobs) fn export(
    builtins: &Builtins,
    order: &Order,
    body: Option<String>,
    context: &JobContext,
) -> Result<(), Problem> {
    let place = || order.out.display().to_string();
    let ExportSource::Run { run, step } = &order.source else {
        let what = "a capsule is made of a run, not of a bare adapter";
        return Err(Problem::new(Code::Usage, what, place(), "give the run: its number, last, or its folder"));
    };
    if Layout::of(&order.out).is_file() {
        let what = "a capsule is a folder, and this is the name of a GGUF file";
        return Err(Problem::new(Code::Usage, what, place(), "give a name that does not end in .gguf"));
    }
    let project_dir = names::project_dir_of(order.project.as_deref())?;
    let found = names::find_run(&project_dir, run)?;
    let folder = names::home_of(&found.folder, &project_dir);
    let mut project = names::frozen_project(&found, &folder)?;
    names::find_again(&mut project, &folder);
    let checkpoint = match (run, step) {
        (RunRef::Path(path), None) if path.join(STATE_FILE).is_file() => path.clone(),
        _ => checkpoint_of(&found.folder, *step)?,
    };
    let meta = checkpoint::read_meta(&checkpoint)?;
    let card = Card { body, ..card_of_run(&project, &folder, &meta)? };
    context.progress("hashing", 0, 0, "files");
    let (capsule, settings) = gather(builtins, (&found, &folder), &project, (&checkpoint, &meta))?;
    context.check_cancelled()?;

    let output = OutputFolder::begin(&order.out)?;
    fill(&output, (&capsule, &settings), &checkpoint, &card, context)?;
    let (_, verdict) = check::inside(output.staging().root())?;
    let layout = output.finish(verdict.pass(), "")?;
    let said = told(&verdict, &layout)?;
    for event in &said {
        context.emit(event.clone());
    }
    if verdict.pass() {
        put_on_record(&folder, &found, &said);
    }
    Ok(())
}

/// What is said of a capsule that lies in its place.
fn told(verdict: &Verdict, layout: &Layout) -> Result<Vec<Event>, Problem> {
    let files = layout.hashes("")?;
    let written = Event::Written {
        format: ExportFormat::Capsule.name().to_owned(),
        path: layout.root().to_path_buf(),
        bytes: files.iter().map(|file| file.2).sum(),
        sha256: output::combined_hash(&files),
    };
    Ok(vec![written, verdict.event(layout.root())])
}

/// What the capsule says, and the settings beside it.
fn gather(
    builtins: &Builtins,
    (found, folder): (&FoundRun, &Path),
    project: &Project,
    (checkpoint, meta): (&Path, &Meta),
) -> Result<(Capsule, Project), Problem> {
    check_settings(project, meta, found)?;
    let mut names = Names::default();
    let settings = content::portable(project, &mut names);
    let hashes = &meta.hashes;
    let model = names::model_path(builtins, &project.model.path, folder).ok();
    let model = model.map(|path| vec![(names.of(&project.model.path), path)]);
    let base = listed("base model", model, &hashes.base, &plain)?;
    let sources = data_sources(builtins, project, folder, &mut names);
    let has_validation = matches!(project.data.validation, Validation::Path(_));
    let data = listed("data", sources, &hashes.data, &|sources| data_files(sources, has_validation))?;
    let probes = names::probe_paths(builtins, &project.keep.probes, folder).ok();
    let called: Vec<String> = project.keep.probes.iter().map(|written| names.of(written)).collect();
    let probes = probes.map(|probes| called.into_iter().zip(probes.into_iter().map(|(_, path)| path)).collect());
    let kept = listed("kept sets", probes, &hashes.probes, &plain)?;
    let capsule = Capsule {
        schema: content::SCHEMA,
        adapter: held(checkpoint, meta)?,
        base,
        certificates: certificates(folder, found),
        data,
        hashes: hashes.clone(),
        kept,
        metrics: Metrics::of(&meta.state),
        program: Builder {
            trained_by: trained_by(&found.folder),
            version: format!("{} (settings {SCHEMA_VERSION})", env!("CARGO_PKG_VERSION")),
        },
        settings: hashes::of_settings(&settings)?,
        training: Training {
            method: meta.method.clone(),
            seed: meta.state.seed,
            seen_tokens: meta.state.seen_tokens,
            steps: meta.state.step,
            trained_tokens: meta.state.trained_tokens,
            whole_weights: meta.whole_weights,
        },
    };
    Ok((capsule, settings))
}

/// The settings in the run's folder have to be the ones it trained with; it may have been given more steps since.
fn check_settings(project: &Project, meta: &Meta, found: &FoundRun) -> Result<(), Problem> {
    let (saved, any_length) = (&meta.hashes.settings, &meta.hashes.settings_any_length);
    let same = hashes::of_settings(project)? == *saved
        || (!any_length.is_empty() && hashes::of_settings_any_length(project)? == *any_length);
    if same {
        return Ok(());
    }
    Err(Problem::new(
        Code::ProjectInvalid,
        "the settings of the run were changed after it had trained",
        found.folder.join(project_file::FILE_NAME).display().to_string(),
        "restore this file as it was",
    ))
}

/// Files and folders with their names in the capsule; none when one of them is not there.
type Sources = Option<Vec<(String, PathBuf)>>;

fn data_sources(builtins: &Builtins, project: &Project, folder: &Path, names: &mut Names) -> Sources {
    let mut written: Vec<&str> = project.data.train.iter().map(|source| source.path()).collect();
    if let Validation::Path(path) = &project.data.validation {
        written.push(path);
    }
    let found = |name: &&str| Some((names.of(name), names::data_path(builtins, name, folder).ok()?));
    written.iter().map(found).collect()
}

/// Each source as it is.
fn plain(sources: &[(String, PathBuf)]) -> Result<Vec<PathBuf>, Problem> {
    Ok(sources.iter().map(|(_, path)| path.clone()).collect())
}

/// The files behind `sources` in the order in which a run reads them: those to train on, then those to validate with. With
/// `has_validation` the last source is for that alone, and what other folders hold for it is not read.
fn data_files(sources: &[(String, PathBuf)], has_validation: bool) -> Result<Vec<PathBuf>, Problem> {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (index, (_, path)) in sources.iter().enumerate() {
        let files = temper_data::read::list(path)?;
        let own = files.validation.into_iter().map(|file| file.path);
        let files = files.train.into_iter().map(|file| file.path);
        if has_validation && index + 1 == sources.len() {
            validation.extend(own.chain(files));
        } else {
            train.extend(files);
            if !has_validation {
                validation.extend(own);
            }
        }
    }
    train.append(&mut validation);
    Ok(train)
}

/// How the files behind sources are found.
type Files<'a> = dyn Fn(&[(String, PathBuf)]) -> Result<Vec<PathBuf>, Problem> + 'a;

/// The files behind `sources`, which have to be those of the run; an empty list where some are not there any more: their
/// hash as a whole is known all the same.
fn listed(what: &str, sources: Sources, wanted: &str, files: &Files<'_>) -> Result<Vec<Item>, Problem> {
    let Some(sources) = sources else { return Ok(Vec::new()) };
    let paths = files(&sources)?;
    let items = content::items(&sources, hashes::list(&paths)?, &paths);
    if hash_of(&items) == wanted {
        return Ok(items);
    }
    let place = sources.iter().map(|(_, path)| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let what = format!("the {what}: these files are no longer what the run read");
    Err(Problem::new(Code::ProjectInvalid, what, place, "restore them as they were, or take them away"))
}

/// Files of what was trained: everything in the checkpoint but the moments of the optimiser.
fn held(checkpoint: &Path, meta: &Meta) -> Result<BTreeMap<String, Held>, Problem> {
    let mut files = BTreeMap::new();
    for (name, sha256) in meta.files.iter().filter(|(name, _)| name.as_str() != OPTIMISER_FILE) {
        let path = checkpoint.join(name);
        let bytes = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        files.insert(name.clone(), Held { bytes, here: true, sha256: sha256.clone() });
    }
    let here = files.values().map(|held| held.bytes).sum::<u64>() <= CAPSULE_ADAPTER_BYTES;
    files.values_mut().for_each(|held| held.here = here);
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::Io, error.to_string(), path.display().to_string(), "check that the file can be read")
}

/// Hash of the program that trained, as the run's folder has it; empty where it does not.
fn trained_by(run_dir: &Path) -> String {
    let read = std::fs::read_to_string(run_dir.join("run.json")).ok();
    let json = read.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    json.and_then(|json| Some(json.get("program")?.as_str()?.to_owned())).unwrap_or_default()
}

/// Certificates on the run's record, the newest of each file.
fn certificates(project_dir: &Path, found: &FoundRun) -> Vec<Known> {
    let read = || -> Result<Vec<Known>, StoreError> {
        let reader = Reader::open(project_dir)?;
        let mut known = BTreeMap::new();
        let mut last = 0;
        loop {
            let stored = reader.events_after(found.run, last, 1000)?;
            let Some(end) = stored.last().map(|stored| stored.id) else { break };
            last = end;
            for stored in stored {
                if let Event::Certificate { pass, format, checks, path, .. } = stored.event
                    && format != ExportFormat::Capsule.name()
                {
                    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    known.insert((format.clone(), name.clone()), Known { checks, format, name, pass });
                }
            }
        }
        Ok(known.into_values().collect())
    };
    if found.row.is_none() {
        return Vec::new();
    }
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the certificates of the run cannot be read");
        Vec::new()
    })
}

/// Writes the files.
fn fill(
    output: &OutputFolder,
    (capsule, settings): (&Capsule, &Project),
    checkpoint: &Path,
    card: &Card,
    context: &JobContext,
) -> Result<(), Problem> {
    output.write(project_file::FILE_NAME, project_file::to_text(settings)?.as_bytes())?;
    output.write(CAPSULE_FILE, capsule.to_text()?.as_bytes())?;
    output.write("README.md", (card.text(ExportFormat::Capsule) + HOW).as_bytes())?;
    for name in capsule.adapter.iter().filter(|(_, held)| held.here).map(|(name, _)| name) {
        context.check_cancelled()?;
        output.stream(name, |sink| {
            let mut file = std::fs::File::open(checkpoint.join(name))?;
            std::io::copy(&mut file, sink).map(drop)
        })?;
    }
    let sidecar = Sidecar::new(ExportFormat::Capsule, "", card, &output.staging().hashes("")?)?;
    let text = serde_json::to_string_pretty(&sidecar.to_json())
        .map_err(|error| Problem::internal(format!("the hashes cannot be written: {error}")))?;
    output.write(output::SIDECAR, (text + "\n").as_bytes())?;
    Ok(())
}
