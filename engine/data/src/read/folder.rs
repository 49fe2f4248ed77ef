//! A dropped path as the files behind it: one file, or a folder of files with their roles.
//!
//! `train`, `valid` (`validation`, `val`, `dev`, `eval`) and `test` in a file's name or in the folders
//! above it say what it is for; everything else is for training. A `dataset_info.json` as LLaMA-Factory
//! keeps it says which files count and how their columns are called.

use super::{guard, looks_like_data};
use crate::DataError;
use crate::images::ImageSet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const INFO: &str = "dataset_info.json";
const MOST_DEPTH: usize = 3;
/// Files that describe a folder instead of holding its data.
const ABOUT: &[&str] =
    &["readme", "license", "licence", "notice", "changelog", "citation", "dataset_infos", "dataset_info"];

/// A file with what a folder's description says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Path.
    pub path: PathBuf,
    /// Role to column, from `dataset_info.json`; empty otherwise.
    pub columns: BTreeMap<String, String>,
}

/// Files by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// For training.
    pub train: Vec<DataFile>,
    /// For validation.
    pub validation: Vec<DataFile>,
    /// Kept apart: never read for training or validation.
    pub test: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Train,
    Validation,
    Test,
}

/// The files behind `path`, in a fixed order.
///
/// # Errors
/// [`DataError::NotFound`], [`DataError::Io`], [`DataError::Data`] for a folder without data files,
/// [`DataError::Refused`] when all it holds are pickles.
pub fn list(path: &Path) -> Result<Files, DataError> {
    let meta = std::fs::metadata(path).map_err(|error| DataError::io("cannot look at the data", path, error))?;
    let mut files = Files::default();
    let images = || {
        let action = "images are not trained from project.toml yet: choose data of texts";
        DataError::data("these are images with classes, and texts are read here", path.display(), action)
    };
    if meta.is_file() {
        if ImageSet::is_at(path) {
            return Err(images());
        }
        files.train.push(DataFile { path: path.to_owned(), columns: BTreeMap::new() });
        return Ok(files);
    }
    if let Some(described) = described(path)? {
        return Ok(described);
    }
    let mut found = Vec::new();
    walk(path, MOST_DEPTH, &mut found)?;
    found.sort();
    let pickles = found.iter().filter(|file| guard::is_pickle_name(file)).count();
    for file in found.into_iter().filter(|file| looks_like_data(file) && !is_about(file)) {
        let role = role_of(file.strip_prefix(path).unwrap_or(&file));
        match role {
            Role::Train => files.train.push(DataFile { path: file, columns: BTreeMap::new() }),
            Role::Validation => files.validation.push(DataFile { path: file, columns: BTreeMap::new() }),
            Role::Test => files.test.push(file),
        }
    }
    if files.train.is_empty() && files.validation.is_empty() && !files.test.is_empty() {
        return Err(DataError::data(
            "every data file of the folder is named as a test set",
            path.display(),
            "choose the file itself to train on it",
        ));
    }
    if files.train.is_empty() && files.validation.is_empty() {
        if pickles > 0 {
            return Err(DataError::Refused {
                what: format!("the folder holds {pickles} Python pickle files and no other data"),
                place: path.display().to_string(),
                action: "pickles run programs when opened and are not read: export as JSON Lines or Parquet".to_owned(),
            });
        }
        if ImageSet::is_at(path) {
            return Err(images());
        }
        return Err(DataError::data(
            "the folder has no data files",
            path.display(),
            "choose a folder with .jsonl, .json, .csv, .tsv, .parquet, .txt or .md files",
        ));
    }
    Ok(files)
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let entries = std::fs::read_dir(dir).map_err(|error| DataError::io("cannot list the folder", dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| DataError::io("cannot list the folder", dir, error))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if depth > 1 {
                walk(&path, depth - 1, found)?;
            }
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn is_about(file: &Path) -> bool {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    ABOUT.contains(&stem.as_str())
}

fn role_of(relative: &Path) -> Role {
    let text = relative.with_extension("").to_string_lossy().to_ascii_lowercase();
    let mut role = Role::Train;
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        match word {
            "valid" | "validation" | "val" | "dev" | "eval" | "evaluation" => role = Role::Validation,
            "test" | "testing" => return Role::Test,
            _ => {}
        }
    }
    role
}

/// Files and columns by `dataset_info.json`; `None` when there is none or it names no file that exists.
fn described(dir: &Path) -> Result<Option<Files>, DataError> {
    let path = dir.join(INFO);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let info: Value = serde_json::from_slice(&bytes).map_err(|error| {
        DataError::data(format!("the description is not valid JSON: {error}"), path.display(), "repair or remove it")
    })?;
    let mut files = Files::default();
    for (name, entry) in info.as_object().into_iter().flatten() {
        let Some(file) = entry.get("file_name").and_then(Value::as_str) else { continue };
        // A description may not point outside its folder.
        let inside = Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let path = dir.join(file);
        if !inside || !path.is_file() {
            continue;
        }
        let data = DataFile { path, columns: columns_of(entry) };
        match role_of(Path::new(name)) {
            Role::Train => files.train.push(data),
            Role::Validation => files.validation.push(data),
            Role::Test => files.test.push(data.path),
        }
    }
    Ok(if files.train.is_empty() { None } else { Some(files) })
}

/// Columns and tags of an entry in our roles.
fn columns_of(entry: &Value) -> BTreeMap<String, String> {
    let turns = entry.get("formatting").and_then(Value::as_str) == Some("sharegpt");
    let column = |key: &str| match key {
        "prompt" if !turns => Some("instruction"),
        "query" => Some("input"),
        "response" => Some("output"),
        "messages" => Some("conversations"),
        "history" | "system" | "tools" | "chosen" | "rejected" => None,
        "kto_tag" => Some("label"),
        _ => Some(""),
    };
    let tag = |key: &str| match key {
        "role_tag" => "from",
        "content_tag" => "value",
        "user_tag" => "user",
        "assistant_tag" => "assistant",
        "observation_tag" => "tool",
        "function_tag" => "function",
        "system_tag" => "system_role",
        _ => "",
    };
    let texts = |key: &str| {
        let map = entry.get(key).and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect::<Vec<_>>()
    };
    let columns = texts("columns").into_iter().map(|(key, value)| (column(key).unwrap_or(key), value));
    let tags = texts("tags").into_iter().map(|(key, value)| (tag(key), value));
    columns
        .chain(tags)
        .filter(|(role, _)| !role.is_empty())
        .map(|(role, value)| (role.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is_for() {
        let role = |name: &str| role_of(Path::new(name));
        assert!(role("train.jsonl") == Role::Train);
        assert!(role("data/valid/part-0.parquet") == Role::Validation);
        assert!(role("my-dev-set.csv") == Role::Validation);
        assert!(role("test-00000-of-00001.parquet") == Role::Test);
        assert!(role("contest.jsonl") == Role::Train);
        assert!(role("evaluation.json") == Role::Validation);
    }
}
