//! Columns of the data and their roles: what the engine found, and what a person says instead.
//!
//! Place in the data flow: the first look tells the columns; the card Data shows them and edits `data.schema` and
//! `data.columns` of the project through [`Columns::assigned`] and [`Columns::read_as`], which change nothing themselves.

use super::Draft;
use std::collections::BTreeMap;
use temper_protocol::data::{DataColumns, RowForm};
use temper_protocol::project::Data;

/// The columns of the data that is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// The files they belong to.
    of: String,
    /// What the engine found.
    pub found: DataColumns,
    /// What the project said when it was found.
    said: (String, BTreeMap<String, String>),
}

fn files(draft: &Draft) -> String {
    format!("{:?} {:?}", draft.project.data.train, draft.folder)
}

impl Columns {
    /// What was found of the data of `draft`.
    #[must_use]
    pub fn new(draft: &Draft, found: DataColumns) -> Self {
        let data = &draft.project.data;
        Self { of: files(draft), found, said: (data.schema.clone(), data.columns.clone()) }
    }

    /// Whether they are those of what is chosen now. Another mapping of the same files has the same columns.
    #[must_use]
    pub fn belong_to(&self, draft: &Draft) -> bool {
        self.of == files(draft)
    }

    /// The form the rows are read in; nothing while it is not known.
    #[must_use]
    pub fn form(&self, data: &Data) -> Option<&RowForm> {
        let schema = if data.schema == "auto" { &self.found.schema } else { &data.schema };
        self.found.forms.iter().find(|form| form.schema == *schema)
    }

    /// Role to column where somebody decided it: the project, or the engine for a project that leaves it open.
    fn mapping<'a>(&'a self, data: &'a Data) -> &'a BTreeMap<String, String> {
        // A guess is made of an empty mapping only, and holds for the form that it was made for.
        let guessed = data.columns.is_empty() && self.said.1.is_empty() && self.said.0 == data.schema;
        if guessed { &self.found.mapping } else { &data.columns }
    }

    fn has(&self, column: &str) -> bool {
        self.found.columns.iter().any(|known| known.name == column)
    }

