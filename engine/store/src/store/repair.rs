//! A damaged database: set aside as it is, and replaced by one with everything that can still be read.
//!
//! Place in the data flow: the host calls [`Store::repair`] when a person asked for it, with the project locked.

use super::{Repair, Store};
use crate::error::StoreError;
use crate::reader::Reader;
use crate::{database, salvage};
use std::path::{Path, PathBuf};
use temper_protocol::whole_file::first_free;

/// The database and its companions.
const ENDINGS: [&str; 3] = ["-wal", "-shm", ""];

impl Store {
    /// Opens the database after checking every page of it. A damaged one is moved to `temper.db.damaged-N` and a new
    /// one takes its place, with what could be read of the old one; says so then. Nothing is ever removed.
    ///
    /// To be called only when a person asked for it, with the project locked.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`StoreError::Damaged`]; the damaged database is back in its place then.
    pub fn repair(project_dir: &Path) -> Result<(Self, Option<Repair>), StoreError> {
        let checked = Self::open(project_dir).and_then(|store| {
            store.check_pages()?;
            Ok(store)
        });
        match checked {
            Ok(store) => return Ok((store, None)),
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        let file = database::file_of(project_dir);
        let aside = set_aside(project_dir)?;
        tracing::info!(database = %file.display(), aside = %aside.display(), "damaged database set aside");
        match refill(project_dir, &aside) {
            Ok((store, repair)) => Ok((store, Some(repair))),
            Err(error) => {
                put_back(project_dir, &aside)?;
                Err(error)
            }
        }
    }

    /// Asks SQLite to look at every page.
    fn check_pages(&self) -> Result<(), StoreError> {
        let verdict: String = self
            .inner
            .lock()
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.sql(error))?;
        if verdict == "ok" {
            // SQLite takes any value in any column; the reader does not.
            return Reader::open(&self.project_dir)?.runs().map(|_rows| ());
        }
        Err(StoreError::Damaged { file: self.file.clone(), what: verdict })
    }
}

/// A companion of a database file, or itself.
fn companion(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Renames a database with its companions, or nothing: a database without its log would lack its newest rows.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for ending in ENDINGS {
        let (from, to) = (companion(from, ending), companion(to, ending));
        if !from.exists() {
            continue;
        }
        if let Err(error) = std::fs::rename(&from, &to) {
            for (from, to) in moved.into_iter().rev() {
                if let Err(error) = std::fs::rename(&to, &from) {
                    tracing::error!(%error, file = %to.display(), "cannot be put back");
                }
            }
            return Err(StoreError::io(&from, error));
        }
        moved.push((from, to));
    }
    Ok(())
}

/// Moves the database away and returns where it is now.
fn set_aside(project_dir: &Path) -> Result<PathBuf, StoreError> {
    let file = database::file_of(project_dir);
    let name = |number: u32| companion(&file, &format!(".damaged-{number}"));
    let free = |aside: &PathBuf| ENDINGS.iter().all(|ending| !companion(aside, ending).exists());
    let aside = first_free(name, free);
    rename(&file, &aside)?;
    Ok(aside)
}

/// A new database with what is readable in `aside`.
fn refill(project_dir: &Path, aside: &Path) -> Result<(Store, Repair), StoreError> {
    let store = Store::open(project_dir)?;
    let salvaged = salvage::copy(aside, &mut store.inner.lock().connection, &store.file)?;
    drop(store);
    // Opened again, so that it knows the runs.
    let store = Store::open(project_dir)?;
    let salvage::Salvaged { runs, events, points } = salvaged;
    Ok((store, Repair { aside: aside.to_path_buf(), runs, events, points }))
}

/// Undoes [`set_aside`]: the new database could not be filled.
fn put_back(project_dir: &Path, aside: &Path) -> Result<(), StoreError> {
    let file = database::file_of(project_dir);
    for ending in ENDINGS {
        let new = companion(&file, ending);
        if new.exists() {
            std::fs::remove_file(&new).map_err(|error| StoreError::io(&new, error))?;
        }
    }
    rename(aside, &file)
}
