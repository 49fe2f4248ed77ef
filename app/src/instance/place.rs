//! The folder where the window of a person and a desktop can be met, which only its owner may enter.

use crate::desktop::Desktop;
use crate::files::Places;
use std::io;
use std::path::{Path, PathBuf};

/// Where a window can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// The window of this person on this desktop: in the folder that the system gives them until they log out, or where it
    /// gives none among the data of the window.
    #[must_use]
    pub fn of_user(places: &Places) -> Self {
        let dirs = directories::ProjectDirs::from("", "", "Temper");
        let until_logout = dirs.as_ref().and_then(|dirs| dirs.runtime_dir()).filter(|folder| has_parent(folder));
        let folder = until_logout.map_or_else(|| places.data.join("window"), Path::to_path_buf);
        Self::new(folder, &Desktop::name_here())
    }

    /// The window `name` in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf, name: &str) -> Self {
        Self { folder, name: name.to_owned() }
    }

    /// The file whose lock the window holds.
    pub(super) fn lock(&self) -> PathBuf {
        self.folder.join(format!("{}.lock", self.name))
    }

    /// The socket that it listens on.
    #[cfg(unix)]
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join(format!("{}.socket", self.name))
    }

    /// The folder that messages are put into, where there are no sockets.
    #[cfg(any(not(unix), test))]
    pub(super) fn spool(&self) -> PathBuf {
        self.folder.join(format!("{}.messages", self.name))
    }

    /// Makes the folder, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made, is no folder, or belongs to somebody else.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if let Some(parent) = self.folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        create_private(&self.folder)
    }
}

fn has_parent(folder: &Path) -> bool {
    folder.parent().is_some_and(Path::is_dir)
}

#[cfg(unix)]
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    const OWNER_ONLY: u32 = 0o700;
    match std::fs::DirBuilder::new().mode(OWNER_ONLY).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if !std::fs::symlink_metadata(folder)?.is_dir() {
        let why = format!("{} is in the way: a folder is wanted there", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
    }
    // Refused by the system for a folder of somebody else, who could otherwise listen to what is handed over.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(OWNER_ONLY))
}

/// The data of a person are theirs alone on the other systems.
#[cfg(not(unix))]
fn create_private(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_folder_is_for_its_owner_alone_also_when_it_was_there_for_others() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = Place::new(root.path().join("deep/window"), "test");
        let mode = || std::fs::metadata(&place.folder).expect("the folder").permissions().mode() & 0o777;
        place.prepare().expect("a new folder");
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(&place.folder, std::fs::Permissions::from_mode(0o755)).expect("mode");
        place.prepare().expect("the same folder");
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_file_or_a_link_in_its_place_is_refused() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = Place::new(root.path().join("window"), "test");
        std::fs::write(&place.folder, "").expect("a file");
        assert!(place.prepare().is_err(), "a file");
        std::fs::remove_file(&place.folder).expect("gone");
        std::fs::create_dir(root.path().join("elsewhere")).expect("a folder");
        std::os::unix::fs::symlink(root.path().join("elsewhere"), &place.folder).expect("a link");
        assert!(place.prepare().is_err(), "a link to a folder");
    }
}
