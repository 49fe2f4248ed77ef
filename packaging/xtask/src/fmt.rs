//! rustfmt over every file, named one by one: `cargo fmt` does not follow modules that a macro declares.

use crate::repo;
use crate::rules::Finding;
use std::path::Path;
use std::process::Command;

/// Checks every file, or rewrites it with `fix`.
///
/// # Errors
/// When git or rustfmt cannot be started.
pub(crate) fn run(root: &Path, fix: bool) -> anyhow::Result<Vec<Finding>> {
    let files: Vec<String> = repo::tracked(root)?.into_iter().filter(|path| path.ends_with(".rs")).collect();
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024"]).current_dir(root);
    if !fix {
        command.args(["--check", "--files-with-diff"]);
    }
    let output = command.args(&files).output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut places: Vec<&str> = stdout.lines().filter(|line| !line.trim().is_empty()).collect();
    places.sort_unstable();
    places.dedup();
    let mut findings: Vec<Finding> =
        places.iter().map(|place| Finding::new("format", *place, "not formatted: run cargo xtask fmt --fix")).collect();
    if findings.is_empty() && !output.status.success() {
        findings.push(Finding::new("format", "rustfmt", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(findings)
}
