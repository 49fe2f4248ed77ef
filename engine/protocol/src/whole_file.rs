//! A file that appears under its name only when it is complete.
//!
//! Place in the data flow: whoever writes a file beside those of a person (a report, a cleaned copy, the project's file)
//! begins it here under a name of its own, which nothing else has, and puts it in its place when it is whole. One that is
//! given up is removed.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

/// Letters of its future name that an unfinished file is called by: with number and ending it stays a name that every disk
/// takes.
const LETTERS: usize = 48;
/// Names that are tried: what a killed program left behind is not written over.
const NAMES: u32 = 10_000;

/// A file that is not complete: removed when this is dropped before it was put in its place.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    placed: bool,
}

impl Unfinished {
    /// Begins a file beside `target`, called after it, and gives it open for writing. Nothing that is there is touched.
    ///
    /// # Errors
    /// When `target` names no file, or none can be created beside it.
    pub fn beside(target: &Path) -> Result<(Self, File)> {
        let name = target.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
        let name: String = name.to_string_lossy().chars().take(LETTERS).collect();
        for number in 1..=NAMES {
            let path = target.with_file_name(format!("{name}.{number}.part"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path, placed: false }, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::AlreadyExists, "too many unfinished files of this name are left there"))
    }

    /// Where it is while it is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place, over a file that is there. What was written must have been flushed.
    ///
    /// # Errors
    /// When it cannot be renamed; it is removed then.
    pub fn put(mut self, target: &Path) -> Result<()> {
        std::fs::rename(&self.path, target)?;
        self.placed = true;
        Ok(())
    }

    /// Puts it in a place where nothing is.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when something is there, after which another place can be tried; others of the disk.
    pub fn put_new(&mut self, target: &Path) -> Result<()> {
        match std::fs::hard_link(&self.path, target) {
            // Its unfinished name goes when this is dropped.
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
            Err(_) if std::fs::symlink_metadata(target).is_ok() => Err(ErrorKind::AlreadyExists.into()),
            // Some disks know no second name of a file.
            Err(_) => {
                std::fs::rename(&self.path, target)?;
                self.placed = true;
                Ok(())
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.placed {
            // Gives the space back; whoever gives it up has a better error to tell.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a file by an unfinished name, so that a reader never sees half of it; over one that is there.
///
/// # Errors
/// When it cannot be written; what was there before is whole then.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let (unfinished, mut file) = Unfinished::beside(path)?;
    file.write_all(bytes.as_ref())?;
    drop(file);
    unfinished.put(path)
}

/// As [`write()`], and waits until it is on the disk: also a power cut leaves no half of it.
///
/// # Errors
/// As [`write()`].
pub fn write_synced(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let (unfinished, mut file) = Unfinished::beside(path)?;
    file.write_all(bytes.as_ref())?;
    file.sync_all()?;
    drop(file);
    unfinished.put(path)
}

/// The first of numbered names that is free, from number 1 on: a plain name where `name` makes one of that number.
pub fn first_free<T>(name: impl Fn(u32) -> T, is_free: impl Fn(&T) -> bool) -> T {
    (1..u32::MAX).map(&name).find(is_free).unwrap_or_else(|| name(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::first_free;

    #[test]
    fn the_first_free_name_is_the_plain_one_or_the_lowest_number() {
        let name = |number: u32| if number == 1 { "a".to_owned() } else { format!("a-{number}") };
        let free_of = |taken: &[&str]| first_free(name, |name| !taken.contains(&name.as_str()));
        assert_eq!(free_of(&[]), "a");
        assert_eq!(free_of(&["a-2"]), "a");
        assert_eq!(free_of(&["a", "a-2", "a-4"]), "a-3");
    }
}
