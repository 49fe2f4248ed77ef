//! What a run started from, as hashes: a resume on another base or other data is another run.

use crate::error::{Result, TrainError};
use crate::request::Beneath;
use crate::tensor_file::{hash_file, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use temper_protocol::project::Source;
use temper_protocol::{Code, Problem, Project};

/// Hashes of everything that decides the weights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Base model: weights, configuration, tokenizer.
    pub base: String,
    /// Adapters that lie frozen on it; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adapters: String,
    /// Training and validation files.
    pub data: String,
    /// Kept sets.
    pub probes: String,
    /// Settings that decide the weights.
    pub settings: String,
    /// The same whatever the number of steps: a run that has done its steps can be given more. Absent in checkpoints of
    /// before that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub settings_any_length: String,
}

impl Hashes {
    /// Checks that a checkpoint with hashes `saved` goes on from the same things as these.
    ///
    /// # Errors
    /// A [`Problem`] that says which of them differs.
    pub fn check_same(&self, saved: &Self, checkpoint: &Path) -> Result<()> {
        let differs = |thing: &str, action: &str| -> Result<()> {
            let what = format!("the checkpoint was made {thing}");
            Err(Problem::new(Code::ProjectInvalid, what, checkpoint.display().to_string(), action).into())
        };
        if self.base != saved.base {
            return differs("on another base model", "restore the model file it was made on, or start a new run");
        }
        if self.adapters != saved.adapters {
            let action = "restore the folders of model.adapters as they were, or start a new run";
            return differs("over other adapters", action);
        }
        if self.data != saved.data {
            return differs("with other data", "restore the data files as they were, or start a new run");
        }
        if self.probes != saved.probes {
            return differs("with other kept sets", "restore the probe files as they were, or start a new run");
        }
        if self.settings != saved.settings && !self.is_other_length(saved) {
            return differs("with other settings", "restore the settings of the run, or start a new run");
        }
        Ok(())
    }

    /// Whether the settings are those of `saved` but for the number of steps.
    #[must_use]
    pub fn is_other_length(&self, saved: &Self) -> bool {
        let known = !self.settings_any_length.is_empty();
        known && self.settings != saved.settings && self.settings_any_length == saved.settings_any_length
    }
}

/// As [`of_settings`], whatever the number of steps.
///
/// # Errors
/// Settings that cannot be written as JSON.
pub fn of_settings_any_length(project: &Project) -> Result<String> {
    let mut project = project.clone();
    (project.train.steps, project.train.epochs) = (0, None);
    of_settings(&project)
}

/// Hash over the settings that decide the weights. Names, paths (their contents have hashes of their own),
/// threads, device, recomputation, caches, samples, retention and export do not. Settings that came later count only
/// where they differ from how everything was before them, so that older checkpoints can still be resumed.
///
/// # Errors
/// Settings that cannot be written as JSON.
pub fn of_settings(project: &Project) -> Result<String> {
    let mut project = project.clone();
    project.name.clear();
    project.model.path.clear();
    for source in project.data.train.iter_mut().chain(&mut project.model.adapters) {
        *source = Source::Weighted { path: String::new(), weight: source.weight() };
    }
    if let temper_protocol::project::Validation::Path(path) = &mut project.data.validation {
        path.clear();
    }
    project.train.threads = 0;
    project.train.recompute.clear();
    project.train.keep_checkpoints = 0;
    project.keep.probes.clear();
    project.samples = temper_protocol::project::Samples::default();
    project.export = temper_protocol::project::Export::default();
    let unwritten = |error| Problem::internal(format!("the settings cannot be written: {error}"));
    let mut settings = serde_json::to_value(&project).map_err(unwritten)?;
    if let Some(train) = settings.get_mut("train").and_then(serde_json::Value::as_object_mut) {
        let later = ["device", "kept_mib", "prefix_cache_mib", "snapshot_mib"];
        let as_before = (project.train.optim_state == "f32").then_some("optim_state");
        for key in later.into_iter().chain(as_before) {
            // In place: the order of the others is part of the hash.
            train.shift_remove(key);
        }
    }
    Ok(hex(&Sha256::digest(settings.to_string().as_bytes())))
}

/// Hash of adapters that lie frozen beneath a run; empty where there are none.
///
/// # Errors
/// A file that cannot be read.
pub fn of_beneath(beneath: Option<&Beneath>) -> Result<String> {
    beneath.map_or_else(|| Ok(String::new()), |beneath| of_paths(&beneath.files))
}

