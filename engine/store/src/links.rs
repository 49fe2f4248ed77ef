//! Links in the folder of a project that goes to another place: each leads to what it led to, or to what came along.
//!
//! Place in the data flow: [`crate::relocate()`] and [`crate::duplicate()`] ask here what a link is to say. What lies
//! outside is never copied, as with models and data that the project's file names: a relative link to it is written with
//! its whole path, a whole path stays. A link to something in the project leads to what came along of it.

use crate::error::StoreError;
use crate::relocate::flat;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Component, Path, PathBuf};

/// Names that are tried for a link before it is put in the place of another.
const NAMES: u32 = 1000;

/// What tells where the links of a project lead.
pub(crate) struct Links {
    /// The project, as it is named.
    named: PathBuf,
    /// The project, links above it followed: the system goes up from there.
    real: PathBuf,
}

/// A link that says something else once the project is at its new place.
#[derive(Debug, PartialEq)]
pub(crate) struct Moved {
    /// Where it is, from the project's folder.
    place: PathBuf,
    /// What it says.
    before: PathBuf,
    /// What it is to say.
    after: PathBuf,
}

impl Links {
    /// Of the project in `project`, which is there.
    pub(crate) fn of(project: &Path) -> Result<Self, StoreError> {
        let real = project.canonicalize().map_err(|error| StoreError::io(project, error))?;
        Ok(Self { named: project.to_path_buf(), real })
    }

    /// What the link at `place`, named from the project's folder, is to say elsewhere; nothing when what it says holds there.
    pub(crate) fn anew(&self, place: &Path, says: &Path) -> Option<PathBuf> {
        let above = place.parent().unwrap_or_else(|| Path::new(""));
        let inside = if says.is_absolute() {
            let meant = flat(says);
            let inside = meant.strip_prefix(&self.named).or_else(|_| meant.strip_prefix(&self.real));
            inside.ok()?.to_path_buf()
        } else if stays_inside(above, says) {
            return None;
        } else {
            let meant = flat(&self.real.join(above).join(says));
            match meant.strip_prefix(&self.real) {
                // It left the project and came back by the project's name, which is another one now.
                Ok(inside) => inside.to_path_buf(),
                Err(_) => return Some(meant),
            }
        };
        let mut to: PathBuf = above.components().map(|_folder| Component::ParentDir).collect();
        to.push(inside);
        Some(if to.as_os_str().is_empty() { PathBuf::from(".") } else { to })
    }

    /// All links of the project that are to say something else elsewhere.
    pub(crate) fn all(&self) -> Result<Vec<Moved>, StoreError> {
        let mut moved = Vec::new();
        // Elsewhere no link is ever made, so none is written anew.
        if cfg!(unix) {
            self.look_into(Path::new(""), &mut moved)?;
        }
        Ok(moved)
    }

