//! What the program carries inside itself: the starter model, its data, the probe sets and the example
//! project. They are written to a folder of the user's cache on first use, because models are mapped from
//! files.

use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};

/// Prefix of bundled names.
pub const PREFIX: &str = "builtin:";

struct Asset {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(Asset { name: $name, bytes: include_bytes!(concat!("../../../", $folder, "/", $name)) }),*]
    };
}

const STARTER: &[Asset] = assets!("assets/starter":
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json");
const STARTER_DATA: &[Asset] = assets!("assets/starter": "data.jsonl");
const PROBES: &[Asset] = assets!("assets/probes": "prose.txt", "instructions.jsonl", "code.txt", "arithmetic.txt");
const QUICKSTART: &[Asset] = assets!("projects/quickstart": "project.toml", "README.md");

/// Names of the bundled probe sets.
pub const PROBE_NAMES: [&str; 4] = ["prose", "instructions", "code", "arithmetic"];

/// Path of a bundled thing, given without the prefix; written on first use.
///
/// # Errors
/// A problem when there is no such thing, or the cache folder cannot be written.
pub fn resolve(name: &str) -> Result<PathBuf, Problem> {
    match name {
        "starter" => materialise("starter", STARTER),
        "starter-data" => Ok(materialise("starter-data", STARTER_DATA)?.join("data.jsonl")),
        _ => {
            let asset = PROBES.iter().find(|asset| asset.name.split('.').next() == Some(name));
            let asset = asset.ok_or_else(|| {
                Problem::new(
                    Code::NotFound,
                    format!("there is nothing bundled called \"{name}\""),
                    format!("{PREFIX}{name}"),
                    format!("choose one of: starter, starter-data, {}", PROBE_NAMES.join(", ")),
                )
            })?;
            Ok(materialise("probes", PROBES)?.join(asset.name))
        }
    }
}

/// Writes the example project `name` to `dir`, which may exist but may not hold a project.
///
/// # Errors
/// A problem when there is no such example, the folder holds a project, or it cannot be written.
pub fn copy_example(name: &str, dir: &Path) -> Result<(), Problem> {
    if name != "quickstart" {
        return Err(Problem::new(
            Code::NotFound,
            format!("there is no example \"{name}\""),
            "examples",
            "the bundled example is quickstart",
        ));
    }
    if dir.join(temper_protocol::project_file::FILE_NAME).exists() {
        return Err(Problem::new(
            Code::Io,
            "this folder holds a project already",
            dir.display().to_string(),
            "open it, or choose another folder",
        ));
    }
    fs::create_dir_all(dir).map_err(|error| io(dir, &error))?;
    for asset in QUICKSTART {
        let path = dir.join(asset.name);
        fs::write(&path, asset.bytes).map_err(|error| io(&path, &error))?;
    }
    Ok(())
}

/// A folder in the user's cache that holds exactly `assets`, named by their hash.
fn materialise(name: &str, assets: &[Asset]) -> Result<PathBuf, Problem> {
    let mut hasher = Sha256::new();
    for asset in assets {
        hasher.update(asset.name.as_bytes());
        hasher.update([0]);
        hasher.update(asset.bytes);
    }
    let hash: String = hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let root = cache_folder()?.join("builtin");
    let folder = root.join(format!("{name}-{hash}"));
    if is_complete(&folder, assets) {
        return Ok(folder);
    }
    fs::create_dir_all(&root).map_err(|error| io(&root, &error))?;
    let staging = tempfile::Builder::new().prefix(name).tempdir_in(&root).map_err(|error| io(&root, &error))?;
    for asset in assets {
        let path = staging.path().join(asset.name);
        fs::write(&path, asset.bytes).map_err(|error| io(&path, &error))?;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| io(&folder, &error))?;
    }
    let staged = staging.keep();
    match fs::rename(&staged, &folder) {
        Ok(()) => Ok(folder),
        // Another process was faster with the same bytes.
        Err(_) if is_complete(&folder, assets) => {
            let _best_effort = fs::remove_dir_all(&staged);
            Ok(folder)
        }
        Err(error) => Err(io(&folder, &error)),
    }
}

/// The bytes are compared, so that a damaged cache mends itself.
fn is_complete(folder: &Path, assets: &[Asset]) -> bool {
    assets.iter().all(|asset| fs::read(folder.join(asset.name)).is_ok_and(|bytes| bytes == asset.bytes))
}

/// Temper's folder in the user's cache.
///
/// # Errors
/// A problem when the system names no home folder.
pub fn cache_folder() -> Result<PathBuf, Problem> {
    directories::ProjectDirs::from("", "", "temper").map(|dirs| dirs.cache_dir().to_path_buf()).ok_or_else(|| {
        Problem::new(Code::Io, "there is no home folder", "cache", "set HOME to a folder that can be written")
    })
}

fn io(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        Code::Io,
        format!("a bundled file cannot be written: {error}"),
        path.display().to_string(),
        "free some space or make the folder writable",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_things_are_written_once_and_mended() {
        let path = resolve("prose").unwrap();
        assert_eq!(fs::read(&path).unwrap(), PROBES[0].bytes);
        assert_eq!(resolve("prose").unwrap(), path);
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let problem = resolve("prosa").unwrap_err();
        assert_eq!(problem.code, Code::NotFound);
        assert!(problem.action.contains("prose"));
    }

    #[test]
    fn the_example_is_copied_and_never_over_a_project() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("mine");
        copy_example("quickstart", &target).unwrap();
        assert!(temper_protocol::project_file::load(&target).is_ok());
        assert_eq!(copy_example("quickstart", &target).unwrap_err().code, Code::Io);
    }
}
