//! The lock that keeps two engines off one project.
//!
//! Place in the data flow: the host takes it before the first run of a project and keeps it until the
//! last one has ended. The operating system lets go of it when the process ends, however it ends.

use crate::error::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// Name of the lock file in a project folder.
pub const LOCK_NAME: &str = ".temper.lock";

/// Where the process number of the holder stands. Windows lets nobody else read a locked file.
pub(crate) const PID_NAME: &str = if cfg!(windows) { ".temper.pid" } else { LOCK_NAME };

/// [`ProjectLock::holder`] of another program holds the lock for an instant; taking it is tried again.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The right to write runs into a project. Given back when dropped.
#[derive(Debug)]
pub struct ProjectLock {
    file: File,
}

impl ProjectLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the holder's process number; [`StoreError::ReadOnly`] when the lock file
    /// cannot be written.
    pub fn acquire(project_dir: &Path) -> Result<Self, StoreError> {
        let path = project_dir.join(LOCK_NAME);
        let io = |error| StoreError::io(&path, error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let mut tries = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => {
                    let pid = read_pid(project_dir).unwrap_or(0);
                    return Err(StoreError::Busy { pid, project: project_dir.to_path_buf() });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            tries += 1;
        }
        let pid = std::process::id().to_string();
        if PID_NAME == LOCK_NAME {
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes())).map_err(io)?;
        } else {
            std::fs::write(project_dir.join(PID_NAME), pid).map_err(io)?;
        }
        Ok(Self { file })
    }

    /// Process number of the engine that holds the lock (0 when it could not be read); `None` when
    /// nobody does.
    #[must_use]
    pub fn holder(project_dir: &Path) -> Option<u32> {
        let file = File::open(project_dir.join(LOCK_NAME)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_pid(project_dir).unwrap_or(0)),
            // Dropping the file gives the shared lock back.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

impl Drop for ProjectLock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the project lock could not be given back; closing the file does it");
        }
    }
}

/// The number in the file, if it can be read.
fn read_pid(project_dir: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(project_dir.join(PID_NAME)).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_engine_hears_who_holds_the_project() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(ProjectLock::holder(folder.path()), None);
        let lock = ProjectLock::acquire(folder.path()).expect("first");
        assert_eq!(ProjectLock::holder(folder.path()), Some(std::process::id()));
        match ProjectLock::acquire(folder.path()) {
            Err(StoreError::Busy { pid, .. }) => assert_eq!(pid, std::process::id()),
            other => panic!("the second engine got {other:?}"),
        }
        drop(lock);
        assert_eq!(ProjectLock::holder(folder.path()), None);
        ProjectLock::acquire(folder.path()).expect("free again");
    }
}
