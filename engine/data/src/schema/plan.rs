//! How the rows of one file are read: schema and columns, chosen by the project or recognised.

use super::detect::{Guess, detect};
use super::{Converted, Schema, convert};
use crate::DataError;
use crate::read::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Roles that name fields inside turns or values of them, not columns.
pub(super) const INNER: &[&str] =
    &["role", "content", "from", "value", "user", "assistant", "tool", "function", "system_role"];

/// How the rows of one file are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The schema.
    pub schema: Schema,
    /// Role to column (or to a field or speaker inside turns) where they differ.
    pub columns: BTreeMap<String, String>,
    /// How sure: 1 when the project says so, else the share of rows that agree, weighted by how telling
    /// the names are.
    pub confidence: f64,
}

impl Plan {
    /// Decides by the first rows of a file. `wanted` is `auto` or a schema name, `columns` maps roles to
    /// columns, `place` is for messages.
    ///
    /// # Errors
    /// [`DataError::Setting`] for an unknown schema, role or column; [`DataError::Data`] when nothing is
    /// recognised, with the columns found.
    pub fn decide(
        rows: &[Row],
        wanted: &str,
        columns: &BTreeMap<String, String>,
        place: &str,
    ) -> Result<Self, DataError> {
        let found = column_names(rows);
        let chosen = match wanted {
            "auto" if columns.is_empty() => None,
            "auto" => Some(by_roles(columns, rows)?),
            name => Some(Schema::from_name(name).ok_or_else(|| unknown_schema(name))?),
        };
        let Some(schema) = chosen else { return Self::recognise(rows, place) };
        for (role, column) in columns {
            if !schema.roles().contains(&role.as_str()) {
                return Err(DataError::Setting {
                    what: format!("the schema \"{}\" has no role \"{role}\"", schema.name()),
                    place: "[data.columns]".to_owned(),
                    action: format!("its roles are {}", schema.roles().join(", ")),
                });
            }
            if !INNER.contains(&role.as_str()) && !found.contains(column) {
                return Err(DataError::Setting {
                    what: format!("there is no column \"{column}\" in {place}"),
                    place: format!("[data.columns] {role}"),
                    action: format!("the columns are {}", found.join(", ")),
                });
            }
        }
        let mut columns = columns.clone();
        // A named schema still profits from recognised spellings of its columns.
        if columns.is_empty()
            && let Some(guess) = rows.iter().find_map(detect).filter(|guess| guess.schema == schema)
        {
            columns = guess.columns;
        }
        Ok(Self { schema, columns, confidence: 1.0 })
    }

    fn recognise(rows: &[Row], place: &str) -> Result<Self, DataError> {
        let mut votes: Vec<(Guess, usize)> = Vec::new();
        for guess in rows.iter().filter_map(detect) {
            match votes.iter_mut().find(|(known, _)| known.schema == guess.schema && known.columns == guess.columns) {
                Some((known, count)) => {
                    known.confidence = known.confidence.min(guess.confidence);
                    *count += 1;
                }
                None => votes.push((guess, 1)),
            }
        }
        let best = votes.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((guess, count)) = best else {
            return Err(DataError::data(
                format!("the meaning of the columns is not clear: {}", column_names(rows).join(", ")),
                place,
                "set data.schema and map the columns in [data.columns], such as prompt = \"...\" and completion = \"...\"",
            ));
        };
        let share = count as f64 / rows.len().max(1) as f64;
        Ok(Self { schema: guess.schema, columns: guess.columns, confidence: guess.confidence * share })
    }

    /// Those of `columns` that name something in `rows`; a description of a folder may name more.
    #[must_use]
    pub fn present(columns: &BTreeMap<String, String>, rows: &[Row]) -> BTreeMap<String, String> {
        let found = column_names(rows);
        let exists = |(role, column): &(&String, &String)| INNER.contains(&role.as_str()) || found.contains(column);
        columns.iter().filter(exists).map(|(role, column)| (role.clone(), column.clone())).collect()
    }

    /// Renames the columns of a row to its roles.
    pub(super) fn rename(&self, mut row: Row) -> Row {
        let moves = self.columns.iter().filter(|(role, column)| !INNER.contains(&role.as_str()) && role != column);
        let taken: Vec<_> = moves.filter_map(|(role, column)| Some((role.clone(), row.get(column)?.clone()))).collect();
        row.extend(taken);
        row
    }

    /// The name of an inner field or speaker.
    pub(super) fn inner<'a>(&'a self, role: &'a str) -> &'a str {
        self.columns.get(role).map_or(role, String::as_str)
    }

    /// Turns a row into a sample.
    ///
    /// # Errors
    /// The reason why the row cannot be used.
    pub fn convert(&self, row: Row) -> Result<Converted, String> {
        convert::convert(self.rename(row), self)
    }

    /// Role to column for people, with the columns that are called as their roles.
    #[must_use]
    pub fn mapping(&self, rows_columns: &[String]) -> BTreeMap<String, String> {
        let own = self.schema.roles().iter().filter(|role| rows_columns.iter().any(|column| column == *role));
        let mut mapping: BTreeMap<String, String> =
            own.filter(|role| !INNER.contains(*role)).map(|role| ((*role).to_owned(), (*role).to_owned())).collect();
        mapping.extend(self.columns.clone());
        mapping
    }
}

fn unknown_schema(name: &str) -> DataError {
    let known: Vec<&str> = Schema::ALL.iter().map(|schema| schema.name()).collect();
    DataError::Setting {
        what: format!("the schema \"{name}\" is unknown"),
        place: "data.schema".to_owned(),
        action: format!("set auto, or one of {}", known.join(", ")),
    }
}

/// The schema that a mapping without a name means: the first one that knows all its roles and whose
/// needed roles are mapped or present.
fn by_roles(columns: &BTreeMap<String, String>, rows: &[Row]) -> Result<Schema, DataError> {
    const ORDER: [Schema; 9] = [
        Schema::Table,
        Schema::Segments,
        Schema::Preference,
        Schema::Kto,
        Schema::Sharegpt,
        Schema::Messages,
        Schema::Alpaca,
        Schema::PromptCompletion,
        Schema::Text,
    ];
    let present = |role: &str| columns.contains_key(role) || rows.iter().any(|row| row.contains_key(role));
    let fits = |schema: &Schema| {
        columns.keys().all(|role| schema.roles().contains(&role.as_str()))
            && schema.needed().iter().all(|role| present(role))
            && schema.needed().iter().chain(["system", "tools"].iter()).any(|role| columns.contains_key(*role))
    };
    ORDER.into_iter().find(fits).ok_or_else(|| DataError::Setting {
        what: format!("no schema has the roles {}", columns.keys().cloned().collect::<Vec<_>>().join(", ")),
        place: "[data.columns]".to_owned(),
        action: "name the schema with data.schema; usual roles are prompt and completion, instruction and output, \
                 messages, or text"
            .to_owned(),
    })
}

/// All column names of the rows, in the order of first sight.
pub(crate) fn column_names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.clone());
        }
    }
    names
}
