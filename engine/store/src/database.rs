//! Opening the database: journal, time limits, schema version.
//!
//! Place in the data flow: [`crate::Store`] opens for writing, [`crate::Reader`] for reading,
//! [`crate::push_command`] for a single insertion; all three come through here.

use crate::error::StoreError;
use crate::migrate;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the database in a project folder.
pub const DB_NAME: &str = "temper.db";

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements kept prepared per connection.
const PREPARED_STATEMENTS: usize = 48;

/// A connection that may write.
pub(crate) struct Writing {
    /// The connection.
    pub(crate) connection: Connection,
    /// Why the write-ahead log could not be had.
    pub(crate) journal_note: Option<String>,
}

/// The database of a project.
pub(crate) fn file_of(project_dir: &Path) -> PathBuf {
    project_dir.join(DB_NAME)
}

/// Opens for writing, creates or migrates the schema.
pub(crate) fn open_writing(file: &Path) -> Result<Writing, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(|error| cannot_open(file, error))?;
    prepare_writing(connection, file)
}

/// Settings, journal and schema of a fresh connection.
pub(crate) fn prepare_writing(connection: Connection, file: &Path) -> Result<Writing, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    settings(&connection).map_err(sql)?;
    let journal_note = set_journal(&connection, file)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(sql)?;
    let mut writing = Writing { connection, journal_note };
    migrate::bring_up_to_date(&mut writing.connection, file)?;
    Ok(writing)
}

/// Settings every connection has.
fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)
}

/// Asks for the write-ahead log and falls back to a rollback journal; returns why.
///
/// A network folder may grant the mode and fail at its shared memory later, so the mode is tried out.
fn set_journal(connection: &Connection, file: &Path) -> Result<Option<String>, StoreError> {
    let granted: rusqlite::Result<String> =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
    let reason = match granted {
        Ok(mode) if mode.eq_ignore_ascii_case("wal") => {
            match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)) {
                Ok(_) => return Ok(None),
                Err(error) => error.to_string(),
            }
        }
        Ok(mode) => format!("the file system offers journal mode \"{mode}\" only"),
        Err(error) => match StoreError::sql(file, error) {
            StoreError::Sql { source, .. } => source.to_string(),
            other => return Err(other),
        },
    };
    connection
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))
        .map_err(|error| StoreError::sql(file, error))?;
    Ok(Some(format!(
        "the run database uses a rollback journal, because {reason}; the window may wait for the engine at times"
    )))
}

/// A connection that only reads, and what limits it.
pub(crate) struct Reading {
    /// The connection.
    pub(crate) connection: Connection,
    /// What a person should know, such as writes that cannot be seen.
    pub(crate) note: Option<String>,
}

/// Opens for reading. A folder that cannot be written is opened immutable: SQLite then needs neither
/// locks nor a shared-memory file.
pub(crate) fn open_reading(file: &Path) -> Result<Reading, StoreError> {
    if !file.is_file() {
        return Err(StoreError::Missing { file: file.to_path_buf() });
    }
    match open_reading_as(file, false) {
        Err(StoreError::ReadOnly { .. } | StoreError::Sql { .. }) => open_reading_as(file, true),
        Err(StoreError::Older { found, .. }) => {
            // The first writer migrates; after that the file reads like any other.
            drop(open_writing(file).map_err(|_error| StoreError::Older { file: file.to_path_buf(), found })?);
            open_reading_as(file, false)
        }
        other => other,
    }
}

/// Opens for reading in a given way and reads once, because SQLite opens lazily.
pub(crate) fn open_reading_as(file: &Path, immutable: bool) -> Result<Reading, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let uri = format!("file:{}?{}", percent_encoded(file)?, if immutable { "immutable=1" } else { "mode=ro" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).map_err(sql)?;
    settings(&connection).map_err(sql)?;
    migrate::check_version(&connection, file)?;
    let log = file.with_file_name(format!("{DB_NAME}-wal"));
    let unseen = immutable && std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0);
    let note = unseen.then(|| {
        format!(
            "the folder cannot be written, so the last entries in {} are not shown; copy the folder to see them",
            log.display()
        )
    });
    Ok(Reading { connection, note })
}

/// Opens a file that was set aside, whatever is in it: immutable, schema not looked at.
pub(crate) fn open_raw(file: &Path) -> Result<Connection, StoreError> {
    let uri = format!("file:{}?immutable=1", percent_encoded(file)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags).map_err(|error| StoreError::sql(file, error))
}

/// A path as SQLite's URI wants it: `?`, `#` and `%` would end or change it.
fn percent_encoded(file: &Path) -> Result<String, StoreError> {
    let text = file.to_str().ok_or_else(|| StoreError::Io {
        file: file.to_path_buf(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not valid Unicode"),
    })?;
    let mut uri = String::with_capacity(text.len() + 8);
    if cfg!(windows) {
        uri.push('/');
    }
    for character in text.chars() {
        match character {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            '\\' if cfg!(windows) => uri.push('/'),
            other => uri.push(other),
        }
    }
    Ok(uri)
}

/// Why a database could not be opened for writing: SQLite says only "cannot open".
fn cannot_open(file: &Path, error: rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::CannotOpen) {
        return StoreError::sql(file, error);
    }
    match std::fs::OpenOptions::new().append(true).create(true).open(file) {
        Err(cause) => StoreError::io(file, cause),
        Ok(_) => StoreError::sql(file, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_shared_memory_gets_a_rollback_journal_and_a_note() {
        let folder = tempfile::tempdir().expect("folder");
        let file = file_of(folder.path());
        // This VFS locks with dot-files, as network folders need, and has no shared memory.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let vfs = if cfg!(unix) { "unix-dotfile" } else { "win32-none" };
        let connection = Connection::open_with_flags_and_vfs(&file, flags, vfs).expect("opens");
        let writing = prepare_writing(connection, &file).expect("prepares");
        assert!(writing.journal_note.expect("a note").contains("rollback journal"));
        let mode: String = writing.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("mode");
        assert_eq!(mode, "delete");
    }

    #[test]
    fn paths_with_signs_of_a_uri_open() {
        let folder = tempfile::tempdir().expect("folder");
        let odd = folder.path().join("50% of #1");
        std::fs::create_dir(&odd).expect("folder");
        drop(open_writing(&file_of(&odd)).expect("writes"));
        open_reading_as(&file_of(&odd), false).expect("reads");
        open_reading_as(&file_of(&odd), true).expect("reads immutable");
    }

    #[test]
    fn an_immutable_reader_says_that_a_log_is_unread() {
        let folder = tempfile::tempdir().expect("folder");
        let file = file_of(folder.path());
        let writing = open_writing(&file).expect("writes");
        writing.connection.execute_batch("INSERT INTO commands(at_millis, json) VALUES (0, '{}')").expect("inserts");
        // Another file with an unread log beside it, as a copied running project has.
        let copy = folder.path().join("copy");
        std::fs::create_dir(&copy).expect("folder");
        drop(open_writing(&file_of(&copy)).expect("writes"));
        std::fs::write(copy.join("temper.db-wal"), b"pages").expect("log");
        let reading = open_reading_as(&file_of(&copy), true).expect("reads");
        assert!(reading.note.expect("a note").contains("not shown"));
    }
}