/// Hash over files and folders: of each file its name inside the folder given and the hash of its content,
/// in sorted order. Where they lie does not matter.
///
/// # Errors
/// A file that cannot be read.
pub fn of_paths(paths: &[PathBuf]) -> Result<String> {
    of_paths_with(paths, &hash_file)
}

/// The same with the content of each file hashed by `hash`.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn of_paths_with(paths: &[PathBuf], hash_of: &dyn Fn(&Path) -> Result<String>) -> Result<String> {
    Ok(of_list(&list_with(paths, hash_of)?))
}

/// A file that counts towards a hash over files and folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which of the files and folders given it belongs to, counted from 0.
    pub at: usize,
    /// What it is called inside that folder, with a slash in front; empty where the file itself was given.
    pub inside: String,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// Every file that [`of_paths`] counts, in its order: somebody who has some of them can check these.
///
/// # Errors
/// A file that cannot be read.
pub fn list(paths: &[PathBuf]) -> Result<Vec<Listed>> {
    list_with(paths, &hash_file)
}

fn list_with(paths: &[PathBuf], hash_of: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let mut files = Vec::new();
        collect(path, "", &mut files)?;
        files.sort();
        for (inside, file) in files {
            all.push(Listed { at, inside, sha256: hash_of(&file)? });
        }
    }
    Ok(all)
}

/// The hash that [`of_paths`] gives over files with these names and contents.
#[must_use]
pub fn of_list(files: &[Listed]) -> String {
    let mut hash = Sha256::new();
    for Listed { at, inside, sha256 } in files {
        hash.update(format!("{at}\0{inside}\0{sha256}\n"));
    }
    hex(&hash.finalize())
}

