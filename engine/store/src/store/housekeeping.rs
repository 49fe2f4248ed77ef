//! What a person says about runs, and the project's trash.
//!
//! Place in the data flow: the host's job and the command line call this for runs that are over. A run's folder moves
//! first, its row follows in one transaction: what a kill leaves between the two is found again by the next call.

use super::{Store, immediate, now_millis};
use crate::database::DB_NAME;
use crate::error::StoreError;
use crate::lock::ProjectLock;
use crate::rows::ACTIVE_STATUSES;
use crate::series::{signed, unsigned};
use crate::store::full_path;
use crate::store::runs::stored_path;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::{Component, Path, PathBuf};
use temper_protocol::housekeeping::{LabelChange, RunLabels};
use temper_protocol::whole_file::first_free;

/// Folder of runs that were put aside, and that of the others.
const TRASH: &str = "trash";
const RUNS: &str = "runs";
/// What a run started from, in its folder.
const RUN_FILE: &str = "run.json";

/// Where a run is and what became of it.
struct Whereabouts {
    folder: PathBuf,
    adapter: Option<PathBuf>,
    labels: RunLabels,
    origin: String,
}

impl Store {
    /// Changes what is said about a run; returns all that is said then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run; those of the disk.
    pub fn label(&self, run: u64, change: &LabelChange) -> Result<RunLabels, StoreError> {
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let Whereabouts { labels, origin, .. } = self.whereabouts(&transaction, run)?;
        let after = change.applied(&labels);
        self.write_labels(&transaction, run, &after, &origin)?;
        transaction.commit().map_err(|error| self.sql(error))?;
        Ok(after)
    }

    /// Moves a run to the trash of the project; it is in no list of runs then. Nothing is deleted.
    ///
    /// # Errors
    /// [`StoreError::GoesOn`] when an engine works on it, [`StoreError::NotFound`] when there is no such run,
    /// [`StoreError::NotItsOwn`] when its row names a folder that no run was trained in, [`StoreError::Io`] when the trash is
    /// a link to another place; those of the disk.
    pub fn trash(&self, run: u64) -> Result<(), StoreError> {
        let now = now_millis();
        self.move_run(run, |store, is| {
            if is.labels.trashed_millis > 0 {
                return Ok(None);
            }
            if !store.is_of_a_run(&is.folder) {
                return Err(StoreError::NotItsOwn { run, folder: is.folder.clone() });
            }
            let target = store.free_in_trash(run, &is.folder);
            if is.folder.exists() && !store.is_inside(&target) {
                let out = std::io::Error::new(std::io::ErrorKind::InvalidInput, "a link leads out of the project here");
                return Err(StoreError::io(&store.project_dir.join(TRASH), out));
            }
            let origin = stored_path(&store.project_dir, &is.folder);
            Ok(Some((target, RunLabels { trashed_millis: now, ..is.labels.clone() }, origin)))
        })
    }

    /// Moves a run out of the trash, to where it was when that is inside the project, else to the project's own place for it:
    /// a project may come from somebody else, with rows that name any folder.
    ///
    /// # Errors
    /// [`StoreError::Io`] when something else is at its place; as [`Self::trash`] otherwise.
    pub fn restore(&self, run: u64) -> Result<(), StoreError> {
        self.move_run(run, |store, is| {
            if is.labels.trashed_millis == 0 {
                return Ok(None);
            }
            // What does not lie in the trash is not moved; the run is only listed again.
            let target =
                if store.lies_in_trash(&is.folder) { store.place_of(run, &is.origin) } else { is.folder.clone() };
            if target != is.folder && is.folder.exists() && target.exists() {
                let taken = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else is there");
                return Err(StoreError::io(&target, taken));
            }
            Ok(Some((target, RunLabels { trashed_millis: 0, ..is.labels.clone() }, String::new())))
        })
    }

    /// Deletes for good every run in the trash; returns the numbers of those that were deleted here.
    ///
    /// # Errors
    /// Those of the disk; what was deleted before the error is gone.
    pub fn empty_trash(&self) -> Result<Vec<u64>, StoreError> {
        let trashed: Vec<u64> = {
            let inner = self.inner.lock();
            inner
                .connection
                .prepare("SELECT run FROM labels WHERE trashed_millis > 0 ORDER BY run")
                .and_then(|mut statement| {
                    statement.query_map([], |row| row.get(0).map(unsigned)).and_then(Iterator::collect)
                })
                .map_err(|error| self.sql(error))?
        };
        let mut gone = Vec::new();
        for run in trashed {
            if self.delete_trashed(run)? {
                gone.push(run);
            }
        }
        Ok(gone)
    }

