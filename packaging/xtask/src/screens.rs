//! `cargo xtask screens --out DIR`: pictures of every state of the window, in every theme and at both sizes.
//!
//! Place in the data flow: it builds and runs the example `screens` of the window, which draws with the test harness on
//! the processor. The program itself has no such command: it would carry the harness with it.

use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Draws the states whose names contain one of `words`, or all, into `out`.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn run(root: &Path, out: &Path, words: &[&str]) -> Result<ExitStatus> {
    let out = std::path::absolute(out).with_context(|| format!("there is no folder {}", out.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "run",
        "--release",
        "--no-default-features",
        "-p",
        "temper",
        "--example",
        "screens",
    ]);
    command.arg("--").args(words).env("TEMPER_SCREENS", out);
    command.status().context("cargo cannot be started to build the example \"screens\"")
}