fn collect(path: &Path, name: &str, into: &mut Vec<(String, PathBuf)>) -> Result<()> {
    if !path.is_dir() {
        into.push((name.to_owned(), path.to_path_buf()));
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(|error| TrainError::io(path, error))? {
        let entry = entry.map_err(|error| TrainError::io(path, error))?;
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        // Hidden entries are caches and the like, not part of a model or data set.
        if !entry_name.starts_with('.') {
            collect(&entry.path(), &format!("{name}/{entry_name}"), into)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_names_count_places_do_not() {
        let folder = tempfile::tempdir().expect("temp");
        let make = |name: &str, inner: &str, text: &str| {
            let place = folder.path().join(name);
            std::fs::create_dir_all(&place).expect("folder");
            std::fs::write(place.join(inner), text).expect("file");
            place
        };
        let hash = |path: &PathBuf| of_paths(std::slice::from_ref(path)).expect("hash");
        let (one, same) = (make("one", "a.txt", "text"), make("same", "a.txt", "text"));
        let (renamed, changed) = (make("renamed", "b.txt", "text"), make("changed", "a.txt", "texT"));
        assert_eq!(hash(&one), hash(&same));
        assert_ne!(hash(&one), hash(&renamed));
        assert_ne!(hash(&one), hash(&changed));
        assert_ne!(of_paths(&[one.clone(), changed.clone()]).expect("hash"), of_paths(&[changed, one]).expect("hash"));
    }

    #[test]
    fn the_list_of_files_gives_their_hash_again() {
        let folder = tempfile::tempdir().expect("temp");
        let (alone, inside) = (folder.path().join("m.gguf"), folder.path().join("model"));
        std::fs::create_dir_all(&inside).expect("folder");
        for (file, text) in [(alone.clone(), "1"), (inside.join("a"), "2"), (inside.join("b"), "3")] {
            std::fs::write(file, text).expect("file");
        }
        let paths = [alone, inside];
        let mut files = list(&paths).expect("lists");
        let names: Vec<_> = files.iter().map(|file| (file.at, file.inside.as_str())).collect();
        assert_eq!(names, [(0, ""), (1, "/a"), (1, "/b")]);
        assert_eq!(of_list(&files), of_paths(&paths).expect("hash"));
        files[2].sha256 = files[1].sha256.clone();
        assert_ne!(of_list(&files), of_paths(&paths).expect("hash"));
    }

    #[test]
    fn settings_that_decide_the_weights_count_and_others_do_not() {
        let project = Project::new("name", "model.gguf", &["data.jsonl".to_owned()], "lora");
        let hash = |change: &dyn Fn(&mut Project)| {
            let mut project = project.clone();
            change(&mut project);
            of_settings(&project).expect("hash")
        };
        let same = hash(&|_| ());
        assert_eq!(same, hash(&|p| p.model.path = "elsewhere/model.gguf".to_owned()));
        assert_eq!(same, hash(&|p| p.train.threads = 3));
        assert_eq!(same, hash(&|p| p.samples.prompts.push("hello".to_owned())));
        assert_eq!(same, hash(&|p| p.train.prefix_cache_mib = 0));
        assert_eq!(same, hash(&|p| p.train.snapshot_mib = 0));
        assert_eq!(same, hash(&|p| p.train.kept_mib = 700));
        assert_eq!(same, hash(&|p| p.train.device = "cpu".to_owned()));
        assert_ne!(same, hash(&|p| p.train.lr_peak *= 2.0));
        assert_ne!(same, hash(&|p| p.train.seed += 1));
        assert_ne!(same, hash(&|p| p.method.id = "full".to_owned()));
        assert_ne!(same, hash(&|p| p.data.max_tokens = 7));
        assert_ne!(same, hash(&|p| p.train.optim_state = "int8".to_owned()));
        assert_ne!(same, hash(&|p| p.model.base = "nf4".to_owned()));
        assert_ne!(same, hash(&|p| p.train.best_by = "mix".to_owned()));
        let adapter = |path: &str, weight| vec![Source::Weighted { path: path.to_owned(), weight }];
        let beneath = hash(&|p| p.model.adapters = adapter("here", 1.0));
        assert_eq!(beneath, hash(&|p| p.model.adapters = adapter("there", 1.0)));
        assert!(beneath != same && beneath != hash(&|p| p.model.adapters = adapter("here", 0.5)));
        let any_length = |change: &dyn Fn(&mut Project)| {
            let mut project = project.clone();
            change(&mut project);
            of_settings_any_length(&project).expect("hash")
        };
        assert_ne!(same, hash(&|p| p.train.steps += 1));
        assert_eq!(any_length(&|_| ()), any_length(&|p| p.train.steps += 1));
        assert_eq!(any_length(&|_| ()), any_length(&|p| p.train.epochs = Some(2.0)));
        assert_ne!(any_length(&|_| ()), any_length(&|p| p.train.lr_peak *= 2.0));
    }

    #[test]
    fn settings_of_before_there_was_a_choice_hash_as_they_did() {
        let mut project = Project::new("", "", &[], "lora");
        project.train.recompute.clear();
        project.train.keep_checkpoints = 0;
        project.keep.probes.clear();
        project.export = temper_protocol::project::Export::default();
        let settings = serde_json::to_value(&project).expect("settings");
        let mut before = serde_json::to_string(&project).expect("text");
        for later in ["device", "kept_mib", "prefix_cache_mib", "snapshot_mib", "optim_state"] {
            let entry = format!("\"{later}\":{},", settings["train"][later]);
            assert!(before.contains(&entry), "{entry}");
            before = before.replace(&entry, "");
        }
        assert_eq!(of_settings(&project).expect("hash"), hex(&Sha256::digest(before.as_bytes())));
    }

    #[test]
    fn what_differs_is_named() {
        let hashes = Hashes {
            base: "a".into(),
            adapters: String::new(),
            data: "b".into(),
            probes: "c".into(),
            settings: "d".into(),
            settings_any_length: "e".into(),
        };
        assert!(hashes.check_same(&hashes.clone(), Path::new("x")).is_ok());
        let other = Hashes { data: "z".into(), ..hashes.clone() };
        let problem = Problem::from(hashes.check_same(&other, Path::new("step-00000050")).expect_err("differs"));
        assert!(problem.what.contains("data") && problem.r#where.contains("step-00000050"), "{problem}");
        // Another number of steps is the same run; checkpoints that do not tell are refused.
        let longer = Hashes { settings: "z".into(), ..hashes.clone() };
        assert!(longer.is_other_length(&hashes) && longer.check_same(&hashes, Path::new("x")).is_ok());
        assert!(!hashes.is_other_length(&hashes), "nothing differs");
        let before = Hashes { settings_any_length: String::new(), ..hashes };
        for (one, other) in [(&longer, &before), (&before, &longer)] {
            assert!(one.check_same(other, Path::new("x")).is_err());
        }
    }
}