    /// Deletes a run for good, if it is in the trash still: since the list was read, another window may have emptied the same
    /// trash, or brought the run back. Returns whether it was deleted here.
    fn delete_trashed(&self, run: u64) -> Result<bool, StoreError> {
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let is = match self.whereabouts(&transaction, run) {
            Err(StoreError::NotFound { .. }) => return Ok(false),
            found => found?,
        };
        if is.labels.trashed_millis == 0 {
            return Ok(false);
        }
        if self.lies_in_trash(&is.folder)
            && let Err(error) = std::fs::remove_dir_all(&is.folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(StoreError::io(&is.folder, error));
        }
        // Series, blocks, events, ranks and labels go with their run.
        transaction.execute("DELETE FROM runs WHERE run = ?1", [signed(run)]).map_err(|error| self.sql(error))?;
        transaction.commit().map_err(|error| self.sql(error))?;
        self.pending.lock().runs.remove(&run);
        Ok(true)
    }

    /// Whether a folder is one of the trash's own. Only such a one is deleted, whatever its row says: a project may come from
    /// somebody else, with `..` in its paths or a link in the trash's place.
    fn lies_in_trash(&self, folder: &Path) -> bool {
        let trash = self.project_dir.join(TRASH);
        folder.parent() == Some(trash.as_path()) && folder.file_name().is_some() && !trash.is_symlink()
    }

    /// Whether a folder may go to the trash, and be deleted from there: one of the project's folders for runs, or one that a
    /// run was trained in, which says so and belongs to no other project. A row of a foreign project may name any folder of
    /// this machine.
    fn is_of_a_run(&self, folder: &Path) -> bool {
        let parent = folder.parent().and_then(|parent| parent.canonicalize().ok());
        let own = self.project_dir.canonicalize().ok();
        let runs = own.as_ref().map(|project| project.join(RUNS));
        if !folder.exists() || (folder.file_name().is_some() && parent.is_some() && parent == runs) {
            return true;
        }
        // A folder that was trained in elsewhere (`--out`), unless it is a run of another project.
        let project = parent.as_deref().and_then(Path::parent).filter(|project| Some(*project) != own.as_deref());
        folder.join(RUN_FILE).is_file() && !project.is_some_and(|project| project.join(DB_NAME).exists())
    }

    /// Where a run from the trash goes: to `origin` or its usual place, if that is inside the project for real, links
    /// followed; else to a folder of its own at the top of the project.
    fn place_of(&self, run: u64, origin: &str) -> PathBuf {
        let usual = self.project_dir.join(RUNS).join(format!("{run:04}"));
        let wished = [full_path(&self.project_dir, origin), usual].into_iter().find(|place| self.is_inside(place));
        wished.unwrap_or_else(|| self.project_dir.join(format!("run-{run:04}")))
    }

    /// Whether a path that may not be there yet is below the project.
    fn is_inside(&self, path: &Path) -> bool {
        let named = path.strip_prefix(&self.project_dir).is_ok_and(|inside| {
            inside.components().next().is_some() && inside.components().all(|part| matches!(part, Component::Normal(_)))
        });
        let there = path.ancestors().skip(1).find(|ancestor| ancestor.exists());
        let real = there.and_then(|ancestor| ancestor.canonicalize().ok());
        let project = self.project_dir.canonicalize().ok();
        named && real.zip(project).is_some_and(|(real, project)| real.starts_with(project))
    }

    /// A place in the trash: where a kill left the folder, or one that is free.
    fn free_in_trash(&self, run: u64, folder: &Path) -> PathBuf {
        let trash = self.project_dir.join(TRASH);
        let name = |number| match number {
            1 => trash.join(format!("{run:04}")),
            _ => trash.join(format!("{run:04}-{number}")),
        };
        if folder.exists() { first_free(name, |path| !path.exists()) } else { name(1) }
    }

    /// Moves a run's folder to where `plan` says, and tells the database; nothing when it has no plan.
    fn move_run(
        &self,
        run: u64,
        plan: impl FnOnce(&Self, &Whereabouts) -> Result<Option<(PathBuf, RunLabels, String)>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let transaction = immediate(&mut inner.connection).map_err(|error| self.sql(error))?;
        let is = self.whereabouts(&transaction, run)?;
        let status: String = transaction
            .query_row("SELECT status FROM runs WHERE run = ?1", [signed(run)], |row| row.get(0))
            .map_err(|error| self.sql(error))?;
        if ACTIVE_STATUSES.contains(&status.as_str()) && ProjectLock::holder(&self.project_dir).is_some() {
            return Err(StoreError::GoesOn { run });
        }
        let Some((target, labels, origin)) = plan(self, &is)? else { return Ok(()) };
        let moves = is.folder.exists() && target != is.folder;
        if moves {
            let parent = target.parent().unwrap_or(&self.project_dir);
            std::fs::create_dir_all(parent).map_err(|error| StoreError::io(parent, error))?;
            std::fs::rename(&is.folder, &target).map_err(|error| StoreError::io(&is.folder, error))?;
        }
        let written = self
            .write_place(&transaction, run, &is, &target)
            .and_then(|()| self.write_labels(&transaction, run, &labels, &origin))
            .and_then(|()| transaction.commit().map_err(|error| self.sql(error)));
        if written.is_err() && moves && std::fs::rename(&target, &is.folder).is_err() {
            tracing::error!(run, folder = %target.display(), "the run's folder cannot be put back");
        }
        written
    }

