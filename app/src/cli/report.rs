//! `temper report`: a run as one HTML file, read from the run store directly.

use crate::cli::drive::{print_json, print_line};
use crate::cli::show;
use std::path::Path;
use temper_protocol::{Code, Event, Problem};

/// Writes the report of a run to `out`.
///
/// # Errors
/// A problem when there is no such run, or the file cannot be written.
pub(crate) fn report(json: bool, run: &str, project: Option<&Path>, out: &Path) -> Result<bool, Problem> {
    let out = std::path::absolute(out).map_err(|error| {
        Problem::new(Code::Usage, error.to_string(), out.display().to_string(), "give a path that can be written")
    })?;
    if out.is_dir() {
        let action = "give the name of a file, such as report.html";
        return Err(Problem::new(Code::Usage, "this is a folder", out.display().to_string(), action));
    }
    let (folder, row) = show::found(run, project)?;
    let bytes = temper::report::write(&folder, row.run, &out)?;
    if json {
        // The page says the same of equal runs; nothing relies on a hash of it.
        print_json(&Event::Written { format: "html".to_owned(), path: out, bytes, sha256: String::new() });
    } else {
        print_line(&format!("written: {} ({:.0} KiB)", out.display(), bytes as f64 / 1024.0));
    }
    Ok(true)
}
