//! Reads a capsule back, looks for what it names, and compares it with a run that repeated it.
//!
//! What lies in the capsule has to be as it was written, and its parts have to agree with each other. Of the model and the
//! data, what is found has to be the same; what is not found is said, and fails nothing: a capsule can be checked by
//! somebody who has the model and not the data.

use super::content::{self, Capsule, Item, hash_of};
use crate::builtin::{Builtins, PREFIX};
use crate::job::JobContext;
use crate::jobs::load::checkpoint_of;
use crate::names;
use std::path::{Path, PathBuf};
use temper_export::Sidecar;
use temper_export::output::{self, SIDECAR};
use temper_protocol::event::Check;
use temper_protocol::project::Validation;
use temper_protocol::{CAPSULE_FILE, Code, Event, ExportFormat, Problem, RunRef, project_file};
use temper_train::checkpoint::{self, Meta};
use temper_train::hashes::{self, Hashes};
use temper_train::tensor_file::hash_file;

/// How far the validation loss of a repeated run may be from the first one's, nats per trained token: another processor
/// rounds otherwise.
const LOSS_APART: f64 = 0.01;

/// What a check of a capsule found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    checks: Vec<Check>,
    reasons: Vec<String>,
}

impl Verdict {
    /// Whether every check passed.
    pub(super) fn pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }

    /// The event that tells it. Nothing is compared logit by logit, so there are no figures of that.
    pub(super) fn event(&self, path: &Path) -> Event {
        Event::Certificate {
            pass: self.pass(),
            format: ExportFormat::Capsule.name().to_owned(),
            mean_abs_diff: f64::NAN,
            max_abs_diff: f64::NAN,
            relative_diff: f64::NAN,
            top1_agreement: f64::NAN,
            greedy_equal: self.pass(),
            reasons: self.reasons.clone(),
            checks: self.checks.clone(),
            path: path.to_path_buf(),
        }
    }

    fn add(&mut self, name: &str, measured: String, limit: &str, over: String, pass: bool) {
        self.checks.push(Check { name: name.to_owned(), measured, limit: limit.to_owned(), over, pass });
    }
}

fn broken(path: &Path, what: impl std::fmt::Display) -> Problem {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("{name} of the capsule cannot be read: {what}");
    Problem::new(
        Code::CertificateFailed,
        what,
        path.display().to_string(),
        "get the capsule again from where it came from",
    )
}

/// Checks a capsule by itself, and gives what it says.
///
/// # Errors
/// Something that is no capsule, or one whose description or settings cannot be read; the file is named.
pub(super) fn inside(folder: &Path) -> Result<(Capsule, Verdict), Problem> {
    let sidecar = Sidecar::read(&folder.join(SIDECAR))?;
    let mut now = output::hash_folder(folder)?;
    now.retain(|(name, _, _)| name != SIDECAR);
    let mut verdict = Verdict::default();
    for (name, written) in &sidecar.files {
        match now.iter().find(|(known, _, _)| known == name) {
            None => verdict.reasons.push(format!("{name} is missing from the capsule")),
            Some((_, hash, _)) if hash != written => {
                verdict.reasons.push(format!("{name} was changed after it was written"));
            }
            Some(_) => {}
        }
    }
    verdict.checks.push(sidecar.check_files(&now));

    let file = folder.join(CAPSULE_FILE);
    let text = std::fs::read_to_string(&file).map_err(|error| broken(&file, error))?;
    let capsule: Capsule = serde_json::from_str(&text).map_err(|error| broken(&file, error))?;
    if capsule.schema > content::SCHEMA {
        let what = format!("it has format {}, this program reads up to {}", capsule.schema, content::SCHEMA);
        return Err(Problem::new(Code::Io, what, file.display().to_string(), "use a newer version of Temper"));
    }
    let file = folder.join(project_file::FILE_NAME);
    let text = std::fs::read_to_string(&file).map_err(|error| broken(&file, error))?;
    let same = hashes::of_settings(&project_file::parse(&text, &file)?)? == capsule.settings;
    if !same {
        verdict.reasons.push(format!("{} does not hold the settings of the run", project_file::FILE_NAME));
    }
    let measured = if same { "the same" } else { "others" };
    verdict.add(
        "settings are those of the run",
        measured.to_owned(),
        "the same",
        project_file::FILE_NAME.to_owned(),
        same,
    );

    let known = capsule.lists().into_iter().filter(|(_, items, _)| !items.is_empty());
    let wrong: Vec<&str> =
        known.clone().filter(|(_, items, hash)| hash_of(items) != *hash).map(|list| list.0).collect();
    let lists = known.count();
    verdict.reasons.extend(wrong.iter().map(|what| format!("the listed files of the {what} do not make up its hash")));
    let measured = format!("{} of {lists}", lists - wrong.len());
    verdict.add("lists of files make up their hashes", measured, "all", "lists".to_owned(), wrong.is_empty());

    let here = capsule.adapter.iter().filter(|(_, held)| held.here);
    let same =
        here.clone().filter(|(name, held)| now.iter().any(|(known, hash, _)| known == *name && *hash == held.sha256));
    let (same, here) = (same.count(), here.count());
    let measured = if here == 0 { "not in it".to_owned() } else { format!("{same} of {here}") };
    let over = if here == 1 { "1 file".to_owned() } else { format!("{here} files") };
    verdict.add("what was trained has the run's hash", measured, "all", over, same == here);
    Ok((capsule, verdict))
}

