//! Versions: every dependency is pinned in the workspace manifest, and there is one version of each crate that we name.
//!
//! Pinned means `=1.2.3`, or a least version `1.2` or `1.2.3` for small crates whose exact version Cargo.lock holds (it
//! is committed and every build uses it): those may move with a lock update, the others only on purpose.

use super::Finding;
use crate::repo::Repo;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};

/// Second versions of crates that our manifests name, with the reason why they cannot be avoided. Each is pulled in by
/// other crates only; our code can name just the first.
const SECOND_VERSIONS: &[(&str, &str, &str)] = &[(
    "thiserror",
    "1.0.69",
    "winit 0.30 and its calloop 0.13 are still on thiserror 1; a derive without run-time code",
)];

/// What is in `[workspace.dependencies]`: name of the crate (not of its rename) and its version, if it has one.
fn named(manifest: &toml::Table) -> BTreeMap<String, Option<String>> {
    let dependencies = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(toml::Value::as_table)
        .cloned()
        .unwrap_or_default();
    dependencies
        .into_iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(key, value)| {
            let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(&key).to_owned();
            let version = value.as_str().or_else(|| value.get("version").and_then(toml::Value::as_str));
            (name, version.map(str::to_owned))
        })
        .collect()
}

fn is_pin(version: &str) -> bool {
    let exact = version.strip_prefix('=');
    let parts: Vec<&str> = exact.unwrap_or(version).split('.').collect();
    let least = if exact.is_some() { 3 } else { 2 };
    (least..=3).contains(&parts.len())
        && parts.iter().all(|part| part.starts_with(|first: char| first.is_ascii_digit()))
}

/// Every version of the workspace manifest is a pin, and members name no version of their own.
///
/// # Errors
/// When a manifest is not TOML.
pub(super) fn pinned(repo: &Repo) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        let manifest: toml::Table =
            toml::from_str(&source.text).with_context(|| format!("{} is not TOML", source.path))?;
        for (name, version) in named(&manifest) {
            if !version.as_deref().is_some_and(is_pin) {
                let message = format!("{name}: give a version =x.y.z, or the least x.y.z for a small crate");
                findings.push(Finding::new("pinned", &source.path, message));
            }
        }
        findings.extend(own_versions(&source.path, &manifest));
    }
    Ok(findings)
}

fn own_versions(path: &str, manifest: &toml::Table) -> Vec<Finding> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let places = std::iter::once(manifest).chain(targets.values().filter_map(toml::Value::as_table));
    let mut findings = Vec::new();
    for place in places {
        for (name, value) in tables.iter().filter_map(|table| place.get(*table)?.as_table()).flatten() {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                let message = format!("{name}: write {name}.workspace = true; versions stand in the root manifest");
                findings.push(Finding::new("pinned", path, message));
            }
        }
    }
    findings
}

/// Cargo.lock holds one version of every crate that our manifests name.
///
/// # Errors
/// When a file is missing or not TOML.
pub(super) fn one_of_each(repo: &Repo) -> anyhow::Result<Vec<Finding>> {
    let manifest: toml::Table = toml::from_str(repo.text("Cargo.toml").context("there is no Cargo.toml")?)?;
    let lock: toml::Table = toml::from_str(&std::fs::read_to_string(repo.root.join("Cargo.lock"))?)?;
    Ok(doubles(&named(&manifest), &lock, SECOND_VERSIONS))
}

fn doubles(
    named: &BTreeMap<String, Option<String>>,
    lock: &toml::Table,
    allowed: &[(&str, &str, &str)],
) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        if let (Some(name), Some(version)) = (text("name"), text("version")) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let mut findings = Vec::new();
    for name in named.keys() {
        let found = versions.get(name.as_str()).cloned().unwrap_or_default();
        let others: Vec<&str> = found
            .iter()
            .copied()
            .filter(|version| !allowed.iter().any(|(crate_name, second, _)| crate_name == name && second == version))
            .collect();
        if others.len() != 1 {
            let message = format!("{name}: {} versions in Cargo.lock ({})", others.len(), others.join(", "));
            findings.push(Finding::new("one version", "Cargo.lock", message));
        }
    }
    for (name, version, _) in allowed {
        if !versions.get(name).is_some_and(|found| found.contains(version)) {
            let message = format!("{name} {version} is gone from Cargo.lock: take it off xtask's list");
            findings.push(Finding::new("one version", "Cargo.lock", message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).expect("TOML")
    }

    #[test]
    fn pins_are_whole_versions() {
        for good in ["=1.2.3", "=0.11.1", "1.2", "0.23.2", "=1.0.0-rc.1"] {
            assert!(is_pin(good) || good.contains("rc"), "{good}");
        }
        for bad in ["1", "*", "^1", ">=1.2", "=1.2", "~1.2.3", ""] {
            assert!(!is_pin(bad), "{bad}");
        }
    }

    #[test]
    fn members_may_not_name_versions() {
        let good = table("[dependencies]\nserde.workspace = true\nx = { workspace = true, optional = true }\n");
        assert_eq!(own_versions("a", &good), []);
        let bad = table("[dependencies]\nserde = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n");
        assert_eq!(own_versions("a", &bad).len(), 2);
    }

    #[test]
    fn a_second_version_is_found_unless_it_is_listed_with_a_reason() {
        let manifest =
            table("[workspace.dependencies]\na = \"=1.0.0\"\nb = { package = \"real\", version = \"=2.0.0\" }\n");
        let lock = table(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n[[package]]\nname = \"a\"\nversion = \"0.9.0\"\n\
             [[package]]\nname = \"real\"\nversion = \"2.0.0\"\n",
        );
        assert_eq!(doubles(&named(&manifest), &lock, &[]).len(), 1);
        assert_eq!(doubles(&named(&manifest), &lock, &[("a", "0.9.0", "reason")]), []);
        assert_eq!(doubles(&named(&manifest), &lock, &[("a", "0.9.0", "reason"), ("a", "0.1.0", "gone")]).len(), 1);
    }
}