    fn look_into(&self, within: &Path, moved: &mut Vec<Moved>) -> Result<(), StoreError> {
        let folder = self.named.join(within);
        for entry in fs::read_dir(&folder).map_err(|error| StoreError::io(&folder, error))? {
            let entry = entry.map_err(|error| StoreError::io(&folder, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| StoreError::io(&path, error))?;
            let place = within.join(entry.file_name());
            if kind.is_dir() {
                self.look_into(&place, moved)?;
            } else if kind.is_symlink() {
                let before = fs::read_link(&path).map_err(|error| StoreError::io(&path, error))?;
                moved.extend(self.anew(&place, &before).map(|after| Moved { place, before, after }));
            }
        }
        Ok(())
    }
}

/// Whether a relative path from `above`, a folder of the project, never leaves the project.
fn stays_inside(above: &Path, says: &Path) -> bool {
    let mut depth = above.components().count();
    for part in says.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Makes links in the project at `to` say what they are to say there.
pub(crate) fn write_anew(to: &Path, moved: &[Moved]) -> Result<(), StoreError> {
    for link in moved {
        let path = to.join(&link.place);
        replace(&path, &link.after).map_err(|error| StoreError::io(&path, error))?;
    }
    Ok(())
}

/// Undoes [`write_anew`], as far as it came.
pub(crate) fn write_back(to: &Path, moved: &[Moved]) {
    for link in moved {
        let path = to.join(&link.place);
        if fs::read_link(&path).is_ok_and(|says| says == link.after)
            && let Err(error) = replace(&path, &link.before)
        {
            tracing::error!(path = %path.display(), %error, "a link could not be put back");
        }
    }
}

/// Puts a new link in the place of one; the place is never without a link.
fn replace(link: &Path, says: &Path) -> Result<(), Error> {
    for number in 1..=NAMES {
        let other = link.with_file_name(format!(".temper-link-{number}"));
        match make(says, &other) {
            Ok(()) => {
                let put = fs::rename(&other, link);
                if put.is_err() {
                    // The first error is the one that matters.
                    let _gone = fs::remove_file(&other);
                }
                return put;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Makes a link at `link`.
#[cfg(unix)]
pub(crate) fn make(says: &Path, link: &Path) -> Result<(), Error> {
    std::os::unix::fs::symlink(says, link)
}

/// Links need rights of their own here, which most people do not have.
#[cfg(not(unix))]
pub(crate) fn make(_says: &Path, _link: &Path) -> Result<(), Error> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_it_led_or_to_what_came_along() {
        let links = Links { named: PathBuf::from("/people/p"), real: PathBuf::from("/disk/p") };
        for (place, says, anew) in [
            ("a", "rows.jsonl", None),
            ("deep/a", "../rows.jsonl", None),
            ("deep/a", "../deep/../rows.jsonl", None),
            ("a", "../rows.jsonl", Some("/disk/rows.jsonl")),
            ("deep/er/a", "../../../rows.jsonl", Some("/disk/rows.jsonl")),
            ("deep/a", "../../p/rows.jsonl", Some("../rows.jsonl")),
            ("a", "/models/m.gguf", None),
            ("a", "/people/p/own.gguf", Some("own.gguf")),
            ("deep/a", "/disk/p/own.gguf", Some("../own.gguf")),
            ("deep/a", "/people/p", Some("..")),
            ("a", "/disk/p", Some(".")),
            ("a", "/disk/press/rows.jsonl", None),
        ] {
            let found = links.anew(Path::new(place), Path::new(says));
            assert_eq!(found.as_deref(), anew.map(Path::new), "{place} -> {says}");
        }
    }

    #[test]
    fn links_are_written_anew_and_back() {
        let root = tempfile::tempdir().expect("folder");
        let project = root.path().join("tone");
        fs::create_dir_all(project.join("notes")).expect("folders");
        let (out, own) = (project.join("notes/out"), project.join("notes/own"));
        make(Path::new("../../rows.jsonl"), &out).expect("a link");
        make(Path::new("a.txt"), &own).expect("a link");
        // A name that somebody else has is not taken.
        fs::write(project.join("notes/.temper-link-1"), "mine").expect("a file");
        let moved = Links::of(&project).expect("is there").all().expect("reads");
        assert_eq!(moved.len(), 1, "{moved:?}");
        write_anew(&project, &moved).expect("writes");
        let real = root.path().canonicalize().expect("is there");
        assert_eq!(fs::read_link(&out).expect("a link"), real.join("rows.jsonl"));
        assert_eq!(fs::read_link(&own).expect("a link"), Path::new("a.txt"));
        write_back(&project, &moved);
        assert_eq!(fs::read_link(&out).expect("a link"), Path::new("../../rows.jsonl"));
        assert_eq!(fs::read_to_string(project.join("notes/.temper-link-1")).expect("stays"), "mine");
        assert_eq!(fs::read_dir(project.join("notes")).expect("lists").count(), 3);
    }
}
