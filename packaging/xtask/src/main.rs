//! `cargo xtask`: the house rules as a program.
//!
//! - `cargo xtask tidy` checks the rules that no compiler knows: who may depend on whom, one version of each crate,
//!   sizes and headers of files, where colours may stand, that every clippy ban names something that exists.
//! - `cargo xtask fmt` runs rustfmt over every tracked file (`cargo fmt` misses modules that a macro declares).
//! - `cargo xtask screens --out DIR [WORD]...` draws every state of the window, or those whose names contain a word.
//!
//! Place in the data flow: none; it reads the source tree, `cargo metadata` and `git ls-files`, and prints findings.

mod fmt;
mod repo;
mod rules;
mod screens;

use std::io::Write as _;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy | fmt [--fix] | screens --out DIR [WORD]...";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = repo::find_root()?;
    let findings = match words.as_slice() {
        ["tidy"] => rules::all(&repo::Repo::read(&root)?)?,
        ["fmt"] => fmt::run(&root, false)?,
        ["fmt", "--fix"] => fmt::run(&root, true)?,
        ["screens", "--out", out, wanted @ ..] => {
            let status = screens::run(&root, std::path::Path::new(out), wanted)?;
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        _ => {
            writeln!(std::io::stderr(), "{USAGE}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    match findings.len() {
        0 => {
            writeln!(out, "{}: nothing found", words.join(" "))?;
            Ok(ExitCode::SUCCESS)
        }
        count => {
            writeln!(out, "{}: {count} found", words.join(" "))?;
            Ok(ExitCode::FAILURE)
        }
    }
}
