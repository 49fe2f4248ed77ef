//! Every ban in clippy.toml names something that exists: clippy ignores a mistyped path without a word.
//!
//! Paths of the standard library are compiled (`use PATH;`), which takes a tenth of a second; paths of other crates are
//! looked up in the source of the locked version.

use super::Finding;
use crate::repo::Repo;
use anyhow::Context as _;
use regex::Regex;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILE: &str = "packaging/ci/clippy.toml";

/// Each banned path is a real item.
///
/// # Errors
/// When the settings are not TOML, or rustc cannot be started.
pub(super) fn exist(repo: &Repo) -> anyhow::Result<Vec<Finding>> {
    let settings: toml::Table = toml::from_str(repo.text(FILE).context("clippy.toml is missing")?)?;
    let paths = banned(&settings);
    let mut findings = Vec::new();
    if paths.is_empty() {
        findings.push(Finding::new("bans", FILE, "no ban was read: has the file changed its form?"));
    }
    for path in &paths {
        let known = match path.split("::").next() {
            Some("std" | "core" | "alloc") => std_item_exists(path)?,
            Some(root) => crate_folder(repo, root).is_some_and(|folder| item_exists(&folder, path)),
            None => false,
        };
        if !known {
            findings.push(Finding::new("bans", FILE, format!("{path} does not exist: clippy would ignore it")));
        }
    }
    Ok(findings)
}

/// Paths of all lists of the file, each entry being a text or a table with `path`.
fn banned(settings: &toml::Table) -> Vec<String> {
    settings
        .iter()
        .filter(|(key, _)| key.starts_with("disallowed-"))
        .flat_map(|(_, list)| list.as_array().into_iter().flatten())
        .filter_map(|entry| entry.as_str().or_else(|| entry.get("path").and_then(toml::Value::as_str)))
        .map(str::to_owned)
        .collect()
}

fn std_item_exists(path: &str) -> anyhow::Result<bool> {
    // a method cannot be imported, but it can be named in an expression
    let program = format!("pub mod a {{ pub use {path}; }}");
    let expression = format!("pub fn a() {{ let _ = {path}; }}");
    Ok(compiles(&program)? || compiles(&expression)?)
}

fn compiles(program: &str) -> anyhow::Result<bool> {
    let arguments = ["--edition", "2024", "--crate-type", "lib", "--emit", "metadata=-", "--cap-lints", "allow", "-"];
    let mut child = Command::new("rustc")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("rustc cannot be started")?;
    child.stdin.take().context("rustc has no input")?.write_all(program.as_bytes())?;
    Ok(child.wait()?.success())
}

/// The source folder of the crate with this library name.
fn crate_folder(repo: &Repo, library: &str) -> Option<PathBuf> {
    repo.packages
        .values()
        .find(|package| package.name.replace('-', "_") == library)
        .map(|package| package.folder.join("src"))
}

/// Whether a public item with the last name of the path stands in the file of its module, or anywhere in the crate for
/// items of a type or of the root.
fn item_exists(folder: &Path, path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let (Some(name), modules) = (parts.last(), parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default()) else {
        return false;
    };
    let pattern = format!(r"\bpub (?:const )?(?:unsafe )?(?:fn|struct|enum|trait|type|static|const) {name}\b");
    let Ok(item) = Regex::new(&pattern) else { return false };
    let module = modules.join("/");
    let files = match module.is_empty() || module.contains(|letter: char| letter.is_ascii_uppercase()) {
        true => rust_files(folder),
        false => vec![folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")],
    };
    files.iter().any(|file| std::fs::read_to_string(file).is_ok_and(|text| item.is_match(&text)))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_paths_are_compiled() {
        assert!(std_item_exists("std::thread::spawn").expect("rustc"));
        assert!(std_item_exists("std::sync::Mutex").expect("rustc"));
        assert!(!std_item_exists("std::thread::spawned").expect("rustc"));
    }

    #[test]
    fn items_are_found_in_the_file_of_their_module() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("lib.rs", "pub mod ops;\npub struct Tensor;\nimpl Tensor {\n    pub fn randn() {}\n}\n");
        write("ops.rs", "pub fn softmax<T>() {}\npub(crate) fn hidden() {}\n");
        let exists = |path: &str| item_exists(folder.path(), path);
        assert!(exists("lib::ops::softmax"));
        assert!(exists("lib::Tensor"));
        assert!(exists("lib::Tensor::randn"));
        assert!(!exists("lib::ops::softmaxx"), "a mistyped name");
        assert!(!exists("lib::op::softmax"), "a mistyped module");
        assert!(!exists("lib::ops::randn"), "an item of another file");
        assert!(!exists("lib::ops::hidden"), "an item that nobody outside can name");
    }

    #[test]
    fn both_forms_of_an_entry_are_read() {
        let text = "disallowed-methods = [\"a::b\", { path = \"c::d\", reason = \"x\" }]\nother = 1\n";
        assert_eq!(banned(&toml::from_str(text).expect("TOML")), ["a::b", "c::d"]);
    }
}
