//! What the window keeps beside a project file: how the project was looked at, and what the room Compare remembers; and
//! its own settings.
//!
//! Place in the data flow: called on the files thread for [`super::Job`]s. The files may come from another machine or a
//! later version, so none is trusted: a layout that cannot be used is passed over; an unreadable `compare.json`, which
//! holds votes, and unreadable settings, which hold presets, are set aside.

use super::{Done, io_problem};
use crate::state::layout::{self, Layout};
use crate::state::remembered::{self, Remembered};
use crate::state::settings::{self, Settings};
use std::path::{Path, PathBuf};
use temper_protocol::whole_file::first_free;
use temper_protocol::{Code, Problem};

/// What a small file was found to be.
enum Small<T> {
    Missing,
    /// No file, larger than this program writes it, damaged, or of another version.
    Unusable,
    Read(T),
}

/// Reads a file of at most `most_bytes` bytes by what understands its text.
fn read<T>(path: &Path, most_bytes: u64, understand: impl Fn(&str) -> Option<T>) -> Small<T> {
    let Ok(meta) = std::fs::metadata(path) else { return Small::Missing };
    let is_small = meta.is_file() && meta.len() <= most_bytes;
    let text = if is_small { std::fs::read_to_string(path).ok() } else { None };
    text.as_deref().and_then(understand).map_or(Small::Unusable, Small::Read)
}

/// How a project was looked at. A file that cannot be used is passed over; it is written anew with the next change.
pub(super) fn load_layout(folder: PathBuf) -> Done {
    let (layout, unreadable) = match read(&folder.join(layout::FILE_NAME), layout::MOST_BYTES, Layout::read) {
        Small::Missing => (None, false),
        Small::Unusable => (None, true),
        Small::Read(layout) => (Some(Box::new(layout)), false),
    };
    Done::Layout { folder, layout, unreadable }
}

/// What the room Compare remembers; nothing when there is no file. One that cannot be read is set aside.
pub(super) fn load_compare(folder: PathBuf) -> Option<Done> {
    let path = folder.join(remembered::FILE_NAME);
    match read(&path, remembered::MOST_BYTES, Remembered::read) {
        Small::Missing => return None,
        Small::Read(remembered) => return Some(Done::Compare { folder, remembered: Box::new(remembered) }),
        Small::Unusable => {}
    }
    Some(Done::Failed(set_aside(&path, t!("problem-compare"), t!("problem-compare-aside"))))
}

/// What the window remembers; the usual settings when there is no file. One that cannot be read is set aside: it would be
/// written over.
pub(super) fn load_settings(path: &Path) -> Done {
    match read(path, settings::MOST_BYTES, Settings::understand) {
        Small::Missing => Done::Settings(Box::default(), None),
        Small::Read(settings) => Done::Settings(Box::new(settings), None),
        Small::Unusable => {
            let problem = set_aside(path, t!("problem-settings-unread"), t!("problem-settings-aside"));
            Done::Settings(Box::default(), Some(problem))
        }
    }
}

