//! What the project names and what is no longer there, what is known of it, and whether what was found is the same.

use super::State;
use super::drop::Target;
use crate::format;
use std::collections::BTreeSet;
use temper_protocol::{Event, Project};
use temper_store::RunRow;

/// Something with what is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelinkAct {
    /// Looks again whether it is there.
    LookAgain,
    /// What was found is used although it is not the same.
    UseAnyway,
}

impl State {
    /// The path of the project's model, when nothing is there.
    #[must_use]
    pub fn missing_model(&self) -> Option<String> {
        let path = self.draft.resolve(&self.draft.project.model.path);
        self.setup.missing.contains(&path).then_some(path)
    }

    /// The place of the first source of the project's data where nothing is, and its path.
    #[must_use]
    pub fn missing_data(&self) -> Option<(usize, String)> {
        let paths = self.draft.project.data.train.iter().map(|source| self.draft.resolve(source.path()));
        paths.enumerate().find(|(_, path)| self.setup.missing.contains(path))
    }

    /// The newest run that was trained from the project's model.
    fn run_of_model(&self) -> Option<&RunRow> {
        let path = self.draft.resolve(&self.draft.project.model.path);
        let of_model = |row: &&RunRow| {
            let model = self.run_setting(row.run, "model.path");
            row.model_parameters > 0 && model.is_some_and(|model| self.draft.resolve(model) == path)
        };
        self.runs.runs.iter().find(of_model)
    }

    /// What is known of the missing model: a sentence each.
    #[must_use]
    pub fn expected_model(&self) -> Vec<String> {
        let Some(row) = self.run_of_model() else { return vec![t!("relink-nothing-known").to_owned()] };
        let parameters = format::parameters(row.model_parameters);
        let mut known = vec![t!("relink-parameters-were", parameters = parameters, run = row.run)];
        if let Some(hash) = row.hashes.get("base").filter(|hash| !hash.is_empty()) {
            known.push(t!("relink-hash-was", hash = hash.get(..12).unwrap_or(hash)));
        }
        known
    }

    /// In what `found` is not what is missing at `target`; nothing when that is not missing or they agree.
    #[must_use]
    pub fn relink_differences(&self, found: &Event, target: Target) -> Vec<String> {
        match (target, found) {
            (Target::Model, Event::Model { parameters, .. }) if self.missing_model().is_some() => {
                let expected = self.run_of_model().map(|row| row.model_parameters);
                expected.and_then(|expected| other_parameters(expected, *parameters)).into_iter().collect()
            }
            (Target::Data, Event::Dataset { schema, columns, .. }) if self.missing_data().is_some() => {
                other_data(&self.draft.project, schema, columns)
            }
            _ => Vec::new(),
        }
    }
}

/// That a model has other parameters than the one that is looked for; a hundredth more or less may be another way of
/// counting.
fn other_parameters(expected: u64, found: u64) -> Option<String> {
    let differs = expected.abs_diff(found) > expected / 100;
    let (found, expected) = (format::parameters(found), format::parameters(expected));
    differs.then(|| t!("relink-other-parameters", found = found, expected = expected))
}

/// In what data cannot be read as the project reads it.
fn other_data(project: &Project, schema: &str, columns: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    let wanted = &project.data.schema;
    if wanted != "auto" && wanted != schema {
        let (found, wanted) = (format::schema_words(schema), format::schema_words(wanted));
        differences.push(t!("relink-other-schema", found = found, wanted = wanted));
    }
    // A column may fill several roles.
    let named: BTreeSet<&String> = project.data.columns.values().collect();
    let gone: Vec<&str> = named.into_iter().filter(|column| !columns.contains(column)).map(String::as_str).collect();
    if !gone.is_empty() {
        differences.push(t!("relink-no-column", columns = gone.join(", ")));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_size_is_told_and_another_way_of_counting_is_not() {
        assert_eq!(other_parameters(134_515_008, 134_515_008), None);
        assert_eq!(other_parameters(134_515_008, 134_900_000), None);
        let told = other_parameters(134_515_008, 361_821_120).expect("another model");
        assert!(told.contains("361.8 M") && told.contains("134.5 M"), "{told}");
    }

    #[test]
    fn data_without_the_columns_that_are_read_is_told() {
        let mut project = Project::new("p", "m", &["d".to_owned()], "lora");
        let columns = ["question".to_owned(), "answer".to_owned()];
        assert!(other_data(&project, "alpaca", &columns).is_empty(), "a schema that is found out may be another one");
        project.data.columns.insert("input".to_owned(), "question".to_owned());
        project.data.columns.insert("output".to_owned(), "reply".to_owned());
        let told = other_data(&project, "alpaca", &columns);
        assert!(told.len() == 1 && told[0].contains("reply") && !told[0].contains("question"), "{told:?}");
        project.data.schema = "messages".to_owned();
        assert_eq!(other_data(&project, "alpaca", &columns).len(), 2);
    }
}
