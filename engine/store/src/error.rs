//! What can go wrong with the store, and how a person reads it.

use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem};

/// A failure of the run store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The project has no database yet: it has no runs.
    #[error("the project has no runs yet")]
    Missing {
        /// Where the database would be.
        file: PathBuf,
    },
    /// The database is not one, or parts of it cannot be read.
    #[error("the run database is damaged: {what}")]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// A later version of the program wrote the database.
    #[error("the run database has schema {found}, this program knows up to {known}")]
    Newer {
        /// The database.
        file: PathBuf,
        /// Schema found.
        found: u32,
        /// Newest schema known.
        known: u32,
    },
    /// An older version of the program wrote the database and it cannot be brought up to date here.
    #[error("the run database has the old schema {found} and the folder cannot be written")]
    Older {
        /// The database.
        file: PathBuf,
        /// Schema found.
        found: u32,
    },
    /// Another engine works on the project.
    #[error("another engine (process {pid}) works on this project")]
    Busy {
        /// Process number of the other engine; 0 when it could not be read.
        pid: u32,
        /// The project.
        project: PathBuf,
    },
    /// An engine works on the run.
    #[error("run {run} goes on")]
    GoesOn {
        /// The run.
        run: u64,
    },
    /// A run's row names a folder that is none of a run.
    #[error("the folder that run {run} names is none that a run was trained in")]
    NotItsOwn {
        /// The run.
        run: u64,
        /// The folder.
        folder: PathBuf,
    },
    /// The database is locked for longer than is reasonable.
    #[error("the run database stayed locked by another program")]
    Locked {
        /// The database.
        file: PathBuf,
    },
    /// Something is there already.
    #[error("there is something at this place already")]
    Exists {
        /// The place.
        folder: PathBuf,
    },
    /// A project is to lie within itself.
    #[error("a project cannot lie within itself")]
    Within {
        /// The place.
        folder: PathBuf,
    },
    /// The disk has no room for a project that was to go there.
    #[error("the disk has no room for the project")]
    NoRoom {
        /// Where it was to go.
        folder: PathBuf,
        /// Bytes of the project.
        bytes: u64,
    },
    /// The disk takes no file as large as one of the project.
    #[error("the disk takes no file of this size")]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A link to a folder, where the disk takes no links.
    #[error("the disk takes no links, and this one leads to a folder")]
    LinkToFolder {
        /// The link.
        link: PathBuf,
    },
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull {
        /// The file that was being written.
        file: PathBuf,
    },
    /// The system gives no memory for reading or writing the database.
    #[error("there is not enough memory to read or write the run database")]
    OutOfMemory {
        /// The database.
        file: PathBuf,
    },
    /// The folder or file cannot be written.
    #[error("the project folder cannot be written")]
    ReadOnly {
        /// The file concerned.
        file: PathBuf,
    },
    /// There is no such run or series.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Reading or writing a file failed.
    #[error("reading or writing failed: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// SQLite reported something else.
    #[error("the run database reported: {source}")]
    Sql {
        /// The database.
        file: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Turns SQLite's verdict on `file` into one of ours.
    pub(crate) fn sql(file: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let file = file.to_path_buf();
        if matches!(
            source,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        ) {
            return Self::Damaged { file, what: source.to_string() };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { file, what: source.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { file },
            Some(ErrorCode::DiskFull) => Self::DiskFull { file },
            Some(ErrorCode::OutOfMemory) => Self::OutOfMemory { file },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { file },
            _ => Self::Sql { file, source },
        }
    }

    /// Turns a failed file operation into one of ours.
    pub(crate) fn io(file: &Path, source: std::io::Error) -> Self {
        let path = file.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull { file: path },
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { file: path }
            }
            _ => Self::Io { file: path, source },
        }
    }
}

/// A size as a person reads it, never less than it is.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// What to do about a damaged or lost database.
fn repair(file: &Path) -> String {
    let project = file.parent().unwrap_or(file).display();
    format!(
        "repair it with: temper runs \"{project}\" --repair. The damaged file is kept beside the new one, and the runs' \
         folders hold everything a resume needs"
    )
}

/// Whether runs are there that the database could know.
fn has_run_folders(file: &Path) -> bool {
    file.with_file_name("runs").read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        let at = |file: &Path| file.display().to_string();
        match &error {
            StoreError::Missing { file } if has_run_folders(file) => Self::new(
                Code::NotFound,
                "the run database is missing, but there are folders of runs",
                at(file),
                format!("list them again with: temper runs \"{}\" --repair", at(file.parent().unwrap_or(file))),
            ),
            StoreError::Missing { file } => {
                Self::new(Code::NotFound, what, at(file), "train the project once, then look again")
            }
            StoreError::Damaged { file, .. } => Self::new(Code::Io, what, at(file), repair(file)),
            StoreError::Newer { file, .. } => Self::new(Code::Io, what, at(file), "open it with a newer Temper"),
            StoreError::Older { file, .. } => Self::new(
                Code::Io,
                what,
                at(file),
                "copy the project to a folder that can be written and open it there once",
            ),
            StoreError::Busy { project, .. } => Self::new(
                Code::Busy,
                what,
                at(project),
                "wait until it is done, or steer its run from the runs room; only one engine writes a project at a time",
            ),
            StoreError::GoesOn { run } => {
                Self::new(Code::Busy, what, format!("run {run}"), "wait for its end, or stop it first")
            }
            StoreError::NotItsOwn { folder, .. } => Self::new(
                Code::Refused,
                what,
                at(folder),
                "nothing was moved; if it belongs to the run, move or delete it in the file manager",
            ),
            StoreError::Locked { file } => {
                Self::new(Code::Busy, what, at(file), "close the program that holds it open and try again")
            }
            StoreError::Exists { folder } => {
                Self::new(Code::Refused, what, at(folder), "choose a place where nothing is yet")
            }
            StoreError::Within { folder } => {
                Self::new(Code::Refused, what, at(folder), "choose a place outside the project's folder")
            }
            StoreError::NoRoom { folder, bytes } => Self::new(
                Code::Io,
                what,
                at(folder),
                format!(
                    "it takes {}; make room there or choose another disk. The project is where it was",
                    mib(*bytes)
                ),
            ),
            StoreError::TooLarge { file, bytes } => Self::new(
                Code::Io,
                what,
                at(file),
                format!("it has {}; choose another disk, or take the file out of the project first", mib(*bytes)),
            ),
            StoreError::LinkToFolder { link } => Self::new(
                Code::Refused,
                what,
                at(link),
                "choose another disk, or put the folder itself in the place of the link",
            ),
            StoreError::OutOfMemory { file } => {
                Self::new(Code::OutOfMemory, what, at(file), "close other programs and try again")
            }
            StoreError::DiskFull { file } => Self::new(
                Code::Io,
                what,
                at(file),
                "make room and try again; what was measured so far is kept in memory until it can be written",
            ),
            StoreError::ReadOnly { file } => Self::new(
                Code::Io,
                what,
                at(file),
                "give yourself the right to write there, or copy the project to another folder",
            ),
            StoreError::NotFound { what: missing } => {
                Self::new(Code::NotFound, what, missing.clone(), "list what there is with: temper runs")
            }
            StoreError::Io { file, .. } => {
                Self::new(Code::Io, what, at(file), "check that the path exists and can be read and written")
            }
            StoreError::Sql { file, .. } => {
                Self::new(Code::Io, what, at(file), format!("check the disk; if it goes on, {}", repair(file)))
            }
        }
    }
}
