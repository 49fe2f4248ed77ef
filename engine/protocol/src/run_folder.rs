//! Names in the folder of a run that the engine writes and others look for.
//!
//! ```text
//! <run>/checkpoints/step-00000120/             what a run goes on from
//! <run>/snapshots/step-00000120.snapshot       what was trained at a step, without moments
//! ```
//!
//! Place in the data flow: the trainer writes both; the window lists them, so that a person sees which steps can be asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// What a checkpoint's folder and a snapshot's file begin with; the step follows.
pub const STEP_PREFIX: &str = "step-";
/// Ending of a snapshot's file.
pub const SNAPSHOT_ENDING: &str = "snapshot";

/// Name of the folder of the checkpoint of `step`, also that of its snapshot's file without the ending.
#[must_use]
pub fn step_name(step: u64) -> String {
    format!("{STEP_PREFIX}{step:08}")
}

/// The step of a checkpoint's folder; nothing for other names.
#[must_use]
pub fn checkpoint_step(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(STEP_PREFIX)?.parse().ok()
}

/// The step of a snapshot's file; nothing for other names.
#[must_use]
pub fn snapshot_step(path: &Path) -> Option<u64> {
    let is_snapshot = path.extension().is_some_and(|ending| ending == SNAPSHOT_ENDING);
    is_snapshot.then(|| path.file_stem()?.to_str()?.strip_prefix(STEP_PREFIX)?.parse().ok())?
}

fn entries(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Steps of which a run kept a checkpoint or a snapshot, whole or not.
#[must_use]
pub fn kept_steps(run_dir: &Path) -> BTreeSet<u64> {
    let checkpoints = entries(run_dir.join(CHECKPOINTS)).filter_map(|path| checkpoint_step(&path));
    let snapshots = entries(run_dir.join(SNAPSHOTS)).filter_map(|path| snapshot_step(&path));
    checkpoints.chain(snapshots).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_names_and_nothing_else_is() {
        for (path, checkpoint, snapshot) in [
            ("a/step-00000120", Some(120), None),
            ("a/step-00000120.snapshot", None, Some(120)),
            ("a/step-123456789.snapshot", None, Some(123_456_789)),
            ("a/.unfinished-00000120", None, None),
            ("a/step-x.snapshot", None, None),
            ("a/step-00000120.tmp", None, None),
        ] {
            assert_eq!(checkpoint_step(Path::new(path)), checkpoint, "{path}");
            assert_eq!(snapshot_step(Path::new(path)), snapshot, "{path}");
        }
        assert_eq!(checkpoint_step(Path::new(&step_name(7))), Some(7));
        assert!(kept_steps(Path::new("no such folder")).is_empty());
    }
}
