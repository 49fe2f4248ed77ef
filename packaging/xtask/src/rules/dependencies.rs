//! Who may depend on whom, over the run-time edges that cargo resolved.

use super::Finding;
use crate::repo::{self, Repo};
use std::collections::BTreeSet;

/// Crates of the engine with the crates of the engine that they may need, directly or through others. A crate that is
/// not listed here is a finding, so that a new one gets a place on purpose.
const LAYERS: &[(&str, &[&str])] = &[
    ("temper-protocol", &[]),
    ("temper-store", &["temper-protocol"]),
    ("temper-nn", &["temper-protocol"]),
    ("temper-data", &["temper-protocol", "temper-nn"]),
    ("temper-methods", &["temper-protocol", "temper-nn"]),
    ("temper-models", &["temper-protocol", "temper-nn"]),
    ("temper-export", &["temper-protocol", "temper-nn", "temper-data", "temper-methods", "temper-models"]),
    (
        "temper-train",
        &["temper-protocol", "temper-store", "temper-nn", "temper-data", "temper-methods", "temper-models"],
    ),
    (
        "temper-host",
        &[
            "temper-protocol",
            "temper-store",
            "temper-nn",
            "temper-data",
            "temper-methods",
            "temper-models",
            "temper-export",
            "temper-train",
        ],
    ),
];

/// Libraries that draw windows: nothing of the engine may need them.
const WINDOW: &[&str] = &["egui", "eframe", "winit", "wgpu", "glow", "rfd", "egui_plot", "egui_extras"];

/// Libraries that hold tensors: the app's library may not need them.
const TENSORS: &[&str] = &["candle-core", "candle-nn", "candle-transformers", "temper-nn", "temper-host"];

/// Names of everything that the package needs at run time, with one path to each.
fn reach(repo: &Repo, start: &str) -> Vec<(String, Vec<String>)> {
    let mut seen: BTreeSet<&str> = BTreeSet::from([start]);
    let mut queue = vec![(start, Vec::new())];
    let mut found = Vec::new();
    while let Some((id, path)) = queue.pop() {
        let Some(package) = repo.packages.get(id) else { continue };
        let mut path: Vec<String> = path;
        path.push(package.name.clone());
        for need in &package.needs {
            if seen.insert(need) {
                if let Some(needed) = repo.packages.get(need) {
                    found.push((needed.name.clone(), path.clone()));
                }
                queue.push((need, path.clone()));
            }
        }
    }
    found
}

/// Engine crates need only what [`LAYERS`] gives them.
pub(super) fn layers(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package) in &repo.packages {
        let Some(folder) = package.member.as_deref().filter(|folder| folder.starts_with("engine/")) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::new("layers", folder, "give the crate a place in xtask's list of layers"));
            continue;
        };
        for (name, path) in reach(repo, id) {
            if name.starts_with("temper") && !allowed.contains(&name.as_str()) {
                let message = format!("may not depend on {name} (through {})", path.join(" -> "));
                findings.push(Finding::new("layers", folder, message));
            }
        }
    }
    findings
}

/// Nothing under `engine/` needs a window library.
pub(super) fn no_window_in_engine(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package) in &repo.packages {
        let Some(folder) = package.member.as_deref().filter(|folder| folder.starts_with("engine/")) else { continue };
        for (name, path) in reach(repo, id) {
            if WINDOW.contains(&name.as_str()) {
                let message = format!("the engine may not depend on {name} (through {})", path.join(" -> "));
                findings.push(Finding::new("no window in the engine", folder, message));
            }
        }
    }
    findings
}

/// The app without its feature `engine` (its library, as window tests build it) reaches no tensor library.
///
/// # Errors
/// When `cargo tree` fails.
pub(super) fn no_tensors_in_app_library(repo: &Repo) -> anyhow::Result<Vec<Finding>> {
    let tree = repo::cargo(
        &repo.root,
        &["tree", "--locked", "-p", "temper", "--no-default-features", "-e", "normal", "--prefix", "none"],
    )?;
    Ok(tensors_in(&tree))
}

fn tensors_in(tree: &str) -> Vec<Finding> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    TENSORS
        .iter()
        .filter(|name| names.contains(*name))
        .map(|name| Finding::new("no tensors in the app's library", "app", format!("reaches {name}: cargo tree -i")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Package;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn graph(edges: &[(&str, &str, &[&str])]) -> Repo {
        let packages: BTreeMap<String, Package> = edges
            .iter()
            .map(|(name, member, needs)| {
                let package = Package {
                    name: (*name).to_owned(),
                    folder: PathBuf::new(),
                    member: (!member.is_empty()).then(|| (*member).to_owned()),
                    needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                };
                ((*name).to_owned(), package)
            })
            .collect();
        Repo { root: PathBuf::new(), sources: Vec::new(), packages }
    }

    #[test]
    fn methods_may_not_reach_models_even_through_another_crate() {
        let good = graph(&[("temper-methods", "engine/methods", &["temper-nn"]), ("temper-nn", "engine/nn", &[])]);
        assert_eq!(layers(&good), []);
        let bad = graph(&[
            ("temper-methods", "engine/methods", &["temper-nn"]),
            ("temper-nn", "engine/nn", &["helper"]),
            ("helper", "", &["temper-models"]),
            ("temper-models", "engine/models", &[]),
        ]);
        let found = layers(&bad);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].message.contains("temper-methods -> temper-nn -> helper"), "{found:?}");
    }

    #[test]
    fn an_engine_crate_without_a_layer_is_found() {
        assert_eq!(layers(&graph(&[("temper-new", "engine/new", &[])])).len(), 1);
        assert_eq!(layers(&graph(&[("other", "packaging/other", &[])])), []);
    }

    #[test]
    fn a_window_library_deep_below_the_engine_is_found() {
        let bad = graph(&[("temper-store", "engine/store", &["x"]), ("x", "", &["winit"]), ("winit", "", &[])]);
        let found = no_window_in_engine(&bad);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("temper-store -> x"), "{found:?}");
        let app = graph(&[("temper", "app", &["winit"]), ("winit", "", &[])]);
        assert_eq!(no_window_in_engine(&app), []);
    }

    #[test]
    fn tensors_are_found_by_whole_names() {
        assert_eq!(tensors_in("temper v0.1.0 (x)\ncandle-core-like v1\nserde v1").len(), 0);
        assert_eq!(tensors_in("temper v0.1.0 (x)\ncandle-core v0.11.1").len(), 1);
    }
}