    /// The column that has a role: the one that was given it, or the one that is called so.
    #[must_use]
    pub fn column_of<'a>(&'a self, data: &'a Data, role: &'a str) -> Option<&'a str> {
        let given = self.mapping(data).get(role).map(String::as_str);
        given.or_else(|| self.has(role).then_some(role))
    }

    /// The data with `column` in `role`; without one, the role falls back to the column that is called so. A column has
    /// one role: the one it had before goes to the column that is replaced, so that two that are the wrong way round are
    /// put right at once.
    #[must_use]
    pub fn assigned(&self, data: &Data, role: &str, column: Option<&str>) -> Data {
        let mut new = data.clone();
        let Some(form) = self.form(data) else { return new };
        new.schema.clone_from(&form.schema);
        let mut columns = self.mapping(data).clone();
        columns.retain(|role, column| *role != *column);
        match column {
            None => {
                columns.remove(role);
            }
            Some(column) => {
                let other = form.roles.iter().map(|other| other.role.as_str());
                let mut other = other.filter(|other| *other != role);
                if let Some(other) = other.find(|other| self.column_of(data, other) == Some(column)) {
                    match self.column_of(data, role).filter(|before| *before != other) {
                        Some(before) => columns.insert(other.to_owned(), before.to_owned()),
                        None => columns.remove(other),
                    };
                }
                columns.insert(role.to_owned(), column.to_owned());
                // What is called as its role need not be said, unless nothing else is: an empty mapping is a guess.
                if columns.len() > 1 && role == column {
                    columns.remove(role);
                }
            }
        }
        new.columns = columns;
        new
    }

    /// The data read in another form, `auto` for the one that is recognised. Roles that the form does not know go.
    #[must_use]
    pub fn read_as(&self, data: &Data, schema: &str) -> Data {
        let mut new = data.clone();
        schema.clone_into(&mut new.schema);
        new.columns = match self.found.forms.iter().find(|form| form.schema == schema) {
            None => BTreeMap::new(),
            Some(form) => {
                let mut columns = self.mapping(data).clone();
                columns.retain(|role, column| *role != *column && form.roles.iter().any(|known| known.role == *role));
                columns
            }
        };
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::Project;
    use temper_protocol::data::{ColumnInfo, RoleInfo};

    fn made(schema: &str, names: &[&str], mapping: &[(&str, &str)]) -> (Draft, Columns) {
        let column =
            |name: &&str| ColumnInfo { name: (*name).to_owned(), kind: "text".to_owned(), example: String::new() };
        let form = |schema: &str, roles: &[&str]| RowForm {
            schema: schema.to_owned(),
            roles: roles.iter().map(|role| RoleInfo { role: (*role).to_owned(), needed: *role != "system" }).collect(),
        };
        let found = DataColumns {
            columns: names.iter().map(column).collect(),
            schema: schema.to_owned(),
            mapping: pairs(mapping),
            forms: vec![form("prompt-completion", &["prompt", "completion", "system"]), form("text", &["text"])],
            ..DataColumns::default()
        };
        let draft = Draft::opened("/p".into(), Project::new("tone", "m.gguf", &["d.jsonl".to_owned()], "lora"));
        let columns = Columns::new(&draft, found);
        (draft, columns)
    }

    fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect()
    }

    #[test]
    fn what_was_recognised_is_kept_when_one_role_changes() {
        let found = [("prompt", "ask"), ("completion", "reply")];
        let (draft, columns) = made("prompt-completion", &["ask", "reply", "topic"], &found);
        let data = &draft.project.data;
        assert_eq!(columns.column_of(data, "prompt"), Some("ask"));
        let new = columns.assigned(data, "system", Some("topic"));
        assert_eq!(new.schema, "prompt-completion");
        assert_eq!(new.columns, pairs(&[("completion", "reply"), ("prompt", "ask"), ("system", "topic")]));
        assert_eq!(columns.column_of(&new, "system"), Some("topic"));
    }

    #[test]
    fn columns_the_wrong_way_round_change_places() {
        let found = [("prompt", "reply"), ("completion", "ask")];
        let (draft, columns) = made("prompt-completion", &["ask", "reply"], &found);
        let new = columns.assigned(&draft.project.data, "prompt", Some("ask"));
        assert_eq!(new.columns, pairs(&[("prompt", "ask"), ("completion", "reply")]));
        // Also where the names say the contrary.
        let (draft, columns) = made("prompt-completion", &["prompt", "completion"], &[]);
        let new = columns.assigned(&draft.project.data, "prompt", Some("completion"));
        assert_eq!(new.columns, pairs(&[("prompt", "completion"), ("completion", "prompt")]));
        let back = columns.assigned(&new, "prompt", Some("prompt"));
        assert_eq!(columns.column_of(&back, "prompt"), Some("prompt"));
        assert_eq!(columns.column_of(&back, "completion"), Some("completion"));
        assert!(!back.columns.is_empty(), "an empty mapping would be a guess");
    }

    #[test]
    fn a_role_without_a_column_of_its_own_falls_back_to_its_name() {
        let (draft, columns) = made("prompt-completion", &["prompt", "completion", "text"], &[]);
        let given = columns.assigned(&draft.project.data, "completion", Some("text"));
        assert_eq!(columns.column_of(&given, "completion"), Some("text"));
        let taken = columns.assigned(&given, "completion", None);
        assert_eq!(columns.column_of(&taken, "completion"), Some("completion"));
        assert_eq!(columns.column_of(&taken, "system"), None);
    }

    #[test]
    fn another_form_keeps_the_roles_it_knows() {
        let (draft, columns) = made("", &["ask", "reply"], &[]);
        let data = &draft.project.data;
        assert_eq!(columns.form(data), None);
        assert_eq!(columns.assigned(data, "prompt", Some("ask")), *data, "roles belong to a form");
        let prompts = columns.read_as(data, "prompt-completion");
        let prompts = columns.assigned(&prompts, "prompt", Some("ask"));
        assert_eq!(prompts.columns, pairs(&[("prompt", "ask")]));
        let text = columns.read_as(&prompts, "text");
        assert_eq!((text.schema.as_str(), text.columns.len()), ("text", 0));
        assert_eq!(columns.read_as(&prompts, "auto").columns, BTreeMap::new());
        assert!(columns.belong_to(&draft));
    }
}