    fn whereabouts(&self, connection: &Connection, run: u64) -> Result<Whereabouts, StoreError> {
        let found = connection
            .query_row(
                "SELECT folder, adapter, name, note, tags, starred, trashed_millis, origin
                 FROM runs LEFT JOIN labels ON labels.run = runs.run WHERE runs.run = ?1",
                [signed(run)],
                |row| {
                    let text = |index: usize| {
                        Ok::<String, rusqlite::Error>(row.get::<_, Option<String>>(index)?.unwrap_or_default())
                    };
                    let labels = RunLabels {
                        name: text(2)?,
                        note: text(3)?,
                        tags: serde_json::from_str(&text(4)?).unwrap_or_default(),
                        starred: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
                        trashed_millis: row.get::<_, Option<i64>>(6)?.unwrap_or(0),
                    };
                    let adapter: Option<String> = row.get(1)?;
                    Ok(Whereabouts {
                        folder: full_path(&self.project_dir, &text(0)?),
                        adapter: adapter.map(|stored| full_path(&self.project_dir, &stored)),
                        labels,
                        origin: text(7)?,
                    })
                },
            )
            .optional()
            .map_err(|error| self.sql(error))?;
        found.ok_or_else(|| StoreError::NotFound { what: format!("run {run}") })
    }

    fn write_labels(
        &self,
        connection: &Connection,
        run: u64,
        labels: &RunLabels,
        origin: &str,
    ) -> Result<(), StoreError> {
        let RunLabels { name, note, tags, starred, trashed_millis } = labels;
        let tags = serde_json::to_string(tags).unwrap_or_else(|_error| "[]".to_owned());
        connection
            .execute(
                "INSERT OR REPLACE INTO labels(run, name, note, tags, starred, trashed_millis, origin)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![signed(run), name, note, tags, starred, trashed_millis, origin],
            )
            .map(|_rows| ())
            .map_err(|error| self.sql(error))
    }

    /// The run's folder, its adapter and its files are below `target` from here on.
    fn write_place(
        &self,
        connection: &Connection,
        run: u64,
        is: &Whereabouts,
        target: &Path,
    ) -> Result<(), StoreError> {
        let moved = |path: &Path| match path.strip_prefix(&is.folder) {
            Ok(inside) => stored_path(&self.project_dir, &target.join(inside)),
            Err(_) => stored_path(&self.project_dir, path),
        };
        connection
            .execute(
                "UPDATE runs SET folder = ?2, adapter = ?3 WHERE run = ?1",
                params![signed(run), moved(&is.folder), is.adapter.as_deref().map(moved)],
            )
            .map_err(|error| self.sql(error))?;
        let files: Vec<String> = connection
            .prepare("SELECT path FROM files WHERE run = ?1")
            .and_then(|mut statement| statement.query_map([signed(run)], |row| row.get(0)).and_then(Iterator::collect))
            .map_err(|error| self.sql(error))?;
        for stored in files {
            let now = moved(&full_path(&self.project_dir, &stored));
            connection
                .execute("UPDATE files SET path = ?3 WHERE run = ?1 AND path = ?2", params![signed(run), stored, now])
                .map_err(|error| self.sql(error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::NewRun;

    #[test]
    fn a_run_that_was_brought_back_or_deleted_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("store");
        let run = store.create_run(&NewRun { method: "lora".to_owned(), ..NewRun::default() }).expect("run");
        let place = folder.path().join("runs").join("0001");
        std::fs::create_dir_all(&place).expect("folder");
        store.trash(run).expect("trashes");
        // Another window brings it back, and deletes it, after the list was read.
        Store::open(folder.path()).expect("another window").restore(run).expect("restores");
        assert!(!store.delete_trashed(run).expect("looks"));
        assert!(place.is_dir() && store.label(run, &LabelChange::default()).is_ok(), "folder and row are there");
        store.trash(run).expect("trashes");
        assert_eq!(Store::open(folder.path()).expect("another window").empty_trash().expect("empties"), [run]);
        assert!(!store.delete_trashed(run).expect("is gone already"));
        assert!(store.empty_trash().expect("nothing to do").is_empty());
    }
}
