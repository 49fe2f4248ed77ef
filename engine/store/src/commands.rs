//! Commands that reach an engine through the database.
//!
//! Place in the data flow: a window that was opened while an engine was already at work has no pipe to
//! it. It leaves its commands here; the engine looks ten times a second.

use crate::database;
use crate::error::StoreError;
use crate::store::{immediate, now_millis};
use rusqlite::{Connection, params};
use std::path::Path;
use temper_protocol::Command;

/// Commands kept after they were taken, for whoever wonders what happened.
const TAKEN_KEPT: i64 = 1000;

/// Leaves a command for the engine that works on the project.
///
/// # Errors
/// [`StoreError::Missing`] when the project has no database, so no engine either; those of the disk.
pub fn push_command(project_dir: &Path, command: &Command) -> Result<(), StoreError> {
    let file = database::file_of(project_dir);
    if !file.is_file() {
        return Err(StoreError::Missing { file });
    }
    let json = serde_json::to_string(command)
        .map_err(|error| StoreError::Io { file: file.clone(), source: std::io::Error::other(error) })?;
    let writing = database::open_writing(&file)?;
    writing
        .connection
        .execute("INSERT INTO commands(at_millis, json) VALUES (?1, ?2)", params![now_millis(), json])
        .map(|_rows| ())
        .map_err(|error| StoreError::sql(&file, error))
}

/// Takes what waits. Looks before it writes, because this happens ten times a second.
pub(crate) fn take(connection: &mut Connection, file: &Path) -> Result<Vec<(i64, Command)>, StoreError> {
    let sql = |error| StoreError::sql(file, error);
    let waiting: Vec<(i64, String)> = connection
        .prepare_cached("SELECT id, json FROM commands WHERE taken = 0 ORDER BY id")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect)
        })
        .map_err(sql)?;
    let Some((last, _)) = waiting.last() else {
        return Ok(Vec::new());
    };
    let transaction = immediate(connection).map_err(sql)?;
    transaction.execute("UPDATE commands SET taken = 1 WHERE taken = 0 AND id <= ?1", [last]).map_err(sql)?;
    transaction
        .execute("DELETE FROM commands WHERE taken = 1 AND id <= ?1", [last - TAKEN_KEPT])
        .and_then(|_rows| transaction.commit())
        .map_err(sql)?;
    Ok(waiting
        .into_iter()
        .filter_map(|(id, json)| match serde_json::from_str(&json) {
            Ok(command) => Some((id, command)),
            Err(error) => {
                tracing::warn!(id, %error, "a command in the database cannot be read");
                None
            }
        })
        .collect())
}