/// Gives a file another name, beside those that were set aside before; what is told of it.
fn set_aside(path: &Path, what: &str, action: &str) -> Problem {
    let name = |number: u32| match number {
        1 => path.with_extension("unreadable.json"),
        _ => path.with_extension(format!("unreadable-{number}.json")),
    };
    let aside = first_free(name, |aside| !aside.exists());
    match std::fs::rename(path, &aside) {
        Ok(()) => Problem::new(Code::DataInvalid, what, aside.display().to_string(), action),
        Err(error) => io_problem(what, path, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{one, places};
    use super::super::{Backstage as _, Inline, Job};
    use super::*;

    #[test]
    fn what_compare_remembers_is_read_back_and_an_unreadable_file_is_kept_aside() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let folder = root.path().to_path_buf();
        let mut remembered = Remembered { chosen: Some(vec![3, 1]), ..Remembered::default() };
        remembered.sampling.temperature = 0.5;
        let path = folder.join("compare.json");
        backstage.send(Job::LoadCompare(folder.clone()));
        backstage.send(Job::SaveCompare { path: path.clone(), text: remembered.text() });
        let mut done = Vec::new();
        backstage.drain(&mut done);
        assert!(done.is_empty(), "nothing to say about a file that is not there yet, nor about one written: {done:?}");
        let read = one(&mut backstage, Job::LoadCompare(folder.clone()));
        assert_eq!(read, Done::Compare { folder: folder.clone(), remembered: Box::new(remembered) });
        std::fs::write(&path, "half a fi").expect("file");
        assert!(matches!(one(&mut backstage, Job::LoadCompare(folder.clone())), Done::Failed(_)));
        assert!(folder.join("compare.unreadable.json").is_file() && !path.exists());
    }

    #[test]
    fn a_compare_file_of_another_version_a_huge_one_and_a_folder_are_set_aside_each_by_its_own_name() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let folder = root.path().to_path_buf();
        let path = folder.join("compare.json");
        let mut refused = |aside: &str| {
            match one(&mut backstage, Job::LoadCompare(folder.clone())) {
                Done::Failed(problem) => assert!(problem.r#where.ends_with(aside), "{problem}"),
                other => panic!("expected a problem, got {other:?}"),
            }
            assert!(folder.join(aside).exists() && !path.exists(), "{aside}");
        };
        std::fs::write(&path, "{\"schema\": 2}").expect("file");
        refused("compare.unreadable.json");
        // Holes take no disk.
        let huge = std::fs::File::create(&path).expect("file");
        huge.set_len(remembered::MOST_BYTES + 1).expect("as long as that");
        drop(huge);
        refused("compare.unreadable-2.json");
        std::fs::create_dir(&path).expect("folder");
        refused("compare.unreadable-3.json");
        std::fs::write(&path, [0xff, 0xfe, 0x00]).expect("file");
        refused("compare.unreadable-4.json");
    }

    #[test]
    fn settings_that_cannot_be_read_are_set_aside_and_told() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let path = root.path().join("config").join("window.json");
        let usual = || Box::<Settings>::default();
        assert_eq!(one(&mut backstage, Job::LoadSettings), Done::Settings(usual(), None), "the first start");
        let zoomed = Box::new(Settings { zoom: 1.5, ..Settings::default() });
        backstage.send(Job::SaveSettings(zoomed.clone()));
        assert_eq!(one(&mut backstage, Job::LoadSettings), Done::Settings(zoomed, None));
        for aside in ["window.unreadable.json", "window.unreadable-2.json"] {
            std::fs::write(&path, "half a fi").expect("file");
            match one(&mut backstage, Job::LoadSettings) {
                Done::Settings(settings, Some(problem)) => {
                    assert_eq!(settings, usual());
                    assert!(problem.r#where.ends_with(aside), "{problem}");
                }
                other => panic!("expected a problem, got {other:?}"),
            }
            assert!(path.with_file_name(aside).is_file() && !path.exists());
        }
    }

    #[test]
    fn a_layout_is_read_back_and_one_that_cannot_be_is_said_to_be_unreadable() {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut backstage = Inline::new(places(root.path()));
        let folder = root.path().to_path_buf();
        let path = folder.join("layout.json");
        let read = |backstage: &mut Inline| match one(backstage, Job::LoadLayout(folder.clone())) {
            Done::Layout { layout, unreadable, .. } => (layout.is_some(), unreadable),
            other => panic!("expected a layout, got {other:?}"),
        };
        assert_eq!(read(&mut backstage), (false, false), "no file is no fault");
        backstage.send(Job::SaveLayout { path: path.clone(), text: "{\"schema\": 1}".to_owned() });
        assert_eq!(read(&mut backstage), (true, false));
        for bytes in ["half a fi".as_bytes(), &[0xff, 0xfe, 0x00], "[".repeat(200_000).as_bytes()] {
            std::fs::write(&path, bytes).expect("file");
            assert_eq!(read(&mut backstage), (false, true));
        }
        // Holes take no disk.
        let huge = std::fs::File::create(&path).expect("file");
        huge.set_len(layout::MOST_BYTES + 1).expect("as long as that");
        drop(huge);
        assert_eq!(read(&mut backstage), (false, true));
        std::fs::remove_file(&path).expect("file");
        std::fs::create_dir(&path).expect("folder");
        assert_eq!(read(&mut backstage), (false, true));
    }
}
