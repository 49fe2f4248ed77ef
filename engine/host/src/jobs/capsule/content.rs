//! What `capsule.json` says, and the settings that lie beside it.
//!
//! Place in the data flow: [`super::write`] fills it from a run's folder and its checkpoint, [`super::check`] reads it back,
//! perhaps on another machine. Nothing in it is a path of this one, a time, or a text that a person trained on.

use crate::builtin::PREFIX;
use crate::names::RANDOM;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper_protocol::event::Check;
use temper_protocol::project::{Samples, Source, Validation};
use temper_protocol::{Problem, Project};
use temper_train::hashes::{self, Hashes, Listed};
use temper_train::state::State;

/// Version of `capsule.json` that this program writes.
pub(super) const SCHEMA: u32 = 1;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Capsule {
    /// Version of the format.
    pub(super) schema: u32,
    /// Files of what was trained, by name.
    pub(super) adapter: BTreeMap<String, Held>,
    /// Files of the base model.
    pub(super) base: Vec<Item>,
    /// Certificates of what the run was written as.
    pub(super) certificates: Vec<Known>,
    /// Training and validation files.
    pub(super) data: Vec<Item>,
    /// What the run started from, as its checkpoint says it.
    pub(super) hashes: Hashes,
    /// Files of the kept sets.
    pub(super) kept: Vec<Item>,
    /// What was measured.
    pub(super) metrics: Metrics,
    /// The program.
    pub(super) program: Builder,
    /// Hash of the settings as they lie here, with names where there were paths.
    pub(super) settings: String,
    /// How it went.
    pub(super) training: Training,
}

/// A file of what was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Size.
    pub(super) bytes: u64,
    /// Whether the capsule has it; larger ones stay with the run.
    pub(super) here: bool,
    /// SHA-256.
    pub(super) sha256: String,
}

/// A file that the run read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    /// What it is called in the settings here, with what it is called inside a folder.
    pub(super) name: String,
    /// How it counts towards the hash of all.
    #[serde(flatten)]
    pub(super) listed: Listed,
}

/// A certificate that is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The table.
    pub(super) checks: Vec<Check>,
    /// What was written.
    pub(super) format: String,
    /// Name of the file or folder.
    pub(super) name: String,
    /// Whether every check passed.
    pub(super) pass: bool,
}

/// Losses, nats per trained token. What was not measured is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Metrics {
    /// Validation before step 1.
    pub(super) base_loss: Option<f64>,
    /// The best validation of a trained step.
    pub(super) best_loss: Option<f64>,
    /// Its step.
    pub(super) best_step: u64,
    /// The worst of the kept sets less the base's loss.
    pub(super) forgetting: Option<f64>,
    /// The same of each.
    pub(super) forgetting_of: BTreeMap<String, Option<f64>>,
    /// The newest validation.
    pub(super) last_loss: Option<f64>,
    /// Its step.
    pub(super) last_step: u64,
}

/// The program that trained and the one that wrote this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Builder {
    /// SHA-256 of the program that started the run; empty when it is not known.
    pub(super) trained_by: String,
    /// Version of the program that wrote this.
    pub(super) version: String,
}

/// How a run went up to the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Training {
    /// Id of the method.
    pub(super) method: String,
    /// Seed of everything random.
    pub(super) seed: u64,
    /// Tokens seen, without padding.
    pub(super) seen_tokens: u64,
    /// Optimiser steps done.
    pub(super) steps: u64,
    /// Tokens trained.
    pub(super) trained_tokens: u64,
    /// Whether whole weights were trained instead of an adapter.
    pub(super) whole_weights: bool,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Metrics {
    /// What was measured up to a checkpoint.
    pub(super) fn of(state: &State) -> Self {
        let (evals, keep) = (&state.evals, &state.keep);
        Self {
            base_loss: finite(evals.base_loss.0),
            best_loss: finite(evals.best_loss.0),
            best_step: evals.best_step,
            forgetting: finite(keep.forgetting.0),
            forgetting_of: keep.loss_delta.iter().map(|(set, delta)| (set.clone(), finite(delta.0))).collect(),
            last_loss: finite(evals.last_loss.0),
            last_step: evals.last_step,
        }
    }
}

impl Capsule {
    /// As text with sorted keys.
    ///
    /// # Errors
    /// Values that JSON has no words for.
    pub(super) fn to_text(&self) -> Result<String, Problem> {
        let broken = |error: serde_json::Error| Problem::internal(format!("the capsule cannot be written: {error}"));
        let mut value = serde_json::to_value(self).map_err(broken)?;
        sort(&mut value);
        Ok(serde_json::to_string_pretty(&value).map_err(broken)? + "\n")
    }

