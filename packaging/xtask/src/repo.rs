//! What the rules look at: the tracked files with their text, and the packages with their dependencies.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file of the repository.
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Content.
    pub(crate) text: String,
}

/// A package of the dependency graph.
pub(crate) struct Package {
    /// Name in its manifest.
    pub(crate) name: String,
    /// Folder of its manifest.
    pub(crate) folder: PathBuf,
    /// Folder from the root for a member of the workspace.
    pub(crate) member: Option<String>,
    /// Ids of the packages that it needs to run (no build scripts, no tests).
    pub(crate) needs: BTreeSet<String>,
}

/// The repository as the rules see it.
pub(crate) struct Repo {
    /// Root folder.
    pub(crate) root: PathBuf,
    /// Tracked text files and new ones that are not ignored, sorted by path.
    pub(crate) sources: Vec<Source>,
    /// Packages by id.
    pub(crate) packages: BTreeMap<String, Package>,
}

/// Extensions of files whose text is read.
const TEXT: [&str; 7] = ["rs", "toml", "md", "sh", "py", "yml", "run"];

/// The folder of the workspace manifest.
///
/// # Errors
/// When the program was built from a tree that is gone and is not started inside another one.
pub(crate) fn find_root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|folder| folder.join("packaging/xtask").is_dir() && folder.join("Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .context("start it inside the repository")
}

/// Paths that git tracks or would track, from the root.
///
/// # Errors
/// When git fails.
pub(crate) fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-z", "-co", "--exclude-standard"]).current_dir(root).output()?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut paths: Vec<String> =
        String::from_utf8(output.stdout)?.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    // a file that was deleted but not yet committed is listed, too
    paths.retain(|path| root.join(path).is_file());
    Ok(paths)
}

/// Runs cargo in `root` and gives its standard output. A feature unification set from outside is left aside: the rules
/// ask about one package at a time.
///
/// # Errors
/// When cargo fails; the message holds what it said.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(program)
        .args(arguments)
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

impl Repo {
    /// Reads everything once.
    ///
    /// # Errors
    /// When git or cargo fails or a file cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut sources = Vec::new();
        for path in tracked(root)? {
            let extension = path.rsplit(['.', '/']).next().unwrap_or_default();
            if TEXT.contains(&extension) {
                let text = std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
                sources.push(Source { path, text });
            }
        }
        let metadata: Value = serde_json::from_str(&cargo(root, &["metadata", "--format-version", "1", "--locked"])?)?;
        Ok(Self { root: root.to_path_buf(), sources, packages: packages(&metadata, root)? })
    }

    /// The text of one file, if it is there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.sources.iter().find(|source| source.path == path).map(|source| source.text.as_str())
    }
}

/// Packages and their run-time edges from the output of `cargo metadata`.
fn packages(metadata: &Value, root: &Path) -> anyhow::Result<BTreeMap<String, Package>> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned).context("cargo metadata changed form");
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let id = text(package, "id")?;
        let folder = PathBuf::from(text(package, "manifest_path")?).parent().map(Path::to_path_buf).unwrap_or_default();
        let member = members
            .contains(id.as_str())
            .then(|| folder.strip_prefix(root).unwrap_or(&folder).display().to_string().replace('\\', "/"));
        let entry = Package { name: text(package, "name")?, folder, member, needs: BTreeSet::new() };
        found.insert(id, entry);
    }
    for node in metadata["resolve"]["nodes"].as_array().context("cargo metadata has no resolve graph")? {
        let Some(package) = found.get_mut(&text(node, "id")?) else { continue };
        for edge in node["deps"].as_array().into_iter().flatten() {
            let normal = edge["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
            if normal {
                package.needs.insert(text(edge, "pkg")?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn edges_of_tests_and_build_scripts_are_left_out() {
        let package =
            |id: &str| json!({"id": id, "name": id, "version": "1.0.0", "manifest_path": format!("r/{id}/Cargo.toml")});
        let edge = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "workspace_members": ["a"],
            "packages": [package("a"), package("b"), package("c")],
            "resolve": {"nodes": [{"id": "a", "deps": [edge("b", Value::Null), edge("c", json!("dev"))]}]},
        });
        let found = packages(&metadata, Path::new("r")).expect("a graph");
        assert_eq!(found["a"].needs.iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(found["a"].member.as_deref(), Some("a"));
        assert_eq!(found["b"].member, None);
    }
}
