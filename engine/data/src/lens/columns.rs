//! The columns of data, what their values look like, and which form its rows have or may be said to have.
//!
//! Place in the data flow: told before the first look, which fails when the columns are not understood; a person then
//! says what they are for, and what is said stands in `[data]` of the project.

use super::first_rows;
use crate::DataError;
use crate::dataset::plan_of;
use crate::read::{Container, Row, list, open};
use crate::schema::{Schema, column_names};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::data::{ColumnInfo, DataColumns, RoleInfo, RowForm};

/// Rows by whose values a column's kind is told.
const LOOKED_AT: usize = 256;
/// Letters of an example.
const MOST_LETTERS: usize = 80;

/// The columns of the first file of `path`. `schema` and `mapping` are what the project says: `auto` or a schema name, and
/// role to column. A mapping that does not fit the file is told as it is, with the schema that was asked for.
///
/// # Errors
/// [`DataError`] when the file cannot be read or has no rows.
pub fn columns(path: &Path, schema: &str, mapping: &BTreeMap<String, String>) -> Result<DataColumns, DataError> {
    let Some(file) = list(path)?.train.into_iter().next() else {
        return Err(DataError::data("the data has no files to train on", path.display(), "choose other data"));
    };
    let (container, source) = open(&file.path)?;
    let rows = first_rows(&file, container, source)?;
    let names = column_names(&rows);
    let (schema, mapping) = match plan_of(&file, container, (schema, mapping), &rows) {
        Ok(plan) => (plan.schema.name().to_owned(), plan.mapping(&names)),
        Err(_) if schema == "auto" => (String::new(), mapping.clone()),
        Err(_) => (schema.to_owned(), mapping.clone()),
    };
    let looked_at = rows.get(..LOOKED_AT.min(rows.len())).unwrap_or_default();
    let columns = names.into_iter().map(|name| info(name, looked_at)).collect();
    let forms = match container {
        Container::Text => vec![form(Schema::Text)],
        // Step-wise labels are refused, whatever their columns are called.
        _ => Schema::ALL.into_iter().filter(|schema| *schema != Schema::Stepwise).map(form).collect(),
    };
    Ok(DataColumns { path: file.path, columns, schema, mapping, forms })
}

fn form(schema: Schema) -> RowForm {
    let needed = schema.needed();
    let role = |role: &'static str| RoleInfo { role: role.to_owned(), needed: needed.contains(&role) };
    RowForm { schema: schema.name().to_owned(), roles: schema.column_roles().map(role).collect() }
}

fn info(name: String, rows: &[Row]) -> ColumnInfo {
    let mut kinds = rows.iter().filter_map(|row| kind_of(row.get(&name)?));
    let kind = match kinds.next() {
        None => "empty",
        Some(first) if kinds.all(|other| other == first) => first,
        Some(_) => "mixed",
    };
    let says = |value: &&Value| kind_of(value).is_some();
    let example = rows.iter().filter_map(|row| row.get(&name)).find(says).map(in_a_line).unwrap_or_default();
    ColumnInfo { name, kind: kind.to_owned(), example }
}

/// What a value is; nothing for one that says nothing.
fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(_) => Some("text"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("flag"),
        Value::Array(items) => {
            let turn = |item: &Value| item.get("role").is_some() || item.get("from").is_some();
            Some(if !items.is_empty() && items.iter().all(turn) { "turns" } else { "list" })
        }
        Value::Object(_) => Some("object"),
    }
}

/// A value in one line.
fn in_a_line(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        // Of turns, what is said tells more than their fields.
        Value::Array(items) => match items.first().and_then(said) {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
        other => other.to_string(),
    };
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MOST_LETTERS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn said(turn: &Value) -> Option<&str> {
    turn.get("content").or_else(|| turn.get("value"))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, text).expect("written");
        (dir, path)
    }

    const ROWS: &str = "{\"topic\":\"\",\"ask\":\"Where  is\\nit?\",\"reply\":\"Here.\",\"score\":3,\"ok\":true,\"log\":null}\n\
                        {\"topic\":\"post\",\"ask\":\"And now?\",\"reply\":7,\"score\":4.5,\"ok\":false,\"log\":null}\n";

    #[test]
    fn columns_have_kinds_and_examples_and_unclear_ones_have_no_schema() {
        let (_dir, path) = written(ROWS);
        let found = columns(&path, "auto", &BTreeMap::new()).expect("columns");
        let told: Vec<_> =
            found.columns.iter().map(|one| (one.name.as_str(), one.kind.as_str(), one.example.as_str())).collect();
        let wanted = [
            ("topic", "text", "post"),
            ("ask", "text", "Where is it?"),
            ("reply", "mixed", "Here."),
            ("score", "number", "3"),
            ("ok", "flag", "true"),
            ("log", "empty", ""),
        ];
        assert_eq!(told, wanted);
        assert_eq!(found.schema, "");
        let prompts = found.forms.iter().find(|form| form.schema == "prompt-completion").expect("the form");
        let needed: Vec<_> = prompts.roles.iter().filter(|role| role.needed).map(|role| role.role.as_str()).collect();
        assert_eq!(needed, ["prompt", "completion"]);
    }

    #[test]
    fn a_mapping_is_told_whether_it_fits_or_not() {
        let (_dir, path) = written(ROWS);
        let mapping = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let fits = mapping(&[("prompt", "ask"), ("completion", "reply")]);
        let found = columns(&path, "prompt-completion", &fits).expect("columns");
        assert_eq!((found.schema.as_str(), &found.mapping), ("prompt-completion", &fits));
        let wrong = mapping(&[("prompt", "asked")]);
        let found = columns(&path, "prompt-completion", &wrong).expect("columns");
        assert_eq!((found.schema.as_str(), &found.mapping), ("prompt-completion", &wrong));
    }

    #[test]
    fn chats_say_their_first_words_and_roles_inside_turns_are_no_columns() {
        let row = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello there\"},{\"role\":\"assistant\",\"content\":\"Hi\"}]}\n";
        let (_dir, path) = written(row);
        let found = columns(&path, "auto", &BTreeMap::new()).expect("columns");
        let wanted =
            ColumnInfo { name: "messages".to_owned(), kind: "turns".to_owned(), example: "Hello there".to_owned() };
        assert_eq!(found.columns, [wanted]);
        assert_eq!((found.schema.as_str(), found.mapping["messages"].as_str()), ("messages", "messages"));
        let inner = found.forms.iter().flat_map(|form| &form.roles).find(|role| role.role == "role");
        assert_eq!(inner, None);
        assert!(found.forms.iter().all(|form| form.roles.iter().any(|role| role.needed)));
    }

    #[test]
    fn long_values_are_shortened_between_letters() {
        let long = "ü".repeat(MOST_LETTERS + 5);
        let short = in_a_line(&Value::String(long));
        assert_eq!(short.chars().count(), MOST_LETTERS + 1);
        assert!(short.ends_with('…'));
    }
}