/// Checks a capsule again; looks for model and data where `project` has them, and compares with the run `against`.
pub(in crate::jobs) fn verify(
    builtins: &Builtins,
    project: Option<&Path>,
    path: &Path,
    against: Option<&RunRef>,
    context: &JobContext,
) -> Result<(), Problem> {
    let project_dir = names::project_dir_of(project)?;
    context.progress("reading back", 0, 0, "files");
    let (capsule, mut verdict) = inside(path)?;
    let places = Places::around(builtins, &project_dir, path);
    for (what, items, _) in capsule.lists() {
        context.check_cancelled()?;
        elsewhere(&mut verdict, what, items, &places)?;
    }
    if let Some(run) = against {
        let found = names::find_run(&project_dir, run)?;
        let meta = checkpoint::read_meta(&checkpoint_of(&found.folder, None)?)?;
        repeated(&mut verdict, &capsule, &meta);
    }
    context.emit(verdict.event(path));
    Ok(())
}

/// Where the files may be that a capsule names.
struct Places<'a> {
    builtins: &'a Builtins,
    /// Files and folders that the project names.
    named: Vec<PathBuf>,
    /// The project's folder, and the one that the capsule lies in.
    folders: Vec<PathBuf>,
}

impl<'a> Places<'a> {
    fn around(builtins: &'a Builtins, project_dir: &Path, capsule: &Path) -> Self {
        let mut named = Vec::new();
        if let Ok(project) = project_file::load(project_dir) {
            let validation = match &project.data.validation {
                Validation::Path(path) => Some(path.as_str()),
                Validation::Share(_) => None,
            };
            let data = project.data.train.iter().map(|source| source.path());
            let all = data.chain(validation).chain(project.keep.probes.iter().map(String::as_str));
            let model = project.model.path.strip_prefix(names::RANDOM).unwrap_or(&project.model.path);
            named.extend(all.chain(Some(model)).map(|written| project_dir.join(written)));
        }
        let around = capsule.parent().map(Path::to_path_buf);
        Self { builtins, named, folders: std::iter::once(project_dir.to_path_buf()).chain(around).collect() }
    }

    /// The file called `name` in a capsule; none where it is not here.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let (top, below) = name.split_once('/').map_or((name, None), |(top, below)| (top, Some(below)));
        let within = |root: PathBuf| match below {
            Some(below) => root.join(below),
            None => root,
        };
        if top.starts_with(PREFIX) {
            return self.builtins.path(top).ok().map(within).filter(|path| path.is_file());
        }
        let named = self.named.iter().filter(|path| path.file_name().is_some_and(|name| name == top)).cloned();
        let beside = self.folders.iter().map(|folder| folder.join(top));
        named.chain(beside).map(within).find(|path| path.is_file())
    }
}

/// Compares listed files with what is found under their names.
fn elsewhere(verdict: &mut Verdict, what: &str, items: &[Item], places: &Places<'_>) -> Result<(), Problem> {
    let (mut same, mut others, mut absent) = (0, Vec::new(), Vec::new());
    for item in items {
        match places.find(&item.name) {
            None => absent.push(item.name.as_str()),
            Some(path) if hash_file(&path)? == item.listed.sha256 => same += 1,
            Some(_) => others.push(item.name.as_str()),
        }
    }
    let measured = match (items.len(), others.len(), absent.len()) {
        (0, _, _) => "not listed".to_owned(),
        (all, 0, gone) if gone == all => "not here".to_owned(),
        (_, 0, 0) => "the same".to_owned(),
        (_, 0, gone) => format!("{same} the same, {gone} not here"),
        (_, wrong, _) => format!("{wrong} differ"),
    };
    let over = if items.len() == 1 { "1 file".to_owned() } else { format!("{} files", items.len()) };
    verdict.add(what, measured, "none differs", over, others.is_empty());
    verdict.reasons.extend(others.iter().map(|name| format!("{name} here is not what the run read")));
    if !absent.is_empty() {
        verdict.reasons.push(format!("not here, so not compared: {}", absent.join(", ")));
    }
    Ok(())
}

/// Compares with a run that was made from the capsule's settings.
fn repeated(verdict: &mut Verdict, capsule: &Capsule, meta: &Meta) {
    let differ = differences(&capsule.hashes, &meta.hashes);
    let measured = if differ.is_empty() { "the same".to_owned() } else { format!("other {}", differ.join(", ")) };
    if !differ.is_empty() {
        verdict.reasons.push(format!("the run did not start from the same {}", differ.join(", ")));
    }
    verdict.add("the run started from the same", measured, "the same", "hashes".to_owned(), differ.is_empty());
    let equal = capsule.adapter.iter().all(|(name, held)| meta.files.get(name) == Some(&held.sha256));
    let measured = if equal { "every byte" } else { "other bytes" };
    verdict.add("the run trained the same", measured.to_owned(), "told only", "files".to_owned(), true);
    let (first, again) =
        (capsule.metrics.best_loss, Some(meta.state.evals.best_loss.0).filter(|loss| loss.is_finite()));
    let apart = match (first, again) {
        (Some(first), Some(again)) => Some((first - again).abs()),
        _ => None,
    };
    let measured = apart.map_or_else(|| "not measured".to_owned(), |apart| format!("{apart:.4}"));
    let near = match apart {
        Some(apart) => apart <= LOSS_APART,
        None => first.is_none() && again.is_none(),
    };
    verdict.add("best validation loss, difference", measured, &LOSS_APART.to_string(), "nats".to_owned(), near);
}

/// What two runs did not start from alike, in words.
fn differences(first: &Hashes, again: &Hashes) -> Vec<&'static str> {
    let settings = first.settings == again.settings || again.is_other_length(first);
    [
        ("base model", first.base == again.base),
        ("adapters beneath", first.adapters == again.adapters),
        ("data", first.data == again.data),
        ("kept sets", first.probes == again.probes),
        ("settings", settings),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(what, _)| what)
    .collect()
}
