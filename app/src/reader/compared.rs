//! What the room Compare shows of several runs: their curves, and the settings they were started with.
//!
//! Place in the data flow: [`super::ViewRequest`] names the chosen runs; curves of training are followed as those behind
//! the loss of the open run are ([`super::beside`]), settings are taken apart once for each run and text.

use super::beside::{Beside, axis};
use super::curves;
use super::snapshot::{ViewRequest, XAxis};
use egui_plot::PlotPoint;
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_store::{Reader, RunRow, StoreError};

/// Most points of validation that are read of a run.
const VALIDATION_POINTS: usize = 2000;

/// What the room Compare wants to see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompareRequest {
    /// Runs whose curves are wanted.
    pub runs: Vec<u64>,
    /// Horizontal axis.
    pub x: XAxis,
    /// Train losses as they were measured instead of smoothed.
    pub raw: bool,
}

/// Curves of a chosen run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ComparedRun {
    /// Its number.
    pub run: u64,
    /// Train loss by place on the axis, nats; smoothed unless the raw one was asked for.
    pub train: Vec<PlotPoint>,
    /// Validation loss by place on the axis, nats.
    pub validation: Vec<PlotPoint>,
}

/// Settings of a run: dotted keys of its project file and their values.
pub type RunSettings = Arc<Vec<(String, String)>>;

/// What is kept from one look to the next.
#[derive(Debug, Default)]
pub struct Compared {
    lines: Beside,
    settings: BTreeMap<u64, (String, RunSettings)>,
}

impl Compared {
    /// The curves of the chosen runs, in the order of choosing; a run that has none on this axis is left out.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn curves(
        &mut self,
        reader: &Reader,
        runs: &[RunRow],
        request: &ViewRequest,
    ) -> Result<Vec<ComparedRun>, StoreError> {
        let CompareRequest { runs: wanted, x, raw } = &request.compare;
        self.lines.keep_only(|run| wanted.contains(&run));
        let mut curves = Vec::with_capacity(wanted.len());
        for row in wanted.iter().filter_map(|run| runs.iter().find(|row| row.run == *run)) {
            let Some(map) = axis(reader, row, *x)? else { continue };
            let most = request.plot_px as usize;
            let train = if *raw {
                reader.points(row.run, "train_loss", 0, u64::MAX, most)?
            } else {
                self.lines.window(reader, row, (0, u64::MAX), most)?
            };
            let validation = reader.points(row.run, "loss/validation", 0, u64::MAX, VALIDATION_POINTS)?;
            curves.push(ComparedRun {
                run: row.run,
                train: curves::place(&train, &map, false),
                validation: curves::place(&validation, &map, false),
            });
        }
        Ok(curves)
    }

    /// The settings of all runs.
    pub fn settings(&mut self, runs: &[RunRow]) -> BTreeMap<u64, RunSettings> {
        self.settings.retain(|run, _| runs.iter().any(|row| row.run == *run));
        for row in runs {
            let known = self.settings.get(&row.run).is_some_and(|(text, _)| *text == row.settings_toml);
            if !known {
                let flat = Arc::new(flatten(&row.settings_toml));
                self.settings.insert(row.run, (row.settings_toml.clone(), flat));
            }
        }
        self.settings.iter().map(|(run, (_, flat))| (*run, Arc::clone(flat))).collect()
    }
}

/// Settings that people ask about first, in the order of their columns.
const ASKED_FIRST: [&str; 8] = [
    "method.rank",
    "train.lr_peak",
    "train.steps",
    "keep.on_exceed",
    "method.alpha",
    "method.targets",
    "train.batch",
    "model.base",
];
/// Settings that a column of their own says, or that are no choice.
const SAID_ELSEWHERE: [&str; 2] = ["method.id", "name"];

/// Settings that two runs have with different values: those that people ask about first, then in the order of the files.
#[must_use]
pub fn differing(settings: &BTreeMap<u64, RunSettings>) -> Vec<String> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found: Vec<&str> = Vec::new();
    for (key, value) in settings.values().flat_map(|of| of.iter()) {
        match first.get(key.as_str()) {
            None => {
                first.insert(key, value);
            }
            Some(before) if *before != value.as_str() && !found.contains(&key.as_str()) => found.push(key),
            Some(_) => {}
        }
    }
    found.retain(|key| !SAID_ELSEWHERE.contains(key));
    let place = |key: &&str| ASKED_FIRST.iter().position(|asked| asked == key).unwrap_or(ASKED_FIRST.len());
    found.sort_by_key(place);
    found.into_iter().map(str::to_owned).collect()
}

/// A project file as dotted keys and values, in the order of the file; nothing when it cannot be read.
#[must_use]
pub fn flatten(text: &str) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        descend("", &table, &mut flat);
    }
    flat
}

fn descend(prefix: &str, table: &toml::Table, into: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => descend(&key, inner, into),
            toml::Value::String(text) => into.push((key, text.clone())),
            other => into.push((key, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_dotted_keys() {
        let text = "name = \"tone\"\n[method]\nid = \"lora\"\nrank = 16\n[data]\ntrain = [\"a\", \"b\"]\n";
        let flat = flatten(text);
        let value = |key: &str| flat.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!(value("name"), Some("tone"));
        assert_eq!(value("method.rank"), Some("16"));
        assert_eq!(value("data.train"), Some("[\"a\", \"b\"]"));
        assert!(flatten("no table").is_empty());
    }

    #[test]
    fn what_differs_stands_in_the_order_in_which_people_ask() {
        let of = |text: &str| Arc::new(flatten(text));
        let settings = BTreeMap::from([
            (1, of("name = \"a\"\n[method]\nid = \"lora\"\nrank = 8\n[train]\nseed = 1\nsteps = 9")),
            (2, of("name = \"b\"\n[method]\nid = \"ia3\"\n[train]\nseed = 2\nsteps = 9")),
            (3, of("name = \"b\"\n[method]\nid = \"lora\"\nrank = 16\n[train]\nseed = 2\nsteps = 9")),
        ]);
        assert_eq!(differing(&settings), ["method.rank", "train.seed"], "not what a run does not have");
        assert!(differing(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn settings_are_taken_apart_again_only_when_their_text_is_another() {
        let row = |text: &str| RunRow { run: 3, settings_toml: text.to_owned(), ..RunRow::default() };
        let mut compared = Compared::default();
        let first = compared.settings(&[row("a = 1")]);
        let again = compared.settings(&[row("a = 1")]);
        assert!(Arc::ptr_eq(&first[&3], &again[&3]));
        let changed = compared.settings(&[row("a = 2")]);
        assert_eq!(changed[&3][0], ("a".to_owned(), "2".to_owned()));
        assert!(compared.settings(&[]).is_empty());
    }
}