    /// The three lists of files with what they are called in a table and the hash that they make up.
    pub(super) fn lists(&self) -> [(&'static str, &[Item], &str); 3] {
        [
            ("base model", &self.base, &self.hashes.base),
            ("data", &self.data, &self.hashes.data),
            ("kept sets", &self.kept, &self.hashes.probes),
        ]
    }
}

fn sort(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(table) => {
            table.sort_keys();
            table.values_mut().for_each(sort);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}

/// The hash over listed files.
pub(super) fn hash_of(items: &[Item]) -> String {
    let listed: Vec<Listed> = items.iter().map(|item| item.listed.clone()).collect();
    hashes::of_list(&listed)
}

/// What a path of a project is called in a capsule: its last part; bundled things, and numbers of runs, keep their names. Of
/// two that are called alike the second gets a number, so that each name means one thing.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(String, String)>);

impl Names {
    /// The name of `written`, the same whenever it is asked for.
    pub(super) fn of(&mut self, written: &str) -> String {
        if written.starts_with(PREFIX) || written.starts_with("run:") || written.is_empty() {
            return written.to_owned();
        }
        if let Some((_, name)) = self.0.iter().find(|(path, _)| path == written) {
            return name.clone();
        }
        // Paths of Windows have their last part behind the other slash.
        let path = written.strip_prefix(RANDOM).unwrap_or(written).trim_end_matches(['/', '\\']);
        let last = path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned();
        let taken = |name: &str| self.0.iter().any(|(_, known)| known == name);
        let name = if taken(&last) {
            (2..).map(|number| format!("{number}-{last}")).find(|name| !taken(name)).unwrap_or(last)
        } else {
            last
        };
        self.0.push((written.to_owned(), name.clone()));
        name
    }
}

/// The settings without paths of this machine and without prompts of the person's, which decide nothing of the weights.
pub(super) fn portable(project: &Project, names: &mut Names) -> Project {
    let mut project = project.clone();
    let is_random = project.model.path.starts_with(RANDOM);
    let model = names.of(&project.model.path);
    project.model.path = if is_random { format!("{RANDOM}{model}") } else { model };
    for source in project.data.train.iter_mut().chain(&mut project.model.adapters) {
        let (Source::Path(path) | Source::Weighted { path, .. }) = source;
        *path = names.of(path);
    }
    if let Validation::Path(path) = &mut project.data.validation {
        *path = names.of(path);
    }
    for path in &mut project.keep.probes {
        *path = names.of(path);
    }
    if let Some(from) = &mut project.train.from {
        *from = names.of(from);
    }
    project.samples = Samples { prompts: Vec::new(), ..project.samples };
    project
}

/// The files behind `sources`, named as in the capsule: each source is given as its name and its path.
pub(super) fn items(sources: &[(String, PathBuf)], files: Vec<Listed>, paths: &[PathBuf]) -> Vec<Item> {
    let name_of = |listed: &Listed| -> Option<String> {
        let path = paths.get(listed.at)?;
        let (name, root) = sources.iter().find(|(_, root)| path.starts_with(root))?;
        let mut name = name.clone();
        for part in path.strip_prefix(root).ok()? {
            name.push('/');
            name.push_str(&part.to_string_lossy());
        }
        Some(name + &listed.inside)
    };
    files
        .into_iter()
        .map(|listed| Item { name: name_of(&listed).unwrap_or_else(|| listed.inside.clone()), listed })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_lose_their_paths_and_prompts_and_stay_what_they_were() {
        let mut project = Project::new("tone", "/people/ann/m.gguf", &["/people/ann/a.jsonl".to_owned()], "lora");
        project.data.train.push(Source::Weighted { path: r"C:\data\a.jsonl".to_owned(), weight: 0.5 });
        project.data.validation = Validation::Path("/people/ann/a.jsonl".to_owned());
        project.keep.probes = vec!["builtin:prose".to_owned(), "/people/ann/notes.txt".to_owned()];
        project.samples.prompts = vec!["Dear Ann".to_owned()];
        let mut names = Names::default();
        let portable = portable(&project, &mut names);
        assert_eq!(portable.model.path, "m.gguf");
        assert_eq!(portable.data.train[0].path(), "a.jsonl");
        assert_eq!((portable.data.train[1].path(), portable.data.train[1].weight()), ("2-a.jsonl", 0.5));
        assert_eq!(portable.data.validation, Validation::Path("a.jsonl".to_owned()), "one path, one name");
        assert_eq!(portable.keep.probes, ["builtin:prose", "notes.txt"]);
        assert!(portable.samples.prompts.is_empty());
        let hash = |project: &Project| hashes::of_settings(project).expect("hash");
        assert_eq!(hash(&project), hash(&portable));
    }

    #[test]
    fn files_are_called_what_the_settings_call_them() {
        let sources =
            [("a.jsonl".to_owned(), PathBuf::from("/x/a.jsonl")), ("set".to_owned(), PathBuf::from("/y/set"))];
        let paths = [PathBuf::from("/x/a.jsonl"), PathBuf::from("/y/set/in/b.jsonl"), PathBuf::from("/y/set")];
        let listed = |at: usize, inside: &str| Listed { at, inside: inside.to_owned(), sha256: String::new() };
        let items = items(&sources, vec![listed(0, ""), listed(1, ""), listed(2, "/c.txt")], &paths);
        let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["a.jsonl", "set/in/b.jsonl", "set/c.txt"]);
    }
}
